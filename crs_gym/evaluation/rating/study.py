"""What is judged in one study: the dialogues drawn, their words, and how many judge each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crs_gym.evaluation.rating.assignments import sample
from crs_gym.evaluation.rating.forms import Form
from crs_gym.generation.records import Dialogue

Lines = tuple[tuple[str, str], ...]
"""Who speaks and what they say; the recommender and the user in turns."""


@dataclass(frozen=True)
class Shown:
    """The words of one dialogue, as judges read them.

    number: which of the data set.
    text: what is said. template: the same in templates; empty where no pairs are judged.
    """

    number: int
    text: Lines
    template: Lines = ()

    @property
    def turns(self) -> int:
        return len(self.text) // 2


@dataclass(frozen=True)
class Study:
    """What is judged and by how many.

    form: "dialogue" for one at a time, "pair" for a rewritten one beside its templates.
    dialogues: those drawn, of a different user each.
    raters: people who judge each of them, at least 1.
    each: how many one person judges at most; None for as many as there are.
    seed: of the draw, the orders and the sides; at least 0.

    Raises:
        ValueError: no dialogues, two of the same number, or a figure out of its range.
    """

    form: Form
    dialogues: tuple[Shown, ...]
    raters: int = 3
    each: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.dialogues:
            raise ValueError("there is no dialogue to judge")
        if len({shown.number for shown in self.dialogues}) < len(self.dialogues):
            raise ValueError("two dialogues have the same number; each needs its own")
        if self.raters < 1 or self.seed < 0 or (self.each is not None and self.each < 1):
            raise ValueError(
                "need raters >= 1, each >= 1 and seed >= 0, not "
                f"{self.raters}, {self.each} and {self.seed}"
            )


def draw_study(
    dialogues: Sequence[Dialogue],
    form: Form = "dialogue",
    *,
    count: int | None = None,
    raters: int = 3,
    each: int | None = None,
    seed: int = 0,
) -> Study:
    """Draws users and one dialogue of each (ICER, section 5.1: 600 users, three raters).

    For pairs only dialogues count whose words differ from their templates, and for both forms only
    those with at least one turn.

    Args:
        dialogues: the data set.
        form, raters, each, seed: as in `Study`.
        count: users to draw; None: all.

    Raises:
        ValueError: nothing left to judge, more users asked for than there are, or as `Study`.
    """
    places, users = [], []
    for place, dialogue in enumerate(dialogues):
        differs = any(
            words.text != words.template
            for turn in dialogue.turns
            for words in (turn.recommender, turn.user)
        )
        if differs or (form == "dialogue" and dialogue.turns):
            places.append(place)
            users.append(dialogue.user_id)
    if not places and form == "pair":
        raise ValueError(
            "no dialogue differs from its templates, so there are no pairs to compare; let a "
            "language model rewrite the dialogues first"
        )
    drawn = (dialogues[places[i]] for i in sample(users, count, seed))
    shown = tuple(
        Shown(
            dialogue.number,
            tuple(dialogue.lines()),
            tuple(dialogue.lines(templates=True)) if form == "pair" else (),
        )
        for dialogue in drawn
    )
    return Study(form, shown, raters, each, seed)

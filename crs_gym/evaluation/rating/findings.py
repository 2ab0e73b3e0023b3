"""What judges found about each aspect, how far they agree, and the turns at fault.

People are one group, and every model is one of its own: they never share a table. Surplus ratings,
which came after others had taken their place, are counted and left out, so that no dialogue has
more than its share of weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from crs_gym.evaluation.rating.agreement import Share, krippendorff, wilson
from crs_gym.evaluation.rating.forms import Aspect, Form, Judgement, Preference, aspects_of
from crs_gym.evaluation.rating.store import Kind, Rating, Store
from crs_gym.evaluation.rating.study import Shown

OUTCOMES: Mapping[Form, Mapping[str, str]] = {
    "dialogue": {"yes": "Yes", "no": "No"},
    "pair": {
        "same": "About the same",
        "rewritten": "Rewritten better",
        "template": "Template better",
    },
}
"""What an answer comes to once the sides of a pair are known, and the titles of the columns."""


@dataclass(frozen=True)
class Row:
    """The answers about one aspect.

    n: answers. shares: of each outcome. alpha: Krippendorff's; None where it is not defined.
    """

    aspect: str
    n: int
    shares: Mapping[str, Share]
    alpha: float | None


@dataclass(frozen=True)
class Fault:
    """A turn that somebody found wrong in one respect.

    dialogue: its number. turn: from 1. raters: who found it. feedback: their remarks, if any.
    recommender, user: what is said in the turn.
    """

    dialogue: int
    turn: int
    aspect: str
    raters: tuple[str, ...]
    feedback: tuple[str, ...]
    recommender: str
    user: str


@dataclass(frozen=True)
class Group:
    """What people found, or one model.

    name: of the model; "people".
    raters, dialogues, forms: judges, dialogues judged and forms filled in that count.
    surplus: forms filled in that do not count. unanswered: forms that a model gave up.
    rows: one for each aspect. faults: by dialogue and turn; none for pairs.
    """

    kind: Kind
    name: str
    raters: int
    dialogues: int
    forms: int
    surplus: int
    unanswered: int
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Report:
    """What is known about a study so far.

    dialogues: how many are in it. wanted: people who shall judge each of them.
    """

    form: Form
    dialogues: int
    wanted: int
    groups: tuple[Group, ...]


def report(store: Store) -> Report:
    """Counts the ratings of a file.

    Raises:
        DataError: the file was altered.
    """
    study, grouped = store.study, dict[tuple[Kind, str], list[Rating]]()
    for rating in store.ratings():
        name = "people" if rating.kind == "person" else rating.rater
        grouped.setdefault((rating.kind, name), []).append(rating)
    shown = {dialogue.number: dialogue for dialogue in study.dialogues}
    # people first, then models by name
    groups = tuple(
        _group(kind, name, grouped[kind, name], study.form, shown)
        for kind, name in sorted(grouped, key=lambda key: (key[0] == "model", key[1]))
    )
    return Report(study.form, len(study.dialogues), study.raters, groups)


def outcome(answer: Judgement | Preference, rewritten_first: bool) -> str:
    """What an answer says: "yes" or "no"; "same", "rewritten" or "template"."""
    if isinstance(answer, Judgement):
        return "yes" if answer.yes else "no"
    if answer.better == "same":
        return "same"
    return "rewritten" if (answer.better == "first") == rewritten_first else "template"


def _group(
    kind: Kind, name: str, ratings: Sequence[Rating], form: Form, shown: Mapping[int, Shown]
) -> Group:
    counting = [rating for rating in ratings if rating.answers and not rating.surplus]
    aspects = aspects_of(form)
    return Group(
        kind=kind,
        name=name,
        raters=len({rating.rater for rating in counting}),
        dialogues=len({rating.number for rating in counting}),
        forms=len(counting),
        surplus=sum(bool(rating.answers) and rating.surplus for rating in ratings),
        unanswered=sum(rating.answers is None for rating in ratings),
        rows=tuple(_row(aspect, counting, form) for aspect in aspects),
        faults=tuple(_faults(counting, aspects, shown)) if form == "dialogue" else (),
    )


def _row(aspect: Aspect, ratings: Iterable[Rating], form: Form) -> Row:
    units: dict[int, list[str]] = {}
    for rating in ratings:
        if rating.answers:
            answer = outcome(rating.answers[aspect.name], rating.rewritten_first)
            units.setdefault(rating.number, []).append(answer)
    found = [answer for unit in units.values() for answer in unit]
    shares = {name: wilson(found.count(name), len(found)) for name in OUTCOMES[form]}
    return Row(aspect.name, len(found), shares, krippendorff(units.values()))


def _faults(
    ratings: Iterable[Rating], aspects: Sequence[Aspect], shown: Mapping[int, Shown]
) -> Iterator[Fault]:
    by_turn: dict[tuple[int, int, str], list[tuple[str, str]]] = {}
    for rating in ratings:
        for name, answer in (rating.answers or {}).items():
            for turn in answer.turns if isinstance(answer, Judgement) else ():
                remark = rating.rater, answer.feedback
                by_turn.setdefault((rating.number, turn, name), []).append(remark)
    order = {aspect.name: place for place, aspect in enumerate(aspects)}
    for key in sorted(by_turn, key=lambda key: (key[0], key[1], order[key[2]])):
        number, turn, name = key
        raters, remarks = zip(*by_turn[key], strict=True)
        said = shown[number].text[2 * turn - 2 : 2 * turn]
        yield Fault(number, turn, name, raters, tuple(filter(None, remarks)), *(w for _, w in said))

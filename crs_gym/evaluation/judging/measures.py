"""All measured qualities of a set of dialogues at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crs_gym.evaluation.judging.conduct import attribute_consistency, redundancy
from crs_gym.evaluation.judging.consistency import consistency
from crs_gym.evaluation.judging.figures import Figure
from crs_gym.evaluation.judging.hearing import fidelity, hear
from crs_gym.evaluation.judging.wording import factuality, variety
from crs_gym.generation.records import Dialogue
from crs_gym.world import World


class Measures(NamedTuple):
    """What was measured.

    words: "text" or "template".
    dialogues, turns: how many there were.
    figures: of `fidelity`, `consistency`, `redundancy`, `attribute_consistency`, `factuality`.
    distinct: Dist-1 to Dist-4 of each speaker, see `distinct`.
    """

    words: str
    dialogues: int
    turns: int
    figures: tuple[Figure, ...]
    distinct: dict[str, list[float | None]]


def measure(
    dialogues: Sequence[Dialogue],
    world: World,
    *,
    templates: bool = False,
    user_model: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Measures:
    """Measures the dialogues as their texts tell them, or as their templates do.

    Acts are those understood from the words; where words are not clear, what depends on them is
    left out, and "understood" says how often that is.

    Args:
        user_model: parameters of the user model, where they were changed for the dialogues.
        seed: of the impostors with whom users are compared.

    Raises:
        ValueError: as `consistency`.
    """
    heard = hear(dialogues, world, templates, progress)
    users = [dialogue.user_id for dialogue in dialogues]
    lines = [dialogue.lines(templates=templates) for dialogue in dialogues]
    figures = (
        *fidelity(dialogues, heard),
        *consistency(dialogues, heard, world, user_model=user_model, seed=seed, progress=progress),
        *redundancy(dialogues, heard),
        *attribute_consistency(dialogues, heard, world),
        *factuality(lines, users, world, progress),
    )
    return Measures(
        words="template" if templates else "text",
        dialogues=len(dialogues),
        turns=sum(len(dialogue.turns) for dialogue in dialogues),
        figures=figures,
        distinct=variety(lines),
    )

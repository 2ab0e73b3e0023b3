"""Which blocks of a belief observation the attribute network reads, and where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SUMMARY = (
    "turn",
    "questions",
    "certainty",
    "top_utility",
    "top_utility_std",
    "top_acceptance",
    "target_std",
    "item_question_value",
    "question_value",
)
PER_ATTRIBUTE = ("target_mean", "target_std", "question_value")
OWN = (*PER_ATTRIBUTE, "item_question_value")
BLOCKS = (*SUMMARY, *OWN)
"""Blocks of the observation that the network needs."""
PRICE = 0.2
"""What the best question must be worth, in utility, for the network to lean to asking it."""


def places(blocks: Mapping[str, tuple[int, int]], names: Iterable[str]) -> list[int]:
    """Indices in the observation of the named blocks, one block after the other.

    blocks: where each block lies, `(start, stop)` by name.
    """
    return [place for name in names for place in range(*blocks[name])]

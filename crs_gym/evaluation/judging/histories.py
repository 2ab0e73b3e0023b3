"""Stored acts as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax
import numpy as np

from crs_gym.acts import (
    AttributeQuery,
    ReadableRecommenderAct,
    ReadableUserAct,
    Turn,
    no_turn,
    response_to_arrays,
    to_arrays,
)

Acts = tuple[ReadableRecommenderAct, ReadableUserAct]


def history_of(turns: Sequence[Acts], length: int, slate_size: int) -> Turn:
    """Turns as arrays with a leading axis `(length,)`, padding after the last.

    Raises:
        ValueError: more turns than `length`, or as `to_arrays` and `response_to_arrays`.
    """
    if len(turns) > length:
        raise ValueError(f"{len(turns)} turns do not go into a history of {length}")
    rows = []
    for said, answered in turns:
        act = to_arrays(said, slate_size)
        rows.append(Turn(act, response_to_arrays(answered, act)))
    rows += [no_turn(slate_size)] * (length - len(rows))
    return jax.tree.map(lambda *fields: np.stack(fields), *rows)


def widest(acts: Iterable[ReadableRecommenderAct]) -> int:
    """Items of the largest slate, at least 1."""
    return max((len(items_in(act)) for act in acts), default=1) or 1


def items_in(act: ReadableRecommenderAct) -> tuple[int, ...]:
    """The films that an act names."""
    return (act.item,) if isinstance(act, AttributeQuery) else act.items

"""Which turn is credited with what: how a conversation went, against others with the same user.

How well a conversation goes depends on who the user is about as much as on what is said, and most
of what comes after a turn hardly on it. `python -m experiments.lm.signal` measures what is left to
learn from when both are taken away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def others_mean(totals: Sequence[float] | np.ndarray, group: int) -> np.ndarray:
    """(B,) what the other conversations with the same hidden user returned in the mean, 0 for
    groups of one.

    It does not depend on the conversation itself: taken off its return, no gradient changes in
    expectation (leave-one-out, Kool et al., 2019).

    Args:
        totals: (B,) returns, those of a group of `group` beside each other.
    """
    if group == 1:
        return np.zeros(len(totals))
    grouped = np.asarray(totals, float).reshape(-1, group)
    return np.asarray((grouped.sum(1, keepdims=True) - grouped).ravel() / (group - 1))


def turns_level(rewards: Sequence[Sequence[float]], group: int) -> np.ndarray:
    """(B, M) what is still to be had at each turn, as others of the group found it: the mean of
    their rewards from that turn on, of those who came to it.

    Args:
        rewards: of the at most M turns of B conversations, those of a group beside each other.
    """
    earned, there = _padded(rewards)
    left = np.flip(np.flip(earned, 1).cumsum(1), 1)
    return _others(left * there, there, group)


def near_advantages(near: Sequence[Sequence[float]], group: int, decay: float) -> list[np.ndarray]:
    """How much nearer to what the user would accept recommendations came than the group's in the
    same turns: of each turn, and with falling weights of those that follow.

    Args:
        near: of each turn, see `Exchange.near`; not a number for queries, which count as what
            was to be expected.
        decay: of the weights, from turn to turn.

    Returns:
        for each conversation, a number for each of its turns.
    """
    values, there = _padded(near)
    there *= ~np.isnan(values)
    values = np.where(there > 0, values, 0.0)
    beyond = (values - _others(values, there, group)) * there
    for turn in reversed(range(beyond.shape[1] - 1)):
        beyond[:, turn] += decay * beyond[:, turn + 1]
    return [row[: len(mine)] for row, mine in zip(beyond, near, strict=True)]


def _padded(rows: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """(B, M) rows of B lengths, 0 beyond them, and 1.0 where there is something."""
    values, there = np.zeros((2, len(rows), max(1, *map(len, rows))))
    for i, mine in enumerate(rows):
        values[i, : len(mine)], there[i, : len(mine)] = mine, 1
    return values, there


def _others(values: np.ndarray, there: np.ndarray, group: int) -> np.ndarray:
    """(B, M) means over the others of the group, and once that of the whole batch, so that few
    others do not count too much. `values` are 0 where nothing is there.
    """
    everyone = values.sum(0) / np.maximum(there.sum(0), 1)
    grouped, present = (x.reshape(-1, group, x.shape[1]) for x in (values, there))
    others, count = (x.sum(1, keepdims=True) - x for x in (grouped, present))
    return np.asarray(((others + everyone) / (count + 1)).reshape(values.shape))


def turns_advantages(
    rewards: Sequence[Sequence[float]], group: int, decay: float
) -> list[np.ndarray]:
    """What each turn brought beyond what was to be expected: generalised advantages
    (Schulman et al., 2016), undiscounted, for which the level of a turn is its value.

    Args:
        rewards: of the turns of B conversations, those of a group beside each other.
        decay: lambda; at 1 all that came after is a turn's, at 0 its reward and what is then
            expected.

    Returns:
        for each conversation, an advantage for each of its turns.
    """
    found = []
    for mine, level in zip(rewards, turns_level(rewards, group), strict=True):
        advantages = np.zeros(len(mine))
        following = later = 0.0
        for turn in reversed(range(len(mine))):
            later = mine[turn] + following - level[turn] + decay * later
            advantages[turn], following = later, level[turn]
        found.append(advantages)
    return found

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
    their rewards from that turn on, of those who came to it, and once that of the whole batch, so
    that few others do not count too much.

    Args:
        rewards: of the at most M turns of B conversations, those of a group beside each other.
    """
    most = max(map(len, rewards))
    earned, there = np.zeros((2, len(rewards), most))
    for i, mine in enumerate(rewards):
        earned[i, : len(mine)], there[i, : len(mine)] = mine, 1
    left = np.flip(np.flip(earned, 1).cumsum(1), 1)
    everyone = left.sum(0) / there.sum(0)
    grouped, present = (x.reshape(-1, group, most) for x in (left, there))
    others, count = (x.sum(1, keepdims=True) - x for x in (grouped, present))
    return np.asarray(((others + everyone) / (count + 1)).reshape(len(rewards), most))


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

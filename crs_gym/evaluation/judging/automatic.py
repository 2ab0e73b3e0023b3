"""What dialogues tell of a user's taste, turn by turn (ICER, section 5.2, tables 3 and 4).

After t = 0, 1, ... turns of a dialogue a judge says which of two films the user likes better. A
dialogue that ended earlier has no row t: it drops out, as in the paper, whose intervals widen where
dialogues end. Those that go on are the harder ones, so rows are not about the same users; `gain`
compares each row with what the judge said of the same dialogues at t = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from crs_gym.evaluation.judging.pairs import Case
from crs_gym.evaluation.statistics import (
    RESAMPLES,
    Interval,
    Scores,
    percentile_interval,
    resampled_means,
)

ENDED = -1


class Verdicts(NamedTuple):
    """What a judge says of B cases after 0 to H turns.

    places: (B, H + 1) int8, place in the pair of the film picked; -1 where the dialogue has fewer
        turns.
    asked_again: (B, H + 1) bool, the first reply was neither film.
    coins: (B, H + 1) bool, the second was not either, and a coin was flipped.
    """

    places: np.ndarray
    asked_again: np.ndarray
    coins: np.ndarray


class Judge(Protocol):
    """Picks films."""

    @property
    def name(self) -> str: ...

    def judge(self, cases: Sequence[Case], turns: int) -> Verdicts:
        """Picks one film of each case's pair after each number of turns up to `turns`."""


class Row(NamedTuple):
    """How well a judge picks after t turns.

    turn: t.
    n: dialogues of at least t turns.
    accuracy: share of them where the better film was picked.
    ndcg: mean of `ndcg`.
    gain: accuracy minus that at t = 0 of the same dialogues.
    asked_again, coins: how many of the n replies were neither film, at first and at last.
    """

    turn: int
    n: int
    accuracy: Interval
    ndcg: Interval
    gain: Interval
    asked_again: int
    coins: int


def evaluate(
    judge: Judge, cases: Sequence[Case], turns: int = 7, resamples: int = RESAMPLES
) -> list[Row]:
    """Asks the judge, and scores the verdicts.

    Raises:
        ValueError: a negative number of turns, or as `score`.
    """
    if turns < 0:
        raise ValueError(f"turns must be at least 0, not {turns}")
    _check_users(cases)
    return score(judge.judge(cases, turns), cases, resamples)


def score(verdicts: Verdicts, cases: Sequence[Case], resamples: int = RESAMPLES) -> list[Row]:
    """A row for each number of turns that dialogues of at least two users reach.

    Intervals are of 95%, by a bootstrap clustered by user, who may have several dialogues.

    Raises:
        ValueError: fewer than two users.
    """
    _check_users(cases)
    users = np.array([case.user_id for case in cases])
    better = np.array([case.pair.better for case in cases])
    gains = np.array([case.pair.gains for case in cases]).reshape(-1, 2)
    ranked = ndcg(gains, 1 - gains.argmax(1)), ndcg(gains, gains.argmax(1))
    rows = []
    for turn in range(verdicts.places.shape[1]):
        here = verdicts.places[:, turn] != ENDED
        if len(np.unique(users[here])) < 2:
            break
        right = verdicts.places[:, turn] == better
        at_first = verdicts.places[:, 0] == better
        values = (right, np.where(right, ranked[1], ranked[0]), at_first)
        scores = [Scores(value[here], users[here], np.flatnonzero(here)) for value in values]
        accuracy, quality, before = resampled_means(scores, resamples=resamples)
        rows.append(
            Row(
                turn=turn,
                n=int(here.sum()),
                accuracy=percentile_interval(scores[0].mean, accuracy),
                ndcg=percentile_interval(scores[1].mean, quality),
                gain=percentile_interval(scores[0].mean - scores[2].mean, accuracy - before),
                asked_again=int(verdicts.asked_again[here, turn].sum()),
                coins=int(verdicts.coins[here, turn].sum()),
            )
        )
    return rows


def ndcg(gains: Any, picked: Any) -> np.ndarray:
    """NDCG of the pair ranked with the film at `picked` first: (... 2), (...) to (...).

    (g_first + g_second / log2 3) / (g_max + g_min / log2 3). With gains of at least 0 a wrong pick
    would have an NDCG of at least 1 / log2 3 = 0.63, and chance one of at least 0.81. The paper's
    tables have 0.744 at an accuracy of 0.515 and 0.793 at 0.613, on one line, on which a wrong pick
    has 0.47: its gains, which it does not state, are negative for bad films. Utilities themselves
    do not serve where they are centred, the best possible sum then being 0 or negative for many
    pairs (one in six in the world of films). The gains of `Pair` depend on ranks alone, so that the
    best sum is positive in every world, and a wrong pick has 0.483 on average, chance 0.741.
    """
    gains = np.asarray(gains, np.float64)
    first = np.take_along_axis(gains, np.asarray(picked)[..., None], -1)[..., 0]
    discount = 1 / np.log2(3)
    total = gains.sum(-1)
    best = gains.max(-1)
    found: np.ndarray = (first + discount * (total - first)) / (best + discount * (total - best))
    return found


def _check_users(cases: Sequence[Case]) -> None:
    if len({case.user_id for case in cases}) < 2:
        raise ValueError("judging needs dialogues with at least two users: there is no interval")

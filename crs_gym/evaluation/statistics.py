"""Intervals and comparisons of policies that were evaluated on the same list of episodes.

Users and training seeds are the clusters of the bootstrap. A resample weighs the users once for
all policies, so differences and normalised scores are paired; training seeds are weighed for each
policy by itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.95
RESAMPLES = 10_000
_CHUNK = 2**22  # weights in memory at a time


class Interval(NamedTuple):
    """An estimate and its interval, `low <= high`."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Scores:
    """What one policy scored on an evaluation list of E episodes, in S training runs.

    Attributes:
        values: (S, E) float64, finite; (E,) is read as one run.
        users: (E,) who was talked to: episodes of one user form a cluster.
        seeds: (E,) int64 episode seeds; equal for policies that can be compared.

    Raises:
        ValueError: shapes that do not agree, no run, NaN or infinite values.
    """

    values: np.ndarray
    users: np.ndarray
    seeds: np.ndarray

    def __post_init__(self) -> None:
        values = np.atleast_2d(np.asarray(self.values, np.float64))
        users, seeds = np.asarray(self.users), np.asarray(self.seeds, np.int64)
        if values.ndim != 2 or not values.size:
            raise ValueError(f"scores need shape (seeds, episodes), not {np.shape(self.values)}")
        if users.shape != values.shape[1:] or seeds.shape != values.shape[1:]:
            raise ValueError(
                f"scores of shape {values.shape} need as many users and episode seeds as episodes, "
                f"not {users.shape} and {seeds.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError("scores hold NaN or infinite values")
        for name, array in (("values", values), ("users", users), ("seeds", seeds)):
            array = array.copy()
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def mean(self) -> float:
        """Mean over episodes and training runs."""
        return float(self.values.mean())


def normalise(scores: Any, random_mean: float, oracle_mean: float) -> Any:
    """(scores - random_mean) / (oracle_mean - random_mean): 0 is random, 1 the oracle.

    Raises:
        ValueError: the oracle does no better than random.
    """
    if not oracle_mean > random_mean:
        raise ValueError(
            f"cannot normalise: the oracle's mean ({oracle_mean:.4g}) is not above random's "
            f"({random_mean:.4g})"
        )
    return (scores - random_mean) / (oracle_mean - random_mean)


def interquartile_mean(values: Any) -> float:
    """Mean of what is left of `values` (any shape) without its lowest and highest quarter.

    For scores over training seeds and tasks; over users the mean is used. Each tail loses
    floor(n / 4) values.

    Raises:
        ValueError: no values.
    """
    ordered = np.sort(np.ravel(values))
    if not ordered.size:
        raise ValueError("the interquartile mean of no values is not defined")
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def bootstrap_interval(
    values: Any,
    users: Any = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean of `values` and its percentile bootstrap interval, clustered by user and seed.

    Args:
        values: (S, E) for S training seeds, or (E,).
        users: (E,) user of each episode; None: all different.
        level: probability that the interval should cover the true mean, in (0, 1).
        resamples: number of resamples, at least 1.
        seed: at least 0; the same seed gives the same interval on every machine.

    Raises:
        ValueError: as `Scores`, fewer than two users, or a level outside (0, 1).
    """
    episodes = np.arange(np.shape(values)[-1]) if np.ndim(values) else np.arange(0)
    scores = Scores(values, episodes if users is None else users, episodes)
    (means,) = resampled_means([scores], level=level, resamples=resamples, seed=seed)
    return percentile_interval(scores.mean, means, level)


def paired_difference(
    a: Scores,
    b: Scores,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    by_seed: bool = False,
) -> Interval:
    """Mean of `a` minus mean of `b` on the same episodes, and its interval.

    Args:
        by_seed: the n-th run of one belongs to the n-th of the other, say where each began with
            what the other had learnt: they are resampled together. Else training seeds of the two
            have nothing to do with each other.

    Raises:
        ValueError: other episode seeds or users, as many runs of both are wanted, or as
            `bootstrap_interval`.
    """
    if by_seed:
        _check_paired(a, b)
        if len(a.values) != len(b.values):
            raise ValueError(
                f"{len(a.values)} and {len(b.values)} training runs cannot be paired by seed"
            )
        return bootstrap_interval(
            a.values - b.values, a.users, level=level, resamples=resamples, seed=seed
        )
    means = resampled_means([a, b], level=level, resamples=resamples, seed=seed)
    return percentile_interval(a.mean - b.mean, means[0] - means[1], level)


def normalised_interval(
    scores: Scores,
    random: Scores,
    oracle: Scores,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Normalised mean of `scores`, and its interval.

    The same users are resampled for the policy, random and the oracle, so the uncertainty of 0
    and 1 is part of the interval; random's own interval is [0, 0].

    Raises:
        ValueError: as `paired_difference`, or when the oracle is not clearly above random.
    """
    means = resampled_means([scores, random, oracle], level=level, resamples=resamples, seed=seed)
    return normalised_percentiles(
        (scores.mean, random.mean, oracle.mean), (means[0], means[1], means[2]), level
    )


def rank(
    policies: Mapping[str, Scores],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, int]:
    """1 + the number of policies that are significantly better, for each policy.

    Better: the interval of the paired difference lies wholly above 0. Policies that cannot be told
    apart share a rank.

    Raises:
        ValueError: as `paired_difference`.
    """
    means = resampled_means(list(policies.values()), level=level, resamples=resamples, seed=seed)
    return dict(zip(policies, ranks(means, level), strict=True))


def resampled_means(
    policies: Sequence[Scores],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """(P, resamples) float64: the mean of each policy, on the same resampled users.

    n clusters are resampled as n - 1 draws of weight n / (n - 1), which makes the variance of a
    resampled mean unbiased. The deviations of the S seeds are widened by the ratio of Student's t
    (S - 1 degrees of freedom) to the normal quantile of `level`; without that, intervals from a
    handful of training runs are much too short. One seed says nothing about training: its interval
    is about users alone.

    Raises:
        ValueError: as `paired_difference`.
    """
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"need 0 < level < 1 and resamples >= 1, not {level} and {resamples}")
    if not policies:
        return np.zeros((0, resamples))
    for other in policies[1:]:
        _check_paired(policies[0], other)
    _, cluster = np.unique(policies[0].users, return_inverse=True)
    n_users = int(cluster.max()) + 1
    if n_users < 2:
        raise ValueError("an interval needs episodes with at least two users")
    counts = np.bincount(cluster).astype(float)
    # sums over each user's episodes, (users, runs): all that a resample needs
    runs = np.concatenate([policy.values for policy in policies])
    sums = np.stack([np.bincount(cluster, row, n_users) for row in runs], axis=1)
    user_bits, drawn = _bits(seed, 0), []
    rows = max(1, _CHUNK // n_users)
    for start in range(0, resamples, rows):
        weights = _weights(user_bits, min(rows, resamples - start), n_users)
        drawn.append((weights @ sums) / (weights @ counts)[:, None])
    per_run, means, first = np.concatenate(drawn), [], 0
    for policy in policies:
        n_seeds = len(policy.values)
        # the stream follows from the scores, so that other policies do not change this interval
        bits = _bits(seed, 1, zlib.crc32(policy.values.tobytes()))
        weights = _weights(bits, resamples, n_seeds)
        weights = 1 + _widening(n_seeds, level) * (weights - 1)
        means.append((per_run[:, first : first + n_seeds] * weights).mean(1))
        first += n_seeds
    return np.stack(means)


def percentile_interval(mean: float, resampled: np.ndarray, level: float = LEVEL) -> Interval:
    """`mean` with the central `level` of `resampled` (resamples,)."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(mean), float(low), float(high))


def normalised_percentiles(
    means: tuple[float, float, float],
    resampled: tuple[np.ndarray, np.ndarray, np.ndarray],
    level: float = LEVEL,
) -> Interval:
    """`normalised_interval` from means and `resampled_means` of the policy, random and oracle."""
    policy, random, oracle = resampled
    mean = normalise(*means)
    if (oracle <= random).any():
        raise ValueError(
            "cannot normalise: the oracle is not clearly above random on so few users; evaluate "
            "more episodes"
        )
    return percentile_interval(mean, (policy - random) / (oracle - random), level)


def ranks(resampled: np.ndarray, level: float = LEVEL) -> list[int]:
    """`rank` from the (P, resamples) means of `resampled_means`."""
    tail = (1 - level) / 2
    # rounding may turn an exact tie into a difference of 1e-17
    better = [[np.quantile(a - b, tail) > 1e-12 for a in resampled] for b in resampled]
    return [1 + int(sum(row)) for row in better]


def _check_paired(a: Scores, b: Scores) -> None:
    if not np.array_equal(a.seeds, b.seeds):
        raise ValueError(
            "the policies were evaluated on different episode seeds and cannot be paired; evaluate "
            "both on the same evaluation list"
        )
    if not np.array_equal(a.users, b.users):
        raise ValueError(
            "the same episode seeds belong to different users, so the policies were evaluated in "
            "different worlds or environments and cannot be paired"
        )


def _bits(*stream: int) -> np.random.PCG64:
    # raw bits are guaranteed across NumPy versions, `Generator` methods are not: a rendered
    # leaderboard must not change when NumPy does
    return np.random.PCG64(np.random.SeedSequence(stream))


def _weights(bits: np.random.PCG64, rows: int, n: int) -> np.ndarray:
    if n == 1:
        return np.ones((rows, 1))
    uniform = (bits.random_raw(rows * (n - 1)) >> np.uint64(11)) * 2.0**-53
    cells = (uniform.reshape(rows, n - 1) * n).astype(np.int64) + n * np.arange(rows)[:, None]
    return np.bincount(cells.ravel(), minlength=rows * n).reshape(rows, n) * (n / (n - 1))


def _widening(n_seeds: int, level: float) -> float:
    quantile = (1 + level) / 2
    if n_seeds < 2:
        return 1.0
    return float(special.stdtrit(n_seeds - 1, quantile) / special.ndtri(quantile))

"""Statistics against theory: normal intervals, known covers, other implementations."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crs_gym.evaluation.statistics import (
    Interval,
    Scores,
    bootstrap_interval,
    interquartile_mean,
    normalise,
    normalised_interval,
    paired_difference,
    rank,
    resampled_means,
)


def scores(values: Any, **changes: Any) -> Scores:
    n = np.shape(values)[-1]
    return Scores(values, **({"users": np.arange(n), "seeds": np.arange(n)} | changes))


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_one_seed_agrees_with_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    interval = bootstrap_interval(values)
    margin = 1.96 * values.std(ddof=1) / 20
    assert interval.mean == pytest.approx(values.mean())
    # 10,000 resamples place a 2.5% quantile within about 0.03 deviations: 1.5% of the margin
    assert interval.low == pytest.approx(values.mean() - margin, abs=0.04 * margin)
    assert interval.high == pytest.approx(values.mean() + margin, abs=0.04 * margin)
    wider = bootstrap_interval(values, level=0.99)
    assert width(wider) / width(interval) == pytest.approx(2.576 / 1.96, rel=0.04)


def test_seeds_alone_agree_with_students_t() -> None:
    runs = np.random.default_rng(1).normal(size=12)
    interval = bootstrap_interval(np.repeat(runs[:, None], 50, axis=1))
    margin = stats.t.ppf(0.975, 11) * runs.std(ddof=1) / np.sqrt(12)
    assert width(interval) == pytest.approx(2 * margin, rel=0.05)


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_resampled_variance_is_unbiased(n_seeds: int) -> None:
    runs = np.random.default_rng(n_seeds).normal(size=n_seeds)
    # at the level where Student's t is (nearly) the normal quantile, nothing is widened
    (means,) = resampled_means([scores(np.repeat(runs[:, None], 4, axis=1))], level=1e-6)
    widening = stats.t.ppf(0.5 + 5e-7, n_seeds - 1) / stats.norm.ppf(0.5 + 5e-7)
    expected = widening**2 * runs.var(ddof=1) / n_seeds
    assert means.var() == pytest.approx(expected, rel=0.06)


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(60), 9)
    # nine episodes of a user are all the same: worth one
    values = np.repeat(rng.normal(size=60), 9)
    clustered, naive = bootstrap_interval(values, users), bootstrap_interval(values)
    assert width(clustered) / width(naive) == pytest.approx(3, rel=0.06)
    independent = rng.normal(size=540)
    ratio = width(bootstrap_interval(independent, users)) / width(bootstrap_interval(independent))
    assert ratio == pytest.approx(1, abs=0.15)


def test_more_seeds_do_not_shrink_what_users_cause() -> None:
    users = np.random.default_rng(3).normal(size=200)
    one, five = bootstrap_interval(users), bootstrap_interval(np.tile(users, (5, 1)))
    assert width(five) == pytest.approx(width(one), rel=1e-6)


@pytest.mark.parametrize(
    ("n_seeds", "seed_std", "user_std"), [(1, 0.0, 1.0), (3, 0.5, 0.3), (5, 0.3, 1.0)]
)
def test_coverage(n_seeds: int, seed_std: float, user_std: float) -> None:
    rng = np.random.default_rng(4)
    hits, trials = 0, 250
    for trial in range(trials):
        values = (
            rng.normal(0, seed_std, (n_seeds, 1))
            + rng.normal(0, user_std, (1, 50))
            + rng.normal(0, 0.3, (n_seeds, 50))
        )
        interval = bootstrap_interval(values, resamples=400, seed=trial)
        hits += interval.low <= 0 <= interval.high
    # three standard errors of a true 95% are 0.04; two-way resampling errs on the wide side
    assert hits / trials >= 0.91


def test_deterministic_for_a_seed() -> None:
    values = np.random.default_rng(5).normal(size=(3, 40))
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    # pinned: an upgrade of NumPy must not change a rendered leaderboard
    pinned = bootstrap_interval(np.arange(10.0), resamples=1000)
    assert pinned == pytest.approx((4.5, 8 / 3, 19 / 3), abs=1e-9)


def test_other_policies_do_not_change_an_interval() -> None:
    rng = np.random.default_rng(6)
    a, b = scores(rng.normal(size=(3, 30))), scores(rng.normal(size=(4, 30)))
    alone, together = resampled_means([a]), resampled_means([b, a])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-12)


def test_chunks_are_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    a = scores(np.random.default_rng(7).normal(size=(2, 30)))
    whole = resampled_means([a], resamples=100)
    monkeypatch.setattr("crs_gym.evaluation.statistics._CHUNK", 30 * 7)
    np.testing.assert_allclose(resampled_means([a], resamples=100), whole, atol=1e-12)


def test_pairing_removes_what_is_common() -> None:
    rng = np.random.default_rng(8)
    common = rng.normal(size=300)
    a = scores(common + 0.1 + rng.normal(0, 0.1, 300))
    b = scores(common + rng.normal(0, 0.1, 300))
    paired = paired_difference(a, b)
    difference = (a.values - b.values)[0]
    margin = 1.96 * difference.std(ddof=1) / np.sqrt(300)
    assert paired.mean == pytest.approx(difference.mean())
    assert width(paired) == pytest.approx(2 * margin, rel=0.05)
    unpaired = np.hypot(width(bootstrap_interval(a.values)), width(bootstrap_interval(b.values)))
    assert width(paired) < 0.2 * unpaired
    back = paired_difference(b, a)
    assert back == pytest.approx((-paired.mean, -paired.high, -paired.low))
    assert paired_difference(a, a) == (0, 0, 0)


def test_runs_that_belong_together_are_resampled_together():
    rng = np.random.default_rng(0)
    began = rng.normal(size=(5, 1)) + rng.normal(size=(5, 400))
    learnt = scores(began + rng.normal(0.1, 0.05, size=(5, 1)))
    began = scores(began)
    found = paired_difference(learnt, began, by_seed=True)
    apart = (learnt.values - began.values).mean(1)  # every user's is the same
    margin = stats.t.ppf(0.975, 4) * apart.std(ddof=1) / 5**0.5
    assert found.mean == pytest.approx(apart.mean())
    assert width(found) == pytest.approx(2 * margin, rel=0.08)
    assert width(paired_difference(learnt, began)) > 10 * width(found)
    with pytest.raises(ValueError, match="5 and 1 training runs"):
        paired_difference(learnt, scores(np.zeros(400)), by_seed=True)


def test_training_seeds_are_not_paired() -> None:
    runs = np.random.default_rng(9).normal(size=20)
    a, b = (scores(np.repeat(r[:, None], 30, axis=1)) for r in (runs, runs + 1e-9))
    # the same runs by number, but nothing else in common: variances add up
    margin = stats.t.ppf(0.975, 19) * runs.std(ddof=1) * np.sqrt(2 / 20)
    assert width(paired_difference(a, b)) == pytest.approx(2 * margin, rel=0.08)


def test_only_the_same_episodes_are_paired() -> None:
    a = scores(np.arange(4.0))
    with pytest.raises(ValueError, match=r"different episode seeds.*same evaluation list"):
        paired_difference(a, scores(np.arange(4.0), seeds=np.arange(1, 5)))
    with pytest.raises(ValueError, match="different episode seeds"):
        paired_difference(a, scores(np.arange(5.0)))
    with pytest.raises(ValueError, match="belong to different users"):
        paired_difference(a, scores(np.arange(4.0), users=[0, 1, 2, 2]))


def test_normalise() -> None:
    np.testing.assert_allclose(normalise(np.array([0.1, 0.9, 0.5]), 0.1, 0.9), [0, 1, 0.5])
    for oracle in (0.1, 0.0, float("nan")):
        with pytest.raises(ValueError, match="not above random"):
            normalise(0.5, 0.1, oracle)


def test_normalised_interval() -> None:
    rng = np.random.default_rng(10)
    users = rng.normal(size=400)
    random = scores(rng.normal(0, 0.3, 400))
    oracle = scores(3 + users + rng.normal(0, 0.3, 400))
    assert normalised_interval(random, random, oracle) == (0, 0, 0)
    assert normalised_interval(oracle, random, oracle) == (1, 1, 1)
    policy = scores((random.values + oracle.values) / 2)
    middle = normalised_interval(policy, random, oracle)
    assert middle == pytest.approx((0.5, 0.5, 0.5))
    # against the delta method of a ratio of paired means
    policy = scores(1 + 0.5 * users + rng.normal(0, 0.5, 400))
    interval = normalised_interval(policy, random, oracle)
    gap = oracle.mean - random.mean
    ratio = (policy.mean - random.mean) / gap
    influence = policy.values - random.values - ratio * (oracle.values - random.values)
    margin = 1.96 * influence.std(ddof=1) / np.sqrt(400) / gap
    assert interval.mean == pytest.approx(ratio)
    assert width(interval) == pytest.approx(2 * margin, rel=0.05)


def test_an_unclear_oracle_is_no_scale() -> None:
    random, oracle = scores([0.0, 1, 0, 1]), scores([1.0, 0, 1, 0.5])
    with pytest.raises(ValueError, match=r"not clearly above random.*more episodes"):
        normalised_interval(random, random, oracle)


def test_rank() -> None:
    rng = np.random.default_rng(11)
    user = rng.normal(size=500)

    def policy(mean: float) -> Scores:
        return scores(mean + user + rng.normal(0, 0.1, 500))

    best, worst = policy(1), policy(0)
    twin = scores(best.values + 1e-4 * rng.normal(size=500))
    # far better in one run than in the other: cannot be told from anything
    unsure = scores(np.stack([user + 3, user - 2]))
    policies = {"worst": worst, "best": best, "middle": policy(0.5), "twin": twin, "unsure": unsure}
    assert rank(policies) == {"worst": 4, "best": 1, "middle": 3, "twin": 1, "unsure": 1}
    assert rank({"alone": best}) == {"alone": 1}
    assert rank({}) == {}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_interquartile_mean_is_the_trimmed_mean(values: list[float]) -> None:
    expected = stats.trim_mean(values, 0.25)
    assert interquartile_mean(values) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_interquartile_mean_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])
    assert interquartile_mean([[1, 2], [3, 100]]) == 2.5


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "shape"),
        (1.0, {}, "shape|as many"),
        (np.zeros((2, 2, 2)), {}, "shape"),
        ([0.0, float("nan")], {}, "NaN"),
        ([1.0], {}, "at least two users"),
        ([1.0, 2.0], {"users": [7, 7]}, "at least two users"),
        ([1.0, 2.0], {"users": [7]}, "as many users"),
        ([1.0, 2.0], {"level": 1.0}, "level"),
        ([1.0, 2.0], {"resamples": 0}, "resamples"),
    ],
)
def test_errors(values: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)


def test_scores_are_frozen() -> None:
    own = scores([1.0, 2.0])
    assert own.values.shape == (1, 2)
    with pytest.raises(ValueError, match="read-only"):
        own.values[0, 0] = 3

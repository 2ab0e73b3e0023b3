"""Slates to recommend against enumeration."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from crs_gym.inference.recommend import (
    acceptable_slate,
    distinct_best,
    first_best,
    offers,
    top_items,
)

top3 = jax.jit(lambda utilities, excluded: top_items(utilities, 3, excluded))
distinct = jax.jit(distinct_best)
first = jax.jit(first_best)


@given(npst.arrays(np.int32, 7, unique=True, elements=st.integers(-50, 50)), npst.arrays(bool, 7))
@settings(deadline=None)
def test_top_items_are_the_best_of_those_not_excluded(utilities, excluded):
    allowed = [i for i in np.argsort(-utilities) if not excluded[i]][:3]
    best = np.asarray(top3(utilities.astype(np.float32), excluded))
    assert best.dtype == np.int32
    np.testing.assert_array_equal(best[: len(allowed)], allowed)
    assert len(set(best)) == 3


def test_top_items_without_exclusion():
    np.testing.assert_array_equal(top_items(jnp.array([0.1, 3.0, -1.0, 2.0]), 2), [1, 3])


@given(npst.arrays(np.float32, (3, 5), elements=st.integers(-9, 9)), npst.arrays(bool, 5))
@settings(deadline=None)
def test_distinct_best_goes_row_by_row(scores, excluded):
    """And takes what is excluded last."""
    expected = []
    for row in scores:
        free = [i for i in range(5) if i not in expected]
        expected.append(max(free, key=lambda i: -np.inf if excluded[i] else row[i]))
    np.testing.assert_array_equal(distinct(scores, excluded), expected)
    if not excluded.any():
        np.testing.assert_array_equal(distinct(scores), expected)


@given(
    npst.arrays(
        np.float32, 6, elements=st.sampled_from([-np.inf, -1e30, -2.0, -0.0, 0.0, 1.5, 3.0])
    )
)
@settings(deadline=None)
def test_first_best_is_argmax(scores):
    best = first(scores)
    assert best == np.argmax(scores)
    assert best.dtype == jnp.int32


@pytest.mark.parametrize("scores", [[-np.inf] * 6, [2.0] * 6, [-np.inf, 1, 5, 5, 1, 5], [7.0]])
def test_first_best_of_ties(scores):
    assert first_best(jnp.array(scores)) == np.argmax(scores)


def test_first_best_is_a_place_even_of_nan():
    assert 0 <= first_best(jnp.full(6, jnp.nan)) < 6


@pytest.fixture(scope="module")
def acceptance(samples, items, model):
    """What offering a slate is worth in the belief, by definition."""
    gap = np.asarray(samples.embeddings @ items.embeddings.T) - np.asarray(samples.null)[:, None]
    odds = np.exp(gap.astype(np.float64) / model.temperature)

    def probability(slate):
        total = odds[:, list(slate)].sum(1)
        return float(np.asarray(samples.weights) @ (total / (1 + total)))

    return probability


def test_offers_are_the_items_most_likely_to_be_accepted(samples, items, model, acceptance):
    excluded = np.isin(np.arange(40), [3, 7])
    found = offers(samples, items, model, jnp.asarray(excluded), 40)
    expected = np.array([acceptance([i]) for i in found.items])
    expected[excluded[found.items]] = 0.0
    np.testing.assert_allclose(found.acceptance, expected, atol=1e-5)
    assert set(found.items[-2:].tolist()) == {3, 7}
    assert (np.diff(found.acceptance) <= 0).all()
    best = sorted(np.flatnonzero(~excluded), key=lambda i: -acceptance([i]))
    few = offers(samples, items, model, jnp.asarray(excluded), 12)
    assert few.items[0] == best[0]
    assert len(set(few.items.tolist()) & set(best[:6])) >= 5


@pytest.mark.parametrize("rejected", [[], [9, 17], [0, 5, 9, 11, 17, 20]])
def test_acceptable_slate_against_all_pairs(samples, items, model, acceptance, rejected):
    excluded = np.isin(np.arange(40), rejected)
    slate = acceptable_slate(samples, items, model, 2, jnp.asarray(excluded)).tolist()
    allowed = np.flatnonzero(~excluded).tolist()
    assert set(slate) <= set(allowed)
    best = max(acceptance(pair) for pair in combinations(allowed, 2))
    assert acceptance(slate) >= 0.97 * best
    assert acceptance(slate[:1]) == pytest.approx(max(acceptance([i]) for i in allowed), abs=1e-5)
    # the two most acceptable items please the same users: a slate needs more than that
    alone = sorted(allowed, key=lambda i: -acceptance([i]))[:2]
    assert acceptance(slate) >= acceptance(alone)


def test_acceptable_slate_when_little_is_left(samples, items, model):
    excluded = jnp.ones(40, bool).at[9].set(False)
    slate = acceptable_slate(samples, items, model, 3, excluded).tolist()
    assert slate[0] == 9
    assert len(set(slate)) == 3


@pytest.mark.parametrize("temperature", [0.0, 1e-9, np.inf])
def test_acceptable_slate_at_extreme_temperatures(samples, items, model, temperature):
    extreme = model._replace(temperature=jnp.float32(temperature))
    slate = acceptable_slate(samples, items, extreme, 3, jnp.zeros(40, bool)).tolist()
    assert len(set(slate)) == 3
    if temperature < 1:
        better = np.asarray(samples.embeddings @ items.embeddings.T) > samples.null[:, None]
        covered = np.asarray(samples.weights) @ np.asarray(better)
        assert covered[slate[0]] == pytest.approx(covered.max(), abs=1e-5)

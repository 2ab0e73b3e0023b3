"""Slates and queries against enumeration."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import softmax
from scipy.stats import norm

from crs_gym.inference.belief import Samples
from crs_gym.inference.query import (
    acceptable_slate,
    attribute_queries,
    balanced_items,
    believed_targets,
    distinct_best,
    offers,
    query_iteration,
    thompson_slate,
    top_items,
)
from crs_gym.users import UserModel, items_of
from crs_gym.users.model import null_utility

top3 = jax.jit(lambda utilities, excluded: top_items(utilities, 3, excluded))
distinct = jax.jit(distinct_best)
improve = jax.jit(query_iteration)


def peu(slate, embeddings, weights, world, temperature):
    """Posterior expected utility of an item query, by its definition."""
    phi, items = np.asarray(embeddings, np.float64), world.item_embeddings.astype(np.float64)
    joint = softmax(phi @ items[list(slate)].T / temperature, axis=1) * np.asarray(weights)[:, None]
    return (joint.T @ phi @ items.T).max(1).sum()


@pytest.fixture(scope="module")
def belief():
    rng = np.random.default_rng(3)
    embeddings = (rng.normal(size=(500, 2)) * [0.8, 1.2] + [0.2, 0.1]).astype(np.float32)
    weights = rng.exponential(size=500).astype(np.float32)
    return jnp.asarray(embeddings), jnp.asarray(weights / weights.sum())


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


@given(npst.arrays(np.float32, (3, 5), elements=st.integers(-9, 9)))
@settings(deadline=None)
def test_distinct_best_goes_row_by_row(scores):
    expected = []
    for row in scores:
        free = [i for i in range(5) if i not in expected]
        expected.append(max(free, key=lambda i: row[i]))
    np.testing.assert_array_equal(distinct(scores), expected)


def test_thompson_slate_frequencies(plane_world, belief, goodness_of_fit):
    """The first item is the best one of a sample drawn by weight; the second never repeats it."""
    embeddings, weights = belief
    items = items_of(plane_world)
    slates = jax.jit(jax.vmap(lambda key: thompson_slate(key, embeddings, weights, items, 2)))(
        jax.random.split(jax.random.key(0), 20_000)
    )
    best = (np.asarray(embeddings) @ plane_world.item_embeddings.T).argmax(1)
    probabilities = np.bincount(best, weights, minlength=plane_world.n_items)
    counts = np.bincount(slates[:, 0], minlength=plane_world.n_items)
    assert goodness_of_fit(counts, probabilities / probabilities.sum()) > 1e-4
    assert (slates[:, 0] != slates[:, 1]).all()


def test_query_iteration_improves_and_comes_near_the_best_pair(plane_world, belief):
    embeddings, weights = belief
    items, temperature = items_of(plane_world), 0.4
    model = UserModel(temperature=temperature)
    values = {
        frozenset(pair): peu(pair, embeddings, weights, plane_world, temperature)
        for pair in combinations(range(plane_world.n_items), 2)
    }
    best = max(values.values())
    # asking for nothing: the best item for the mean
    nothing = (weights @ embeddings @ plane_world.item_embeddings.T).max()
    assert best > nothing + 0.05
    assert min(values.values()) > nothing - 1e-5  # the value of information is never negative
    shares = []
    for start in [(0, 1), (5, 17), (30, 2), (12, 39), (8, 25), (21, 33)]:
        slate = np.asarray(improve(jnp.array(start), embeddings, weights, items, model))
        assert len(set(slate.tolist())) == 2
        reached = values[frozenset(slate.tolist())]
        assert reached >= values[frozenset(start)] - 1e-6
        shares.append((reached - nothing) / (best - nothing))
    assert max(shares) >= 0.9
    assert np.median(shares) >= 0.9


def test_query_iteration_keeps_more_places_distinct(plane_world):
    """Even where every response points to the same item."""
    embeddings = np.tile(np.array([[1.0, 0.5]], np.float32), (20, 1))
    weights = np.full(20, 0.05, np.float32)
    slate = improve(
        jnp.array([0, 1, 2, 3]), embeddings, weights, items_of(plane_world), UserModel()
    )
    utilities = plane_world.item_embeddings @ embeddings[0]
    np.testing.assert_array_equal(np.sort(slate), np.sort(np.argsort(-utilities)[:4]))


@pytest.fixture(scope="module")
def holding(plane_world, belief):
    """A belief with null utilities, and what offers are worth in it, by definition."""
    items, model = items_of(plane_world), UserModel(temperature=0.3, null_z=1.0)
    samples = Samples(*belief, null_utility(belief[0], items, model))
    gap = np.asarray(belief[0]) @ plane_world.item_embeddings.T - np.asarray(samples.null)[:, None]
    odds = np.exp(gap.astype(np.float64) / 0.3)

    def acceptance(slate):
        total = odds[:, list(slate)].sum(1)
        return float(np.asarray(belief[1]) @ (total / (1 + total)))

    return items, model, samples, acceptance


def test_offers_are_the_items_most_likely_to_be_accepted(plane_world, holding):
    items, model, samples, acceptance = holding
    excluded = np.zeros(plane_world.n_items, bool)
    excluded[[3, 7]] = True
    found = offers(samples, items, model, jnp.asarray(excluded), plane_world.n_items)
    expected = np.array([acceptance([i]) for i in found.items])
    expected[np.asarray(excluded)[found.items]] = 0.0
    np.testing.assert_allclose(found.acceptance, expected, atol=1e-5)
    assert set(found.items[-2:].tolist()) == {3, 7}
    assert (np.diff(found.acceptance) <= 0).all()
    best = sorted(
        (i for i in range(plane_world.n_items) if not excluded[i]), key=lambda i: -acceptance([i])
    )
    few = offers(samples, items, model, jnp.asarray(excluded), 12)
    assert few.items[0] == best[0]
    assert len(set(few.items.tolist()) & set(best[:6])) >= 5


@pytest.mark.parametrize("rejected", [[], [9, 17], [0, 5, 9, 11, 17, 20]])
def test_acceptable_slate_against_all_pairs(plane_world, holding, rejected):
    items, model, samples, acceptance = holding
    excluded = np.zeros(plane_world.n_items, bool)
    excluded[rejected] = True
    slate = acceptable_slate(samples, items, model, 2, jnp.asarray(excluded)).tolist()
    allowed = np.flatnonzero(~excluded).tolist()
    assert set(slate) <= set(allowed)
    best = max(acceptance(pair) for pair in combinations(allowed, 2))
    assert acceptance(slate) >= 0.97 * best
    assert acceptance(slate[:1]) == pytest.approx(max(acceptance([i]) for i in allowed), abs=1e-5)
    # the two most acceptable items please the same users: a slate needs more than that
    alone = sorted(allowed, key=lambda i: -acceptance([i]))[:2]
    assert acceptance(slate) >= acceptance(alone)


def test_acceptable_slate_when_little_is_left(plane_world, holding):
    items, model, samples, _ = holding
    excluded = jnp.ones(plane_world.n_items, bool).at[9].set(False)
    slate = acceptable_slate(samples, items, model, 3, excluded).tolist()
    assert slate[0] == 9
    assert len(set(slate)) == 3


@pytest.mark.parametrize("temperature", [0.0, 1e-9, np.inf])
def test_acceptable_slate_at_extreme_temperatures(plane_world, holding, temperature):
    items, model, samples, _ = holding
    extreme = model._replace(temperature=jnp.float32(temperature))
    excluded = jnp.zeros(plane_world.n_items, bool)
    slate = acceptable_slate(samples, items, extreme, 3, excluded).tolist()
    assert len(set(slate)) == 3
    if temperature < 1:
        odds = (
            np.asarray(samples.embeddings) @ plane_world.item_embeddings.T
            > np.asarray(samples.null)[:, None]
        )
        covered = [np.asarray(samples.weights) @ odds[:, i] for i in range(plane_world.n_items)]
        assert covered[slate[0]] == pytest.approx(max(covered), abs=1e-5)


def test_attribute_queries_are_worth_what_enumeration_says(plane_world, holding):
    items, model, samples, _ = holding
    model = model._replace(target_scale=2.0, answer_noise=0.4)
    found = attribute_queries(samples, items, model)
    phi, weights = (np.asarray(x, np.float64) for x in samples[:2])
    features = plane_world.item_embeddings.astype(np.float64)
    targets = 2 * phi / np.linalg.norm(phi, axis=1, keepdims=True) @ plane_world.cavs.T
    for g in range(plane_world.n_attributes):
        item = found.items[g]
        wanted = weights @ targets[:, g]
        distance = np.abs(plane_world.attribute_scores[:, g] - wanted)
        assert distance[item] <= distance.min() + 1e-5
        gap = targets[:, g] - plane_world.attribute_scores[int(item), g]
        value = -(weights @ phi @ features.T).max()
        for chance in (norm.cdf(gap / 0.4), norm.cdf(-gap / 0.4)):
            value += ((weights * chance) @ phi @ features.T).max()
        assert found.values[g] == pytest.approx(value, abs=1e-5)
        assert value >= -1e-6
    assert found.values.max() > 0.01
    useless = attribute_queries(samples, items, model._replace(answer_noise=jnp.inf))
    np.testing.assert_allclose(useless.values, 0, atol=1e-5)


def test_believed_targets(plane_world, belief):
    embeddings, weights = belief
    mean, deviation = believed_targets(
        embeddings, weights, items_of(plane_world), UserModel(target_scale=2.0)
    )
    embeddings = np.asarray(embeddings, np.float64)
    targets = 2 * embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = targets @ plane_world.cavs.T
    expected = np.average(scores, 0, weights)
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    np.testing.assert_allclose(
        deviation, np.sqrt(np.average((scores - expected) ** 2, 0, weights)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("attribute", range(4))
def test_balanced_items_are_nearest_to_the_mean_target(plane_world, belief, attribute):
    embeddings, weights = belief
    items, model = items_of(plane_world), UserModel(target_scale=2.0)
    item = balanced_items(believed_targets(embeddings, weights, items, model)[0], items)[attribute]
    targets = 2 * embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    wanted = weights @ targets @ plane_world.cavs[attribute]
    distance = np.abs(plane_world.attribute_scores[:, attribute] - wanted)
    assert distance[item] <= distance.min() + 1e-5

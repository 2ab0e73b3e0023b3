"""The queries that are found against all that there are."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from crs_gym.inference.search import (
    attribute_queries,
    believed_targets,
    climb,
    exhaustive_item_query,
    item_query,
    query_iteration,
    thompson_slate,
)
from crs_gym.inference.value import attribute_query_value, bound, by_choice, item_query_value
from crs_gym.users import UserModel

NOBODY = np.zeros(40, bool)
SOME = np.isin(np.arange(40), [0, 3, 8, 9, 17, 30])
KEYS = jax.random.split(jax.random.key(2), 8)

improve = jax.jit(query_iteration)
ask = jax.jit(
    lambda key, samples, items, model, k, excluded: item_query(
        key, samples, items, model, k, excluded=excluded
    ),
    static_argnums=4,
)
about = jax.jit(attribute_queries, static_argnames=("thresholds", "reach", "contenders"))
value_about = jax.jit(attribute_query_value)
climbing = jax.jit(jax.vmap(climb, in_axes=(0, None, None, None)))


def all_values(samples, items, model, k, excluded=None):
    """Of every slate of k allowed items its EVOI, by definition."""
    phi, weights = (np.asarray(x, np.float64) for x in samples[:2])
    features = np.asarray(items.embeddings, np.float64)
    allowed = np.arange(len(features)) if excluded is None else np.flatnonzero(~excluded)
    now = (weights @ phi @ features[allowed].T).max()
    slates = np.array(list(combinations(allowed, k)))
    utilities, weighted, values = phi @ features.T, weights[:, None] * phi, []
    for part in np.array_split(slates, len(slates) // 500 + 1):
        chosen = softmax(utilities[:, part] / model.temperature, axis=-1)
        vectors = np.einsum("msk,md->skd", chosen, weighted)
        values.append((vectors @ features[allowed].T).max(-1).sum(-1) - now)
    return dict(zip(map(frozenset, slates.tolist()), np.concatenate(values), strict=True))


@pytest.fixture(scope="module")
def pairs(samples, items, model):
    return all_values(samples, items, model, 2)


def test_thompson_slate_frequencies(samples, items, goodness_of_fit):
    """The first item is the best one of a sample drawn by weight; the second never repeats it."""
    slates = jax.jit(jax.vmap(lambda key: thompson_slate(key, samples, items, 2)))(
        jax.random.split(jax.random.key(0), 20_000)
    )
    best = np.asarray(samples.embeddings @ items.embeddings.T).argmax(1)
    probabilities = np.bincount(best, samples.weights, minlength=40)
    counts = np.bincount(slates[:, 0], minlength=40)
    assert goodness_of_fit(counts, probabilities / probabilities.sum()) > 1e-4
    assert (slates[:, 0] != slates[:, 1]).all()


def test_thompson_slate_names_no_excluded_item(samples, items):
    best = np.asarray(samples.embeddings @ items.embeddings.T).argmax(1)
    out = np.isin(np.arange(40), best[:50])
    slates = jax.vmap(lambda key: thompson_slate(key, samples, items, 3, out))(KEYS)
    assert not out[slates].any()


def test_query_iteration_improves_and_comes_near_the_best_pair(samples, items, model, pairs):
    best, shares = max(pairs.values()), []
    assert best > 0.05
    for start in [(0, 1), (5, 17), (30, 2), (12, 39), (8, 25), (21, 33)]:
        slate = np.asarray(improve(jnp.array(start), samples, items, model)).tolist()
        assert len(set(slate)) == 2
        reached = pairs[frozenset(slate)]
        assert reached >= pairs[frozenset(start)] - 1e-6
        shares.append(reached / best)
    assert max(shares) >= 0.9
    assert np.median(shares) >= 0.9


def test_query_iteration_keeps_more_places_distinct(samples, items):
    """Even where every response points to the same item."""
    certain = samples._replace(embeddings=jnp.tile(jnp.array([1.0, 0.5]), (500, 1)))
    slate = query_iteration(jnp.array([0, 1, 2, 3]), certain, items, UserModel())
    utilities = items.embeddings @ certain.embeddings[0]
    np.testing.assert_array_equal(np.sort(slate), np.sort(np.argsort(-utilities)[:4]))


@pytest.mark.parametrize(("k", "excluded"), [(2, None), (2, SOME), (3, NOBODY), (3, SOME)])
def test_item_query_against_all_slates(samples, items, model, k, excluded):
    values = all_values(samples, items, model, k, excluded)
    best = max(values.values())
    for key in KEYS[:4]:
        slate, value = ask(key, samples, items, model, k, excluded)
        assert slate.dtype == jnp.int32
        assert len(set(slate.tolist())) == k
        # the slate is among the allowed ones, and worth what it says
        assert value == pytest.approx(values[frozenset(slate.tolist())], abs=1e-5)
        assert value >= 0.97 * best


def test_item_query_without_the_gradient(samples, items, model, pairs):
    search = jax.jit(lambda key: item_query(key, samples, items, model, 2, climbs=0))
    for key in KEYS:
        assert search(key).value >= 0.97 * max(pairs.values())


@given(st.sets(st.integers(0, 39), max_size=37), st.integers(0, 7))
@settings(deadline=None, max_examples=50)
def test_item_query_never_names_an_excluded_item(samples, items, model, out, key):
    excluded = np.isin(np.arange(40), list(out))
    slate, value = ask(KEYS[key], samples, items, model, 3, excluded)
    assert not excluded[slate].any()
    assert len(set(slate.tolist())) == 3
    again = item_query_value(samples, slate, items, model, excluded)
    assert value == pytest.approx(float(again), abs=1e-5)
    assert value >= -1e-5


def test_item_query_where_too_few_are_left(samples, items, model):
    excluded = np.arange(40) != 11
    slate, value = ask(KEYS[0], samples, items, model, 3, excluded)
    assert 11 in slate
    assert len(set(slate.tolist())) == 3
    assert value == pytest.approx(0, abs=1e-5)  # there is but one thing to recommend


@pytest.mark.parametrize("changes", [{"temperature": 0.0}, {"temperature": np.inf}])
def test_item_query_at_extreme_temperatures(samples, items, model, changes):
    slate, value = ask(KEYS[0], samples, items, model._replace(**changes), 2, None)
    assert len(set(slate.tolist())) == 2
    if changes["temperature"] == 0:
        sure = all_values(samples, items, model._replace(temperature=1e-9), 2)
        assert value >= 0.97 * max(sure.values())
    else:
        assert value == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("among", [range(40), range(3, 40, 4), range(2, 40, 3), (7, 3)])
def test_exhaustive_item_query_is_the_best_of_its_items(samples, items, model, among):
    """As many of them as are even or odd; no others are recommended afterwards."""
    values = all_values(samples, items, model, 2, ~np.isin(np.arange(40), among))
    slate, value = exhaustive_item_query(samples, items, model, jnp.array(list(among)))
    assert value == pytest.approx(max(values.values()), abs=1e-5)
    assert value == pytest.approx(values[frozenset(slate.tolist())], abs=1e-5)
    assert value > 0.05


def test_climbing_raises_the_bound(samples, items, model):
    starts = items.embeddings[np.random.default_rng(2).integers(0, 40, (50, 2))]
    found = climbing(starts, samples, items, model)

    def height(points):
        return np.asarray(jax.vmap(lambda x: bound(by_choice(samples, x, model), items))(points))

    longest = np.linalg.norm(items.embeddings, axis=1).max()
    assert np.linalg.norm(found, axis=-1).max() <= longest * (1 + 1e-5)
    before, after = height(starts), height(found)
    assert (after >= 0.99 * before).all()
    assert after.mean() > 1.1 * before.mean()
    # from everywhere to nearly the same height
    assert np.median(after) > 0.95 * after.max()


def test_climbing_ends_where_it_began_without_a_gradient(samples, items, model):
    starts = items.embeddings[np.random.default_rng(2).integers(0, 40, (50, 2))]
    found = climbing(starts, samples, items, model._replace(temperature=0.0))
    np.testing.assert_allclose(found, starts, rtol=1e-5)


def cut(samples, seed):
    """Another belief: the samples that lie in some half-plane."""
    side = np.random.default_rng(seed).normal(size=2)
    weights = np.asarray(samples.weights) * (np.asarray(samples.embeddings) @ side > 0.3)
    return samples._replace(weights=jnp.asarray(weights / weights.sum(), jnp.float32))


def every_value(samples, items, model, excluded=NOBODY):
    """(40, 4) of the query about each item and attribute."""
    item, attribute = jnp.meshgrid(jnp.arange(40), jnp.arange(4), indexing="ij")
    return np.asarray(value_about(samples, item, attribute, items, model, excluded))


@pytest.mark.parametrize("excluded", [NOBODY, SOME])
def test_attribute_queries_against_all_items(samples, items, model, excluded):
    found = about(samples, items, model, excluded=excluded)
    assert found.items.dtype == jnp.int32
    values = every_value(samples, items, model, excluded)
    np.testing.assert_allclose(found.values, values[found.items, np.arange(4)], atol=1e-5)
    assert values.max() > 0.5
    assert (found.values >= 0.97 * values.max(0)).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_attribute_queries_of_skewed_beliefs(samples, items, model, seed):
    belief = cut(samples, seed)
    found = np.asarray(about(belief, items, model, excluded=NOBODY).values)
    best = every_value(belief, items, model).max(0)
    assert best.max() > 0.05
    assert (found >= 0.94 * best - 1e-5).all()


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_a_finer_and_wider_grid_finds_all(samples, items, model, seed):
    belief = cut(samples, seed)
    found = about(belief, items, model, excluded=NOBODY, thresholds=33, reach=4.0)
    best = every_value(belief, items, model).max(0)
    assert (found.values >= 0.99 * best - 1e-5).all()


def test_attribute_queries_about_some_attributes(samples, items, model):
    full = about(samples, items, model)
    some = jnp.array([3, 1])
    part = about(samples, items, model, attributes=some)
    np.testing.assert_array_equal(part.items, full.items[some])
    np.testing.assert_allclose(part.values, full.values[some], atol=1e-6)


def test_attribute_queries_with_few_contenders_say_what_they_are_worth(samples, items, model):
    found = about(samples, items, model, excluded=NOBODY, contenders=3, thresholds=5)
    values = every_value(samples, items, model)
    np.testing.assert_allclose(found.values, values[found.items, np.arange(4)], atol=1e-5)
    assert found.values.max() > 0.5 * values.max()


def test_answers_that_are_useless_or_sure(samples, items, model):
    useless = about(samples, items, model._replace(answer_noise=np.inf), excluded=NOBODY)
    np.testing.assert_allclose(useless.values, 0, atol=1e-5)
    certain = model._replace(answer_noise=0.0)
    sure = about(samples, items, certain, excluded=NOBODY)
    best = every_value(samples, items, certain).max(0)
    assert (sure.values >= 0.97 * best).all()


def test_believed_targets(plane_world, samples, items, model):
    mean, deviation = believed_targets(samples, items, model)
    embeddings = np.asarray(samples.embeddings, np.float64)
    targets = 2 * embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = targets @ plane_world.cavs.T
    expected = np.average(scores, 0, samples.weights)
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    variance = np.average((scores - expected) ** 2, 0, samples.weights)
    np.testing.assert_allclose(deviation, np.sqrt(variance), rtol=1e-4, atol=1e-5)

"""Values of queries against their definition, response by response."""

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

from crs_gym.inference import Samples
from crs_gym.inference.value import (
    attribute_query_value,
    best_utility,
    bound,
    by_answer,
    by_choice,
    expected_utility,
    item_query_value,
    posterior_expected_utility,
    recommendation_value,
)
from crs_gym.users import UserModel
from crs_gym.users.model import null_utility, target_attributes
from tests.inference.grid import make_items

NOBODY = np.zeros(40, bool)
SOME = np.isin(np.arange(40), [0, 3, 8, 9, 17, 30])


def exact(samples):
    return np.asarray(samples.embeddings, np.float64), np.asarray(samples.weights, np.float64)


def best(samples, weights, items, excluded):
    """What the best item is worth in expectation, under these weights of the samples."""
    phi, _ = exact(samples)
    utilities = phi @ np.asarray(items.embeddings, np.float64).T
    belief = weights / weights.sum()
    return max(belief @ utilities[:, i] for i in np.flatnonzero(~excluded))


def evoi(samples, responses, items, excluded):
    """sum over rho of P(rho) max_i E[u_i | rho], less EU*; `responses` (m, R)."""
    _, weights = exact(samples)
    total = -best(samples, weights, items, excluded)
    for chance in responses.T:
        total += weights @ chance * best(samples, weights * chance, items, excluded)
    return total


def choices(samples, slate, items, model):
    phi, _ = exact(samples)
    utilities = phi @ np.asarray(items.embeddings, np.float64)[list(slate)].T
    return softmax(utilities / model.temperature, axis=1)


def answers(samples, item, attribute, items, model):
    phi, _ = exact(samples)
    target = model.target_scale * phi / np.linalg.norm(phi, axis=1, keepdims=True)
    gap = target @ np.asarray(items.cavs)[attribute] - items.attributes[item, attribute]
    more = norm.cdf(gap / model.answer_noise)
    return np.column_stack([more, 1 - more])


@pytest.mark.parametrize("excluded", [NOBODY, SOME])
def test_expected_utility(samples, items, excluded):
    expected = best(samples, exact(samples)[1], items, excluded)
    assert expected_utility(samples, items, excluded) == pytest.approx(expected, abs=1e-5)
    if not excluded.any():
        assert expected_utility(samples, items) == pytest.approx(expected, abs=1e-5)


def test_nothing_is_left_to_recommend(samples, items):
    everything = jnp.ones(40, bool)
    assert expected_utility(samples, items, everything) == 0
    np.testing.assert_array_equal(best_utility(samples.embeddings, items, everything), 0)


@pytest.mark.parametrize("excluded", [None, NOBODY, SOME])
@pytest.mark.parametrize("slate", [(0, 1), (5, 17), (8, 8), (30, 2, 11), (1, 7, 7)])
def test_item_queries_by_enumeration(samples, items, model, slate, excluded):
    out = NOBODY if excluded is None else excluded
    responses = choices(samples, slate, items, model)
    value = item_query_value(samples, jnp.array(slate), items, model, excluded)
    assert value == pytest.approx(evoi(samples, responses, items, out), abs=1e-5)
    vectors = by_choice(samples, items.embeddings[jnp.array(slate)], model)
    phi, weights = exact(samples)
    np.testing.assert_allclose(vectors, (responses * weights[:, None]).T @ phi, atol=1e-5)
    peu = posterior_expected_utility(vectors, items, excluded)
    assert peu == pytest.approx(float(value) + best(samples, weights, items, out), abs=1e-5)


def test_some_item_query_is_worth_asking(samples, items, model):
    pairs = jnp.array(list(combinations(range(40), 2)))
    values = jax.vmap(lambda pair: item_query_value(samples, pair, items, model))(pairs)
    assert values.max() > 0.05
    assert values.min() > -1e-5


@pytest.mark.parametrize("excluded", [None, SOME])
def test_attribute_queries_by_enumeration(samples, items, model, excluded):
    about, attribute = jnp.array([0, 9, 31, 9]), jnp.array([0, 1, 3, 2])
    values = attribute_query_value(samples, about, attribute, items, model, excluded)
    out = NOBODY if excluded is None else excluded
    for value, i, g in zip(values, about, attribute, strict=True):
        responses = answers(samples, i, g, items, model)
        assert value == pytest.approx(evoi(samples, responses, items, out), abs=1e-5)
    assert values.max() > 0.01
    useless = model._replace(answer_noise=jnp.inf)
    values = attribute_query_value(samples, about, attribute, items, useless, excluded)
    np.testing.assert_allclose(values, 0, atol=1e-5)


def test_both_answers_add_up_to_the_mean(samples, items, model):
    targets = target_attributes(samples.embeddings, items, model)
    vectors = by_answer(
        samples, targets[:, jnp.array([[1], [3]])], jnp.array([[0.1], [2.0]]), model
    )
    assert vectors.shape == (2, 1, 2, 2)
    mean = samples.weights @ samples.embeddings
    np.testing.assert_allclose(vectors.sum(-2), np.broadcast_to(mean, (2, 1, 2)), atol=1e-5)


@pytest.mark.parametrize("excluded", [None, SOME])
@pytest.mark.parametrize("slate", [(1, 2), (5, 17, 25)])
def test_recommendations_by_enumeration(samples, items, model, slate, excluded):
    phi, weights = exact(samples)
    utilities = phi @ np.asarray(items.embeddings, np.float64).T
    null = utilities.mean(1) + model.null_z * utilities.std(1)
    offer = np.column_stack([utilities[:, slate], null]) / model.temperature
    chosen = softmax(offer, axis=1)
    out = NOBODY if excluded is None else excluded
    expected = sum(weights @ (chosen[:, r] * utilities[:, i]) for r, i in enumerate(slate))
    refused = weights * chosen[:, -1]
    left = out | np.isin(np.arange(40), slate)
    expected += refused.sum() * best(samples, refused, items, left)
    expected -= best(samples, weights, items, out)
    value = recommendation_value(
        samples, jnp.array(slate), items, model, None if excluded is None else jnp.array(excluded)
    )
    assert value == pytest.approx(expected, abs=1e-5)


def test_a_recommendation_may_cost(samples, items, model):
    """Of the worst item, to users who take anything."""
    worst = jnp.argmin(items.embeddings @ (samples.weights @ samples.embeddings))
    anything = samples._replace(null=jnp.full(500, -50.0))
    assert recommendation_value(anything, worst[None], items, model) < -0.1


@jax.jit
def all_values(samples, slate, attribute, items, model, excluded):
    vectors = by_choice(samples, items.embeddings[slate], model)
    return {
        "slate": item_query_value(samples, slate, items, model, excluded),
        "same": item_query_value(samples, slate[:1].repeat(3), items, model, excluded),
        "answer": attribute_query_value(samples, slate[0], attribute, items, model, excluded),
        "peu": posterior_expected_utility(vectors, items),
        "bound": bound(vectors, items),
    }


@given(
    phi=npst.arrays(np.float32, (5, 3), elements=st.floats(-4, 4, width=16)),
    weights=npst.arrays(np.float32, 5, elements=st.integers(0, 9)),
    embeddings=npst.arrays(np.float32, (6, 3), elements=st.floats(-4, 4, width=16)),
    cavs=npst.arrays(np.float32, (2, 3), elements=st.floats(-1, 1, width=16)),
    slate=npst.arrays(np.int32, 3, elements=st.integers(0, 5)),
    attribute=st.integers(0, 1),
    excluded=npst.arrays(bool, 6),
    temperature=st.sampled_from([0.0, 0.1, 1.0, np.inf]),
    noise=st.sampled_from([0.0, 0.5, np.inf]),
)
@settings(deadline=None)
def test_what_holds_for_every_query(
    phi, weights, embeddings, cavs, slate, attribute, excluded, temperature, noise
):
    """Information is worth at least nothing, at most knowing phi_u; and F bounds PEU."""
    weights = weights + np.float32(1e-3)
    weights = weights / weights.sum()
    items = make_items(embeddings, cavs)
    model = UserModel(temperature=temperature, answer_noise=noise)
    samples = Samples(phi, weights, null_utility(phi, items, model))
    found = all_values(samples, slate, attribute, items, model, excluded)
    # rounding is relative to the largest utility that there can be
    unit = 1e-5 * max(
        1.0, np.linalg.norm(phi, axis=1).max() * np.linalg.norm(embeddings, axis=1).max()
    )
    assert found["slate"] >= -unit
    assert found["answer"] >= -unit
    assert abs(found["same"]) <= unit
    knowing = weights @ (phi @ embeddings.T).max(1)
    assert found["peu"] <= knowing + unit
    assert found["bound"] >= found["peu"] - unit


def test_the_bound_by_hand(samples, items):
    vectors = jnp.array([[3.0, 4.0], [0.0, 0.0], [-1.0, 0.0]])
    longest = np.linalg.norm(np.asarray(items.embeddings), axis=1).max()
    assert bound(vectors, items) == pytest.approx(6 * longest, rel=1e-5)
    slope = jax.grad(lambda vectors: bound(vectors, items))(vectors)
    assert np.isfinite(slope).all()

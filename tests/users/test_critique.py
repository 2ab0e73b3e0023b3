"""Which attribute is critiqued, and of which item."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import log_softmax

from crs_gym.users import Percept, critique

K, G = 3, 5
log_probs = jax.jit(critique.log_probs)
referent = jax.jit(critique.referent)
sample = jax.jit(critique.sample)

TARGET = np.array([0.5, -1.0, 2.0, 0.0, -0.2], np.float32)
SLATE = np.array(
    [[0.0, 1.0, 1.0, 0.3, 0.2], [1.0, -1.0, 0.0, -0.3, 0.1], [9, 9, 9, 9, 9]], np.float32
)


def percept(filled=(True, True, False), slate=SLATE, target=TARGET):
    filled = np.array(filled)
    return Percept(
        utilities=jnp.where(filled, 0.0, -jnp.inf),
        null=jnp.float32(0),
        target=jnp.asarray(target),
        slate=jnp.asarray(np.where(filled[:, None], slate, 0.0), jnp.float32),
        filled=jnp.asarray(filled),
    )


def expected_log_probs(critiqued, temperature):
    salience = np.abs(TARGET.astype(np.float64) - SLATE[:2].astype(np.float64).mean(0))
    return log_softmax(np.where(critiqued, -np.inf, salience / temperature))


def test_slate_mean_counts_filled_places_only():
    np.testing.assert_allclose(critique.slate_mean(percept()), SLATE[:2].mean(0), rtol=1e-6)
    np.testing.assert_allclose(critique.slate_mean(percept((False, False, True))), SLATE[2])
    np.testing.assert_array_equal(critique.slate_mean(percept((False,) * 3)), np.zeros(G))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 5.0])
@pytest.mark.parametrize("already", [(), (2,), (0, 2, 3)])
def test_softmax_over_salience(temperature, already, goodness_of_fit):
    critiqued = np.isin(np.arange(G), already)
    expected = expected_log_probs(critiqued, temperature)
    actual = log_probs(percept(), critiqued, temperature)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    uniforms = jax.random.uniform(jax.random.key(5), (20_000,))
    drawn = jax.jit(jax.vmap(critique.sample, (0, None, None, None)))(
        uniforms, percept(), critiqued, temperature
    )
    assert goodness_of_fit(np.bincount(drawn, minlength=G), np.exp(expected)) > 1e-4


def test_temperature_zero_takes_the_most_salient():
    # salience 0, 1, 1.5, 0, 0.35 for the slate of two items
    none = np.zeros(G, bool)
    np.testing.assert_array_equal(np.exp(log_probs(percept(), none, 0.0)), [0, 0, 1, 0, 0])
    used = np.isin(np.arange(G), [2])
    np.testing.assert_array_equal(np.exp(log_probs(percept(), used, 0.0)), [0, 1, 0, 0, 0])
    used = np.isin(np.arange(G), [1, 2, 4])  # attributes 0 and 3 tie
    np.testing.assert_allclose(np.exp(log_probs(percept(), used, 0.0)), [0.5, 0, 0, 0.5, 0])


def test_temperature_infinity_takes_any_that_is_left():
    used = np.isin(np.arange(G), [1])
    np.testing.assert_allclose(
        np.exp(log_probs(percept(), used, jnp.inf)), [0.25, 0, 0.25, 0.25, 0.25]
    )


@pytest.mark.parametrize("temperature", [0.0, 0.5, np.inf])
def test_nothing_is_left_to_critique(temperature):
    every = np.ones(G, bool)
    assert (np.asarray(log_probs(percept(), every, temperature)) == -np.inf).all()
    assert 0 <= sample(0.5, percept(), every, temperature) < G


def test_users_of_a_batch_share_the_slate():
    targets = np.stack([TARGET, TARGET[::-1], np.zeros(G, np.float32)])
    none = np.zeros(G, bool)
    batch = log_probs(percept(target=targets), none, 0.5)
    for i in range(3):
        np.testing.assert_allclose(
            batch[i], log_probs(percept(target=targets[i]), none, 0.5), rtol=1e-6
        )


@given(
    slate=npst.arrays(np.float32, (K, G), elements=st.integers(-3, 3)),
    filled=npst.arrays(bool, K).filter(np.any),
    attribute=st.integers(0, G - 1),
    direction=st.sampled_from([1, -1]),
)
@settings(max_examples=200, deadline=None)
def test_referent_is_the_item_furthest_the_wrong_way(slate, filled, attribute, direction):
    column = [(direction * slate[i, attribute], i) for i in range(K) if filled[i]]
    assert referent(percept(filled, slate), attribute, direction) == min(column)[1]

"""Multinomial logit against its formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from crs_gym.users import choice

log_probs = jax.jit(choice.log_probs)
UTILITIES = np.array([0.4, -1.3, -np.inf, 2.1], np.float32)
DRAWS = 20_000


def frequencies(utilities, temperature, null=None):
    uniforms = jax.random.uniform(jax.random.key(2), (DRAWS,))
    log_probabilities = log_probs(utilities, temperature, null)
    slots = jax.jit(jax.vmap(choice.sample, (0, None)))(uniforms, log_probabilities)
    return np.bincount(slots, minlength=len(log_probabilities))


@pytest.mark.parametrize("temperature", [0.15, 1.0, 30.0])
@pytest.mark.parametrize("null", [None, 1.2])
def test_formula_and_frequencies(temperature, null, goodness_of_fit):
    everything = UTILITIES if null is None else np.append(UTILITIES, np.float32(null))
    expected = log_softmax(everything.astype(np.float64) / temperature)
    actual = np.asarray(log_probs(UTILITIES, temperature, null))
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=1e-6)
    counts = frequencies(UTILITIES, temperature, null)
    assert goodness_of_fit(counts, np.exp(expected)) > 1e-4


@pytest.mark.parametrize(
    ("utilities", "null", "expected"),
    [
        ([1.0, 3.0, 2.0], None, [0, 1, 0]),
        ([3.0, 3.0, 2.0], None, [0.5, 0.5, 0]),
        ([1.0, 3.0, 2.0], 4.0, [0, 0, 0, 1]),
        ([4.0, 3.0, 4.0], 4.0, [1 / 3, 0, 1 / 3, 1 / 3]),
        ([-np.inf, -5.0, -np.inf], None, [0, 1, 0]),
    ],
)
def test_temperature_zero_chooses_the_best_and_shares_ties(utilities, null, expected):
    actual = log_probs(np.array(utilities, np.float32), 0.0, null)
    np.testing.assert_allclose(np.exp(actual), expected, rtol=1e-6)


def test_temperature_infinity_chooses_any():
    np.testing.assert_allclose(np.exp(log_probs(UTILITIES, jnp.inf)), [1 / 3, 1 / 3, 0, 1 / 3])
    np.testing.assert_allclose(
        np.exp(log_probs(UTILITIES, jnp.inf, 9.0)), [0.25, 0.25, 0, 0.25, 0.25]
    )


def test_an_empty_slate_leaves_the_null_item():
    np.testing.assert_array_equal(log_probs(jnp.full(2, -jnp.inf), 0.2, -7.0), [-np.inf] * 2 + [0])


def test_differences_that_overflow_the_exponential():
    actual = log_probs(np.array([0.0, 40.0], np.float32), 0.01, -40.0)
    np.testing.assert_allclose(actual, [-4000, 0, -8000], rtol=1e-6)


def test_batches_of_users_equal_single_users():
    rng = np.random.default_rng(0)
    utilities = rng.normal(size=(5, 3)).astype(np.float32)
    temperature = np.array([0, 0.1, 1, 10, np.inf], np.float32)
    null = rng.normal(size=5).astype(np.float32)
    batch = log_probs(utilities, temperature, null)
    for i in range(5):
        np.testing.assert_allclose(
            batch[i], log_probs(utilities[i], temperature[i], null[i]), rtol=1e-6
        )
    shared = log_probs(utilities, 0.5, 1.0)  # one temperature and null item for all of them
    np.testing.assert_allclose(shared[3], log_probs(utilities[3], 0.5, 1.0), rtol=1e-6)

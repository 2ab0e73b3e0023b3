"""Tempered logits and the inversion of a discrete distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crs_gym.users.draws import pick, tempered

BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))
pick_jit = jax.jit(pick)
tempered_jit = jax.jit(tempered)

logit = st.floats(-200, 200, width=32) | st.just(-np.inf)


def test_tempered_is_utility_over_temperature_up_to_a_constant():
    utilities = np.array([[1.0, -2.0, 0.5], [3.0, 3.0, -np.inf]], np.float32)
    temperature = np.array([0.5, 4.0], np.float32)
    logits = np.asarray(tempered_jit(utilities, temperature))
    expected = (utilities - utilities.max(1, keepdims=True)) / temperature[:, None]
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert logits.max() == 0


def test_tempered_at_zero_keeps_the_largest_alone():
    utilities = jnp.array([0.3, 0.7, -jnp.inf, 0.7])
    np.testing.assert_array_equal(tempered_jit(utilities, 0.0), [-np.inf, 0, -np.inf, 0])


def test_tempered_at_infinity_levels_all_finite_utilities():
    utilities = jnp.array([0.3, -500.0, -jnp.inf, 0.7])
    np.testing.assert_array_equal(tempered_jit(utilities, jnp.inf), [0, 0, -np.inf, 0])


@pytest.mark.parametrize("temperature", [0.0, 1.0, np.inf])
def test_tempered_of_nothing_possible(temperature):
    assert (np.asarray(tempered_jit(jnp.full(3, -jnp.inf), temperature)) == -np.inf).all()


def test_pick_inverts_the_distribution_function_exactly():
    # probabilities 1/8, 0, 1/2, 1/4, 1/8 and uniforms on a dyadic grid: no rounding anywhere
    probabilities = np.array([0.125, 0.0, 0.5, 0.25, 0.125])
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities).astype(np.float32)
    uniforms = (np.arange(64) + 0.5) / 64
    picked = pick_jit(uniforms.astype(np.float32), np.broadcast_to(logits, (64, 5)))
    expected = np.searchsorted(probabilities.cumsum(), uniforms, side="right")
    np.testing.assert_array_equal(picked, expected)
    assert picked.dtype == jnp.int32


@pytest.mark.parametrize(
    ("uniform", "logits", "expected"),
    [
        (0.0, [-np.inf, 0.0, 0.0], 1),
        (0.0, [0.0, 0.0, -np.inf], 0),
        (BELOW_ONE, [0.0, 0.0, -np.inf], 1),
        (BELOW_ONE, [0.0, -np.inf, -np.inf], 0),
        (BELOW_ONE, [-np.inf, 0.0, -300.0], 1),  # exp(-300) is 0 in float32
        (0.0, [-300.0, 0.0, -np.inf], 1),
        (0.5, [-np.inf, -np.inf, 0.0], 2),
    ],
)
def test_pick_at_the_ends(uniform, logits, expected):
    assert pick_jit(np.float32(uniform), np.array(logits, np.float32)) == expected


@given(
    logits=st.lists(logit, min_size=7, max_size=7).filter(lambda x: max(x) > -np.inf),
    uniform=st.sampled_from([0.0, float(BELOW_ONE)])
    | st.floats(0, 1, exclude_max=True, width=32, allow_subnormal=False),
)
@settings(max_examples=300, deadline=None)
def test_pick_never_picks_probability_zero(logits, uniform):
    logits = np.array(logits, np.float32)
    index = int(pick_jit(np.float32(uniform), logits))
    assert jax.nn.softmax(logits)[index] > 0


@pytest.mark.parametrize("n", [3, 34, 130])
def test_pick_never_picks_probability_zero_at_the_steps(n):
    # uniforms right at, below and above every step of many random distributions
    rng = np.random.default_rng(n)
    logits = rng.normal(0, 2, (300, n)).astype(np.float32)
    logits[rng.random(logits.shape) < 0.4] = -np.inf
    logits[np.arange(300), rng.integers(0, n, 300)] = 0.0
    probabilities = np.asarray(jax.nn.softmax(logits, axis=-1))
    steps = probabilities.cumsum(1, dtype=np.float32).clip(0, BELOW_ONE)
    below, above = np.nextafter(steps, np.float32(0)), np.nextafter(steps, BELOW_ONE)
    uniforms = np.concatenate([steps, below, above], axis=1)
    picked = np.asarray(jax.jit(jax.vmap(jax.vmap(pick, (0, None))))(uniforms, logits))
    assert (np.take_along_axis(probabilities, picked, axis=1) > 0).all()


def test_pick_frequencies(goodness_of_fit):
    logits = np.array([0.3, -1.0, -np.inf, 2.0, -4.0], np.float32)
    uniforms = jax.random.uniform(jax.random.key(1), (20_000,))
    picked = jax.jit(jax.vmap(pick, (0, None)))(uniforms, logits)
    weights = np.exp(logits.astype(np.float64))
    counts = np.bincount(picked, minlength=5)
    assert goodness_of_fit(counts, weights / weights.sum()) > 1e-4


def test_without_temperature_there_is_no_gradient():
    def log_probability(utilities):
        return jax.nn.log_softmax(tempered(utilities, jnp.float32(0)))[0]

    for utilities in ([1.0, 1.0, 0.0], [1.0, 0.5, -jnp.inf]):
        gradient = jax.jit(jax.grad(log_probability))(jnp.array(utilities))
        np.testing.assert_array_equal(gradient, 0)

"""Probit answers against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from crs_gym.users import answer

log_prob = jax.jit(answer.log_prob)
log_prob_more = jax.jit(answer.log_prob_more)

value = st.floats(-8, 8, width=32, allow_subnormal=False)


@given(value, value, st.floats(0.0625, 50, width=32))
@settings(max_examples=300, deadline=None)
def test_both_answers_follow_the_normal_distribution_function(target, mean, noise):
    z = (np.float64(np.float32(target) - np.float32(mean))) / np.float64(np.float32(noise))
    # a relative error of 1e-6 in z becomes one of about z * 1e-6 in the tail's density
    for direction in (1, -1):
        np.testing.assert_allclose(
            log_prob(direction, target, mean, noise),
            norm.logcdf(direction * z),
            rtol=5e-6,
            atol=1e-6,
        )


@pytest.mark.parametrize("z", [-30.0, -12.0, -10.0, -9.9, -5.0, 5.0, 9.9, 12.0, 30.0])
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_far_tails_are_finite_and_right(z, noise):
    for direction in (1, -1):
        actual = log_prob(direction, z * noise, 0.0, noise)
        np.testing.assert_allclose(actual, norm.logcdf(direction * z), rtol=1e-5, atol=1e-7)
    assert np.isfinite(log_prob_more(z * noise, 0.0, noise))


@given(value, value, st.sampled_from([0.0, np.inf]) | st.floats(0.015625, 64, width=32))
@settings(max_examples=200, deadline=None)
def test_more_and_less_sum_to_one(target, mean, noise):
    total = sum(np.exp(float(log_prob(d, target, mean, noise))) for d in (1, -1))
    assert total == pytest.approx(1.0, abs=2e-6)


@pytest.mark.parametrize(
    ("target", "mean", "more"), [(1.0, 0.5, 1.0), (0.5, 1.0, 0.0), (0.5, 0.5, 0.5)]
)
def test_without_noise_the_answer_is_sure(target, mean, more):
    assert np.exp(log_prob(1, target, mean, 0.0)) == pytest.approx(more)
    assert np.exp(log_prob(-1, target, mean, 0.0)) == pytest.approx(1 - more)
    uniforms = jnp.array([0.0, 0.25, 0.75, np.nextafter(np.float32(1), np.float32(0))])
    drawn = answer.sample(uniforms, jnp.float32(target), jnp.float32(mean), jnp.float32(0.0))
    np.testing.assert_array_equal(drawn, np.where(np.asarray(uniforms) < more, 1, -1))


def test_infinite_noise_is_a_coin_flip():
    for direction in (1, -1):
        assert np.exp(log_prob(direction, 7.0, -7.0, jnp.inf)) == 0.5


@pytest.mark.parametrize("z", [-2.5, -0.3, 0.0, 1.0])
def test_frequencies(z, goodness_of_fit):
    uniforms = jax.random.uniform(jax.random.key(3), (20_000,))
    drawn = np.asarray(jax.jit(answer.sample)(uniforms, 1 + 0.5 * z, 1.0, 0.5))
    assert drawn.dtype == np.int32
    counts = np.array([(drawn == -1).sum(), (drawn == 1).sum()])
    assert counts.sum() == 20_000
    assert goodness_of_fit(counts, norm.cdf([-z, z])) > 1e-4

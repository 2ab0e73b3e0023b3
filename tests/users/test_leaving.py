"""The hazard of leaving."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.users import Context, UserModel, leaving

CONTEXT = Context(jnp.int32(3), jnp.int32(2), jnp.zeros(4, bool), jnp.zeros(9, bool))
MODEL = UserModel(leave_base=0.01, leave_turn=0.1, leave_question=0.2, leave_dissatisfaction=0.5)
log_prob_leave = jax.jit(leaving.log_prob_leave)


@pytest.mark.parametrize(
    ("is_question", "shortfall", "patience", "expected"),
    [
        (False, 0.0, 1.0, 0.01 + 0.1 * 3 + 0.2 * 2),
        (True, 0.0, 1.0, 0.01 + 0.1 * 3 + 0.2 * 3),
        (False, 0.8, 1.0, 0.01 + 0.1 * 3 + 0.2 * 2 + 0.5 * 0.8),
        (False, 0.8, 4.0, (0.01 + 0.1 * 3 + 0.2 * 2 + 0.5 * 0.8) / 4),
    ],
)
def test_hazard(is_question, shortfall, patience, expected):
    rate = leaving.hazard(
        CONTEXT, jnp.array(is_question), jnp.float32(shortfall), jnp.float32(patience), MODEL
    )
    assert rate == pytest.approx(expected, rel=1e-6)


def test_nobody_leaves_by_default():
    rate = leaving.hazard(CONTEXT, jnp.array(True), jnp.float32(5.0), jnp.float32(1.0), UserModel())
    assert rate == 0
    assert log_prob_leave(rate) == -np.inf
    assert leaving.log_prob_stay(rate) == 0
    assert not leaving.sample(jnp.float32(0.0), rate)


@pytest.mark.parametrize("rate", [1e-30, 1e-8, 1e-3, 0.7, 5.0, 60.0])
def test_log_probabilities(rate):
    exact = np.log(-np.expm1(-np.float64(np.float32(rate))))
    np.testing.assert_allclose(log_prob_leave(jnp.float32(rate)), exact, rtol=2e-6, atol=1e-30)
    assert leaving.log_prob_stay(jnp.float32(rate)) == -np.float32(rate)


def test_infinite_rate():
    assert log_prob_leave(jnp.float32(jnp.inf)) == 0
    assert leaving.log_prob_stay(jnp.float32(jnp.inf)) == -np.inf
    assert leaving.sample(jnp.float32(0.999), jnp.float32(jnp.inf))


@pytest.mark.parametrize("rate", [0.02, 0.7, 3.0])
def test_frequencies(rate, goodness_of_fit):
    uniforms = jax.random.uniform(jax.random.key(6), (20_000,))
    left = int(leaving.sample(uniforms, jnp.float32(rate)).sum())
    probability = 1 - np.exp(-rate)
    counts = np.array([left, 20_000 - left])
    assert goodness_of_fit(counts, np.array([probability, 1 - probability])) > 1e-4

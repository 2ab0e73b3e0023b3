"""What all ways to hold a belief share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from crs_gym.acts import NONE
from crs_gym.inference.belief import effective_size, latest, mean_and_std, systematic
from tests.inference.grid import TURNS, as_history, as_turn, beginning, conversations

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
draw = jax.jit(systematic, static_argnums=2)
newest = jax.jit(latest)


def test_latest_is_the_turn_that_began_in_the_context(plane_world):
    turns = conversations(plane_world)["mixed"]
    history, context = as_history(turns), beginning(4, 40)
    for i, turn in enumerate(turns):
        found = newest(history, context._replace(turn=jnp.int32(i)))
        jax.tree.map(np.testing.assert_array_equal, found, as_turn(*turn))


@pytest.mark.parametrize("said", [2, TURNS])
def test_latest_of_a_finished_conversation_is_no_response(plane_world, said):
    history = as_history(conversations(plane_world)["mixed"][:said])
    found = newest(history, beginning(4, 40)._replace(turn=jnp.int32(said)))
    assert found.response.kind == NONE
    assert found.act.slate.shape == (3,)


@given(
    npst.arrays(np.float32, 9, elements=st.floats(0, 1, width=32)),
    st.floats(0, 0.9375, width=32),
)
@settings(deadline=None)
def test_systematic_draws_each_floor_or_ceil_times(weights, uniform):
    assume(weights.sum() > 0.01)
    weights = weights / weights.sum()
    chosen = np.asarray(draw(uniform, weights, 16))
    assert chosen.dtype == np.int32
    assert (np.diff(chosen) >= 0).all()
    counts, wanted = np.bincount(chosen, minlength=9), 16 * weights.astype(np.float64)
    assert len(counts) == 9
    # float32 sums are wrong by up to 1e-4 of a draw
    assert (counts >= np.floor(wanted - 1e-4)).all()
    assert (counts <= np.ceil(wanted + 1e-4)).all()
    assert not counts[weights == 0].any()


def test_systematic_is_unbiased():
    """Over all shifts each index comes draws * w_i times on average."""
    weights = np.array([0.11, 0.0, 0.37, 0.02, 0.5], np.float32)
    shifts = (np.arange(4000, dtype=np.float32) + 0.5) / 4000
    chosen = jax.vmap(lambda shift: systematic(shift, weights, 7))(shifts)
    counts = np.bincount(np.ravel(chosen), minlength=5) / 4000
    np.testing.assert_allclose(counts, 7 * weights, atol=1e-3)


def test_systematic_keeps_what_is_even():
    np.testing.assert_array_equal(draw(0.5, jnp.full(64, 1 / 64), 64), np.arange(64))


def test_systematic_never_draws_what_has_no_weight():
    """Not even at the upper end of the uniform draw, where rounding reaches the last edge."""
    weights = jnp.array([0.5, 0.5, 0.0])
    assert np.asarray(draw(BELOW_ONE, weights, 256)).max() == 1


def test_effective_size_and_moments_by_hand():
    weights = jnp.array([0.5, 0.25, 0.25, 0.0])
    assert effective_size(weights) == pytest.approx(1 / (0.25 + 2 * 0.0625))
    assert effective_size(jnp.full(8, 0.125)) == 8
    np.testing.assert_allclose(effective_size(jnp.eye(3)), 1)
    mean, std = mean_and_std(jnp.array([[0.0], [4.0], [8.0], [99.0]]), weights)
    assert mean == pytest.approx(3)
    assert std == pytest.approx(np.sqrt(0.25 * 16 + 0.25 * 64 - 9))


def test_moments_of_matrices_go_along_the_samples():
    values = np.random.default_rng(0).normal(size=(30, 2, 3))
    weights = np.random.default_rng(1).dirichlet(np.ones(30))
    mean, std = mean_and_std(values.astype(np.float32), weights.astype(np.float32))
    expected = np.average(values, 0, weights)
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    variance = np.average((values - expected) ** 2, 0, weights)
    np.testing.assert_allclose(std, np.sqrt(variance), atol=1e-5)

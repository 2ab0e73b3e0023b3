import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.acts import RecommenderKind, UserKind
from crs_gym.generation.behaviour import behave
from crs_gym.generation.settings import Settings
from crs_gym.simulation import episode_key, rollout, seed_key
from crs_gym.users import log_prob


@pytest.fixture(scope="module", params=["personal", pytest.param("cold", marks=pytest.mark.slow)])
def played(request, small_world, settings):
    chosen = Settings(**{**vars(settings), "prior": request.param})
    simulator, policy = chosen.simulator(small_world), chosen.policy()
    keys = jax.vmap(episode_key, in_axes=(None, 0))(seed_key(5), jnp.arange(14))
    begun, moves = behave(simulator, policy, chosen.inference(), keys, 14, lanes=4)
    return simulator, policy, chosen.inference(), keys, begun, moves


def test_lanes_play_what_a_rollout_plays(played):
    simulator, policy, inference, keys, begun, moves = played
    expected = rollout(simulator, policy, inference, keys)
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), moves.turn, expected.history)
    assert all(jax.tree.leaves(same))
    np.testing.assert_array_equal(begun.user_id, expected.user_id)
    np.testing.assert_allclose(moves.reward.sum(1), expected.reward, atol=1e-6)
    kinds = set(np.unique(moves.turn.act.kind)) | {
        10 + k for k in np.unique(moves.turn.response.kind)
    }
    assert {
        *RecommenderKind,
        10 + UserKind.ACCEPT,
        10 + UserKind.CHOOSE,
        10 + UserKind.ANSWER,
    } <= kinds


def test_what_is_recorded_is_what_happened(played):
    simulator, _, _, keys, begun, moves = played
    for n in range(len(keys)):
        state = simulator.reset(keys[n])
        utilities = np.asarray(simulator.items.embeddings @ state.user.embedding)
        np.testing.assert_allclose(begun.user.embedding[n], state.user.embedding, atol=1e-6)
        np.testing.assert_allclose(begun.utility_best[n], utilities.max(), rtol=1e-5)
        for t in range(int((moves.turn.act.kind[n] >= 0).sum())):
            turn = jax.tree.map(lambda x, n=n, t=t: x[n, t], moves.turn)
            percept = simulator.percept(state, turn.act)
            value = log_prob(
                turn.response, state.user, turn.act, percept, state.context, simulator.model
            )
            np.testing.assert_allclose(moves.log_prob[n, t], value, atol=1e-4)
            offered = np.asarray(turn.act.slate)
            found = np.asarray(moves.utilities[n, t])[offered >= 0]
            np.testing.assert_allclose(found, utilities[offered[offered >= 0]], atol=1e-4)
            believed = int(moves.believed[n, t])
            span = utilities.max() - utilities.mean()
            regret = (utilities.max() - utilities[believed]) / span
            np.testing.assert_allclose(moves.regret[n, t], regret, atol=1e-4)
            assert moves.evoi[n, t] > -1e-4
            state, _ = simulator.settle(state, turn)
        assert bool(state.done)


def test_keys_beyond_the_count_are_not_played(played):
    simulator, policy, inference, keys, _, moves = played
    _, fewer = behave(simulator, policy, inference, keys, 5, lanes=4)
    for all_, some in zip(jax.tree.leaves(moves.turn), jax.tree.leaves(fewer.turn), strict=True):
        np.testing.assert_array_equal(all_[:5], some[:5])
    assert (np.asarray(fewer.turn.act.kind)[5:] == -1).all()


def test_another_count_compiles_nothing(played):
    simulator, policy, inference, keys, *_ = played
    before = behave._cache_size()
    behave(simulator, policy, inference, keys, 3, lanes=4)
    assert behave._cache_size() == before

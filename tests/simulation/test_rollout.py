"""Whole conversations agree with those played step by step."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.acts import NONE, RecommenderAct, UserKind
from crs_gym.inference import Metropolis, PriorSamples
from crs_gym.policies.reference import AskThenRecommend, Oracle, Popularity
from crs_gym.simulation import Simulator, evaluation_keys, rollout, turn_keys
from crs_gym.simulation.rollout import view_of

INFERENCE = PriorSamples.of(64, 8)


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["name"])
@dataclass(frozen=True)
class Anything:
    """Says anything at all, illegal acts included."""

    name: str = "anything"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(self, key, view, simulator, inference):
        kind, slate, attribute = jax.random.split(key, 3)
        return RecommenderAct(
            jax.random.randint(kind, (), 0, 3),
            jax.random.randint(slate, (simulator.slate_size,), -1, simulator.n_items),
            jax.random.randint(attribute, (), 0, simulator.n_attributes),
            jnp.int32(1),
        )


@pytest.fixture(scope="module")
def lively(small_world):
    changes = {"null_z": 1.5, "critique_rate": 0.5, "leave_turn": 0.03, "leave_question": 0.05}
    return Simulator.of(small_world, user_model=changes)


@pytest.fixture(scope="module")
def keys():
    return evaluation_keys(0, 64)


@pytest.fixture(scope="module")
def episodes(lively, keys):
    return rollout(lively, Anything(), INFERENCE, keys)


def assert_same_episodes(one, other):
    for name, a, b in zip(one._fields, one, other, strict=True):
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            if name in ("reward", "utility"):
                np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
            else:
                np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("batch", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_an_episode_is_the_same_in_every_batch(lively, keys, episodes, batch):
    part = rollout(lively, Anything(), INFERENCE, keys[:batch])
    assert_same_episodes(part, jax.tree.map(lambda x: x[:batch], episodes))


def test_a_rollout_is_what_reset_and_step_play(lively, keys, episodes):
    reset, step = jax.jit(lively.reset), jax.jit(lively.step)
    act = jax.jit(lambda key, view: Anything().act(key, view, lively, INFERENCE))
    for b in range(8):
        state, total = reset(keys[b]), 0.0
        start = state
        while not state.done:
            _, key = turn_keys(state.key, state.context.turn + 1)
            state, outcome = step(state, act(key, view_of(state, None, Anything())))
            total += float(outcome.reward)
        assert episodes.reward[b] == pytest.approx(total, abs=1e-5)
        assert episodes.turns[b] == state.context.turn
        assert episodes.user_id[b] == start.user_id
        assert episodes.accepted[b] == (outcome.turn.response.kind == UserKind.ACCEPT)
        assert episodes.left[b] == (outcome.turn.response.kind == UserKind.LEAVE)
        for x, y in zip(
            jax.tree.leaves(state.history),
            jax.tree.leaves(jax.tree.map(lambda x, b=b: x[b], episodes.history)),
            strict=True,
        ):
            np.testing.assert_array_equal(x, y)


def test_summaries_follow_from_the_histories(lively, small_world, keys, episodes):
    act, response = (jax.tree.map(np.asarray, part) for part in episodes.history)
    phi = np.asarray(jax.jit(jax.vmap(lively.reset))(keys).user.embedding)
    assert len({bool(x) for x in episodes.accepted}) == 2  # both happen
    assert len({bool(x) for x in episodes.left}) == 2
    for b in range(64):
        kinds = response.kind[b]
        turns = int((kinds != NONE).sum())
        assert episodes.turns[b] == turns
        assert episodes.left[b] == (UserKind.LEAVE in kinds)
        assert episodes.accepted[b] == (UserKind.ACCEPT in kinds)
        expected = 0.0
        if episodes.accepted[b]:
            item = act.slate[b, turns - 1, response.slot[b, turns - 1]]
            utilities = small_world.item_embeddings @ phi[b]
            expected = (utilities[item] - utilities.mean()) / (utilities.max() - utilities.mean())
        assert episodes.utility[b] == pytest.approx(expected, abs=1e-4)
        assert episodes.reward[b] == pytest.approx(expected - 0.02 * turns, abs=1e-4)


def test_the_same_keys_give_the_same_users_to_every_policy(lively, keys, episodes):
    other = rollout(lively, Popularity(), INFERENCE, keys)
    np.testing.assert_array_equal(other.user_id, episodes.user_id)


@pytest.mark.parametrize("prior", ["cold", pytest.param("personal", marks=pytest.mark.slow)])
def test_a_belief_is_the_same_in_every_batch(lively, keys, prior):
    simulator, policy = lively.with_prior(prior), AskThenRecommend(2, "attribute")
    many = rollout(simulator, policy, INFERENCE, keys)
    few = rollout(simulator, policy, INFERENCE, keys[:1])
    assert_same_episodes(few, jax.tree.map(lambda x: x[:1], many))


def test_only_the_privileged_see_the_user(lively, keys):
    state = lively.reset(keys[0])
    assert view_of(state, None, Anything()).user is None
    user = view_of(state, None, Oracle()).user
    assert user is not None
    np.testing.assert_array_equal(user.embedding, state.user.embedding)


def test_nothing_compiles_again(lively, small_world, keys):
    policy = AskThenRecommend(2, "attribute")
    rollout(lively, policy, INFERENCE, keys)
    before = rollout._cache_size()
    others = evaluation_keys(7, len(keys))
    rollout(lively, AskThenRecommend(3, "attribute"), INFERENCE, others)
    changed = Simulator.of(small_world, turn_cost=0.5, user_model={"leave_base": 0.1})
    rollout(changed, policy, PriorSamples.of(64, 8, seed=1), others)
    assert rollout._cache_size() == before


def test_the_program_stays_small(lively, keys):
    """What is long to compile: a loop that is unrolled, or a step that is written out twice."""
    program = rollout.lower(lively, AskThenRecommend(2, "item"), Metropolis.of(32), keys[:8])
    lines = program.as_text().count("\n")
    assert 1_000 < lines < 12_000, lines

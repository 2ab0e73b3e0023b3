"""The two-player game: PettingZoo's own tests, and the single-player episodes with ICER users."""

import warnings
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.acts import RecommenderAct, RecommenderKind, UserKind
from crs_gym.envs.user import (
    FLOOR,
    allowed,
    number_of,
    response_of,
    responses,
)
from crs_gym.simulation import Simulator
from crs_gym.users import Context, log_prob, perceive

pytest.importorskip("pettingzoo")

from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

from crs_gym.envs import pettingzoo as game
from crs_gym.envs.pettingzoo import RECOMMENDER, USER

pytestmark = pytest.mark.filterwarnings("error")

SMALL: dict[str, Any] = {"belief_samples": 8, "candidates": 4, "max_turns": 4}
KINDS = {
    "macro": {"env_id": "crs/IcerMacro-v0"},
    "items": {"env_id": "crs/Icer-v0"},
    "embedding": {"env_id": "crs/Icer-v0", "action": "embedding", "prior": "personal"},
}


@pytest.mark.parametrize(
    "kind", ["items", *(pytest.param(k, marks=pytest.mark.slow) for k in ("macro", "embedding"))]
)
def test_pettingzoos_own_tests(plane_world, kind):
    arguments = {"world": plane_world, **SMALL, **KINDS[kind]}
    with warnings.catch_warnings():
        # for other games than its own it warns of dictionaries with masks, and of unlike players
        warnings.simplefilter("ignore", UserWarning)
        api_test(game.env(**arguments), num_cycles=60)
        seed_test(lambda: game.env(**arguments), num_cycles=30)
        parallel_api_test(game.parallel_env(**arguments), num_cycles=40)
        parallel_seed_test(lambda: game.parallel_env(**arguments), num_cycles=20)


def test_with_the_icer_model_as_user_it_is_the_single_player_environment(plane_world):
    arguments = {"world": plane_world, **SMALL}
    env = game.env("crs/Icer-v0", likelihood_weight=0.0, **arguments)
    single = gymnasium.make("crs/Icer-v0", **arguments)
    single.action_space.seed(0)
    for episode in range(6):
        env.reset(seed=3 if episode == 0 else None)
        observation, _ = single.reset(seed=3 if episode == 0 else None)
        over = False
        while not over:
            np.testing.assert_allclose(
                env.observe(RECOMMENDER)["observation"], observation, atol=1e-4
            )
            action = single.action_space.sample()
            observation, reward, terminated, truncated, info = single.step(action)
            env.step(action)
            assert env.agent_selection == USER
            response = env.unwrapped.icer_action()
            assert env.observe(USER)["action_mask"][response] == 1
            env.step(response)
            over = terminated or truncated
            for agent in (RECOMMENDER, USER):
                assert env.rewards[agent] == pytest.approx(reward, abs=1e-5)
                assert env.terminations[agent] == terminated
                assert env.truncations[agent] == truncated
            assert env.infos[RECOMMENDER]["accepted_item"] == info["accepted_item"]
        assert env.unwrapped.env.turns() == single.unwrapped.turns()


def test_the_likelihood_of_what_is_said_is_rewarded(plane_world):
    arguments = {"world": plane_world, **SMALL}
    env = game.IcerGame("crs/Icer-v0", likelihood_weight=0.5, **arguments)
    simulator = env.env.core.simulator
    env.reset(seed=1)
    env.step(np.array([1, 4, 9, 0]))
    state = env.env.talk.state
    for place in (0, 1):
        env.reset(seed=1)
        env.step(np.array([1, 4, 9, 0]))
        act = RecommenderAct(*map(jnp.asarray, (1, np.array([4, 9]), -1, 0)))
        percept = perceive(state.user.embedding, act, simulator.items, simulator.model)
        response = response_of(jnp.int32(simulator.slate_size + 1 + 8 + place), act, percept)
        assert (response.kind, response.slot) == (UserKind.CHOOSE, place)
        expected = log_prob(response, state.user, act, percept, state.context, simulator.model)
        env.step(simulator.slate_size + 1 + 8 + place)
        assert env.infos[USER]["log_likelihood"] == pytest.approx(float(expected), abs=1e-4)
        assert env.rewards[USER] == pytest.approx(-0.02 + 0.5 * float(expected), abs=1e-4)


@pytest.fixture(scope="module")
def looks(plane_world):
    """Acts of all kinds, in contexts of all kinds, as many users see them."""
    simulator = Simulator.of(plane_world, user_model={"leave_base": 0.1})
    keys = jax.random.split(jax.random.key(0), 24)
    embeddings = jax.random.normal(keys[0], (24, 2))
    slates = ((3, 5), (7, -1), (-1, -1))
    kinds = [(0, s, -1) for s in slates] + [(1, slates[0], -1), (2, (7, -1), 1), (2, (7, -1), 3)]
    found = []
    for n, (kind, slate, attribute) in enumerate(kinds * 4):
        act = RecommenderAct(*map(jnp.asarray, (kind, np.array(slate), attribute, int(kind == 2))))
        critiqued = jnp.arange(4) < n % 5
        context = Context(jnp.int32(1), jnp.int32(0), critiqued, jnp.zeros(40, bool))
        percept = perceive(embeddings[n], act, simulator.items, simulator.model)
        user = simulator.reset(keys[n]).user._replace(embedding=embeddings[n])
        found.append((act, context, percept, user, simulator.model))
    return found


def test_what_is_allowed_is_what_the_icer_model_can_say(looks):
    size = len(responses(2, 4).kind)
    assert size == 2 * 2 + 2 * 4 + 4
    for act, context, percept, user, model in looks:
        mask = allowed(act, context, percept)
        for index in range(size):
            response = response_of(jnp.int32(index), act, percept)
            value = log_prob(response, user, act, percept, context, model)
            assert bool(mask[index]) == bool(value > -jnp.inf), (act, response)
        said = [response_of(jnp.int32(i), act, percept) for i in np.flatnonzero(mask)]
        total = sum(float(jnp.exp(log_prob(r, user, act, percept, context, model))) for r in said)
        assert total == pytest.approx(1.0, abs=1e-4)  # nothing that can be said is missing


def test_numbers_and_responses_are_inverse(looks):
    for act, context, percept, *_ in looks:
        for index in np.flatnonzero(allowed(act, context, percept)):
            response = response_of(jnp.int32(index), act, percept)
            assert number_of(response, 2, 4) == index


def test_what_the_user_sees(plane_world):
    env = game.IcerGame("crs/Icer-v0", world=plane_world, **SMALL)
    env.reset(seed=5)
    env.step(np.array([2, 11, 0, 3]))
    seen = env.observe(USER)["observation"]
    blocks = {name: seen[place] for name, place in env.user_layout.items()}
    state = env.env.talk.state
    np.testing.assert_allclose(blocks["embedding"], state.user.embedding, atol=1e-6)
    utilities = plane_world.item_embeddings @ np.asarray(state.user.embedding)
    assert blocks["utilities"][0] == pytest.approx(utilities[11], abs=1e-4)
    assert blocks["utilities"][1] == 0
    assert list(blocks["filled"]) == [1, 0]
    assert list(blocks["asked"]) == [0, 0, 0, 1]
    assert list(blocks["act"]) == [0, 0, 1]
    assert blocks["act"][RecommenderKind.ASK_ATTRIBUTE] == 1
    simulator = env.env.core.simulator
    expected = np.concatenate([simulator.items.attributes[11], np.zeros(4)])
    np.testing.assert_allclose(blocks["attributes"], expected, atol=1e-5)


def test_the_floor_keeps_the_reward_finite(plane_world):
    model = {"critique_rate": 0.0}
    env = game.IcerGame("crs/Icer-v0", world=plane_world, user_model=model, **SMALL)
    env.reset(seed=0)
    env.step(np.array([0, 1, 2, 0]))
    env.step(3)  # a critique, which this user never makes
    assert env.infos[USER]["log_likelihood"] == FLOOR


def test_without_a_seed_every_game_differs(plane_world):
    seen = []
    for _ in range(2):
        env = game.IcerGame("crs/Icer-v0", world=plane_world, **SMALL)
        users = []
        for _ in range(6):
            env.reset()
            users.append(env.infos[RECOMMENDER]["user_id"])
        seen.append(users)
    assert seen[0] != seen[1]


def test_info_says_who_moves_and_nothing_twice(plane_world):
    env = game.parallel_env("crs/Icer-v0", world=plane_world, **SMALL)
    _, infos = env.reset(seed=0)
    assert infos[USER]["active_agent"] == RECOMMENDER
    question = np.array([1, 4, 9, 0])
    *_, infos = env.step({RECOMMENDER: question, USER: 0})
    assert infos[USER] == {"active_agent": USER}
    *_, infos = env.step({RECOMMENDER: question, USER: 2 + 1 + 8})
    assert infos[RECOMMENDER]["active_agent"] == RECOMMENDER
    assert infos[USER]["log_likelihood"] < 0
    *_, infos = env.step({RECOMMENDER: question, USER: 0})
    assert "log_likelihood" not in infos[USER]


def test_bad_moves_and_arguments(plane_world):
    arguments = {"world": plane_world, **SMALL}
    with pytest.raises(ValueError, match="likelihood_weight"):
        game.IcerGame(likelihood_weight=-1.0, **arguments)
    with pytest.raises(ValueError, match="not one of the Icer"):
        game.IcerGame("CartPole-v1")
    env = game.IcerGame("crs/Icer-v0", **arguments)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="not its turn"):
        env.icer_action()
    with pytest.raises(ValueError, match="recommender_0 is not in"):
        env.step(5)
    env.step(np.array([1, 4, 9, 0]))
    with pytest.raises(ValueError, match="does not allow response 0"):
        env.step(0)
    with pytest.raises(ValueError, match="user_0 is not in"):
        env.step(99)

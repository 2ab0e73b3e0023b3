"""Every registered environment, in every form of its actions and observations."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from itertools import combinations

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import crs_gym  # noqa: F401
from crs_gym.acts import AttributeQuery, ItemQuery, Recommendation
from crs_gym.envs.icer import IcerEnv
from crs_gym.policies import BeliefGreedy
from crs_gym.simulation import evaluation_keys, evaluation_seeds, rollout
from crs_gym.world import DataError

pytestmark = pytest.mark.filterwarnings("error")

FORMS = [
    ("crs/IcerMacro-v0", {}),
    ("crs/IcerMacro-v0", {"belief": "prior-samples", "prior": "personal"}),
    ("crs/Icer-v0", {"action": "items", "observation": "history"}),
    ("crs/Icer-v0", {"action": "candidates", "observation": "belief"}),
    ("crs/Icer-v0", {"action": "embedding", "observation": "history"}),
    ("crs/Icer-v0", {"observation": "index", "user_pool": 50}),
]
COMBINED = [
    ("crs/IcerMacro-v0", {"observation": "history", "prior": "personal"}),
    ("crs/Icer-v0", {"action": "items", "observation": "belief"}),
    ("crs/Icer-v0", {"action": "candidates", "observation": "history"}),
    ("crs/Icer-v0", {"action": "embedding", "observation": "belief"}),
]
TRIED = [
    pytest.param(i, k, id=f"{i}-{'-'.join(map(str, k.values()))}", marks=marks)
    for forms, marks in ((FORMS, []), (COMBINED, [pytest.mark.slow]))
    for i, k in forms
]


@pytest.fixture(scope="module")
def world_file(small_world, tmp_path_factory):
    path = tmp_path_factory.mktemp("worlds") / "small.world"
    small_world.save(path)
    return str(path)


def make(env_id, world_file, **kwargs):
    kwargs = {"belief_samples": 64, "candidates": 6, "world": world_file, **kwargs}
    return gymnasium.make(env_id, **kwargs)


def play(env, seed, episodes=3):
    """Observations, rewards and infos of some random episodes, the first one seeded."""
    env.action_space.seed(seed)
    record = []
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None)
        record.append((observation, 0.0, False, False, info))
        while not (record[-1][2] or record[-1][3]):
            record.append(env.step(env.action_space.sample()))
    return record


def assert_same(a, b):
    assert len(a) == len(b)
    for (o1, r1, d1, t1, i1), (o2, r2, d2, t2, i2) in zip(a, b, strict=True):
        np.testing.assert_array_equal(o1, o2)
        assert (r1, d1, t1) == (r2, d2, t2)
        assert i1.keys() == i2.keys()
        for key in i1:
            np.testing.assert_array_equal(i1[key], i2[key])


def test_every_registered_environment_is_tried_here():
    registered = {i for i in gymnasium.registry if i.startswith("crs/")}
    in_words = {"crs/Dialogue-v0"}  # tried in test_dialogue.py
    assert registered - in_words == {env_id for env_id, _ in FORMS}


@pytest.mark.parametrize(("env_id", "kwargs"), TRIED)
def test_gymnasium_checker(env_id, kwargs, world_file):
    env = make(env_id, world_file, render_mode="ansi", **kwargs)
    check_env(env.unwrapped)


@pytest.mark.parametrize(("env_id", "kwargs"), TRIED)
def test_sb3_checker(env_id, kwargs, world_file):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        # SB3 itself imports modules whose deprecations are not ours to mend
        warnings.simplefilter("ignore", DeprecationWarning)
        checker.check_env(make(env_id, world_file, **kwargs).unwrapped)


@pytest.mark.parametrize(("env_id", "kwargs"), TRIED)
def test_same_seed_same_episodes_and_pickling(env_id, kwargs, world_file):
    env = make(env_id, world_file, **kwargs)
    first = play(env, seed=11)
    assert_same(first, play(make(env_id, world_file, **kwargs), seed=11))
    other = play(make(env_id, world_file, **kwargs), seed=12)
    assert any(a[4]["user_id"] != b[4]["user_id"] for a, b in zip(first, other, strict=False))

    copy = pickle.loads(pickle.dumps(env))
    env.reset(seed=5)
    copy.reset(seed=5)
    midway = pickle.loads(pickle.dumps(env))
    env.action_space.seed(1)
    for action in [env.action_space.sample() for _ in range(2)]:
        if (ended := env.step(action))[2] or ended[3]:
            break
        assert_same([ended], [copy.step(action)])
        midway.step(action)
    assert midway.unwrapped.turns() == copy.unwrapped.turns()


def test_same_episodes_in_another_process(world_file):
    code = (
        "import gymnasium, crs_gym\n"
        f"env = gymnasium.make('crs/IcerMacro-v0', world={world_file!r}, belief_samples=64, "
        "candidates=6)\n"
        "env.reset(seed=3)\n"
        "for action in (1, 2, 5, 0, 0, 0, 0):\n"
        "    o, r, d, t, i = env.step(action)\n"
        "    if d or t: break\n"
        "print(repr(env.unwrapped.turns()), i['user_id'], round(r, 5))\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert "ItemQuery" in runs[0].stdout


def test_spec_goes_through_json(world_file):
    env = make("crs/Icer-v0", world_file, action="candidates")
    spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
    again = gymnasium.make(spec)
    assert json.loads(env.spec.to_json())["kwargs"]["action"] == "candidates"
    assert_same(play(env, 2, 1), play(again, 2, 1))


def test_the_episode_of_a_seed_is_that_of_a_rollout(world_file):
    env = make("crs/IcerMacro-v0", world_file, split="evaluation")
    core = env.unwrapped.core
    episodes = rollout(core.simulator, BeliefGreedy(), core.inference, evaluation_keys(1, 8))
    for n, seed in enumerate(evaluation_seeds(1, 8)):
        _, info = env.reset(seed=int(seed))
        total, done = 0.0, False
        while not done:
            _, reward, terminated, truncated, info = env.step(0)
            total, done = total + reward, terminated or truncated
        assert info["user_id"] == episodes.user_id[n]
        assert info["turn"] == episodes.turns[n]
        assert info["is_success"] == episodes.accepted[n]
        assert total == pytest.approx(float(episodes.reward[n]), abs=1e-5)


def test_train_and_evaluation_users_are_apart(small_world, world_file):
    for split, expected in (("train", False), ("evaluation", True)):
        env = make("crs/Icer-v0", world_file, split=split)
        users = {env.reset(seed=s)[1]["user_id"] for s in range(60)}
        assert {bool(small_world.evaluation[u]) for u in users} == {expected}


def test_items_actions_say_what_they_mean(world_file):
    env = make("crs/Icer-v0", world_file)
    expected = [
        ([0, 3, 7, 1], Recommendation((3, 7))),
        ([1, 3, 7, 1], ItemQuery((3, 7))),
        ([2, 3, 7, 1], AttributeQuery(3, 1, 1)),
        ([1, 4, 4, 0], ItemQuery((4,))),
    ]
    for action, act in expected:
        env.reset(seed=0)
        env.step(np.array(action))
        assert env.unwrapped.turns()[0][0] == act


def test_rejected_items_are_masked_and_not_offered_again(world_file):
    env = make("crs/Icer-v0", world_file, user_model={"critique_rate": 0.0, "null_z": 50.0})
    n = env.unwrapped.world.n_items
    _, info = env.reset(seed=0)
    assert info["action_mask"].sum() == env.action_space.nvec.sum()
    _, _, _, _, info = env.step(np.array([0, 3, 7, 0]))
    masks = np.split(info["action_mask"], np.cumsum(env.action_space.nvec)[:-1])
    for slot in masks[1:3]:
        assert set(np.flatnonzero(slot == 0)) == {3, 7}
        assert len(slot) == n
    np.testing.assert_array_equal(env.unwrapped.action_masks(), info["action_mask"].astype(bool))
    env.step(np.array([0, 7, 9, 0]))
    assert env.unwrapped.turns()[1][0] == Recommendation((9,))


def test_candidate_actions_are_the_slates_of_the_top_items(world_file):
    env = make("crs/Icer-v0", world_file, action="candidates")
    core = env.unwrapped.core
    slates = list(combinations(range(6), 2))
    env.reset(seed=0)
    samples, weights, null = core.inference.samples(env.unwrapped.talk.belief)
    gap = np.asarray(samples @ core.simulator.items.embeddings.T - null[:, None], np.float64)
    accepted = 1 / (1 + np.exp(-gap / float(core.simulator.model.temperature)))
    top = np.argsort(-(np.asarray(weights) @ accepted))[:6]
    g = core.simulator.n_attributes
    for number, kind in ((4, Recommendation), (len(slates) + 4, ItemQuery)):
        env.reset(seed=0)
        env.step(number)
        assert env.unwrapped.turns()[0][0] == kind(tuple(top[list(slates[4])].tolist()))
    env.reset(seed=0)
    env.step(2 * len(slates) + 3 * g + 1)
    assert env.unwrapped.turns()[0][0] == AttributeQuery(int(top[3]), 1, 1)


def test_candidate_masks_are_exact_when_items_run_out(plane_world):
    n = plane_world.n_items
    env = IcerEnv(
        plane_world,
        action="candidates",
        candidates=n,
        max_turns=n // 2 + 1,
        user_model={"null_z": 60.0},
    )
    _, info = env.reset(seed=0)
    done, offered = False, set()
    while not done and info["action_mask"][0]:
        _, _, terminated, done, info = env.step(0)
        assert not terminated
        offered |= set(env.turns()[-1][0].items)
        slates = np.array(list(combinations(range(n), 2)))
        allowed = slates.max(1) < n - len(offered)
        np.testing.assert_array_equal(info["action_mask"][: len(slates)], allowed)
    assert len(offered) >= n - 1


def test_embedding_actions_take_the_nearest_items(world_file, small_world):
    env = make("crs/Icer-v0", world_file, action="embedding")
    rng = np.random.default_rng(0)
    for kind, cls in enumerate((Recommendation, ItemQuery, AttributeQuery)):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        action[:3] = -1
        action[kind] = 1
        env.reset(seed=0)
        env.step(action)
        act = env.unwrapped.turns()[0][0]
        nearest = np.argsort(-(small_world.item_embeddings @ action[3 : 3 + small_world.dim]))
        assert isinstance(act, cls)
        if cls is AttributeQuery:
            attribute = int(np.argmax(action[3 + small_world.dim :]))
            assert act == AttributeQuery(int(nearest[0]), attribute, 1)
        else:
            assert act.items == tuple(nearest[:2].tolist())
    with pytest.raises(AttributeError, match="embedding"):
        env.unwrapped.action_masks()


def test_macro_actions(world_file):
    env = make("crs/IcerMacro-v0", world_file)
    env.reset(seed=0)
    env.step(1)
    env.step(2 + 3)
    turns = env.unwrapped.turns()
    assert isinstance(turns[0][0], ItemQuery)
    assert len(turns[0][0].items) == 2
    assert isinstance(turns[1][0], AttributeQuery)
    assert turns[1][0].attribute == 3


def test_layout_names_what_the_observation_holds(world_file, small_world):
    env = make("crs/Icer-v0", world_file, observation="history").unwrapped
    observation, _ = env.reset(seed=0)
    assert observation[env.layout["turn"]] == 0
    np.testing.assert_allclose(
        observation[env.layout["prior_std"]], env.core.simulator.population.std
    )
    assert not observation[env.layout["history"]].any()
    observation, *_ = env.step(np.array([1, 3, 7, 0]))
    row = observation[env.layout["history"]].reshape(7, -1)[0]
    d = small_world.dim
    np.testing.assert_array_equal(row[:3], [0, 1, 0])
    np.testing.assert_allclose(row[3 : 3 + d], small_world.item_embeddings[3], atol=1e-6)
    np.testing.assert_allclose(row[3 + d : 3 + 2 * d], small_world.item_embeddings[7], atol=1e-6)
    assert observation[env.layout["turn"]] == pytest.approx(1 / 7)

    env = make("crs/IcerMacro-v0", world_file).unwrapped
    observation, _ = env.reset(seed=0)
    # 64 draws of the prior: their variance is its own to within four standard errors
    assert 0 <= observation[env.layout["certainty"]] < 4 * np.sqrt(2 / 64)
    later, *_ = env.step(2)
    assert later[env.layout["certainty"]] < 1.0
    assert later[env.layout["questions"]] == pytest.approx(1 / 7)


def test_index_observations_are_the_acts_themselves(world_file):
    env = make("crs/Icer-v0", world_file, observation="index").unwrapped
    observation, _ = env.reset(seed=0)
    assert observation.dtype == env.observation_space.dtype == np.int32
    rows = observation[env.layout["history"]].reshape(7, 9)
    np.testing.assert_array_equal(rows, [[-1, -1, -1, -1, 0, -1, -1, -1, 0]] * 7)
    env.step(np.array([1, 3, 7, 0]))
    observation, *_ = env.step(np.array([2, 5, 7, 4]))
    rows = observation[env.layout["history"]].reshape(7, 9)
    (_, chosen), (_, answered) = env.turns()
    np.testing.assert_array_equal(rows[0], [1, 3, 7, -1, 0, 3, [3, 7].index(chosen.item), -1, 0])
    np.testing.assert_array_equal(rows[1], [2, 5, -1, 4, 1, 4, -1, 4, answered.direction])
    assert observation[env.layout["turn"]] == 2


def test_render_tells_the_conversation(world_file):
    env = make("crs/IcerMacro-v0", world_file, render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == ""
    env.step(1)
    env.step(0)
    text = env.render()
    assert text.count("Recommender:") == text.count("User:") == 2
    assert "Which of these do you prefer" in text


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"world": "atlantis"}, "unknown world 'atlantis'.*generated"),
        ({"action": "words"}, "unknown action 'words'; there are items, candidates, embedding"),
        ({"observation": "x"}, "unknown observation 'x'; there are history, index, belief"),
        ({"prior": "warm"}, "unknown prior 'warm'; there are 'cold', 'personal'"),
        ({"split": "test"}, "unknown split 'test'; there are 'train', 'evaluation'"),
        ({"slate_size": 1}, "slate_size must be between 2 and"),
        ({"slate_size": 10_000}, "slate_size must be between 2 and"),
        ({"max_turns": 0}, "max_turns must be at least 1"),
        ({"candidates": 1}, "candidates must be between"),
        ({"user_pool": -1}, "user_pool must be at least 0, not -1"),
        ({"belief_samples": 3}, "even number"),
        ({"belief": "gut"}, "unknown belief 'gut'; there are metropolis, prior-samples"),
        ({"user_model": {"mood": 1.0}}, "unknown user-model parameters.*temperature"),
        ({"user_model": {"critique_rate": 2.0}}, "critique_rate is a probability"),
        ({"user_model": {"temperature": float("nan")}}, "temperature must be at least 0"),
        ({"turn_cost": float("nan")}, "turn_cost must be finite"),
        ({"render_mode": "human"}, "render_mode"),
    ],
)
@pytest.mark.filterwarnings("default")
def test_bad_arguments_say_what_exists(kwargs, message, world_file):
    with pytest.raises(ValueError, match=message):
        IcerEnv(**{"world": world_file, **kwargs})


def test_bad_actions(world_file):
    env = make("crs/Icer-v0", world_file)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.unwrapped.step(np.array([0, 0, 1, 0]))
    env.reset(seed=0)
    n = env.unwrapped.world.n_items
    for action in ([0, n, 1, 0], [3, 0, 1, 0], [0, -1, 1, 0]):
        with pytest.raises(ValueError, match="is not in MultiDiscrete"):
            env.unwrapped.step(np.array(action))
    macro = make("crs/IcerMacro-v0", world_file)
    macro.reset(seed=0)
    with pytest.raises(ValueError, match="is not in Discrete"):
        macro.unwrapped.step(99)
    with pytest.raises(TypeError, match="no argument 'action'"):
        make("crs/IcerMacro-v0", world_file, action="items")


def test_a_world_with_infinite_embeddings_is_refused(small_world):
    broken = small_world.item_embeddings.copy()
    broken[4, 1] = np.inf
    with pytest.raises(DataError, match="item_embeddings holds NaN or infinite values.*row 4"):
        small_world.replace(item_embeddings=broken)


def test_steps_do_not_retrace(world_file):
    env = make("crs/IcerMacro-v0", world_file)
    env.reset(seed=0)
    env.step(0)
    from crs_gym.envs.core import jit_begin, jit_proceed

    sizes = jit_begin._cache_size(), jit_proceed._cache_size()
    play(env, seed=3, episodes=5)
    assert sizes == (jit_begin._cache_size(), jit_proceed._cache_size())
    assert jax.config.jax_default_prng_impl == "threefry2x32"

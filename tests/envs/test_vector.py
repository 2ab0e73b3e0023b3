"""`make_vec` against Gymnasium's own vector environment over single ones, in all modes."""

import pickle
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import crs_gym  # noqa: F401
from crs_gym.acts import RecommenderKind
from crs_gym.envs import core
from crs_gym.envs.core import jit_proceed_batch, jit_restart_batch
from crs_gym.envs.vector import IcerMacroVectorEnv, IcerVectorEnv
from crs_gym.inference import PriorSamples
from crs_gym.policies import AskThenRecommend
from crs_gym.simulation import episode_key, rollout, seed_key, seed_keys

pytestmark = pytest.mark.filterwarnings("error")

MODES = list(AutoresetMode)
SMALL = {"max_turns": 3, "belief_samples": 8, "candidates": 4}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "items": ("crs/Icer-v0", {"action": "items"}),
    "candidates": ("crs/Icer-v0", {"action": "candidates", "prior": "personal"}),
    "embedding": ("crs/Icer-v0", {"action": "embedding"}),
    "index": ("crs/Icer-v0", {"observation": "index", "user_pool": 32}),
    "macro": ("crs/IcerMacro-v0", {}),
}


@pytest.fixture
def pair(plane_world, request) -> Iterator[tuple[IcerVectorEnv, SyncVectorEnv]]:
    kind, mode = request.param
    name, arguments = KINDS[kind]
    arguments = {**SMALL, **arguments, "world": plane_world}
    ours = gymnasium.make_vec(name, 4, autoreset_mode=mode, **arguments)
    theirs = gymnasium.make_vec(
        name, 4, "sync", vector_kwargs={"autoreset_mode": mode}, **arguments
    )
    yield ours, theirs
    ours.close()
    theirs.close()


def same(ours: Any, theirs: Any) -> None:
    """The same numbers; ours may be rounded otherwise, having been compiled for a batch."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
    elif theirs.dtype == object:
        for mine, yours in zip(ours, theirs, strict=True):
            assert (mine is None) == (yours is None)
            if mine is not None:
                same(mine, yours)
    else:
        assert ours.shape == theirs.shape
        assert ours.dtype.kind == theirs.dtype.kind
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def blank(info: dict[str, Any]) -> dict[str, Any]:
    """Without what the masks say is not there: of the last turns of talks that go on."""
    if "final_info" in info:
        final = dict(info["final_info"])
        for key in [key for key in final if not key.startswith("_")]:
            there = final[f"_{key}"].reshape((-1,) + (1,) * (final[key].ndim - 1))
            final[key] = np.where(there, final[key], 0)
        info = {**info, "final_info": final}
    return info


@pytest.mark.parametrize(
    "pair",
    [
        *(
            pytest.param(
                ("macro", mode),
                id=f"macro-{mode.value}",
                marks=[] if mode == AutoresetMode.NEXT_STEP else [pytest.mark.slow],
            )
            for mode in MODES
        ),
        pytest.param(("index", AutoresetMode.NEXT_STEP), id="index"),
        *(
            pytest.param((kind, AutoresetMode.SAME_STEP), id=kind, marks=pytest.mark.slow)
            for kind in ("items", "candidates", "embedding")
        ),
    ],
    indirect=True,
)
def test_it_is_gymnasiums_own_vector_environment(pair):
    ours, theirs = pair
    assert ours.single_action_space == theirs.single_action_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    first, others = ours.reset(seed=5), theirs.reset(seed=5)
    same(first[0], others[0])
    same(first[1], others[1])
    ours.action_space.seed(0)
    over, ended = np.zeros(4, bool), 0
    for _ in range(14):
        actions = ours.action_space.sample()
        if over.any() and ours.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
            mine = ours.reset(options={"reset_mask": over})
            yours = theirs.reset(options={"reset_mask": over})
            same(mine[0], yours[0])
            for key, value in yours[1].items():
                there = yours[1].get(f"_{key}", over)
                same(mine[1][key][there], value[there])
        mine, yours = ours.step(actions), theirs.step(actions)
        for part in range(4):
            same(mine[part], yours[part])
        same(blank(mine[4]), blank(yours[4]))
        over = mine[2] | mine[3]
        ended += over.sum()
    assert ended >= 12  # every conversation more than once, on average


def test_make_vec_takes_it_without_being_asked(plane_world):
    env = gymnasium.make_vec("crs/IcerMacro-v0", 2, world=plane_world, **SMALL)
    assert type(env) is IcerMacroVectorEnv
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert gymnasium.make_vec("crs/Icer-v0", 1, world=plane_world).num_envs == 1
    spec = EnvSpec.from_json(gymnasium.spec("crs/Icer-v0").to_json())
    assert type(gymnasium.make_vec(spec, 2, world=plane_world)) is IcerVectorEnv


def test_seeds(plane_world):
    env = gymnasium.make_vec("crs/IcerMacro-v0", 4, world=plane_world, **SMALL)
    start = env.reset(seed=7)[0]
    second = env.reset()[0]
    close = partial(np.allclose, atol=1e-5)  # a first reset and a later one are two programs
    assert not close(start, second)
    assert close(env.reset(seed=[7, 8, 9, 10])[0], start)
    # None goes on to the next episode of that conversation's own seed
    mixed = env.reset(seed=[None, 8, None, None])[0]
    assert close(mixed, [second[0], start[1], second[2], second[3]])
    other = env.reset(seed=[10, 9, 8, 7])[0]
    assert close(other, start[::-1])


def test_seed_keys_are_those_of_single_seeds():
    seeds = [0, 1, 77, 123_456_789]
    expected = jnp.stack([seed_key(seed) for seed in seeds])
    assert np.array_equal(jax.random.key_data(seed_keys(seeds)), jax.random.key_data(expected))


def test_without_a_seed_every_environment_differs(plane_world):
    users = [
        gymnasium.make_vec("crs/Icer-v0", 64, world=plane_world).reset()[1]["user_id"]
        for _ in range(2)
    ]
    assert len(set(users[0])) > 5
    assert not np.array_equal(*users)


def test_episodes_of_rollout_are_those_of_make_vec(plane_world):
    env = gymnasium.make_vec(
        "crs/Icer-v0", 16, world=plane_world, autoreset_mode=AutoresetMode.DISABLED, max_turns=5
    )
    simulator = env.unwrapped.env.core.simulator
    keys = jnp.stack([episode_key(seed_key(30 + i), 0) for i in range(16)])
    played = rollout(
        simulator, AskThenRecommend(jnp.int32(2), "attribute"), PriorSamples.of(8, 2), keys
    )
    history = jax.device_get(played.history)
    _, info = env.reset(seed=30)
    assert np.array_equal(info["user_id"], played.user_id)
    returns, turns, over = np.zeros(16), np.zeros(16, int), np.zeros(16, bool)
    modes = {RecommenderKind.RECOMMEND: 0, RecommenderKind.ASK_ITEM: 1}
    for turn in range(5):
        act = jax.tree.map(lambda x, turn=turn: x[:, turn], history.act)
        mode = np.array([modes.get(kind, 2) for kind in act.kind])
        actions = np.column_stack([mode, np.maximum(act.slate, 0), np.maximum(act.attribute, 0)])
        if over.any():  # what those do that start anew is not looked at
            env.reset(options={"reset_mask": over})
        _, rewards, terminated, truncated, _ = env.step(actions)
        returns += np.where(over, 0, rewards)
        turns += ~over
        ends = ~over & (terminated | truncated)
        talks = jax.device_get(env.unwrapped._batch.talks.state.history)
        for mine, expected in zip(*map(jax.tree.leaves, (talks, history)), strict=True):
            np.testing.assert_array_equal(mine[ends], expected[ends])
        over |= ends
    assert over.all()
    np.testing.assert_array_equal(turns, played.turns)
    np.testing.assert_allclose(returns, played.reward, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["cold", "personal"])
def test_large_batches_are_worked_on_in_groups(plane_world, monkeypatch, prior):
    # weights, unlike draws of a posterior, do not turn a rounding into another belief
    belief = {"belief": "prior-samples", "prior": prior}
    arguments = {**SMALL, **belief, "world": plane_world}

    def played() -> list[Any]:
        jax.clear_caches()
        env = gymnasium.make_vec("crs/IcerMacro-v0", 7, autoreset_mode="SameStep", **arguments)
        env.action_space.seed(0)
        return [env.reset(seed=3)[0], *(env.step(env.action_space.sample())[0] for _ in range(6))]

    whole = played()
    monkeypatch.setattr(core, "GROUP", 3)
    for one, other in zip(whole, played(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    jax.clear_caches()


def test_stepping_what_is_over_needs_a_reset(plane_world):
    env = gymnasium.make_vec(
        "crs/Icer-v0", 2, world=plane_world, autoreset_mode="Disabled", **SMALL
    )
    question = np.array([[1, 0, 1, 0]] * 2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="before step"):
        env.step(question)
    with pytest.raises(gymnasium.error.ResetNeeded, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    for _ in range(3):
        *_, terminated, truncated, _ = env.step(question)
        if (terminated | truncated).any():
            break
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset_mask"):
        env.step(question)


@pytest.mark.parametrize(
    ("mask", "error", "match"),
    [
        ([True, False, False, False], TypeError, "Boolean array"),
        (np.array([1, 0, 0, 0]), TypeError, "Boolean array"),
        (np.array([True]), ValueError, "shape"),
        (np.array([False] * 4), ValueError, "a true value"),
    ],
)
def test_bad_reset_masks(plane_world, mask, error, match):
    env = gymnasium.make_vec("crs/IcerMacro-v0", 4, world=plane_world, **SMALL)
    env.reset(seed=0)
    with pytest.raises(error, match=match):
        env.reset(options={"reset_mask": mask})


def test_bad_arguments(plane_world):
    with pytest.raises(ValueError, match="num_envs"):
        IcerVectorEnv(0, world=plane_world)
    with pytest.raises(ValueError, match="AutoresetMode"):
        IcerVectorEnv(1, "soon", world=plane_world)
    env = gymnasium.make_vec("crs/IcerMacro-v0", 2, world=plane_world, **SMALL)
    env.reset(seed=0)
    for actions in (np.array([0]), np.array([0, 99]), np.array([0.5, 0.5])):
        with pytest.raises(ValueError, match="not in"):
            env.step(actions)
    with pytest.raises(ValueError, match="2 long"):
        env.reset(seed=[1, 2, 3])


def test_masks(plane_world):
    env = gymnasium.make_vec("crs/Icer-v0", 2, world=plane_world, max_episode_steps=4)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.unwrapped.action_masks()
    _, info = env.reset(seed=0)
    assert env.unwrapped.env.core.simulator.max_turns == 4
    assert env.unwrapped.action_masks().dtype == bool
    assert np.array_equal(env.unwrapped.action_masks(), info["action_mask"])
    env = gymnasium.make_vec("crs/Icer-v0", 2, world=plane_world, action="embedding")
    env.reset(seed=0)
    with pytest.raises(AttributeError, match="embedding"):
        env.unwrapped.action_masks()


def test_a_batch_pickles_midway(plane_world):
    env = gymnasium.make_vec("crs/Icer-v0", 3, world=plane_world, **SMALL)
    env.reset(seed=np.int64(3))
    assert env.np_random_seed == 3
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(5)]
    env.step(actions[0])
    copy = pickle.loads(pickle.dumps(env))
    for action in actions[1:]:
        mine, yours = env.step(action), copy.step(action)
        for part in range(4):
            assert np.array_equal(mine[part], yours[part])


def test_max_episode_steps_never_lengthens(plane_world):
    env = gymnasium.make_vec("crs/Icer-v0", 2, world=plane_world, max_episode_steps=100)
    assert env.unwrapped.env.core.simulator.max_turns == 7


def test_render_gives_each_conversation(plane_world):
    env = gymnasium.make_vec("crs/Icer-v0", 3, world=plane_world, render_mode="ansi", **SMALL)
    assert env.render() == ("", "", "")
    env.reset(seed=3)
    env.step(np.array([[1, 0, 1, 0], [2, 3, 4, 1], [1, 0, 1, 0]]))
    single = gymnasium.make("crs/Icer-v0", world=plane_world, render_mode="ansi", **SMALL)
    single.reset(seed=4)
    single.step(np.array([2, 3, 4, 1]))
    assert env.render()[1] == single.render() != env.render()[0]


def test_nothing_compiles_twice(plane_world):
    env = gymnasium.make_vec(
        "crs/Icer-v0", 3, world=plane_world, autoreset_mode=AutoresetMode.SAME_STEP, **SMALL
    )
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.reset()
    counts = jit_proceed_batch._cache_size(), jit_restart_batch._cache_size()
    for seed in (1, [4, None, 4], None):
        env.reset(seed=seed)
        for _ in range(4):
            env.step(env.action_space.sample())
    assert (jit_proceed_batch._cache_size(), jit_restart_batch._cache_size()) == counts

"""Evaluating learnt recommenders: any function from observations to actions, on fixed episodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import NONE
from crs_gym.envs.core import Core, Frame, Talk, begin, proceed
from crs_gym.envs.icer import IcerEnv
from crs_gym.evaluation.benchmark import make_env, result_of
from crs_gym.evaluation.results import Result
from crs_gym.simulation import Episodes, episode_key, evaluation_seeds, seed_key

Predict = Callable[[np.ndarray, "np.ndarray | None"], np.ndarray]


def play(
    env_id: str,
    env_kwargs: Mapping[str, Any] | None,
    predict: Predict,
    seeds: Sequence[int] | np.ndarray,
    batch: int = 64,
) -> Episodes:
    """Plays the first episode of each environment seed: what `reset(seed=s)` begins.

    Episodes are played `batch` at a time. The last batch is filled up with copies, so that nothing
    compiles twice; the copies are not in what is returned.

    Args:
        env_id: one of the Icer environments.
        env_kwargs: its arguments.
        predict: observations (batch, D) float32 and masks (batch, n) bool, or None for continuous
            actions, to actions (batch, ...). It keeps no memory from turn to turn. Its answers for
            episodes that are over are ignored.
        seeds: (B,) environment seeds.
        batch: how many episodes at a time, at least 1.

    Returns:
        NumPy arrays with a leading axis (B,).

    Raises:
        ValueError: no seeds, another environment, or actions that are not in the action space.
    """
    env = make_env(env_id, env_kwargs, (env_kwargs or {}).get("split", "train"))
    if not len(seeds) or batch < 1:
        raise ValueError(f"need at least one seed and batch >= 1, not {len(seeds)} and {batch}")
    parts = []
    for start in range(0, len(seeds), batch):
        chosen = [int(s) for s in seeds[start : start + batch]]
        padded = chosen + chosen[-1:] * (batch - len(chosen))
        episodes = _play_batch(env, predict, padded)
        parts.append(jax.tree.map(partial(_first, len(chosen)), episodes))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def evaluate(
    env_id: str,
    env_kwargs: Mapping[str, Any] | None,
    predict: Predict,
    *,
    policy: str,
    policy_kwargs: Mapping[str, Any] | None = None,
    evaluation_seed: int = 0,
    episodes: int = 1000,
    training_seed: int | None = None,
    training_steps: int | None = None,
    command: str | Sequence[str] | None = None,
    extra: Mapping[str, Any] | None = None,
    batch: int = 64,
) -> Result:
    """What `predict` scores on the evaluation users, whatever split `env_kwargs` names.

    Args:
        env_id, env_kwargs, predict, batch: as for `play`.
        policy, policy_kwargs, training_seed, training_steps, extra: as in `Result`.
        evaluation_seed: which fixed list of evaluation users.
        episodes: how many of that list.
        command: what was run; None takes this process's command line.

    Raises:
        ValueError: as `play` and `evaluation_seeds`.
        DataError: `env_kwargs` that have no JSON form.
    """
    kwargs = dict(env_kwargs or {})
    env = make_env(env_id, kwargs, "evaluation")
    seeds = evaluation_seeds(evaluation_seed, episodes)
    start = time.perf_counter()
    played = play(env_id, {**kwargs, "split": "evaluation"}, predict, seeds, batch)
    return result_of(
        env,
        env_id,
        kwargs,
        policy,
        played,
        evaluation_seed,
        time.perf_counter() - start,
        policy_kwargs=policy_kwargs or {},
        training_seed=training_seed,
        training_steps=training_steps,
        extra=extra or {},
        **({} if command is None else {"command": command}),
    )


def _play_batch(env: IcerEnv, predict: Predict, seeds: list[int]) -> Episodes:
    core, n = env.core, len(seeds)
    keys = jnp.stack([episode_key(seed_key(s), 0) for s in seeds])
    talks, shown = _begin(core, keys)
    start = frame = jax.device_get(shown)
    reward, utility = np.zeros(n, np.float32), np.zeros(n, np.float32)
    accepted, left, done = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool)
    for _ in range(core.simulator.max_turns):
        # copies: what comes from the device is read-only, which torch warns about
        mask = None if frame.mask is None else frame.mask.astype(bool)
        actions = np.asarray(predict(frame.observation.copy(), mask))
        _check(env, actions, done)
        # a conversation that is over stays as it is and earns nothing
        talks, shown = _proceed(core, talks, jnp.asarray(actions))
        frame = jax.device_get(shown)
        reward += frame.reward
        utility += frame.quality
        accepted |= frame.accepted != NONE
        left |= frame.left
        done |= frame.terminated | frame.truncated
        if done.all():
            break
    return Episodes(
        user_id=start.user_id,
        reward=reward,
        turns=frame.turn,
        accepted=accepted,
        left=left,
        utility=utility,
        history=jax.device_get(talks.state.history),
    )


def _check(env: IcerEnv, actions: np.ndarray, done: np.ndarray) -> None:
    shape = (len(done), *(env.action_space.shape or ()))
    if actions.shape != shape:
        raise ValueError(f"predict gave actions of shape {actions.shape}, not {shape}")
    for i in np.flatnonzero(~done):
        if not env.action_space.contains(actions[i]):
            raise ValueError(f"predict gave {actions[i]!r}, which is not in {env.action_space}")


def _first(n: int, rows: np.ndarray) -> np.ndarray:
    return rows[:n]


@jax.jit
def _begin(core: Core, keys: jax.Array) -> tuple[Talk, Frame]:
    return jax.vmap(partial(begin, core), out_axes=(core.axes, 0))(keys)


@jax.jit
def _proceed(core: Core, talks: Talk, actions: jax.Array) -> tuple[Talk, Frame]:
    step = jax.vmap(partial(proceed, core), in_axes=(core.axes, 0), out_axes=(core.axes, 0))
    return step(talks, actions)

"""Many conversations behind Stable-Baselines3's `VecEnv`, stepped by one compiled call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.envs.core import Batch, Frame, info_of, jit_begin_batch, jit_proceed_batch
from crs_gym.envs.icer import IcerEnv
from crs_gym.simulation import seed_key

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError(
        "crs_gym.envs.sb3 needs Stable-Baselines3: pip install 'crs-gym[sb3]'"
    ) from error


class IcerVecEnv(VecEnv):
    """`n_envs` copies of a registered environment as one SB3 `VecEnv`.

    Environment i plays, episode for episode, what a single environment plays that was reset with
    `seed + i`. Ended episodes begin anew at once: the last observation is in
    `info["terminal_observation"]`, `info["TimeLimit.truncated"]` tells truncation from
    termination, `info["episode"]` holds return and length as SB3's Monitor writes them.

    Args:
        env_id: e.g. `"crs/IcerMacro-v0"`.
        n_envs: at least 1.
        seed: of environment 0, taken up by the first reset; None draws one.
        env_kwargs: arguments of the environment.
    """

    def __init__(
        self,
        env_id: str,
        n_envs: int,
        seed: int | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if n_envs < 1:
            raise ValueError(f"n_envs must be at least 1, not {n_envs}")
        env = gymnasium.make(env_id, **(env_kwargs or {})).unwrapped
        if not isinstance(env, IcerEnv):
            raise ValueError(f"{env_id} is not one of the Icer environments of crs-gym")
        self.env = env
        self.render_mode = env.render_mode
        super().__init__(n_envs, env.observation_space, env.action_space)
        self._batch: Batch | None = None
        self._masks: np.ndarray | None = None
        self._actions: np.ndarray | None = None
        self._returns = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, int)
        self.seed(seed)

    def reset(self) -> np.ndarray:
        seeds = [
            int(np.random.default_rng().integers(2**31)) if s is None else s for s in self._seeds
        ]
        keys = jnp.stack([seed_key(s) for s in seeds])
        self._batch, frame = jit_begin_batch(self.env.core, keys)
        frame = jax.device_get(frame)
        self._masks = None if frame.mask is None else frame.mask.astype(bool)
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self.reset_infos = [info_of(_row(frame, i)) for i in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return frame.observation.copy()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = np.asarray(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        if self._batch is None or self._actions is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        self._batch, shown, last, _ = jit_proceed_batch(
            self.env.core, self._batch, jnp.asarray(self._actions)
        )
        frame, last = jax.device_get((shown, last))
        self._masks = None if frame.mask is None else frame.mask.astype(bool)
        done = frame.terminated | frame.truncated
        self._returns += frame.reward
        self._lengths += 1
        infos = []
        for i in range(self.num_envs):
            info = info_of(_row(frame, i))
            if done[i]:
                info["terminal_observation"] = last[i]
                info["TimeLimit.truncated"] = bool(frame.truncated[i])
                info["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i])}
            infos.append(info)
        self._returns[done] = 0.0
        self._lengths[done] = 0
        # arrays from the device are read-only, and SB3 adds to the rewards in place
        return frame.observation.copy(), frame.reward.copy(), done, infos

    def action_masks(self) -> np.ndarray:
        """(n_envs, n) bool, in the layout of sb3-contrib's MaskablePPO."""
        if self._masks is None:
            raise AttributeError("no action masks: continuous actions, or not reset yet")
        return self._masks

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def has_attr(self, attr_name: str) -> bool:
        # all environments are one: what it lacks, each of them lacks
        return hasattr(self.env, attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("the environments of an IcerVecEnv share one configuration")

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        if method_name == "action_masks":
            return list(self.action_masks()[self._get_indices(indices)])
        raise NotImplementedError(f"an IcerVecEnv has no method {method_name!r} per environment")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        return [None] * self.num_envs

    def _get_indices(self, indices: int | Iterable[int] | None) -> list[int]:
        return list(super()._get_indices(indices))


def _row(frame: Frame, i: int) -> Frame:
    return Frame(*(None if field is None else field[i] for field in frame))

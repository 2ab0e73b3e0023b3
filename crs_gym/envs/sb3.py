"""Many conversations behind Stable-Baselines3's `VecEnv`, stepped by one compiled call."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode

from crs_gym.envs.vector import IcerVectorEnv

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
        module, _, name = env_id.rpartition(":")
        if module:
            importlib.import_module(module)
        entry = gymnasium.spec(name).vector_entry_point
        kind: Any = load_env_creator(entry) if isinstance(entry, str) else entry
        if not (isinstance(kind, type) and issubclass(kind, IcerVectorEnv)):
            raise ValueError(f"{env_id} is not one of the Icer environments of crs-gym")
        self.vector: IcerVectorEnv = gymnasium.make_vec(  # type: ignore[assignment]
            env_id,
            n_envs,
            "vector_entry_point",
            autoreset_mode=AutoresetMode.SAME_STEP,
            **(env_kwargs or {}),
        )
        vector, self.env = self.vector, self.vector.env
        self.render_mode = vector.render_mode
        super().__init__(n_envs, vector.single_observation_space, vector.single_action_space)
        self._actions: np.ndarray | None = None
        self._returns = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, int)
        self.seed(seed)

    def reset(self) -> np.ndarray:
        observation, info = self.vector.reset(seed=self._seeds)
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self.reset_infos = rows(info)
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = np.asarray(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        if self._actions is None:
            raise gymnasium.error.ResetNeeded("call step_async before step_wait")
        observation, reward, terminated, truncated, info = self.vector.step(self._actions)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        infos = rows(info)
        if done.any():
            final = rows(info["final_info"])
            for i in np.flatnonzero(done):
                # the last turn tells how it ended, the next episode what may be done
                final[i].pop("action_mask", None)
                infos[i] |= final[i] | {
                    "terminal_observation": info["final_obs"][i],
                    "TimeLimit.truncated": bool(truncated[i]),
                    "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i])},
                }
        self._returns[done] = 0.0
        self._lengths[done] = 0
        return observation, reward.astype(np.float32), done, infos

    def action_masks(self) -> np.ndarray:
        """(n_envs, n) bool, in the layout of sb3-contrib's MaskablePPO."""
        return self.vector.action_masks()

    def close(self) -> None:
        self.vector.close()

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


def rows(info: dict[str, Any]) -> list[dict[str, Any]]:
    """A vector environment's info as one dictionary of Python values for each environment."""
    names = [name for name in info if f"_{name}" in info and not name.startswith("final_")]
    columns = [
        list(value) if value.ndim > 1 else value.tolist() for value in (info[n] for n in names)
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

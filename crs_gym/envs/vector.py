"""Many conversations behind `gymnasium.make_vec`, stepped by one compiled call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from crs_gym.acts import NONE
from crs_gym.dialogue import conversation
from crs_gym.envs.core import (
    Batch,
    Frame,
    Restart,
    choose,
    jit_begin_batch,
    jit_proceed_batch,
    jit_restart_batch,
)
from crs_gym.envs.icer import IcerEnv, IcerMacroEnv, wrap_key
from crs_gym.simulation import seed_keys

RESTARTS: dict[AutoresetMode, Restart] = {
    AutoresetMode.SAME_STEP: "same",
    AutoresetMode.NEXT_STEP: "next",
    AutoresetMode.DISABLED: "never",
}


class IcerVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """B conversations of `crs/Icer-v0`, as `gymnasium.make_vec("crs/Icer-v0", num_envs=B)` gives.

    Conversation i plays, episode for episode, what a single environment plays that was reset with
    seed i of the list (an integer s stands for s, s + 1, ...). Info holds the keys of the single
    environment as arrays `(B, ...)`, each with its mask `_key`.

    Args:
        num_envs: B, at least 1.
        autoreset_mode: when a conversation that has ended makes room for the next one. NEXT_STEP:
            the following step begins it, whatever the (valid) action, with reward 0. SAME_STEP: the
            step that ends it does, and leaves its last observation and info in `info["final_obs"]`
            and `info["final_info"]`. DISABLED: only `reset(options={"reset_mask": mask})` does.
        max_episode_steps: another name for `max_turns`, of which the smaller counts; observations
            count turns against it.
        arguments: those of the single environment.

    `vector_kwargs` and `wrappers` belong to `vectorization_mode="sync"`, which works as well.

    Raises:
        ValueError: `num_envs` below 1, or an unknown mode.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "render_fps": 1,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    _single: ClassVar[type[IcerEnv]] = IcerEnv

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        **arguments: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        mode = AutoresetMode(autoreset_mode)
        if max_episode_steps is not None:
            default = inspect.signature(IcerEnv).parameters["max_turns"].default
            turns = arguments.get("max_turns", default)
            arguments["max_turns"] = min(turns, max_episode_steps)
        self.env = self._single(**arguments)
        self.num_envs = num_envs
        self.render_mode = self.env.render_mode
        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.single_observation_space = self.env.observation_space
        self.single_action_space = self.env.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._restart = RESTARTS[mode]
        self._batch: Batch | None = None
        self._seen: Frame | None = None
        self._over = np.zeros(num_envs, bool)
        self._masks: np.ndarray | None = None

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode everywhere, or where `options["reset_mask"]` (B,) bool is true.

        Args:
            seed: s for s, s + 1, ...; a list of B; None, in the list too, goes on to the next
                episode (the first time: draws a seed).

        Raises:
            ValueError: a list of another length; a mask of another shape or without a true value.
            TypeError: a mask that is not a Boolean array.
            gymnasium.error.ResetNeeded: a mask at the first reset.
        """
        seed = int(seed) if isinstance(seed, np.integer) else seed
        super().reset(seed=seed if isinstance(seed, int) else None)
        seeds = self._seeds(seed)
        where = self._reset_mask(options)
        if self._batch is None or self._seen is None:
            if not where.all():
                raise gymnasium.error.ResetNeeded("the first reset must be one of everything")
            drawn = self.np_random.integers(2**31, size=self.num_envs)
            keys = seed_keys(int(d) if s is None else s for s, d in zip(seeds, drawn, strict=True))
            self._batch, seen = jit_begin_batch(self.env.core, keys)
        else:
            given = np.array([s is not None for s in seeds]) & where
            batch = self._batch
            if given.any():
                keys = seed_keys(s or 0 for s in seeds)
                batch = batch._replace(
                    seeds=choose(jnp.asarray(given), keys, batch.seeds),
                    episodes=jnp.where(given, -1, batch.episodes),
                )
            self._batch, seen = jit_restart_batch(self.env.core, batch, self._seen, where)
        frame = self._see(seen)
        self._over &= ~where
        return frame.observation.copy(), infos_of(frame, where)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One turn of every conversation.

        Raises:
            ValueError: actions outside the action space.
            gymnasium.error.ResetNeeded: before the first reset; with DISABLED, where an episode is
                over.
        """
        if self._batch is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        if self._restart == "never" and self._over.any():
            raise gymnasium.error.ResetNeeded(
                f"the episodes of {self._over.sum()} environments are over, the first of them "
                f"number {int(self._over.argmax())}: call reset(options={{'reset_mask': ...}})"
            )
        actions = np.asarray(actions)
        if not self.action_space.contains(actions):
            raise ValueError(f"actions {actions!r} are not in {self.action_space}")
        self._batch, seen, last = jit_proceed_batch(
            self.env.core, self._batch, jnp.asarray(actions), self._restart
        )
        frame = self._see(seen)
        done = frame.terminated | frame.truncated
        self._over = done
        info = infos_of(frame, np.ones(self.num_envs, bool))
        if last is not None and done.any():
            final = jax.tree.map(np.asarray, last)
            observations = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(done):
                observations[i] = final.observation[i].copy()
            info |= {"final_obs": observations, "_final_obs": done.copy()}
            info |= {"final_info": infos_of(final, done), "_final_info": done.copy()}
        # arrays from the device are read-only
        return (
            frame.observation.copy(),
            frame.reward.astype(np.float64),
            frame.terminated.copy(),
            frame.truncated.copy(),
            info,
        )

    def action_masks(self) -> np.ndarray:
        """(B, n) bool, what may be done now, in the layout of sb3-contrib's MaskablePPO.

        Raises:
            AttributeError: the action space is continuous.
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self._batch is None:
            raise gymnasium.error.ResetNeeded("call reset before action_masks")
        if self._masks is None:
            raise AttributeError('there are no masks for action="embedding"')
        return self._masks.astype(bool)

    def render(self) -> tuple[str, ...] | None:
        """The conversations so far in words, for `render_mode="ansi"`."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() was called without a render_mode")
            return None
        if self._batch is None:
            return ("",) * self.num_envs
        histories = jax.device_get(self._batch.talks.state.history)
        return tuple(
            conversation(jax.tree.map(lambda x, i=i: x[i], histories), self.env.world)
            for i in range(self.num_envs)
        )

    def __getstate__(self) -> dict[str, Any]:
        # typed random keys do not pickle; their data does
        state = dict(self.__dict__)
        if self._batch is not None:
            state["_batch"] = _with_keys(self._batch, jax.random.key_data)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._batch is not None:
            self._batch = _with_keys(self._batch, wrap_key)

    def _see(self, seen: Frame) -> Frame:
        self._seen = seen
        # several times faster than `jax.device_get`
        frame: Frame = jax.tree.map(np.asarray, seen)
        self._masks = frame.mask
        return frame

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"a list of seeds must be {self.num_envs} long, not {len(seed)}")
        return list(seed)

    def _reset_mask(self, options: dict[str, Any] | None) -> np.ndarray:
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, bool)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"options['reset_mask'] must be a Boolean array, not {mask!r}")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must have the shape ({self.num_envs},) and a true value, "
                f"not {mask!r}"
            )
        return mask


class IcerMacroVectorEnv(IcerVectorEnv):
    """B conversations of `crs/IcerMacro-v0`; see `IcerVectorEnv`."""

    _single = IcerMacroEnv


def _with_keys(batch: Batch, change: Callable[[Any], Any]) -> Batch:
    state = batch.talks.state
    talks = batch.talks._replace(state=state._replace(key=change(state.key)))
    return batch._replace(seeds=change(batch.seeds), talks=talks)


def infos_of(frame: Frame, where: np.ndarray) -> dict[str, Any]:
    """The info of a batch of frames on the host, with the masks `where` (B,) of all its keys."""
    info: dict[str, Any] = {
        "turn": frame.turn,
        "user_id": frame.user_id,
        "accepted_item": frame.accepted,
        "quality": frame.quality,
        "left": frame.left,
        "is_success": frame.accepted != NONE,
    }
    if frame.mask is not None:
        info["action_mask"] = frame.mask
    masks = {f"_{key}": where.copy() for key in info}
    return {key: value.copy() for key, value in info.items()} | masks

"""What all adapters share: one conversation with its belief, stepped under `jit`, alone or in
batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import NONE, UserKind
from crs_gym.envs.actions import ActionCodec, Believer
from crs_gym.envs.observations import ObservationCodec, flatten
from crs_gym.inference import Inference
from crs_gym.simulation import (
    Outcome,
    Simulator,
    View,
    accepted_item,
    belief_key,
    episode_key,
    turn_keys,
)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["simulator", "inference", "bound"],
    meta_fields=["codec", "observer"],
)
@dataclass(frozen=True)
class Core:
    """Everything that a step needs; a pytree.

    simulator, inference: as their modules say.
    bound: () float, observations are clipped to [-bound, bound].
    codec, observer: how actions and observations are coded.
    """

    simulator: Simulator
    inference: Inference
    bound: Any
    codec: ActionCodec
    observer: ObservationCodec

    @property
    def needs_belief(self) -> bool:
        return self.codec.needs_belief or self.observer.needs_belief

    @property
    def belief_axes(self) -> Any:
        """Axes of a batch of beliefs under `vmap`."""
        if not self.needs_belief:
            return None
        return self.inference.axes(shared_prior=self.simulator.prior == "cold")


class Talk(NamedTuple):
    """A conversation (`State`) and what the recommender believes of the user.

    `belief` is None where nobody needs it.
    """

    state: Any
    belief: Any


class Frame(NamedTuple):
    """What one reset or step hands to the host.

    observation: (D,) float32. mask: int8, or None. reward: () float32. terminated, truncated,
    left: () bool. turn, user_id: () int32. accepted: () int32 item, -1 for none. quality: ()
    float32, see `Simulator.quality`; 0 where nothing was accepted.
    """

    observation: Any
    mask: Any
    reward: Any
    terminated: Any
    truncated: Any
    turn: Any
    user_id: Any
    accepted: Any
    left: Any
    quality: Any


class Batch(NamedTuple):
    """B conversations with automatic reset.

    seeds: (B,) seed keys. episodes: (B,) int32, how many episodes each has begun, less one.
    talks: `Talk` with a leading axis, but for what all beliefs share.
    """

    seeds: Any
    episodes: Any
    talks: Talk


def open_talk(core: Core, key: jax.Array) -> Talk:
    """A new conversation for an episode's key."""
    simulator = core.simulator
    state = simulator.reset(key)
    if not core.needs_belief:
        return Talk(state, None)
    prior, key = state.prior, belief_key(key, 0)
    return Talk(state, core.inference.init(key, prior, simulator.items, simulator.model))


def begin(core: Core, key: jax.Array) -> tuple[Talk, Frame]:
    """A new conversation and what is seen of it."""
    talk = open_talk(core, key)
    return talk, _frame(core, talk, None)


def proceed(core: Core, talk: Talk, action: jax.Array) -> tuple[Talk, Frame]:
    """One turn."""
    simulator, (state, belief) = core.simulator, talk
    _, key = turn_keys(state.key, state.context.turn + 1)
    act = core.codec.decode(action, key, believer(core, talk))
    following, outcome = simulator.step(state, act)
    if belief is not None:
        key = belief_key(state.key, state.context.turn + 1)
        history, context = following.history, state.context
        belief = core.inference.update(
            key, belief, history, context, simulator.items, simulator.model
        )
    talk = Talk(following, belief)
    return talk, _frame(core, talk, outcome)


def begin_batch(core: Core, seeds: jax.Array) -> tuple[Batch, Frame]:
    """Episode 0 of each of (B,) seed keys."""
    episodes = jnp.zeros(len(seeds), jnp.int32)
    axes = (Talk(0, core.belief_axes), 0)
    talks, frame = jax.vmap(partial(begin, core), out_axes=axes)(
        jax.vmap(episode_key)(seeds, episodes)
    )
    return Batch(seeds, episodes, talks), frame


def proceed_batch(
    core: Core, batch: Batch, actions: jax.Array
) -> tuple[Batch, Frame, jax.Array, jax.Array | None]:
    """One turn of every conversation; those that ended begin their next episode at once.

    Returns:
        the batch; the frame of the turn, with observation and mask of the next episode where one
        began; the observation (B, D) and mask before that reset.
    """
    talk_axes = Talk(0, core.belief_axes)
    talks, frame = jax.vmap(
        partial(proceed, core), in_axes=(talk_axes, 0), out_axes=(talk_axes, 0)
    )(batch.talks, actions)
    done = frame.terminated | frame.truncated
    episodes = batch.episodes + done
    fresh, first = jax.vmap(partial(begin, core), out_axes=(talk_axes, 0))(
        jax.vmap(episode_key)(batch.seeds, episodes)
    )

    def restart(axis: int | None, new: Any, old: Any) -> Any:
        if axis is None:
            return old
        if jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
            data = restart(axis, jax.random.key_data(new), jax.random.key_data(old))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(old))
        return jnp.where(done.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)

    state = jax.tree.map(partial(restart, 0), fresh.state, talks.state)
    belief = jax.tree.map(
        restart, core.belief_axes, fresh.belief, talks.belief, is_leaf=lambda x: x is None
    )
    shown = frame._replace(
        observation=restart(0, first.observation, frame.observation),
        mask=None if frame.mask is None else restart(0, first.mask, frame.mask),
    )
    return Batch(batch.seeds, episodes, Talk(state, belief)), shown, frame.observation, frame.mask


def info_of(frame: Frame) -> dict[str, Any]:
    """The info dictionary of one (unbatched) frame on the host."""
    accepted = int(frame.accepted)
    info: dict[str, Any] = {
        "turn": int(frame.turn),
        "user_id": int(frame.user_id),
        "accepted_item": accepted,
        "quality": float(frame.quality),
        "left": bool(frame.left),
        "is_success": accepted != NONE,
    }
    if frame.mask is not None:
        info["action_mask"] = np.array(frame.mask)
    return info


def believer(core: Core, talk: Talk) -> Believer:
    """What codecs may look at: never the user."""
    state, belief = talk
    view = View(state.history, state.context, state.prior, belief, None)
    return Believer(view, core.simulator, core.inference)


def _frame(core: Core, talk: Talk, outcome: Outcome | None) -> Frame:
    seen, state = believer(core, talk), talk.state
    item = jnp.int32(NONE) if outcome is None else accepted_item(outcome.turn)
    no = jnp.array(False)
    return Frame(
        observation=flatten(core.observer.encode(seen), core.bound),
        mask=core.codec.mask(seen),
        reward=jnp.float32(0.0) if outcome is None else outcome.reward,
        terminated=no if outcome is None else outcome.terminated,
        truncated=no if outcome is None else outcome.truncated,
        turn=state.context.turn,
        user_id=state.user_id,
        accepted=item,
        left=no if outcome is None else outcome.turn.response.kind == UserKind.LEAVE,
        quality=jnp.where(item != NONE, core.simulator.quality(state, item), 0.0),
    )


jit_begin = jax.jit(begin)
jit_proceed = jax.jit(proceed)
jit_begin_batch = jax.jit(begin_batch)
jit_proceed_batch = jax.jit(proceed_batch)

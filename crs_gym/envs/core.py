"""What all adapters share: one conversation with its belief, stepped under `jit`, alone or in
batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import NONE, RecommenderAct, Turn, UserKind
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
    legal,
    turn_keys,
)

Restart = Literal["same", "next", "never"]


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
    """B conversations, each of them one episode of its seed after another.

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
    act = legal_act(core, talk, action)
    return conclude(core, talk, Turn(act, core.simulator.respond(talk.state, act)))


def legal_act(core: Core, talk: Talk, action: jax.Array) -> RecommenderAct:
    """What the user hears when the recommender takes `action`."""
    state = talk.state
    _, key = turn_keys(state.key, state.context.turn + 1)
    act = core.codec.decode(action, key, believer(core, talk))
    return legal(act, state.context, core.simulator.n_attributes)


def conclude(core: Core, talk: Talk, turn: Turn) -> tuple[Talk, Frame]:
    """What follows from a turn, for the conversation and for what is believed."""
    simulator, (state, belief) = core.simulator, talk
    following, outcome = simulator.settle(state, turn)
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
    core: Core, batch: Batch, actions: jax.Array, restart: Restart
) -> tuple[Batch, Frame, Frame | None]:
    """One turn of every conversation.

    Args:
        actions: (B, ...), ignored where a conversation is over.
        restart: when those that ended begin their next episode: with the turn that ended them
            (`"same"`), in place of the next turn (`"next"`), or not here (`"never"`).

    Returns:
        the batch; what is seen of it; for `"same"` also the frames before any began anew. There,
        reward and flags of what is seen are those of the turn that was played.
    """
    axes = Talk(0, core.belief_axes)
    over = batch.talks.state.done
    talks, frame = jax.vmap(partial(proceed, core), in_axes=(axes, 0), out_axes=(axes, 0))(
        batch.talks, actions
    )
    batch = batch._replace(talks=talks)
    if restart == "never":
        return batch, frame, None
    if restart == "next":
        return *restart_batch(core, batch, frame, over), None
    batch, first = restart_batch(core, batch, frame, talks.state.done)
    shown = first._replace(
        reward=frame.reward, terminated=frame.terminated, truncated=frame.truncated
    )
    return batch, shown, frame


def restart_batch(core: Core, batch: Batch, frame: Frame, where: jax.Array) -> tuple[Batch, Frame]:
    """The next episode of each conversation, and its first frame, `where` (B,) says so."""
    axes = core.belief_axes
    episodes = batch.episodes + where
    fresh, first = jax.vmap(partial(begin, core), out_axes=(Talk(0, axes), 0))(
        jax.vmap(episode_key)(batch.seeds, episodes)
    )
    put = partial(choose, where)
    state = jax.tree.map(put, fresh.state, batch.talks.state)
    belief = jax.tree.map(
        lambda axis, new, old: old if axis is None else put(new, old),
        axes, fresh.belief, batch.talks.belief, is_leaf=lambda x: x is None,
    )  # fmt: skip
    return Batch(batch.seeds, episodes, Talk(state, belief)), jax.tree.map(put, first, frame)


def choose(where: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """`new` (B, ...) where `where` (B,) is true, else `old`; typed random keys too."""
    if jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
        data = choose(where, jax.random.key_data(new), jax.random.key_data(old))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(old))
    return jnp.where(where.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)


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
jit_proceed_batch = jax.jit(proceed_batch, static_argnames="restart")
jit_restart_batch = jax.jit(restart_batch)

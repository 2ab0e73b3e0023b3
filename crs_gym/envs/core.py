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
from crs_gym.envs.actions import ActionCodec
from crs_gym.envs.menu import Believer, Course, propose
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
)

Restart = Literal["same", "next", "never"]
GROUP = 256
"""Conversations whose beliefs are worked on at a time: it bounds the memory of larger batches."""


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
    def wanted(self) -> frozenset[Course]:
        """What the codecs take from the `Menu`; nothing where they need no belief."""
        return self.codec.wanted | self.observer.wanted

    @property
    def candidates(self) -> int:
        """How many items a `Menu` holds."""
        asked = (getattr(codec, "candidates", 0) for codec in (self.codec, self.observer))
        return max(64, self.simulator.slate_size, *asked)

    @property
    def axes(self) -> Talk:
        """Axes of a batch of conversations under `vmap`."""
        if not self.wanted:
            return Talk(0, None, None)
        return Talk(0, self.inference.axes(shared_prior=self.simulator.prior == "cold"), 0)


class Talk(NamedTuple):
    """A conversation (`State`), what the recommender believes of the user, and what that proposes
    for the next turn (`Menu`).

    `belief` and `menu` are None where nobody needs them.
    """

    state: Any
    belief: Any
    menu: Any


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
    if not core.wanted:
        return Talk(state, None, None)
    prior, key = state.prior, belief_key(key, 0)
    belief = core.inference.init(key, prior, simulator.items, simulator.model)
    return _with_menu(core, Talk(state, belief, None))


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
    act = core.codec.decode(action, believer(core, talk))
    return legal(act, talk.state.context, core.simulator.n_attributes)


def conclude(core: Core, talk: Talk, turn: Turn) -> tuple[Talk, Frame]:
    """What follows from a turn, for the conversation and for what is believed."""
    simulator, state, belief = core.simulator, talk.state, talk.belief
    following, outcome = simulator.settle(state, turn)
    talk = Talk(following, belief, None)
    if core.wanted:
        key = belief_key(state.key, state.context.turn + 1)
        history, context = following.history, state.context
        belief = core.inference.update(
            key, belief, history, context, simulator.items, simulator.model
        )
        talk = _with_menu(core, talk._replace(belief=belief))
    return talk, _frame(core, talk, outcome)


def begin_batch(core: Core, seeds: jax.Array) -> tuple[Batch, Frame]:
    """Episode 0 of each of (B,) seed keys."""
    episodes = jnp.zeros(len(seeds), jnp.int32)

    def first(rows: Any) -> tuple[Talk, Frame]:
        talks, frame = _begin_group(core, *rows)
        return talks._replace(belief=_own(core, talks.belief)), frame

    own, frame = _in_groups(core, first, (seeds, episodes))
    one, _ = _begin_group(core, seeds[:1], episodes[:1])
    talks = own._replace(belief=_whole(core, own.belief, one.belief))
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
    over, talks = batch.talks.state.done, batch.talks

    def step(rows: tuple[Talk, jax.Array]) -> tuple[Talk, Frame]:
        group, chosen = rows
        group = group._replace(belief=_whole(core, group.belief, talks.belief))
        axes = (core.axes, 0)
        after, frame = jax.vmap(partial(proceed, core), in_axes=axes, out_axes=axes)(group, chosen)
        return after._replace(belief=_own(core, after.belief)), frame

    own = talks._replace(belief=_own(core, talks.belief))
    after, frame = _in_groups(core, step, (own, actions))
    talks = after._replace(belief=_whole(core, after.belief, talks.belief))
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
    size = len(where)
    # few conversations end at a time: they begin anew in groups, as many groups as it takes
    group = min(-(-size // 8), GROUP if core.wanted else size)
    episodes = batch.episodes + where
    (places,) = jnp.nonzero(where, size=size + group, fill_value=size)
    count = jnp.sum(where)
    old = batch.talks

    def begin_group(carried: Any) -> Any:
        start, past = carried
        rows = jax.lax.dynamic_slice(places, (start,), (group,))
        fresh, first = _begin_group(core, batch.seeds[rows], episodes[rows])
        new = (fresh._replace(belief=_own(core, fresh.belief)), first)
        return start + group, jax.tree.map(partial(_put, rows), past, new)

    own = old._replace(belief=_own(core, old.belief))
    _, (talks, frame) = jax.lax.while_loop(
        lambda carried: carried[0] < count, begin_group, (jnp.int32(0), (own, frame))
    )
    talks = talks._replace(belief=_whole(core, talks.belief, old.belief))
    return Batch(batch.seeds, episodes, talks), frame


def _begin_group(core: Core, seeds: jax.Array, episodes: jax.Array) -> tuple[Talk, Frame]:
    keys = jax.vmap(episode_key)(seeds, episodes)
    return jax.vmap(partial(begin, core), out_axes=(core.axes, 0))(keys)


def _in_groups(core: Core, function: Any, rows: Any) -> Any:
    """`function` of `rows`, a pytree with a leading axis.

    Where a belief is held, of at most `GROUP` rows at a time.
    """
    size = len(jax.tree.leaves(rows)[-1])
    if not core.wanted or size <= GROUP:
        return function(rows)
    places = jnp.minimum(jnp.arange(-(-size // GROUP) * GROUP), size - 1).reshape(-1, GROUP)
    out = jax.lax.map(lambda place: function(jax.tree.map(lambda x: x[place], rows)), places)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:size], out)


def _own(core: Core, belief: Any) -> Any:
    """The leaves of a belief that differ between conversations; None for the others."""
    return jax.tree.map(
        lambda axis, leaf: None if axis is None else leaf,
        core.axes.belief, belief, is_leaf=lambda x: x is None,
    )  # fmt: skip


def _whole(core: Core, own: Any, belief: Any) -> Any:
    """A belief of its own leaves and of those shared, which are taken from `belief`."""
    return jax.tree.map(
        lambda axis, new, old: old if axis is None else new,
        core.axes.belief, own, belief, is_leaf=lambda x: x is None,
    )  # fmt: skip


def _put(rows: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    """`old` with `new` in `rows`, of which those out of bounds are left out; random keys too."""
    if jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
        data = _put(rows, jax.random.key_data(old), jax.random.key_data(new))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(old))
    return old.at[rows].set(new, mode="drop")


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
    return Believer(_view(talk), talk.menu, core.simulator, core.inference)


def _view(talk: Talk) -> View:
    state = talk.state
    return View(state.history, state.context, state.prior, talk.belief, None)


def _with_menu(core: Core, talk: Talk) -> Talk:
    simulator, wanted = core.simulator, core.wanted
    menu = propose(talk.state.key, _view(talk), simulator, core.inference, wanted, core.candidates)
    return talk._replace(menu=menu)


def _frame(core: Core, talk: Talk, outcome: Outcome | None) -> Frame:
    seen, state = believer(core, talk), talk.state
    item = jnp.int32(NONE) if outcome is None else accepted_item(outcome.turn)
    no = jnp.array(False)
    return Frame(
        observation=flatten(core.observer.encode(seen), core.bound, core.observer.dtype),
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


class Packed(NamedTuple):
    """A `Frame` in few arrays, each of which costs some microseconds on its way to the host.

    numbers: (8,) int32: bits of the two floats, then flags and integers.
    """

    observation: Any
    mask: Any
    numbers: Any


def pack(frame: Frame) -> Packed:
    """One (unbatched) frame, packed."""
    floats = [jax.lax.bitcast_convert_type(x, jnp.int32) for x in (frame.reward, frame.quality)]
    whole = (frame.terminated, frame.truncated, frame.left, frame.turn, frame.user_id)
    numbers = jnp.stack([*floats, *(x.astype(jnp.int32) for x in whole), frame.accepted])
    return Packed(frame.observation, frame.mask, numbers)


def unpack(packed: Packed) -> Frame:
    """What `pack` packed, on the host."""
    numbers = np.asarray(packed.numbers)
    reward, quality = numbers[:2].view(np.float32)
    terminated, truncated, left = numbers[2:5].astype(bool)
    turn, user_id, accepted = numbers[5:]
    mask = None if packed.mask is None else np.asarray(packed.mask)
    return Frame(
        np.asarray(packed.observation), mask, reward, terminated, truncated,
        turn, user_id, accepted, left, quality,
    )  # fmt: skip


@jax.jit
def jit_begin(core: Core, seed: jax.Array, episode: int) -> tuple[Talk, Packed]:
    """`begin` of an episode of a seed key, packed."""
    talk, frame = begin(core, episode_key(seed, episode))
    return talk, pack(frame)


@jax.jit
def jit_proceed(core: Core, talk: Talk, action: jax.Array) -> tuple[Talk, Packed]:
    """`proceed`, packed."""
    talk, frame = proceed(core, talk, action)
    return talk, pack(frame)


jit_begin_batch = jax.jit(begin_batch)
jit_proceed_batch = jax.jit(proceed_batch, static_argnames="restart")
jit_restart_batch = jax.jit(restart_batch)

"""What the parts of `posterior` share: conversations, and histories told again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind, Turn, UserKind
from crs_gym.inference import Inference, Prior
from crs_gym.policies.acts import ask_attribute, ask_item, recommend
from crs_gym.simulation import Simulator, View
from crs_gym.simulation.keys import belief_key, turn_keys
from crs_gym.simulation.rollout import view_of
from crs_gym.simulation.simulator import State, advance
from crs_gym.users import Context, Items, User, UserModel, log_prob, perceive
from crs_gym.users.model import null_utility
from crs_gym.world import World, load_world
from crs_gym.world.generate import generate

TURNS = 7
CRITIQUING = {"critique_rate": 0.5}

Part = Literal["nuts", "sbc", "time", "robust", "kernels"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Args:
    parts: tuple[Part, ...] = ("nuts", "sbc", "time", "robust", "kernels")
    """what to do"""
    again: bool = False
    """also what has been done already"""
    world: str = "films"
    """of sbc, time and robust"""
    draws: int = 256
    """of the sampler"""
    seed: int = 0
    """of everything drawn at random"""
    ensembles: int = 128
    """nuts: independent runs of the sampler"""
    chains: int = 32
    """nuts: chains of NUTS"""
    samples: int = 400
    """nuts: draws of each chain, after half as many that adapt it"""
    users: int = 2048
    """sbc: users, in batches of 256"""
    time_users: int = 128
    """time: users, in batches of 64"""
    robust_users: int = 512
    """robust: users, in batches of 128"""


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=[])
@dataclass(frozen=True)
class Script:
    """Asks about two random items, then about a random attribute, then recommends two, and so on.

    What it says does not depend on what it hears.
    """

    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False
    name: ClassVar[str] = "script"

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        which, topic = jax.random.split(key)
        k = simulator.slate_size
        slate = jax.random.choice(which, simulator.n_items, (k,), replace=False).astype(jnp.int32)
        attribute = jax.random.randint(topic, (), 0, simulator.n_attributes)
        acts = ask_item(slate), ask_attribute(slate[0], attribute, k), recommend(slate)
        place = view.context.turn % 3
        return jax.tree.map(lambda *x: jnp.stack(x)[place], *acts)


def from_cold_prior(simulator: Simulator) -> Simulator:
    """The same simulator with a cold prior, from which its users are drawn."""
    mean, std = simulator.population
    return replace(
        simulator,
        user_mean=mean[None],
        user_std=std[None],
        user_ids=jnp.zeros(1, jnp.int32),
        prior="cold",
    )


def converse(
    simulator: Simulator,
    policy: Any,
    inference: Inference | None,
    keys: jax.Array,
    turns: int,
    believer: Simulator | None = None,
) -> Iterator[tuple[State, Any]]:
    """States and beliefs, leading axis (B,), after 0, 1, ... turns.

    Args:
        inference: None: no belief is kept.
        keys: (B,) episode keys.
        believer: what the recommender takes the simulator for.
    """
    believer = simulator if believer is None else believer
    states = reset(simulator, keys)
    beliefs = None if inference is None else start(believer, inference, keys, states.prior)
    yield states, beliefs
    for turn in range(turns):
        following = _step(simulator, believer, policy, inference, states, beliefs)
        if inference is not None:
            beliefs = update(
                believer, inference, keys, turn, beliefs, following.history, states.context
            )
        states = following
        yield states, beliefs


def replay(
    simulator: Simulator, inference: Inference, keys: jax.Array, prior: Prior, history: Turn
) -> Iterator[Any]:
    """Beliefs, leading axis (B,), after 0, 1, ... turns of histories that are known.

    Args:
        keys: (B,). prior, history: leading axis (B,).
    """
    beliefs = start(simulator, inference, keys, prior)
    yield beliefs
    contexts = _contexts(history, simulator.items)
    for turn in range(history.act.kind.shape[1]):
        context = jax.tree.map(lambda x, t=turn: x[:, t], contexts)
        beliefs = update(
            simulator, inference, keys, turn, beliefs, shortened(history, turn + 1), context
        )
        yield beliefs


def shortened(history: Turn, turns: int) -> Turn:
    """Histories `(..., H)` with padding from turn `turns` on."""
    response = history.response
    kind = jnp.where(jnp.arange(response.kind.shape[-1]) < turns, response.kind, NONE)
    return history._replace(response=response._replace(kind=kind))


@jax.jit
def reset(simulator: Simulator, keys: jax.Array) -> State:
    return jax.vmap(simulator.reset)(keys)


@jax.jit
def start(simulator: Simulator, inference: Inference, keys: jax.Array, prior: Prior) -> Any:
    """Beliefs before the first turn; a cold prior is kept once for all users."""

    def init(key: jax.Array, prior: Prior) -> Any:
        return inference.init(belief_key(key, 0), prior, simulator.items, simulator.model)

    axes = inference.axes(shared_prior=simulator.prior == "cold")
    axis = axes.prior.mean
    known = prior if axis == 0 else simulator.population
    return jax.vmap(init, in_axes=(0, axis), out_axes=axes)(keys, known)


@jax.jit
def update(
    simulator: Simulator,
    inference: Inference,
    keys: jax.Array,
    turn: int | jax.Array,
    beliefs: Any,
    history: Turn,
    context: Context,
) -> Any:
    """Beliefs after the turn that began in `context`; all but `turn` have a leading axis (B,)."""
    axes = inference.axes(shared_prior=simulator.prior == "cold")

    def one(key: jax.Array, belief: Any, history: Turn, context: Context) -> Any:
        key = belief_key(key, turn + 1)
        return inference.update(key, belief, history, context, simulator.items, simulator.model)

    return jax.vmap(one, in_axes=(0, axes, 0, 0), out_axes=axes)(keys, beliefs, history, context)


@jax.jit
def _step(
    simulator: Simulator,
    believer: Simulator,
    policy: Any,
    inference: Inference | None,
    states: State,
    beliefs: Any,
) -> State:
    def one(state: State, belief: Any) -> State:
        _, key = turn_keys(state.key, state.context.turn + 1)
        act = policy.act(key, view_of(state, belief, policy), believer, inference)
        return simulator.step(state, act)[0]

    axes = None if inference is None else inference.axes(shared_prior=simulator.prior == "cold")
    return jax.vmap(one, in_axes=(0, axes))(states, beliefs)


def beginning(items: Items) -> Context:
    """The context of a first turn."""
    critiqued, rejected = jnp.zeros(len(items.cavs), bool), jnp.zeros(len(items.embeddings), bool)
    return Context(jnp.int32(0), jnp.int32(0), critiqued, rejected)


@jax.jit
def _contexts(history: Turn, items: Items) -> Context:
    def following(context: Context, turn: Turn) -> tuple[Context, Context]:
        return advance(context, turn), context

    def one(history: Turn) -> Context:
        return jax.lax.scan(following, beginning(items), history)[1]

    return jax.vmap(one)(history)


def log_likelihood(
    embeddings: jax.Array, history: Turn, items: Items, model: UserModel
) -> jax.Array:
    """`(...)` log P(all responses | phi_u) of users `(..., d)`, turn by turn by `users.log_prob`.

    Args:
        history: one conversation, leading axis (H,).
    """
    users = User.typical(embeddings, model)

    def tell(past: tuple[Context, jax.Array], turn: Turn) -> tuple[tuple[Context, jax.Array], None]:
        context, total = past
        percept = perceive(embeddings, turn.act, items, model, null=null)
        step = log_prob(turn.response, users, turn.act, percept, context, model)
        return (advance(context, turn), total + step), None

    null = null_utility(embeddings, items, model)
    begun = (beginning(items), jnp.zeros(embeddings.shape[:-1]))
    (_, total), _ = jax.lax.scan(tell, begun, history)
    return total


def asked_directions(history: Turn, items: Items) -> jax.Array:
    """(n, d) of one history: differences of the items of item queries, CAVs asked about or named.

    And, of each recommendation, its first item against the mean item. NumPy decides, so not for
    `jit`.
    """
    found = []
    for t in range(len(history.act.kind)):
        act, response = jax.device_get(jax.tree.map(lambda x, t=t: x[t], history))
        if act.kind == RecommenderKind.ASK_ITEM:
            found.append(items.embeddings[act.slate[0]] - items.embeddings[act.slate[1]])
        if act.kind == RecommenderKind.RECOMMEND:
            found.append(items.embeddings[act.slate[0]] - items.mean)
        if response.attribute >= 0:
            found.append(items.cavs[int(response.attribute)])
    return jnp.stack(found) if found else jnp.zeros((0, items.mean.shape[0]))


def keys_of(args: Args, purpose: int, count: int) -> jax.Array:
    return jax.random.split(jax.random.fold_in(jax.random.key(args.seed), purpose), count)


def batches(keys: jax.Array, size: int, what: str) -> Iterable[jax.Array]:
    parts = [keys[at : at + size] for at in range(0, len(keys), size)]
    return tqdm(parts, desc=what, leave=False)


def sized(dim: int) -> World:
    """A generated world of that dimension."""
    if dim == 128:
        return load_world("generated")
    return generate(n_items=720, dim=dim, n_attributes=min(33, dim - 2), n_users=500)


def scripted_talk(simulator: Simulator, args: Args) -> tuple[Prior, Turn]:
    """A conversation without end, in which a recommendation was rejected and one criticised."""
    *_, (states, _) = converse(simulator, Script(), None, keys_of(args, 1, 64), TURNS)
    kind = np.asarray(states.history.response.kind)
    mixed = (kind == UserKind.CRITIQUE).any(1) & (kind == UserKind.REJECT).any(1)
    chosen = np.flatnonzero(mixed & (kind != NONE).all(1))[0]
    return simulator.population, jax.tree.map(lambda x: x[chosen], states.history)


def projections(history: Turn, simulator: Simulator, std: jax.Array) -> jax.Array:
    """(n, d) unit vectors in standardised coordinates along all that was asked about."""
    along = asked_directions(history, simulator.items) * std
    return along / jnp.linalg.norm(along, axis=1, keepdims=True)

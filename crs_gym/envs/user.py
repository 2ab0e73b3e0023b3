"""The user as a player: what it may say, what it sees, and what the ICER model would say."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind, Turn, UserAct, UserKind
from crs_gym.envs.core import Core, Packed, Talk, conclude, legal_act, pack
from crs_gym.envs.observations import flatten
from crs_gym.users import Context, Percept, log_prob
from crs_gym.users.critique import referent

FLOOR = -20.0
"""Least log-probability of a response that the reward counts: the ICER model may rule it out."""


def responses(slate_size: int, n_attributes: int) -> UserAct:
    """All that a user can say, fields `(2 k + 2 G + 4,)`, in the order of the player's actions.

    Accept place 0 to k - 1; reject; critique attribute g as "less" and as "more", g = 0 to G - 1;
    choose place 0 to k - 1; answer "less", "more"; leave. The place of a critique and the attribute
    of an answer follow from the recommender's act and are NONE here.
    """
    k, g = slate_size, n_attributes
    sizes = (k, 1, 2 * g, k, 2, 1)
    kinds = (
        UserKind.ACCEPT, UserKind.REJECT, UserKind.CRITIQUE,
        UserKind.CHOOSE, UserKind.ANSWER, UserKind.LEAVE,
    )  # fmt: skip
    kind = jnp.concatenate([jnp.full(n, what) for n, what in zip(sizes, kinds, strict=True)])
    none = [jnp.full(n, NONE) for n in sizes]
    places, signs = jnp.arange(k), jnp.array([-1, 1])
    slot = jnp.concatenate([places, *none[1:3], places, *none[4:]])
    attribute = jnp.concatenate([*none[:2], jnp.repeat(jnp.arange(g), 2), *none[3:]])
    still = [jnp.zeros(n, int) for n in sizes]
    direction = jnp.concatenate([*still[:2], jnp.tile(signs, g), still[3], signs, still[5]])
    return UserAct(*(x.astype(jnp.int32) for x in (kind, slot, attribute, direction)))


def response_of(index: jax.Array, act: RecommenderAct, percept: Percept) -> UserAct:
    """The response with number `index` to `act`, complete."""
    slate_size, n_attributes = percept.slate.shape
    said = jax.tree.map(lambda x: x[index], responses(slate_size, n_attributes))
    critique, answer = said.kind == UserKind.CRITIQUE, said.kind == UserKind.ANSWER
    named = referent(percept, jnp.maximum(said.attribute, 0), said.direction)
    return said._replace(
        slot=jnp.where(critique, named, said.slot).astype(jnp.int32),
        attribute=jnp.where(answer, act.attribute, said.attribute).astype(jnp.int32),
    )


def number_of(response: UserAct, slate_size: int, n_attributes: int) -> jax.Array:
    """The number of a complete response, () int32: the inverse of `response_of`."""
    table = responses(slate_size, n_attributes)
    placed = (response.kind == UserKind.ACCEPT) | (response.kind == UserKind.CHOOSE)
    topical = response.kind == UserKind.CRITIQUE
    same = (
        (table.kind == response.kind)
        & (table.slot == jnp.where(placed, response.slot, NONE))
        & (table.attribute == jnp.where(topical, response.attribute, NONE))
        & (table.direction == response.direction)
    )
    return jnp.argmax(same).astype(jnp.int32)


def allowed(act: RecommenderAct, context: Context, percept: Percept) -> jax.Array:
    """`(2 k + 2 G + 4,)` bool, what may be said to `act`.

    As the ICER model has it: an offer is accepted, rejected, or criticised on an attribute that was
    not criticised before; a question is answered; leaving is always possible.
    """
    table = responses(*percept.slate.shape)
    recommended = act.kind == RecommenderKind.RECOMMEND
    there = percept.filled[jnp.maximum(table.slot, 0)]
    fresh = ~context.critiqued[jnp.maximum(table.attribute, 0)] & percept.filled.any()
    by_kind = [
        recommended & there,
        recommended,
        recommended & fresh,
        (act.kind == RecommenderKind.ASK_ITEM) & there,
        act.kind == RecommenderKind.ASK_ATTRIBUTE,
        True,
    ]
    rows = [jnp.broadcast_to(row, table.kind.shape) for row in by_kind]
    return jnp.stack(rows)[table.kind, jnp.arange(len(table.kind))]


def see(core: Core, talk: Talk, act: RecommenderAct) -> dict[str, jax.Array]:
    """What the user sees of `act`, in named blocks."""
    state, simulator = talk.state, core.simulator
    percept = simulator.percept(state, act)
    return {
        "turn": state.context.turn / simulator.max_turns,
        "embedding": state.user.embedding,
        "target": percept.target,
        "act": jax.nn.one_hot(act.kind, len(RecommenderKind)),
        "asked": jax.nn.one_hot(act.attribute, simulator.n_attributes),
        "filled": percept.filled,
        "utilities": jnp.where(percept.filled, percept.utilities, 0.0),
        "null_utility": percept.null,
        "attributes": percept.slate,
    }


def hear(core: Core, talk: Talk, action: jax.Array) -> tuple[RecommenderAct, jax.Array, jax.Array]:
    """The recommender's act as the user hears it, the user's observation and its mask."""
    act = legal_act(core, talk, action)
    simulator, state = core.simulator, talk.state
    percept = simulator.percept(state, act)
    observation = flatten(see(core, talk, act), core.bound)
    return act, observation, allowed(act, state.context, percept).astype(jnp.int8)


def say(
    core: Core, talk: Talk, act: RecommenderAct, index: jax.Array
) -> tuple[Talk, Packed, jax.Array]:
    """The user says response number `index`.

    Returns:
        the conversation; what is seen of it; () float32 log-probability of the response under the
        ICER model, at least `FLOOR`.
    """
    simulator, state = core.simulator, talk.state
    percept = simulator.percept(state, act)
    response = response_of(index, act, percept)
    likely = log_prob(response, state.user, act, percept, state.context, simulator.model)
    talk, frame = conclude(core, talk, Turn(act, response))
    return talk, pack(frame), jnp.maximum(likely, FLOOR)


def icer_response(core: Core, talk: Talk, act: RecommenderAct) -> jax.Array:
    """() int32, what the ICER model says to `act`, with the luck of this episode and turn."""
    simulator = core.simulator
    response = simulator.respond(talk.state, act)
    return number_of(response, simulator.slate_size, simulator.n_attributes)


jit_hear = jax.jit(hear)
jit_say = jax.jit(say)
jit_icer_response = jax.jit(icer_response)

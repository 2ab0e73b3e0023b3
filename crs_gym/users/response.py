"""The user's whole response to an act: `respond` draws it, `log_prob` inverts it.

On a recommendation the user accepts an item or the null item wins; then the user may leave; who
stays rejects, with a critique or without. On a query the user may leave; who stays answers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind, UserAct, UserKind
from crs_gym.users import answer, choice, critique, leaving
from crs_gym.users.model import Context, Percept, User, UserModel

n_uniforms = 5
"""Uniform draws that `respond` takes: choice, leaving, critique or not, attribute, direction."""


def respond(
    uniforms: jax.Array,
    user: User,
    act: RecommenderAct,
    percept: Percept,
    context: Context,
    model: UserModel,
) -> UserAct:
    """The response of one user, a deterministic function of the `(5,)` uniform draws in [0, 1)."""
    recommended = act.kind == RecommenderKind.RECOMMEND
    asked_item = act.kind == RecommenderKind.ASK_ITEM
    means = critique.slate_mean(percept)

    offer = choice.log_probs(percept.utilities, user.temperature, percept.null)
    query = choice.log_probs(percept.utilities, user.temperature)
    # an item query over an empty slate has nothing to choose from: `legal` never lets one through
    query = jnp.where(percept.filled.any(), query, 0.0)
    slate_size = percept.utilities.shape[-1]
    offer_slot = choice.sample(uniforms[0], offer)
    accepted = recommended & (offer_slot < slate_size)
    slot = jnp.where(recommended, offer_slot, choice.sample(uniforms[0], query))

    rate = leaving.hazard(
        context, ~recommended, _shortfall(percept, recommended), user.patience, model
    )
    left = ~accepted & leaving.sample(uniforms[1], rate)

    critiques = (
        recommended
        & ~accepted
        & ~context.critiqued.all()
        & percept.filled.any()
        & (uniforms[2] < user.critique_rate)
    )
    salient = critique.sample(uniforms[3], percept, context.critiqued, model.critique_temperature)
    attribute = jnp.where(recommended, salient, jnp.maximum(act.attribute, 0))
    direction = answer.sample(
        uniforms[4], percept.target[attribute], means[attribute], model.answer_noise
    )
    named = critique.referent(percept, attribute, direction)

    kind = jnp.where(
        left,
        UserKind.LEAVE,
        jnp.where(
            recommended,
            jnp.where(
                accepted,
                UserKind.ACCEPT,
                jnp.where(critiques, UserKind.CRITIQUE, UserKind.REJECT),
            ),
            jnp.where(asked_item, UserKind.CHOOSE, UserKind.ANSWER),
        ),
    )
    speaks_of_attribute = (kind == UserKind.CRITIQUE) | (kind == UserKind.ANSWER)
    names_place = (kind == UserKind.ACCEPT) | (kind == UserKind.CHOOSE)
    place = jnp.where(names_place, slot, jnp.where(kind == UserKind.CRITIQUE, named, NONE))
    return UserAct(
        kind.astype(jnp.int32),
        place.astype(jnp.int32),
        jnp.where(speaks_of_attribute, attribute, NONE).astype(jnp.int32),
        jnp.where(speaks_of_attribute, direction, 0).astype(jnp.int32),
    )


def log_prob(
    response: UserAct,
    user: User,
    act: RecommenderAct,
    percept: Percept,
    context: Context,
    model: UserModel,
) -> jax.Array:
    """log P(response | act, user), the likelihood that a belief inverts.

    Args:
        user, percept: any batch shape `(...)` of users looking at the one act; the context and
            the response are those of the one conversation.

    Returns:
        `(...)` float32; -inf for a response that the act does not allow, 0 for padding.
    """
    rest = log_prob_given_topic(response, user, act, percept, context, model)
    return rest + log_prob_topic(response, percept, context, model)


def log_prob_topic(
    response: UserAct, percept: Percept, context: Context, model: UserModel
) -> jax.Array:
    """`(...)` log P(a critique is about the attribute it is about); 0 for other responses.

    This is the dear part of `log_prob`, all attributes being in it, and seldom needed.
    """
    attribute = jnp.clip(response.attribute, 0, percept.target.shape[-1] - 1)
    topic = critique.log_probs(percept, context.critiqued, model.critique_temperature)
    return jnp.where(response.kind == UserKind.CRITIQUE, topic[..., attribute], 0.0)


def log_prob_given_topic(
    response: UserAct,
    user: User,
    act: RecommenderAct,
    percept: Percept,
    context: Context,
    model: UserModel,
) -> jax.Array:
    """`(...)` `log_prob` less `log_prob_topic`."""
    recommended = act.kind == RecommenderKind.RECOMMEND
    means = critique.slate_mean(percept)
    slate_size = percept.utilities.shape[-1]
    slot = jnp.clip(response.slot, 0, slate_size - 1)
    in_slate = (response.slot >= 0) & (response.slot < slate_size)
    attribute = jnp.clip(response.attribute, 0, percept.target.shape[-1] - 1)

    offer = choice.log_probs(percept.utilities, user.temperature, percept.null)
    query = choice.log_probs(percept.utilities, user.temperature)
    rate = leaving.hazard(
        context, ~recommended, _shortfall(percept, recommended), user.patience, model
    )
    stay, leave = leaving.log_prob_stay(rate), leaving.log_prob_leave(rate)

    can_critique = ~context.critiqued.all() & percept.filled.any()
    critique_rate = jnp.where(can_critique, user.critique_rate, 0.0)
    direction = answer.log_prob(
        response.direction, percept.target[..., attribute], means[attribute], model.answer_noise
    )
    named = critique.referent(percept, attribute, response.direction)
    directed = jnp.abs(response.direction) == 1
    rejected = offer[..., -1] + stay

    cases = [
        jnp.where(in_slate, offer[..., slot], -jnp.inf),
        rejected + jnp.log1p(-critique_rate),
        jnp.where(
            directed & (response.slot == named) & (response.attribute == attribute),
            rejected + jnp.log(critique_rate) + direction,
            -jnp.inf,
        ),
        jnp.where(in_slate, stay + query[..., slot], -jnp.inf),
        jnp.where(directed & (response.attribute == act.attribute), stay + direction, -jnp.inf),
        jnp.where(recommended, offer[..., -1], 0.0) + leave,
    ]
    allowed = jnp.array(
        [
            [True, True, True, False, False, True],
            [False, False, False, True, False, True],
            [False, False, False, False, True, True],
        ]
    )[jnp.clip(act.kind, 0, 2)]
    shape = jnp.broadcast_shapes(*(case.shape for case in cases))
    table = jnp.stack([jnp.broadcast_to(case, shape) for case in cases])
    kind = jnp.clip(response.kind, 0, len(UserKind) - 1)
    value = jnp.where(allowed[kind], table[kind], -jnp.inf)
    return jnp.where(response.kind == NONE, 0.0, value)


def _shortfall(percept: Percept, recommended: jax.Array) -> jax.Array:
    best = jnp.max(percept.utilities, axis=-1)
    # an empty offer disappoints as much as the average item does, not infinitely
    best = jnp.where(jnp.isfinite(best), best, 0.0)
    return jnp.where(recommended, jnp.maximum(percept.null - best, 0.0), 0.0)

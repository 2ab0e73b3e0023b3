"""Leaving before an item is accepted (ICER, section 3.2, "Other Behaviors")."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crs_gym.users.model import Context, UserModel


def hazard(
    context: Context,
    is_question: jax.Array,
    shortfall: jax.Array,
    patience: jax.Array,
    model: UserModel,
) -> jax.Array:
    """Rate of leaving at this response, at least 0; the user leaves with 1 - exp(-rate).

    Args:
        context: turns and questions so far.
        is_question: bool, whether the act is a query.
        shortfall: `(...)` by how much the best item recommended falls short of the null item, in
            utility, at least 0; 0 for queries.
        patience: divides the rate.
    """
    questions = context.questions + is_question
    rate = (
        model.leave_base
        + model.leave_turn * context.turn
        + model.leave_question * questions
        + model.leave_dissatisfaction * shortfall
    )
    return rate / patience


def log_prob_leave(rate: jax.Array) -> jax.Array:
    """log(1 - exp(-rate)), -inf at rate 0."""
    positive = rate > 0
    return jnp.where(positive, jnp.log(-jnp.expm1(-jnp.where(positive, rate, 1.0))), -jnp.inf)


def log_prob_stay(rate: jax.Array) -> jax.Array:
    """-rate."""
    return -rate


def sample(uniform: jax.Array, rate: jax.Array) -> jax.Array:
    """Whether the user leaves, bool, for a uniform draw in [0, 1)."""
    return uniform < -jnp.expm1(-rate)

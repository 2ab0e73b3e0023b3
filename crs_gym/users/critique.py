"""Critique after a rejection: the most salient attribute, its direction, the item named."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crs_gym.users.draws import pick, tempered
from crs_gym.users.model import Percept


def slate_mean(percept: Percept) -> jax.Array:
    """(G,) mean attributes over the filled places of the slate; 0 for an empty slate."""
    return percept.slate.sum(0) / jnp.maximum(percept.filled.sum(), 1)


def log_probs(percept: Percept, critiqued: jax.Array, temperature: jax.Array) -> jax.Array:
    """Log-probability that each attribute is the one critiqued.

    A softmax at a low temperature over the salience |c_g . phi* - mean over the slate of
    c_g . phi_i| (ICER, section 3.2, takes the largest, which is the limit at 0). What was
    critiqued before in this conversation is not critiqued again.

    Args:
        percept: `target` may have batch axes, `(..., G)`.
        critiqued: (G,) bool.
        temperature: at least 0, in deviations of the attributes over the items.

    Returns:
        `(..., G)`; all -inf once every attribute was critiqued.
    """
    salience = jnp.abs(percept.target - slate_mean(percept))
    logits = tempered(jnp.where(critiqued, -jnp.inf, salience), temperature)
    return jnp.where(critiqued, -jnp.inf, jax.nn.log_softmax(logits, axis=-1))


def sample(
    uniform: jax.Array, percept: Percept, critiqued: jax.Array, temperature: jax.Array
) -> jax.Array:
    """The attribute critiqued, `(...)` int32; meaningless once all were critiqued."""
    log_probabilities = log_probs(percept, critiqued, temperature)
    return pick(uniform, jnp.where(critiqued.all(), 0.0, log_probabilities))


def referent(percept: Percept, attribute: jax.Array, direction: jax.Array) -> jax.Array:
    """Place of the item named by the critique: the one furthest the wrong way.

    Who wants something funnier names the least funny item of the slate. It follows from the
    slate, the attribute and the direction, so it tells nothing more about the user.
    """
    wrong = jnp.where(percept.filled, -direction * percept.slate[:, attribute], -jnp.inf)
    return jnp.argmax(wrong).astype(jnp.int32)

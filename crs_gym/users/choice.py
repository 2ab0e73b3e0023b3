"""Choice from a slate: multinomial logit (ICER, section 3.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crs_gym.users.draws import pick, tempered


def log_probs(
    utilities: jax.Array, temperature: jax.Array, null: jax.Array | None = None
) -> jax.Array:
    """Log-probability of choosing each item; with a null item, its own comes last.

    P(i) = exp(u_i / T) / sum_j exp(u_j / T). T = 0 chooses the best (ties evenly), T = inf any.

    Args:
        utilities: `(..., k)`; -inf marks an empty place.
        temperature: `(...)` T, at least 0.
        null: `(...)` utility of the null item, for recommendations; None for item queries.

    Returns:
        `(..., k)`, or `(..., k + 1)` with a null item.
    """
    if null is not None:
        null = jnp.broadcast_to(null, utilities.shape[:-1])
        utilities = jnp.concatenate([utilities, null[..., None]], axis=-1)
    return jax.nn.log_softmax(tempered(utilities, temperature), axis=-1)


def sample(uniform: jax.Array, log_probabilities: jax.Array) -> jax.Array:
    """The place chosen, `(...)` int32, for a uniform draw in [0, 1)."""
    return pick(uniform, log_probabilities)

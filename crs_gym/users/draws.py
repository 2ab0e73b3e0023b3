"""Small numerical pieces that the user models share."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def tempered(utilities: jax.Array, temperature: jax.Array) -> jax.Array:
    """Logits `utilities / temperature` with exact limits.

    At temperature 0 all weight lies on the largest utilities (shared evenly between ties), at
    infinity every finite utility has the same logit.

    Args:
        utilities: `(..., n)` float32; -inf marks what cannot be chosen.
        temperature: `(...)` at least 0, in the units of the utilities.

    Returns:
        `(..., n)` float32, at most 0 but for rounding; at temperature 0 without a gradient.
    """
    possible = jnp.isfinite(utilities)
    largest = jnp.max(utilities, axis=-1, keepdims=True, initial=-1e30)
    below = jnp.where(possible, utilities, 0.0) - largest
    temperature = jnp.asarray(temperature)[..., None]
    warm = below / jnp.where(temperature > 0, temperature, 1.0)
    # Compilers may compute the largest twice, and round it in two ways: near it the order decides
    near = below >= -1e-4 * (1 + jnp.abs(largest))
    frozen = jnp.where(near, 1e30 * jax.lax.stop_gradient(below), -jnp.inf)
    return jnp.where(possible, jnp.where(temperature > 0, warm, frozen), -jnp.inf)


def pick(uniform: jax.Array, logits: jax.Array) -> jax.Array:
    """Index drawn from `softmax(logits)` by inverting its distribution function.

    Args:
        uniform: `(...)` in [0, 1).
        logits: `(..., n)`, not all -inf.

    Returns:
        `(...)` int32; never an index whose logit is -inf.
    """
    cumulated = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)
    total = cumulated[..., -1]
    # rounding may carry uniform * total up to total itself, past the last index
    point = jnp.minimum(uniform * total, jnp.nextafter(total, jnp.zeros_like(total)))
    return jnp.argmax(cumulated > point[..., None], axis=-1).astype(jnp.int32)

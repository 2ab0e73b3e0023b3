"""Answer to an attribute query: probit on the target item (ICER, section 3.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jax.scipy.stats import norm


def log_prob_more(target: jax.Array, slate_mean: jax.Array, noise: jax.Array) -> jax.Array:
    """log P(more) = log Phi((c_g . phi* - c_g . mean of the slate) / sigma_g).

    sigma_g = 0 gives a sure answer (0.5 when both are equal), sigma_g = inf a coin flip.

    Args:
        target, slate_mean: broadcastable, attribute values in deviations over the items.
        noise: sigma_g, at least 0.
    """
    return norm.logcdf(_deviations(target, slate_mean, noise))


def prob_more(target: jax.Array, slate_mean: jax.Array, noise: jax.Array) -> jax.Array:
    """P(more) itself, several times cheaper than the exponential of its logarithm."""
    return ndtr(_deviations(target, slate_mean, noise))


def log_prob(
    direction: jax.Array, target: jax.Array, slate_mean: jax.Array, noise: jax.Array
) -> jax.Array:
    """Log-probability of wanting more (`direction` +1) or less (-1)."""
    # P(less) = Phi(-gap / sigma): the same function with both sides swapped keeps full precision
    sign = jnp.where(direction > 0, 1.0, -1.0)
    return log_prob_more(sign * target, sign * slate_mean, noise)


def sample(
    uniform: jax.Array, target: jax.Array, slate_mean: jax.Array, noise: jax.Array
) -> jax.Array:
    """+1 (more) or -1 (less), int32, for a uniform draw in [0, 1)."""
    more = uniform < jnp.exp(log_prob_more(target, slate_mean, noise))
    return jnp.where(more, 1, -1).astype(jnp.int32)


def _deviations(target: jax.Array, slate_mean: jax.Array, noise: jax.Array) -> jax.Array:
    gap = target - slate_mean
    sure = jnp.where(gap == 0, 0.0, jnp.sign(gap) * jnp.inf)
    return jnp.where(noise > 0, gap / jnp.where(noise > 0, noise, 1.0), sure)

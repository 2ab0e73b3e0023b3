"""What a query is worth: EU*, PEU, EVOI and the bound F (ICER, section 3.1).

After a response rho to a query q the belief weighs a sample phi_j by P(rho | q, phi_j). All that
the value of q needs are the vectors v_rho = sum_j w_j P(rho | q, phi_j) phi_j, one for each
response: their sum over rho is the mean of the belief.

Items that may not be recommended any more can be left out everywhere: `excluded` (N,) bool.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crs_gym.inference.belief import Samples
from crs_gym.users import Items, UserModel, answer, choice
from crs_gym.users.model import target_attributes


def best_utility(vectors: jax.Array, items: Items, excluded: jax.Array | None = None) -> jax.Array:
    """`(...)` max_i v . phi_i for v `(..., d)`; 0 where every item is excluded."""
    utilities = vectors @ items.embeddings.T
    if excluded is None:
        return utilities.max(-1)
    best = jnp.where(excluded, -jnp.inf, utilities).max(-1)
    return jnp.where(jnp.isfinite(best), best, 0.0)


def expected_utility(
    samples: Samples, items: Items, excluded: jax.Array | None = None
) -> jax.Array:
    """() EU* = max_i E[phi_u] . phi_i, the expected utility of the best recommendation now."""
    return best_utility(samples.weights @ samples.embeddings, items, excluded)


def by_choice(samples: Samples, points: jax.Array, model: UserModel) -> jax.Array:
    """(k, d) v_rho for the choice of each of `points` (k, d): items, or anything between them."""
    utilities = samples.embeddings @ points.T
    chosen = jnp.exp(choice.log_probs(utilities, model.temperature))
    return (chosen * samples.weights[:, None]).T @ samples.embeddings


def by_answer(
    samples: Samples, targets: jax.Array, thresholds: jax.Array, model: UserModel
) -> jax.Array:
    """`(..., 2, d)` v_rho for the answers more and less.

    Args:
        targets: `(m, ...)` the attribute of the samples' target items, see `target_attributes`.
        thresholds: `(...)` the attribute of what the query is about.
    """
    more = answer.prob_more(targets, thresholds, model.answer_noise)
    wanted = jnp.tensordot(more, samples.embeddings * samples.weights[:, None], axes=(0, 0))
    mean = samples.weights @ samples.embeddings
    return jnp.stack([wanted, mean - wanted], axis=-2)


def posterior_expected_utility(
    vectors: jax.Array, items: Items, excluded: jax.Array | None = None
) -> jax.Array:
    """`(...)` PEU = sum over rho of max_i v_rho . phi_i, for v_rho `(..., R, d)`."""
    return best_utility(vectors, items, excluded).sum(-1)


def bound(vectors: jax.Array, items: Items) -> jax.Array:
    """`(...)` F = max_i |phi_i| sum over rho of |v_rho|: at least PEU, and smooth."""
    longest = jnp.sqrt(jnp.max(jnp.sum(items.embeddings**2, axis=1)))
    # the gradient of a norm is undefined at 0, where a response cannot happen
    lengths = jnp.sqrt(jnp.sum(vectors**2, axis=-1) + 1e-12)
    return longest * lengths.sum(-1)


def item_query_value(
    samples: Samples,
    slate: jax.Array,
    items: Items,
    model: UserModel,
    excluded: jax.Array | None = None,
) -> jax.Array:
    """() EVOI of asking which item of `slate` (k,) is preferred; at least 0 but for rounding."""
    vectors = by_choice(samples, items.embeddings[slate], model)
    after = posterior_expected_utility(vectors, items, excluded)
    return after - expected_utility(samples, items, excluded)


def attribute_query_value(
    samples: Samples,
    item: jax.Array,
    attribute: jax.Array,
    items: Items,
    model: UserModel,
    excluded: jax.Array | None = None,
) -> jax.Array:
    """`(...)` EVOI of asking about `attribute` of `item`, both `(...)` int32."""
    targets = target_attributes(samples.embeddings, items, model)
    thresholds = items.attributes[item, attribute]
    vectors = by_answer(samples, targets[:, attribute], thresholds, model)
    after = posterior_expected_utility(vectors, items, excluded)
    return after - expected_utility(samples, items, excluded)


def recommendation_value(
    samples: Samples,
    slate: jax.Array,
    items: Items,
    model: UserModel,
    excluded: jax.Array | None = None,
) -> jax.Array:
    """() what recommending `slate` (k,), all places filled, is worth beyond EU*.

    It may be negative.

    An accepted item ends the talk, so it counts with its own expected utility. A rejection leaves
    the best of the other items for the belief after it; what a critique would tell more is not
    counted.
    """
    utilities = samples.embeddings @ items.embeddings[slate].T
    chosen = jnp.exp(choice.log_probs(utilities, model.temperature, samples.null))
    taken = jnp.sum(samples.weights[:, None] * chosen[:, :-1] * utilities)
    rejected = (samples.weights * chosen[:, -1]) @ samples.embeddings
    out = jnp.zeros(len(items.embeddings), bool) if excluded is None else jnp.asarray(excluded)
    left = best_utility(rejected, items, out.at[slate].set(True))
    return taken + left - expected_utility(samples, items, excluded)

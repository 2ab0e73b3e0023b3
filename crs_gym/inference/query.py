"""Which items to recommend and what to ask, given weighted samples of phi_u."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crs_gym.users import Items, UserModel, choice
from crs_gym.users.model import target_attributes


def top_items(utilities: jax.Array, k: int, excluded: jax.Array | None = None) -> jax.Array:
    """(k,) int32 indices of the best of `utilities` (N,), best first, without the excluded.

    Excluded items come last, where fewer than k others are left.
    """
    if excluded is not None:
        utilities = jnp.where(excluded, -jnp.inf, utilities)
    return jax.lax.top_k(utilities, k)[1].astype(jnp.int32)


def distinct_best(scores: jax.Array) -> jax.Array:
    """(k,) int32: for each row of `scores` (k, N) its best item not taken by an earlier row."""
    slate: list[jax.Array] = []
    for row in scores:
        for taken in slate:
            row = row.at[taken].set(-jnp.inf)
        slate.append(jnp.argmax(row).astype(jnp.int32))
    return jnp.stack(slate)


def thompson_slate(
    key: jax.Array, embeddings: jax.Array, weights: jax.Array, items: Items, k: int
) -> jax.Array:
    """(k,) distinct items, each the best one left for a sample drawn from the belief."""
    draws = jax.random.categorical(key, jnp.log(weights), shape=(k,))
    return distinct_best(embeddings[draws] @ items.embeddings.T)


def query_iteration(
    slate: jax.Array,
    embeddings: jax.Array,
    weights: jax.Array,
    items: Items,
    model: UserModel,
    rounds: int = 3,
) -> jax.Array:
    """Improves an item query by query iteration (Viappiani and Boutilier 2010).

    Replaces every place r by argmax_i v_r . phi_i, where v_r is the mean of phi_u weighted by
    P(r | slate, phi_u): the item that would be recommended after response r.

    Args:
        slate: (k,) distinct items to start from.
        embeddings, weights: (m, d) and (m,), the belief.

    Returns:
        (k,) distinct items.
    """

    def improve(_: int, slate: jax.Array) -> jax.Array:
        utilities = embeddings @ items.embeddings[slate].T
        responses = jnp.exp(choice.log_probs(utilities, model.temperature))
        reweighted = (responses * weights[:, None]).T @ embeddings
        return distinct_best(reweighted @ items.embeddings.T)

    return jax.lax.fori_loop(0, rounds, improve, slate)


def balanced_item(
    attribute: jax.Array, embeddings: jax.Array, weights: jax.Array, items: Items, model: UserModel
) -> jax.Array:
    """() int32: the item whose attribute lies closest to the believed target's mean.

    An attribute query about it is the one whose answer is least foregone.
    """
    # the mean target has the same attributes as the mean of the targets: both are linear
    norm = jnp.linalg.norm(embeddings, axis=-1, keepdims=True)
    mean_target = weights @ (embeddings / jnp.where(norm > 0, norm, 1.0))
    wanted = model.target_scale * mean_target @ items.cavs[attribute]
    return jnp.argmin(jnp.abs(items.attributes[:, attribute] - wanted)).astype(jnp.int32)


def believed_targets(
    embeddings: jax.Array, weights: jax.Array, items: Items, model: UserModel
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation (G,) of the target item's attributes under the belief."""
    targets = target_attributes(embeddings, items, model)
    mean = weights @ targets
    return mean, jnp.sqrt(jnp.maximum(weights @ targets**2 - mean**2, 0.0))

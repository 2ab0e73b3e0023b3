"""Which items to recommend, given weighted samples of phi_u."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from crs_gym.inference.belief import Samples, mean_and_std
from crs_gym.users import Items, UserModel


def top_items(utilities: jax.Array, k: int, excluded: jax.Array | None = None) -> jax.Array:
    """(k,) int32 indices of the best of `utilities` (N,), best first, without the excluded.

    Excluded items come last, where fewer than k others are left.
    """
    if excluded is not None:
        utilities = jnp.where(excluded, -jnp.inf, utilities)
    return jax.lax.top_k(utilities, k)[1].astype(jnp.int32)


def distinct_best(scores: jax.Array, excluded: jax.Array | None = None) -> jax.Array:
    """(k,) int32: for each row of `scores` (k, N) its best item not taken by an earlier row.

    Excluded items are taken only where no others are left.
    """
    if excluded is not None:
        scores = jnp.where(excluded, jnp.finfo(scores.dtype).min, scores)
    slate: list[jax.Array] = []
    for row in scores:
        for taken in slate:
            row = row.at[taken].set(-jnp.inf)
        slate.append(first_best(row))
    return jnp.stack(slate)


def first_best(scores: jax.Array) -> jax.Array:
    """() int32 argmax of `scores` (n,), several times faster than `jnp.argmax` on a CPU."""
    places = jnp.arange(len(scores), dtype=jnp.int32)
    found = jnp.min(jnp.where(scores == scores.max(), places, len(scores)))
    return jnp.minimum(found, len(scores) - 1)


class Offers(NamedTuple):
    """Items worth offering, most likely accepted first.

    items: (C,) int32; excluded items come last, where fewer than C others are left.
    odds: (C, m) exp((utility - null utility) / T), the odds that a user of each sample accepts the
        item against the null item when it is offered alone; 0 for excluded items.
    acceptance: (C,) the probability of that under the belief.
    """

    items: jax.Array
    odds: jax.Array
    acceptance: jax.Array


def offers(
    samples: Samples, items: Items, model: UserModel, excluded: jax.Array, candidates: int = 64
) -> Offers:
    """The items most likely to be accepted.

    They are found by a normal approximation of the belief that takes the axes of phi_u for
    independent, and then valued on the samples.

    Args:
        samples: the belief.
        excluded: (N,) bool, what may not be offered.
        candidates: C, how many; N where there are fewer.
    """
    candidates = min(candidates, len(excluded))
    mean, std = mean_and_std(samples.embeddings, samples.weights)
    centred = items.embeddings - items.mean
    margin = centred @ mean - (samples.weights @ samples.null - items.mean @ mean)
    # the logistic of deviation 1 is close to a normal of deviation 1.7
    spread = jnp.sqrt((centred**2) @ (std**2) + (1.7 * model.temperature) ** 2)
    chosen = top_items(margin / jnp.maximum(spread, 1e-6), candidates, excluded)
    gap = items.embeddings[chosen] @ samples.embeddings.T - samples.null
    odds = jnp.exp(jnp.clip(gap / jnp.maximum(model.temperature, 1e-6), -40.0, 40.0))
    odds = jnp.where(excluded[chosen][:, None], 0.0, odds)
    acceptance, order = jax.lax.top_k((odds / (1.0 + odds)) @ samples.weights, candidates)
    return Offers(chosen[order], odds[order], acceptance)


def acceptable_slate(
    samples: Samples,
    items: Items,
    model: UserModel,
    k: int,
    excluded: jax.Array,
    candidates: int = 64,
) -> jax.Array:
    """(k,) int32 distinct items: the slate of which something is most likely to be accepted.

    Chosen greedily, place by place. The probability that a slate is accepted is monotone and
    submodular in its items, so it is at least 1 - 1/e of that of the best slate of the candidates.

    Args:
        samples: the belief.
        excluded: (N,) bool, what may not be offered; it comes last where too few are left.
        candidates: how many items are looked at, see `offers`.
    """
    return cover(offers(samples, items, model, excluded, max(candidates, k)), samples.weights, k)


def cover(found: Offers, weights: jax.Array, k: int) -> jax.Array:
    """(k,) int32 `acceptable_slate` of the items in `found`, for samples of `weights` (m,)."""
    places = [jnp.int32(0)]
    total = 1.0 + found.odds[0]
    taken = jnp.zeros(len(found.items)).at[0].set(jnp.inf)
    for _ in range(1, k):
        rejected = (1.0 / (total + found.odds)) @ weights + taken
        place = jnp.argmin(rejected)
        places.append(place.astype(jnp.int32))
        total = total + found.odds[place]
        taken = taken.at[place].set(jnp.inf)
    return found.items[jnp.stack(places)]

"""Which items to recommend and what to ask, given weighted samples of phi_u."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from crs_gym.inference.belief import Samples, mean_and_std
from crs_gym.users import Items, UserModel, answer, choice
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
    found = offers(samples, items, model, excluded, max(candidates, k))
    places = [jnp.int32(0)]
    total = 1.0 + found.odds[0]
    taken = jnp.zeros(len(found.items)).at[0].set(jnp.inf)
    for _ in range(1, k):
        rejected = (1.0 / (total + found.odds)) @ samples.weights + taken
        place = jnp.argmin(rejected)
        places.append(place.astype(jnp.int32))
        total = total + found.odds[place]
        taken = taken.at[place].set(jnp.inf)
    return found.items[jnp.stack(places)]


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


def balanced_items(wanted: jax.Array, items: Items) -> jax.Array:
    """(G,) int32: for each attribute the item that has it most nearly as wanted.

    An attribute query about it is the one whose answer is least foregone.

    Args:
        wanted: (G,) the believed target's mean attributes, see `believed_targets`.
    """
    return jnp.argmin(jnp.abs(items.attributes - wanted), axis=0).astype(jnp.int32)


class AttributeQueries(NamedTuple):
    """For each attribute, the query about it.

    items: (G,) int32, what the query is about, see `balanced_items`.
    values: (G,) EVOI of the query (ICER, section 3.1): by how much the expected utility of the
        best item rises with its answer. At least 0, but for rounding.
    """

    items: jax.Array
    values: jax.Array


def attribute_queries(samples: Samples, items: Items, model: UserModel) -> AttributeQueries:
    """A query about each attribute and what its answer is worth."""
    embeddings, weights, _ = samples
    targets = target_attributes(embeddings, items, model)
    about = balanced_items(weights @ targets, items)
    asked = jnp.take_along_axis(items.attributes, about[None], axis=0)
    more = jnp.exp(answer.log_prob_more(targets, asked, model.answer_noise))
    mean = weights @ embeddings
    mean_more = (more * weights[:, None]).T @ embeddings
    best = [(m @ items.embeddings.T).max(-1) for m in (mean_more, mean - mean_more, mean)]
    return AttributeQueries(about, best[0] + best[1] - best[2])


def believed_targets(
    embeddings: jax.Array, weights: jax.Array, items: Items, model: UserModel
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation (G,) of the target item's attributes under the belief."""
    targets = target_attributes(embeddings, items, model)
    mean = weights @ targets
    return mean, jnp.sqrt(jnp.maximum(weights @ targets**2 - mean**2, 0.0))

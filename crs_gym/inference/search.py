"""Finding the query that is worth most (ICER, section 3.1)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from crs_gym.inference.belief import Samples, mean_and_std
from crs_gym.inference.recommend import distinct_best, top_items
from crs_gym.inference.value import (
    bound,
    by_answer,
    by_choice,
    expected_utility,
    item_query_value,
    posterior_expected_utility,
)
from crs_gym.users import Items, UserModel
from crs_gym.users.model import target_attributes


class ItemQuery(NamedTuple):
    """slate: (k,) int32 distinct items. value: () the query's EVOI on the samples."""

    slate: Any
    value: Any


class AttributeQueries(NamedTuple):
    """The best query found about each attribute.

    items: (G,) int32, what it is about. values: (G,) its EVOI on the samples.
    """

    items: Any
    values: Any


def thompson_slate(
    key: jax.Array,
    samples: Samples,
    items: Items,
    k: int,
    excluded: jax.Array | None = None,
) -> jax.Array:
    """(k,) distinct items, each the best one left for a sample drawn from the belief."""
    draws = jax.random.categorical(key, jnp.log(samples.weights), shape=(k,))
    return distinct_best(samples.embeddings[draws] @ items.embeddings.T, excluded)


def query_iteration(
    slate: jax.Array,
    samples: Samples,
    items: Items,
    model: UserModel,
    rounds: int = 3,
    excluded: jax.Array | None = None,
) -> jax.Array:
    """Improves an item query by query iteration (Viappiani and Boutilier 2010).

    Replaces every place r by argmax_i v_r . phi_i, the item that would be recommended after the
    choice of r.

    Args:
        slate: (k,) distinct items to start from.

    Returns:
        (k,) distinct items.
    """

    def improve(_: int, slate: jax.Array) -> jax.Array:
        vectors = by_choice(samples, items.embeddings[slate], model)
        return distinct_best(vectors @ items.embeddings.T, excluded)

    return jax.lax.fori_loop(0, rounds, improve, slate)


def climb(
    points: jax.Array,
    samples: Samples,
    items: Items,
    model: UserModel,
    steps: int = 10,
    rate: float = 1.0,
) -> jax.Array:
    """Gradient ascent on F over `points` (k, d), which are kept within the longest item's norm.

    Args:
        steps: of Adam.
        rate: its step size, in units of embeddings.
    """
    longest = jnp.sqrt(jnp.max(jnp.sum(items.embeddings**2, axis=1)))
    optimiser = optax.adam(rate)
    slope = jax.grad(lambda points: -bound(by_choice(samples, points, model), items))

    def step(state: Any, _: None) -> tuple[Any, None]:
        points, memory = state
        updates, memory = optimiser.update(slope(points), memory)
        points = optax.apply_updates(points, updates)
        norm = jnp.linalg.norm(points, axis=-1, keepdims=True)
        return (points * jnp.minimum(1.0, longest / jnp.maximum(norm, 1e-9)), memory), None

    # at T = 0 the gradient is undefined, and the climb ends where it began
    (found, _), _ = jax.lax.scan(step, (points, optimiser.init(points)), length=steps)
    return jnp.where(jnp.isfinite(found), found, points)


def item_query(
    key: jax.Array,
    samples: Samples,
    items: Items,
    model: UserModel,
    k: int,
    *,
    starts: int = 16,
    climbs: int = 2,
    steps: int = 10,
    rounds: int = 3,
    excluded: jax.Array | None = None,
) -> ItemQuery:
    """The item query of k items that is worth most, of those that are found.

    Thompson slates, and what the gradient makes of some of them (projected to items by inner
    product), are polished by query iteration; the one of the highest PEU wins.

    Args:
        starts: Thompson slates.
        climbs: how many of them are also starts of a gradient ascent.
        steps: of each ascent.
        rounds: of query iteration.
        excluded: (N,) bool, items that are neither asked about nor recommended afterwards.
    """
    draw = partial(thompson_slate, samples=samples, items=items, k=k, excluded=excluded)
    slates = jax.vmap(lambda key: draw(key))(jax.random.split(key, starts))
    if climbs:
        ascend = partial(climb, samples=samples, items=items, model=model, steps=steps)
        points = jax.vmap(ascend)(items.embeddings[slates[:climbs]])
        nearest = jax.vmap(lambda x: distinct_best(x @ items.embeddings.T, excluded))(points)
        slates = jnp.concatenate([slates, nearest])
    slates = jax.vmap(
        lambda slate: query_iteration(slate, samples, items, model, rounds, excluded)
    )(slates)
    values = jax.vmap(lambda slate: item_query_value(samples, slate, items, model, excluded))(
        slates
    )
    best = jnp.argmax(values)
    return ItemQuery(slates[best], values[best])


def attribute_queries(
    samples: Samples,
    items: Items,
    model: UserModel,
    *,
    thresholds: int = 9,
    reach: float = 1.6,
    contenders: int = 128,
    attributes: jax.Array | None = None,
    excluded: jax.Array | None = None,
) -> AttributeQueries:
    """For each attribute the query about it that is worth most, of those on a grid.

    The query depends on its item only through the item's attribute, so a grid over the believed
    target's attribute is searched, each point of it being the item nearest to it. Which point is
    best is judged by what the responses would do for a few contenders, the value by all items.

    Args:
        thresholds: points of the grid.
        reach: the grid goes this many deviations to both sides of the believed mean; very skewed
            beliefs, as after sure answers, want more of both.
        contenders: items of high expected utility or much uncertainty that decide about the point.
        attributes: `(G',)` int32, search only these; all if None.
        excluded: (N,) bool, items that are not recommended afterwards.
    """
    embeddings, weights, _ = samples
    if attributes is not None:
        items = items._replace(
            cavs=items.cavs[attributes],
            attributes=items.attributes[:, attributes],
            order=items.order[attributes],
        )
    targets = target_attributes(embeddings, items, model)
    centre, width = mean_and_std(targets, weights)
    wanted = centre + jnp.linspace(-reach, reach, thresholds)[:, None] * width
    nearest = jax.vmap(_nearest)(items.order, items.attributes.T, wanted.T).T
    each = jnp.arange(wanted.shape[1])
    vectors = by_answer(samples, targets[:, None], items.attributes[nearest, each], model)

    mean, std = mean_and_std(embeddings, weights)
    hopes = items.embeddings @ mean + jnp.sqrt((items.embeddings - items.mean) ** 2 @ std**2)
    few = top_items(hopes, min(contenders, len(hopes)), excluded)
    short = items._replace(embeddings=items.embeddings[few])
    out = None if excluded is None else excluded[few]
    best = jnp.argmax(posterior_expected_utility(vectors, short, out), axis=0)
    after = posterior_expected_utility(vectors[best, each], items, excluded)
    values = after - expected_utility(samples, items, excluded)
    return AttributeQueries(nearest[best, each].astype(jnp.int32), values)


def _nearest(order: jax.Array, values: jax.Array, wanted: jax.Array) -> jax.Array:
    """For each of `wanted` (A,) the index of the nearest of `values` (N,), which `order` sorts."""
    above = jnp.searchsorted(values[order], wanted).clip(1, len(order) - 1)
    low, high = order[above - 1], order[above]
    return jnp.where(wanted - values[low] < values[high] - wanted, low, high)


def exhaustive_item_query(
    samples: Samples, items: Items, model: UserModel, among: jax.Array
) -> ItemQuery:
    """The pair of `among` (C,) that is worth most if only these can be recommended afterwards.

    C^2 / 2 queries of C d operations each, after C^2 m / 2 probabilities.

    Raises:
        ValueError: fewer than two items.
    """
    if len(among) < 2:
        raise ValueError(f"a pair needs two items, not {len(among)}")
    points = items.embeddings[among]
    utilities = samples.embeddings @ points.T
    weighted = samples.embeddings * samples.weights[:, None]
    now = points @ weighted.sum(0)
    count = len(among)

    # row j holds the pairs (j, j + 1), ..., (j, j + C/2) around a circle: each pair comes once
    def row(j: jax.Array) -> jax.Array:
        others = jax.lax.dynamic_slice(
            jnp.concatenate([utilities, utilities], axis=1),
            (0, j + 1),
            (len(utilities), count // 2),
        )
        # of two, the logit model's choice is a logistic function of their difference
        gap = utilities[:, j, None] - others
        first = jax.nn.sigmoid(gap / jnp.maximum(model.temperature, 1e-9))
        after = (first.T @ weighted) @ points.T
        return after.max(1) + (now - after).max(1)

    values = jax.lax.map(row, jnp.arange(count))
    best = jnp.argmax(values)
    one, step = best // (count // 2), best % (count // 2) + 1
    pair = among[jnp.stack([one, (one + step) % count])].astype(jnp.int32)
    return ItemQuery(pair, values.max() - now.max())


def believed_targets(
    samples: Samples, items: Items, model: UserModel
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation (G,) of the target item's attributes under the belief."""
    return mean_and_std(target_attributes(samples.embeddings, items, model), samples.weights)

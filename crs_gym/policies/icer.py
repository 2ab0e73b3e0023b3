"""The ICER recommender: asks while a question is worth it, then recommends (ICER, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from crs_gym.acts import RecommenderAct
from crs_gym.inference import Inference, Samples
from crs_gym.inference.belief import mean_and_std
from crs_gym.inference.recommend import acceptable_slate, top_items
from crs_gym.inference.search import (
    attribute_queries,
    exhaustive_item_query,
    item_query,
    query_iteration,
    thompson_slate,
)
from crs_gym.inference.value import attribute_query_value, item_query_value
from crs_gym.policies.acts import ask_attribute, ask_item, recommend
from crs_gym.simulation import Simulator, View

Queries = Literal[
    "both", "either", "item", "attribute", "iteration", "thompson", "random", "exhaustive", "none"
]
Offer = Literal["sample", "mean", "acceptance"]


class Decision(NamedTuple):
    """What the policy does, and why.

    act: what it does.
    evoi: () EVOI of the best query it found, on the samples of the belief; 0 where it looks for
        none.
    """

    act: RecommenderAct
    evoi: Any


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["threshold"],
    meta_fields=["queries", "offer", "effort", "among"],
)
@dataclass(frozen=True)
class Icer:
    """Asks the query of highest EVOI while that exceeds a threshold; recommends otherwise.

    On the last turn it recommends: an answer could not be used any more.

    threshold: in units of utility. 0 asks for ever, infinity never.
    queries: which ones. "both" (item and attribute queries, as in the paper), "item" or
        "attribute" alone; "either": one of the two kinds, drawn anew each turn, so that all acts
        occur (of the best ones few are attribute queries); "iteration": item queries by query
        iteration from one Thompson slate; "thompson": Thompson slates as they are; "random":
        slates, or attributes of items, drawn evenly; "exhaustive": the best pair of `among` items;
        "none".
    offer: what is recommended: the best items of one sample of the belief (the paper), or of its
        mean, or the slate most likely to be accepted.
    effort: starts of the search for item queries, an eighth of which the gradient improves.
    among: items that the exhaustive search combines, those of highest expected utility plus
        deviation.
    """

    threshold: Any = 0.1
    queries: Queries = "both"
    offer: Offer = "acceptance"
    effort: int = 16
    among: int = 300

    needs_belief: ClassVar[bool] = True
    privileged: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for value, options in ((self.queries, Queries), (self.offer, Offer)):
            if value not in get_args(options):
                raise ValueError(f"unknown {value!r}; there are {', '.join(get_args(options))}")

    @property
    def name(self) -> str:
        what = "" if self.queries == "both" else f"-{self.queries}"
        return f"icer{what}-{float(self.threshold):g}"

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        return self.decide(key, view, simulator, inference).act

    def decide(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> Decision:
        """`act`, with the value of the query it was decided by."""
        samples = inference.samples(view.belief)
        asking, offering = jax.random.split(key)
        offer = recommend(self._slate(offering, samples, view, simulator))
        if self.queries == "none":
            return Decision(offer, jnp.float32(0.0))
        query, value = self.best_query(asking, samples, view, simulator)
        asks = (value > self.threshold) & (view.context.turn < simulator.max_turns - 1)
        return Decision(jax.tree.map(lambda a, b: jnp.where(asks, a, b), query, offer), value)

    def best_query(
        self, key: jax.Array, samples: Samples, view: View, simulator: Simulator
    ) -> tuple[RecommenderAct, jax.Array]:
        """The query that would be asked, and its EVOI on the samples of the belief."""
        items, model, k = simulator.items, simulator.model, simulator.slate_size
        out = view.context.rejected
        if self.queries == "random":
            return _random_query(key, samples, view, simulator)
        if self.queries == "exhaustive":
            mean, std = mean_and_std(samples.embeddings, samples.weights)
            hopes = items.embeddings @ mean
            hopes += jnp.sqrt((items.embeddings - items.mean) ** 2 @ std**2)
            among = top_items(hopes, min(self.among, len(hopes)), out)
            found = exhaustive_item_query(samples, items, model, among)
            return ask_item(_fill(found.slate, k)), found.value
        if self.queries in ("thompson", "iteration"):
            slate = thompson_slate(key, samples, items, k, out)
            if self.queries == "iteration":
                slate = query_iteration(slate, samples, items, model, excluded=out)
            return ask_item(slate), item_query_value(samples, slate, items, model, out)
        chance, key = jax.random.split(key) if self.queries == "either" else (key, key)
        if self.queries != "attribute":
            item = item_query(
                key,
                samples,
                items,
                model,
                k,
                starts=self.effort,
                climbs=self.effort // 8,
                excluded=out,
            )
            by_item = ask_item(item.slate)
            if self.queries == "item":
                return by_item, item.value
        about = attribute_queries(samples, items, model, excluded=out)
        best = jnp.argmax(about.values).astype(jnp.int32)
        by_attribute = ask_attribute(about.items[best], best, k)
        if self.queries == "attribute":
            return by_attribute, about.values[best]
        first = item.value >= about.values[best]
        if self.queries == "either":
            first = jax.random.bernoulli(chance)
        query = jax.tree.map(lambda a, b: jnp.where(first, a, b), by_item, by_attribute)
        return query, jnp.where(first, item.value, about.values[best])

    def _slate(
        self, key: jax.Array, samples: Samples, view: View, simulator: Simulator
    ) -> jax.Array:
        items, k, out = simulator.items, simulator.slate_size, view.context.rejected
        if self.offer == "acceptance":
            return acceptable_slate(samples, items, simulator.model, k, out)
        drawn = jax.random.categorical(key, jnp.log(samples.weights))
        centre = samples.weights @ samples.embeddings
        phi = centre if self.offer == "mean" else samples.embeddings[drawn]
        return top_items(items.embeddings @ phi, k, out)


def _random_query(
    key: jax.Array, samples: Samples, view: View, simulator: Simulator
) -> tuple[RecommenderAct, jax.Array]:
    coin, chosen, topic = jax.random.split(key, 3)
    items, model, k = simulator.items, simulator.model, simulator.slate_size
    out = view.context.rejected
    slate = top_items(jax.random.uniform(chosen, out.shape), k, out)
    attribute = jax.random.randint(topic, (), 0, simulator.n_attributes)
    about_items = jax.random.bernoulli(coin)
    query = jax.tree.map(
        lambda a, b: jnp.where(about_items, a, b),
        ask_item(slate),
        ask_attribute(slate[0], attribute, k),
    )
    value = jnp.where(
        about_items,
        item_query_value(samples, slate, items, model, out),
        attribute_query_value(samples, slate[0], attribute, items, model, out),
    )
    return query, value


def _fill(slate: jax.Array, k: int) -> jax.Array:
    return jnp.full(k, -1, jnp.int32).at[:2].set(slate)

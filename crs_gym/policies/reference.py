"""Reference recommenders, written in JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind
from crs_gym.inference import Inference
from crs_gym.inference.belief import mean_and_std
from crs_gym.inference.query import (
    balanced_item,
    believed_targets,
    query_iteration,
    thompson_slate,
    top_items,
)
from crs_gym.simulation import Simulator, View


def recommend(slate: jax.Array) -> RecommenderAct:
    """Recommends `slate` (k,)."""
    return RecommenderAct(
        jnp.int32(RecommenderKind.RECOMMEND), slate, jnp.int32(NONE), jnp.int32(0)
    )


def ask_item(slate: jax.Array) -> RecommenderAct:
    """Asks which item of `slate` (k,) is preferred."""
    return RecommenderAct(jnp.int32(RecommenderKind.ASK_ITEM), slate, jnp.int32(NONE), jnp.int32(0))


def ask_attribute(item: jax.Array, attribute: jax.Array, slate_size: int) -> RecommenderAct:
    """Asks whether the user wants more of `attribute` than `item` has."""
    slate = jnp.full(slate_size, NONE, jnp.int32).at[0].set(item)
    return RecommenderAct(
        jnp.int32(RecommenderKind.ASK_ATTRIBUTE), slate, jnp.int32(attribute), jnp.int32(1)
    )


@dataclass(frozen=True)
class Random:
    """Recommends k items at random, none of them rejected before."""

    name: ClassVar[str] = "random"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        scores = jax.random.uniform(key, (simulator.n_items,))
        return recommend(top_items(scores, simulator.slate_size, view.context.rejected))


@dataclass(frozen=True)
class Popularity:
    """Recommends the most popular items that were not rejected."""

    name: ClassVar[str] = "popularity"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        return recommend(
            top_items(simulator.popularity, simulator.slate_size, view.context.rejected)
        )


@dataclass(frozen=True)
class Greedy:
    """Recommends the best items for the mean of the prior, and learns nothing."""

    name: ClassVar[str] = "greedy"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        utilities = simulator.items.embeddings @ view.prior.mean
        return recommend(top_items(utilities, simulator.slate_size, view.context.rejected))


@dataclass(frozen=True)
class BeliefGreedy:
    """Recommends the best items for the mean of the belief: learns from rejections, never asks."""

    name: ClassVar[str] = "belief-greedy"
    needs_belief: ClassVar[bool] = True
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        mean, _ = mean_and_std(*inference.samples(view.belief))
        utilities = simulator.items.embeddings @ mean
        return recommend(top_items(utilities, simulator.slate_size, view.context.rejected))


@dataclass(frozen=True)
class AskThenRecommend:
    """Asks n questions, then recommends the best items for the mean of the belief.

    about: "item" asks item queries, from Thompson samples improved by query iteration;
        "attribute" asks about the attribute of the target that is least certain.
    """

    questions: int = 3
    about: Literal["item", "attribute"] = "attribute"

    needs_belief: ClassVar[bool] = True
    privileged: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return f"ask-{self.questions}-{self.about}"

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        embeddings, weights = inference.samples(view.belief)
        items, model, k = simulator.items, simulator.model, simulator.slate_size
        if self.about == "item":
            start = thompson_slate(key, embeddings, weights, items, k)
            query = ask_item(query_iteration(start, embeddings, weights, items, model))
        else:
            _, deviation = believed_targets(embeddings, weights, items, model)
            attribute = jnp.argmax(deviation).astype(jnp.int32)
            item = balanced_item(attribute, embeddings, weights, items, model)
            query = ask_attribute(item, attribute, k)
        mean, _ = mean_and_std(embeddings, weights)
        offer = recommend(top_items(items.embeddings @ mean, k, view.context.rejected))
        # a `cond` would copy the shared samples for every user of a batch
        asks = view.context.turn < self.questions
        return jax.tree.map(lambda a, b: jnp.where(asks, a, b), query, offer)


@dataclass(frozen=True)
class Oracle:
    """Knows phi_u and recommends the best items: what score 1 means."""

    name: ClassVar[str] = "oracle"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = True

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        if view.user is None:
            raise ValueError("the oracle needs to see the user")
        utilities = simulator.items.embeddings @ view.user.embedding
        return recommend(top_items(utilities, simulator.slate_size, view.context.rejected))


@dataclass(frozen=True)
class OneAct:
    """Degenerate: asks about the same attribute of the same item for ever."""

    name: ClassVar[str] = "one-act"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        item = top_items(simulator.popularity, 1)[0]
        return ask_attribute(item, jnp.int32(0), simulator.slate_size)


@dataclass(frozen=True)
class OneSlate:
    """Degenerate: recommends one slate for ever, the best one for the prior's mean."""

    name: ClassVar[str] = "one-slate"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        utilities = simulator.items.embeddings @ view.prior.mean
        return recommend(top_items(utilities, simulator.slate_size))

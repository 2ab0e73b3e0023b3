"""Reference recommenders, written in JAX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from crs_gym.acts import RecommenderAct
from crs_gym.inference import Inference
from crs_gym.inference.recommend import acceptable_slate, top_items
from crs_gym.inference.search import attribute_queries, item_query
from crs_gym.policies.acts import ask_attribute, ask_item, recommend
from crs_gym.simulation import Simulator, View

# JAX 0.10 takes dataclass nodes of different classes for equal where their static fields are, and
# then runs the wrong compiled program: the name is a static field so that no two policies agree
_named = partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["name"])


@_named
@dataclass(frozen=True)
class Random:
    """Recommends k items at random, none of them rejected before."""

    name: str = "random"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        scores = jax.random.uniform(key, (simulator.n_items,))
        return recommend(top_items(scores, simulator.slate_size, view.context.rejected))


@_named
@dataclass(frozen=True)
class Popularity:
    """Recommends the most popular items that were not rejected."""

    name: str = "popularity"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        return recommend(
            top_items(simulator.popularity, simulator.slate_size, view.context.rejected)
        )


@_named
@dataclass(frozen=True)
class Greedy:
    """Recommends the best items for the mean of the prior, and learns nothing."""

    name: str = "greedy"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        utilities = simulator.items.embeddings @ view.prior.mean
        return recommend(top_items(utilities, simulator.slate_size, view.context.rejected))


@_named
@dataclass(frozen=True)
class BeliefGreedy:
    """Recommends what is most likely to be accepted: learns from rejections, never asks."""

    name: str = "belief-greedy"
    needs_belief: ClassVar[bool] = True
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        return recommend(
            acceptable_slate(
                inference.samples(view.belief),
                simulator.items,
                simulator.model,
                simulator.slate_size,
                view.context.rejected,
            )
        )


@partial(jax.tree_util.register_dataclass, data_fields=["questions"], meta_fields=["about"])
@dataclass(frozen=True)
class AskThenRecommend:
    """Asks n questions, then recommends what is most likely to be accepted.

    questions: n, at least 0.
    about: "item" or "attribute" queries, each time the one found to be worth most.
    """

    questions: Any = 3
    about: Literal["item", "attribute"] = "attribute"

    needs_belief: ClassVar[bool] = True
    privileged: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return f"ask-{int(self.questions)}-{self.about}"

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        samples = inference.samples(view.belief)
        items, model, k = simulator.items, simulator.model, simulator.slate_size
        rejected = view.context.rejected
        if self.about == "item":
            query = ask_item(item_query(key, samples, items, model, k, excluded=rejected).slate)
        else:
            queries = attribute_queries(samples, items, model, excluded=rejected)
            attribute = jnp.argmax(queries.values).astype(jnp.int32)
            query = ask_attribute(queries.items[attribute], attribute, k)
        offer = recommend(acceptable_slate(samples, items, model, k, rejected))
        # a `cond` would copy the shared samples for every user of a batch
        asks = view.context.turn < self.questions
        return jax.tree.map(lambda a, b: jnp.where(asks, a, b), query, offer)


@_named
@dataclass(frozen=True)
class Oracle:
    """Knows phi_u and recommends the best items: what score 1 means."""

    name: str = "oracle"
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


@_named
@dataclass(frozen=True)
class OneAct:
    """Degenerate: asks about the same attribute of the same item for ever."""

    name: str = "one-act"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        item = top_items(simulator.popularity, 1)[0]
        return ask_attribute(item, jnp.int32(0), simulator.slate_size)


@_named
@dataclass(frozen=True)
class OneSlate:
    """Degenerate: recommends one slate for ever, the best one for the prior's mean."""

    name: str = "one-slate"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        utilities = simulator.items.embeddings @ view.prior.mean
        return recommend(top_items(utilities, simulator.slate_size))


@partial(jax.tree_util.register_dataclass, data_fields=["slates"], meta_fields=["name"])
@dataclass(frozen=True)
class FixedSlates:
    """Degenerate: recommends the same slates in the same order to everybody.

    slates: (max_turns, k) int32; see `best_fixed_slates`.
    """

    slates: Any

    name: str = "never-ask"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del key
        return recommend(jnp.asarray(self.slates)[view.context.turn])

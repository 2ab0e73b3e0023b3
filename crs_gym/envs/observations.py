"""What an agent sees: flat float32 vectors from the history or from the belief."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import RecommenderKind, UserKind
from crs_gym.envs.actions import Believer
from crs_gym.inference.belief import mean_and_std
from crs_gym.inference.search import attribute_queries, believed_targets


class ObservationCodec(Protocol):
    """How a view becomes a vector; frozen and hashable."""

    needs_belief: ClassVar[bool]

    def encode(self, believer: Believer) -> dict[str, jax.Array]:
        """Named blocks, in the order in which the observation holds them, each of any shape."""


@dataclass(frozen=True)
class HistoryObservation:
    """Acts and answers so far as item and attribute features, the prior, the turn."""

    needs_belief: ClassVar[bool] = False

    def encode(self, believer: Believer) -> dict[str, jax.Array]:
        history, context, prior, _, _ = believer.view
        act, response = history
        sim = believer.simulator
        g, k = sim.n_attributes, sim.slate_size
        filled = act.slate >= 0
        items = sim.items.embeddings[jnp.maximum(act.slate, 0)]
        turns = {
            "act": jax.nn.one_hot(act.kind, len(RecommenderKind)),
            "slate": jnp.where(filled[..., None], items, 0.0).reshape(len(act.kind), -1),
            "filled": filled,
            "attribute": jax.nn.one_hot(act.attribute, g),
            "response": jax.nn.one_hot(response.kind, len(UserKind)),
            "slot": jax.nn.one_hot(response.slot, k),
            "topic": jax.nn.one_hot(response.attribute, g),
            "direction": response.direction[:, None],
        }
        return {
            "turn": context.turn / sim.max_turns,
            "prior_mean": prior.mean,
            "prior_std": prior.std,
            "history": jnp.concatenate(
                [block.astype(jnp.float32) for block in turns.values()], axis=1
            ),
        }


@dataclass(frozen=True)
class BeliefObservation:
    """Mean and deviation of the belief, and what it says of the top items and the attributes."""

    items: int = 10

    needs_belief: ClassVar[bool] = True

    def encode(self, believer: Believer) -> dict[str, jax.Array]:
        view, sim = believer.view, believer.simulator
        samples, rejected = believer.samples, view.context.rejected
        embeddings, weights, _ = samples
        mean, std = mean_and_std(embeddings, weights)
        top = believer.offers(self.items)
        utilities = embeddings @ sim.items.embeddings[top.items[: self.items]].T
        top_mean, top_std = mean_and_std(utilities, weights)
        target_mean, target_std = believed_targets(samples, sim.items, sim.model)
        # a coarser search than the one that fills a slate: it is done at every step
        questions = attribute_queries(
            samples, sim.items, sim.model, thresholds=5, contenders=64, excluded=rejected
        )
        baseline = mean @ sim.items.mean
        # variance of the utility of an average item's embedding, axes taken for independent
        per_axis = jnp.sum(sim.items.root**2, axis=1)
        unknown, at_first = per_axis @ std**2, per_axis @ view.prior.std**2
        return {
            "turn": view.context.turn / sim.max_turns,
            "questions": view.context.questions / sim.max_turns,
            "certainty": jnp.maximum(1.0 - unknown / jnp.maximum(at_first, 1e-12), 0.0),
            "mean": mean,
            "std": std,
            "top_utility": top_mean - baseline,
            "top_utility_std": top_std,
            "top_acceptance": top.acceptance[: self.items],
            "target_mean": target_mean,
            "target_std": target_std,
            "question_value": questions.values,
        }


def flatten(blocks: dict[str, jax.Array], bound: float) -> jax.Array:
    """(D,) float32: the blocks one after the other, clipped to [-bound, bound]."""
    parts = [jnp.ravel(block).astype(jnp.float32) for block in blocks.values()]
    return jnp.clip(jnp.concatenate(parts), -bound, bound)


def layout(shapes: dict[str, tuple[int, ...]]) -> dict[str, slice]:
    """Where each block lies in the flat observation."""
    places, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        places[name] = slice(start, start + size)
        start += size
    return places

"""What an agent sees: flat float32 vectors from the history or from the belief."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import RecommenderKind, UserKind
from crs_gym.envs.menu import Believer, Course
from crs_gym.inference.belief import mean_and_std
from crs_gym.inference.search import believed_targets


class ObservationCodec(Protocol):
    """How a view becomes a vector; frozen and hashable.

    wanted: what it takes from the `Menu`, and so from the belief.
    dtype: of the vector.
    """

    wanted: ClassVar[frozenset[Course]]
    dtype: ClassVar[Any]

    def encode(self, believer: Believer) -> dict[str, jax.Array]:
        """Named blocks, in the order in which the observation holds them, each of any shape."""


@dataclass(frozen=True)
class HistoryObservation:
    """Acts and answers so far as item and attribute features, the prior, the turn."""

    wanted: ClassVar[frozenset[Course]] = frozenset()
    dtype: ClassVar[Any] = np.float32

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
class IndexObservation:
    """Acts and answers so far as the numbers of items and attributes, for learners that embed them
    themselves. The prior is not in it.
    """

    wanted: ClassVar[frozenset[Course]] = frozenset()
    dtype: ClassVar[Any] = np.int32

    def encode(self, believer: Believer) -> dict[str, jax.Array]:
        act, response = believer.view.history
        return {
            "turn": believer.view.context.turn,
            "history": jnp.column_stack([*act, *response]),
        }


@dataclass(frozen=True)
class BeliefObservation:
    """Mean and deviation of the belief, and what it says of the top items and the attributes."""

    candidates: int = 10

    wanted: ClassVar[frozenset[Course]] = frozenset({"items", "query", "about"})
    dtype: ClassVar[Any] = np.float32

    def encode(self, believer: Believer) -> dict[str, jax.Array]:
        view, menu, sim = believer.view, believer.menu, believer.simulator
        samples = believer.samples
        embeddings, weights, _ = samples
        mean, std = mean_and_std(embeddings, weights)
        utilities = embeddings @ sim.items.embeddings[menu.items[: self.candidates]].T
        top_mean, top_std = mean_and_std(utilities, weights)
        target_mean, target_std = believed_targets(samples, sim.items, sim.model)
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
            "top_acceptance": menu.acceptance[: self.candidates],
            "target_mean": target_mean,
            "target_std": target_std,
            "item_question_value": menu.query.value,
            "question_value": menu.about.values,
        }


def flatten(blocks: dict[str, jax.Array], bound: float, dtype: Any = np.float32) -> jax.Array:
    """(D,) of `dtype`: the blocks one after the other, clipped to [-bound, bound]."""
    flat = jnp.concatenate([jnp.ravel(block).astype(dtype) for block in blocks.values()])
    return jnp.clip(flat, -bound, bound).astype(dtype)


def layout(shapes: dict[str, tuple[int, ...]]) -> dict[str, slice]:
    """Where each block lies in the flat observation."""
    places, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        places[name] = slice(start, start + size)
        start += size
    return places

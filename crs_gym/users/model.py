"""Who the user is and what the user sees of an act: the inputs of every response model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import RecommenderAct
from crs_gym.world import World


class UserModel(NamedTuple):
    """Parameters of the population's behaviour; a pytree of floats.

    Utilities, and so `temperature`, are in units of the population's mean utility deviation.

    temperature: T of the choice model, at least 0.
    null_z: the null item lies this many of the user's utility deviations above the mean item.
    answer_noise: sigma_g of the attribute answer, the same for all attributes, in standard
        deviations of the attribute over the items; at least 0.
    target_scale: s, the norm of the user's target item s phi_u / |phi_u|.
    critique_rate: probability that a rejection comes with a critique.
    critique_temperature: temperature of the softmax over salience, at least 0; argmax at 0.
    leave_base, leave_turn, leave_question, leave_dissatisfaction: the hazard of leaving grows by
        these per response, per past turn, per question asked, per unit of utility by which a
        recommendation falls short of the null item. All 0: nobody leaves early.
    temperature_spread, patience_spread: standard deviation over the population of log temperature
        and of log patience.
    critique_spread: standard deviation of the critique rate's logit over the population.
    """

    temperature: Any = 0.15
    null_z: Any = 2.5
    answer_noise: Any = 0.25
    target_scale: Any = 5.0
    critique_rate: Any = 0.1
    critique_temperature: Any = 0.5
    leave_base: Any = 0.0
    leave_turn: Any = 0.0
    leave_question: Any = 0.0
    leave_dissatisfaction: Any = 0.0
    temperature_spread: Any = 0.0
    patience_spread: Any = 0.0
    critique_spread: Any = 0.0

    @classmethod
    def of(cls, world: World, changes: Mapping[str, float] | None = None) -> UserModel:
        """The calibrated parameters of `world`, some of them changed.

        Raises:
            ValueError: a name that is not a parameter (the message lists them), or a value that is
                negative, NaN, or a rate above 1.
        """
        values = {**cls._field_defaults, **world.user_model, **(changes or {})}
        unknown = sorted(set(values) - set(cls._fields))
        if unknown:
            raise ValueError(
                f"unknown user-model parameters {unknown}; there are {', '.join(cls._fields)}"
            )
        for name, value in values.items():
            if np.isnan(value) or (value < 0 and name != "null_z"):
                raise ValueError(f"user-model parameter {name} must be at least 0, not {value}")
        if values["critique_rate"] > 1:
            raise ValueError(f"critique_rate is a probability, not {values['critique_rate']}")
        return cls(**{name: float(value) for name, value in values.items()})


class User(NamedTuple):
    """One user: embedding `(d,)` phi_u, and scalars temperature, patience, critique_rate."""

    embedding: Any
    temperature: Any
    patience: Any
    critique_rate: Any

    @classmethod
    def typical(cls, embedding: Any, model: UserModel) -> User:
        """The user with this embedding and the population's median behaviour.

        This is the user whom a recommender imagines behind a sample of its belief.
        """
        return cls(embedding, model.temperature, 1.0, model.critique_rate)


class Items(NamedTuple):
    """The catalogue as arrays on the device.

    embeddings: (N, d) phi_i.
    attributes: (N, G) c_g . phi_i.
    cavs: (G, d) c_g.
    mean: (d,) m_I, the mean item.
    root: (d, d) with root @ root.T = S_I, the items' covariance.
    order: (G, N) int32, for each attribute the items from the least to the most of it.
    """

    embeddings: Any
    attributes: Any
    cavs: Any
    mean: Any
    root: Any
    order: Any


class Context(NamedTuple):
    """What earlier turns leave behind for the response models.

    turn: () int32, turns already completed.
    questions: () int32, queries asked so far, the current one not counted.
    critiqued: (G,) bool, attributes that the user has critiqued already.
    rejected: (N,) bool, items that the user has rejected; they cannot be recommended again.
    """

    turn: Any
    questions: Any
    critiqued: Any
    rejected: Any


class Percept(NamedTuple):
    """All that a response depends on, as a user of some embedding sees the act.

    utilities: (k,) phi_u . phi_i of the slate; -inf in empty places.
    null: () utility of the null item.
    target: (G,) c_g . phi*, the attributes of the user's target item.
    slate: (k, G) attributes of the items in the slate, 0 in empty places.
    filled: (k,) bool, which places hold an item.
    """

    utilities: Any
    null: Any
    target: Any
    slate: Any
    filled: Any


def items_of(world: World) -> Items:
    """The arrays of `world` that the response models need, float32 on the default device."""
    embeddings = world.item_embeddings.astype(np.float64)
    mean = embeddings.mean(0)
    covariance = np.cov(embeddings, rowvar=False, bias=True).reshape(world.dim, world.dim)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    arrays = (embeddings, world.attribute_scores, world.cavs, mean, root)
    order = np.argsort(world.attribute_scores, axis=0, kind="stable").T
    floats = [jnp.asarray(a, jnp.float32) for a in arrays]
    return Items._make([*floats, jnp.asarray(order, jnp.int32)])


def null_utility(embedding: jax.Array, items: Items, model: UserModel) -> jax.Array:
    """Utility of the null item: m_I . phi_u + z sqrt(phi_u' S_I phi_u).

    A quantile of the user's utilities, were they normal. `(..., d)` to `(...)`.
    """
    spread = jnp.linalg.norm(embedding @ items.root, axis=-1)
    return embedding @ items.mean + model.null_z * spread


def target_attributes(embedding: jax.Array, items: Items, model: UserModel) -> jax.Array:
    """c_g . phi* of the target item phi* = s phi_u / |phi_u| (ICER, footnote 3).

    `(..., d)` to `(..., G)`; a user without preferences (phi_u = 0) has the target 0.
    """
    norm = jnp.linalg.norm(embedding, axis=-1, keepdims=True)
    return (model.target_scale * embedding / jnp.where(norm > 0, norm, 1.0)) @ items.cavs.T


def perceive(
    embedding: jax.Array,
    act: RecommenderAct,
    items: Items,
    model: UserModel,
    null: jax.Array | None = None,
) -> Percept:
    """The act as seen by users with the given embeddings.

    Args:
        embedding: `(..., d)` phi_u, any batch shape; the act is the same for all of them.
        act: one act, slate `(k,)`.
        null: `(...)` the users' null utilities, where they are known already.
    """
    filled = act.slate >= 0
    slate = jnp.maximum(act.slate, 0)
    utilities = embedding @ items.embeddings[slate].T
    return Percept(
        utilities=jnp.where(filled, utilities, -jnp.inf),
        null=null_utility(embedding, items, model) if null is None else null,
        target=target_attributes(embedding, items, model),
        slate=jnp.where(filled[:, None], items.attributes[slate], 0.0),
        filled=filled,
    )

"""The acts that policies make, from arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind


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

"""The belief P(phi_u | H): what it is made of, and the interface of all ways to hold it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from crs_gym.acts import NONE, Turn
from crs_gym.inference.prior import Prior
from crs_gym.users import Context, Items, UserModel


class Samples(NamedTuple):
    """The belief as weighted samples.

    embeddings: (m, d) samples of phi_u.
    weights: (m,), which sum to 1.
    null: (m,) the null utility of each sample.
    """

    embeddings: Any
    weights: Any
    null: Any


class Inference(Protocol):
    """How a belief is held; a pytree, so that it can be closed over or passed through `jit`."""

    def init(self, key: jax.Array, prior: Prior, items: Items, model: UserModel) -> Any:
        """The belief before the first turn."""

    def update(
        self,
        key: jax.Array,
        belief: Any,
        history: Turn,
        context: Context,
        items: Items,
        model: UserModel,
    ) -> Any:
        """The belief after one more turn.

        Args:
            key: for what is drawn at random.
            belief: the belief before that turn.
            history: all turns so far, the new one included; leading axis (H,).
            context: the one in which the new turn began: that turn is number `context.turn`.
        """

    def axes(self, shared_prior: bool) -> Any:
        """A belief of axes for `vmap`: 0 for what differs between users, else None.

        `shared_prior`: all users of the batch have one prior, without a batch axis.
        """

    def samples(self, belief: Any) -> Samples:
        """The belief as weighted samples of phi_u."""


def latest(history: Turn, context: Context) -> Turn:
    """The turn that began in `context`; padding where the conversation was over already."""
    turns = history.act.kind.shape[0]
    turn: Turn = jax.tree.map(lambda x: x[jnp.minimum(context.turn, turns - 1)], history)
    kind = jnp.where(context.turn >= turns, NONE, turn.response.kind)
    return turn._replace(response=turn.response._replace(kind=kind))


def mean_and_std(embeddings: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weighted mean and standard deviation of samples: `(m, ...)`, `(m,)` to `(...)`, `(...)`."""
    mean = jnp.tensordot(weights, embeddings, axes=1)
    second = jnp.tensordot(weights, embeddings**2, axes=1)
    return mean, jnp.sqrt(jnp.maximum(second - mean**2, 0.0))


def effective_size(weights: jax.Array) -> jax.Array:
    """Kish's effective sample size of normalised weights `(..., m)`: between 1 and m."""
    return 1.0 / jnp.sum(weights**2, axis=-1)


def systematic(uniform: jax.Array, weights: jax.Array, draws: int) -> jax.Array:
    """(draws,) int32 ascending indices drawn in proportion to `weights` (m,).

    Systematic resampling: index i comes floor or ceil of draws * w_i times.

    Args:
        uniform: () in [0, 1).
    """
    edges = jnp.cumsum(weights)
    # rounding may carry the last point up to the end, past the last index of any weight
    end = jnp.nextafter(edges[-1], jnp.zeros_like(edges[-1]))
    points = jnp.minimum((jnp.arange(draws) + uniform) / draws * edges[-1], end)
    found = jnp.searchsorted(edges, points, side="right", method="scan")
    return jnp.minimum(found, len(weights) - 1).astype(jnp.int32)

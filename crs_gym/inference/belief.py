"""The belief P(phi_u | H): samples with weights, updated on every response (ICER, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from crs_gym.acts import Turn
from crs_gym.inference.prior import Prior
from crs_gym.users import Context, Items, User, UserModel, log_prob, perceive
from crs_gym.users.model import null_utility


class Belief(NamedTuple):
    """What is believed of one user after some turns.

    prior: where the belief started.
    log_weights: (m,) unnormalised log-weights of the samples.
    null: (m,) null utility of each sample (it costs d^2 a sample, and never changes).
    """

    prior: Prior
    log_weights: Any
    null: Any


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

    def init(self, prior: Prior, items: Items, model: UserModel) -> Any:
        """The belief before the first turn."""

    def update(
        self, belief: Any, turn: Turn, context: Context, items: Items, model: UserModel
    ) -> Any:
        """The belief after `turn`; `context` is the one in which the turn began."""

    def axes(self, shared_prior: bool) -> Any:
        """A belief of axes for `vmap`: 0 for what differs between users, else None.

        `shared_prior`: all users of the batch have one prior, without a batch axis.
        """

    def samples(self, belief: Any) -> Samples:
        """The belief as weighted samples of phi_u."""


@partial(jax.tree_util.register_dataclass, data_fields=["noise"], meta_fields=[])
@dataclass(frozen=True)
class PriorSamples:
    """Samples of the prior, weighted by the likelihood of all responses (importance sampling).

    The standard normal draws are made once and serve every episode: a belief then needs no random
    numbers at reset, and its state is one weight a sample.

    noise: (m, d) float32.
    """

    noise: Any

    @classmethod
    def of(cls, samples: int, dim: int, seed: int = 0) -> PriorSamples:
        """Draws the bank of `samples` points in `dim` dimensions, in antithetic pairs.

        Raises:
            ValueError: fewer than two samples, or an odd number.
        """
        if samples < 2 or samples % 2:
            raise ValueError(f"samples must be an even number of at least 2, not {samples}")
        half = jax.random.normal(jax.random.key(seed, impl="threefry2x32"), (samples // 2, dim))
        return cls(jnp.concatenate([half, -half]))

    def init(self, prior: Prior, items: Items, model: UserModel) -> Belief:
        embeddings = prior.mean + prior.std * self.noise
        return Belief(prior, jnp.zeros(len(self.noise)), null_utility(embeddings, items, model))

    def update(
        self, belief: Belief, turn: Turn, context: Context, items: Items, model: UserModel
    ) -> Belief:
        """Multiplies each weight by the likelihood of the response.

        A response that no sample can explain (possible only where T or sigma is 0) leaves the
        belief as it was.
        """
        embeddings = belief.prior.mean + belief.prior.std * self.noise
        percept = perceive(embeddings, turn.act, items, model, null=belief.null)
        users = User.typical(embeddings, model)
        step = log_prob(turn.response, users, turn.act, percept, context, model)
        updated = belief.log_weights + step
        top = updated.max()
        possible = jnp.isfinite(top)
        updated = updated - jnp.where(possible, top, 0.0)
        return belief._replace(log_weights=jnp.where(possible, updated, belief.log_weights))

    def axes(self, shared_prior: bool) -> Belief:
        axis = None if shared_prior else 0
        return Belief(Prior(axis, axis), 0, axis)

    def samples(self, belief: Belief) -> Samples:
        embeddings = belief.prior.mean + belief.prior.std * self.noise
        return Samples(embeddings, jax.nn.softmax(belief.log_weights), belief.null)


def mean_and_std(embeddings: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weighted mean and standard deviation of samples: `(m, ...)`, `(m,)` to `(...)`, `(...)`."""
    mean = jnp.tensordot(weights, embeddings, axes=1)
    second = jnp.tensordot(weights, embeddings**2, axes=1)
    return mean, jnp.sqrt(jnp.maximum(second - mean**2, 0.0))


def effective_size(weights: jax.Array) -> jax.Array:
    """Kish's effective sample size of normalised weights `(..., m)`: between 1 and m."""
    return 1.0 / jnp.sum(weights**2, axis=-1)

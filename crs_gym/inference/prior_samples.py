"""The belief as samples of the prior, weighted by the likelihood (importance sampling)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from crs_gym.acts import Turn
from crs_gym.inference.belief import Samples, latest, systematic
from crs_gym.inference.prior import Prior
from crs_gym.users import Context, Items, User, UserModel, log_prob, perceive
from crs_gym.users.model import null_utility


class Weighted(NamedTuple):
    """What is believed of one user after some turns.

    prior: where the belief started.
    log_weights: (m,) unnormalised log-weights of the samples.
    null: (m,) null utility of each sample (it costs d^2 a sample, and never changes).
    """

    prior: Prior
    log_weights: Any
    null: Any


@partial(jax.tree_util.register_dataclass, data_fields=["noise"], meta_fields=["draws"])
@dataclass(frozen=True)
class PriorSamples:
    """Samples of the prior, weighted by the likelihood of all responses.

    The standard normal draws are made once and serve every episode: a belief then needs no random
    numbers, and its state is one weight a sample. The effective size falls with every answer, by
    about 0.6 for a good question: right for short conversations, wrong for long ones.

    noise: (m, d) float32.
    draws: how many samples are drawn from the weighted ones for use, all if None.
    """

    noise: Any
    draws: int | None = None

    @classmethod
    def of(cls, samples: int, dim: int, seed: int = 0, draws: int | None = None) -> PriorSamples:
        """Draws the bank of `samples` points in `dim` dimensions, in antithetic pairs.

        Raises:
            ValueError: fewer than two samples, or an odd number; no draws.
        """
        if samples < 2 or samples % 2:
            raise ValueError(f"samples must be an even number of at least 2, not {samples}")
        if draws is not None and draws < 1:
            raise ValueError(f"draws must be at least 1, not {draws}")
        half = jax.random.normal(jax.random.key(seed, impl="threefry2x32"), (samples // 2, dim))
        return cls(jnp.concatenate([half, -half]), draws)

    def init(self, key: jax.Array, prior: Prior, items: Items, model: UserModel) -> Weighted:
        del key
        embeddings = prior.mean + prior.std * self.noise
        return Weighted(prior, jnp.zeros(len(self.noise)), null_utility(embeddings, items, model))

    def update(
        self,
        key: jax.Array,
        belief: Weighted,
        history: Turn,
        context: Context,
        items: Items,
        model: UserModel,
    ) -> Weighted:
        """Multiplies each weight by the likelihood of the newest response.

        A response that no sample can explain (possible only where T or sigma is 0) leaves the
        belief as it was.
        """
        del key
        turn = latest(history, context)
        embeddings = belief.prior.mean + belief.prior.std * self.noise
        percept = perceive(embeddings, turn.act, items, model, null=belief.null)
        users = User.typical(embeddings, model)
        step = log_prob(turn.response, users, turn.act, percept, context, model)
        updated = belief.log_weights + step
        top = updated.max()
        possible = jnp.isfinite(top)
        updated = updated - jnp.where(possible, top, 0.0)
        return belief._replace(log_weights=jnp.where(possible, updated, belief.log_weights))

    def axes(self, shared_prior: bool) -> Weighted:
        axis = None if shared_prior else 0
        return Weighted(Prior(axis, axis), 0, axis)

    def samples(self, belief: Weighted) -> Samples:
        weights = jax.nn.softmax(belief.log_weights)
        noise, null = self.noise, belief.null
        if self.draws is not None:
            # the bank is in random order, so that evenly spaced points are as good as random ones
            chosen = systematic(jnp.float32(0.5), weights, self.draws)
            noise, null = noise[chosen], null[chosen]
            weights = jnp.full(self.draws, 1.0 / self.draws)
        return Samples(belief.prior.mean + belief.prior.std * noise, weights, null)

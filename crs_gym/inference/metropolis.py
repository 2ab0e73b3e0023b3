"""The belief as draws of the posterior by Metropolis-Hastings (ICER, section 3.1).

After each response the last turn's draws are weighted by its likelihood, resampled, and moved by
Metropolis-Hastings steps that leave the posterior invariant. All of it happens in coordinates in
which the prior is a standard normal. Two kinds of proposal alternate:

- Within the plane of the evidence, the span of the few directions of which the responses tell: an
  autoregressive step about a normal fitted to the draws. A step costs the same in any dimension.
- Outside it, where the likelihood hardly reaches: a fresh draw of the prior.

Each half of the draws is moved by what was fitted to the other half: fitted to themselves, 256
draws would be narrower than the posterior by some percent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from crs_gym.acts import Turn
from crs_gym.inference.belief import Samples, effective_size, latest, systematic
from crs_gym.inference.evidence import (
    Evidence,
    along,
    directions,
    evidence_of,
    features,
    log_likelihood,
    null_utilities,
    section,
)
from crs_gym.inference.lapack import one_thread
from crs_gym.inference.prior import Prior
from crs_gym.users import Context, Items, User, UserModel, log_prob, perceive
from crs_gym.users.model import null_utility

TABLE = 1 << 20


class Quality(NamedTuple):
    """How the last update went; 1 before the first.

    survivors: () what the weights of the newest response left of the draws, effectively, as a
        share: 1/m to 1. Low values mean that the response was a surprise.
    acceptance: () share of the proposals within the plane of the evidence that were accepted.
    refreshment: () the same for the proposals outside it.
    """

    survivors: Any
    acceptance: Any
    refreshment: Any


class Chains(NamedTuple):
    """What is believed of one user: m draws of the posterior.

    prior: where the belief started.
    points: (m, d) the draws, standardised: phi_u = mean + std * point.
    null: (m,) their null utilities.
    quality: how the last update went.
    """

    prior: Prior
    points: Any
    null: Any
    quality: Quality


class Fit(NamedTuple):
    """Normals fitted to the two halves of the draws, in the plane, each for moving the other half.

    basis: (r, d) orthonormal rows that span the plane.
    centre: (2, r). factor: (2, r, r), lower triangular, factor @ factor.T is the covariance.
    """

    basis: Any
    centre: Any
    factor: Any


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["table"],
    meta_fields=["draws", "steps", "refreshments"],
)
@dataclass(frozen=True)
class Metropolis:
    """Draws of P(phi_u | H), moved by Metropolis-Hastings after every response.

    table: (TABLE,) float32 standard normal numbers, of which stretches are taken from random
        places: drawing them afresh would cost more than all the rest.
    draws: m, even.
    steps: the correlations rho of the steps in the plane, 0 (a fresh draw of the fitted normal) to
        1 (no step).
    refreshments: how many draws of the rest follow each other.
    """

    table: Any
    draws: int = 256
    steps: tuple[float, ...] = (0.0, 0.6, 0.0, 0.85)
    refreshments: int = 1

    @classmethod
    def of(cls, draws: int = 256, seed: int = 0, **settings: Any) -> Metropolis:
        """Makes the table of random numbers.

        Args:
            draws: m.
            seed: of the table.
            settings: `steps`, `refreshments`.

        Raises:
            ValueError: fewer than four draws or an odd number; no steps, or a correlation outside
                [0, 1); no refreshments.
        """
        if draws < 4 or draws % 2:
            raise ValueError(f"draws must be an even number of at least 4, not {draws}")
        one_thread()
        key = jax.random.key(seed, impl="threefry2x32")
        if "steps" in settings:
            settings["steps"] = tuple(float(rho) for rho in settings["steps"])
        made = cls(jax.random.normal(key, (TABLE,)), draws, **settings)
        if not made.steps or not all(0 <= rho < 1 for rho in made.steps):
            raise ValueError(f"steps must be correlations in [0, 1), not {made.steps}")
        if made.refreshments < 1:
            raise ValueError(f"refreshments must be at least 1, not {made.refreshments}")
        return made

    def init(self, key: jax.Array, prior: Prior, items: Items, model: UserModel) -> Chains:
        points = self._normals(key, self.draws, items.mean.shape[0])
        null = null_utility(prior.mean + prior.std * points, items, model)
        one = jnp.float32(1.0)
        return Chains(prior, points, null, Quality(one, one, one))

    def update(
        self,
        key: jax.Array,
        belief: Chains,
        history: Turn,
        context: Context,
        items: Items,
        model: UserModel,
    ) -> Chains:
        """Weighs, resamples and moves the draws.

        A response that no draw can explain (possible only where T or sigma is 0) is not weighed.
        """
        resampling, moving = jax.random.split(key)
        prior, turn = belief.prior, latest(history, context)
        embeddings = prior.mean + prior.std * belief.points
        percept = perceive(embeddings, turn.act, items, model, null=belief.null)
        users = User.typical(embeddings, model)
        step = log_prob(turn.response, users, turn.act, percept, context, model)
        weights = jax.nn.softmax(jnp.where(jnp.isfinite(step.max()), step, 0.0))
        evidence = evidence_of(history, items)
        fit = _fit(belief.points, weights, evidence, prior, items)
        chosen = systematic(jax.random.uniform(resampling), weights, self.draws)
        survivors = effective_size(weights) / self.draws
        return self._sweep(
            moving, belief.points[chosen], fit, survivors, evidence, prior, items, model
        )

    def extend(
        self,
        key: jax.Array,
        belief: Chains,
        history: Turn,
        items: Items,
        model: UserModel,
        sweeps: int,
    ) -> tuple[Chains, Samples]:
        """Moves the draws on and on, without a new response: long chains, as for diagnostics.

        The normals stay those fitted to the draws at the beginning, from which the halves are not
        quite independent: for some dozens of sweeps variances may be some percent too small.

        Returns:
            the belief after the last sweep; the draws of all sweeps, with a leading axis
            (sweeps,), their weights equal.
        """
        evidence = evidence_of(history, items)
        even = jnp.full(self.draws, 1.0 / self.draws)
        fit = _fit(belief.points, even, evidence, belief.prior, items)

        def sweep(past: Chains, key: jax.Array) -> tuple[Chains, Samples]:
            survivors = past.quality.survivors
            new = self._sweep(
                key, past.points, fit, survivors, evidence, belief.prior, items, model
            )
            return new, self.samples(new)

        last, trace = jax.lax.scan(sweep, belief, jax.random.split(key, sweeps))
        return last, trace

    def axes(self, shared_prior: bool) -> Chains:
        axis = None if shared_prior else 0
        return Chains(Prior(axis, axis), 0, 0, Quality(0, 0, 0))

    def samples(self, belief: Chains) -> Samples:
        even = jnp.full(self.draws, 1.0 / self.draws)
        return Samples(belief.prior.mean + belief.prior.std * belief.points, even, belief.null)

    def _normals(self, key: jax.Array, *shape: int) -> jax.Array:
        size = math.prod(shape)
        if 8 * size > TABLE:
            return jax.random.normal(key, shape)
        start = jax.random.randint(key, (), 0, TABLE - size)
        return jax.lax.dynamic_slice(self.table, (start,), (size,)).reshape(shape)

    def _sweep(
        self,
        key: jax.Array,
        points: jax.Array,
        fit: Fit,
        survivors: jax.Array,
        evidence: Evidence,
        prior: Prior,
        items: Items,
        model: UserModel,
    ) -> Chains:
        m, r = len(points), len(fit.basis)
        fresh, within, luck = jax.random.split(key, 3)
        uniform = jnp.log(jax.random.uniform(luck, (self.refreshments + len(self.steps), m)))

        def look(points: jax.Array) -> tuple[Any, jax.Array]:
            found = features(prior.mean + prior.std * points, evidence, items)
            return found, log_likelihood(found, evidence, model)

        def refresh(state: Any, drawn: Any) -> tuple[Any, jax.Array]:
            noise, threshold = drawn
            move = noise - state[0]
            proposal = state[0] + move - (move @ fit.basis.T) @ fit.basis
            new = (proposal, *look(proposal))
            accepted = threshold < new[-1] - state[-1]
            return jax.tree.map(partial(_choose, accepted), new, state), accepted.mean()

        noise = self._normals(fresh, self.refreshments, *points.shape)
        state = (points, *look(points))
        state, refreshed = jax.lax.scan(refresh, state, (noise, uniform[: self.refreshments]))
        points, found, value = state

        embeddings = prior.mean + prior.std * points
        plane = section(embeddings, prior.std * fit.basis, found, evidence, items)
        start = points @ fit.basis.T

        # w are coordinates in which the fitted normal is standard: y = centre + factor w
        def place(w: jax.Array) -> jax.Array:
            turned = jnp.einsum("hms,hrs->hmr", w.reshape(2, -1, r), fit.factor)
            return (fit.centre[:, None] + turned).reshape(m, r)

        def excess(w: jax.Array, y: jax.Array) -> jax.Array:
            return 0.5 * jnp.sum(w**2 - y**2, axis=-1)

        def move(state: Any, drawn: Any) -> tuple[Any, jax.Array]:
            w, value = state
            rho, noise, threshold = drawn
            proposal = rho * w + jnp.sqrt(1 - rho**2) * noise
            y = place(proposal)
            new = log_likelihood(along(plane, y - start), evidence, model) + excess(proposal, y)
            accepted = threshold < new - value
            return jax.tree.map(partial(_choose, accepted), (proposal, new), state), accepted.mean()

        gap = jnp.swapaxes(start.reshape(2, -1, r) - fit.centre[:, None], 1, 2)
        w = jax.scipy.linalg.solve_triangular(fit.factor, gap, lower=True)
        w = jnp.swapaxes(w, 1, 2).reshape(m, r)
        noise = self._normals(within, len(self.steps), m, r)
        drawn = (jnp.array(self.steps), noise, uniform[self.refreshments :])
        (w, _), moved = jax.lax.scan(move, (w, value + excess(w, start)), drawn)
        shift = place(w) - start
        null = null_utilities(along(plane, shift), model)
        quality = Quality(survivors, moved.mean(), refreshed.mean())
        return Chains(prior, points + shift @ fit.basis, null, quality)


def _fit(
    points: jax.Array, weights: jax.Array, evidence: Evidence, prior: Prior, items: Items
) -> Fit:
    # What is linearly dependent (turns not yet played, above all; they go last) a QR decomposition
    # completes with arbitrary directions: there the prior holds, and nothing is to be fitted.
    told = directions(evidence, items) * prior.std
    basis, triangle = jnp.linalg.qr(told[jnp.argsort(~told.any(axis=1))].T)
    basis, r = basis.T, basis.shape[1]
    reach = jnp.linalg.norm(triangle, axis=1)
    known = reach > 1e-4 * reach.max()
    y = (points @ basis.T).reshape(2, -1, r)
    weights = weights.reshape(2, -1)
    weights = weights / jnp.maximum(weights.sum(1, keepdims=True), 1e-30)
    centre = jnp.where(known, jnp.einsum("hm,hmr->hr", weights, y), 0.0)
    centred = y - centre[:, None]
    spread = jnp.einsum("hm,hmr,hms->hrs", weights, centred, centred)
    spread = jnp.where(known & known[:, None], spread, jnp.eye(r))
    # few draws tell little of many directions: shrink to the prior's identity
    size = jnp.minimum(1.0 / jnp.maximum(jnp.sum(weights**2, axis=1), 1e-30), y.shape[1])
    share = (known.sum() / (known.sum() + 2.0 * size))[:, None, None]
    factor = jnp.linalg.cholesky((1 - share) * spread + share * jnp.eye(r))
    return Fit(basis, centre[::-1], factor[::-1])


def _choose(accepted: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(accepted.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

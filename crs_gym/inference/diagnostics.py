"""Is a belief to be trusted? Effective sizes, split R-hat, a warning where they are bad."""

from __future__ import annotations

import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import Turn
from crs_gym.inference.evidence import evidence_of, features, log_likelihood
from crs_gym.inference.metropolis import Chains, Metropolis
from crs_gym.inference.recommend import top_items
from crs_gym.users import Items, UserModel


class InferenceWarning(UserWarning):
    """A belief that may be far from the posterior."""


class Diagnosis(NamedTuple):
    """How well the draws of a belief mix.

    survivors: effective share of the draws that the newest response left, 1/m to 1.
    acceptance, refreshment: shares of accepted proposals within and outside the evidence's plane.
    quantities: names of what was followed through the chains.
    effective_draws: of each quantity, in all chains together.
    per_sweep: effective draws that one sweep of all m chains is worth, the smallest.
    split_rhat: of each quantity; 1 where all halves of all chains agree.
    """

    survivors: float
    acceptance: float
    refreshment: float
    quantities: tuple[str, ...]
    effective_draws: np.ndarray
    per_sweep: float
    split_rhat: np.ndarray


def split_rhat(chains: np.ndarray) -> float:
    """Potential scale reduction over the halves of `(chains, steps)` draws (Gelman et al. 2013).

    Raises:
        ValueError: fewer than four steps.
    """
    halves = _halves(chains)
    n = halves.shape[1]
    within = halves.var(axis=1, ddof=1).mean()
    between = n * halves.mean(axis=1).var(ddof=1)
    if within == 0:
        return 1.0 if between == 0 else float("inf")
    return float(np.sqrt((n - 1) / n + between / (n * within)))


def effective_draws(chains: np.ndarray) -> float:
    """Independent draws that `(chains, steps)` correlated ones are worth (Geyer 1992).

    Autocorrelations are pooled over chains and summed in pairs while these stay positive and
    falling.

    Raises:
        ValueError: fewer than four steps.
    """
    chains = np.asarray(chains, np.float64)
    count, n = chains.shape
    halves = _halves(chains)
    mean = chains.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(chains - mean, 2 * n, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :n].mean(0) / n
    within = covariance[0] * n / (n - 1)
    total = (n - 1) / n * within
    if count > 1:
        total += mean.var(ddof=1)
    if total == 0:
        return float(halves.size)
    correlation = 1.0 - (within - covariance) / total
    correlation[0] = 1.0
    pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(1)
    positive = np.argmax(pairs <= 0) if (pairs <= 0).any() else len(pairs)
    time = 2.0 * np.minimum.accumulate(pairs[:positive]).sum() - 1.0
    return float(chains.size / max(time, 1.0 / np.log10(chains.size)))


def diagnose(
    inference: Metropolis,
    key: jax.Array,
    belief: Chains,
    history: Turn,
    items: Items,
    model: UserModel,
    sweeps: int = 200,
) -> Diagnosis:
    """Moves the draws on for `sweeps` sweeps without a new response and looks how they mix.

    Follows the joint log-likelihood and the utilities of the eight best items. Costs about as
    much as `sweeps` updates.

    Args:
        history: leading axis (H,), all turns so far.
        sweeps: at least 4.

    Warns:
        InferenceWarning: an R-hat above 1.05, fewer than a tenth of the draws effective in a
            sweep, an acceptance below 5%, or fewer than ten draws that survived the last response.
    """
    _, traces = _traces(inference, key, belief, history, items, model, sweeps)
    chains = np.asarray(traces, np.float64)  # (sweeps, quantities, m)
    names = ("log-likelihood", *(f"utility of item {rank}" for rank in range(1, chains.shape[1])))
    each = [chains[:, q].T for q in range(len(names))]
    sizes = np.array([effective_draws(draws) for draws in each])
    rhat = np.array([split_rhat(draws) for draws in each])
    survivors, acceptance, refreshment = (float(x) for x in belief.quality)
    found = Diagnosis(
        survivors, acceptance, refreshment, names, sizes, float(sizes.min()) / sweeps, rhat
    )
    problems = []
    if rhat.max() > 1.05:
        problems.append(f"split R-hat of the {names[int(rhat.argmax())]} is {rhat.max():.2f}")
    if found.per_sweep < inference.draws / 10:
        problems.append(f"a sweep is worth {found.per_sweep:.1f} of {inference.draws} draws")
    if min(acceptance, refreshment) < 0.05:
        problems.append(f"{min(acceptance, refreshment):.1%} of the proposals were accepted")
    if survivors * inference.draws < 10:
        problems.append(f"the last response left {survivors * inference.draws:.1f} draws")
    if problems:
        warnings.warn(
            f"the belief may be wrong: {'; '.join(problems)}. Use more draws or more steps, or see "
            "whether the user model fits the responses",
            InferenceWarning,
            stacklevel=2,
        )
    return found


@partial(jax.jit, static_argnames="sweeps")
def _traces(
    inference: Metropolis,
    key: jax.Array,
    belief: Chains,
    history: Turn,
    items: Items,
    model: UserModel,
    sweeps: int,
) -> tuple[Chains, jax.Array]:
    last, trace = inference.extend(key, belief, history, items, model, sweeps)
    evidence = evidence_of(history, items)
    best = top_items(
        items.embeddings @ trace.embeddings.mean((0, 1)), min(8, len(items.embeddings))
    )

    def look(embeddings: jax.Array) -> jax.Array:
        value = log_likelihood(features(embeddings, evidence, items), evidence, model)
        return jnp.concatenate([value[None], items.embeddings[best] @ embeddings.T])

    return last, jax.lax.map(look, trace.embeddings)


def _halves(chains: np.ndarray) -> np.ndarray:
    chains = np.asarray(chains, np.float64)
    half = chains.shape[1] // 2
    if half < 2:
        raise ValueError(f"chains of {chains.shape[1]} steps are too short: at least 4")
    return np.concatenate([chains[:, :half], chains[:, -half:]])

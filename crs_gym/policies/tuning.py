"""Policies that are chosen on training users."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.inference import Inference
from crs_gym.policies.icer import Icer
from crs_gym.policies.reference import AskThenRecommend, FixedSlates
from crs_gym.simulation import Policy, Simulator, evaluation_keys, play
from crs_gym.users.model import null_utility


def choose_questions(
    simulator: Simulator,
    inference: Inference,
    seed: int = 0,
    episodes: int = 512,
    most: int | None = None,
) -> AskThenRecommend:
    """The number of questions, and item or attribute queries, with the highest mean return.

    Args:
        simulator: of the training users.
        seed: of the list of episodes that all candidates play.
        episodes: how many.
        most: largest n tried; `max_turns - 1`, at most 4, by default.
    """
    most = min(simulator.max_turns - 1, 4) if most is None else most
    keys = evaluation_keys(seed, episodes)
    # traced, so that all n share one compiled program
    candidates = [AskThenRecommend(0)] + [
        AskThenRecommend(n, about) for about in ("attribute", "item") for n in range(1, most + 1)
    ]
    returns = [_mean_return(simulator, c, inference, keys) for c in candidates]
    return candidates[int(np.argmax(returns))]


def choose_threshold(
    simulator: Simulator,
    inference: Inference,
    policy: Icer | None = None,
    thresholds: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6),
    seed: int = 0,
    episodes: int = 256,
) -> Icer:
    """`policy` (by default `Icer()`) with the threshold of the highest mean return.

    Args:
        simulator: of the training users.
        thresholds: those tried, in units of utility.
        seed: of the list of episodes that all of them play.
        episodes: how many.
    """
    keys = evaluation_keys(seed, episodes)
    candidates = [replace(policy or Icer(), threshold=value) for value in thresholds]
    returns = [_mean_return(simulator, c, inference, keys) for c in candidates]
    return candidates[int(np.argmax(returns))]


def best_fixed_slates(simulator: Simulator, seed: int = 0, users: int = 1024) -> FixedSlates:
    """The sequence of slates that most users accept something of, chosen greedily.

    Item by item: the one that adds most to the probability that a user who has rejected all
    slates before accepts the current one.

    Args:
        simulator: of the training users.
    """
    states = jax.vmap(simulator.reset)(evaluation_keys(seed, users))
    embeddings, model, items = states.user.embedding, simulator.model, simulator.items
    gap = embeddings @ items.embeddings.T - null_utility(embeddings, items, model)[:, None]
    odds = np.exp(np.clip(np.asarray(gap / model.temperature), -60.0, 60.0)).astype(np.float64)
    waiting = np.ones(users)
    slates = np.zeros((simulator.max_turns, simulator.slate_size), np.int32)
    if slates.size > simulator.n_items:
        raise ValueError(
            f"{slates.size} places in {simulator.max_turns} slates, but only "
            f"{simulator.n_items} items"
        )
    for turn in range(simulator.max_turns):
        total = np.ones(users)
        for place in range(simulator.slate_size):
            rejected = (waiting[:, None] / (total[:, None] + odds)).sum(0)
            rejected[slates.ravel()[: turn * simulator.slate_size + place]] = np.inf
            item = int(np.argmin(rejected))
            slates[turn, place] = item
            total = total + odds[:, item]
        waiting = waiting / total
    return FixedSlates(jnp.asarray(slates))


def _mean_return(
    simulator: Simulator, policy: Policy, inference: Inference, keys: jax.Array
) -> float:
    return float(play(simulator, policy, inference, keys).reward.mean())

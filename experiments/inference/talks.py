"""Conversations that are looked at after every turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crs_gym.inference import Inference, Samples
from crs_gym.simulation import (
    Policy,
    Simulator,
    State,
    accepted_item,
    belief_key,
    turn_keys,
)
from crs_gym.simulation.rollout import view_of
from crs_gym.world import World
from experiments.inference.common import from_cold_prior

Judge = Callable[[Simulator, State, Samples, jax.Array], jax.Array]
"""(simulator, state, belief, accepted item or -1) to an array: what is noted after a turn."""


def from_prior(world: World, prior: str, turns: int, **arguments: Any) -> Simulator:
    """A simulator whose users are drawn from the very prior that the recommender starts from.

    With a personal prior every user is; with the cold one, the population is replaced by its
    normal approximation.
    """
    simulator = Simulator.of(world, max_turns=turns, **arguments)
    if prior == "personal":
        return simulator.with_prior("personal")
    return from_cold_prior(simulator)


def watch(
    simulator: Simulator,
    policy: Policy,
    inference: Inference,
    keys: jax.Array,
    judge: Judge,
    turns: int,
    chunk: int = 64,
    label: str = "",
) -> np.ndarray:
    """`(turns + 1, users, ...)` what `judge` says before the first turn and after each."""
    parts = []
    for start in tqdm(range(0, len(keys), chunk), desc=label, unit="chunk", leave=False):
        talks, noted = _begin(judge, simulator, inference, keys[start : start + chunk])
        notes = [noted]
        for _ in range(turns):
            talks, noted = _proceed(judge, simulator, policy, inference, talks)
            notes.append(noted)
        parts.append(np.stack(jax.device_get(notes)))
    return np.concatenate(parts, axis=1)


Talk = tuple[State, Any, jax.Array]


@partial(jax.jit, static_argnames="judge")
def _begin(
    judge: Judge, simulator: Simulator, inference: Inference, keys: jax.Array
) -> tuple[Talk, jax.Array]:
    def one(key: jax.Array) -> tuple[Talk, jax.Array]:
        state = simulator.reset(key)
        belief = inference.init(belief_key(key, 0), state.prior, simulator.items, simulator.model)
        item = jnp.int32(-1)
        return (state, belief, item), judge(simulator, state, inference.samples(belief), item)

    return jax.vmap(one)(keys)


@partial(jax.jit, static_argnames="judge")
def _proceed(
    judge: Judge, simulator: Simulator, policy: Policy, inference: Inference, talks: Talk
) -> tuple[Talk, jax.Array]:
    def one(talk: Talk) -> tuple[Talk, jax.Array]:
        state, belief, item = talk
        turn = state.context.turn + 1
        _, key = turn_keys(state.key, turn)
        act = policy.act(key, view_of(state, belief, policy), simulator, inference)
        following, outcome = simulator.step(state, act)
        belief = inference.update(
            belief_key(state.key, turn),
            belief,
            following.history,
            state.context,
            simulator.items,
            simulator.model,
        )
        item = jnp.maximum(item, accepted_item(outcome.turn))
        note = judge(simulator, following, inference.samples(belief), item)
        return (following, belief, item), note

    return jax.vmap(one)(talks)

"""Whole conversations, for policies written in JAX."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import NONE, RecommenderAct, Turn, UserKind
from crs_gym.inference import Inference, Prior
from crs_gym.simulation.keys import belief_key, turn_keys
from crs_gym.simulation.simulator import Outcome, Simulator, State, accepted_item
from crs_gym.users import Context, User


class View(NamedTuple):
    """What a policy may look at.

    history, context, prior: as in `State`.
    belief: what the inference holds, None for policies that do not ask for it.
    user: None, but for privileged policies (the oracle).
    """

    history: Turn
    context: Context
    prior: Prior
    belief: Any
    user: User | None


class Policy(Protocol):
    """A recommender written in JAX; a pytree, so that what it was tuned to is not compiled in.

    needs_belief: whether the rollout keeps a belief for it.
    privileged: whether it may see the user.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs_belief(self) -> bool: ...

    @property
    def privileged(self) -> bool: ...

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        """The recommender's next act."""


class Episodes(NamedTuple):
    """Finished conversations, every field with a leading axis (B,).

    user_id: int32 row in the world's population.
    reward: float32, the sum over turns.
    turns: int32, turns played.
    accepted: bool.
    left: bool, the user left before the turn limit.
    utility: float32, where the accepted item lies between the user's mean item (0) and best (1);
        0 where nothing was accepted.
    history: `Turn`, (B, max_turns, ...).
    """

    user_id: Any
    reward: Any
    turns: Any
    accepted: Any
    left: Any
    utility: Any
    history: Turn


def view_of(state: State, belief: Any, policy: Policy) -> View:
    """What `policy` may see of `state`."""
    user = state.user if policy.privileged else None
    return View(state.history, state.context, state.prior, belief, user)


def rollout(
    simulator: Simulator, policy: Policy, inference: Inference, keys: jax.Array
) -> Episodes:
    """Plays one episode for each key, all of them turn by turn.

    Reset, step and the belief's update are compiled once for all policies; another number of keys
    compiles anew.

    Args:
        keys: (B,) episode keys, as from `evaluation_keys`.
    """
    start, null_belief = _start(simulator, inference, keys, policy.needs_belief)
    state, belief, reward, left = start, null_belief, jnp.zeros(len(keys)), start.done
    item = jnp.full(len(keys), NONE)
    for _ in range(simulator.max_turns):
        act = _act(simulator, policy, inference, state, belief)
        following, outcome = _step(simulator, state, act)
        if policy.needs_belief:
            belief = _update(simulator, inference, belief, state, following.history)
        state, reward = following, reward + outcome.reward
        item = jnp.maximum(item, jax.vmap(accepted_item)(outcome.turn))
        left |= outcome.turn.response.kind == UserKind.LEAVE
    return Episodes(
        user_id=start.user_id,
        reward=reward,
        turns=state.context.turn,
        accepted=item != NONE,
        left=left,
        utility=jnp.where(item != NONE, jax.vmap(simulator.quality)(start, item), 0.0),
        history=state.history,
    )


def play(
    simulator: Simulator,
    policy: Policy,
    inference: Inference,
    keys: jax.Array,
    chunk: int = 256,
) -> Episodes:
    """`rollout` in chunks of one size, the last one filled up, so that nothing compiles twice.

    Args:
        keys: (B,) episode keys, B at least 1.

    Returns:
        NumPy arrays with a leading axis (B,).
    """
    parts = []
    for start in range(0, len(keys), chunk):
        places = np.minimum(np.arange(start, start + chunk), len(keys) - 1)
        parts.append(jax.device_get(rollout(simulator, policy, inference, keys[places])))
    return jax.tree.map(lambda *rows: np.concatenate(rows)[: len(keys)], *parts)


# Batches of beliefs keep what does not differ between users (the cold prior and what follows from
# it) unbatched: `_axes` says which leaves of a belief have the leading axis.


def _axes(simulator: Simulator, inference: Inference) -> Any:
    return inference.axes(shared_prior=simulator.prior == "cold")


@partial(jax.jit, static_argnames=("needs_belief",))
def _start(
    simulator: Simulator, inference: Inference, keys: jax.Array, needs_belief: bool
) -> tuple[State, Any]:
    states = jax.vmap(simulator.reset)(keys)
    if not needs_belief:
        return states, None

    def init(key: jax.Array, prior: Prior) -> Any:
        return inference.init(belief_key(key, 0), prior, simulator.items, simulator.model)

    axes = _axes(simulator, inference)
    prior_axis = axes.prior.mean
    prior = states.prior if prior_axis == 0 else simulator.population
    return states, jax.vmap(init, in_axes=(0, prior_axis), out_axes=axes)(keys, prior)


@jax.jit
def _act(
    simulator: Simulator, policy: Policy, inference: Inference, state: State, belief: Any
) -> RecommenderAct:
    def act(state: State, belief: Any) -> RecommenderAct:
        _, key = turn_keys(state.key, state.context.turn + 1)
        return policy.act(key, view_of(state, belief, policy), simulator, inference)

    axes = _axes(simulator, inference) if policy.needs_belief else None
    return jax.vmap(act, in_axes=(0, axes))(state, belief)


@jax.jit
def _step(simulator: Simulator, state: State, act: RecommenderAct) -> tuple[State, Outcome]:
    return jax.vmap(simulator.step)(state, act)


@jax.jit
def _update(
    simulator: Simulator, inference: Inference, belief: Any, state: State, history: Turn
) -> Any:
    def update(belief: Any, state: State, history: Turn) -> Any:
        key = belief_key(state.key, state.context.turn + 1)
        context = state.context
        return inference.update(key, belief, history, context, simulator.items, simulator.model)

    axes = _axes(simulator, inference)
    return jax.vmap(update, in_axes=(axes, 0, 0), out_axes=axes)(belief, state, history)

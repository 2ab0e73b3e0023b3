"""Whole conversations, for policies written in JAX."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import NONE, RecommenderAct, Turn, UserKind
from crs_gym.inference import Inference, Prior
from crs_gym.simulation.keys import belief_key, turn_keys
from crs_gym.simulation.simulator import Simulator, State, accepted_item
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


@jax.jit
def rollout(
    simulator: Simulator, policy: Policy, inference: Inference, keys: jax.Array
) -> Episodes:
    """Plays one episode for each key, all of them turn by turn, as one compiled program.

    Compiled once for every kind of policy, number of keys and setting of simulator and inference.

    Args:
        keys: (B,) episode keys, as from `evaluation_keys`.
    """
    # batches of beliefs keep what does not differ between users (the cold prior and what follows
    # from it) unbatched: the axes say which leaves have the leading axis
    shared = simulator.prior == "cold"
    axes = inference.axes(shared_prior=shared) if policy.needs_belief else None
    items, model = simulator.items, simulator.model

    def init(key: jax.Array, prior: Prior) -> Any:
        return inference.init(belief_key(key, 0), prior, items, model)

    def act(state: State, belief: Any) -> RecommenderAct:
        _, key = turn_keys(state.key, state.context.turn + 1)
        return policy.act(key, view_of(state, belief, policy), simulator, inference)

    def update(belief: Any, state: State, history: Turn) -> Any:
        key = belief_key(state.key, state.context.turn + 1)
        return inference.update(key, belief, history, state.context, items, model)

    def play_turn(carried: Any, turn: jax.Array) -> tuple[Any, None]:
        state, belief, reward, item, left = carried
        chosen = jax.vmap(act, in_axes=(0, axes))(state, belief)
        following, outcome = jax.vmap(simulator.step)(state, chosen)
        if policy.needs_belief:
            # nobody asks what is believed after the last turn
            belief = jax.lax.cond(
                turn + 1 < simulator.max_turns,
                jax.vmap(update, in_axes=(axes, 0, 0), out_axes=axes),
                lambda belief, *_: belief,
                belief, state, following.history,
            )  # fmt: skip
        item = jnp.maximum(item, jax.vmap(accepted_item)(outcome.turn))
        left |= outcome.turn.response.kind == UserKind.LEAVE
        return (following, belief, reward + outcome.reward, item, left), None

    start, belief = jax.vmap(simulator.reset)(keys), None
    if policy.needs_belief:
        prior, axis = (simulator.population, None) if shared else (start.prior, 0)
        belief = jax.vmap(init, in_axes=(0, axis), out_axes=axes)(keys, prior)
    nothing = jnp.zeros(len(keys)), jnp.full(len(keys), NONE), start.done
    (state, _, reward, item, left), _ = jax.lax.scan(
        play_turn, (start, belief, *nothing), jnp.arange(simulator.max_turns)
    )
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

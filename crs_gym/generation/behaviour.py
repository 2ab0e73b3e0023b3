"""The first stage: what recommender and user do (ICER, sections 3.1 and 3.2)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from crs_gym.acts import Turn, no_turn
from crs_gym.dialogue import VARIANTS
from crs_gym.inference import Inference, Prior
from crs_gym.inference.recommend import first_best
from crs_gym.policies.icer import Icer
from crs_gym.simulation import Simulator, State
from crs_gym.simulation.keys import belief_key, turn_keys, words_key
from crs_gym.simulation.rollout import view_of
from crs_gym.users import User, log_prob


class Beginnings(NamedTuple):
    """Who talks, each field with a leading axis (E,); as in `State`."""

    user_id: Any
    user: User
    prior: Prior
    utility_mean: Any
    utility_best: Any
    utility_null: Any


class Moves(NamedTuple):
    """What happened, each field with leading axes (E, max_turns); see `Exchange`.

    turn: padding after the last.
    draws: (5,). log_prob: (). utilities: (k,), -inf in empty places. evoi, expected_utility: ().
    believed: () int32. regret: ().
    variants: (2,) int32, of the recommender's template and of the user's.
    reward: ().
    """

    turn: Turn
    draws: Any
    log_prob: Any
    utilities: Any
    evoi: Any
    expected_utility: Any
    believed: Any
    regret: Any
    variants: Any
    reward: Any


@partial(jax.jit, static_argnames="lanes")
def behave(
    simulator: Simulator,
    policy: Icer,
    inference: Inference,
    keys: jax.Array,
    count: int | jax.Array,
    lanes: int,
) -> tuple[Beginnings, Moves]:
    """Plays a conversation for each of the first `count` keys.

    So many at a time as there are lanes: where one ends, the next begins in its place, so that no
    query is searched for in a conversation that is over.

    Args:
        keys: (E,) episode keys.
        count: at most E; what belongs to later keys is zeros and padding.
        lanes: at least 1; floats differ in the last bits between numbers of lanes.
    """
    episodes = len(keys)
    count = jnp.int32(count)
    shared = simulator.prior == "cold"
    axes = inference.axes(shared_prior=shared)
    items, model = simulator.items, simulator.model

    def number(episode: jax.Array) -> jax.Array:
        return jnp.where(episode < count, episode, episodes).astype(jnp.int32)

    def begin(episode: jax.Array) -> tuple[State, Any]:
        key = keys[jnp.minimum(episode, episodes - 1)]
        states = jax.vmap(simulator.reset)(key)
        prior, axis = (simulator.population, None) if shared else (states.prior, 0)

        def init(key: jax.Array, prior: Prior) -> Any:
            return inference.init(belief_key(key, 0), prior, items, model)

        return states, jax.vmap(init, in_axes=(0, axis), out_axes=axes)(key, prior)

    def move(state: State, belief: Any) -> tuple[State, Moves]:
        turn = state.context.turn + 1
        _, key = turn_keys(state.key, turn)
        samples = inference.samples(belief)
        decision = policy.decide(key, view_of(state, belief, policy), simulator, inference)
        expected = items.embeddings @ (samples.weights @ samples.embeddings)
        expected = jnp.where(state.context.rejected, -jnp.inf, expected)
        believed = first_best(expected)
        following, outcome = simulator.step(state, decision.act)
        act, response = outcome.turn
        percept = simulator.percept(state, act)
        return following, Moves(
            turn=outcome.turn,
            draws=simulator.luck(state),
            log_prob=log_prob(response, state.user, act, percept, state.context, model),
            utilities=percept.utilities,
            evoi=decision.evoi,
            expected_utility=expected[believed],
            believed=believed,
            regret=1.0 - simulator.quality(state, believed),
            variants=jax.random.randint(words_key(state.key, turn), (2,), 0, VARIANTS),
            reward=outcome.reward,
        )

    def update(belief: Any, state: State, history: Turn) -> Any:
        key = belief_key(state.key, state.context.turn + 1)
        return inference.update(key, belief, history, state.context, items, model)

    def play_turn(carried: Any) -> Any:
        episode, waiting, state, belief, begun, moves = carried
        following, move_ = jax.vmap(move, in_axes=(0, axes))(state, belief)
        belief = jax.vmap(update, in_axes=(axes, 0, 0), out_axes=axes)(
            belief, state, following.history
        )
        # lanes that are out of conversations stand at number E, where nothing is written
        place = episode, state.context.turn
        moves = jax.tree.map(lambda kept, new: kept.at[place].set(new, mode="drop"), moves, move_)
        done = following.done
        rank = jnp.cumsum(done) - 1
        episode = jnp.where(done, number(waiting + rank), episode)
        waiting = jnp.minimum(waiting + done.sum(), count)
        fresh, first = begin(episode)
        state = _choose(done, fresh, following)
        belief = jax.tree.map(
            lambda axis, a, b: b if axis is None else _where(done, a, b),
            axes, first, belief, is_leaf=lambda x: x is None,
        )  # fmt: skip
        started = jnp.where(done, episode, episodes)
        begun = jax.tree.map(
            lambda kept, new: kept.at[started].set(new, mode="drop"), begun, _beginnings(fresh)
        )
        return episode, waiting, state, belief, begun, moves

    episode = number(jnp.arange(lanes))
    state, belief = begin(episode)
    begun = jax.tree.map(
        lambda x: jnp.zeros((episodes, *x.shape[1:]), x.dtype).at[episode].set(x, mode="drop"),
        _beginnings(state),
    )
    example = jax.eval_shape(jax.vmap(move, in_axes=(0, axes)), state, belief)[1]
    shape = episodes, simulator.max_turns
    moves = jax.tree.map(lambda x: jnp.zeros((*shape, *x.shape[1:]), x.dtype), example)
    padding = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (*shape, *x.shape)), no_turn(simulator.slate_size)
    )
    moves = moves._replace(turn=padding)
    carried = episode, jnp.minimum(lanes, count), state, belief, begun, moves
    *_, begun, moves = jax.lax.while_loop(
        lambda carried: (carried[0] < episodes).any(), play_turn, carried
    )
    return begun, moves


def _beginnings(state: State) -> Beginnings:
    return Beginnings(
        state.user_id,
        state.user,
        state.prior,
        state.utility_mean,
        state.utility_best,
        state.utility_null,
    )


def _choose(done: jax.Array, new: State, old: State) -> State:
    # typed keys do not go through `where`
    data = _where(done, jax.random.key_data(new.key), jax.random.key_data(old.key))
    key = jax.random.wrap_key_data(data, impl="threefry2x32")
    rest = jax.tree.map(partial(_where, done), new._replace(key=0), old._replace(key=0))
    return rest._replace(key=key)


def _where(flags: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = jnp.asarray(a), jnp.asarray(b)
    return jnp.where(flags.reshape((-1,) + (1,) * (a.ndim - 1)), a, b)

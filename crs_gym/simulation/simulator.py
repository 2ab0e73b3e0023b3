"""One conversation between a recommender and a user, as pure `reset` and `step`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind, Turn, UserAct, UserKind, no_turn
from crs_gym.inference import Prior, population_prior
from crs_gym.simulation.keys import turn_keys
from crs_gym.users import (
    Context,
    Items,
    Percept,
    User,
    UserModel,
    items_of,
    n_uniforms,
    perceive,
    respond,
)
from crs_gym.users.model import null_utility
from crs_gym.world import World

PriorKind = Literal["cold", "personal"]
Split = Literal["train", "evaluation"]


class Someone(NamedTuple):
    """Who is talking: a user's taste, and what follows from it for all items.

    row: () int32, which user of the split. embedding: (d,) phi_u. mean, best, null: () the user's
    mean and best utility over all items, and the null item's.
    """

    row: Any
    embedding: Any
    mean: Any
    best: Any
    null: Any


class State(NamedTuple):
    """One conversation. Everything is an array, so a batch of states is a `vmap` away.

    key: the episode's key.
    user: who is talking, hidden from the recommender.
    user_id: () int32, row of the world's population.
    prior: what the recommender knew at the start.
    utility_mean, utility_best, utility_null: () the user's mean and best utility over all items,
        and the null item's.
    history: `Turn` with a leading axis of `max_turns`; padding (kind -1) after the last turn.
    context: what earlier turns leave behind (`context.turn` counts them).
    done: () bool, accepted, left, or out of turns.
    """

    key: Any
    user: User
    user_id: Any
    prior: Prior
    utility_mean: Any
    utility_best: Any
    utility_null: Any
    history: Turn
    context: Context
    done: Any


class Outcome(NamedTuple):
    """What a step gives: the turn as it happened and its consequences.

    turn: the act as it was legal (see `legal`) and the response.
    reward: () float32.
    terminated: () bool, the user accepted or left.
    truncated: () bool, the turn limit was reached without either.
    """

    turn: Turn
    reward: Any
    terminated: Any
    truncated: Any


Reward = Callable[["Simulator", State, Turn], jax.Array]


def acceptance_reward(simulator: Simulator, state: State, turn: Turn) -> jax.Array:
    """The default reward: how good the accepted item is, minus the cost of a turn.

    `Simulator.quality` of the accepted item, if there is one.
    """
    item = accepted_item(turn)
    quality = jnp.where(item != NONE, simulator.quality(state, item), 0.0)
    return quality - simulator.turn_cost


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "items",
        "popularity",
        "model",
        "population",
        "user_mean",
        "user_std",
        "user_ids",
        "turn_cost",
        "pool",
    ],
    meta_fields=["slate_size", "max_turns", "prior", "reward"],
)
@dataclass(frozen=True)
class Simulator:
    """A world made ready for conversations; a pytree whose leaves are the world's arrays.

    Attributes:
        items, model: catalogue and user model.
        popularity: (N,) float32.
        population: the training population's mean and standard deviation, the cold prior.
        user_mean, user_std: (U, d) priors P_U of the users of the chosen split.
        user_ids: (U,) int32, their rows in the world.
        turn_cost: () subtracted from the reward in every turn.
        pool: `Someone` with a leading axis (P,), from whom resets choose; None where each reset
            draws somebody new.
        slate_size: k, places in a slate.
        max_turns: turn limit.
        prior: "cold" or "personal".
        reward: (simulator, state before the turn, turn) to () float32.
    """

    items: Items
    popularity: Any
    model: UserModel
    population: Prior
    user_mean: Any
    user_std: Any
    user_ids: Any
    turn_cost: Any
    pool: Someone | None
    slate_size: int
    max_turns: int
    prior: PriorKind
    reward: Reward

    @classmethod
    def of(
        cls,
        world: World,
        *,
        slate_size: int = 2,
        max_turns: int = 7,
        prior: PriorKind = "cold",
        split: Split = "train",
        turn_cost: float = 0.02,
        reward: Reward = acceptance_reward,
        user_model: dict[str, float] | None = None,
        user_pool: int = 0,
    ) -> Simulator:
        """Prepares `world`.

        Args:
            user_pool: how many users (with their phi_u) are drawn beforehand, always the same, for
                resets to choose from; 0 draws a new phi_u at every reset, which costs more the
                more items there are.

        Raises:
            ValueError: an unknown prior, split or user-model parameter; slates of one or of more
                places than there are items; fewer than one turn.
        """
        _one_of("prior", prior, ("cold", "personal"))
        _one_of("split", split, ("train", "evaluation"))
        if not 2 <= slate_size <= world.n_items:
            raise ValueError(
                f"slate_size must be between 2 and the number of items ({world.n_items}), "
                f"not {slate_size}: an item query compares at least two items"
            )
        if max_turns < 1:
            raise ValueError(f"max_turns must be at least 1, not {max_turns}")
        if not (np.isfinite(turn_cost) and turn_cost >= 0):
            raise ValueError(f"turn_cost must be finite and at least 0, not {turn_cost}")
        if user_pool < 0:
            raise ValueError(f"user_pool must be at least 0, not {user_pool}")
        rows = np.flatnonzero(world.evaluation == (split == "evaluation"))
        simulator = cls(
            items=items_of(world),
            popularity=jnp.asarray(world.popularity),
            model=UserModel(*map(jnp.float32, UserModel.of(world, user_model))),
            population=Prior(*map(jnp.asarray, population_prior(world))),
            user_mean=jnp.asarray(world.user_mean[rows]),
            user_std=jnp.asarray(world.user_std[rows]),
            user_ids=jnp.asarray(rows, jnp.int32),
            turn_cost=jnp.float32(turn_cost),
            pool=None,
            slate_size=slate_size,
            max_turns=max_turns,
            prior=prior,
            reward=reward,
        )
        if not user_pool:
            return simulator
        keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), (user_pool, 2))
        return replace(simulator, pool=_draw_pool(simulator, keys))

    @property
    def n_items(self) -> int:
        return self.items.embeddings.shape[0]

    @property
    def n_attributes(self) -> int:
        return self.items.cavs.shape[0]

    @property
    def dim(self) -> int:
        return self.items.embeddings.shape[1]

    def with_prior(self, prior: PriorKind) -> Simulator:
        """The same simulator, with another prior for the recommender."""
        _one_of("prior", prior, ("cold", "personal"))
        return replace(self, prior=prior)

    def reset(self, key: jax.Array) -> State:
        """A new conversation: draws a user of the split, and phi_u ~ P_U.

        Args:
            key: the episode's key.
        """
        which, normal, traits = jax.random.split(jax.random.fold_in(key, 0), 3)
        if self.pool is None:
            someone = self.draw(which, normal)
        else:
            which = jax.random.randint(which, (), 0, len(self.pool.row))
            someone = jax.tree.map(lambda x: x[which], self.pool)
        row, embedding = someone.row, someone.embedding
        personal = Prior(self.user_mean[row], self.user_std[row])
        user = _draw_traits(traits, embedding, self.model)
        return State(
            key=key,
            user=user,
            user_id=self.user_ids[row],
            prior=personal if self.prior == "personal" else self.population,
            utility_mean=someone.mean,
            utility_best=someone.best,
            utility_null=someone.null,
            history=jax.tree.map(
                lambda x: jnp.broadcast_to(x, (self.max_turns, *x.shape)),
                no_turn(self.slate_size),
            ),
            context=Context(
                turn=jnp.int32(0),
                questions=jnp.int32(0),
                critiqued=jnp.zeros(self.n_attributes, bool),
                rejected=jnp.zeros(self.n_items, bool),
            ),
            done=jnp.array(False),
        )

    def draw(self, which: jax.Array, normal: jax.Array) -> Someone:
        """A user of the split and phi_u ~ P_U, with a key for each."""
        row = jax.random.randint(which, (), 0, len(self.user_ids))
        mean, std = self.user_mean[row], self.user_std[row]
        embedding = mean + std * jax.random.normal(normal, mean.shape)
        utilities = self.items.embeddings @ embedding
        null = null_utility(embedding, self.items, self.model)
        return Someone(row, embedding, utilities.mean(), utilities.max(), null)

    def quality(self, state: State, item: jax.Array) -> jax.Array:
        """(u_item - u_mean) / (u_best - u_mean), with the user's mean and best utility.

        1 for the user's favourite, about 0 for an average item; () float32.
        """
        utility = self.items.embeddings[jnp.maximum(item, 0)] @ state.user.embedding
        span = state.utility_best - state.utility_mean
        return (utility - state.utility_mean) / jnp.where(span > 0, span, 1.0)

    def step(self, state: State, act: RecommenderAct) -> tuple[State, Outcome]:
        """One turn: the recommender acts, the user responds.

        What is not legal in the act is removed first (see `legal`). A finished conversation stays
        as it is: reward 0, an empty turn, both flags as if nothing had ended anew. Environments,
        where act and response may come from outside, go through `respond` and `settle`.
        """
        act = legal(act, state.context, self.n_attributes)
        return self.settle(state, Turn(act, self.respond(state, act)))

    def respond(self, state: State, act: RecommenderAct) -> UserAct:
        """What the user says to a legal act, drawn with this turn's key."""
        percept = self.percept(state, act)
        return respond(self.luck(state), state.user, act, percept, state.context, self.model)

    def luck(self, state: State) -> jax.Array:
        """(5,) the uniform draws that decide how the user responds in this turn."""
        key, _ = turn_keys(state.key, state.context.turn + 1)
        return jax.random.uniform(key, (n_uniforms,))

    def percept(self, state: State, act: RecommenderAct) -> Percept:
        """The act as the user sees it."""
        embedding, null = state.user.embedding, state.utility_null
        return perceive(embedding, act, self.items, self.model, null=null)

    def settle(self, state: State, turn: Turn) -> tuple[State, Outcome]:
        """What follows from a turn in which act and response are known."""
        response = turn.response
        accepted = response.kind == UserKind.ACCEPT
        terminated = accepted | (response.kind == UserKind.LEAVE)
        truncated = ~terminated & (state.context.turn + 1 >= self.max_turns)
        reward = self.reward(self, state, turn).astype(jnp.float32)
        following = state._replace(
            history=jax.tree.map(
                lambda past, now: past.at[state.context.turn].set(now), state.history, turn
            ),
            context=advance(state.context, turn),
            done=terminated | truncated,
        )
        idle = Outcome(
            jax.tree.map(jnp.asarray, no_turn(self.slate_size)),
            jnp.float32(0.0),
            jnp.array(False),
            jnp.array(False),
        )
        outcome = Outcome(turn, reward, terminated, truncated)
        return _select(state.done, (state, idle), (following, outcome))


def legal(act: RecommenderAct, context: Context, n_attributes: int) -> RecommenderAct:
    """The act as the user hears it, and as it enters the history.

    Empties slate places that hold no item, an item named before in the slate, or, in a
    recommendation, an item that the user has rejected; an attribute query keeps place 0 alone.
    A query that is left without an item becomes a recommendation of nothing.
    """
    n_items = len(context.rejected)
    slate = jnp.asarray(act.slate, jnp.int32)
    recommended = act.kind == RecommenderKind.RECOMMEND
    asked_attribute = act.kind == RecommenderKind.ASK_ATTRIBUTE
    k = slate.shape[0]
    valid = (slate >= 0) & (slate < n_items)
    repeated = ((slate[:, None] == slate[None, :]) & jnp.tri(k, k=-1, dtype=bool)).any(1)
    rejected = context.rejected[jnp.clip(slate, 0, n_items - 1)]
    keep = valid & ~repeated & ~(recommended & rejected)
    keep &= ~asked_attribute | (jnp.arange(k) == 0)
    kind = jnp.where(keep.any(), act.kind, RecommenderKind.RECOMMEND)
    asked_attribute &= keep.any()
    return RecommenderAct(
        kind.astype(jnp.int32),
        jnp.where(keep, slate, NONE),
        jnp.where(asked_attribute, jnp.clip(act.attribute, 0, n_attributes - 1), NONE).astype(
            jnp.int32
        ),
        jnp.where(asked_attribute, jnp.where(act.direction < 0, -1, 1), 0).astype(jnp.int32),
    )


def advance(context: Context, turn: Turn) -> Context:
    """The context after `turn`."""
    act, response = turn
    recommended = act.kind == RecommenderKind.RECOMMEND
    refused = recommended & (response.kind != UserKind.ACCEPT)
    # index N is out of bounds on purpose: mode="drop" skips it
    n_items = len(context.rejected)
    rejected = jnp.where(refused & (act.slate >= 0), act.slate, n_items)
    critiques = response.kind == UserKind.CRITIQUE
    topic = jnp.where(critiques, response.attribute, len(context.critiqued))
    return Context(
        turn=context.turn + 1,
        questions=context.questions + (~recommended).astype(jnp.int32),
        critiqued=context.critiqued.at[topic].set(True, mode="drop"),
        rejected=context.rejected.at[rejected].set(True, mode="drop"),
    )


def accepted_item(turn: Turn) -> jax.Array:
    """() int32 catalogue index of the item accepted in `turn`, -1 where none was."""
    item = jnp.take(turn.act.slate, jnp.maximum(turn.response.slot, 0))
    return jnp.where(turn.response.kind == UserKind.ACCEPT, item, NONE)


@jax.jit
def _draw_pool(simulator: Simulator, keys: jax.Array) -> Someone:
    pool: Someone = jax.lax.map(lambda pair: simulator.draw(*pair), keys, batch_size=256)
    return pool


def _draw_traits(key: jax.Array, embedding: jax.Array, model: UserModel) -> User:
    temperature, patience, rate = jax.random.normal(key, (3,))
    logit = jnp.log(model.critique_rate) - jnp.log1p(-model.critique_rate)
    return User(
        embedding,
        model.temperature * jnp.exp(model.temperature_spread * temperature),
        jnp.exp(model.patience_spread * patience),
        jax.nn.sigmoid(logit + model.critique_spread * rate),
    )


def _select(condition: jax.Array, yes: Any, no: Any) -> Any:
    def choose(a: Any, b: Any) -> Any:
        return jnp.where(condition, a, b)

    (state_a, outcome_a), (state_b, outcome_b) = yes, no
    # keys and users never change within an episode; typed keys do not go through `where`
    state = state_b._replace(
        history=jax.tree.map(choose, state_a.history, state_b.history),
        context=jax.tree.map(choose, state_a.context, state_b.context),
        done=choose(state_a.done, state_b.done),
    )
    return state, jax.tree.map(choose, outcome_a, outcome_b)


def _one_of(name: str, value: Any, options: tuple[Any, ...]) -> None:
    if value not in options:
        raise ValueError(f"unknown {name} {value!r}; there are {', '.join(map(repr, options))}")

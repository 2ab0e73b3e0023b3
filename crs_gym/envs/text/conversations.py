"""Conversations in words, many of them stepped together: a structured or free text in, the user's
words out.

One act is one turn whatever it is said in: the users, their luck, rewards and ends are those of
`crs/Icer-v0` for the same acts and the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import (
    NONE,
    Leave,
    ReadableRecommenderAct,
    ReadableUserAct,
    Recommendation,
    RecommenderAct,
    RecommenderKind,
    Reject,
    Turn,
    UserAct,
    UserKind,
    response_to_arrays,
    response_to_readable,
    to_arrays,
    to_readable,
)
from crs_gym.dialogue import CONFUSED, VARIANTS, NotUnderstood, RecommenderTurn, UserTurn
from crs_gym.envs.text.hearing import MAX_LENGTH, Heard, hear
from crs_gym.envs.text.opponents import Opponent, Person, Situation, person_of
from crs_gym.simulation import Simulator, State, accepted_item, legal
from crs_gym.simulation.keys import words_key
from crs_gym.users import User
from crs_gym.users.choice import log_probs
from crs_gym.world import World

Fault = Literal["neither", "recommender", "user"]

NEAR = 0.5
"""Temperature of the choices of a less decided user, in deviations of utility."""

_NOTHING = Recommendation(())


@dataclass(frozen=True)
class Exchange:
    """A turn in words, and what follows from it.

    heard: the recommender's text as the user heard it.
    act: what counts: the act without what is not legal (see `crs_gym.simulation.legal`), a
        recommendation of nothing where none was understood.
    legal: whether an act was understood and all of it counts.
    response: what the user did; None where that could not be understood.
    reply: what the user said.
    fault: who could not be understood in this turn.
    reason: why that was, or what of the act was not legal; empty where all is well.
    reward, quality: of the turn, and of the accepted item (0 where there is none), see
        `Simulator.quality`.
    terminated: accepted or left. truncated: out of turns, or the user could not be understood.
    accepted: the item accepted, -1 for none. left: whether the user left.
    near: how near a recommendation came: the odds that a less decided user of the same tastes
        accepts something of it, with the choice model at a temperature of `NEAR`; 0 to 1, and 0 for
        queries.
    """

    heard: Heard
    act: ReadableRecommenderAct
    legal: bool
    response: ReadableUserAct | None
    reply: str
    fault: Fault
    reason: str
    reward: float
    quality: float
    terminated: bool
    truncated: bool
    accepted: int
    left: bool
    near: float = 0.0

    @property
    def turns(self) -> tuple[RecommenderTurn, UserTurn]:
        """What either side did and said.

        Raises:
            ValueError: the user could not be understood.
        """
        if self.response is None:
            raise ValueError(f"there is no response: {self.reason}")
        return RecommenderTurn(self.act, self.heard.words), UserTurn(self.response, self.reply)


class _Settled(NamedTuple):
    """What `_settle` gives beside the states, each (B,)."""

    reward: Any
    quality: Any
    terminated: Any
    truncated: Any
    accepted: Any
    left: Any


class Conversations:
    """B conversations, each over when it ends; all begin and step together.

    A text that is not understood costs a turn: it counts as a recommendation of nothing, and unless
    the user leaves, the answer is that it was not followed. Where a user cannot be understood, its
    conversation is broken off.

    Args:
        world, simulator: the simulator was made from the world.
        opponent: plays the users.
        variants: whether the words of templates vary; else each act always has the same.
        max_length: characters of the longest text that is heard whole.

    Attributes:
        past: for each conversation (speaker, words) of all that was said.
        exchanges: for each conversation its turns.
        done: (B,) bool.
    """

    def __init__(
        self,
        world: World,
        simulator: Simulator,
        opponent: Opponent,
        *,
        variants: bool = True,
        max_length: int = MAX_LENGTH,
    ) -> None:
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, not {max_length}")
        self.world, self.simulator, self.opponent = world, simulator, opponent
        self.variants, self.max_length = variants, max_length
        self.persons: list[Person] = []
        self.past: list[list[tuple[str, str]]] = []
        self.exchanges: list[list[Exchange]] = []
        self.done = np.zeros(0, bool)
        self._states: State | None = None

    def __len__(self) -> int:
        return len(self.persons)

    def begin(self, keys: jax.Array) -> list[str]:
        """Conversations for (B,) episode keys; what their users say to begin with."""
        self._states, user_ids, users, variants, seeds = jax.device_get(
            _begin(self.simulator, keys)
        )
        self.persons = [
            person_of(
                self.world,
                user_ids[i],
                User(*(field[i] for field in users)),
                int(seeds[i]),
                int(variants[i]) if self.variants else 0,
            )
            for i in range(len(user_ids))
        ]
        greetings = self.opponent.greet(self.persons)
        self.past = [[("User", words)] for words in greetings]
        self.exchanges = [[] for _ in self.persons]
        self.done = np.zeros(len(self.persons), bool)
        return greetings

    def say(self, texts: Sequence[str | None]) -> list[Exchange | None]:
        """The recommender says a text in each conversation.

        Args:
            texts: B of them; those for conversations that are over are ignored.

        Returns:
            for each conversation its turn, None where it was over.

        Raises:
            ValueError: another number of texts, or a text missing.
        """
        if len(texts) != len(self) or self._states is None:
            raise ValueError(f"there are {len(self)} conversations, and {len(texts)} texts")
        live = [int(i) for i in np.flatnonzero(~self.done)]
        heard: dict[int, Heard] = {}
        for i in live:
            text = texts[i]
            if text is None:
                raise ValueError(f"conversation {i} goes on: it needs a text")
            heard[i] = hear(text, self.world, self.simulator.slate_size, self.max_length)
        acts = {i: heard[i].act or _NOTHING for i in live}
        said = self._listen(acts)
        turns = self._respond(live, heard, said)
        responses = {i: turn.act for i, turn in turns.items() if isinstance(turn, UserTurn)}
        settled = self._settle(said, responses)
        found: list[Exchange | None] = [None] * len(self)
        for i in live:
            exchange = self._exchange(i, heard[i], acts[i], said[i], turns[i], settled)
            self.past[i] += [("Recommender", heard[i].words), ("User", exchange.reply)]
            self.exchanges[i].append(exchange)
            self.done[i] = exchange.terminated or exchange.truncated
            found[i] = exchange
        return found

    def fault(self, conversation: int) -> Fault:
        """Who failed in a conversation: who first could not be understood."""
        faults = (e.fault for e in self.exchanges[conversation])
        return next((fault for fault in faults if fault != "neither"), "neither")

    def transcript(self, conversation: int) -> str:
        """All that was said, a line for each speaker's turn."""
        return "\n".join(f"{who}: {words}" for who, words in self.past[conversation])

    def _listen(
        self, acts: dict[int, ReadableRecommenderAct]
    ) -> dict[int, tuple[RecommenderAct, UserAct, int, float]]:
        """For each live conversation the legal act, ICER's response, a variant, and `near`."""
        k = self.simulator.slate_size
        rows = [to_arrays(acts.get(i, _NOTHING), k) for i in range(len(self))]
        stacked = RecommenderAct(*map(np.stack, zip(*rows, strict=True)))
        legal, responses, variants, near = jax.device_get(
            _listen(self.simulator, self._states, stacked)
        )
        return {
            i: (
                RecommenderAct(*(field[i] for field in legal)),
                UserAct(*(field[i] for field in responses)),
                int(variants[i]) if self.variants else 0,
                float(near[i]),
            )
            for i in acts
        }

    def _respond(
        self,
        live: Sequence[int],
        heard: dict[int, Heard],
        said: dict[int, tuple[RecommenderAct, UserAct, int, float]],
    ) -> dict[int, UserTurn | NotUnderstood]:
        """Who heard nothing clear says so, or leaves; the others are the opponent's to play."""
        turns: dict[int, UserTurn | NotUnderstood] = {}
        asked: dict[int, Situation] = {}
        for i in live:
            act, response, variant, _ = said[i]
            icer = response_to_readable(response, act)
            if heard[i].act is None and not isinstance(icer, Leave):
                turns[i] = UserTurn(Reject(), CONFUSED)
                continue
            asked[i] = Situation(
                person=self.persons[i],
                turn=len(self.exchanges[i]) + 1,
                act=to_readable(act),
                words=heard[i].words,
                past=tuple(self.past[i]),
                icer=icer,
                variant=variant,
                turns=tuple(exchange.turns for exchange in self.exchanges[i]),
            )
        if asked:
            answers = self.opponent.respond(list(asked.values()))
            turns.update(zip(asked, answers, strict=True))
        return turns

    def _settle(
        self,
        said: dict[int, tuple[RecommenderAct, UserAct, int, float]],
        responses: dict[int, ReadableUserAct],
    ) -> _Settled:
        idle = to_arrays(_NOTHING, self.simulator.slate_size)
        acts, answers = [], []
        for i in range(len(self)):
            act = said[i][0] if i in said else idle
            acts.append(act)
            answers.append(response_to_arrays(responses.get(i, Reject()), act))
        turn = Turn(
            RecommenderAct(*map(np.stack, zip(*acts, strict=True))),
            UserAct(*map(np.stack, zip(*answers, strict=True))),
        )
        live = np.array([i in responses for i in range(len(self))])
        self._states, settled = jax.device_get(_settle(self.simulator, self._states, turn, live))
        return _Settled(*settled)

    def _exchange(
        self,
        i: int,
        heard: Heard,
        act: ReadableRecommenderAct,
        said: tuple[RecommenderAct, UserAct, int, float],
        turn: UserTurn | NotUnderstood,
        settled: _Settled,
    ) -> Exchange:
        counts = to_readable(said[0])
        # the wording of an attribute query is a matter of words
        same = counts == act
        understood = heard.act is not None
        reason = heard.reason
        if understood and not same:
            reason = "films that were named twice or rejected before do not count"
        if isinstance(turn, NotUnderstood):
            return Exchange(
                heard, counts, understood and same, None, "", "user", turn.reason,
                reward=-float(self.simulator.turn_cost), quality=0.0,
                terminated=False, truncated=True, accepted=NONE, left=False,
            )  # fmt: skip
        return Exchange(
            heard,
            counts,
            understood and same,
            turn.act,
            turn.words,
            "neither" if understood else "recommender",
            reason,
            reward=float(settled.reward[i]),
            quality=float(settled.quality[i]),
            terminated=bool(settled.terminated[i]),
            truncated=bool(settled.truncated[i]),
            accepted=int(settled.accepted[i]),
            left=bool(settled.left[i]),
            near=said[3],
        )


@jax.jit
def _begin(simulator: Simulator, keys: jax.Array) -> tuple[State, Any, User, Any, Any]:
    """States with the data of their keys, and what an opponent is told of the users."""

    def one(key: jax.Array) -> tuple[State, Any, User, Any, Any]:
        state = simulator.reset(key)
        words = words_key(key, 0)
        variant = jax.random.randint(words, (), 0, VARIANTS)
        seed = jax.random.randint(jax.random.fold_in(words, 1), (), 0, 2**31 - 1)
        state = state._replace(key=jax.random.key_data(key))
        return state, state.user_id, state.user, variant, seed

    return jax.vmap(one)(keys)


@jax.jit
def _listen(
    simulator: Simulator, states: State, acts: RecommenderAct
) -> tuple[RecommenderAct, UserAct, Any, Any]:
    def one(state: State, act: RecommenderAct) -> tuple[RecommenderAct, UserAct, Any, Any]:
        state = _with_key(state)
        act = legal(act, state.context, simulator.n_attributes)
        key = words_key(state.key, state.context.turn + 1)
        # as in data sets of dialogues: the first is for the recommender's words
        variant = jax.random.randint(key, (2,), 0, VARIANTS)[1]
        percept = simulator.percept(state, act)
        odds = log_probs(percept.utilities, jnp.float32(NEAR), percept.null)
        recommended = act.kind == RecommenderKind.RECOMMEND
        near = jnp.where(recommended, -jnp.expm1(odds[-1]), 0.0)
        return act, simulator.respond(state, act), variant, near

    return jax.vmap(one)(states, acts)


@jax.jit
def _settle(
    simulator: Simulator, states: State, turns: Turn, live: jax.Array
) -> tuple[State, _Settled]:
    def one(state: State, turn: Turn, goes_on: jax.Array) -> tuple[State, _Settled]:
        following, outcome = simulator.settle(_with_key(state), turn)
        item = accepted_item(outcome.turn)
        settled = _Settled(
            outcome.reward,
            jnp.where(item == NONE, 0.0, simulator.quality(state, item)),
            outcome.terminated,
            outcome.truncated,
            item,
            outcome.turn.response.kind == UserKind.LEAVE,
        )
        following = following._replace(key=state.key)
        return jax.tree.map(lambda a, b: jnp.where(goes_on, a, b), following, state), settled

    return jax.vmap(one)(states, turns, live)


def _with_key(state: State) -> State:
    return state._replace(key=jax.random.wrap_key_data(state.key, impl="threefry2x32"))

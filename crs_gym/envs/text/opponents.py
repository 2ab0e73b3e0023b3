"""Who plays the user of a conversation in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from crs_gym.acts import ReadableRecommenderAct, ReadableUserAct
from crs_gym.dialogue import (
    CONFUSED,
    NotUnderstood,
    RecommenderTurn,
    UserTurn,
    greet,
    say_response,
    understand_response,
)
from crs_gym.envs.text.hearing import printable
from crs_gym.users import User
from crs_gym.world import World


@dataclass(frozen=True, eq=False)
class Person:
    """Whom an opponent plays.

    world: whose films are spoken of.
    user_id: row of the world's population.
    user: NumPy arrays; its `embedding` (d,) is phi_u.
    seed: follows from the episode, for whatever an opponent draws.
    variant: which of the greetings, from 0.
    """

    world: World
    user_id: int
    user: User
    seed: int
    variant: int


@dataclass(frozen=True, eq=False)
class Situation:
    """What a user has to respond to.

    person: who responds.
    turn: which turn this is, from 1.
    act: what the recommender did, as far as it is legal.
    words: how it said so.
    past: (speaker, words) of all that was said before, from the user's greeting on; speakers are
        "User" and "Recommender".
    icer: what the ICER model says, with the luck of this episode and turn.
    variant: which of the sentences for it, from 0.
    turns: the turns before this one: what the recommender did, as far as it was legal, and said,
        and how the user responded.
    """

    person: Person
    turn: int
    act: ReadableRecommenderAct
    words: str
    past: tuple[tuple[str, str], ...]
    icer: ReadableUserAct
    variant: int
    turns: tuple[tuple[RecommenderTurn, UserTurn], ...] = ()

    @property
    def seed(self) -> int:
        """For whatever an opponent draws in this turn."""
        return (self.person.seed * 1009 + self.turn) % 2**31


class Opponent(Protocol):
    """Plays users; whatever it draws follows from the seeds of persons and situations."""

    @property
    def kind(self) -> str:
        """As `Result.user_kind`: "rule", or "lm:<name>" where a language model decides or words."""

    def greet(self, persons: Sequence[Person]) -> list[str]:
        """What each says to begin with."""

    def respond(self, situations: Sequence[Situation]) -> list[UserTurn | NotUnderstood]:
        """What each does and says; `NotUnderstood` where that cannot be told."""


class IcerUser:
    """The ICER model, in the words of templates."""

    kind = "rule"

    def greet(self, persons: Sequence[Person]) -> list[str]:
        return [greet(person.variant) for person in persons]

    def respond(self, situations: Sequence[Situation]) -> list[UserTurn | NotUnderstood]:
        return [
            UserTurn(s.icer, say_response(s.icer, s.act, s.person.world, s.variant))
            for s in situations
        ]


class KeyboardUser:
    """A person at the keyboard, asked again until the answer is clear.

    read, write: `input` and `print`, unless others are given.
    """

    kind = "lm:person"

    def __init__(
        self, read: Callable[[str], str] = input, write: Callable[[str], Any] = print
    ) -> None:
        self._read, self._write = read, write

    def greet(self, persons: Sequence[Person]) -> list[str]:
        greetings = [greet(person.variant) for person in persons]
        for words in greetings:
            self._write(f"You: {words}")
        return greetings

    def respond(self, situations: Sequence[Situation]) -> list[UserTurn | NotUnderstood]:
        return [self._ask(situation) for situation in situations]

    def _ask(self, situation: Situation) -> UserTurn | NotUnderstood:
        # where the recommender was not understood, the person was not asked
        for said, answer in situation.turns[_answered(situation) :]:
            self._write(printable(f"Recommender: {said.words}"))
            self._write(f"You: {answer.words}")
        self._write(printable(f"Recommender: {situation.words}"))
        while True:
            try:
                words = self._read("You: ")
            except EOFError:
                return NotUnderstood("the person at the keyboard has gone")
            response = understand_response(words, situation.act, situation.person.world)
            if not isinstance(response, NotUnderstood):
                return UserTurn(response, words)
            self._write(f"(Please say that in another way: {response.reason}.)")


def _answered(situation: Situation) -> int:
    """Turns up to the last that the user answered by itself."""
    turns = enumerate(situation.turns, 1)
    return max((n for n, (_, answer) in turns if answer.words != CONFUSED), default=0)


_OPPONENTS = {
    "icer": "crs_gym.envs.text.opponents:IcerUser",
    "person": "crs_gym.envs.text.opponents:KeyboardUser",
    "icer-words": "crs_gym.generation.worded_user:WordedUser",
    "lm": "crs_gym.language.users:ModelUser",
}


def make_opponent(user: str | Opponent) -> Opponent:
    """The opponent that an environment's argument `user` names.

    Args:
        user: "icer", "person", "icer-words:MODEL" (the ICER model decides, a language model finds
            the words), "lm:MODEL" (a language model decides), or an opponent. MODEL is a folder, a
            model of the hub, or MODEL@URL of an endpoint.

    Raises:
        ValueError: another name or anything else, or a model missing or too many; the message
            lists what there is.
    """
    parts = ("kind", "greet", "respond")
    if not isinstance(user, str) and all(hasattr(user, part) for part in parts):
        return user
    name, _, model = str(user).partition(":")
    takes_model = name in ("icer-words", "lm")
    if name not in _OPPONENTS or takes_model != bool(model):
        raise ValueError(
            f"unknown user {user!r}; there are icer, person, icer-words:MODEL, lm:MODEL, where "
            "MODEL is a folder, a model of the hub, or MODEL@URL of an endpoint; or an Opponent, "
            "which has kind, greet and respond"
        )
    module, _, attribute = _OPPONENTS[name].partition(":")
    made: Any = getattr(import_module(module), attribute)
    opponent: Opponent = made.of(model) if takes_model else made()
    return opponent


def split_endpoint(model: str) -> tuple[str, str]:
    """The parts of MODEL@URL; the URL is empty where none follows, whatever else has an @."""
    name, *url = re.split("@(?=https?://)", model, maxsplit=1)
    return name, "".join(url)


def person_of(world: World, user_id: Any, user: User, seed: int, variant: int) -> Person:
    """A person with plain NumPy and Python values."""
    return Person(world, int(user_id), User(*map(np.asarray, user)), seed, variant)

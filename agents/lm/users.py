"""Users that are models in this process, played side by side."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.lm import models
from agents.lm.chats import ChatFormat
from agents.lm.rollouts import Played
from agents.lm.writing import Writer
from crs_gym.acts import Recommendation, Reject
from crs_gym.dialogue import (
    NotUnderstood,
    UserTurn,
    greet,
    say_response,
)
from crs_gym.envs.text import Conversations, Person, Situation
from crs_gym.language.card import Card, card_of, trained
from crs_gym.language.persona import persona_of
from crs_gym.language.users import hear_user, user_messages
from crs_gym.language.weights import find_device


class PlayedUser:
    """An `Opponent`: a model of this process, all conversations of a batch side by side.

    What it writes that cannot be understood breaks its conversation off, but where nothing that
    counts was offered: then all that it can do is to reject that.

    Args:
        model: a causal language model of Hugging Face.
        chat: of its tokenizer.
        name: in `kind`.
        rules: whether it is told how to answer.
        temperature: of sampling; 0 takes the likeliest token.
        seed: of sampling; what is drawn in a batch follows from it and from whom the batch begins
            with, whatever was played before.
        max_turn: tokens of a turn; a longer one is cut off there.
    """

    def __init__(
        self,
        model: Any,
        chat: ChatFormat,
        *,
        name: str = "model",
        rules: bool = False,
        temperature: float = 1.0,
        seed: int = 0,
        max_turn: int = 64,
    ) -> None:
        self.model, self.chat, self.name, self.rules = model, chat, name, rules
        self.temperature, self.seed, self.max_turn = temperature, seed, max_turn
        self._played: list[Played] = []
        self._turns: list[list[int]] = []  # which of each conversation's turns it answered
        self._places: dict[int, int] = {}
        self._writer: Writer | None = None

    @property
    def kind(self) -> str:
        return f"lm:{self.name}"

    def greet(self, persons: Sequence[Person]) -> list[str]:
        import torch

        drawn = np.random.SeedSequence([self.seed, persons[0].seed]).generate_state(1)
        self._places = {id(person): i for i, person in enumerate(persons)}
        self._played = [Played([], [], []) for _ in persons]
        self._turns = [[] for _ in persons]
        self._writer = Writer(
            self.model,
            len(persons),
            end=self.chat.end,
            pad=int(self.chat.tokenizer.pad_token_id),
            temperature=self.temperature,
            generator=torch.Generator().manual_seed(int(drawn[0])),
        )
        return [greet(person.variant) for person in persons]

    def respond(self, situations: Sequence[Situation]) -> list[UserTurn | NotUnderstood]:
        assert self._writer is not None
        training = self.model.training
        self.model.eval()
        at = {self._places[id(situation.person)]: situation for situation in situations}
        pieces: list[list[int]] = [[] for _ in self._played]
        for i, situation in at.items():
            pieces[i] = self._piece(self._played[i], situation)
        self._writer.read(pieces)
        turns: dict[int, UserTurn | NotUnderstood] = {}
        written = self._writer.write([i in at for i in range(len(self._played))], self.max_turn)
        for i, situation in at.items():
            wrote, one = written[i], self._played[i]
            assert wrote is not None
            one.ids += pieces[i] + wrote.ids
            one.own += [False] * len(pieces[i]) + [True] * len(wrote.ids)
            one.logprobs += [0.0] * len(pieces[i]) + wrote.logprobs
            one.ends.append(len(one.ids) - 1)
            self._turns[i].append(situation.turn)
            turns[i] = _heard(self.chat.text(wrote.ids), situation)
        self.model.train(training)
        return [turns[self._places[id(situation.person)]] for situation in situations]

    def played(self, talk: Conversations) -> list[Played]:
        """The tokens of the users' side of conversations that are over; the rewards are those of
        the conversation, for both play for one goal (GoRecDial).

        A turn to which the recommender was not understood is none of the user's: its reward counts
        with the user's turn before, or with the first.
        """
        for i, (one, turns) in enumerate(zip(self._played, self._turns, strict=True)):
            one.conclude(talk, i)
            one.rewards = [0.0] * len(turns)
            for number, exchange in enumerate(one.exchanges, 1):
                if turns:
                    one.rewards[max(0, bisect_right(turns, number) - 1)] += exchange.reward
        return self._played

    def _piece(self, one: Played, situation: Situation) -> list[int]:
        if not one.ids:
            persona = persona_of(situation.person)
            first = user_messages(persona, situation.turns, situation.words, rules=self.rules)
            return self.chat.opening(first)
        cut = [] if one.ids[-1] == self.chat.end else [self.chat.end]
        return [*cut, *self.chat.reply(situation.words)]


def opponent(user: str, seed: int = 0, device: str = "cpu", max_turn: int = 64) -> str | PlayedUser:
    """A user by the folder of a model that was trained to play one; any other name as it is.

    Args:
        seed: of sampling.
        device: where the model computes, see `find_device`.
        max_turn: tokens of its turns.

    Raises:
        OSError, DataError: see `trained`, `models.load` and `card_of`.
        ValueError: a recommender's model; no such device.
    """
    if not Path(user).is_dir():
        return user
    folder = Path(trained(user))
    card = card_of(folder) or Card()
    if card.role != "user":
        raise ValueError(f"{folder} was trained to play the {card.role}, not the user")
    tokenizer, model = models.load(folder)
    model.to(find_device(device))
    name = models.name_of(folder)
    return PlayedUser(
        model, ChatFormat(tokenizer), name=name, rules=card.rules,
        temperature=card.temperature, seed=seed, max_turn=max_turn,
    )  # fmt: skip


def _heard(text: str, situation: Situation) -> UserTurn | NotUnderstood:
    turn, _ = hear_user(text, situation.act, situation.person.world)
    if isinstance(turn, NotUnderstood) and situation.act == Recommendation(()):
        reject = Reject()
        words = say_response(reject, situation.act, situation.person.world, situation.variant)
        return UserTurn(reject, words)
    return turn

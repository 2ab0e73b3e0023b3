"""Conversations played by a recommender that is a model in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from agents.lm.chats import ChatFormat, Row
from agents.lm.writing import Writer
from crs_gym.envs.text import Conversations, Exchange
from crs_gym.envs.text.conversations import Fault
from crs_gym.language.recommender import recommender_messages


@dataclass
class Played:
    """A conversation, and the tokens of the recommender's side.

    ids: (T,) all tokens, up to the end of its last turn.
    own: (T,) those that the model drew. logprobs: (T,) of these, at temperature 1; 0 elsewhere.
    acts: (T,) the own ones that are no words; None where these are learnt from, too.
    ends: place of the last token of each turn of the model. rewards: of each of these turns, as
        they are learnt from.
    near: of each of these turns, see `near_advantages`; None where it is not learnt from.
    unended: for each of these turns, whether it was cut off because it took too many tokens.
    exchanges: the turns of the conversation.
    user_id: row of the world's population. fault: who first could not be understood.
    words: (speaker, words) of all that was said.
    """

    ids: list[int]
    own: list[bool]
    logprobs: list[float]
    acts: list[bool] | None = None
    ends: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    near: list[float] | None = None
    unended: list[bool] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    user_id: int = -1
    fault: Fault = "neither"
    words: list[tuple[str, str]] = field(default_factory=list)

    @property
    def total(self) -> float:
        """The return."""
        return float(sum(exchange.reward for exchange in self.exchanges))

    def conclude(self, talk: Conversations, conversation: int) -> None:
        """Takes over what is known of a conversation that is over."""
        self.exchanges = talk.exchanges[conversation]
        self.user_id = talk.persons[conversation].user_id
        self.fault = talk.fault(conversation)
        self.words = talk.past[conversation]

    @property
    def cut(self) -> list[bool]:
        """For each of the recommender's turns, whether something of it was cut off."""
        return [
            late or bool(exchange.heard.cut)
            for late, exchange in zip(self.unended, self.exchanges, strict=True)
        ]

    @property
    def earned(self) -> float:
        """What learners take for the return: that of `rewards`, and how near it came on average."""
        there = [x for x in self.near or () if not np.isnan(x)]
        return float(sum(self.rewards) + (np.mean(there) if there else 0.0))

    @property
    def learnt(self) -> list[bool]:
        """The tokens that reinforcement learns from."""
        return self.own if self.acts is None else self.acts

    def learn_acts(self, chat: ChatFormat) -> None:
        """Only the acts of turns, and their ends, where turns are rewarded, are learnt from."""
        self.acts = chat.without_words(self.ids, self.own)
        for end in self.ends:
            self.acts[end] = True

    @property
    def row(self) -> Row:
        """The tokens, as supervised training has them."""
        return Row(np.array(self.ids, np.int32), np.array(self.own, bool))


def play(
    talk: Conversations,
    keys: jax.Array,
    model: Any,
    chat: ChatFormat,
    *,
    system: str = "",
    temperature: float = 1.0,
    seed: int = 0,
    max_turn: int = 64,
    bf16: bool = False,
    writes: Callable[..., Any] = Writer,
) -> list[Played]:
    """One conversation for each key, all side by side.

    Args:
        talk: who is spoken to, and with which rules.
        keys: (B,) episode keys.
        model: a causal language model of Hugging Face.
        chat: of its tokenizer.
        system: what it is told beforehand.
        temperature: of sampling; 0 takes the likeliest token.
        seed: of sampling.
        max_turn: tokens of a turn; a longer one is cut off there.
        bf16: compute in bfloat16.
        writes: what reads and writes the texts, made as `Writer` is.

    Raises:
        ValueError: a conversation that is too long for the model.
    """
    import torch

    greetings = talk.begin(keys)
    training = model.training
    model.eval()
    writer = writes(
        model,
        len(greetings),
        end=chat.end,
        pad=int(chat.tokenizer.pad_token_id),
        temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
        bf16=bf16,
    )
    openings = [chat.opening(recommender_messages(words, system=system)) for words in greetings]
    played = [Played(list(ids), [False] * len(ids), [0.0] * len(ids)) for ids in openings]
    pieces: Sequence[Sequence[int]] = openings
    while not talk.done.all():
        writer.read(pieces)
        texts: list[str | None] = [None] * len(played)
        for i, written in enumerate(writer.write(~talk.done, max_turn)):
            if written is None:
                continue
            one = played[i]
            one.ids += written.ids
            one.own += [True] * len(written.ids)
            one.logprobs += written.logprobs
            one.ends.append(len(one.ids) - 1)
            one.unended.append(not written.ids or written.ids[-1] != chat.end)
            texts[i] = chat.text(written.ids)
        exchanges = talk.say(texts)
        pieces = [[] for _ in played]
        for i, exchange in enumerate(exchanges):
            if exchange is None or talk.done[i]:
                continue
            reply = chat.reply(exchange.reply)
            # a turn that was cut off ends all the same
            cut = [] if played[i].ids[-1] == chat.end else [chat.end]
            piece = [*cut, *reply]
            played[i].ids += piece
            played[i].own += [False] * len(piece)
            played[i].logprobs += [0.0] * len(piece)
            pieces[i] = piece
    model.train(training)
    for i, one in enumerate(played):
        one.conclude(talk, i)
        one.rewards = [exchange.reward for exchange in one.exchanges]
    return played

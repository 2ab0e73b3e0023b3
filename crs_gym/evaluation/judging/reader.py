"""A language model as judge: it reads a profile and a conversation and picks a film.

The model is asked in the first person, as the user (ICER, footnotes 4 and 5): the profile is an
interview that it has given, the recommender's words are said to it, the user's are its own, and the
last question is whether it likes the first film more than the second. The prompts are in our own
words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from crs_gym.evaluation.judging.automatic import ENDED, Verdicts
from crs_gym.evaluation.judging.pairs import Case
from crs_gym.language import Failure, LanguageModel, Message, Reply, Request, check_asked
from crs_gym.world import World
from crs_gym.world.titles import title_key

_ROLE = (
    "You are a person who is looking for a film to watch. Speak for yourself, in the first person, "
    "and stay true to what you have said so far."
)
_QUESTION = (
    "Going by the taste you have shown so far, do you like {first} more than {second}? "
    "Answer YES or NO only."
)
_AGAIN = (
    "I need one word. YES if you like {first} more than {second}, NO if you like {second} more."
)
_ANSWER = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+|&")


@dataclass(frozen=True)
class ModelJudge:
    """Picks the film that a language model says it likes more.

    A reply counts by its first "yes" or "no" outside the films' titles; without either, by the one
    of the two films that it names. Where it is neither (or the model fails) the question is put
    once more; where that does not help, a coin is flipped.

    seed: of the model's replies and of the coins.
    batch: requests handed to the model at a time.
    """

    model: LanguageModel
    world: World
    seed: int = 0
    max_tokens: int = 16
    batch: int = 256
    progress: bool = True

    @property
    def name(self) -> str:
        return self.model.name

    def judge(self, cases: Sequence[Case], turns: int) -> Verdicts:
        """As `Judge.judge`.

        Raises:
            ConnectionError: the model cannot be asked until somebody acts; the message says how.
        """
        asked = [
            (row, turn)
            for row, case in enumerate(cases)
            for turn in range(min(turns, len(case.words)) + 1)
        ]
        shape = (len(cases), turns + 1)
        places = np.full(shape, ENDED, np.int8)
        again, coins = np.zeros(shape, bool), np.zeros(shape, bool)
        bar = tqdm(total=len(asked), desc=self.name, unit="question", disable=not self.progress)
        with bar:
            for start in range(0, len(asked), self.batch):
                part = asked[start : start + self.batch]
                answers = self._answers([cases[row] for row, _ in part], part)
                for place, answer in zip(part, answers, strict=True):
                    places[place], again[place], coins[place] = answer
                bar.update(len(part))
        return Verdicts(places, again, coins)

    def _answers(
        self, cases: Sequence[Case], asked: Sequence[tuple[int, int]]
    ) -> list[tuple[int, bool, bool]]:
        """(place picked, asked again, coin flipped) for each of the questions."""
        chats = [self.chat(case, turn) for case, (_, turn) in zip(cases, asked, strict=True)]
        replies = self._generate(chats)
        picked = [self._picked(*pair) for pair in zip(replies, cases, strict=True)]
        unclear = [n for n, place in enumerate(picked) if place is None]
        seconds = self._generate([self._insist(chats[n], replies[n], cases[n]) for n in unclear])
        for n, reply in zip(unclear, seconds, strict=True):
            picked[n] = self._picked(reply, cases[n])
        again = set(unclear)
        return [
            (self._coin(case.number, turn) if place is None else place, n in again, place is None)
            for n, (place, case, (_, turn)) in enumerate(zip(picked, cases, asked, strict=True))
        ]

    def chat(self, case: Case, turns: int) -> tuple[Message, ...]:
        """What the model is asked after the first `turns` turns of a case."""
        spoken = [*case.profile.interview(self.world), *case.words[:turns]]
        messages = [Message("system", _ROLE)]
        for said, answered in spoken:
            messages += [Message("user", said), Message("assistant", answered)]
        return (*messages, Message("user", self._ask(_QUESTION, case)))

    def _insist(
        self, chat: tuple[Message, ...], reply: Reply | Failure, case: Case
    ) -> tuple[Message, ...]:
        # what failed, or said nothing, leaves no message to object to
        said = reply.text.strip() if isinstance(reply, Reply) else ""
        if not said:
            return (*chat[:-1], Message("user", self._ask(_AGAIN, case)))
        return (*chat, Message("assistant", said), Message("user", self._ask(_AGAIN, case)))

    def _ask(self, question: str, case: Case) -> str:
        first, second = map(self.world.label, case.pair.items)
        return question.format(first=first, second=second)

    def _generate(self, chats: Sequence[tuple[Message, ...]]) -> list[Reply | Failure]:
        if not chats:
            return []
        replies = self.model.generate(
            [Request(chat, max_tokens=self.max_tokens, seed=self.seed) for chat in chats]
        )
        check_asked(self.model, replies)
        return replies

    def _picked(self, reply: Reply | Failure, case: Case) -> int | None:
        if isinstance(reply, Failure):
            return None
        if said := _ANSWER.search(self._without_titles(reply.text, case)):
            return 0 if said[1].lower() == "yes" else 1
        text = _words(reply.text)
        keys = [_words(self.world.titles[item]) for item in case.pair.items]
        named = [place for place, key in enumerate(keys) if key and key in text]
        return named[0] if len(named) == 1 else None

    def _without_titles(self, text: str, case: Case) -> str:
        """A reply without "Dr. No" and "No (2012)"; a "No" alone is an answer."""
        for item in case.pair.items:
            title = self.world.titles[item]
            for name in (self.world.label(item), *([title] if len(title.split()) > 1 else [])):
                text = re.sub(re.escape(name), " ", text, flags=re.IGNORECASE)
        return text

    def _coin(self, number: int, turn: int) -> int:
        # not (seed, number, 0): NumPy takes it for (seed, number), from which pairs are drawn
        return int(np.random.default_rng((self.seed, number, turn + 1)).integers(2))


def _words(text: str) -> str:
    """Words without case, accents and punctuation, a space around each: no "It" in "quite"."""
    return "".join(f" {title_key(word, 0)[0]} " for word in _WORD.findall(text))

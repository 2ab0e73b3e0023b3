"""Templated dialogues put into a language model's words, turn by turn (ICER, section 3.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

from tqdm import tqdm

from crs_gym.acts import ReadableRecommenderAct, ReadableUserAct
from crs_gym.dialogue.grammar import KINDS
from crs_gym.generation.checks import Reason, check, check_response, tidy
from crs_gym.generation.prompts import Style, prompt
from crs_gym.generation.rates import Rates, Tally
from crs_gym.generation.records import Dialogue, Speaker, Words
from crs_gym.language import Failure, LanguageModel, Message, Reply, Request, check_asked
from crs_gym.world import World

Order = Literal["users-first", "interleaved"]
"""Which turns are rewritten when: all of the user's and then all of the recommender's (section
3.4), or as they follow on each other (Figure 11)."""


class _Place(NamedTuple):
    """Whose turn it is, and the how manieth, from 0."""

    turn: int
    speaker: Speaker


def rewrite(
    dialogues: Sequence[Dialogue],
    model: LanguageModel,
    world: World,
    *,
    order: Order = "users-first",
    retries: int = 2,
    max_tokens: int = 128,
    temperature: float = 0.8,
    seed: int = 0,
    style: Style = "full",
    progress: bool = False,
) -> tuple[list[Dialogue], Rates]:
    """Rewrites every turn; the same arguments and replies give the same dialogues.

    The first turns of all dialogues are asked for together, then the second ones, and so on. A turn
    sees what was said before it, rewritten where that is done already, and nothing that comes after
    it. What fails the checks, or could not be had, is asked for again with another seed, and stays
    a template ("fallback") where that does not help either.

    Args:
        dialogues: with templates; words that they have beside these are not looked at.
        model: writes the turns.
        world: the dialogues' world.
        order: see `Order`.
        retries: further attempts at a turn; at temperature 0 they meet the same reply again.
        max_tokens: longest turn, in the model's tokens.
        temperature: of sampling, at least 0.
        seed: of sampling, with the dialogue's number, the turn, the speaker and the attempt.
        style: of the prompts.
        progress: shows a bar.

    Raises:
        ValueError: an unknown order or style, negative retries, dialogues of another world, or a
            model that gives more or fewer replies than it was asked for.
        ConnectionError: the model fails for a reason that lasts; templates in place of everything
            that is still to come would be no help.
    """
    if order not in get_args(Order):
        raise ValueError(f"unknown order {order!r}; there are {', '.join(get_args(Order))}")
    if retries < 0:
        raise ValueError(f"retries must be at least 0, not {retries}")
    if other := next((d for d in dialogues if d.world != world.hash), None):
        raise ValueError(
            f"dialogue {other.number} is of world {other.world}, not {world.hash}: rewrite it with "
            "the world that it was generated in"
        )
    drafts = [_Draft(dialogue) for dialogue in dialogues]
    ask = partial(Request, max_tokens=max_tokens, temperature=temperature, stop=("\n",))
    rates = Rates()
    longest = max((len(d.turns) for d in dialogues), default=0)
    total = sum(2 * len(d.turns) for d in dialogues)
    with tqdm(total=total, desc="rewriting", unit="turn", disable=not progress) as bar:
        for place in _schedule(order, longest):
            there = [draft for draft in drafts if place.turn < len(draft.dialogue.turns)]
            rates += _rewrite_turns(there, place, ask, model, world, style, retries, seed)
            bar.update(len(there))
    return [draft.finished() for draft in drafts], rates


class _Draft:
    """A dialogue that is being rewritten."""

    def __init__(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.words: dict[_Place, Words] = {}
        for n, turn in enumerate(dialogue.turns):
            self.words[_Place(n, "Recommender")] = _fallback(turn.recommender)
            self.words[_Place(n, "User")] = _fallback(turn.user)

    def act(self, place: _Place) -> ReadableRecommenderAct | ReadableUserAct:
        turn = self.dialogue.turns[place.turn]
        return turn.response if place.speaker == "User" else turn.act

    def prompt(self, place: _Place, style: Style) -> tuple[Message, ...]:
        """What is asked for the turn at `place`, from what was said before it."""
        said: list[tuple[Speaker, str]] = []
        for before, words in self.words.items():
            if before == place:
                break
            said.append((before.speaker, words.text))
        return prompt(said, self.words[place].template, self.act(place), style)

    def take(self, place: _Place, reply: Reply | Failure, world: World) -> Reason | Failure | None:
        """Puts a reply in place of the template, or says why not."""
        if isinstance(reply, Failure):
            return reply
        if reply.finish == "length":
            return Reason.CUT_OFF
        text = tidy(reply.text)
        turn = self.dialogue.turns[place.turn]
        if place.speaker == "User":
            refused = check_response(text, turn.response, turn.act, world)
        else:
            refused = check(text, turn.act, world)
        if refused:
            return refused.reason
        self.words[place] = replace(self.words[place], text=text, source="model")
        return None

    def finished(self) -> Dialogue:
        turns = range(len(self.dialogue.turns))
        pairs = [
            (self.words[_Place(n, "Recommender")], self.words[_Place(n, "User")]) for n in turns
        ]
        return self.dialogue.with_words(pairs)


def _fallback(words: Words) -> Words:
    return replace(words, text=words.template, source="fallback")


def _schedule(order: Order, turns: int) -> list[_Place]:
    """Places in the order in which they are rewritten."""
    users = [_Place(n, "User") for n in range(turns)]
    recommenders = [_Place(n, "Recommender") for n in range(turns)]
    if order == "users-first":
        return users + recommenders
    return [place for pair in zip(recommenders, users, strict=True) for place in pair]


def _rewrite_turns(
    drafts: Sequence[_Draft],
    place: _Place,
    ask: Callable[..., Request],
    model: LanguageModel,
    world: World,
    style: Style,
    retries: int,
    seed: int,
) -> Rates:
    """Rewrites the turn at `place` of every draft, as far as the model can, and counts."""
    rates = Rates()
    pending = {draft: ask(draft.prompt(place, style)) for draft in drafts}
    for draft in drafts:
        rates += _one(draft, place, turns=1)
    for attempt in range(retries + 1):
        if not pending:
            break
        requests = [
            replace(request, seed=_seed(seed, draft.dialogue.number, place, attempt))
            for draft, request in pending.items()
        ]
        replies = model.generate(requests)
        if len(replies) != len(requests):
            raise ValueError(
                f"{model.name} gave {len(replies)} replies to {len(requests)} requests"
            )
        check_asked(model, replies)
        for draft, reply in zip([*pending], replies, strict=True):
            refused = draft.take(place, reply, world)
            if refused is None:
                del pending[draft]
                rates += _one(draft, place, requests=1, model=1, first=int(attempt == 0))
            elif isinstance(refused, Failure):
                rates += _one(draft, place, requests=1, failures=1)
            else:
                rates += _one(draft, place, requests=1, rejections={refused.value: 1})
    for draft in pending:
        rates += _one(draft, place, fallback=1)
    return rates


def _one(draft: _Draft, place: _Place, **counts: Any) -> Rates:
    return Rates({KINDS[type(draft.act(place))]: Tally(**counts)})


def _seed(seed: int, number: int, place: _Place, attempt: int) -> int:
    """31 bits, which every server takes."""
    text = f"{seed}/{number}/{place.turn}/{place.speaker}/{attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

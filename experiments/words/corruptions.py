"""How many turns that no longer do what they should are found, and how many good ones are refused.

    python -m experiments.words.corruptions --inputs 200000

Sentences of random acts, templates and richer ones (`phrasings`), are checked as they are, and
after each kind of corruption that applies: films exchanged, added or left out, years lost,
directions turned round, acts exchanged, the other side's words, talk about the task.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    ReadableRecommenderAct,
    ReadableUserAct,
    Recommendation,
    Reject,
)
from crs_gym.dialogue import VARIANTS, say, say_response
from crs_gym.generation.checks import Rejection, check, check_response
from crs_gym.world import World, load_world
from experiments.words.mutations import RESULTS
from experiments.words.phrasings import phrase, phrase_response
from experiments.words.talks import an_exchange

Say = Callable[[ReadableRecommenderAct], str]
SayResponse = Callable[[ReadableUserAct, ReadableRecommenderAct], str]


class Corrupted(NamedTuple):
    """A text that may not pass, and how it came to be so."""

    kind: str
    text: str


def recommender(
    rng: random.Random, act: ReadableRecommenderAct, tell: Say, answer: str, world: World
) -> Iterator[Corrupted]:
    """Texts that do not do what the recommender's `act` does.

    Args:
        tell: says an act.
        answer: what the user says to `act`.
    """
    text = tell(act)
    items = table(act)
    stranger = _stranger(rng, items, world)
    if items:
        place = rng.randrange(len(items))
        exchanged = (*items[:place], stranger, *items[place + 1 :])
        yield Corrupted("another film", tell(_with(act, exchanged)))
        label, title = world.label(items[place]), world.titles[items[place]]
        year = int(world.years[items[place]])
        wrong = year + rng.choice((-1, 1)) * rng.randint(1, 20)
        yield Corrupted("no year", text.replace(label, title))
        yield Corrupted("wrong year", text.replace(label, f"{title} ({wrong})"))
        yield Corrupted("a film more", text + f" Or {world.label(stranger)}.")
    if len(items) > 1:
        less = _with(act, items[:place] + items[place + 1 :])
        yield Corrupted("a film less", tell(less))
    match act:
        case Recommendation() if len(items) > 1:
            yield Corrupted("offer to question", tell(ItemQuery(items)))
            yield Corrupted("offer denied", f"I would not recommend {_and(items, world)}.")
        case Recommendation() if items:
            query = AttributeQuery(items[0], rng.randrange(world.n_attributes), rng.choice((1, -1)))
            yield Corrupted("offer to question", tell(query))
            yield Corrupted("offer denied", f"You wouldn't like {_and(items, world)}.")
        case ItemQuery():
            yield Corrupted("question to offer", tell(Recommendation(items)))
        case AttributeQuery(item, attribute, direction):
            other = (attribute + rng.randrange(1, world.n_attributes)) % world.n_attributes
            yield Corrupted("question to offer", tell(Recommendation(items)))
            yield Corrupted("other direction", tell(AttributeQuery(item, attribute, -direction)))
            yield Corrupted("other attribute", tell(AttributeQuery(item, other, direction)))
    yield from _around(rng, text, "Recommender", answer, "User")


def user(
    rng: random.Random,
    response: ReadableUserAct,
    act: ReadableRecommenderAct,
    tell: SayResponse,
    asked: str,
    world: World,
) -> Iterator[Corrupted]:
    """Texts that do not do what the user's `response` to `act` does.

    Args:
        tell: says a response to an act.
        asked: what the recommender said with `act`.
    """
    text = tell(response, act)
    items = table(act)
    stranger = _stranger(rng, items, world)
    yield Corrupted("a film brought in", text + f" Or {world.label(stranger)}.")
    for kind, other in _others(rng, response, act, world):
        yield Corrupted(kind, tell(other, act))
    if isinstance(response, Accept | Choice | Critique):
        label, title = world.label(response.item), world.titles[response.item]
        if title in text:
            named = label if label in text else title
            yield Corrupted("another film", text.replace(named, world.label(stranger)))
        rest = [item for item in items if item != response.item]
        if rest and title in text:
            taken = world.label(rng.choice(rest))
            yield Corrupted("another film of the table", text.replace(named, taken))
    if isinstance(response, Accept | Choice):
        yield Corrupted("not", f"I don't want {world.label(response.item)}.")
    if isinstance(response, Answer) and (flipped := _yes_no(text)) != text:
        yield Corrupted("yes and no exchanged", flipped)
    yield from _around(rng, text, "User", asked, "Recommender")


def table(act: ReadableRecommenderAct) -> tuple[int, ...]:
    """The films of an act."""
    return (act.item,) if isinstance(act, AttributeQuery) else act.items


def _around(
    rng: random.Random, text: str, speaker: str, other: str, other_speaker: str
) -> Iterator[Corrupted]:
    yield Corrupted("role mark", f"{speaker}: {text}")
    yield Corrupted("role mark", f"{text}\n{other_speaker}: {other}")
    yield Corrupted("role mark", f"{text} {other_speaker}: {other}")
    yield Corrupted("both sides", f"{text} {other}")
    meta = ("Here is the rewritten turn: ", "As an AI language model, I would say: ",
            "Sure! Here's a more natural version: ")  # fmt: skip
    yield Corrupted("talk about the task", rng.choice(meta) + text)
    yield Corrupted("empty", rng.choice(("", " ", "...", '""')))
    yield Corrupted("too long", text + " It is a lovely evening for a film." * 12)
    yield Corrupted("markup", rng.choice((f"**{text}**", f"<turn>{text}</turn>", f"{text} [end]")))


def _others(
    rng: random.Random, response: ReadableUserAct, act: ReadableRecommenderAct, world: World
) -> Iterator[tuple[str, ReadableUserAct]]:
    """Responses to `act` that are not this one."""
    attribute, direction = rng.randrange(world.n_attributes), rng.choice((1, -1))
    fitting: list[ReadableUserAct] = [Leave()]
    match act:
        case Recommendation(()):
            fitting += [Reject()]
        case Recommendation(items):
            item = rng.choice(items)
            fitting += [Accept(item), Reject(), Critique(item, attribute, direction)]
        case ItemQuery(items):
            fitting += [Choice(rng.choice(items))]
        case AttributeQuery():
            fitting += [Answer(act.attribute, direction)]
    for other in fitting:
        if type(other) is not type(response):
            pair = f"{type(response).__name__} to {type(other).__name__}"
            yield pair.lower(), other
    if isinstance(response, Critique | Answer):
        yield "other direction", replace(response, direction=-response.direction)
        other_one = (response.attribute + rng.randrange(1, world.n_attributes)) % world.n_attributes
        yield "other attribute", replace(response, attribute=other_one)


def _with(act: ReadableRecommenderAct, items: tuple[int, ...]) -> ReadableRecommenderAct:
    if isinstance(act, AttributeQuery):
        return replace(act, item=items[0])
    return replace(act, items=items)


def _stranger(rng: random.Random, items: Sequence[int], world: World) -> int:
    return next(n for n in iter(lambda: rng.randrange(world.n_items), -1) if n not in items)


def _and(items: Sequence[int], world: World) -> str:
    return " or ".join(map(world.label, items))


def _yes_no(text: str) -> str:
    def other(found: re.Match[str]) -> str:
        return "No," if found[0].startswith("Y") else "Yes,"

    return re.sub(r"^(?:Yes|No|Yeah|Nope),", other, text)


@dataclass(frozen=True)
class Corruptions:
    """Checks good and corrupted sentences and counts what is found."""

    inputs: int = 20_000
    """Exchanges, half in templates, half in richer sentences."""
    seed: int = 0
    """Of acts and words."""
    show: int = 0
    """Mistakes to print of each kind."""
    out: Path | None = RESULTS / "corruptions.json"
    """File to write; None writes nothing."""

    def run(self) -> dict[str, Any]:
        """Counts by kind of words and of corruption, and by act for the good ones."""
        world, rng = load_world(), random.Random(self.seed)
        good: dict[str, dict[str, Counter[str]]] = {"templates": {}, "phrasings": {}}
        bad: dict[str, dict[str, Counter[str]]] = {"templates": {}, "phrasings": {}}

        def count(
            where: dict[str, Counter[str]],
            kind: str,
            text: str,
            found: Rejection | None,
            want: bool,
        ) -> None:
            counts = where.setdefault(kind, Counter())
            counts["all"] += 1
            counts["refused"] += found is not None
            if (found is not None) != want:
                counts["mistakes"] += 1
                if counts["mistakes"] <= self.show:
                    print(f"{kind}: {text!r} {found or 'passed'}")

        for n in range(self.inputs):
            words = ("templates", "phrasings")[n % 2]
            act, response = an_exchange(rng, world)
            variants = rng.randrange(VARIANTS), rng.randrange(VARIANTS)

            def tell(one: ReadableRecommenderAct, words: str = words, v: int = variants[0]) -> str:
                return say(one, world, v) if words == "templates" else phrase(rng, one, world)

            def reply(
                one: ReadableUserAct,
                to: ReadableRecommenderAct,
                words: str = words,
                v: int = variants[1],
            ) -> str:
                if words == "templates":
                    return say_response(one, to, world, v)
                return phrase_response(rng, one, to, world)

            asked, answer = tell(act), reply(response, act)
            found = check(asked, act, world)
            count(good[words], type(act).__name__, asked, found, False)
            found = check_response(answer, response, act, world)
            count(good[words], type(response).__name__, answer, found, False)
            for kind, text in recommender(rng, act, tell, answer, world):
                count(bad[words], f"recommender: {kind}", text, check(text, act, world), True)
            for kind, text in user(rng, response, act, reply, asked, world):
                found = check_response(text, response, act, world)
                count(bad[words], f"user: {kind}", text, found, True)
        figures = {
            "inputs": self.inputs,
            "seed": self.seed,
            "world": world.hash,
            "good": {words: _counts(kinds) for words, kinds in good.items()},
            "corrupted": {words: _counts(kinds) for words, kinds in bad.items()},
        }
        if self.out:
            self.out.write_text(json.dumps(figures, indent=1) + "\n")
        return figures


def _counts(kinds: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    total = sum(kinds.values(), Counter[str]())
    return {
        kind: {"all": counts["all"], "refused": counts["refused"]}
        for kind, counts in [*sorted(kinds.items()), ("total", total)]
    }


def show(figures: dict[str, Any]) -> None:
    """Prints the shares as a table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table("", "templates", "refused", "phrasings", "refused", box=None)
    for part in ("good", "corrupted"):
        kinds = {kind for words in figures[part].values() for kind in words}
        for kind in sorted(kinds, key=lambda one: (one == "total", one)):
            cells = []
            for words in ("templates", "phrasings"):
                counts = figures[part][words].get(kind, {"all": 0, "refused": 0})
                share = f"{counts['refused'] / counts['all']:.3%}" if counts["all"] else "-"
                cells += [f"{counts['all']:,}", share]
            shown.add_row(f"{part}: {kind}", *cells)
    Console().print(shown)


if __name__ == "__main__":
    show(tyro.cli(Corruptions).run())

"""How often damaged sentences are understood, and how often wrongly.

    python -m experiments.words.mutations --inputs 1000000

Template sentences of random acts of the film world are damaged as people and models damage them,
and read again. `python -m experiments.words.page` puts the figures into docs/words.md.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from crs_gym.dialogue import (
    VARIANTS,
    NotUnderstood,
    format_turn,
    parse_response,
    parse_turn,
    say,
    say_response,
    understand,
    understand_response,
)
from crs_gym.world import World, load_world

RESULTS = Path(__file__).parent / "results"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_YEAR = re.compile(r" \(\d{4}\)")


class Said(NamedTuple):
    """A sentence for an act: a response if `act` is there, what the recommender says otherwise."""

    text: str
    meant: ReadableRecommenderAct | ReadableUserAct
    act: ReadableRecommenderAct | None


def a_sentence(rng: random.Random, world: World) -> Said:
    """Any variant for any act, slates of one to four films."""
    variant = rng.randrange(VARIANTS)
    slate = tuple(rng.sample(range(world.n_items), rng.randint(1, 4)))
    item, direction = rng.choice(slate), rng.choice((1, -1))
    attribute = rng.randrange(world.n_attributes)
    offer, query = Recommendation(slate), ItemQuery(slate)
    asked = AttributeQuery(item, attribute, rng.choice((1, -1)))
    responses: list[tuple[ReadableUserAct, ReadableRecommenderAct]] = [
        (Accept(item), offer),
        (Reject(), offer),
        (Critique(item, attribute, direction), offer),
        (Choice(item), query),
        (Answer(attribute, direction), asked),
        (Leave(), rng.choice((offer, query, asked))),
    ]
    if rng.random() < 0.4:
        act = rng.choice((offer, query, asked, Recommendation(())))
        return Said(say(act, world, variant), act, None)
    response, act = rng.choice(responses)
    return Said(say_response(response, act, world, variant), response, act)


def a_typo(rng: random.Random, text: str) -> str:
    """One letter too many, too few, wrong, or two swapped, anywhere."""
    if len(text) < 2:
        return text
    n = rng.randrange(len(text) - 1)
    before, a, b, after = text[:n], text[n], text[n + 1], text[n + 2 :]
    return (
        before
        + rng.choice((b + a, b, a + rng.choice(LETTERS) + b, rng.choice(LETTERS) + b))
        + after
    )


def a_title_typo(rng: random.Random, text: str) -> str:
    """A typo in the words before a year; none where no year is."""
    ends = [match.start() for match in _YEAR.finditer(text)]
    if not ends:
        return text
    end = rng.choice(ends)
    start = max(0, end - rng.randint(3, 14))
    return text[:start] + a_typo(rng, text[start:end]) + text[end:]


def politely(rng: random.Random, text: str) -> str:
    """With a greeting, a please or thanks around it."""
    before = rng.choice(("Hi, ", "Hello! ", "Well, ", "Um, ", "Please: ", "Oh, ", ""))
    return before + text + rng.choice((" Thanks!", " Thank you.", " Please.", " :)", ""))


def without_years(rng: random.Random, text: str) -> str:
    """As people name films."""
    return _YEAR.sub("", text)


def a_word_less(rng: random.Random, text: str) -> str:
    """Any word may go, "not" as well, so that another act may be right."""
    words = text.split(" ")
    del words[rng.randrange(len(words))]
    return " ".join(words)


def noise(rng: random.Random, text: str) -> str:
    """Random characters put in, some of them of the grammar."""
    pieces = (
        "<action>",
        "</movie_title>",
        "(1999)",
        "\x00",
        "é",
        "#1",
        "&amp;",
        '"',
        "or ",
        "not ",
    )
    for _ in range(rng.randint(1, 6)):
        n = rng.randrange(len(text) + 1)
        text = text[:n] + rng.choice((chr(rng.randrange(1, 0xD7FF)), *pieces)) + text[n:]
    return text


Mutation = Callable[[random.Random, str], str]

KEEPING: Mapping[str, Mutation] = {
    "a typo in a title": a_title_typo,
    "a typo anywhere": a_typo,
    "no years": without_years,
    "no years, and a typo": lambda rng, text: a_typo(rng, without_years(rng, text)),
    "small letters": lambda rng, text: text.lower(),
    "small letters, no years": lambda rng, text: without_years(rng, text).lower(),
    "capitals": lambda rng, text: text.upper(),
    "politeness": politely,
    "no punctuation at the end": lambda rng, text: text.rstrip(".!?"),
    "no apostrophes": lambda rng, text: text.replace("'", ""),
}
"""Damage that leaves the meaning: the act is to come back, or none."""

BREAKING: Mapping[str, Mutation] = {
    "a word less": a_word_less,
    "cut off": lambda rng, text: text[: rng.randrange(len(text))],
    "noise": noise,
    "upside down": lambda rng, text: " ".join(reversed(text.split(" "))),
    "noise alone": lambda rng, text: noise(rng, "".join(rng.sample(text, len(text)))),
}
"""Damage that may leave none or another: it is only to be survived."""


class Outcome(NamedTuple):
    """What came of one input: "right", "wrong" or "none", and the processor time in seconds."""

    text: str
    got: Any
    verdict: str
    seconds: float


def heard(said: Said, text: str, world: World) -> Outcome:
    """Reads a damaged sentence in its place."""
    start = time.process_time()
    got: Any = (
        understand(text, world) if said.act is None else understand_response(text, said.act, world)
    )
    seconds = time.process_time() - start
    return Outcome(text, got, _verdict(got, said.meant), seconds)


def structured(said: Said, text: str, world: World) -> Outcome:
    """Reads a damaged structured turn in its place."""
    start = time.process_time()
    turn = parse_turn(text, world) if said.act is None else parse_response(text, said.act, world)
    seconds = time.process_time() - start
    got = turn if isinstance(turn, NotUnderstood) else turn.act
    return Outcome(text, got, _verdict(got, said.meant), seconds)


def _verdict(got: Any, meant: Any) -> str:
    return "none" if isinstance(got, NotUnderstood) else "right" if got == meant else "wrong"


@dataclass(frozen=True)
class Measure:
    """Reads damaged sentences and writes how it went."""

    inputs: int = 1_000_000
    """How many, all kinds together."""
    seed: int = 0
    """Of acts and damage."""
    show: int = 0
    """Wrong acts to print of each kind."""
    out: Path | None = RESULTS / "mutations.json"
    """File to write; None writes nothing."""

    def run(self) -> dict[str, Any]:
        """Every kind of damage in turn; figures by kind, throughput, slowest input."""
        world, rng = load_world(), random.Random(self.seed)
        kinds = [*KEEPING, *BREAKING, "structured: a typo", "structured: noise"]
        counts = {kind: Counter[str]() for kind in kinds}
        seconds, slowest = 0.0, 0.0
        for n in range(self.inputs):
            kind, said = kinds[n % len(kinds)], a_sentence(rng, world)
            if kind.startswith("structured"):
                damage = a_typo if kind.endswith("typo") else noise
                text = damage(rng, format_turn(said.meant, said.text, world))
                outcome = structured(said, text, world)
            else:
                mutate = KEEPING.get(kind) or BREAKING[kind]
                outcome = heard(said, mutate(rng, said.text), world)
            counts[kind][outcome.verdict] += 1
            seconds += outcome.seconds
            slowest = max(slowest, outcome.seconds)
            if outcome.verdict == "wrong" and counts[kind]["wrong"] <= self.show:
                print(f"{kind}: {outcome.text!r}\n    {outcome.got}, not {said.meant}")
        figures = {
            "inputs": self.inputs,
            "seed": self.seed,
            "world": world.hash,
            "per_second": round(self.inputs / seconds),
            "slowest_ms": round(1000 * slowest, 1),
            "kinds": {kind: dict(sorted(count.items())) for kind, count in counts.items()},
        }
        if self.out:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.write_text(json.dumps(figures, indent=1) + "\n")
        return figures


if __name__ == "__main__":
    print(json.dumps(tyro.cli(Measure).run(), indent=1))

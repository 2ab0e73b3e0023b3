"""Qualities of the words themselves: variety, and whether the films they name exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from crs_gym.dialogue.lexicon import lexicon
from crs_gym.dialogue.mentions import Mention, find_films
from crs_gym.dialogue.text import normalise, tokenise
from crs_gym.evaluation.judging.figures import Figure
from crs_gym.generation.records import Speaker
from crs_gym.world import World
from crs_gym.world.titles import title_key

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_YEAR = re.compile(r"[\s,(\[]*\b((?:18[89]|19\d|20\d)\d)[)\]]?$")

Lines = Sequence[tuple[Speaker, str]]


def distinct(texts: Iterable[str], n: int) -> float | None:
    """Dist-n: the share of different n-grams among all n-grams of the texts (Interplay, 4.3).

    N-grams are of words without case or punctuation, and do not cross from text to text. The share
    falls as a set grows: compare sets of one size. None where no text has n words.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n-grams have at least one word, not {n}")
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        words = [word.casefold() for word in _WORD.findall(text)]
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        seen.update(grams)
        total += len(grams)
    return len(seen) / total if total else None


def variety(conversations: Sequence[Lines], longest: int = 4) -> dict[str, list[float | None]]:
    """Dist-1 to Dist-`longest` over all conversations, by speaker."""
    return {
        who.lower(): [
            distinct((text for lines in conversations for w, text in lines if w == who), n)
            for n in range(1, longest + 1)
        ]
        for who in ("Recommender", "User")
    }


def factuality(
    conversations: Sequence[Lines],
    users: Sequence[int],
    world: World,
    progress: bool = False,
) -> list[Figure]:
    """Are films named that exist, with the year they are from?

    Only what can be told for sure is counted: names that a year follows ("Heat (1995)"). Titles may
    be misspelt as little as the parser of free text allows. What is said *about* films (plots,
    actors, genres) is not looked at: the catalogue does not know, and its attributes are a matter
    of degree.

    Returns:
        of all films named with a year, the shares that are in the catalogue with that year, in the
        catalogue with another year, and not in the catalogue.
    """
    found: list[tuple[bool, bool, bool]] = []
    owners: list[int] = []
    bar = tqdm(conversations, desc="films named", unit="dialogue", disable=not progress)
    for lines, user in zip(bar, users, strict=True):
        for _, text in lines:
            verdicts = list(_verdicts(text, world))
            found += verdicts
            owners += [user] * len(verdicts)
    names = "films named right", "films named with a wrong year", "films not in the catalogue"
    return [
        Figure.of(name, [verdict[n] for verdict in found], owners) for n, name in enumerate(names)
    ]


def _verdicts(text: str, world: World) -> Iterable[tuple[bool, bool, bool]]:
    names, spelt = lexicon(world), normalise(text)
    for mention in find_films(spelt, tokenise(spelt), names).named:
        if not (dated := _YEAR.search(mention.name)):
            continue
        year = int(dated[1])
        right = any(names.years[item] == year for item in mention.items)
        known = not right and (bool(mention.items) or _is_title(mention, dated.start(), world))
        yield right, known, not right and not known


def _is_title(mention: Mention, end: int, world: World) -> bool:
    # a sentence's own words may have been taken for the beginning of a name
    words = mention.name[:end].split()
    names = lexicon(world).titles
    return any(title_key(" ".join(words[n:]), 0)[0] in names for n in range(len(words)))

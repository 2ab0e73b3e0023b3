"""Which films a rewritten turn names."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from crs_gym.dialogue.cues import FILM, ORDINARY
from crs_gym.dialogue.lexicon import Lexicon
from crs_gym.dialogue.reading import Reading
from crs_gym.dialogue.text import normalise, tokenise
from crs_gym.generation.checks.reasons import Reason, Rejection
from crs_gym.world import World

_QUOTED = re.compile(r"\"([^\"]{1,120})\"")
_ELEMENT = re.compile(r"[,;:()]|\s[-–—]\s|\b(?:or|and)\b", re.IGNORECASE)


def strangers(
    text: str, reading: Reading, allowed: Collection[int], names: Lexicon, world: World
) -> Rejection | None:
    """Films that the text names and may not: others of the catalogue, or unknown ones."""
    for mention in reading.films:
        if not mention.items:
            return Rejection(Reason.UNKNOWN_FILM, f"the catalogue has no film {mention.name!r}")
        if not set(mention.items) & set(allowed):
            other = names.films[mention.items[0]]
            return Rejection(Reason.OTHER_FILM, f"{other} is none of the films spoken of")
    plain = normalise(text)
    for item in allowed:
        title = rf"(?<!\w){re.escape(normalise(world.label(item)))}(?!\w)"
        plain = re.sub(title, "film", plain, flags=re.IGNORECASE)
    for quoted in _QUOTED.finditer(plain):
        inside = quoted[1].strip()
        if inside[:1].isupper() and not _known(inside, allowed, names):
            return Rejection(Reason.UNKNOWN_FILM, f"{inside!r} stands in quotes as a film does")
    elements = [part.strip(" .!?\"'*") for part in _ELEMENT.split(plain)]
    for place, element in enumerate(elements):
        beside = elements[max(0, place - 1) : place] + elements[place + 1 : place + 2]
        if "film" in beside and _is_name(element) and not _known(element, allowed, names):
            return Rejection(Reason.UNKNOWN_FILM, f"{element!r} stands in a list as a film does")
    return None


def unnamed(text: str, items: Sequence[int], world: World) -> Rejection | None:
    """Films of an act that the text does not name by the whole title and the year in brackets."""
    tokens = tokenise(normalise(text))
    said = [token.key for token in tokens]
    for item in items:
        title = [token.key for token in tokenise(normalise(world.titles[item]))]
        ends = [n + len(title) for n in range(len(said)) if title == said[n : n + len(title)]]
        if not ends:
            return Rejection(Reason.MISSING_FILM, f"{world.label(item)} is not named")
        year = str(int(world.years[item]))
        dated = (n < len(tokens) and said[n] == year and "(" in tokens[n].gap for n in ends)
        if world.years[item] and not any(dated):
            return Rejection(Reason.MISSING_YEAR, f"the year of {world.label(item)} is not named")
    return None


def places(reading: Reading, item: int | None = None) -> list[int]:
    """Places in the row of the films named; of `item` alone where it is given."""
    found = (n for n, token in enumerate(reading.row) if token.key == FILM)
    pairs = zip(found, reading.films, strict=True)
    return [n for n, mention in pairs if item is None or item in mention.items]


def _known(name: str, allowed: Collection[int], names: Lexicon) -> bool:
    key = "".join(token.key for token in tokenise(normalise(name)))
    return any(known in key for item in allowed for known in names.keys[item])


def _is_name(words: str) -> bool:
    """Whether words are capitalised throughout, and not mere everyday words."""
    tokens = tokenise(words)
    return bool(tokens) and (
        all(words[token.start].isupper() for token in tokens)
        and any(token.key not in ORDINARY for token in tokens)
    )

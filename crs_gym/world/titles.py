"""Titles of films, as data sets write them and as people say them."""

from __future__ import annotations

import re
import unicodedata

_ARTICLES = frozenset(
    "The A An Le La Les L' Un Une El Los Las Lo Una Uno Il I Gli Der Die Das Ein Eine Det Den De "
    "En Ett Et O Os As Um Uma".split()
)
_YEAR = re.compile(r"\s*\((\d{4})(?:[-–]\d{0,4})?\)(?:\s*\((?:V|TV|VG)\))?$")
_PART_OF_TITLE = re.compile(r"(?:[:&,–-]|\bor)$", re.IGNORECASE)
_PART_NUMBER = re.compile(r"\((?:part|vol|volume|chapter|episode)\b", re.IGNORECASE)


def split_title(raw: str) -> tuple[str, int]:
    """Splits a title as MovieLens writes it into the title as people say it, and the year.

    The year in brackets is taken off the end, then other titles in brackets (original titles,
    "a.k.a."), and an article at the end is moved to the front:
    `"Postman, The (Postino, Il) (1994)"` gives `("The Postman", 1994)`. Brackets that belong to the
    title stay: `"(500) Days of Summer (2009)"`. Year 0 means that there is none; the first year is
    taken of several. What would leave no title at all is left as it is.
    """
    title = unicodedata.normalize("NFC", " ".join(raw.split()))
    year = 0
    if (match := _YEAR.search(title)) and match.start() > 0:
        title, year = title[: match.start()], int(match[1])
    while title.endswith(")"):
        start = _opening_bracket(title)
        rest = title[:start].rstrip()
        if not rest or _PART_OF_TITLE.search(rest) or _PART_NUMBER.match(title[start:]):
            break
        title = rest
    rest, comma, article = title.rpartition(", ")
    if comma and rest and article in _ARTICLES:
        title = f"{article}{rest}" if article.endswith("'") else f"{article} {rest}"
    return title, year


def title_key(title: str, year: int) -> tuple[str, int]:
    """What two spellings of one title have in common: letters and digits without case or accent."""
    plain = unicodedata.normalize("NFKD", title.casefold().replace("&", "and"))
    return re.sub(r"[\W_]+", "", plain), year


def _opening_bracket(title: str) -> int:
    """Where the bracket opens that the last character closes; 0 where it does not."""
    depth = 0
    for place in range(len(title) - 1, -1, -1):
        depth += (title[place] == ")") - (title[place] == "(")
        if depth == 0:
            return place
    return 0

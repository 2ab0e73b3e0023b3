"""What can be named in a world: films by their titles, attributes by their wordings."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from crs_gym.dialogue.text import keys, normalise, tokenise
from crs_gym.world import World
from crs_gym.world.titles import title_key

_ENDING = re.compile(r"[^\w\s]*$")
_ARTICLES = ("the ", "a ", "an ")
_NUMERALS = frozenset("i ii iii iv v vi vii viii ix x xi xii".split())


class Wish(NamedTuple):
    """More (+1) or less (-1) of an attribute."""

    attribute: int
    direction: int


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The names of a world, arranged for looking up.

    Attributes:
        films: N names that are all different, "Title (Year)"; " #1", " #2" come after where
            several films have the same title and year.
        attributes: G names that are all different.
        film, attribute: back from name to index.
        titles: key of a whole title to the items that have it.
        aliases: key of a part of a title (without its article, the main part, the subtitle) to the
            items that it may mean.
        keys: N tuples of the keys of each item, its whole title first.
        ordered: the keys of `titles` and `aliases`, sorted.
        numerals: key to the numbers in it, Arabic or Roman, which no spelling mistake may change.
        endings: N strings, the punctuation at the end of each title.
        years: (N,) 0 where unknown.
        wishes: wording, as a tuple of token keys, to what it wishes for; several where a world
            words two wishes alike.
        longest_wish: tokens of the longest wording.
    """

    films: tuple[str, ...]
    attributes: tuple[str, ...]
    film: Mapping[str, int]
    attribute: Mapping[str, int]
    titles: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, tuple[int, ...]]
    keys: tuple[tuple[str, ...], ...]
    ordered: tuple[str, ...]
    numerals: Mapping[str, tuple[str, ...]]
    endings: tuple[str, ...]
    years: tuple[int, ...]
    wishes: Mapping[tuple[str, ...], frozenset[Wish]]
    longest_wish: int

    def begins_a_title(self, key: str) -> bool:
        """Whether some title or alias begins with `key`."""
        place = bisect_left(self.ordered, key)
        return place < len(self.ordered) and self.ordered[place].startswith(key)

    def items(self, key: str) -> tuple[int, ...]:
        """The films of a key: whole titles before aliases."""
        return (*self.titles.get(key, ()), *self.aliases.get(key, ()))


@lru_cache(maxsize=8)
def lexicon(world: World) -> Lexicon:
    """The lexicon of a world, made once."""
    films = unique_names([world.label(i) for i in range(world.n_items)])
    attributes = unique_names([words.name for words in world.attributes])
    titles: defaultdict[str, list[int]] = defaultdict(list)
    aliases: defaultdict[str, list[int]] = defaultdict(list)
    item_keys = []
    numerals: dict[str, tuple[str, ...]] = {}
    for item, title in enumerate(world.titles):
        key = title_key(title, 0)[0]
        shorter = {title_key(alias, 0)[0]: alias for alias in sorted(_aliases(title))}
        spelt = {k: words for k, words in {key: title, **shorter}.items() if k}
        for short, words in spelt.items():
            (titles if short == key else aliases)[short].append(item)
            numerals[short] = numbers(token.key for token in tokenise(normalise(words)))
        item_keys.append(tuple(spelt))
    wishes: defaultdict[tuple[str, ...], set[Wish]] = defaultdict(set)
    for attribute, (name, more, less, more_long, less_long) in enumerate(world.attributes):
        for direction, phrases in (
            (+1, (more, more_long, f"more {name}", f"not {name} enough")),
            (-1, (less, less_long, f"less {name}", f"too {name}")),
        ):
            for phrase in phrases:
                for wording in _wordings(keys(phrase)):
                    wishes[wording].add(Wish(attribute, direction))
    return Lexicon(
        films=films,
        attributes=attributes,
        film={name: item for item, name in enumerate(films)},
        attribute={name: attribute for attribute, name in enumerate(attributes)},
        titles={key: tuple(items) for key, items in titles.items()},
        aliases={key: tuple(items) for key, items in aliases.items()},
        keys=tuple(item_keys),
        ordered=tuple(sorted({*titles, *aliases})),
        numerals=numerals,
        endings=tuple("".join(_ENDING.findall(title)) for title in world.titles),
        years=tuple(int(year) for year in world.years),
        wishes={wording: frozenset(meant) for wording, meant in wishes.items()},
        longest_wish=max(map(len, wishes), default=0),
    )


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with " #1", " #2", ... after those that occur more than once.

    A suffix that would make a name that is already there is passed over.
    """
    counts = Counter(names)
    taken = set(names)
    last: Counter[str] = Counter()
    unique = []
    for name in names:
        if counts[name] > 1:
            last[name] += 1
            while f"{name} #{last[name]}" in taken:
                last[name] += 1
            name = f"{name} #{last[name]}"
            taken.add(name)
        unique.append(name)
    return tuple(unique)


def numbers(tokens: Iterable[str]) -> tuple[str, ...]:
    """The tokens that are Arabic or Roman numbers, in order."""
    return tuple(token for token in tokens if token.isdigit() or token in _NUMERALS)


def _aliases(title: str) -> set[str]:
    main, _, sub = title.partition(": ")
    whole = {title, main, *([sub] if sub.count(" ") > 1 else [])}
    return whole | {
        name[len(article) :]
        for name in whole
        for article in _ARTICLES
        if name.lower().startswith(article)
    }


def _wordings(phrase: tuple[str, ...]) -> set[tuple[str, ...]]:
    """A wording and what is left of it without "a film": "with more laughs", "more laughs"."""
    found = {phrase}
    if phrase[:2] == ("a", "film"):
        found.add(phrase[2:])
        if phrase[2:3] == ("with",) and phrase[3:4] in (("more",), ("less",), ("fewer",)):
            found.add(phrase[3:])
    elif phrase[:1] == ("a",) and phrase[-1:] == ("film",):
        found.add(phrase[1:-1])
    return {wording for wording in found if wording}

"""Films in free text: whole titles first, then titles with spelling mistakes."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

from crs_gym.dialogue.cues import ORDINARY, PLACES, SOMETHING
from crs_gym.dialogue.lexicon import Lexicon, numbers
from crs_gym.dialogue.text import Token

LOOKUPS = 48
"""Most passages of one text that are compared with the whole catalogue: bounds the time."""

_YEAR = re.compile(r"(?:18[89]|19\d|20\d)\d")
_BEFORE_YEAR = re.compile(r"[^(\[]{0,9}[(\[]\s*|[\s,\"'*_]{0,9}")
_QUOTED = re.compile(r"\"[^\"]{1,120}\"|\*[^*]{1,120}\*|<movie_title>[^<]{1,120}<")
_ONE_NAME = re.compile(r"[ :'&-]*")
_SMALL = frozenset("of the and a an in to with from on for at de la le el by as is".split())
_FIRST_PERSON = frozenset("i im id ill ive".split())
_SEQUEL = frozenset("ii iii iv vi vii viii ix part episode chapter vol volume".split())
_LONGEST_TITLE = 14  # tokens


class Mention(NamedTuple):
    """A passage that names a film.

    first, last: its tokens, `tokens[first:last]`, the year included.
    items: films that it may mean; none if the catalogue has no such film.
    name: the passage as it was written.
    """

    first: int
    last: int
    items: tuple[int, ...]
    name: str


class Mentions(NamedTuple):
    """The films of a text, in order.

    named: passages that name a film, or seem to.
    doubtful: passages that may as well be ordinary words ("her", "the others").
    listed: a passage that stands in a list with films and may be one; "" if there is none.
    """

    named: tuple[Mention, ...]
    doubtful: tuple[Mention, ...]
    listed: str


class _Found(NamedTuple):
    """A candidate; of overlapping ones the lowest rank stays."""

    mention: Mention
    rank: tuple[int, int]
    certain: bool


class Close(NamedTuple):
    """Films whose titles are as close to a passage as any, and how many slips away."""

    items: tuple[int, ...]
    slips: int


def find_films(
    text: str, tokens: Sequence[Token], names: Lexicon, table: Sequence[int] = ()
) -> Mentions:
    """The films that a normalised text names.

    A year after a title decides between films of that title; without one, the films on the table
    do. Exact titles come before misspelt ones, longer passages before shorter ones.

    Args:
        text, tokens: as `normalise` and `tokenise` give them.
        names: the world's names.
        table: the films of the act that the text replies to.
    """
    search = _Search(text, tokens, names, table)
    found = search.exact()
    search.settle(found)
    found += [*search.dated(), *search.set_apart(), *search.on_the_table(), *search.by_place()]
    taken: set[int] = set()
    kept: list[_Found] = []
    for candidate in sorted(found, key=lambda one: one.rank):
        places = range(candidate.mention.first, candidate.mention.last)
        if taken.isdisjoint(places):
            taken.update(places)
            kept.append(candidate)
    kept.sort(key=lambda one: one.mention.first)
    named = tuple(search.whole(one.mention, taken) for one in kept if one.certain)
    doubtful = tuple(one.mention for one in kept if not one.certain)
    return Mentions(named, doubtful, search.listed(named, doubtful))


def closest(passage: Sequence[str], names: Lexicon, year: int = 0) -> Close:
    """The films whose titles differ least from a passage, by so little that it is a slip.

    One slip (a letter too many, too few, wrong, or two swapped) is allowed from 4 letters on, two
    from 8, three from 14; numbers have to be right. No films where nothing is as close.

    Args:
        passage: keys of its tokens.
        names: the world's names.
        year: of the film, 0 where it is not known.
    """
    key = "".join(passage)
    numerals = numbers(passage)
    best: list[tuple[int, ...]] = []
    least = 4
    for title, distance, _ in process.extract(
        key, names.ordered, scorer=OSA.distance, score_cutoff=3, limit=12
    ):
        if distance > min(_slips(title), least) or names.numerals[title] != numerals:
            continue
        items = names.items(title)
        if year:
            items = tuple(i for i in items if names.years[i] in (year, 0))
        if items:
            best, least = ([*best, items] if distance == least else [items]), int(distance)
    return Close(tuple(dict.fromkeys(item for items in best for item in items)), least)


def decide(key: str, names: Lexicon, year: int = 0, table: Sequence[int] = ()) -> tuple[int, ...]:
    """The films that a key of `names` means: by the year, by what is on the table, by whole title.

    A year that is one off is forgiven where it leaves one film.
    """
    pools = [names.titles.get(key, ()), names.aliases.get(key, ())]
    if year:
        same = [tuple(i for i in pool if names.years[i] == year) for pool in pools]
        near = tuple(i for i in pools[0] if abs(names.years[i] - year) == 1)
        undated = tuple(i for i in pools[0] if not names.years[i])
        pools = [*same, near if len(near) == 1 else (), undated]
    seen = [tuple(i for i in pool if i in table) for pool in pools]
    return next((pool for pool in [*seen, *pools] if pool), ())


class _Search:
    """One text being searched."""

    def __init__(
        self, text: str, tokens: Sequence[Token], names: Lexicon, table: Sequence[int]
    ) -> None:
        self.text, self.tokens, self.names, self.table = text, tokens, names, table
        self.lookups = LOOKUPS
        self.settled: set[int] = set()
        capitals = (t.capital and not t.first and t.key not in _FIRST_PERSON for t in tokens)
        self.caseless = not any(capitals)
        starts = [t.start for t in tokens]
        spans = (match.span() for match in _QUOTED.finditer(text))
        places = ((bisect_left(starts, a), bisect_left(starts, b)) for a, b in spans)
        self.quoted = {(first, last) for first, last in places if first < last}
        self.runs = self._runs()
        self.dates = {place for place in range(1, len(tokens)) if self._is_date(place)}

    def exact(self) -> list[_Found]:
        """Titles and aliases spelt right."""
        found = []
        for first in range(len(self.tokens)):
            key, last = self._longest_key(first)
            if not key:
                continue
            year = self._year(last)
            items = decide(key, self.names, year, self.table)
            if year and not items and "," in self.tokens[last].gap:  # the next title of a list
                year, items = 0, decide(key, self.names, 0, self.table)
            mention = self._mention(first, last + (year > 0), items)
            marked = year > 0 or (first, last) in self.quoted
            certain = marked or self._looks_like_a_name(first, last, items)
            found.append(_Found(mention, (0 if year else 2, -len(key)), certain))
        return found

    def settle(self, exact: Sequence[_Found]) -> None:
        """Titles that are right to the year need no search for slips."""
        self.settled = {
            place
            for mention, rank, _ in exact
            if rank[0] == 0 and mention.items
            for place in range(mention.first, mention.last)
        }

    def dated(self) -> list[_Found]:
        """Misspelt titles with the year in brackets; nothing else ends so, so it is certain."""
        found = []
        for place in sorted(self.dates - self.settled):
            if not re.search(r"[(\[]", self.tokens[place].gap):
                continue
            year = int(self.tokens[place].key)
            start = max((n + 1 for n in self.settled if n < place), default=0)
            close = (
                self._close(first, place, place + 1, (1, 0), year=year)
                for first in range(max(start, place - _LONGEST_TITLE), place)
            )
            unknown = _Found(self._unknown(place), (1, 1), True)
            found.append(next((one for one in close if one), unknown))
        return found

    def set_apart(self) -> list[_Found]:
        """Misspelt titles in quotes or with capitals."""
        found = []
        for first, last in sorted({*self.quoted, *self.runs}):
            if not self.settled.isdisjoint(range(first, last)):
                continue
            short = last - first == 1 and len(self.tokens[first].key) < 6
            if short and (first, last) not in self.quoted:
                continue
            if close := self._close(first, last, last):
                found.append(close._replace(certain=True))
        return found

    def on_the_table(self) -> list[_Found]:
        """Misspelt titles of the films of the act that the text replies to."""
        found = []
        for item in self.table:
            for key in (k for k in self.names.keys[item] if len(k) >= 6):
                slips = _slips(key)
                for first, last in self._windows(key, slips):
                    joined = "".join(t.key for t in self.tokens[first:last])
                    if not 0 < OSA.distance(joined, key, score_cutoff=slips) <= slips:
                        continue
                    if close := self._close(first, last, last):
                        found.append(close)
        return found

    def by_place(self) -> list[_Found]:
        """Films of the table that are counted off: "the second one"."""
        found = []
        for first in range(len(self.tokens) - 1):
            place = PLACES.get((self.tokens[first].key, self.tokens[first + 1].key))
            if place is None or not -len(self.table) <= place < len(self.table) > 1:
                continue
            last = first + 2
            if last < len(self.tokens) and self.tokens[last].key in ("one", "film", "movie"):
                last += 1
            if (
                last == len(self.tokens)
                or self.tokens[last].opens
                or (self.tokens[last].key in ORDINARY - SOMETHING)
            ):
                mention = self._mention(first, last, (self.table[place],))
                found.append(_Found(mention, (3, 0), True))
        return found

    def whole(self, mention: Mention, taken: set[int]) -> Mention:
        """The mention, or an unknown film where it is but a part of a longer name."""
        for first, last in self.runs:
            if first < mention.last and mention.first < last:
                rest = [n for n in range(first, last) if n not in taken and self._is_name(n)]
                if any(self.tokens[n].key not in ORDINARY for n in rest):
                    return self._mention(min(first, mention.first), max(last, mention.last), ())
        spelt = "".join(token.key for token in self.tokens[mention.first : mention.last])
        before = self._at(mention.first - 1)
        if (
            mention.last - 1 not in self.dates
            and spelt not in self.names.titles
            and before
            and before not in ORDINARY
            and not self.tokens[mention.first].gap.strip()
        ):
            return self._mention(mention.first - 1, mention.last, ())
        after = self.tokens[mention.last] if mention.last < len(self.tokens) else None
        sequel = after and (after.key in _SEQUEL or after.key.isdigit()) and not after.gap.strip()
        subtitle = after and after.gap.startswith(":") and mention.last - 1 not in self.dates
        if sequel or subtitle:
            return self._mention(mention.first, mention.last + 1, ())
        return mention

    def listed(self, named: Sequence[Mention], doubtful: Sequence[Mention]) -> str:
        """A word beside a film, with only a comma or "or" between, that may be a film as well.

        Where every film has its year, only a word that looks like a name may be one.
        """
        films = {place for mention in named for place in range(mention.first, mention.last)}
        doubts = {place: m.name for m in doubtful for place in range(m.first, m.last)}
        dated = all(mention.last - 1 in self.dates for mention in named)
        for mention in named:
            if mention.first - 1 in films and _ONE_NAME.fullmatch(self.tokens[mention.first].gap):
                return mention.name
            for step, place in ((-1, mention.first - 1), (1, mention.last)):
                near = False
                while self._at(place) in ("or", "and"):
                    near, place = True, place + step
                if not self._at(place) or place in films:
                    continue
                beside = self.tokens[max(place, place - step)]
                near |= "," in beside.gap
                near |= step > 0 and not dated and not beside.opens
                if not near:
                    continue
                if place in doubts or self._is_name(place):
                    return doubts.get(place, self._word(place))
                alone = self._at(place - step) == "or" and "," not in self.tokens[place - step].gap
                if alone or (not dated and self._at(place) not in ORDINARY):
                    return self._word(place)
        return ""

    def _at(self, place: int) -> str:
        return self.tokens[place].key if 0 <= place < len(self.tokens) else ""

    def _word(self, place: int) -> str:
        return self.text[self.tokens[place].start : self.tokens[place].end]

    def _longest_key(self, first: int) -> tuple[str, int]:
        key, found, last = "", "", first
        for place in range(first, len(self.tokens)):
            key += self.tokens[place].key
            if not self.names.begins_a_title(key):
                break
            if key in self.names.titles or key in self.names.aliases:
                found, last = key, place + 1
        return found, last

    def _year(self, place: int) -> int:
        return int(self.tokens[place].key) if place in self.dates else 0

    def _is_date(self, place: int) -> bool:
        token = self.tokens[place]
        return bool(_YEAR.fullmatch(token.key) and _BEFORE_YEAR.fullmatch(token.gap))

    def _looks_like_a_name(self, first: int, last: int, items: Sequence[int]) -> bool:
        passage = self.tokens[first:last]
        if all(token.key == "no" for token in passage):
            return False
        if len(self.tokens) == len(passage):
            return True
        ordinary = all(t.key in ORDINARY or t.key.isdigit() for t in passage)
        here = any(item in self.table for item in items)
        if self.caseless:
            return not ordinary and (len(passage) > 1 or (here and len(passage[0].key) > 3))
        if any(t.capital and not t.first for t in passage):
            return len(passage) > 1 or not ordinary or self._stands_alone(last)
        return not ordinary and here and (passage[0].capital or len(passage) > 1)

    def _stands_alone(self, last: int) -> bool:
        """Whether no sentence goes on after a passage: "Her or", not "Her is"."""
        after = self._at(last)
        return after in ("", "or", "and", "please") or self.tokens[last].opens

    def _is_name(self, place: int) -> bool:
        token = self.tokens[place]
        return token.capital and not (token.first or self.caseless or token.key in _FIRST_PERSON)

    def _runs(self) -> list[tuple[int, int]]:
        """Passages of words with capitals, small words between them allowed."""
        if self.caseless:
            return []
        runs, place = [], 0
        while place < len(self.tokens):
            token = self.tokens[place]
            if not token.capital or (token.first and token.key in ORDINARY):
                place += 1
                continue
            first = last = place
            place += 1
            while place < len(self.tokens) and place - first < _LONGEST_TITLE:
                token = self.tokens[place]
                if token.gap.strip(" '-:&") or not (token.capital or token.key in _SMALL):
                    break
                last = place if token.capital else last
                place += 1
            runs.append((first, last + 1))
            place = last + 1
        return runs

    def _windows(self, key: str, slips: int) -> list[tuple[int, int]]:
        """Passages of about the length of a key."""
        windows = []
        for first in range(len(self.tokens)):
            length = 0
            for place in range(first, min(first + _LONGEST_TITLE, len(self.tokens))):
                length += len(self.tokens[place].key)
                if length > len(key) + slips:
                    break
                if place in self.settled:
                    break
                if length >= len(key) - slips:
                    windows.append((first, place + 1))
        return windows

    def _close(
        self, first: int, end: int, last: int, rank: tuple[int, int] | None = None, year: int = 0
    ) -> _Found | None:
        """The film nearly called like the words up to `end`; the mention goes up to `last`."""
        passage = [t.key for t in self.tokens[first:end]]
        length = sum(map(len, passage))
        if self.lookups == 0 or not 4 <= length <= 120:
            return None
        self.lookups -= 1
        items, slips = closest(passage, self.names, year)
        if not items:
            return None
        items = tuple(i for i in items if i in self.table) or items
        certain = year > 0 or self._looks_like_a_name(first, end, items)
        return _Found(self._mention(first, last, items), rank or (2, 3 * slips - length), certain)

    def _mention(self, first: int, last: int, items: tuple[int, ...]) -> Mention:
        start, end = self.tokens[first].start, self.tokens[last - 1].end
        closed = self.text[end : end + 1] in (")", "]") and last - 1 in self.dates
        return Mention(first, last, items, self.text[start : end + closed])

    def _unknown(self, place: int) -> Mention:
        """The year at `place` with the words before it that seem to be the title."""
        first = place
        while first and place - first < _LONGEST_TITLE:
            token = self.tokens[first]
            if first != place and (token.first or token.gap.strip(" '-:&")):
                break
            if first - 1 in self.settled or self.tokens[first - 1].key in ORDINARY - _SMALL:
                break
            first -= 1
        return self._mention(min(first, place), place + 1, ())


def _slips(key: str) -> int:
    """Letters of a title that may be wrong."""
    return sum(len(key) >= length for length in (4, 8, 14))

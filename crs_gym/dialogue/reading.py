"""A text with its films and wishes found: what the parser decides from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from crs_gym.dialogue.cues import (
    AFTER_NO,
    AGAINST,
    ASIDE,
    COPULAS,
    FILLERS,
    FILM,
    HEDGES,
    LONGEST_PHRASE,
    NEGATORS,
    ORDINARY,
    PHRASES,
    PRONOUNS,
    SOMETHING,
    TO_USERS,
    WANTS,
    WISH,
    Cue,
)
from crs_gym.dialogue.lexicon import Lexicon, Wish
from crs_gym.dialogue.mentions import Mention, find_films
from crs_gym.dialogue.text import Token, contract, normalise, tokenise

_REFUSALS = frozenset({Cue.NO, Cue.REFUSE})


class Wording(NamedTuple):
    """A wording of an attribute: its place in the row, what it may mean, its words."""

    place: int
    meant: frozenset[Wish]
    words: tuple[str, ...]


class Heard(NamedTuple):
    """A phrase: its place in the row, the places it takes, what it does."""

    place: int
    size: int
    cue: Cue


@dataclass(frozen=True)
class Reading:
    """One text, read.

    Attributes:
        row: its words, with `FILM` and `WISH` in place of what was found.
        films, doubtful, listed: as in `Mentions`.
        wishes: wordings of attributes.
        cues: phrases that do something.
        question: it holds a question mark outside titles.
    """

    row: tuple[Token, ...]
    films: tuple[Mention, ...]
    doubtful: tuple[Mention, ...]
    listed: str
    wishes: tuple[Wording, ...]
    cues: tuple[Heard, ...]
    question: bool

    def hears(self, *wanted: Cue) -> bool:
        """Whether some phrase does one of these."""
        return any(cue in wanted for _, _, cue in self.cues)

    @property
    def denied(self) -> str:
        """A word that turns the sentence round and is part of no phrase; "" if there is none."""
        return self._left_over(NEGATORS)

    @property
    def hedged(self) -> str:
        """A word that takes a yes back; "" if there is none."""
        return self._left_over(HEDGES)

    @property
    def wanted(self) -> str:
        """A word of a wish whose attribute is not known; "" if there is none."""
        return self._left_over((WANTS | SOMETHING | {"compared", "next"}) - FILLERS)

    @property
    def aside(self) -> str:
        """A word that keeps a film named after it from being what is taken; "" if there is none."""
        phrased = self._phrased()
        for place in (n for n, token in enumerate(self.row) if token.key == FILM):
            for n in range(place - len(self._clause_before(place)), place):
                if self.row[n].key in ASIDE and n not in phrased:
                    return self.row[n].key
        return ""

    @property
    def bare(self) -> tuple[str, ...]:
        """The words without what a sentence keeps its meaning without."""
        return tuple(t.key for t in self.row if t.key not in FILLERS)

    def unwished(self) -> str:
        """Why the wording of an attribute may not be a wish; "" where it is one."""
        for place, _, words in self.wishes:
            before = [t.key for t in self._clause_before(place)]
            core = [key for key in before if key not in FILLERS]
            if (
                AGAINST & set(before)
                or before[-1:] == ["to"]
                or self._excepted(place - len(before))
            ):
                return "it is not clear whether that is wanted or not"
            if self._opposed(place, words):
                return "a wish and a no stand together"
            wanted = WANTS & set(core) or ("you", "have") in pairwise(before)
            judged = words[0] in ("too", "not") and (not core or COPULAS & set(core))
            stated = COPULAS & set(core) and "there" not in core
            if stated and not wanted and not judged:
                return "it is a statement rather than a wish"
            if core and not wanted and not judged and not SOMETHING & set(core) and core != ["but"]:
                return "it is not said whether that is wanted"
        return ""

    def unexplained(self) -> bool:
        """Whether words are left over that belong to no phrase and carry a meaning of their own."""
        phrased = self._phrased()
        return any(
            token.key not in FILLERS | PRONOUNS | {FILM} and n not in phrased
            for n, token in enumerate(self.row)
        )

    def compares_unknown(self) -> bool:
        """Whether there are words that may be a title which was not recognised."""
        names = any(t.capital and not t.first and t.key not in ORDINARY for t in self.row)
        return names or any(
            one.key == "than" and other.key not in PRONOUNS | {"any", "either", "both"}
            for one, other in pairwise(self.row)
        )

    def _phrased(self) -> set[int]:
        return {n for place, size, _ in self.cues for n in range(place, place + size)}

    def _left_over(self, words: frozenset[str]) -> str:
        phrased = self._phrased()
        return next(
            (t.key for n, t in enumerate(self.row) if t.key in words and n not in phrased), ""
        )

    def _clause_before(self, place: int) -> tuple[Token, ...]:
        first = place
        while first and not self.row[first].opens:
            first -= 1
        return self.row[first:place]

    def _excepted(self, start: int) -> bool:
        """Whether a clause goes on from "anything but"."""
        return (
            self.row[start].key == "but"
            and start > 0
            and self.row[start - 1].key in ("anything", "everything", "all", "nothing")
        )

    def _opposed(self, place: int, words: Sequence[str]) -> bool:
        """A no after the wish, a refusal in its clause, or "no" just before it."""
        start = place - len(self._clause_before(place))
        return any(
            cue in _REFUSALS
            and (
                at > place
                or (at >= start and cue is Cue.REFUSE)
                or (at + size == place and words[0] != "a")  # "No, more violence"
            )
            for at, size, cue in self.cues
        )


_AROUND = "()[]\"'*_<>"


def read(text: str, names: Lexicon, table: Sequence[int] | None = None) -> Reading:
    """Finds films, wishes and cues in a text.

    Args:
        text: anything.
        names: the world's names.
        table: the films of the act that it replies to; None where a recommender speaks.
    """
    text = normalise(text)
    tokens = tokenise(text)
    mentions = find_films(text, tokens, names, table or ())
    rest = text[tokens[-1].end :] if tokens else text
    words, rest = _with_films(tokens, mentions.named, rest, names)
    row, wishes = _with_wishes(contract(words), names)
    question = "?" in rest or any("?" in token.gap for token in row)
    return Reading(
        row,
        *mentions,
        wishes,
        _cues(row, deaf=TO_USERS if table is not None else frozenset()),
        question,
    )


def _with_films(
    tokens: Sequence[Token], films: Sequence[Mention], rest: str, names: Lexicon
) -> tuple[list[Token], str]:
    """The tokens with films in place of titles; punctuation of titles ends no clause."""
    words: list[Token] = []
    place, ending = 0, ""
    for mention in (*films, None):
        for token in tokens[place : mention.first if mention else len(tokens)]:
            words.append(token._replace(gap=_after(ending, token.gap)))
            ending = ""
        if mention:
            first, last = tokens[mention.first], tokens[mention.last - 1]
            gap = _after(ending, first.gap).rstrip(_AROUND)
            words.append(Token(FILM, first.start, last.end, gap, first=first.first))
            place = mention.last
            ending = names.endings[mention.items[0]] + ")" if mention.items else ")"
    return words, _after(ending, rest)


def _after(ending: str, gap: str) -> str:
    """A gap without what belongs to the title before it, if there is one."""
    return gap.removeprefix(ending[:-1]).lstrip(_AROUND) if ending else gap


def _with_wishes(
    row: Sequence[Token], names: Lexicon
) -> tuple[tuple[Token, ...], tuple[Wording, ...]]:
    words: list[Token] = []
    wishes = []
    place = 0
    while place < len(row):
        for size in range(min(names.longest_wish, len(row) - place), 0, -1):
            wording = tuple(t.key for t in row[place : place + size])
            meant = names.wishes.get(wording)
            if meant and not any(t.opens for t in row[place + 1 : place + size]):
                break
        else:
            words.append(row[place])
            place += 1
            continue
        wishes.append(Wording(len(words), meant, wording))
        words.append(row[place]._replace(key=WISH, end=row[place + size - 1].end))
        place += size
    return tuple(words), tuple(wishes)


def _cues(row: Sequence[Token], deaf: frozenset[Cue]) -> tuple[Heard, ...]:
    keys = [t.key for t in row]
    found = []
    place = 0
    while place < len(row):
        size, cue = _cue_at(row, keys, place)
        if cue and cue not in deaf:
            found.append(Heard(place, size, cue))
        place += size
    return tuple(found)


def _cue_at(row: Sequence[Token], keys: Sequence[str], place: int) -> tuple[int, Cue | None]:
    for size in range(min(LONGEST_PHRASE, len(keys) - place), 0, -1):
        cue = PHRASES.get(tuple(keys[place : place + size]))
        if cue and not any(token.opens for token in row[place + 1 : place + size]):
            return size, cue
    if keys[place] in ("no", "none", "neither") and row[place].opens:
        after = place + 1
        if after == len(row) or row[after].opens or keys[after] in AFTER_NO:
            return 1, Cue.NO if keys[place] == "no" else Cue.REFUSE
    return 1, None

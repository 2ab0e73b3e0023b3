"""Whose words a text speaks: a turn that answers itself is two turns in one."""

from __future__ import annotations

from collections.abc import Iterator

from crs_gym.dialogue.cues import FILM, WISH, Cue
from crs_gym.dialogue.reading import Reading

_FIRST_PERSON = frozenset("i id ill im ive me my lets".split())
_NEVER_A_USER = frozenset({Cue.ASK, Cue.PREFER, Cue.EMPTY})
_FAINT = frozenset(
    {("how", "about"), ("what", "about"), ("these", "are"), ("here", "is"), ("here", "are"),
     ("try", FILM), ("consider", FILM), ("check", "out"), ("have", "a", "look", "at"),
     ("take", "a", "look", "at")}
)  # fmt: skip
"""Offers that a user may make as well, of no film or with himself in it."""

_OTHERS_TOO = frozenset(
    {("something", "else"), ("not", "interested"), ("deal",), ("perfect",), ("great",)}
)
"""Refusals and agreements that may be part of what a recommender says."""

_WISHES = (
    ("id", "like"), ("id", "love"), ("id", "prefer"), ("id", "rather"), ("i", "want"),
    ("i", "need"), ("i", "prefer"), ("im", "looking"), ("im", "after"), ("for", "me"),
    ("appeal", "to", "me"), ("appeals", "to", "me"), ("i", "dont", "like"),
    ("i", "dont", "want"), ("im", "not", "in"), ("i", "like"),
    ("ill", "take"), ("ill", "pass"), ("ill", "go"), ("find", "me"), ("show", "me"),
    ("give", "me"), ("im", "not", "interested"), ("i", "liked"), ("id", "go"), ("id", "say"),
    ("id", "take"), ("id", "choose"), ("id", "pick"), (FILM, "please"), (WISH, "please"),
    (FILM, "it", "is"),
)  # fmt: skip
_OPENINGS = frozenset("yes yeah no none neither nope nah".split())
_LATER_OPENINGS = frozenset("definitely exactly absolutely sure".split())
_ADDRESSES = (
    ("would", "you", "want"), ("you", "told", "me"), ("you", "said"), ("your", "mood"),
    ("your", "taste"), ("are", "you", "looking"), ("are", "you", "in"),
)  # fmt: skip
_CURIOUS = frozenset(
    "know hear learn ask understand help find suggest recommend offer make get that your".split()
)


def of_a_user(reading: Reading) -> str:
    """A phrase of a recommender's text that only users say; "" if there is none."""
    row = [token.key for token in reading.row]
    for place, size, cue in reading.cues:
        words = tuple(row[place : place + size])
        own = cue in (Cue.TAKE, Cue.BEST) and set(words) & _FIRST_PERSON
        refused = cue in (Cue.NO, Cue.REFUSE, Cue.LEAVE) and words not in _OTHERS_TOO
        if own or refused:
            return " ".join(words)
        # a film that was offered before is taken: "Heat (1995) sounds great"
        named = [n for n, token in enumerate(reading.row) if token.key == FILM]
        films = dict(zip(named, reading.films, strict=True))
        taken = films.get(place) if cue is Cue.TAKE else None
        if taken and any(n < place and films[n].items == taken.items for n in named):
            return " ".join(words)
    for place, token in enumerate(reading.row):
        idiom = row[place + 1 : place + 2] in (["problem"], ["worries"], ["doubt"])
        opening = _OPENINGS if place == 0 else _OPENINGS | _LATER_OPENINGS
        if token.first and token.key in opening and not idiom:
            return token.key
        for wish in _WISHES:
            end = place + len(wish)
            if tuple(row[place:end]) == wish and not set(row[end : end + 2]) & _CURIOUS:
                return " ".join(wish)
    return ""


def of_a_recommender(reading: Reading) -> str:
    """A phrase of a user's text that only recommenders say; "" if there is none.

    Args:
        reading: of the text as if a recommender said it.
    """
    for sentence in sentences(reading):
        keys = {reading.row[n].key for n in sentence}
        addressed = FILM in keys and (not keys & _FIRST_PERSON or keys & {"you", "your"})
        if "nothing" in keys and keys & {"suggest", "recommend", "offer"}:
            return "nothing to offer"
        for place, size, cue in reading.cues:
            if place not in sentence:
                continue
            words = tuple(token.key for token in reading.row[place : place + size])
            offered = cue is Cue.OFFER and (words not in _FAINT or addressed)
            chosen = cue is Cue.CHOOSE and reading.question
            if offered or chosen or cue in _NEVER_A_USER:
                return " ".join(words)
    row = [token.key for token in reading.row]
    said = {tuple(row[n : n + size]) for n in range(len(row)) for size in (2, 3)}
    return next((" ".join(words) for words in _ADDRESSES if words in said), "")


def sentences(reading: Reading) -> Iterator[range]:
    """The places of each sentence in the row."""
    first = 0
    for place in range(1, len(reading.row) + 1):
        if place == len(reading.row) or reading.row[place].first:
            yield range(first, place)
            first = place

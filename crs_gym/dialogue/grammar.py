"""Structured turns: the act in one block, the words in another (Interplay, section 3.5.1).

    <action><recommend><movie_title>Heat (1995)</movie_title></action>
    <response>You might like <movie_title>Heat (1995)</movie_title>.</response>

on one line. An action block is the kind of the act, then `<more>` or `<less>` with an attribute's
name where the act has one, then its films in order. Kinds are those of `crs_gym.acts` in small
letters. Films are named by title and year, with " #1", " #2" after that where the world has several
such; `&`, `<` and `>` in titles, names and words are written `&amp;`, `&lt;` and `&gt;`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

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
    RecommenderKind,
    Reject,
    UserKind,
)
from crs_gym.dialogue.lexicon import Lexicon, lexicon
from crs_gym.dialogue.mentions import closest, decide
from crs_gym.dialogue.text import NotUnderstood, normalise, tokenise, too_long
from crs_gym.world import World
from crs_gym.world.titles import split_title, title_key

_Act = ReadableRecommenderAct | ReadableUserAct
KINDS: dict[type[_Act], str] = {
    Recommendation: RecommenderKind.RECOMMEND.name.lower(),
    ItemQuery: RecommenderKind.ASK_ITEM.name.lower(),
    AttributeQuery: RecommenderKind.ASK_ATTRIBUTE.name.lower(),
    Accept: UserKind.ACCEPT.name.lower(),
    Reject: UserKind.REJECT.name.lower(),
    Critique: UserKind.CRITIQUE.name.lower(),
    Choice: UserKind.CHOOSE.name.lower(),
    Answer: UserKind.ANSWER.name.lower(),
    Leave: UserKind.LEAVE.name.lower(),
}
"""What each act is called."""

_WITH_ATTRIBUTE = (AttributeQuery, Critique, Answer)
_WITH_FILM = (AttributeQuery, Accept, Critique, Choice)
_TITLE = "<movie_title>{}</movie_title>"
# no two parts of these can match the same characters, so that they take linear time
_TURN = re.compile(
    r"\s*<action>([^<]*(?:<(?!/action>)[^<]*)*)</action>\s*"
    r"<response>([^<]*(?:<(?!/response>)[^<]*)*)</response>\s*"
)
_ACTION = re.compile(
    r"\s*<(\w+)>\s*(?:<(more|less)>([^<]*)</\2>\s*)?((?:<movie_title>[^<]*</movie_title>\s*)*)"
)
_FILM = re.compile(r"<movie_title>([^<]*)</movie_title>")
MAX_TURN = 20_000
"""Characters of the longest structured turn that is read."""

_LONGEST_NAME = 300  # what is longer is no misspelt title
_MARKS = re.compile(r"</?movie_title>")

STRUCTURE_TOKENS = (
    "<action>", "</action>", "<response>", "</response>", "<movie_title>", "</movie_title>",
    "<more>", "</more>", "<less>", "</less>", *(f"<{kind}>" for kind in KINDS.values()),
)  # fmt: skip
"""The tags, for tokenizers that are to keep each as one token."""


class RecommenderTurn(NamedTuple):
    """What a recommender does, and the words it has for it."""

    act: ReadableRecommenderAct
    words: str


class UserTurn(NamedTuple):
    """What a user does, and the words it has for it."""

    act: ReadableUserAct
    words: str


def format_turn(act: _Act, words: str, world: World) -> str:
    """One structured turn; titles of the act's films that the words hold are marked.

    Raises:
        IndexError: an item or attribute that the world does not have.
    """
    names = lexicon(world)
    items, wish = _parts(act)
    named = (names.attributes[wish[0]], wish[1]) if wish else None
    action = _action(type(act), [names.films[item] for item in items], named)
    marked = _mark(escape(words), [escape(world.label(item)) for item in items])
    return f"{action}<response>{marked}</response>"


def turn_of_names(
    act: type[ReadableRecommenderAct], films: Sequence[str], wish: tuple[str, int] | None = None
) -> str:
    """A structured turn without words, of names as somebody gives them, known or not.

    Args:
        act: its kind.
        films: what it names, in order; blanks in a name count as one.
        wish: an attribute's name with +1 for more or -1 for less, for acts that have one.
    """
    named = (" ".join(wish[0].split()), wish[1]) if wish else None
    return f"{_action(act, [' '.join(film.split()) for film in films], named)}<response></response>"


def parse_turn(text: str, world: World) -> RecommenderTurn | NotUnderstood:
    """A recommender's structured turn; the act is that of its action block.

    A film whose title is misspelt a little is recognised, as in free text.
    """
    parsed = _parse(text, lexicon(world), ())
    if isinstance(parsed, NotUnderstood):
        return parsed
    act, words = parsed
    if not isinstance(act, ReadableRecommenderAct):
        return NotUnderstood(f"<{KINDS[type(act)]}> is an act of the user, not the recommender")
    return RecommenderTurn(act, words)


def parse_response(
    text: str, act: ReadableRecommenderAct, world: World
) -> UserTurn | NotUnderstood:
    """A user's structured turn in reply to `act`; responses that do not fit it are refused."""
    table = (act.item,) if isinstance(act, AttributeQuery) else act.items
    parsed = _parse(text, lexicon(world), table)
    if isinstance(parsed, NotUnderstood):
        return parsed
    response, words = parsed
    if isinstance(response, ReadableRecommenderAct):
        return NotUnderstood(f"<{KINDS[type(response)]}> is an act of the recommender")
    if not _fits(response, act):
        kind = KINDS[type(response)]
        return NotUnderstood(f"this <{kind}> does not fit the <{KINDS[type(act)]}> before it")
    return UserTurn(response, words)


def _action(act: type[_Act], films: Sequence[str], wish: tuple[str, int] | None) -> str:
    """The action block of these names."""
    action = f"<{KINDS[act]}>"
    if wish:
        name, direction = wish
        tag = "more" if direction > 0 else "less"
        action += f"<{tag}>{escape(name)}</{tag}>"
    action += "".join(_TITLE.format(escape(film)) for film in films)
    return f"<action>{action}</action>"


def _parts(act: _Act) -> tuple[tuple[int, ...], tuple[int, int] | None]:
    """The items of an act, and its attribute with the direction."""
    match act:
        case Recommendation(items) | ItemQuery(items):
            return items, None
        case AttributeQuery(item, attribute, direction) | Critique(item, attribute, direction):
            return (item,), (attribute, direction)
        case Accept(item) | Choice(item):
            return (item,), None
        case Answer(attribute, direction):
            return (), (attribute, direction)
        case Reject() | Leave():
            return (), None


def _act(kind: str, items: tuple[int, ...], wish: tuple[int, int] | None) -> _Act | NotUnderstood:
    """The act of these parts: the inverse of `_parts`."""
    made: Any = next((act for act, name in KINDS.items() if name == kind), None)
    if made is None:
        return NotUnderstood(f"<{kind}> is no act; acts are {', '.join(KINDS.values())}")
    if (made in _WITH_ATTRIBUTE) == (wish is not None):
        if made is Recommendation or (made is ItemQuery and items):
            return made(items)
        if made is not ItemQuery and len(items) == (made in _WITH_FILM):
            return made(*items, *(wish or ()))
    return NotUnderstood(f"<{kind}> has too many or too few films or attributes")


def _fits(response: ReadableUserAct, act: ReadableRecommenderAct) -> bool:
    match response, act:
        case ((Accept(item) | Critique(item)), Recommendation(items)):
            return item in items
        case Reject(), Recommendation():
            return True
        case Choice(item), ItemQuery(items):
            return item in items
        case Answer(attribute), AttributeQuery():
            return attribute == act.attribute
        case _:
            return isinstance(response, Leave)


def _parse(text: str, names: Lexicon, table: Sequence[int]) -> tuple[_Act, str] | NotUnderstood:
    if refusal := too_long(text, MAX_TURN):
        return refusal
    turn = _TURN.fullmatch(text)
    if not turn:
        return NotUnderstood("a turn is <action>...</action><response>...</response>, once")
    action = _ACTION.fullmatch(turn[1])
    if not action:
        return NotUnderstood(
            "an action is the tag of its kind, then <more> or <less> of an attribute if it has "
            "one, then its films, each in <movie_title>"
        )
    wish = None
    if action[2]:
        attribute = _attribute(_unescape(action[3]), names)
        if attribute is None:
            some = ", ".join(names.attributes)
            return NotUnderstood(
                f"{_unescape(action[3])!r} is no attribute of this world; there are {some}"
            )
        wish = (attribute, 1 if action[2] == "more" else -1)
    items: list[int] = []
    for name in map(_unescape, _FILM.findall(action[4])):
        meant = _films(name, names, table)
        if not meant:
            return NotUnderstood(f"the catalogue has no film {name!r}")
        if len(meant) > 1:
            some = ", ".join(names.films[i] for i in meant[:3])
            return NotUnderstood(f"{len(meant)} films could be meant by {name!r}: {some}")
        items += meant
    act = _act(action[1], tuple(items), wish)
    if isinstance(act, NotUnderstood):
        return act
    return act, _unescape(_MARKS.sub("", turn[2]))


def _films(name: str, names: Lexicon, table: Sequence[int]) -> tuple[int, ...]:
    """The films that a name in a tag may mean."""
    if name in names.film:
        return (names.film[name],)
    if len(name) > _LONGEST_NAME:
        return ()
    title, year = split_title(name)
    key = title_key(title, 0)[0]
    return (
        decide(key, names, year, table)
        or closest([token.key for token in tokenise(normalise(title))], names, year).items
    )


def _attribute(name: str, names: Lexicon) -> int | None:
    if name in names.attribute:
        return names.attribute[name]
    key = title_key(name, 0)[0]
    alike = [i for known, i in names.attribute.items() if title_key(known, 0)[0] == key]
    return alike[0] if len(alike) == 1 and key else None


def _mark(words: str, titles: Sequence[str]) -> str:
    """Puts the titles that the words hold into tags, the longest first where they overlap."""
    longest_first = sorted({title for title in titles if title}, key=len, reverse=True)
    marked, start = "", 0
    # searching by hand: a pattern of these titles would be compiled for every turn
    while found := [
        (place, rank)
        for rank, title in enumerate(longest_first)
        if (place := words.find(title, start)) >= 0
    ]:
        place, rank = min(found)
        title = longest_first[rank]
        marked += words[start:place] + _TITLE.format(title)
        start = place + len(title)
    return marked + words[start:]


def escape(text: str) -> str:
    """The text as it is written in structured turns."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unescape(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")

"""Whether a rewritten turn still does what its template did.

What `crs_gym.dialogue.understanding` reads decides where it reads anything: the same act is good,
another one is not. That reader would rather not understand than be wrong, and freely worded turns
are often beyond it; then the turn is held to what can be checked of it:

- the recommender's offers or asks as the act does, without a "not" about it;
- the user's takes exactly the film of the act, or none, refuses all or asks for something, and then
  leans the way of the act on its attribute (`leanings`).

Of every turn, read or not, the films are checked: the recommender's names each film of its act by
title and year and no other film, the user's none but those just spoken of.

What cannot be seen: a comment on a film that is untrue; a reason that hints at a wish in words that
are in no list; a made-up film without year, quotes or a place in a list of films; a sarcastic tone.
A turn of which nothing can be made out is refused.
"""

from __future__ import annotations

from typing import Any

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    ReadableRecommenderAct,
    ReadableUserAct,
    Recommendation,
)
from crs_gym.dialogue import NotUnderstood, understand, understand_response
from crs_gym.dialogue.grammar import KINDS
from crs_gym.dialogue.lexicon import lexicon
from crs_gym.dialogue.reading import read
from crs_gym.generation.checks import recommender, sides, user
from crs_gym.generation.checks.films import strangers, unnamed
from crs_gym.generation.checks.reasons import Reason, Rejection
from crs_gym.generation.checks.surface import LONGEST, blemish, tidy
from crs_gym.world import World

__all__ = ["LONGEST", "Reason", "Rejection", "check", "check_response", "tidy"]


def check(text: str, act: ReadableRecommenderAct, world: World) -> Rejection | None:
    """Why `text` may not stand for the recommender's `act`; None where it may.

    Args:
        text: as `tidy` gives it.
        act: what the turn does.
        world: gives the names.
    """
    items = _table(act)
    if found := blemish(text, [world.label(item) for item in items]):
        return found
    names = lexicon(world)
    reading = read(text, names)
    if found := strangers(text, reading, items, names, world) or unnamed(text, items, world):
        return found
    if words := sides.of_a_user(reading):
        return Rejection(Reason.OTHER_SIDE, f"{words!r} is what a user says")
    if not isinstance(act, Recommendation) and (found := recommender.pushed(reading)):
        return found
    understood = understand(text, world)
    if isinstance(understood, NotUnderstood):
        return recommender.fault(reading, act, names)
    return _difference(understood, act)


def check_response(
    text: str, response: ReadableUserAct, act: ReadableRecommenderAct, world: World
) -> Rejection | None:
    """Why `text` may not stand for the user's `response` to `act`; None where it may.

    Args:
        text: as `tidy` gives it.
        response: what the turn does; it must fit `act`.
        act: what it responds to.
        world: gives the names.
    """
    items = _table(act)
    if found := blemish(text, [world.label(item) for item in items]):
        return found
    names = lexicon(world)
    reading = read(text, names, items)
    if found := strangers(text, reading, items, names, world):
        return found
    if words := sides.of_a_recommender(read(text, names)):
        return Rejection(Reason.OTHER_SIDE, f"{words!r} is what a recommender says")
    if isinstance(response, Accept | Choice) and user.set_aside(reading, response.item):
        return Rejection(Reason.OTHER_FILM, "another film is preferred")
    understood = understand_response(text, act, world)
    if isinstance(understood, NotUnderstood):
        return user.fault(reading, response, act, names, world)
    return _difference(understood, response)


def _table(act: ReadableRecommenderAct) -> tuple[int, ...]:
    return (act.item,) if isinstance(act, AttributeQuery) else act.items


def _difference(understood: Any, meant: Any) -> Rejection | None:
    """How the act that was understood differs from the one that was meant."""
    if type(understood) is not type(meant):
        read_as, written = KINDS[type(understood)], KINDS[type(meant)]
        return Rejection(Reason.OTHER_ACT, f"this reads as {read_as!r}, not {written!r}")
    if isinstance(meant, Recommendation | ItemQuery):  # a slate has no order in words
        if set(understood.items) == set(meant.items):
            return None
    elif understood == meant:
        return None
    if isinstance(meant, AttributeQuery | Critique | Answer):
        if understood.attribute != meant.attribute:
            return Rejection(Reason.OTHER_ATTRIBUTE, "this reads as of another attribute")
        if understood.direction != meant.direction:
            return Rejection(Reason.OTHER_DIRECTION, "this reads as the opposite")
    return Rejection(Reason.OTHER_FILM, "this reads as of another film")

"""What can be said in a conversation: the acts of the recommender and of the user.

The array form (`RecommenderAct`, `UserAct`, `Turn`) is made of int32 arrays and goes through `jit`,
`vmap` and `scan`; a leading batch or time axis is allowed on every field. The readable form
(`Recommendation`, `ItemQuery`, ...) is made of frozen dataclasses. `to_arrays` and `to_readable`
convert between them; gym actions, texts and data-set rows all go through this module.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = Any
"""A NumPy or JAX array (or a tracer)."""

NONE = -1
"""Fills slate places, attributes and kinds that are not in use."""


class RecommenderKind(enum.IntEnum):
    """What the recommender does in a turn."""

    RECOMMEND = 0
    ASK_ITEM = 1
    ASK_ATTRIBUTE = 2


class UserKind(enum.IntEnum):
    """How the user responds."""

    ACCEPT = 0
    REJECT = 1
    CRITIQUE = 2
    CHOOSE = 3
    ANSWER = 4
    LEAVE = 5


class RecommenderAct(NamedTuple):
    """One act of the recommender, all fields int32.

    kind: `()`, a `RecommenderKind`, or -1 for "no act" (padding of a history).
    slate: `(k,)` item indices; -1 marks an empty place. An attribute query uses place 0 alone.
    attribute: `()` index of the attribute asked about; -1 unless kind is ASK_ATTRIBUTE.
    direction: `()` the wording of an attribute query, +1 "more" or -1 "less"; 0 otherwise. The
        wording does not change how the user answers.
    """

    kind: Array
    slate: Array
    attribute: Array
    direction: Array


class UserAct(NamedTuple):
    """One act of the user, all fields int32.

    kind: `()`, a `UserKind`, or -1 for "no act".
    slot: `()` place in the slate of the item accepted, chosen or named by a critique; else -1.
    attribute: `()` attribute of a critique or of the query answered; else -1.
    direction: `()` +1 "more", -1 "less" for critiques and answers; else 0.
    """

    kind: Array
    slot: Array
    attribute: Array
    direction: Array


class Turn(NamedTuple):
    """A recommender's act and the user's response to it."""

    act: RecommenderAct
    response: UserAct


@dataclass(frozen=True)
class Recommendation:
    """Offers `items` (catalogue indices), one of which the user may accept.

    Empty where nothing of what was offered could be: the user can only reject that.
    """

    items: tuple[int, ...]


@dataclass(frozen=True)
class ItemQuery:
    """Asks which of `items` the user likes best."""

    items: tuple[int, ...]


@dataclass(frozen=True)
class AttributeQuery:
    """Asks whether the user wants more or less of `attribute` than `item` has.

    `direction` is the wording: +1 "do you want something funnier?", -1 "something less funny?".
    """

    item: int
    attribute: int
    direction: int = 1


@dataclass(frozen=True)
class Accept:
    """Takes the recommended `item`; the conversation ends."""

    item: int


@dataclass(frozen=True)
class Reject:
    """Wants none of the recommended items and says no more."""


@dataclass(frozen=True)
class Critique:
    """Rejects the slate and wants more (+1) or less (-1) of `attribute` than `item` has."""

    item: int
    attribute: int
    direction: int


@dataclass(frozen=True)
class Choice:
    """Likes `item` best among those of an item query."""

    item: int


@dataclass(frozen=True)
class Answer:
    """Wants more (+1) or less (-1) of the attribute that was asked about."""

    attribute: int
    direction: int


@dataclass(frozen=True)
class Leave:
    """Ends the conversation without accepting anything."""


ReadableRecommenderAct = Recommendation | ItemQuery | AttributeQuery
ReadableUserAct = Accept | Reject | Critique | Choice | Answer | Leave


def no_turn(slate_size: int) -> Turn:
    """Padding for histories: every kind is -1. Fields are int32 NumPy arrays."""
    none = np.int32(NONE)
    empty = np.full(slate_size, NONE, np.int32)
    return Turn(
        RecommenderAct(none, empty, none, np.int32(0)), UserAct(none, none, none, np.int32(0))
    )


def to_arrays(act: ReadableRecommenderAct, slate_size: int) -> RecommenderAct:
    """Array form of a recommender act, its slate filled up with -1 to `(slate_size,)`.

    Raises:
        ValueError: no item (but in a recommendation), more items than `slate_size`, a negative
            index or a direction other than +1 and -1.
    """
    match act:
        case Recommendation(items):
            kind, attribute, direction = RecommenderKind.RECOMMEND, NONE, 0
        case ItemQuery(items):
            kind, attribute, direction = RecommenderKind.ASK_ITEM, NONE, 0
        case AttributeQuery(item, attribute, direction):
            kind, items = RecommenderKind.ASK_ATTRIBUTE, (item,)
            _check_attribute(attribute, direction)
        case _:
            raise TypeError(f"{act!r} is not a recommender act")
    least = 0 if kind == RecommenderKind.RECOMMEND else 1
    if not least <= len(items) <= slate_size:
        raise ValueError(
            f"{act!r} has {len(items)} items; a slate here takes {least} to {slate_size}"
        )
    if any(item < 0 for item in items):
        raise ValueError(f"{act!r} has a negative item index")
    slate = np.full(slate_size, NONE, np.int32)
    slate[: len(items)] = items
    return RecommenderAct(np.int32(kind), slate, np.int32(attribute), np.int32(direction))


def to_readable(act: RecommenderAct) -> ReadableRecommenderAct:
    """Readable form of one (unbatched) recommender act; empty slate places are dropped.

    Raises:
        ValueError: the act is padding (kind -1) or of an unknown kind.
    """
    items = tuple(int(i) for i in np.asarray(act.slate) if i >= 0)
    match int(act.kind):
        case RecommenderKind.RECOMMEND:
            return Recommendation(items)
        case RecommenderKind.ASK_ITEM:
            return ItemQuery(items)
        case RecommenderKind.ASK_ATTRIBUTE:
            return AttributeQuery(items[0], int(act.attribute), int(act.direction))
        case kind:
            raise ValueError(f"{kind} is not the kind of a recommender act")


def response_to_arrays(response: ReadableUserAct, act: RecommenderAct) -> UserAct:
    """Array form of a response to `act`.

    Raises:
        ValueError: an item that is not in the slate of `act`, a negative attribute, or a direction
            other than +1, -1.
    """
    attribute, direction, item = NONE, 0, NONE
    match response:
        case Accept(item):
            kind = UserKind.ACCEPT
        case Reject():
            kind = UserKind.REJECT
        case Critique(item, attribute, direction):
            kind = UserKind.CRITIQUE
            _check_attribute(attribute, direction)
        case Choice(item):
            kind = UserKind.CHOOSE
        case Answer(attribute, direction):
            kind = UserKind.ANSWER
            _check_attribute(attribute, direction)
        case Leave():
            kind = UserKind.LEAVE
        case _:
            raise TypeError(f"{response!r} is not a user act")
    slot = NONE
    if isinstance(response, Accept | Choice | Critique):
        places = np.flatnonzero(np.asarray(act.slate) == item)
        if item < 0 or not len(places):
            raise ValueError(f"{response!r} names item {item}, which is not in the slate")
        slot = int(places[0])
    return UserAct(*(np.int32(x) for x in (kind, slot, attribute, direction)))


def response_to_readable(response: UserAct, act: RecommenderAct) -> ReadableUserAct:
    """Readable form of one (unbatched) response to `act`.

    Raises:
        ValueError: the response is padding (kind -1) or of an unknown kind.
    """
    slot, attribute, direction = (
        int(x) for x in (response.slot, response.attribute, response.direction)
    )
    item = int(np.asarray(act.slate)[slot]) if slot >= 0 else NONE
    match int(response.kind):
        case UserKind.ACCEPT:
            return Accept(item)
        case UserKind.REJECT:
            return Reject()
        case UserKind.CRITIQUE:
            return Critique(item, attribute, direction)
        case UserKind.CHOOSE:
            return Choice(item)
        case UserKind.ANSWER:
            return Answer(attribute, direction)
        case UserKind.LEAVE:
            return Leave()
        case kind:
            raise ValueError(f"{kind} is not the kind of a user act")


def readable_turns(history: Turn) -> list[tuple[ReadableRecommenderAct, ReadableUserAct]]:
    """The turns of one history with a leading time axis `(H, ...)`, up to the first padding."""
    history = Turn(
        RecommenderAct(*map(np.asarray, history.act)), UserAct(*map(np.asarray, history.response))
    )
    turns = []
    for t in range(len(history.act.kind)):
        if history.act.kind[t] == NONE:
            break
        act = RecommenderAct(*(field[t] for field in history.act))
        response = UserAct(*(field[t] for field in history.response))
        turns.append((to_readable(act), response_to_readable(response, act)))
    return turns


def _check_attribute(attribute: int, direction: int) -> None:
    if attribute < 0:
        raise ValueError(f"attribute index {attribute} is negative")
    if direction not in (1, -1):
        raise ValueError(f"direction must be +1 (more) or -1 (less), not {direction}")

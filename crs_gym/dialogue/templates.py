"""Plain sentences for every act, several variants each (ICER, section 3.3, Figure 2)."""

from __future__ import annotations

from collections.abc import Sequence

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
    Reject,
    Turn,
    readable_turns,
)
from crs_gym.world import World

VARIANTS = 4
"""Sentences an act has; variant 0 is the plainest."""

# {film} and {films} are titles with their years, {short} comes after "something" ("funnier"),
# {long} is a noun phrase ("a film with more laughs")
_RECOMMENDATION = (
    "You might like {films}.",
    "How about {films}?",
    "I would recommend {films}.",
    "I think you would enjoy {films}.",
)
_EMPTY_RECOMMENDATION = (
    "I have nothing new to offer.",
    "I have nothing left to suggest.",
    "There is nothing else that I could recommend.",
    "I am out of suggestions.",
)
_ITEM_QUERY = (
    "Which of these do you prefer: {films}?",
    "Which one would you rather watch: {films}?",
    "If you had to choose, which would it be: {films}?",
    "Tell me which you like best: {films}.",
)
_ATTRIBUTE_QUERY = (
    "Compared with {film}, would you like something {short}?",
    "Would you prefer {long}, compared with {film}?",
    "Think of {film}: do you want something {short} than that?",
    "Starting from {film}, should I look for {long}?",
)
_ACCEPT = (
    "{film} is what I am looking for, thanks!",
    "Yes, I'll take {film}.",
    "Perfect, let's go with {film}.",
    "Great, I'd love to watch {film}.",
)
_REJECT_ONE = (
    "No, not that one.",
    "No thanks, that one isn't for me.",
    "Sorry, this is not what I want.",
    "I'd rather see something else.",
)
_REJECT_SEVERAL = (
    "No, I don't like any of them.",
    "None of these, please.",
    "Sorry, these are not for me.",
    "I'd rather see something else.",
)
_CRITIQUE = (
    "No. Do you have something {short} than {film}?",
    "No. Compared with {film}, I'd rather have {long}.",
    "Not quite. I'd like something {short} than {film}.",
    "No thanks. Next to {film}, I want {long}.",
)
_CHOICE = (
    "I'd choose {film}.",
    "{film}, please.",
    "Of these I like {film} best.",
    "I'd go with {film}.",
)
_ANSWER = (
    "{yes}, I want something {short}.",
    "{yes}, I'd prefer {long}.",
    "I'd like something {short}.",
    "{yes}, {long} for me, please.",
)
_LEAVE = (
    "This leads nowhere. Goodbye.",
    "I give up. Bye!",
    "Never mind, I'm leaving.",
    "That's enough for me, I'm done here.",
)
_GREETING = (
    "Hello, I am looking for a film to watch.",
    "Hi! What should I watch tonight?",
    "Hi, could you recommend me a film?",
    "Hello! I would like to find a good film.",
)

CONFUSED = "Sorry, I don't follow. What do you mean?"
"""What a user says to what cannot be understood."""


def greet(variant: int = 0) -> str:
    """What a user says to begin with; `variant` is counted modulo `VARIANTS`."""
    return _pick(_GREETING, variant)


def say(act: ReadableRecommenderAct, world: World, variant: int = 0) -> str:
    """The recommender's sentence; `variant` is counted modulo `VARIANTS`."""
    match act:
        case Recommendation(items):
            if not items:
                return _pick(_EMPTY_RECOMMENDATION, variant)
            return _pick(_RECOMMENDATION, variant).format(films=_titles(items, world))
        case ItemQuery(items):
            return _pick(_ITEM_QUERY, variant).format(films=_titles(items, world))
        case AttributeQuery(item, attribute, direction):
            return _pick(_ATTRIBUTE_QUERY, variant).format(
                film=world.label(item), **_wordings(attribute, direction, world)
            )


def say_response(
    response: ReadableUserAct, act: ReadableRecommenderAct, world: World, variant: int = 0
) -> str:
    """The user's sentence in reply to `act`; `variant` is counted modulo `VARIANTS`."""
    match response:
        case Accept(item):
            return _pick(_ACCEPT, variant).format(film=world.label(item))
        case Reject():
            return _pick(_REJECT_SEVERAL if _several(act) else _REJECT_ONE, variant)
        case Critique(item, attribute, direction):
            return _pick(_CRITIQUE, variant).format(
                film=world.label(item), **_wordings(attribute, direction, world)
            )
        case Choice(item):
            return _pick(_CHOICE, variant).format(film=world.label(item))
        case Answer(attribute, direction):
            asked = isinstance(act, AttributeQuery) and act.direction == direction
            return _pick(_ANSWER, variant).format(
                yes="Yes" if asked else "No", **_wordings(attribute, direction, world)
            )
        case Leave():
            return _pick(_LEAVE, variant)


def conversation(history: Turn, world: World) -> str:
    """A whole history `(H, ...)` in words, two lines a turn."""
    lines = []
    for act, response in readable_turns(history):
        lines.append(f"Recommender: {say(act, world)}")
        lines.append(f"User: {say_response(response, act, world)}")
    return "\n".join(lines)


def _pick(sentences: Sequence[str], variant: int) -> str:
    return sentences[variant % len(sentences)]


def _titles(items: Sequence[int], world: World) -> str:
    labels = [world.label(i) for i in items]
    if len(labels) == 1:
        return labels[0]
    return f"{', '.join(labels[:-1])} or {labels[-1]}"


def _wordings(attribute: int, direction: int, world: World) -> dict[str, str]:
    """A world without long wordings makes them from the short ones."""
    words = world.attributes[attribute]
    short, long = (words.more, words.more_long) if direction > 0 else (words.less, words.less_long)
    return {"short": short, "long": long or f"something {short}"}


def _several(act: ReadableRecommenderAct) -> bool:
    return isinstance(act, Recommendation) and len(act.items) > 1

"""One plain sentence for every act (ICER, section 3.3 and Figure 2)."""

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


def say(act: ReadableRecommenderAct, world: World) -> str:
    """The recommender's sentence."""
    match act:
        case Recommendation(items):
            if not items:
                return "I have nothing new to offer."
            return f"You might like {_titles(items, world, 'or')}."
        case ItemQuery(items):
            return f"Which of these do you prefer: {_titles(items, world, 'or')}?"
        case AttributeQuery(item, attribute, direction):
            return (
                f"Compared with {world.label(item)}, would you like something "
                f"{_wording(attribute, direction, world)}?"
            )


def say_response(response: ReadableUserAct, act: ReadableRecommenderAct, world: World) -> str:
    """The user's sentence in reply to `act`."""
    match response:
        case Accept(item):
            return f"{world.label(item)} is what I am looking for, thanks!"
        case Reject():
            return "No, I don't like any of them." if _several(act) else "No, not that one."
        case Critique(item, attribute, direction):
            wish = _wording(attribute, direction, world)
            return f"No. Do you have something {wish} than {world.label(item)}?"
        case Choice(item):
            return f"I'd choose {world.label(item)}."
        case Answer(attribute, direction):
            wish = _wording(attribute, direction, world)
            asked = isinstance(act, AttributeQuery) and act.direction == direction
            return f"{'Yes' if asked else 'No'}, I want something {wish}."
        case Leave():
            return "This leads nowhere. Goodbye."


def conversation(history: Turn, world: World) -> str:
    """A whole history `(H, ...)` in words, two lines a turn."""
    lines = []
    for act, response in readable_turns(history):
        lines.append(f"Recommender: {say(act, world)}")
        lines.append(f"User: {say_response(response, act, world)}")
    return "\n".join(lines)


def _titles(items: Sequence[int], world: World, conjunction: str) -> str:
    labels = [world.label(i) for i in items]
    if len(labels) == 1:
        return labels[0]
    return f"{', '.join(labels[:-1])} {conjunction} {labels[-1]}"


def _wording(attribute: int, direction: int, world: World) -> str:
    words = world.attributes[attribute]
    return words.more if direction > 0 else words.less


def _several(act: ReadableRecommenderAct) -> bool:
    return isinstance(act, Recommendation) and len(act.items) > 1

"""One dialogue for the terminal: the words, and beside them acts, belief and regret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    ReadableUserAct,
    Recommendation,
)
from crs_gym.generation.records import Dialogue, Exchange, Words
from crs_gym.world import World

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text


def show_dialogue(
    dialogue: Dialogue, world: World, *, acts: bool = True, templates: bool = False
) -> Group:
    """A dialogue as something that rich prints.

    A film's place is between the user's mean film (0) and their favourite (1).

    Args:
        acts: show acts, belief and regret beside the words.
        templates: show the templates instead of the words.
    """
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="dim")
    table.add_column(ratio=3 if acts else None)
    if acts:
        table.add_column(ratio=2)
    for number, turn in enumerate(dialogue.turns, 1):
        for who, words, beside in (
            (f"{number}", turn.recommender, _recommender(turn, dialogue, world)),
            ("", turn.user, _user(turn, world)),
        ):
            said = _said(words, who == "", templates)
            table.add_row(who, said, *([beside] if acts else []))
        table.add_row()
    return Group(*_head(dialogue, world), "", table, _end(dialogue, world))


def _said(words: Words, user: bool, templates: bool) -> Text:
    from rich.text import Text

    text = Text("User: " if user else "Recommender: ", style="green" if user else "cyan")
    text.append(words.template if templates else words.text, style="default")
    if words.source == "fallback" and not templates:
        text.append(" (template)", style="dim")
    return text


def _recommender(turn: Exchange, dialogue: Dialogue, world: World) -> Text:
    from rich.text import Text

    match turn.act:
        case Recommendation(items):
            text = Text("recommends" if items else "has nothing to recommend", style="bold")
        case ItemQuery(items):
            text = Text("asks which", style="bold")
        case AttributeQuery(item, attribute, direction):
            items = (item,)
            words = world.attributes[attribute]
            text = Text(f"asks for {words.more if direction > 0 else words.less}", style="bold")
    span = dialogue.utility_best - dialogue.utility_mean
    for item, utility in zip(items, turn.utilities, strict=True):
        place = (utility - dialogue.utility_mean) / span if span > 0 else 0.0
        text.append(f"\n{world.label(item)} ", style="default")
        text.append(f"{place:+.2f}", style=_colour(place))
    text.append(f"\nEVOI {turn.evoi:.3f}", style="default")
    text.append(f"\nbelieves in {world.label(turn.believed)}, regret ", style="dim")
    text.append(f"{turn.regret:.2f}", style=_colour(1.0 - turn.regret))
    return text


def _user(turn: Exchange, world: World) -> Text:
    from rich.text import Text

    text = Text(_response(turn.response, world), style="bold")
    text.append(f"\nprobability {turn.probability:.2f}", style="dim")
    return text


def _response(response: ReadableUserAct, world: World) -> str:
    match response:
        case Accept(item):
            return f"accepts {world.label(item)}"
        case Choice(item):
            return f"chooses {world.label(item)}"
        case Critique(item, attribute, direction):
            words = world.attributes[attribute]
            wish = words.more if direction > 0 else words.less
            return f"criticises {world.label(item)}: {wish}"
        case Answer(attribute, direction):
            words = world.attributes[attribute]
            return f"wants {words.more if direction > 0 else words.less}"
        case _:
            return f"{type(response).__name__.lower()}s"


def _head(dialogue: Dialogue, world: World) -> list[Text]:
    from rich.text import Text

    utilities = world.item_embeddings @ dialogue.embedding
    favourites = np.argsort(-utilities, kind="stable")[:3]
    films = ", ".join(world.label(int(item)) for item in favourites)
    title = f"Dialogue {dialogue.number}, user {dialogue.user_id} of {world.name}"
    return [Text(title, style="bold"), Text(f"would like best: {films}", style="dim")]


def _end(dialogue: Dialogue, world: World) -> Text:
    from rich.text import Text

    if dialogue.accepted >= 0:
        outcome = f"accepted {world.label(dialogue.accepted)}"
    else:
        outcome = "left" if dialogue.left else "out of turns"
    turns = f"{len(dialogue.turns)} turn{'s' if len(dialogue.turns) > 1 else ''}"
    return Text(f"{outcome} after {turns}, reward {dialogue.reward:+.2f}", style="bold")


def _colour(place: float) -> str:
    return "green" if place > 0.8 else "yellow" if place > 0.4 else "red"

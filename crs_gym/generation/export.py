"""A data set as JSON, in the shape of ICER's appendix A.2."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
)
from crs_gym.generation.records import Dialogue
from crs_gym.world import World


def export(dialogues: Iterable[Dialogue], world: World, path: str | Path) -> int:
    """Writes one JSON object a line, one line a dialogue; returns how many.

    The file is there whole or not at all, and no more than a dialogue is held in memory.

    Raises:
        OSError: the file cannot be written.
    """
    out, rows = Path(path), 0
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with partial.open("w") as file:
            for dialogue in dialogues:
                file.write(json.dumps(trajectory(dialogue, world)) + "\n")
                rows += 1
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def trajectory(dialogue: Dialogue, world: World) -> dict[str, Any]:
    """A dialogue in the shape of ICER's appendix A.2, with the words said beside the acts."""
    return {
        "user_info": {"id": dialogue.user_id, "embedding": dialogue.embedding.tolist()},
        "turns": [
            {
                "agent": {**_agent(turn.act, world), "text": turn.recommender.text},
                "user": {**_user(turn.response, turn.act, world), "text": turn.user.text},
            }
            for turn in dialogue.turns
        ],
    }


def _agent(act: ReadableRecommenderAct, world: World) -> dict[str, Any]:
    match act:
        case Recommendation(items):
            return {"slate": _slate(items, world)}
        case ItemQuery(items):
            return {"query": {"mode": "ITEM", "slate": _slate(items, world)}}
        case AttributeQuery(item, attribute, direction):
            about = {"mode": "ATTR", "slate": _slate((item,), world)}
            return {"query": {**about, "attr": _attribute(attribute, direction, world)}}


def _user(response: ReadableUserAct, act: ReadableRecommenderAct, world: World) -> dict[str, Any]:
    items = getattr(act, "items", ())
    match response:
        case Accept(item):
            return {"rec_resp": {"mode": "ACCEPT", "item_idx": items.index(item)}}
        case Reject():
            return {"rec_resp": {"mode": "REJECT"}}
        case Critique(item, attribute, direction):
            attr = _attribute(attribute, direction, world)
            critique = {"attr": attr, "item_idx": items.index(item)}
            return {"rec_resp": {"mode": "REJECT_FEEDBACK", **critique}}
        case Choice(item):
            return {"elicit_resp": {"mode": "ITEM", "item_idx": items.index(item)}}
        case Answer(_, direction):
            # 1 for yes, 0 for no to what was asked
            assert isinstance(act, AttributeQuery)
            return {"elicit_resp": {"mode": "ATTR", "attr_resp": int(direction == act.direction)}}
        case Leave():
            return {"leave": {}}


def _slate(items: tuple[int, ...], world: World) -> dict[str, Any]:
    return {"items": [{"id": item, "name": world.label(item)} for item in items]}


def _attribute(attribute: int, direction: int, world: World) -> dict[str, Any]:
    return {"id": attribute, "direction": direction, "name": world.attributes[attribute].name}

"""Dialogues of a data set as rows of tokens for one side's model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agents.lm.chats import ChatFormat, Row
from crs_gym.dialogue import VARIANTS, format_turn, greet
from crs_gym.envs.text import Person
from crs_gym.generation.opening import open_dialogues
from crs_gym.generation.records import Dialogue
from crs_gym.language.card import Role
from crs_gym.language.persona import persona_of
from crs_gym.language.recommender import recommender_messages
from crs_gym.language.users import user_messages
from crs_gym.users import User
from crs_gym.world import World


def recommender_row(dialogue: Dialogue, world: World, chat: ChatFormat, system: str = "") -> Row:
    """A dialogue as the recommender's model sees it: its own turns are structured, the user's are
    words; nothing follows its last turn.
    """
    said = [format_turn(turn.act, turn.recommender.text, world) for turn in dialogue.turns]
    heard = [turn.user.text for turn in dialogue.turns[:-1]]
    opening = recommender_messages(greeting(dialogue), system=system)
    return chat.row(opening, list(zip(said, [*heard, None], strict=True)))


def greeting(dialogue: Dialogue) -> str:
    """What the user of a dialogue says first; data sets begin with the recommender."""
    return greet(dialogue.number % VARIANTS)


def split_users(dialogues: Iterable[Dialogue], held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of the dialogues to train on, and of those held out: other users'.

    Args:
        held_out: share of the users, between 0 and 1; the same users whatever the data set.

    Raises:
        ValueError: one of the two is empty.
    """
    draws = [np.random.default_rng(d.user_id).random() for d in dialogues]
    out = np.array(draws) < held_out
    train, held = np.flatnonzero(~out), np.flatnonzero(out)
    if not len(train) or not len(held):
        raise ValueError(
            f"{len(draws)} dialogues are too few to hold out those of {held_out:.0%} of the users: "
            "make more, or change held_out"
        )
    return train, held


def user_row(dialogue: Dialogue, world: World, chat: ChatFormat, rules: bool = False) -> Row:
    """A dialogue as the user's model sees it: its persona, the recommender's words, and its own
    structured turns.
    """
    persona = persona_of(person_of(dialogue, world))
    own = [format_turn(turn.response, turn.user.text, world) for turn in dialogue.turns]
    first, *later = [turn.recommender.text for turn in dialogue.turns]
    opening = user_messages(persona, (), first, rules=rules)
    return chat.row(opening, list(zip(own, [*later, None], strict=True)))


def person_of(dialogue: Dialogue, world: World) -> Person:
    """Who the user of a dialogue was; what is drawn of the persona follows from the dialogue."""
    traits = dialogue.temperature, dialogue.patience, dialogue.critique_rate
    user = User(dialogue.embedding, *traits)
    return Person(world, dialogue.user_id, user, dialogue.number, 0)


def rows(
    dialogues: Iterable[Dialogue],
    world: World,
    chat: ChatFormat,
    role: Role,
    system: str = "",
    rules: bool = False,
) -> Iterator[Row]:
    """A row for each dialogue, of the model that plays `role`."""
    if role == "user":
        yield from (user_row(d, world, chat, rules) for d in dialogues)
    else:
        yield from (recommender_row(d, world, chat, system) for d in dialogues)


def columns(made: Iterable[Row], max_length: int) -> dict[str, list[Any]]:
    """`input_ids` and `labels` (-100 on all tokens but the model's own), cut to `max_length`.

    Warns where rows are longer.

    Raises:
        ValueError: rows of which nothing that is learnt would be left.
    """
    found: dict[str, list[Any]] = {"input_ids": [], "labels": [], "length": []}
    whole = []
    for row in made:
        ids, own = row.ids[:max_length], row.own[:max_length]
        found["input_ids"].append(ids)
        found["labels"].append(np.where(own, ids, -100))
        found["length"].append(len(ids))
        whole.append(len(row.ids))
    cut = sum(length > max_length for length in whole)
    cure = f"raise max_length, to {max(whole, default=0)} to keep all"
    # nothing predicts the first token
    bare = sum(not (labels[1:] != -100).any() for labels in found["labels"])
    if bare:
        raise ValueError(
            f"{bare} of {len(whole)} dialogues have nothing to learn in their first {max_length} "
            f"tokens: {cure}"
        )
    if cut:
        warnings.warn(
            f"{cut} of {len(whole)} dialogues are cut off after {max_length} tokens, and what "
            f"comes later is not learnt: {cure}",
            stacklevel=2,
        )
    return found


def load(path: Path, limit: int | None, progress: bool) -> tuple[list[Dialogue], World]:
    """The dialogues of a data set and their world; see `open_dialogues` for what it raises."""
    opened = open_dialogues(path, limit=limit)
    bar = tqdm(opened.dialogues, desc="dialogues", disable=not progress, leave=False)
    return list(bar), opened.world

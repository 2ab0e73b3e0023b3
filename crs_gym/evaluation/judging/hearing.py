"""Dialogues as their words tell them: what a listener understands of each turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tqdm import tqdm

from crs_gym.acts import ReadableRecommenderAct, ReadableUserAct
from crs_gym.dialogue import NotUnderstood, understand, understand_response
from crs_gym.evaluation.judging.figures import Figure
from crs_gym.generation.records import Dialogue
from crs_gym.world import World


class Heard(NamedTuple):
    """What is understood of a turn; None where the words are not clear.

    response: in reply to the act that was done, however it was worded.
    """

    act: ReadableRecommenderAct | None
    response: ReadableUserAct | None


def hear(
    dialogues: Sequence[Dialogue], world: World, templates: bool = False, progress: bool = False
) -> list[tuple[Heard, ...]]:
    """Every turn of every dialogue, understood from its texts, or from its templates.

    A template is what its act says: it needs no understanding.
    """
    if templates:
        return [tuple(Heard(turn.act, turn.response) for turn in d.turns) for d in dialogues]
    bar = tqdm(dialogues, desc="reading", unit="dialogue", disable=not progress)
    return [tuple(_turns(dialogue, world)) for dialogue in bar]


def _turns(dialogue: Dialogue, world: World) -> Iterator[Heard]:
    for turn in dialogue.turns:
        act = understand(turn.recommender.text, world)
        response = understand_response(turn.user.text, turn.act, world)
        yield Heard(
            None if isinstance(act, NotUnderstood) else act,
            None if isinstance(response, NotUnderstood) else response,
        )


def fidelity(dialogues: Sequence[Dialogue], heard: Sequence[tuple[Heard, ...]]) -> list[Figure]:
    """Shares of the turns whose words are understood as the very act that they stand for."""
    users, acts, responses = [], [], []
    for dialogue, turns in zip(dialogues, heard, strict=True):
        for turn, (act, response) in zip(dialogue.turns, turns, strict=True):
            users.append(dialogue.user_id)
            acts.append(act == turn.act)
            responses.append(response == turn.response)
    return [
        Figure.of("recommender understood", acts, users),
        Figure.of("user understood", responses, users),
    ]

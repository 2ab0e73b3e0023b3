"""How the recommender conducts a dialogue: redundancy and attribute consistency (ICER, 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from crs_gym.acts import (
    Answer,
    AttributeQuery,
    Critique,
    ReadableRecommenderAct,
    Recommendation,
)
from crs_gym.evaluation.judging.figures import Figure
from crs_gym.evaluation.judging.hearing import Heard
from crs_gym.evaluation.judging.histories import items_in
from crs_gym.generation.records import Dialogue
from crs_gym.world import World


def redundancy(dialogues: Sequence[Dialogue], heard: Sequence[tuple[Heard, ...]]) -> list[Figure]:
    """Shares of the recommender's acts that come again what came before, as they are understood.

    An act repeats

    - a slate, if an earlier act of its kind had the same films, in whatever order (attribute
      queries: the same film and attribute, in whatever direction);
    - an offer, if it recommends a film that was recommended, and so refused, before;
    - an attribute, if it asks about one that was asked about, or criticised by the user, before;
    - a film, if an earlier act of any kind named one of its films.

    The first three are "redundant"; naming a film again is often good (a favourite is held against
    a new rival) and is reported apart.
    """
    users: list[int] = []
    kinds: list[tuple[bool, bool, bool, bool]] = []
    for dialogue, turns in zip(dialogues, heard, strict=True):
        slates: set[object] = set()
        offered: set[int] = set()
        topics: set[int] = set()
        named: set[int] = set()
        for act, response in turns:
            if act is not None:
                slate, films = _slate(act), set(items_in(act))
                offers = isinstance(act, Recommendation)
                topic = act.attribute if isinstance(act, AttributeQuery) else None
                users.append(dialogue.user_id)
                kinds.append(
                    (
                        slate in slates,
                        offers and bool(films & offered),
                        topic in topics,
                        bool(films & named),
                    )
                )
                slates.add(slate)
                named |= films
                offered |= films if offers else set()
                topics |= {topic} if topic is not None else set()
            if isinstance(response, Critique):
                topics.add(response.attribute)
    table = np.array(kinds, bool).reshape(-1, 4)
    return [
        Figure.of("redundant acts", table[:, :3].any(1), users),
        Figure.of("repeated slates", table[:, 0], users),
        Figure.of("repeated offers", table[:, 1], users),
        Figure.of("repeated attributes", table[:, 2], users),
        Figure.of("films named again", table[:, 3], users),
    ]


def attribute_consistency(
    dialogues: Sequence[Dialogue], heard: Sequence[tuple[Heard, ...]], world: World
) -> list[Figure]:
    """Does the recommender go where the user points?

    After an answer or a critique ("funnier than Heat"), the films of the recommender's next act
    have more (or less) of the attribute, on their mean, than the film that the user compared with.

    Returns:
        the share of the wishes that the next act follows; the same where that act is a
        recommendation; what films drawn evenly from the catalogue would reach, one at a time.
    """
    scores = world.attribute_scores
    users, follows, offers, chance = [], [], [], []
    for dialogue, turns in zip(dialogues, heard, strict=True):
        for n, (now, following) in enumerate(pairwise(turns)):
            wish = _wish(dialogue.turns[n].act, now)
            if wish is None or following.act is None or not items_in(following.act):
                continue
            film, attribute, direction = wish
            moved = direction * (scores[:, attribute] - scores[film, attribute])
            mean = scores[list(items_in(following.act)), attribute].mean()
            users.append(dialogue.user_id)
            follows.append(direction * (mean - scores[film, attribute]) > 0)
            offers.append(isinstance(following.act, Recommendation))
            chance.append(float((moved > 0).mean()))
    offered = np.array(offers, bool)
    return [
        Figure.of("wishes followed", follows, users),
        Figure.of(
            "wishes followed by offers", np.array(follows)[offered], np.array(users)[offered]
        ),
        Figure.of("wishes followed by chance", chance, users),
    ]


def _slate(act: ReadableRecommenderAct) -> object:
    if isinstance(act, AttributeQuery):
        return type(act), act.item, act.attribute
    # to have nothing to offer, twice, repeats nothing
    return (type(act), frozenset(act.items)) if act.items else object()


def _wish(act: ReadableRecommenderAct, heard: Heard) -> tuple[int, int, int] | None:
    match heard.response:
        case Critique(item, attribute, direction):
            return item, attribute, direction
        case Answer(attribute, direction) if isinstance(act, AttributeQuery):
            return act.item, attribute, direction
    return None

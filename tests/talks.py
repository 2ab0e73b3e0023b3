"""Dialogues to read and to judge, in the film world: the acts follow a script, the user the truth.

EVOI, expected utilities and what was believed are made up, as no recommender is at work.
"""

from dataclasses import replace
from functools import cache

import numpy as np

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
from crs_gym.dialogue import VARIANTS, say, say_response
from crs_gym.generation.records import Dialogue, Exchange, Words
from crs_gym.world import World, load_world


@cache
def film_talks(count: int = 12) -> tuple[World, tuple[Dialogue, ...]]:
    """The bundled world and `count` dialogues; numbers 2n and 2n + 1 are of one user."""
    world = load_world("films")
    return world, tuple(_talk(world, number) for number in range(count))


def rewritten(dialogue: Dialogue, mark: str = "Honestly, ") -> Dialogue:
    """The same dialogue in words that a model could have written: `mark` before each sentence."""

    def reword(words: Words) -> Words:
        return replace(words, text=mark + words.template, source="model")

    return dialogue.with_words([(reword(t.recommender), reword(t.user)) for t in dialogue.turns])


def _talk(world: World, number: int) -> Dialogue:
    row = number // 2
    rng = np.random.default_rng(number)
    phi = rng.normal(world.user_mean[row], world.user_std[row]).astype(np.float32)
    utilities = world.item_embeddings @ phi
    films = rng.permutation(world.n_items)[:40].tolist()
    ask, attribute = ItemQuery(tuple(films[:2])), int(rng.integers(world.n_attributes))
    about, offer = AttributeQuery(films[2], attribute, 1), Recommendation(tuple(films[3:5]))
    last = Recommendation(tuple(films[5:7]))
    end: ReadableUserAct = (Accept(films[5]), Reject(), Leave())[number % 3]
    acts: list[tuple[ReadableRecommenderAct, ReadableUserAct]] = [
        (ask, Choice(max(ask.items, key=lambda item: utilities[item]))),
        (about, Answer(attribute, int(rng.choice([1, -1])))),
        (offer, Critique(films[3], (attribute + 1) % world.n_attributes, -1)),
        (last, end),
    ]
    return Dialogue(
        number=number,
        user_id=row,
        embedding=phi,
        prior_mean=world.user_mean[row],
        prior_std=world.user_std[row],
        temperature=0.4,
        patience=1.0,
        critique_rate=0.5,
        utility_mean=float(utilities.mean()),
        utility_best=float(utilities.max()),
        utility_null=float(np.quantile(utilities, 0.9)),
        accepted=films[5] if number % 3 == 0 else -1,
        left=number % 3 == 2,
        reward=float(number % 3 == 0),
        key=(0, number),
        turns=tuple(
            _exchange(world, utilities, act, response, turn)
            for turn, (act, response) in enumerate(acts)
        ),
        version="0.1.0",
        world=world.hash,
    )


def _exchange(
    world: World,
    utilities: np.ndarray,
    act: ReadableRecommenderAct,
    response: ReadableUserAct,
    turn: int,
) -> Exchange:
    items = (act.item,) if isinstance(act, AttributeQuery) else act.items
    variant = turn % VARIANTS
    said, answered = say(act, world, variant), say_response(response, act, world, variant)
    believed = int(np.argsort(-utilities)[20 - turn])
    regret = (utilities.max() - utilities[believed]) / (utilities.max() - utilities.mean())
    return Exchange(
        act=act,
        response=response,
        recommender=Words(said, variant, said),
        user=Words(answered, variant, answered),
        draws=(0.5,) * 5,
        probability=0.625,
        utilities=tuple(float(utilities[item]) for item in items),
        evoi=0.5 / (turn + 1),
        expected_utility=1.0 + 0.25 * turn,
        believed=believed,
        regret=float(regret),
    )

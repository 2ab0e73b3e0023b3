"""Templated dialogues of random acts, for trying out rewriting where no simulation is needed."""

from __future__ import annotations

import random

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
from crs_gym.dialogue.understanding import furthest
from crs_gym.generation.records import Dialogue, Exchange, Words
from crs_gym.world import World


def an_exchange(rng: random.Random, world: World) -> tuple[ReadableRecommenderAct, ReadableUserAct]:
    """A random act and a random response that fits it; slates of one to four films, often two."""
    items = tuple(rng.sample(range(world.n_items), rng.choice((1, 2, 2, 2, 3, 4))))
    item, attribute = rng.choice(items), rng.randrange(world.n_attributes)
    direction, wording = rng.choice((1, -1)), rng.choice((1, -1))
    if rng.random() < 0.03:
        return rng.choice((Recommendation(()), Recommendation(items))), Leave()
    match rng.choice(("offer", "offer", "offer", "item", "attribute")):
        case "item" if len(items) > 1:
            return ItemQuery(items), Choice(item)
        case "attribute":
            return AttributeQuery(item, attribute, wording), Answer(attribute, direction)
    offer = Recommendation(items)
    compared = furthest(items, attribute, direction, world)
    return offer, rng.choice((Accept(item), Reject(), Critique(compared, attribute, direction)))


def a_dialogue(rng: random.Random, number: int, world: World, turns: int = 5) -> Dialogue:
    """A dialogue of up to `turns` random exchanges in template sentences.

    Nobody's taste is behind the responses: what a record says of the user is zero.
    """
    exchanges: list[Exchange] = []
    while len(exchanges) < turns:
        act, response = an_exchange(rng, world)
        variants = rng.randrange(VARIANTS), rng.randrange(VARIANTS)
        said = say(act, world, variants[0]), say_response(response, act, world, variants[1])
        recommender, user = (
            Words(text, variant, text) for text, variant in zip(said, variants, strict=True)
        )
        exchanges.append(
            Exchange(
                act=act,
                response=response,
                recommender=recommender,
                user=user,
                draws=(0.0,) * 5,
                probability=0.0,
                utilities=(),
                evoi=0.0,
                expected_utility=0.0,
                believed=0,
                regret=0.0,
            )
        )
        if isinstance(response, Accept | Leave):
            break
    last = exchanges[-1].response
    nothing = np.zeros(world.dim, np.float32)
    return Dialogue(
        number=number,
        user_id=0,
        embedding=nothing,
        prior_mean=nothing,
        prior_std=nothing,
        temperature=0.0,
        patience=0.0,
        critique_rate=0.0,
        utility_mean=0.0,
        utility_best=0.0,
        utility_null=0.0,
        accepted=last.item if isinstance(last, Accept) else -1,
        left=isinstance(last, Leave),
        reward=0.0,
        key=(0, number),
        turns=tuple(exchanges),
        version="",
        world=world.hash,
    )

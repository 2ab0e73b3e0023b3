"""What the belief proposes for the next turn: made once a turn, for codecs of both kinds."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax

from crs_gym.inference import Inference
from crs_gym.inference.belief import Samples
from crs_gym.inference.recommend import cover, offers
from crs_gym.inference.search import attribute_queries, item_query
from crs_gym.simulation import Simulator, View, turn_keys

Course = Literal["items", "slate", "query", "about"]


class Menu(NamedTuple):
    """Proposals of the belief; None for those that nobody asked for.

    items: (C,) int32, those most likely to be accepted, the likeliest first.
    acceptance: (C,) the probability of that for each, offered alone.
    slate: (k,) int32, the slate of them that is most likely to be accepted.
    query: `ItemQuery` of the highest EVOI that a quick search finds.
    about: `AttributeQueries`, for each attribute the query that is worth most.
    """

    items: Any
    acceptance: Any
    slate: Any
    query: Any
    about: Any


class Believer(NamedTuple):
    """What codecs may use: the view with its belief, what that proposes, and the machinery.

    menu: `Menu`; None where codecs need no belief.
    """

    view: View
    menu: Any
    simulator: Simulator
    inference: Inference

    @property
    def samples(self) -> Samples:
        """The belief."""
        found: Samples = self.inference.samples(self.view.belief)
        return found


def propose(
    key: jax.Array,
    view: View,
    simulator: Simulator,
    inference: Inference,
    wanted: frozenset[Course],
    candidates: int = 64,
) -> Menu:
    """What the belief proposes, as far as it is wanted.

    Args:
        key: the episode's key.
        wanted: fields of `Menu`; "slate" needs, and gives, "items".
        candidates: C, at least k.
    """
    samples = inference.samples(view.belief)
    items, model, k = simulator.items, simulator.model, simulator.slate_size
    rejected = view.context.rejected
    _, luck = turn_keys(key, view.context.turn + 1)
    best = acceptance = slate = query = about = None
    if wanted & {"items", "slate"}:
        found = offers(samples, items, model, rejected, candidates)
        best, acceptance = found.items, found.acceptance
        slate = cover(found, samples.weights, k) if "slate" in wanted else None
    # both searches are coarser than those of the policies: they are made at every step
    if "query" in wanted:
        query = item_query(luck, samples, items, model, k, starts=8, climbs=0, excluded=rejected)
    if "about" in wanted:
        about = attribute_queries(
            samples, items, model, thresholds=5, contenders=64, excluded=rejected
        )
    return Menu(best, acceptance, slate, query, about)

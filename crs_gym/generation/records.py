"""A dialogue of a data set: acts, words, and all that they came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from crs_gym.acts import ReadableRecommenderAct, ReadableUserAct

Source = Literal["template", "model", "fallback"]
"""Where words come from: a template; a language model that rewrote it; or a template that stands
where a model failed to rewrite it."""

Speaker = Literal["Recommender", "User"]


@dataclass(frozen=True)
class Words:
    """One side's words in a turn.

    template: the sentence that a template gives.
    variant: which of the act's templates.
    text: what is said: the template, or what a language model made of it.
    source: where `text` comes from.
    """

    template: str
    variant: int
    text: str
    source: Source = "template"


@dataclass(frozen=True)
class Exchange:
    """One turn: an act of the recommender and the user's response to it.

    act, response: what was done.
    recommender, user: what was said.
    draws: the (5,) uniform draws from which the response followed.
    probability: P(response | act, phi_u).
    utilities: the user's utility of each item of the act.
    evoi: EVOI of the best query that was found in this turn, asked or not, in units of utility.
    expected_utility: EU* before the turn; -inf where every item was rejected.
    believed: the item of highest expected utility before the turn, 0 where all were rejected.
    regret: how much the user's utility of `believed` lies under that of their favourite item, as a
        share of what lies between favourite and mean item: 0 for the favourite, 1 for the mean.
    """

    act: ReadableRecommenderAct
    response: ReadableUserAct
    recommender: Words
    user: Words
    draws: tuple[float, ...]
    probability: float
    utilities: tuple[float, ...]
    evoi: float
    expected_utility: float
    believed: int
    regret: float


@dataclass(frozen=True, eq=False)
class Dialogue:
    """One conversation.

    number: which of the data set, from 0.
    user_id: row of the world's population.
    embedding: (d,) float32 phi_u.
    prior_mean, prior_std: (d,) float32, what the recommender knew at the start.
    temperature, patience, critique_rate: the user's traits.
    utility_mean, utility_best, utility_null: the user's mean and best utility over all items, and
        that of the null item.
    accepted: the item accepted; -1 where none was.
    left: whether the user left.
    reward: the sum of the rewards.
    key: the episode's threefry key, two 32-bit words.
    turns: the turns played.
    version, world: of crs-gym, and the world's hash.
    """

    number: int
    user_id: int
    embedding: np.ndarray
    prior_mean: np.ndarray
    prior_std: np.ndarray
    temperature: float
    patience: float
    critique_rate: float
    utility_mean: float
    utility_best: float
    utility_null: float
    accepted: int
    left: bool
    reward: float
    key: tuple[int, int]
    turns: tuple[Exchange, ...]
    version: str
    world: str

    def lines(self, turns: int | None = None, templates: bool = False) -> list[tuple[Speaker, str]]:
        """What is said in the first `turns` turns (all if None), speaker by speaker."""
        return list(_lines(self.turns[:turns], templates))

    def transcript(self, turns: int | None = None, templates: bool = False) -> str:
        """The same as text, one line for each speaker's turn."""
        return "\n".join(f"{who}: {words}" for who, words in self.lines(turns, templates))

    def with_words(self, words: list[tuple[Words, Words]]) -> Dialogue:
        """The same dialogue in other words: (recommender's, user's) for each turn.

        Raises:
            ValueError: words for more or fewer turns than there are.
        """
        pairs = zip(self.turns, words, strict=True)
        turns = tuple(replace(turn, recommender=a, user=b) for turn, (a, b) in pairs)
        return replace(self, turns=turns)


def _lines(turns: tuple[Exchange, ...], templates: bool) -> Iterator[tuple[Speaker, str]]:
    for turn in turns:
        yield "Recommender", turn.recommender.template if templates else turn.recommender.text
        yield "User", turn.user.template if templates else turn.user.text

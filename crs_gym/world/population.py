"""A synthetic population that rates the films of a catalogue.

Users belong to one or two groups of taste that a person would recognise ("horror nights", "true
stories"), each a set of likes and dislikes of soft attributes, and have tastes of their own beside.
Films are watched by popularity and liking, and rated in half stars with biases and noise. The
constants are set so that the table has roughly the statistics of MovieLens' small table (films with
at least 20 ratings); `experiments/world/film_world.py` measures both and draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from crs_gym.world.films import Films
from crs_gym.world.ratings import Ratings


def _group(**likes: float) -> Mapping[str, float]:
    names = {name: name.replace("_", " ").replace("far fetched", "far-fetched") for name in likes}
    return MappingProxyType({names[name]: weight for name, weight in likes.items()})


TASTE_GROUPS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "family afternoons": _group(
            animated=2.5, playful=2, funny=1, juvenile_humor=0.5, harsh=-2, violent=-1.5, scary=-1.5
        ),
        "horror nights": _group(
            scary=3, terrifying=2, gory=2, crazy_gore=1.5, intense=1, romantic=-1.5, cheesy=-0.5
        ),
        "action and spectacle": _group(
            action_filled=2.5, big_budget=2, over_the_top=1, intense=1, complicated=-1, serious=-1
        ),
        "romance": _group(
            romantic=3, believable=0.5, impactful=0.5, violent=-1.5, gory=-1.5, scary=-1
        ),
        "food for thought": _group(
            make_you_think=2.5, complicated=2, well_directed=1.5, cheesy=-2, juvenile_humor=-1.5
        ),
        "true stories": _group(
            factual=2.5, documentary_style=1.5, realistic=2, feels_real=1.5, unrealistic=-2,
            cartoonish=-1.5,
        ),
        "crude comedy": _group(
            juvenile_humor=2.5, funny=2.5, tongue_and_cheek=1, serious=-2, long=-1.5,
        ),
        "dark crime": _group(
            violent=2, harsh=2, intense=1.5, realistic=1, cheesy=-2, animated=-1.5, romantic=-1
        ),
        "other worlds": _group(
            unrealistic=2.5, far_fetched=1.5, fictionalized=1, big_budget=1, long=0.5, realistic=-1
        ),
        "great dramas": _group(
            serious=2, impactful=2.5, long=1.5, believable=1.5, feels_real=1, juvenile_humor=-2
        ),
        "ironic cult": _group(
            tongue_and_cheek=2.5, crazy_gore=1.5, over_the_top=1.5, playful=1, big_budget=-1.5,
            cheesy=-0.5,
        ),
        "comfort": _group(
            cheesy=1.5, funny=1.5, romantic=1, complicated=-1.5, harsh=-2, intense=-1, scary=-1
        ),
    }
)  # fmt: skip
"""Likes (above 0) and dislikes of soft attributes, by the name of the group."""

GROUP_SHARES = (1.2, 0.6, 1.6, 1.0, 0.8, 0.5, 0.9, 1.0, 1.5, 1.0, 0.5, 1.2)
"""How common each group is, in the order of `TASTE_GROUPS`."""

QUALITY = MappingProxyType(
    {"well directed": 1.0, "impactful": 0.7, "believable": 0.3, "cheesy": -0.3}
)
"""What nearly everybody holds for better: weights of the films' common quality."""


@dataclass(frozen=True)
class Population:
    """Numbers that shape the ratings; deviations are in stars.

    users: how many. activity: median number of ratings a user gives, with `activity_spread` the
        deviation of its logarithm, at least `least_activity`. mean: of the ratings of a film as
        such. quality, taste, hidden: deviations over films of the common quality, of a user's taste
        in attributes, and of a taste in what no attribute tells. own: size of a user's own likes
        beside the group's. popularity: how much likelier the best-known film is watched than one
        half as known, in logarithms. choosy: how much likelier a film is watched that is liked by a
        deviation more. bias, noise: deviations of a user's mean and of single ratings. whole: share
        of users who give whole stars only. hidden_rank: dimensions of the hidden tastes.
    """

    users: int = 10_000
    activity: float = 45.0
    activity_spread: float = 1.05
    least_activity: int = 14
    mean: float = 3.4
    quality: float = 0.4
    taste: float = 0.6
    hidden: float = 0.15
    own: float = 3.0
    popularity: float = 2.1
    choosy: float = 0.35
    bias: float = 0.46
    noise: float = 0.75
    whole: float = 0.45
    hidden_rank: int = 6


@dataclass(frozen=True, eq=False)
class Rated:
    """Ratings and who gave them.

    ratings: the table; film i is `item_ids == i + 1`.
    groups: (U,) int32 first group of each user, an index into the keys of `TASTE_GROUPS`.
    tastes: (U, G) float64 likes of the standardised attributes.
    """

    ratings: Ratings
    groups: np.ndarray
    tastes: np.ndarray


def rate_films(films: Films, population: Population | None = None, seed: int = 0) -> Rated:
    """Draws a population and lets it rate the catalogue.

    Args:
        films: N films on G attributes, among them all that the taste groups and `QUALITY` name.
        population: its numbers.
        seed: the same arguments give the same table.

    Raises:
        ValueError: attributes that a taste group names and the catalogue lacks.
    """
    p = population or Population()
    rng = np.random.default_rng(seed)
    grades, n = films.standardised, len(films.titles)
    places = {a.name: g for g, a in enumerate(films.attributes)}

    def weights(likes: Mapping[str, float]) -> np.ndarray:
        if missing := sorted(set(likes) - set(places)):
            raise ValueError(
                f"the taste groups speak of {', '.join(missing)}, which the films are not graded on"
            )
        found = np.zeros(len(places))
        for name, weight in likes.items():
            found[places[name]] = weight
        return found

    groups = np.stack([weights(likes) for likes in TASTE_GROUPS.values()])
    groups /= np.linalg.norm(groups, axis=1, keepdims=True)
    shares = np.array(GROUP_SHARES) / sum(GROUP_SHARES)
    first, second = rng.choice(len(groups), (2, p.users), p=shares)
    share = rng.uniform(0.5, 1.0, (p.users, 1))
    own = rng.standard_normal((p.users, len(places))) @ _levelling(grades)
    tastes = share * groups[first] + (1 - share) * groups[second] + p.own * own
    liking = tastes @ grades.T
    hidden = rng.standard_normal((p.users, p.hidden_rank)) @ rng.standard_normal((p.hidden_rank, n))
    quality = _unit(grades @ weights(QUALITY))
    liking = p.taste * _unit(liking) + p.hidden * _unit(hidden) + p.quality * quality

    appeal = p.popularity * (films.popularity - 50) / 50 + p.choosy * _unit(liking)
    counts = np.exp(np.log(p.activity) + p.activity_spread * rng.standard_normal(p.users))
    counts = np.clip(np.round(counts), p.least_activity, n // 2).astype(int)
    # the largest of appeal + Gumbel noise: drawing without replacement in proportion to exp(appeal)
    order = np.argsort(-(appeal + rng.gumbel(size=(p.users, n))), axis=1)
    users = np.repeat(np.arange(p.users), counts)
    items = np.concatenate([np.sort(order[u, :c]) for u, c in enumerate(counts)])
    stars = (
        p.mean
        + p.bias * rng.standard_normal(p.users)[users]
        + liking[users, items]
        + p.noise * rng.standard_normal(len(users))
    )
    step = np.where(rng.uniform(size=p.users) < p.whole, 1.0, 0.5)[users]
    values = np.clip(np.round(stars / step) * step, 0.5, 5.0)
    ratings = Ratings(
        users=users,
        items=items,
        values=values,
        user_ids=np.arange(1, p.users + 1),
        item_ids=np.arange(1, n + 1),
        titles=films.titles,
        years=films.years,
        genres=films.genres,
    )
    return Rated(ratings, first.astype(np.int32), tastes)


def _levelling(grades: np.ndarray) -> np.ndarray:
    """(G, G) matrix that makes likes differ along all principal directions of the grades, not only
    along the few that most attributes share: (correlation)^(-1/4), scaled for likes of length 1.
    """
    values, vectors = np.linalg.eigh(np.cov(grades, rowvar=False, bias=True))
    scale = np.maximum(values, 1e-3) ** -0.25
    return np.asarray((vectors * scale) @ vectors.T / np.linalg.norm(scale))


def _unit(values: np.ndarray) -> np.ndarray:
    """Each row centred, and scaled to deviation 1."""
    return np.asarray((values - values.mean(-1, keepdims=True)) / values.std(-1, keepdims=True))

"""Who a language model plays: tastes, films that were seen, and what is wanted today (Interplay,
section 3.3), all made from phi_u and the world's gradings.

A persona names no film that would do: those it has seen are none of the user's favourites, and what
is wanted is told in attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from crs_gym.dialogue.lexicon import lexicon
from crs_gym.envs.text import Person
from crs_gym.users.model import Items, UserModel, items_of, target_attributes
from crs_gym.world import World

FAVOURITES = 20
"""Films of the highest utility that a persona never names; a tenth of a catalogue of under 200."""

TASTES, TODAY, SEEN, REASONS = 5, 3, 3, 2
"""How many attributes and films a persona tells of, and reasons for what it says of a film."""

_WANTED = 0.5  # deviations from which on an attribute is spoken of
_DEGREES = ((3.0, "far"), (2.0, "much"), (1.0, "rather"), (0.0, "slightly"))
_VERDICTS = {5: "loved it", 4: "liked it", 3: "so-so", 2: "disliked it", 1: "hated it"}


class Taste(NamedTuple):
    """A wish for more of an attribute than the average film has, or for less.

    attribute: index.
    size: c_g . phi* of the user's target film less its mean over the films, in standard deviations
        over the films; negative where less is wanted.
    """

    attribute: int
    size: float


class Seen(NamedTuple):
    """A film that the user has rated.

    item: catalogue index.
    stars: 1 to 5: 3 and the film's utility in the user's own standard deviations from the user's
        own mean, rounded.
    pros, cons: what the film has of what the user wants, and what it has against it, the most
        telling first: (attribute, +1 for more of it than most films have, -1 for less).
    """

    item: int
    stars: int
    pros: tuple[tuple[int, int], ...]
    cons: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Persona:
    """What a user knows of itself.

    tastes: the strongest, strongest first.
    seen: three films, the best first, none of them among the user's `FAVOURITES`; one at least is
        liked (4 stars or 5) and one disliked (1 or 2) where the catalogue has such.
    today: further wishes, weaker than the tastes.
    """

    world: World = field(repr=False)
    tastes: tuple[Taste, ...]
    seen: tuple[Seen, ...]
    today: tuple[Taste, ...]

    def text(self) -> str:
        """The persona in words to the one who plays it, a line for each part that there is."""
        lines = []
        if self.tastes:
            lines.append(f"You like films {self._wishes(self.tastes)}.")
        films = "; ".join(map(self._film, self.seen))
        lines.append(f"Seen, and compared with most films: {films}.")
        if self.today:
            lines.append(f"Today you also want something {self._wishes(self.today)}.")
        return "\n".join(lines)

    def review(self, film: Seen) -> str:
        """What the user says of a film: "loved it: funnier and less gory", than most films."""
        pros, cons = (
            " and ".join(self._wording(*found) for found in reasons)
            for reasons in (film.pros, film.cons)
        )
        if film.stars == 3:
            reasons = ", but ".join(filter(None, (pros, cons)))
        else:
            reasons = pros if film.stars > 3 else cons
        verdict = _VERDICTS[film.stars]
        return f"{verdict}: {reasons}" if reasons else verdict

    def _film(self, film: Seen) -> str:
        return f"{lexicon(self.world).films[film.item]}, {self.review(film)}"

    def _wishes(self, tastes: Sequence[Taste]) -> str:
        words = []
        for attribute, size in tastes:
            degree = next(word for least, word in _DEGREES if abs(size) >= least)
            before, joint, wording = self._wording(attribute, size).rpartition("with ")
            words.append(f"{before}{joint}{degree} {wording}")
        return ", ".join(words)

    def _wording(self, attribute: int, direction: float) -> str:
        wordings = self.world.attributes[attribute]
        return wordings.more if direction > 0 else wordings.less


@lru_cache(maxsize=1024)
def persona_of(person: Person) -> Persona:
    """The persona of a person, always the same for the same.

    Args:
        person: its `user.embedding` is phi_u; its `seed` decides the draws. The target film is that
            of the world's own parameters of `UserModel`: another `target_scale` makes the same
            wishes larger or smaller.
    """
    world, phi = person.world, np.asarray(person.user.embedding, np.float64)
    rng = np.random.default_rng(person.seed)
    items, model, middle = _measures(world)
    target = np.asarray(target_attributes(jnp.asarray(phi, jnp.float32), items, model))
    sizes = target - world.attribute_scores.mean(0)
    order = np.argsort(-np.abs(sizes), kind="stable")
    wanted = [Taste(int(g), float(sizes[g])) for g in order if abs(sizes[g]) >= _WANTED]
    tastes, others = tuple(wanted[:TASTES]), wanted[TASTES:]
    weights = np.array([abs(taste.size) for taste in others])
    drawn = _draw(rng, np.arange(len(others)), weights, TODAY)
    today = tuple(others[n] for n in sorted(drawn))

    utilities = world.item_embeddings.astype(np.float64) @ phi
    stars = _stars(utilities)
    graded = world.attribute_scores - middle
    seen = [
        Seen(item, int(stars[item]), *_reasons(graded[item], sizes))
        for item in _films(rng, world, utilities, stars)
    ]
    seen.sort(key=lambda film: -utilities[film.item])
    return Persona(world, tastes, tuple(seen), today)


@lru_cache(maxsize=8)
def _measures(world: World) -> tuple[Items, UserModel, np.ndarray]:
    """What personas of a world are made with; last the (G,) medians of the gradings."""
    return items_of(world), UserModel.of(world), np.median(world.attribute_scores, axis=0)


def _stars(utilities: np.ndarray) -> np.ndarray:
    """(N,) 1 to 5, of a user to whom all films are alike 3."""
    spread = utilities.std()
    deviations = (utilities - utilities.mean()) / (spread if spread > 0 else 1.0)
    return np.clip(np.rint(3 + deviations), 1, 5)


def _films(
    rng: np.random.Generator, world: World, utilities: np.ndarray, stars: np.ndarray
) -> list[int]:
    """One that is liked, one that is not, and any others, popular films more often."""
    ranked = np.argsort(-utilities, kind="stable")
    allowed = ranked[min(FAVOURITES, world.n_items // 10) :]
    liked = allowed[stars[allowed] >= 4]
    disliked = allowed[stars[allowed] <= 2]
    films: list[int] = []
    for pool, size in ((liked, 1), (disliked, 1), (allowed, SEEN)):
        left = np.array([item for item in pool if item not in films], int)
        chosen = _draw(rng, left, world.popularity[left] + 1e-6, min(size, SEEN - len(films)))
        films += chosen.tolist()
    return films


def _draw(
    rng: np.random.Generator, values: np.ndarray, weights: np.ndarray, size: int
) -> np.ndarray:
    """Up to `size` different ones."""
    size = min(size, len(values))
    if not size:
        return values[:0]
    chances = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    return rng.choice(values, size, replace=False, p=chances)


def _reasons(
    graded: np.ndarray, sizes: np.ndarray
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """What speaks for a film and what against it, of what it clearly has more or less of than most.

    Args:
        graded: (G,) the film's gradings less the medians over the films.
        sizes: (G,) of the wishes.
    """
    telling = np.where(np.abs(graded) >= _WANTED, graded * sizes, 0.0)
    found = []
    for sign in (1, -1):
        order = np.argsort(-sign * telling, kind="stable")[:REASONS]
        found.append(
            tuple((int(g), 1 if graded[g] > 0 else -1) for g in order if sign * telling[g] > 0)
        )
    return found[0], found[1]

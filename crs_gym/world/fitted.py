"""Worlds fitted to ratings: factorisation, rotation, soft attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crs_gym.world.build import (
    EVALUATION_SHARE,
    assemble,
    evaluation_split,
    population_rotation,
)
from crs_gym.world.errors import DataError
from crs_gym.world.factorisation import factorise, user_posteriors
from crs_gym.world.films import pairs_from_grades, read_films
from crs_gym.world.movielens import read_movielens
from crs_gym.world.population import Population, rate_films
from crs_gym.world.ratings import Ratings
from crs_gym.world.softattributes import (
    AttributePairs,
    fit_cavs,
    pairs_from_tags,
    read_soft_attributes,
    select,
)
from crs_gym.world.world import Attribute, World

MOVIELENS_LICENCE = (
    "MovieLens terms: research use, acknowledgement, no commercial use (see the data set's README)"
)


def build_movielens(
    path: str | Path,
    *,
    dim: int = 64,
    min_item_ratings: int = 20,
    min_user_ratings: int = 50,
    soft_attributes: str | Path | None = None,
    attributes: int = 33,
    evaluation_share: float = EVALUATION_SHARE,
    seed: int = 0,
    progress: bool = False,
) -> World:
    """A world fitted to a MovieLens data set, not yet calibrated (ICER, section 4).

    Args:
        path: folder or zip, see `read_movielens`.
        dim: dimensions of the factorisation; the world has one more, the quality.
        min_item_ratings: films with fewer ratings are left out.
        min_user_ratings: users with fewer ratings help to fit the films, but are not in the world.
        soft_attributes: SoftAttributes CSV; the data set's tags where it is None.
        attributes: how many attributes to keep; fewer where the data has fewer.
        evaluation_share: of the users, those who are kept for evaluation; 0 to 1, exclusive.
        seed: of the fit, the choice of attributes and the split of the users.

    Raises:
        DataError: broken data, or filters that leave too little.
    """
    path = Path(path)
    ratings = read_movielens(path, progress=progress).filtered(min_item_ratings=min_item_ratings)
    if soft_attributes is None:
        pairs = pairs_from_tags(ratings)
    else:
        pairs = read_soft_attributes(soft_attributes, ratings.titles, ratings.years)
    source = f"MovieLens ({path.resolve().name}), films with at least {min_item_ratings} ratings"
    licence = MOVIELENS_LICENCE
    if soft_attributes is not None:
        source += "; SoftAttributes (Balog et al. 2021)"
        licence += "; SoftAttributes: CC BY 4.0"
    return fit_world(
        ratings,
        pairs,
        dim=dim,
        min_user_ratings=min_user_ratings,
        attributes=attributes,
        evaluation_share=evaluation_share,
        seed=seed,
        name=path.resolve().stem,
        source=source,
        licence=licence,
        progress=progress,
    )


def build_films(
    films: str | Path | None = None,
    *,
    population: Population | None = None,
    dim: int = 32,
    min_user_ratings: int = 50,
    seed: int = 0,
    progress: bool = False,
) -> World:
    """The film world, not yet calibrated: a catalogue, rated by a synthetic population.

    The ratings go the way of MovieLens' ratings; CAVs are learnt from the grades.

    Args:
        films: a catalogue in CSV, see `crs_gym.world.films`; the bundled one by default.
        population: who rates.
        dim: dimensions of the factorisation.
        min_user_ratings: users with fewer ratings help to fit the films, but are not in the world.
        seed: of the population, the fit and the split of the users.

    Raises:
        DataError: a catalogue that does not pass `lint_films`.
    """
    catalogue = read_films(films)
    return fit_world(
        rate_films(catalogue, population, seed).ratings,
        pairs_from_grades(catalogue, seed=seed),
        dim=dim,
        min_user_ratings=min_user_ratings,
        attributes=len(catalogue.attributes),
        seed=seed,
        name="films",
        source="crs-gym's catalogue of films, rated by a synthetic population",
        licence="Apache-2.0",
        wordings=catalogue.attributes,
        progress=progress,
    )


def fit_world(
    ratings: Ratings,
    pairs: AttributePairs,
    *,
    dim: int,
    min_user_ratings: int,
    attributes: int,
    seed: int,
    name: str,
    source: str,
    licence: str,
    wordings: Sequence[Attribute] = (),
    evaluation_share: float = EVALUATION_SHARE,
    progress: bool = False,
) -> World:
    """Factorises `ratings`, rotates the space so that the population of training users has a
    diagonal covariance, and learns a CAV for each of the chosen attributes.
    """
    active = np.flatnonzero(ratings.user_counts >= min_user_ratings)
    if len(active) < 2:
        raise DataError(
            f"{len(active)} users have at least {min_user_ratings} ratings, a world needs 2; "
            "lower min_user_ratings or min_item_ratings"
        )
    fit = factorise(ratings, d=dim, seed=seed, progress=progress)
    evaluation = evaluation_split(len(active), seed, evaluation_share)
    rotation = population_rotation(fit.user_mean[active[~evaluation]])
    user_mean, user_std = user_posteriors(fit, ratings, rotation)
    factors = fit.item_mean @ rotation.T
    features = item_features(fit.item_bias, factors)
    chosen = select(features, pairs, n=min(attributes, len(pairs.names)), seed=seed)
    cavs = fit_cavs(features, pairs)[chosen]
    report: dict[str, Any] = {
        "fit": {
            "ratings": len(ratings.values),
            "noise deviation": round(fit.noise_std, 3),
            "effective dimensions": round(_participation(user_mean.var(0) * factors.var(0)), 1),
        },
        "soft_attributes": {
            "attributes in the data": len(pairs.names),
            "pairs": len(pairs.attribute),
            "kept": len(chosen),
        },
    }
    return assemble(
        quality=fit.item_bias,
        factors=factors,
        user_mean=user_mean[active],
        user_std=user_std[active],
        cavs=cavs,
        attribute_names=[pairs.names[g] for g in chosen],
        titles=ratings.titles,
        years=ratings.years,
        genres=ratings.genres,
        popularity=ratings.item_counts,
        seed=seed,
        name=name,
        source=source,
        licence=licence,
        evaluation=evaluation,
        wordings={attribute.name: attribute for attribute in wordings},
        report=report,
    )


def item_features(item_bias: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(N, 1 + d) what CAVs are learnt on: quality standardised, factors centred, as in a world."""
    quality = (item_bias - item_bias.mean()) / item_bias.std()
    return np.column_stack([quality, factors - factors.mean(0)])


def _participation(variances: np.ndarray) -> float:
    return float(variances.sum() ** 2 / (variances**2).sum())

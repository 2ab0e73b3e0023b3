"""The last steps that all builders share: from factors to a `World`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crs_gym.world.errors import DataError
from crs_gym.world.world import Attribute, World

EVALUATION_SHARE = 0.25


def assemble(
    *,
    quality: np.ndarray,
    factors: np.ndarray,
    user_mean: np.ndarray,
    user_std: np.ndarray,
    cavs: np.ndarray,
    attribute_names: Sequence[str],
    titles: Sequence[str],
    years: np.ndarray,
    genres: Sequence[tuple[str, ...]],
    popularity: np.ndarray,
    seed: int,
    name: str,
    source: str,
    licence: str,
    evaluation: np.ndarray | None = None,
    wordings: Mapping[str, Attribute] | None = None,
    report: Mapping[str, Any] | None = None,
) -> World:
    """A world in its normal form, with every user's weight on quality still 0.

    Items are centred (only differences of utility matter, and the target item then lies in the
    direction of phi_u from the average item), quality has standard deviation 1, and each CAV is
    scaled so that its scores have standard deviation 1 over the items.

    Args:
        quality: (N,) item bias. factors: (N, d - 1) taste factors. user_mean, user_std:
            (U, d - 1) priors of the users over the taste factors. cavs: (G, d) on
            [quality standardised, factors centred]. evaluation: (U,) bool, drawn with `seed` where
            it is not given.
        wordings: of attributes, by name; "more funny" and "less funny" where there are none.

    Raises:
        DataError: items of constant quality, or an attribute that is constant over the items.
    """
    spread = quality.std()
    if not spread > 0:
        raise DataError("all items have the same quality: there is nothing to standardise")
    embeddings = np.column_stack([(quality - quality.mean()) / spread, factors - factors.mean(0)])
    scale = (embeddings @ cavs.T).std(0)
    if (scale <= 0).any():
        constant = [attribute_names[int(g)] for g in np.flatnonzero(scale <= 0)]
        raise DataError(f"attributes {constant} do not vary over the items; leave them out")
    users = len(user_mean)
    if evaluation is None:
        evaluation = evaluation_split(users, seed)
    column = np.zeros((users, 1))
    phrases = wordings or {}
    return World(
        item_embeddings=embeddings,
        titles=tuple(titles),
        years=years,
        genres=tuple(tuple(g) for g in genres),
        popularity=popularity,
        cavs=cavs / scale[:, None],
        attributes=tuple(
            phrases.get(n, Attribute(n, f"more {n}", f"less {n}")) for n in attribute_names
        ),
        user_mean=np.hstack([column, user_mean]),
        user_std=np.hstack([column, user_std]),
        evaluation=evaluation,
        name=name,
        source=source,
        licence=licence,
        report=report or {},
    )


def evaluation_split(users: int, seed: int, share: float = EVALUATION_SHARE) -> np.ndarray:
    """(users,) bool: a seeded share of the users, at least one on either side.

    Raises:
        DataError: fewer than two users.
        ValueError: a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of users for evaluation lies between 0 and 1, not {share}")
    if users < 2:
        raise DataError("a world needs at least two users: one to train on, one to evaluate with")
    count = min(max(round(share * users), 1), users - 1)
    chosen = np.zeros(users, bool)
    chosen[np.random.default_rng(seed).permutation(users)[:count]] = True
    return chosen


def population_rotation(user_mean: np.ndarray) -> np.ndarray:
    """(d, d) orthogonal matrix R; in the basis x -> R x the rows' covariance is diagonal.

    The axes are sorted by falling variance, each signed so that its largest entry is positive.
    """
    _, vectors = np.linalg.eigh(np.cov(user_mean, rowvar=False, bias=True))
    rotation = vectors[:, ::-1].T
    signs = np.sign(rotation[np.arange(len(rotation)), np.abs(rotation).argmax(1)])
    return rotation * signs[:, None]

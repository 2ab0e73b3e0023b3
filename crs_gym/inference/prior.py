"""What the recommender knows of a user before the first turn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crs_gym.world import World


class Prior(NamedTuple):
    """What the recommender knows of phi_u before the first turn: a diagonal normal.

    mean, std: (d,) float32.
    """

    mean: Any
    std: Any


def population_prior(world: World) -> Prior:
    """Mean and standard deviation of phi_u over the training users of `world`, the cold prior.

    Built worlds are rotated so that the population's covariance is diagonal (`world.rotated`).
    """
    rows = ~world.evaluation
    mean = world.user_mean[rows].mean(0, dtype=np.float64)
    variance = world.user_mean[rows].var(0, dtype=np.float64)
    variance += (world.user_std[rows].astype(np.float64) ** 2).mean(0)
    return Prior(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))

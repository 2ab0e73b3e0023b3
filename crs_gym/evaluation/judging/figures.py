"""A measured figure with its interval."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crs_gym.evaluation.statistics import RESAMPLES, bootstrap_interval


class Figure(NamedTuple):
    """A mean over n events, and its 95% interval by a bootstrap clustered by user.

    name: what is measured.
    n: events; 0 leaves nothing to measure, and all else is None.
    mean, low, high: None where fewer than two users were met; a mean is given from one on.
    """

    name: str
    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        values: Any,
        users: Any,
        resamples: int = RESAMPLES,
    ) -> Figure:
        """The mean of `values` (n,), which belong to `users` (n,)."""
        values = np.asarray(values, np.float64)
        if not len(values):
            return cls(name, 0)
        if len(np.unique(users)) < 2:
            return cls(name, len(values), float(values.mean()))
        interval = bootstrap_interval(values, users, resamples=resamples)
        return cls(name, len(values), *interval)

"""Time and memory of the factorisation on a table of the size of MovieLens 25M.

    python experiments/world/factorisation_scale.py

The ratings are generated (25 million of 59,047 films by 162,000 users, and some more that are held
out), so that nothing need be downloaded; their noise is 0.8 before they are rounded to half stars
and cut to the scale. Writes `results/factorisation_scale.json`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from crs_gym.world.factorisation import factorise, user_posteriors
from crs_gym.world.ratings import Ratings, synthetic_ratings

RESULTS = Path(__file__).parent / "results"


@dataclass
class Args:
    n_ratings: int = 25_000_000
    """ratings to fit"""
    n_users: int = 162_000
    """users"""
    n_items: int = 59_047
    """films"""
    rank: int = 12
    """length of the generated taste vectors"""
    held_out: int = 100_000
    """ratings to predict, of users with at least 20"""
    d: int = 64
    """dimensions of the embeddings"""
    iterations: int = 20
    """of the factorisation"""
    seed: int = 0
    """of the table and of the fit"""


def peak_gib() -> float:
    """The most memory this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux KiB.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def tables(args: Args) -> tuple[Ratings, Ratings]:
    """A training table of exactly `n_ratings` in which every user has ratings, and a test table."""
    ratings = synthetic_ratings(
        args.n_ratings + args.held_out, args.n_users, args.n_items, args.rank, args.seed
    )
    frequent = np.flatnonzero(ratings.user_counts[ratings.users] >= 20)
    test = np.zeros(len(ratings), bool)
    rng = np.random.default_rng(args.seed)
    test[rng.choice(frequent, args.held_out, replace=False)] = True
    train, held_out = (
        replace(
            ratings,
            users=ratings.users[rows],
            items=ratings.items[rows],
            values=ratings.values[rows],
        )
        for rows in (~test, test)
    )
    return train, held_out


def main(args: Args) -> None:
    start = time.perf_counter()
    train, test = tables(args)
    figures: dict[str, float] = {
        "generate_minutes": (time.perf_counter() - start) / 60,
        "generate_peak_gib": peak_gib(),
    }
    start = time.perf_counter()
    fit = factorise(train, args.d, args.iterations, args.seed, progress=True)
    figures["fit_minutes"] = (time.perf_counter() - start) / 60
    start = time.perf_counter()
    user_posteriors(fit, train)
    figures["posteriors_minutes"] = (time.perf_counter() - start) / 60
    figures["peak_gib"] = peak_gib()
    errors = fit.predict(test.users, test.items) - test.values
    figures["test_rmse"] = float(np.sqrt(np.mean(errors.astype(np.float64) ** 2)))
    figures["noise_std"] = fit.noise_std
    figures["cores"] = os.cpu_count() or 1
    figures["load_average"] = os.getloadavg()[1]
    for name, value in figures.items():
        print(f"{name:20} {value:8.3f}")
    RESULTS.mkdir(exist_ok=True)
    report = {
        "arguments": asdict(args),
        "figures": figures,
        "history": [iteration._asdict() for iteration in fit.history],
    }
    (RESULTS / "factorisation_scale.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args))

"""How well the factorisation predicts held-out ratings, against user and item biases alone.

    python experiments/world/factorisation.py --data ml-latest-small

`--data` is a MovieLens folder or zip file. Ratings of films with at least 20 ratings are split
90 to 10 with each seed; test ratings are used for nothing but the last column. With `--grid` it
prints instead how the two numbers of the hyperprior were chosen, on a tenth of the training ratings
kept apart. Writes `results/factorisation.json` (or `results/factorisation_grid.json`).
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from crs_gym.world.factorisation import factorise
from crs_gym.world.movielens import read_movielens
from crs_gym.world.ratings import Ratings

RESULTS = Path(__file__).parent / "results"


@dataclass
class Args:
    data: Path
    """a MovieLens folder or zip file"""
    min_item_ratings: int = 20
    """films with fewer ratings are left out"""
    test_share: float = 0.1
    """share of the ratings held out"""
    seeds: int = 5
    """how many splits"""
    d: int = 64
    """dimensions of the embeddings"""
    iterations: int = 20
    """of the factorisation"""
    grid: bool = False
    """choose the hyperprior on validation ratings instead"""


def rmse(expected: np.ndarray, values: np.ndarray) -> float:
    return float(np.sqrt(np.mean((expected - values) ** 2, dtype=np.float64)))


def biases(train: Ratings, strength: float, rounds: int = 10) -> tuple[float, Any, Any]:
    """Mean rating and the biases of users and items, shrunk as by `strength` ratings of 0."""
    mean = float(train.values.mean(dtype=np.float64))
    user, item = np.zeros(train.n_users), np.zeros(train.n_items)
    for _ in range(rounds):
        left = train.values - mean - item[train.items]
        user = np.bincount(train.users, left, train.n_users) / (train.user_counts + strength)
        left = train.values - mean - user[train.users]
        item = np.bincount(train.items, left, train.n_items) / (train.item_counts + strength)
    return mean, user, item


def bias_rmse(train: Ratings, test: Ratings, strength: float) -> float:
    mean, user, item = biases(train, strength)
    return rmse(mean + user[test.users] + item[test.items], test.values)


def run_splits(ratings: Ratings, args: Args) -> dict[str, Any]:
    rows = []
    print("seed  bias only  factorisation  noise  seconds")
    for seed in range(args.seeds):
        train, test = ratings.split(args.test_share, seed)
        inner, validation = train.split(args.test_share, 100 + seed)
        strength = min((1.0, 2.0, 4.0, 8.0), key=lambda s: bias_rmse(inner, validation, s))
        start = time.perf_counter()
        fit = factorise(train, args.d, args.iterations, seed)
        seconds = time.perf_counter() - start
        row = {
            "seed": seed,
            "bias_rmse": bias_rmse(train, test, strength),
            "bias_strength": strength,
            "rmse": rmse(fit.predict(test.users, test.items), test.values),
            "noise_std": fit.noise_std,
            "seconds": seconds,
        }
        rows.append(row)
        print(
            f"{seed:4d}  {row['bias_rmse']:9.4f}  {row['rmse']:13.4f}  {fit.noise_std:5.3f}"
            f"  {seconds:7.1f}",
            flush=True,
        )
    mean = {key: float(np.mean([row[key] for row in rows])) for key in ("bias_rmse", "rmse")}
    print(f"mean  {mean['bias_rmse']:9.4f}  {mean['rmse']:13.4f}")
    return {"splits": rows, "mean": mean}


def run_grid(ratings: Ratings, args: Args) -> dict[str, Any]:
    rows = []
    print("share  weight  validation RMSE")
    for share, weight in itertools.product((0.2, 0.6, 1.8), (0.0, 0.1, 0.3, 1.0, 3.0)):
        errors = []
        for seed in range(args.seeds):
            train, _ = ratings.split(args.test_share, seed)
            inner, validation = train.split(args.test_share, 100 + seed)
            fit = factorise(
                inner, args.d, args.iterations, seed, taste_share=share, guess_weight=weight
            )
            errors.append(rmse(fit.predict(validation.users, validation.items), validation.values))
        rows.append({"taste_share": share, "guess_weight": weight, "rmse": float(np.mean(errors))})
        print(f"{share:5.1f}  {weight:6.1f}  {np.mean(errors):15.4f}", flush=True)
    return {"grid": rows}


def main(args: Args) -> None:
    ratings = read_movielens(args.data).filtered(min_item_ratings=args.min_item_ratings)
    print(f"{len(ratings)} ratings, {ratings.n_users} users, {ratings.n_items} films")
    result = run_grid(ratings, args) if args.grid else run_splits(ratings, args)
    name = "factorisation_grid.json" if args.grid else "factorisation.json"
    arguments = {**asdict(args), "data": args.data.name}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps({"arguments": arguments, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args))

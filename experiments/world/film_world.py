"""The film world and the generated world beside MovieLens: ratings, and what the fit makes of them.

    python experiments/world/film_world.py --data ml-latest-small

Prints the statistics of the synthetic ratings and of MovieLens' (films with at least 20 ratings),
and of the three worlds: how the variance of tastes spreads over dimensions, how popularity falls
off, how quality goes with it. Writes `results/film_world.json` and a picture.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from crs_gym.evaluation.plots import new_figure, save_figure
from crs_gym.world import World, load_world
from crs_gym.world.factorisation import factorise
from crs_gym.world.films import read_films
from crs_gym.world.fitted import build_movielens
from crs_gym.world.movielens import read_movielens
from crs_gym.world.population import rate_films
from crs_gym.world.ratings import Ratings

RESULTS = Path(__file__).parent / "results"


@dataclass
class Args:
    data: Path
    """MovieLens folder or zip file"""
    out: Path = RESULTS / "film_world.json"
    """where the figures go; the picture lies beside it"""


def means(ratings: Ratings, by: np.ndarray, size: int, least: int = 20) -> np.ndarray:
    """Mean rating of the users (or films) with at least `least` ratings."""
    counts = np.bincount(by, minlength=size)
    sums = np.bincount(by, ratings.values, size)
    return np.asarray((sums / np.maximum(counts, 1))[counts >= least])


def statistics(ratings: Ratings) -> dict[str, float]:
    """What the population's numbers were matched on."""
    users, items = ratings.user_counts[ratings.user_counts > 0], ratings.item_counts
    ordered = np.sort(items)
    known = items >= 20
    film_means = means(ratings, ratings.items, ratings.n_items)
    train, test = ratings.split(0.1, 0)
    rmse = {}
    for name, rank in (("biases and one taste", 1), ("16 tastes", 16)):
        fit = factorise(train, d=rank)
        error = fit.predict(test.users, test.items) - test.values
        rmse[f"test RMSE, {name}"] = float(np.sqrt(np.mean(error**2)))
    return {
        "films": ratings.n_items,
        "users": len(users),
        "ratings": len(ratings.values),
        "density": len(ratings.values) / ratings.n_items / len(users),
        "mean": float(ratings.values.mean()),
        "deviation": float(ratings.values.std()),
        "deviation of users' means": float(means(ratings, ratings.users, ratings.n_users).std()),
        "deviation of films' means": float(film_means.std()),
        "correlation of log count and mean": float(
            np.corrcoef(np.log(items[known]), film_means)[0, 1]
        ),
        "ratings a user, lower quartile": float(np.quantile(users, 0.25)),
        "ratings a user, median": float(np.median(users)),
        "ratings a user, upper quartile": float(np.quantile(users, 0.75)),
        "Gini of the films' counts": float(1 - 2 * np.mean(np.cumsum(ordered) / ordered.sum())),
        "share of whole stars": float(np.mean(ratings.values % 1 == 0)),
        **rmse,
    }


def spectrum(world: World) -> np.ndarray:
    """Share of the variance of tastes of each principal direction, falling."""
    rows = ~world.evaluation
    second = np.cov(world.user_mean[rows, 1:], rowvar=False)
    second += np.diag((world.user_std[rows, 1:] ** 2).mean(0))
    items = np.cov(world.item_embeddings[:, 1:], rowvar=False)
    values = np.sort(np.linalg.eigvals(second @ items).real)[::-1]
    return np.asarray(values / values.sum())


def shape(world: World) -> dict[str, float]:
    """How a world looks from afar."""
    shares = spectrum(world)
    quality, popularity = world.item_embeddings[:, 0], world.popularity
    lengths = np.linalg.norm(world.item_embeddings[:, 1:], axis=1)
    return {
        "items": world.n_items,
        "dimensions": world.dim,
        "effective dimensions of taste": float(1 / (shares**2).sum()),
        "share of the first 5": float(shares[:5].sum()),
        "correlation of quality and log popularity": float(
            np.corrcoef(quality, np.log(np.maximum(popularity, 1)))[0, 1]
        ),
        "skewness of quality": float((quality**3).mean()),
        "popularity, top tenth over median": float(
            np.quantile(popularity, 0.9) / np.median(popularity)
        ),
        "spread of the items' lengths": float(lengths.std() / lengths.mean()),
    }


def show(title: str, columns: dict[str, dict[str, float]]) -> None:
    table = Table(title, *columns, box=None)
    for name in next(iter(columns.values())):
        table.add_row(
            name, *(f"{column[name]:,.3f}".rstrip("0").rstrip(".") for column in columns.values())
        )
    Console().print(table)


def main(args: Args) -> None:
    tables = {
        "films": rate_films(read_films()).ratings,
        "MovieLens": read_movielens(args.data).filtered(min_item_ratings=20),
    }
    worlds = {
        "films": load_world("films"),
        "generated": load_world("generated"),
        "MovieLens": build_movielens(args.data),
    }
    ratings = {name: statistics(table) for name, table in tables.items()}
    shapes = {name: shape(world) for name, world in worlds.items()}
    show("ratings", ratings)
    show("worlds", shapes)
    args.out.write_text(json.dumps({"ratings": ratings, "worlds": shapes}, indent=1) + "\n")
    picture(tables, worlds, args.out.with_suffix(".png"))


def picture(tables: dict[str, Ratings], worlds: dict[str, World], path: Path) -> None:
    """Six panels: four of the ratings, two of the worlds."""
    colours = {"films": "#c2571a", "generated": "#3f8f63", "MovieLens": "#2f6d9e"}
    figure = new_figure(13, 7.5)
    (stars, users, films), (user_means, film_means, tastes) = figure.subplots(2, 3)
    for shift, (name, table) in zip((-0.1, 0.1), tables.items(), strict=True):
        style = {"color": colours[name], "label": name}
        values, counts = np.unique(table.values, return_counts=True)
        stars.bar(values + shift, counts / counts.sum(), 0.2, **style)
        activity = np.sort(table.user_counts[table.user_counts > 0])[::-1]
        users.loglog(np.arange(1, len(activity) + 1) / len(activity), activity, **style)
        count = np.sort(table.item_counts)[::-1]
        films.semilogy(np.arange(1, len(count) + 1) / len(count), count / count.mean(), **style)
        bins = np.arange(0.75, 5.01, 0.125)
        for axes, by, size in (
            (user_means, table.users, table.n_users),
            (film_means, table.items, table.n_items),
        ):
            axes.hist(means(table, by, size), bins, density=True, histtype="step", **style)
    for name, world in worlds.items():
        shares = spectrum(world)
        tastes.loglog(np.arange(1, len(shares) + 1), shares, color=colours[name], label=name)
    for axes, title in (
        (stars, "share of ratings by stars"),
        (users, "ratings of a user, by rank"),
        (films, "ratings of a film over the mean, by rank"),
        (user_means, "users' mean ratings"),
        (film_means, "films' mean ratings"),
        (tastes, "share of the variance of tastes, by rank"),
    ):
        axes.set_title(title, fontsize=10)
        axes.legend(frameon=False, fontsize=8)
    tastes.set_ylim(bottom=1e-4)
    save_figure(figure, path)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""Do people agree with the catalogue's grades? Against the raters of SoftAttributes.

    python experiments/world/catalogue.py --soft-attributes soft-attributes.csv

A rater puts films above or below a reference film; the catalogue is right where its grades order
the two films so (ties count half). Beside it: what genres alone reach (each grade replaced by what
a ridge regression on the film's genres, fitted to all the grades, predicts of it), and how often
two raters agree. "Within" counts pairs of films with the same main genre only; two raters have
ordered few of these. Writes `results/catalogue.json` and a plot.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from sklearn.linear_model import RidgeCV

from crs_gym.evaluation.plots import new_figure, save_figure
from crs_gym.world.films import Films, read_films
from crs_gym.world.softattributes import (
    REFERENCE,
    AttributePairs,
    rater_agreement,
    read_soft_attributes,
)

RESULTS = Path(__file__).parent / "results"


@dataclass
class Args:
    soft_attributes: Path
    """SoftAttributes CSV"""
    films: Path | None = None
    """catalogue in CSV; the bundled one by default"""
    out: Path = RESULTS / "catalogue.json"
    """where the figures go; the plot lies beside it"""


def genre_rule(films: Films) -> np.ndarray:
    """(N, G) grades as far as genres tell them."""
    names = sorted({genre for genres in films.genres for genre in genres})
    has = np.array([[name in genres for name in names] for genres in films.genres], float)
    main = np.array([[name == genres[0] for name in names] for genres in films.genres], float)
    features = np.hstack([has, main])
    rules = (RidgeCV([0.1, 1.0, 10.0]).fit(features, grade) for grade in films.grades.T)
    return np.column_stack([rule.predict(features) for rule in rules])


def right(grades: np.ndarray, pairs: AttributePairs, places: np.ndarray) -> np.ndarray:
    """(P,) 1 where the grades order a pair as the rater did, 0.5 for ties."""
    gap = grades[pairs.winner, places] - grades[pairs.loser, places]
    return np.asarray((gap > 0) + 0.5 * (gap == 0))


def main(args: Args) -> None:
    films = read_films(args.films)
    everything = read_soft_attributes(args.soft_attributes, films.titles, films.years)
    names = [a.name for a in films.attributes]
    column = np.array([names.index(n) if n in names else -1 for n in everything.names])
    pairs = everything.where((everything.kind == REFERENCE) & (column[everything.attribute] >= 0))
    places = column[pairs.attribute]
    main_genre = np.array([genres[0] for genres in films.genres])
    within = main_genre[pairs.winner] == main_genre[pairs.loser]
    ours = right(films.grades, pairs, places)
    genres = right(genre_rule(films), pairs, places)

    rows = {}
    print(f"{'':20} all pairs: ours genres  count | within main genre: ours genres count")
    for label, chosen in [
        *((name, places == g) for g, name in enumerate(names)),
        ("all attributes", np.ones(len(places), bool)),
    ]:
        same = chosen & within
        row = {
            "ours": float(ours[chosen].mean()),
            "genres": float(genres[chosen].mean()),
            "pairs": int(chosen.sum()),
            "ours_within": float(ours[same].mean()),
            "genres_within": float(genres[same].mean()),
            "pairs_within": int(same.sum()),
        }
        rows[label] = row
        print(
            f"{label:20} {row['ours']:15.3f} {row['genres']:6.3f} {row['pairs']:6d} |"
            f" {row['ours_within']:23.3f} {row['genres_within']:6.3f} {row['pairs_within']:5d}"
        )
    share, comparisons = rater_agreement(pairs)
    share_within, comparisons_within = rater_agreement(pairs.where(within))
    share_all, comparisons_all = rater_agreement(everything)
    both = ordered_twice(pairs)
    print(f"two raters agree on {share_all:.3f} of {comparisons_all} pairs that both ordered,")
    print(f"on {share:.3f} of {comparisons} of these attributes, where the catalogue is right on")
    print(
        f"{ours[both].mean():.3f}; "
        f"within the main genre on {share_within:.3f} of {comparisons_within}"
    )
    print(f"{len(pairs.items)} of the {len(films.titles)} films occur")
    low, high = interval(ours - genres, pairs, within)
    print(f"ours less genres, within: 95% interval [{low:+.3f}, {high:+.3f}] (bootstrap by rater)")
    args.out.write_text(
        json.dumps(
            {
                "films": len(films.titles),
                "films_rated": len(pairs.items),
                "rater_agreement_all": {"share": share_all, "comparisons": comparisons_all},
                "rater_agreement": {"share": share, "comparisons": comparisons},
                "ours_where_two_raters_ordered": float(ours[both].mean()),
                "rater_agreement_within": {
                    "share": share_within,
                    "comparisons": comparisons_within,
                },
                "ours_less_genres_within": [low, high],
                "attributes": rows,
            },
            indent=1,
        )
        + "\n"
    )
    plot(rows, share, args.out.with_suffix(".png"))


def ordered_twice(pairs: AttributePairs) -> np.ndarray:
    """(P,) bool: another rater ordered the same two films by the same attribute."""
    low, high = np.minimum(pairs.winner, pairs.loser), np.maximum(pairs.winner, pairs.loser)
    cells = np.stack([pairs.attribute, low, high])
    _, codes = np.unique(cells, axis=1, return_inverse=True)
    raters = np.unique(np.stack([codes, pairs.rater]), axis=1)[0]
    return np.asarray(np.bincount(raters, minlength=codes.max() + 1)[codes] > 1)


def interval(
    gain: np.ndarray, pairs: AttributePairs, chosen: np.ndarray, draws: int = 2000
) -> tuple[float, float]:
    """95% bootstrap interval of the mean of `gain` over the chosen pairs, raters redrawn."""
    raters, codes = np.unique(pairs.rater[chosen], return_inverse=True)
    total = np.bincount(codes, gain[chosen])
    count = np.bincount(codes)
    drawn = np.random.default_rng(0).integers(len(raters), size=(draws, len(raters)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def plot(rows: dict[str, dict[str, float]], agreement: float, path: Path) -> None:
    """The catalogue and the genre rule, attribute by attribute."""
    names = sorted(rows, key=lambda n: rows[n]["ours"])
    figure = new_figure(8, 9)
    axes = figure.subplots()
    y = np.arange(len(names))
    axes.plot([rows[n]["genres"] for n in names], y, "s", color="#9097a1", label="genres alone")
    axes.plot([rows[n]["ours"] for n in names], y, "o", color="#c2571a", label="catalogue")
    axes.axvline(agreement, color="#2f6d9e", lw=1, label="two raters agree")
    axes.set_yticks(y, names)
    axes.set_xlabel("share of rated pairs ordered as the rater did")
    axes.legend(frameon=False, loc="lower right")
    save_figure(figure, path)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

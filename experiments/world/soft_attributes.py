"""How well CAVs order films that they were not learnt on.

    python experiments/world/soft_attributes.py --data ml-latest-small \\
        --soft-attributes soft-attributes.csv

Accuracy on the raters' pairs of two films that are both unseen, over 5 splits by film, for all
attributes and for the 33 chosen on the training films of each split; beside it how often two raters
agree on the same two films, and what tags give in place of raters. The embeddings are learnt from
ratings alone, so films held out here are unseen as far as attributes go.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from crs_gym.world.factorisation import factorise
from crs_gym.world.fitted import item_features
from crs_gym.world.movielens import read_movielens
from crs_gym.world.softattributes import (
    held_out_accuracy,
    pairs_from_tags,
    rater_agreement,
    read_soft_attributes,
)


@dataclass
class Args:
    """Learns CAVs on embeddings of films with at least 20 ratings."""

    data: Path
    """MovieLens folder or zip file"""
    soft_attributes: Path
    """SoftAttributes CSV"""
    d: int = 64
    """dimensions of the factorisation"""
    n: int = 33
    """attributes to choose"""
    splits: int = 5
    """splits by film"""
    out: Path = Path(__file__).parent / "results" / "soft_attributes.json"
    """where the figures go"""


def main(args: Args) -> None:
    """Prints the table and writes it."""
    ratings = read_movielens(args.data).filtered(min_item_ratings=20)
    fit = factorise(ratings, d=args.d)
    features = item_features(fit.item_bias, fit.item_mean)
    sources = {
        "raters": read_soft_attributes(args.soft_attributes, ratings.titles, ratings.years),
        "tags": pairs_from_tags(ratings),
    }
    figures: dict[str, object] = {}
    for source, pairs in sources.items():
        print(f"{source}: {len(pairs.names)} attributes, {len(pairs.items)} films")
        for name, found in held_out_accuracy(features, pairs, args.n, args.splits).items():
            print(f"  {name:7} {found.mean:.3f} +- {found.half_width:.3f} on unseen films")
            figures[f"{source}_{name}"] = found._asdict()
    share, count = rater_agreement(sources["raters"])
    print(f"two raters agree on {share:.3f} of {count} comparisons")
    figures["rater_agreement"] = {"share": share, "comparisons": count}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args))

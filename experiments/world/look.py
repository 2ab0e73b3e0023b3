"""A look at a world: what users like best, and which films lie together. Writes Markdown.

    python experiments/world/look.py                  # the bundled film world
    python experiments/world/look.py --world my.world --out look.md

The drawing of users and films is seeded, not chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from crs_gym.evaluation.maps import world_map
from crs_gym.simulation.show import neighbours
from crs_gym.world import DEFAULT_WORLD, World, load_world

DOCS = Path(__file__).parents[2] / "docs"
ABOUT = """The catalogue (`crs_gym/world/data/films.csv`) was graded film by film and then checked
attribute by attribute, from what is known of the films. Raters agree with it ([figures][1],
[plot][2], `python experiments/world/catalogue.py --soft-attributes CSV`).

A synthetic population rates the films (`crs_gym/world/population.py`); the ratings then go the way
of MovieLens' ratings: factorisation, CAVs (from the grades), calibration. The mean and deviation of
the ratings, of users' and of films' means, the share of whole stars, the density, how activity and
popularity fall off and how popularity goes with liking were matched to ml-latest-small, roughly
([figures][3], `python experiments/world/film_world.py --data DIR`).

![ratings and tastes beside MovieLens](../experiments/world/results/film_world.png)

One thing differs: the best-known films please less than random ones (over seven turns they succeed
with {popularity:.0%} of the users, random films with {random:.0%}). Whoever likes films of a kind
likes the purest of that kind best, and the best-known films are mixtures.

[1]: ../experiments/world/results/catalogue.json
[2]: ../experiments/world/results/catalogue.png
[3]: ../experiments/world/results/film_world.json"""
"""What the page on the bundled film world says first."""


@dataclass
class Args:
    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    out: Path | None = None
    """file to write; the map goes beside it. docs/film-world.md for the bundled film world, else
    look.md"""
    count: int = 20
    """users, and films, to look at"""
    seed: int = 0
    """of the draw"""


def wishes(world: World, embedding: np.ndarray, count: int = 3) -> str:
    """The attributes in which the user's taste departs most from the average film."""
    scores = world.cavs[:, 1:] @ embedding[1:]
    order = np.argsort(-np.abs(scores))[:count]
    return ", ".join(
        world.attributes[g].more if scores[g] > 0 else world.attributes[g].less for g in order
    )


def main(args: Args) -> None:
    world = load_world(args.world)
    bundled = args.world == DEFAULT_WORLD
    out = args.out or (DOCS / "film-world.md" if bundled else Path("look.md"))
    rng = np.random.default_rng(args.seed)
    lines = [
        f"# A look at the world `{world.name}`",
        "",
        f"{world.n_items} items, {world.n_attributes} soft attributes, {world.n_users} users, "
        f"hash `{world.hash}`. Written by `python experiments/world/look.py`; nothing is "
        "picked by hand.",
        "",
        f"![items by who likes them]({out.stem}.png)",
        "",
        f"## Favourites of {args.count} random users",
        "",
        "| wants something | would be happiest with |",
        "| --- | --- |",
    ]
    for user in rng.choice(world.n_users, args.count, replace=False):
        noise = rng.standard_normal(world.dim)
        embedding = world.user_mean[user] + world.user_std[user] * noise
        best = np.argsort(-(world.item_embeddings @ embedding))[:5]
        titles = "; ".join(world.label(int(i)) for i in best)
        lines.append(f"| {wishes(world, embedding)} | {titles} |")
    if bundled:
        lines[3:3] = ["", *ABOUT.format(**world.report["calibration"]).splitlines()]
    lines += [
        "",
        f"## Neighbours of {args.count} random films",
        "",
        "| film | neighbours |",
        "| --- | --- |",
    ]
    for item in rng.choice(world.n_items, args.count, replace=False):
        near = "; ".join(world.label(int(i)) for i in neighbours(world, int(item), 5))
        lines.append(f"| {world.label(int(item))} | {near} |")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    world_map(world, out.with_suffix(".png"))
    print(f"wrote {out} and {out.with_suffix('.png').name}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""How often simulated choices agree with held-out pairs of real ratings.

    python experiments/world/choice_agreement.py --data ml-latest-small

A world is fitted to nine tenths of the ratings. From the last tenth come pairs of films that one
user rated differently. For each pair the simulated user draws phi_u ~ P_U and is asked which film
it prefers; the table gives how often that is the film rated higher, for the draw, for the mean of
P_U without noise, for the item bias alone and for chance.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro

from crs_gym.simulation.calibration import calibrate
from crs_gym.users import UserModel, choice
from crs_gym.world.fitted import fit_world
from crs_gym.world.movielens import read_movielens
from crs_gym.world.ratings import Ratings
from crs_gym.world.softattributes import pairs_from_tags


@dataclass
class Args:
    """Fits a calibrated world to a part of the ratings and asks its users about the rest."""

    data: Path
    """MovieLens folder or zip file"""
    seeds: int = 5
    """splits of the ratings"""
    min_user_ratings: int = 50
    """as in the world"""
    out: Path = Path(__file__).parent / "results" / "choice_agreement.json"
    """where the figures go"""


def held_out_pairs(test: Ratings, users: np.ndarray) -> np.ndarray:
    """(P, 4) rows: position in `users`, film rated higher, film rated lower, gap in half stars."""
    rows = []
    for position, user in enumerate(users):
        mine = np.flatnonzero(test.users == user)
        items, values = test.items[mine], test.values[mine]
        better = np.argwhere(values[:, None] > values[None, :])
        gap = np.rint(2 * (values[better[:, 0]] - values[better[:, 1]]))
        place = np.full(len(better), position)
        rows.append(np.column_stack([place, items[better[:, 0]], items[better[:, 1]], gap]))
    return np.concatenate(rows).astype(np.int64)


def main(args: Args) -> None:
    """Prints the table and writes it."""
    ratings = read_movielens(args.data).filtered(min_item_ratings=20)
    splits = []
    for seed in range(args.seeds):
        train, test = ratings.split(0.1, seed)
        fitted = fit_world(
            train,
            pairs_from_tags(train),
            dim=64,
            min_user_ratings=args.min_user_ratings,
            attributes=10,
            seed=seed,
            name="held-out",
            source="",
            licence="",
        )
        world = calibrate(fitted, seed=seed)
        users = np.flatnonzero(train.user_counts >= args.min_user_ratings)
        pairs = held_out_pairs(test, users)
        who, better, worse, gap = pairs.T
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((len(pairs), world.dim))
        drawn = world.user_mean[who] + world.user_std[who] * noise
        model = UserModel.of(world)

        def utilities(embeddings: np.ndarray, pairs: np.ndarray = pairs) -> np.ndarray:
            films = world.item_embeddings[pairs[:, 1:3]]  # noqa: B023
            return np.einsum("pd,pkd->pk", embeddings, films)

        logs = choice.log_probs(jnp.asarray(utilities(drawn)), jnp.float32(model.temperature))
        chosen = np.exp(np.asarray(logs[:, 0]))
        mean = utilities(world.user_mean[who])
        quality = world.item_embeddings[:, 0]
        wide = gap >= 4
        splits.append(
            {
                "seed": seed,
                "pairs": len(pairs),
                "simulated user": float(chosen.mean()),
                "simulated user, two stars apart or more": float(chosen[wide].mean()),
                "mean of P_U, no noise": float((mean[:, 0] > mean[:, 1]).mean()),
                "item bias alone": float((quality[better] > quality[worse]).mean()),
                "chance": 0.5,
            }
        )
    names = [name for name in splits[0] if name not in ("seed", "pairs")]
    for name in names:
        values = [split[name] for split in splits]
        print(f"{name:42} {np.mean(values):.3f} (over splits {min(values):.3f}-{max(values):.3f})")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"splits": splits}, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args))

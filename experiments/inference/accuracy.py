"""Does the belief come to know the user? Accuracy and NDCG by turn (ICER, Tables 3 and 4).

    python -m experiments.inference.accuracy --world films
    python -m experiments.inference.accuracy --world my.world --prior cold

As in the paper's automatic evaluation, but with the belief as judge in place of a language model:
for each user one film of the top quartile by true utility and one of the bottom quartile are
drawn; after each turn of a conversation with the ICER recommender the judge says which of them the
user prefers. Conversations may end before the last turn; the judge then goes by what was said.
Accuracy is how often the better film is put first, NDCG that of the judge's ranking of the two,
gains being the share of all films that the user likes less (about 0.875 and 0.125 on average).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from crs_gym.evaluation.plots import new_figure, save_figure
from crs_gym.inference import Metropolis, Samples
from crs_gym.policies import Icer
from crs_gym.simulation import Simulator, State, evaluation_keys
from crs_gym.world import DEFAULT_WORLD, load_world
from experiments.inference.talks import from_prior, watch


@dataclass(frozen=True)
class Args:
    """Plays conversations and asks the judge after every turn."""

    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    prior: Literal["cold", "personal"] = "personal"
    """what is known beforehand; the paper's judge knows a profile of the user's prior"""
    users: int = 3650
    """conversations, each with a user of its own"""
    turns: int = 7
    """of a conversation, at most"""
    threshold: float = 0.2
    """the recommender asks while a query's EVOI is above this"""
    draws: int = 128
    """of the belief"""
    seed: int = 0
    """of the users and of the pairs"""
    results: Path = Path(__file__).parent / "results"
    """where results and figures go"""


def judge(simulator: Simulator, state: State, belief: Samples, accepted: jax.Array) -> jax.Array:
    """(3,) right or wrong, NDCG, and whether the talk goes on."""
    del accepted
    items = simulator.items.embeddings
    utilities = items @ state.user.embedding
    count = len(items)
    order = jnp.argsort(utilities)
    # a key that no part of the conversation uses
    pair = jax.random.randint(jax.random.fold_in(state.key, 1_000_003), (2,), 0, count // 4)
    ranks = jnp.stack([count - 1 - pair[0], pair[1]])
    films = order[ranks]
    expected = items[films] @ (belief.weights @ belief.embeddings)
    gains = ranks / (count - 1)
    right = expected[0] > expected[1]
    second = 1 / jnp.log2(3.0)
    best = gains[0] + second * gains[1]
    ndcg = jnp.where(right, best, gains[1] + second * gains[0]) / best
    return jnp.stack([right.astype(jnp.float32), ndcg, (~state.done).astype(jnp.float32)])


def main(args: Args) -> None:
    """Prints the table and writes it."""
    world = load_world(args.world)
    simulator = from_prior(world, args.prior, args.turns)
    policy, inference = Icer(threshold=args.threshold, offer="sample"), Metropolis.of(args.draws)
    keys = evaluation_keys(args.seed, args.users)
    found = watch(simulator, policy, inference, keys, judge, args.turns, label=world.name)
    mean = found.mean(1)
    error = 1.96 * found.std(1) / np.sqrt(args.users)
    print(f"{world.name}, {args.prior} prior, {args.users} users")
    print("turns     accuracy           NDCG               still talking")
    for turn, (m, e) in enumerate(zip(mean, error, strict=True)):
        print(f"{turn}         {m[0]:.3f} +- {e[0]:.3f}    {m[1]:.3f} +- {e[1]:.3f}    {m[2]:.3f}")
    path = args.results / f"accuracy-{world.name}-{args.prior}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "settings": {"world": world.hash, "prior": args.prior, "users": args.users}
        | {"threshold": args.threshold, "draws": args.draws, "seed": args.seed},
        "columns": ["accuracy", "ndcg", "still talking"],
        "mean": mean.round(5).tolist(),
        "half_width_95": error.round(5).tolist(),
    }
    path.write_text(json.dumps(report, indent=1) + "\n")
    _plot(mean, error, path.with_suffix(".png"), f"{world.name}, {args.prior} prior")
    print(f"results  {path}")


def _plot(mean: np.ndarray, error: np.ndarray, path: Path, title: str) -> None:
    figure = new_figure(6.4, 3.6)
    for axes, column, label in zip(
        figure.subplots(1, 2), (0, 1), ("accuracy", "NDCG"), strict=True
    ):
        axes.errorbar(range(len(mean)), mean[:, column], error[:, column], marker="o", capsize=2)
        axes.set_xlabel("turns")
        axes.set_title(label)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""Regret of the best recommendation after each answer, for all ways to ask.

    python -m experiments.inference.regret --world films --prior cold
    python -m experiments.inference.regret --world my.world --prior personal

Users are drawn from the recommender's own prior and asked ten questions by each policy, with the
same luck. After every answer the item of the highest expected utility would be recommended; its
regret is what the user's favourite is worth more, in units of the population's mean utility
deviation. `none` recommends instead of asking (the best items for the mean) and learns from
rejections and critiques; what its users accept stays their item. `exhaustive` tries all pairs of
the 300 most promising items. Finished policies are kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from crs_gym.evaluation import Scores, paired_difference
from crs_gym.evaluation.plots import new_figure, save_figure
from crs_gym.inference import Metropolis, Samples
from crs_gym.policies import Icer
from crs_gym.simulation import Simulator, State, evaluation_keys
from crs_gym.world import DEFAULT_WORLD, load_world
from experiments.inference.talks import from_prior, watch

POLICIES = ("both", "item", "attribute", "iteration", "exhaustive", "thompson", "random", "none")
RIVALS = (
    ("item", "exhaustive"),
    ("item", "iteration"),
    ("item", "thompson"),
    ("both", "thompson"),
    ("both", "random"),
    ("both", "none"),
    ("both", "item"),
    ("both", "attribute"),
)


@dataclass(frozen=True)
class Args:
    """Asks, and measures regret."""

    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    prior: Literal["cold", "personal"] = "cold"
    """what the recommender knows beforehand"""
    users: int = 512
    """users drawn from the prior"""
    answers: int = 10
    """questions asked of each"""
    draws: int = 128
    """of the belief"""
    policies: tuple[str, ...] = POLICIES
    """ways to ask, see `crs_gym.policies.Icer`"""
    seed: int = 0
    """of the users"""
    runs: Path = Path("runs/regret")
    """where the regret of every user is kept"""
    results: Path = Path(__file__).parent / "results"
    """where results and figures go"""


def regret(simulator: Simulator, state: State, belief: Samples, accepted: jax.Array) -> jax.Array:
    """() utility that the user would lose with the item that the belief recommends."""
    items = simulator.items.embeddings
    expected = jnp.where(
        state.context.rejected, -jnp.inf, items @ (belief.weights @ belief.embeddings)
    )
    best = jnp.where(accepted >= 0, accepted, jnp.argmax(expected))
    return state.utility_best - items[best] @ state.user.embedding


def main(args: Args) -> None:
    """Prints the tables and writes them."""
    world = load_world(args.world)
    # one turn more than answers, for on the last turn an ICER recommender never asks
    simulator = from_prior(world, args.prior, args.answers + 1)
    inference, keys = Metropolis.of(args.draws), evaluation_keys(args.seed, args.users)
    stem = f"regret-{world.name}-{args.prior}"
    cache = args.runs / f"{stem}.json"
    report = _read(cache, args, world.hash)
    for name in args.policies:
        if name in report["regret"]:
            continue
        begun = time.perf_counter()
        policy = Icer(threshold=-jnp.inf, queries=name, offer="mean")  # type: ignore[arg-type]
        chunk = 16 if name == "exhaustive" else 64
        found = watch(simulator, policy, inference, keys, regret, args.answers, chunk, name)
        report["regret"][name] = np.round(found, 5).tolist()
        report["seconds"][name] = round(time.perf_counter() - begun, 1)
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(report) + "\n")
    values = {name: np.array(report["regret"][name]) for name in args.policies}
    path = args.results / f"{stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = {
        "settings": report["settings"],
        "seconds": report["seconds"],
        "mean": {name: v.mean(1).round(4).tolist() for name, v in values.items()},
        "half_width_95": {
            name: (1.96 * v.std(1) / np.sqrt(args.users)).round(4).tolist()
            for name, v in values.items()
        },
        "differences": _print(values, args),
    }
    path.write_text(json.dumps(summary, indent=1) + "\n")
    _plot(values, path.with_suffix(".png"), f"{world.name}, {args.prior} prior")
    print(f"results  {path}")


def _read(path: Path, args: Args, world_hash: str) -> dict:
    settings = {
        "world": world_hash,
        "prior": args.prior,
        "users": args.users,
        "answers": args.answers,
        "draws": args.draws,
        "seed": args.seed,
    }
    if path.is_file():
        report: dict = json.loads(path.read_text())
        if report["settings"] == settings:
            return report
    return {"settings": settings, "regret": {}, "seconds": {}}


def _print(values: dict[str, np.ndarray], args: Args) -> dict[str, dict[str, list[float]]]:
    shown = [n for n in (0, 1, 2, 3, 5, 7, 10) if n <= args.answers]
    print("regret after   " + "".join(f"{n:>8}" for n in shown))
    for name, found in values.items():
        print(f"{name:15}" + "".join(f"{found[n].mean():8.3f}" for n in shown))
    print("\npaired differences of the mean over answers 1 to the last, and after the last one")
    rows = {}
    users = np.arange(args.users)
    for one, other in RIVALS:
        if one not in values or other not in values:
            continue
        row = {}
        for label, pick in (("mean", lambda v: v[1:].mean(0)), ("last", lambda v: v[-1])):
            difference = paired_difference(
                Scores(pick(values[one]), users, users), Scores(pick(values[other]), users, users)
            )
            row[label] = [round(float(x), 4) for x in difference]
        rows[f"{one} - {other}"] = row
        text = "   ".join(f"{m:+.3f} [{a:+.3f}, {b:+.3f}]" for m, a, b in row.values())
        print(f"{one + ' - ' + other:24} {text}")
    return rows


def _plot(values: dict[str, np.ndarray], path: Path, title: str) -> None:
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for name, found in values.items():
        mean = found.mean(1)
        error = 1.96 * found.std(1) / np.sqrt(found.shape[1])
        (line,) = axes.plot(mean, marker="o", markersize=3, label=name)
        axes.fill_between(
            range(len(mean)), mean - error, mean + error, alpha=0.12, color=line.get_color(), lw=0
        )
    axes.set_xlabel("answers")
    axes.set_ylabel("regret")
    axes.set_title(title)
    axes.legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    jax.config.update("jax_default_prng_impl", "threefry2x32")
    main(tyro.cli(Args, description=__doc__))

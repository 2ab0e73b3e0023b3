"""PPO in JAX against Stable-Baselines3's on `crs/IcerMacro-v0`: equal steps, settings and seeds.

    python -m experiments.jax_ppo
    python -m experiments.jax_ppo --seeds 1 --total-steps 40960 --results runs/jax_ppo-check

The questions: do both learn the same, and how long do they take? Differences are paired by
evaluation user, their 95% intervals clustered by user and seed. Seconds are those of rollouts and
updates, validation left out: the pace after the first validation, and apart from it what came on
top before, compiling for the most part (the first seed pays for all). The learners take turns, seed
by seed. Finished seeds are kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from agents import runs
from agents.jaxrl import ppo as jaxrl
from agents.jaxrl.store import load_policy as load_jax
from agents.sb3 import train as sb3
from agents.sb3.args import Args as Sb3Args
from agents.sb3.store import load_policy as load_sb3
from crs_gym.evaluation import (
    Result,
    learning_curve_plot,
    paired_difference,
    render_rich,
    write,
)
from crs_gym.evaluation.results import machine
from experiments.ppo_macro import ENV, scores, stem_of, training
from experiments.ppo_macro import Args as MacroArgs

Train = Callable[[dict[str, Any]], runs.Policy]
LEARNERS: dict[str, tuple[Train, Callable[[Path], runs.Policy]]] = {
    "SB3": (lambda settings: sb3.train(Sb3Args(**settings)), load_sb3),
    "JAX": (lambda settings: jaxrl.train(jaxrl.Args(**settings)), load_jax),
}


@dataclass
class Args(MacroArgs):
    """Trains both learners, evaluates them on fixed evaluation users, and compares."""

    runs: Path = Path("runs/jax_ppo")
    """where training leaves its checkpoints"""


class Seconds(NamedTuple):
    """Of one run: all its steps at the pace of the later ones, and what came on top."""

    steps: float
    compiling: float


def seconds(curve: list[dict[str, float]]) -> Seconds:
    """From a curve of three points or more."""
    first, last = curve[1], curve[-1]
    pace = (last["seconds"] - first["seconds"]) / (last["steps"] - first["steps"])
    at_pace = pace * last["steps"]
    return Seconds(at_pace, last["seconds"] - at_pace)


def main(args: Args) -> None:
    """Prints the tables and writes them; a ValueError for runs too short to see their pace."""
    if args.total_steps <= training(args, 0, args.runs)["validate_every"]:
        raise ValueError(f"total_steps must be above 20480, not {args.total_steps}")
    kwargs = {**args.env_kwargs, "world": args.world}
    stem = stem_of("jax_ppo", args)
    results: dict[str, list[Result]] = {name: [] for name in LEARNERS}
    curves: dict[str, list[list[dict[str, float]]]] = {name: [] for name in LEARNERS}
    for seed in range(args.seeds):
        for name, (train, load) in LEARNERS.items():
            out = args.runs / f"{stem}-{args.total_steps}" / name.lower() / f"seed-{seed}"
            done = (out / "final.safetensors").is_file()
            trained = load(out) if done else train(training(args, seed, out))
            results[name].append(runs.evaluate(trained, ENV, kwargs, 0, args.episodes))
            curves[name].append(trained.curve)

    everything = [result for found in results.values() for result in found]
    for result in everything:
        write(result, args.results)
    Console().print(render_rich(everything))
    found = paired_difference(scores(results["JAX"]), scores(results["SB3"]))
    print(f"JAX - SB3: {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")
    times = {name: [seconds(curve) for curve in some] for name, some in curves.items()}
    Console().print(_table(args, times))

    folder = args.results / ENV
    report = {
        "env_kwargs": args.env_kwargs,
        "total_steps": args.total_steps,
        "seeds": args.seeds,
        "jax_less_sb3": found._asdict(),
        "seconds": {name: [t._asdict() for t in some] for name, some in times.items()},
        "machine": machine(),
    }
    (folder / f"{stem}.differences.txt").write_text(json.dumps(report, indent=1) + "\n")
    learning_curve_plot(
        {
            name: (
                np.array([point["steps"] for point in some[0]]),
                np.array([[point["return"] for point in curve] for curve in some]),
            )
            for name, some in curves.items()
        },
        folder / f"{stem}-curve.png",
        ylabel="mean return, users of the training split",
    )


def _table(args: Args, times: dict[str, list[Seconds]]) -> Table:
    table = Table(title=f"seconds for {args.total_steps} steps, {args.seeds} seeds")
    for heading in ("learner", "median", "least", "most", "compiling, first seed"):
        table.add_column(heading)
    for name, some in times.items():
        steps = np.array([t.steps for t in some])
        numbers = np.median(steps), steps.min(), steps.max(), some[0].compiling
        table.add_row(name, *(f"{number:.0f}" for number in numbers))
    return table


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

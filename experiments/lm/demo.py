"""From nothing to a recommender that writes and learns by talking, on two cores.

    make lm-demo

Generates dialogues of the ICER recommender, trains a tiny decoder on them, trains it further by PPO
in conversations with simulated users, and prints a table and conversations. Killed, it goes on
where it stopped.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.panel import Panel

from crs_gym.evaluation import benchmark_plot, render_rich
from crs_gym.world import DEFAULT_WORLD
from experiments.lm import steps
from experiments.lm.steps import Plan


@dataclass(frozen=True)
class Args:
    """Generates, trains twice, measures and shows."""

    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    dialogues: int = 4_000
    """to learn from"""
    few_epochs: float = 4.0
    """passes over them"""
    updates: int = 10
    """of PPO, of 256 conversations each"""
    threads: int = 2
    """of training"""
    episodes: int = 300
    """evaluation conversations"""
    seed: int = 0
    """of training"""
    out: Path = Path("runs/lm-demo")
    """folder of everything"""


def main(args: Args) -> None:
    """Runs the demo."""
    console, begun = Console(), time.perf_counter()
    plan = Plan(
        world=args.world,
        runs=args.out,
        results=args.out / "results",
        dialogues=args.dialogues,
        few=args.dialogues,
        episodes=args.episodes,
        few_epochs=args.few_epochs,
        updates=args.updates,
        threads=args.threads,
    )
    console.rule("[bold]1/4  dialogues of the ICER recommender")
    steps.make_data(plan)
    console.rule("[bold]2/4  supervised training")
    supervised = steps.supervised(plan, args.seed)
    supervised.made()
    console.rule("[bold]3/4  PPO in conversations")
    trained = steps.reinforced(plan, "ppo-turns", args.seed)
    trained.made()
    console.rule("[bold]4/4  evaluation")
    results = steps.references(plan)
    for policy, step in (
        ("lm-untrained", steps.untrained(plan, args.seed)),
        ("lm-sft", supervised),
        ("lm-ppo", trained),
    ):
        results.append(steps.evaluated(plan, step, policy, args.seed))
    plot = benchmark_plot(results, args.out / "benchmark.png")
    console.print(render_rich(results))
    samples = (plan.results / "samples" / "lm-ppo@0.3.txt").read_text(encoding="utf-8")
    shown = "\n\n".join(samples.split("\n\n")[:3])
    console.print(Panel(shown, title="conversations of the trained recommender", highlight=False))
    console.print(f"results  {plan.results}\nplot     {plot}")
    console.print(f"took     {(time.perf_counter() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

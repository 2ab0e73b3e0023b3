"""The demo: benchmark the reference policies, train PPO, add it to the table, show a conversation.

    make demo                       # the bundled world
    make demo WORLD=my.world        # a world of your own

or, in an installed checkout, `python -m experiments.demo --help`.
"""

from __future__ import annotations

import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.panel import Panel

from crs_gym.acts import RecommenderAct, Turn, UserAct
from crs_gym.dialogue import conversation
from crs_gym.evaluation import benchmark_plot, render_rich, write
from crs_gym.evaluation.agents import play
from crs_gym.evaluation.benchmark import benchmark
from crs_gym.policies import POLICIES
from crs_gym.simulation import Episodes, evaluation_seeds
from crs_gym.world import DEFAULT_WORLD, load_world


@dataclass(frozen=True)
class Args:
    """Benchmarks, trains, evaluates and shows; about three minutes on two cores."""

    world: str = DEFAULT_WORLD
    """Bundled name or world file."""
    episodes: int = 500
    """Evaluation users."""
    train_steps: int = 20_480
    """Environment steps of PPO."""
    seed: int = 0
    """Of training, and of the evaluation list."""
    out: Path = Path("runs/demo")
    """Folder for results, plot and the trained policy."""


def main(args: Args) -> None:
    """Runs the demo."""
    from agents import runs
    from agents.sb3 import train as sb3
    from agents.sb3.args import Args as TrainingArgs

    console, begun = Console(), time.perf_counter()
    folder = args.out / "ppo"
    shutil.rmtree(folder, ignore_errors=True)
    env_id, env_kwargs = "crs/IcerMacro-v0", {"world": args.world}
    world = load_world(args.world)
    console.rule(f"[bold]1/3  reference policies on {world.name} ({world.n_items} items)")
    results = benchmark(env_id, tuple(POLICIES), args.episodes, args.seed, env_kwargs)

    console.rule("[bold]2/3  training PPO on crs/IcerMacro-v0")
    trained = sb3.train(
        TrainingArgs(
            env=env_id,
            world=args.world,
            total_steps=args.train_steps,
            seed=args.seed,
            out=folder,
            evaluation_episodes=0,
        )
    )
    results.append(runs.evaluate(trained, env_id, env_kwargs, args.seed, args.episodes))
    seeds = evaluation_seeds(args.seed, 64)
    shown = play(env_id, {**env_kwargs, "split": "evaluation"}, trained.predict, seeds)

    console.rule("[bold]3/3  results")
    for result in results:
        write(result, args.out / "results")
    plot = benchmark_plot(results, args.out / "benchmark.png")
    console.print(render_rich(results))
    console.print(Panel(_pick(shown, world), title="a conversation of the trained policy"))
    console.print(f"results  {args.out / 'results'}\nplot     {plot}")
    console.print(f"took     {time.perf_counter() - begun:.0f} s")


def _pick(played: Episodes, world: Any) -> str:
    """A conversation with a question in it that ended well, if there is one."""
    asked = (played.history.act.kind > 0).sum(1)
    index = int(np.argmax(played.accepted * (1 + np.minimum(asked, 2))))
    history = Turn(
        RecommenderAct(*(field[index] for field in played.history.act)),
        UserAct(*(field[index] for field in played.history.response)),
    )
    return conversation(history, world)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

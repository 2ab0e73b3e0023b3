r"""PPO on `crs/IcerMacro-v0` against the reference policies: 5 seeds, paired intervals.

    python experiments/ppo_macro.py
    python experiments/ppo_macro.py --world my.world
    python experiments/ppo_macro.py --env-kwargs '{"user_model": {"leave_dissatisfaction": 0.3}}'

On a world where asking is hardly worth its turn, the same of users who lose patience as soon as
`crs-gym world asking my.world` says, by a policy that leans to asking from the start:

    python experiments/ppo_macro.py --world my.world --batch-size 256 --lean 5 \
        --env-kwargs '{"user_model": {"leave_dissatisfaction": 0.3}}'

The question: does it end above every policy that never asks, and at least level with
ask-n-then-recommend (n and the kind of question chosen on training users)? Differences are paired
by evaluation user, their 95% intervals clustered by user and seed. Finished seeds are kept: the
same command goes on where it stopped.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from agents import runs
from agents.args import EnvKwargs
from agents.sb3 import train as sb3
from agents.sb3.args import Args as TrainingArgs
from agents.sb3.store import load_policy
from crs_gym.evaluation import (
    Result,
    Scores,
    benchmark_plot,
    learning_curve_plot,
    paired_difference,
    render_rich,
    write,
)
from crs_gym.evaluation.benchmark import benchmark
from crs_gym.evaluation.results import digest
from crs_gym.policies import NEVER_ASK, POLICIES
from crs_gym.world import DEFAULT_WORLD, load_world

ENV = "crs/IcerMacro-v0"


@dataclass
class Args:
    """Trains, evaluates on fixed evaluation users, and compares."""

    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    env_kwargs: EnvKwargs = field(default_factory=dict)
    """further arguments of the environment: JSON, or key=value pairs"""
    seeds: int = 5
    """training seeds, from 0"""
    total_steps: int = 61_440
    """environment steps of each"""
    n_envs: int = 128
    """conversations stepped together; 32 turns of each make a rollout"""
    batch_size: int = 1024
    """transitions in a minibatch"""
    lean: float = 0.0
    """how strongly the network leans, from the start, to asking what is worth much"""
    episodes: int = 4000
    """conversations with evaluation users"""
    runs: Path = Path("runs/ppo_macro")
    """where training leaves its checkpoints"""
    results: Path = Path(__file__).parent / "results"
    """where results and figures go"""


def scores(results: list[Result]) -> Scores:
    """The scores of one policy's training seeds on the same users."""
    first = results[0]
    return Scores(
        np.array([r.scores for r in results]),
        np.array(first.user_ids),
        np.array(first.episode_seeds),
    )


def stem_of(experiment: str, args: Args) -> str:
    """How the names of an experiment's files begin."""
    world = load_world(args.world)
    stem = f"{experiment}-{world.name}-{world.hash[:8]}"
    return f"{stem}-{digest(args.env_kwargs)}" if args.env_kwargs else stem


def training(args: Args, seed: int, out: Path) -> dict[str, Any]:
    """What a learner is told, whichever it is."""
    return {
        "env": ENV,
        "world": args.world,
        "env_kwargs": args.env_kwargs,
        "total_steps": args.total_steps,
        "n_envs": args.n_envs,
        "batch_size": args.batch_size,
        "lean": args.lean,
        "learning_rate": 5e-4,
        "seed": seed,
        "validate_every": max(20_480, args.total_steps // 8),
        "validation_episodes": 256,
        "evaluation_episodes": 0,
        "out": out,
        "resume": True,
    }


def main(args: Args) -> None:
    """Prints the tables and writes them."""
    kwargs = {**args.env_kwargs, "world": args.world}
    stem = stem_of("ppo_macro", args)
    learnt, curves = [], []
    for seed in range(args.seeds):
        out = args.runs / f"{stem}-{args.total_steps}" / f"seed-{seed}"
        settings = TrainingArgs(**training(args, seed, out))
        done = out / "final.safetensors"
        trained = load_policy(done) if done.is_file() else sb3.train(settings)
        learnt.append(runs.evaluate(trained, ENV, kwargs, 0, args.episodes))
        curves.append(trained.curve)
    references = benchmark(ENV, tuple(POLICIES), args.episodes, 0, kwargs)

    everything = [*references, *learnt]
    for result in everything:
        write(result, args.results)
    Console().print(render_rich(everything))
    table = {}
    for result in references:
        if result.policy == "oracle":
            continue
        found = paired_difference(scores(learnt), scores([result]))
        table[result.policy] = found._asdict()
        mark = "never asks" if result.policy in NEVER_ASK else ""
        interval = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        print(f"PPO - {result.policy:14} {interval} {mark}")
    folder = args.results / ENV
    report = {"env_kwargs": args.env_kwargs, "ppo_less": table}
    (folder / f"{stem}.differences.txt").write_text(json.dumps(report, indent=1) + "\n")
    steps = np.array([point["steps"] for point in curves[0]])
    values = np.array([[point["return"] for point in curve] for curve in curves])
    benchmark_plot(everything, folder / f"{stem}.png")
    learning_curve_plot(
        {"PPO, users of the training split": (steps, values)},
        folder / f"{stem}-curve.png",
        ylabel="mean return",
    )


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""Recommenders that write: untrained, supervised, and trained further by talking; with intervals.

    python -m experiments.lm.compare            # all, on all seeds; goes on where it stopped
    python -m experiments.lm.compare --seeds 1 --policies sft ppo-turns
    python -m experiments.lm.compare --measured # the table of what there is so far

The question: do PPO and GRPO end above the supervised model that they start from, on users whom
neither met? And how close do they come to the ICER recommender, which knows the user model? Every
model is a decoder of about a million parameters, trained from nothing on one core for each seed:
supervised on a few thousand dialogues of the ICER recommender, until the loss on other users' no
longer falls, then by conversations with ICER users in words, or with a model that imitates them.
Beside them models that have read eight times as many dialogues, and learners that start from those
(`-all`), who have less to gain. All are measured at the same temperatures, on the same evaluation
users; differences are paired by user, those from the supervised model that a learner started from
by training seed, too, and their 95% intervals clustered by user and seed.
Finished models are kept in `runs`; results in `results`, with all that they follow from: what is
there is neither trained nor measured again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from agents.lm.models import STARTED_FROM
from crs_gym.evaluation import (
    Interval,
    Result,
    Scores,
    difference_plot,
    paired_difference,
    render_rich,
)
from crs_gym.world import DEFAULT_WORLD
from experiments.lm import steps
from experiments.lm.steps import Plan

POLICIES = (
    "untrained",
    "sft",
    "ppo-turns",
    "ppo-dialogues",
    "grpo",
    "ppo-bot",
    "sft-all",
    "ppo-turns-all",
)


@dataclass
class Args:
    """Trains, evaluates on fixed evaluation users, and compares."""

    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    seeds: int = 5
    """training seeds"""
    first_seed: int = 0
    """the first of them"""
    policies: tuple[str, ...] = POLICIES
    """of these: untrained; sft; its learners ppo-turns, ppo-dialogues, grpo, and ppo-bot, which is
    ppo-turns against the supervised user; with -all, sft of all dialogues and its learners"""
    dialogues: int = 32_000
    """of the data set"""
    few: int = 4_000
    """of these, that the model has read which the learners start from"""
    few_epochs: float = Plan.few_epochs
    """passes over these at most"""
    sft_epochs: float = Plan.sft_epochs
    """passes over all at most"""
    updates: int = Plan.updates
    """of each learner, of 256 conversations"""
    all_updates: int = Plan.all_updates
    """of those that start from the model of all dialogues"""
    episodes: int = Plan.episodes
    """evaluation conversations"""
    temperatures: tuple[float, ...] = (0.3, 0.0)
    """of sampling when measured"""
    runs: Path = Path("runs/lm")
    """where data and models go"""
    results: Path = Path(__file__).parent / "results"
    """where results go"""
    measured: bool = False
    """take what was measured before, and train and measure nothing"""
    table: bool = True
    """print and write the table at the end"""


def main(args: Args) -> None:
    """Trains and measures seed by seed, then compares all."""
    plan = Plan.of(args)
    results: list[Result] = []
    look = steps.measured if args.measured else steps.evaluated
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for policy in args.policies:
            step = steps.recommender(plan, policy, seed)
            for temperature in args.temperatures:
                result = look(plan, step, f"lm-{policy}", seed, temperature=temperature)
                if result is not None:
                    results.append(result)
    if args.table and not results:
        print("nothing of this was measured yet")
    elif args.table:
        references = steps.references(plan, play=not args.measured)
        write_table(results, references, args.results)


def write_table(measured: list[Result], references: list[Result], folder: Path) -> None:
    """Prints the table and the differences, writes them, and draws the most telling ones."""
    everything = [*references, *measured]
    Console().print(render_rich(everything))
    groups: dict[tuple[str, float], list[Result]] = {}
    for result in measured:
        groups.setdefault((result.policy, result.policy_kwargs["temperature"]), []).append(result)
    report: dict[str, dict[str, Any]] = {}
    for (policy, temperature), results in groups.items():
        mine = scores(results)
        rows: dict[str, Any] = {
            "seeds": len(results),
            "conversations": len(mine.users),
            "users": len(np.unique(mine.users)),
            "return": mine.mean,
            **{
                name: float(np.mean([r.extra[name] for r in results]))
                for name in ("understood", "legal", "faithful", "dist4", "perplexity")
                if all(name in r.extra for r in results)
            },
        }
        others = [(r.policy, results, [r], False) for r in references]
        start = f"lm-sft{steps.OF_ALL}" if policy.endswith(steps.OF_ALL) else "lm-sft"
        for (name, other), theirs in groups.items():
            if name == start:
                # a learner's seed is that of the supervised model which it started from
                others.append((f"sft@{other:g}", *same_seeds(results, theirs), True))
        for name, own, theirs, by_seed in others:
            if own:
                found = paired_difference(scores(own), scores(theirs), by_seed=by_seed)
                rows[f"less {name}"] = {"seeds": len(own), **found._asdict()}
                print(
                    f"{policy}@{temperature:g} - {name:14} {found.mean:+.3f} "
                    f"[{found.low:+.3f}, {found.high:+.3f}], {len(own)} seed(s)"
                )
        report[f"{policy}@{temperature:g}"] = rows
    path = folder / "compare.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(path)
    panels = telling(report)
    if any(panels.values()):
        print(difference_plot(panels, path.with_suffix(".png")))


def telling(report: dict[str, dict[str, Any]]) -> dict[str, dict[str, Interval]]:
    """What each model still misses and has learnt; one that knows nothing is left out."""
    less_start: dict[str, Interval] = {}
    less_icer: dict[str, Interval] = {}
    for name, rows in report.items():
        policy, temperature = name.split("@")
        if policy == "lm-untrained":
            continue
        found = {
            key: Interval(*(less[part] for part in Interval._fields))
            for key, less in rows.items()
            if key.startswith("less ")
        }
        if "less icer" in found:
            less_icer[name] = found["less icer"]
        if f"less sft@{temperature}" in found and not policy.startswith("lm-sft"):
            less_start[name] = found[f"less sft@{temperature}"]
    return {"less the ICER recommender": less_icer, "less the model it started from": less_start}


def same_seeds(learnt: list[Result], starts: list[Result]) -> tuple[list[Result], list[Result]]:
    """Those of the training seeds that both have. Where a learner's result says which model it
    started from, only if that is the one that was measured: it may have been trained anew since.
    """
    by_seed = {r.training_seed: r for r in starts}
    pairs = [(r, by_seed[r.training_seed]) for r in learnt if r.training_seed in by_seed]
    kept = [
        (one, start)
        for one, start in pairs
        if one.extra.get(STARTED_FROM, start.extra.get("model")) == start.extra.get("model")
    ]
    return [one for one, _ in kept], [start for _, start in kept]


def scores(results: list[Result]) -> Scores:
    """The scores of one policy's training seeds on the same users."""
    ordered = sorted(results, key=lambda r: r.training_seed or 0)
    first = ordered[0]
    return Scores(
        np.array([r.scores for r in ordered]),
        np.array(first.user_ids),
        np.array(first.episode_seeds),
    )


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

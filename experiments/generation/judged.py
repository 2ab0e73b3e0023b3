"""What dialogues tell of a user's taste, judged by the belief, and measured qualities.

    python -m experiments.generation.judged

Three data sets about the film world with the same users, of whom nothing is known at the start:
the best query in every turn (ICER); one of the two kinds of query at random, and users who
criticise half of what they reject; and queries at random. Data sets are made under `--runs`, and
stay there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from crs_gym.evaluation.judging import BeliefJudge, evaluate, make_cases, measure
from crs_gym.evaluation.judging.report import (
    judged_json,
    judged_table,
    measured_json,
    measured_table,
)
from crs_gym.generation.run import generate
from crs_gym.generation.settings import Settings
from crs_gym.world import DEFAULT_WORLD, load_world

SETS: dict[str, dict[str, Any]] = {
    "best queries": {},
    "either kind": {"queries": "either", "user_model": {"critique_rate": 0.5}},
    "random queries": {"queries": "random", "threshold": -1.0},
}


@dataclass
class Args:
    """Makes the data sets, judges them, and writes what was found."""

    dialogues: int = 1000
    """in each data set"""
    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    workers: int = 2
    """processes"""
    runs: Path = Path("runs/judged")
    """where the data sets go"""
    results: Path = Path(__file__).parent / "results" / "judged.json"
    """file of the figures"""


def main(args: Args) -> None:
    world, console, found = load_world(args.world), Console(), {}
    for name, changes in SETS.items():
        settings = Settings(world.hash, args.dialogues, split="evaluation", prior="cold", **changes)
        folder = args.runs / name.replace(" ", "-")
        data = generate(world, folder, settings, workers=args.workers)
        dialogues = list(data)
        judge = BeliefJudge(world, user_model=settings.user_model)
        rows = evaluate(judge, make_cases(dialogues, world), settings.max_turns)
        measures = measure(dialogues, world, user_model=settings.user_model, progress=True)
        console.print(judged_table(name, rows))
        console.print(measured_table({name: measures}))
        found[name] = {"judged": judged_json(rows), "measured": measured_json(measures)}
    report = {"world": world.hash, "dialogues": args.dialogues, "sets": found}
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""Bot-play and its drift: each recommender with each user, as a matrix.

    python -m experiments.lm.cross_play              # goes on where it stopped
    python -m experiments.lm.cross_play --seeds 5

Recommenders: supervised; trained by PPO against ICER users; against a supervised user that is a
model; by self-play (both sides in turn, against pools of each other's past versions). Users:
ICER's, the supervised one, the one of self-play. For each pair the return and, to tell drift from
learning, how the recommender's language did: its perplexity under the supervised model, Dist-4, the
share of turns that were understood; and of the user the utility of what it accepted, and the share
of conversations that it broke.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from crs_gym.evaluation import Result
from crs_gym.world import DEFAULT_WORLD
from experiments.lm import steps
from experiments.lm.steps import Plan

_FIGURES = ("understood", "legal", "faithful", "dist4", "perplexity", "user_failed")


@dataclass
class Args:
    """Trains what is missing, plays every pair, prints and writes the matrix."""

    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    seeds: int = 1
    """training seeds of recommenders and of self-play, from 0; the supervised user is one"""
    dialogues: int = 32_000
    """of the data set"""
    few: int = 4_000
    """of these, that supervised training reads"""
    few_epochs: float = Plan.few_epochs
    """passes over these at most"""
    updates: int = Plan.updates
    """of PPO, of 256 conversations"""
    rounds: int = 2
    """of self-play"""
    round_updates: int = 15
    """of each side in a round"""
    episodes: int = 1000
    """evaluation conversations of each pair"""
    temperature: float = 0.3
    """of sampling when measured"""
    runs: Path = Path("runs/lm")
    """where data and models go"""
    results: Path = Path(__file__).parent / "results"
    """where results go"""


def main(args: Args) -> None:
    """Trains, plays and shows."""
    plan = Plan.of(args)
    cells: dict[tuple[str, str], list[Result]] = {}
    for seed in range(args.seeds):
        supervised = steps.supervised(plan, seed)
        user = steps.bot_user(plan)
        talked = steps.reinforced(plan, "ppo-turns", seed)
        botted = steps.reinforced(plan, "ppo-bot", seed)
        recommender, partner = steps.self_played(plan, seed, args.rounds, args.round_updates)
        recommenders = {
            "lm-sft": supervised,
            "lm-ppo-turns": talked,
            "lm-ppo-bot": botted,
            "lm-self-play": recommender,
        }
        users = {"icer": None, "supervised": user, "self-play": partner}
        for policy, step in recommenders.items():
            for name, who in users.items():
                result = steps.evaluated(
                    plan, step, policy, seed, who, args.temperature, label=name
                )
                cells.setdefault((policy, name), []).append(result)
    table = Table(title="return of each recommender with each user")
    names = list(dict.fromkeys(user for _, user in cells))
    for heading in ("recommender", *names):
        table.add_column(heading)
    for policy in dict.fromkeys(policy for policy, _ in cells):
        table.add_row(policy, *(_cell(cells[policy, name]) for name in names))
    Console().print(table)
    report = {f"{policy} with {name}": _report(rs) for (policy, name), rs in cells.items()}
    path = args.results / "cross_play.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(path)


def _cell(results: list[Result]) -> str:
    report = _report(results)
    utility = report.get("utility")
    worth = "nothing accepted" if utility is None else f"utility {utility:.2f}"
    return (
        f"{report['return']:.3f}\nsuccess {report['success']:.2f}, turns {report['turns']:.1f}\n"
        f"{worth}\n"
        f"understood {report['understood']:.3f}, perplexity {report['perplexity']:.2f}\n"
        f"Dist-4 {report['dist4']:.3f}, broken by user {report['user_failed']:.3f}"
    )


def _report(results: list[Result]) -> dict[str, float]:
    """Means over seeds; no utility where nothing was accepted."""
    summaries = [result.summary() for result in results]
    utilities = [s.utility for s in summaries if s.utility is not None]
    return {
        "seeds": len(results),
        "return": float(np.mean([s.score for s in summaries])),
        "success": float(np.mean([s.success for s in summaries])),
        "turns": float(np.mean([s.turns for s in summaries])),
        **({"utility": float(np.mean(utilities))} if utilities else {}),
        **{name: float(np.mean([r.extra.get(name, 0.0) for r in results])) for name in _FIGURES},
    }


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

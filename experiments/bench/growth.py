"""What very many conversations, and very many items, take in memory and time.

    python -m experiments.bench.growth

Each row runs in a process of its own, whose peak of resident memory it reports: making the world
ready, compiling, a reset, and steps with random acts.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import tyro
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import crs_gym  # noqa: F401 - registers the environments
from crs_gym.evaluation.results import machine
from crs_gym.world.generate import generate

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Case:
    """One row; steps: how many are timed after the first, which compiles."""

    env: str
    observation: str
    envs: int
    items: int
    steps: int


CASES = (
    Case("crs/Icer-v0", "index", 65_536, 2_109, 14),
    Case("crs/Icer-v0", "history", 65_536, 2_109, 7),
    Case("crs/IcerMacro-v0", "belief", 65_536, 2_109, 0),
    Case("crs/Icer-v0", "index", 1_024, 100_000, 7),
    Case("crs/Icer-v0", "history", 1_024, 100_000, 7),
    Case("crs/IcerMacro-v0", "belief", 1_024, 100_000, 0),
)


@dataclass
class Args:
    """Measures every case."""

    cases: tuple[int, ...] = tuple(range(len(CASES)))
    """which of them, by number"""
    inner: bool = False
    """measure the one case here, and print JSON"""
    results: Path = RESULTS
    """where the table goes"""


def measure(case: Case) -> dict[str, Any]:
    """Time and memory of one case, in this process."""
    world: Any = "generated" if case.items == 2_109 else generate(n_items=case.items)
    env = gymnasium.make_vec(
        case.env, case.envs, "vector_entry_point", world=world, observation=case.observation
    )
    began = time.perf_counter()
    env.reset(seed=0)
    env.step(env.action_space.sample())
    compiling = time.perf_counter() - began
    seconds = 0.0
    for _ in range(case.steps):
        actions = env.action_space.sample()
        began = time.perf_counter()
        env.step(actions)
        seconds += time.perf_counter() - began
    # kilobytes on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "first s": compiling,
        "s a step": seconds / case.steps if case.steps else None,
        "peak GiB": peak,
    }


def main(args: Args) -> None:
    """Prints the table and writes it."""
    if args.inner:
        print(json.dumps(measure(CASES[args.cases[0]])))
        return
    found = []
    for number in tqdm(args.cases, unit="case"):
        words = ["-m", "experiments.bench.growth", "--inner", "--cases", str(number)]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
        row = vars(CASES[number]).copy()
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [""]
            row["failed"] = f"exit {done.returncode}: {last[0]}"
        else:
            row |= json.loads(done.stdout.splitlines()[-1])
        found.append(row)
    table = Table("environment", "observation", "envs", "items", "first s", "s a step", "GiB")
    for row in found:
        what = (row["env"], row["observation"], f"{row['envs']:,}", f"{row['items']:,}")
        if "failed" in row:
            table.add_row(*what, row["failed"])
            continue
        step = "" if row["s a step"] is None else f"{row['s a step']:.2f}"
        table.add_row(*what, f"{row['first s']:.0f}", step, f"{row['peak GiB']:.1f}")
    Console(width=120).print(table)
    args.results.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "rows": found}
    (args.results / "growth.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

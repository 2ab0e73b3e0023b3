"""A data set of 100,000 dialogues: minutes, peak memory, and what it holds.

    python -m experiments.generation.scale
    python -m experiments.generation.scale --dialogues 2000

The world is one of the paper's size (2,109 items, 128 dimensions, 33 attributes, 3,650 users),
generated and calibrated; EVOI is worked out at every turn of the recommender. Memory is that of all
processes together (shared pages counted once), looked at every second. Killed, it goes on, and the
seconds of all its runs are summed up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from crs_gym.commands.worlds import BuildGenerated
from crs_gym.evaluation.results import machine
from crs_gym.generation.card import summary
from crs_gym.generation.dataset import DataSet


@dataclass
class Args:
    """Builds the world, makes the data set, and writes what it cost."""

    dialogues: int = 100_000
    """how many"""
    workers: int = 2
    """processes"""
    out: Path = Path("runs/scale")
    """folder of the world and the data set"""
    results: Path = Path(__file__).parent / "results" / "scale.json"
    """file of the figures"""


def memory(pid: int) -> int:
    """Bytes of a process and its children: their proportional set sizes."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += 1024 * int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(memory(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass  # it has just ended
    return total


def main(args: Args) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    world, folder = args.out / "paper.world", args.out / "dialogues"
    spent = args.out / "spent.json"
    if not world.exists():
        BuildGenerated(world).run()
    before = json.loads(spent.read_text()) if spent.exists() else {"seconds": 0.0, "peak": 0}
    command = [
        sys.executable, "-m", "crs_gym", "generate", "--world", str(world), "-o", str(folder),
        "--dialogues", str(args.dialogues), "--workers", str(args.workers),
    ]  # fmt: skip
    begun, peak = time.monotonic(), before["peak"]
    process = subprocess.Popen(command)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        seconds = before["seconds"] + time.monotonic() - begun
        spent.write_text(json.dumps({"seconds": seconds, "peak": peak}))
        time.sleep(1.0)
    if process.returncode:
        raise SystemExit(process.returncode)
    seconds = before["seconds"] + time.monotonic() - begun
    data = DataSet.open(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    figures = {
        "dialogues": args.dialogues,
        "workers": args.workers,
        "minutes": round(seconds / 60, 1),
        "dialogues_per_second": round(args.dialogues / seconds, 1),
        "peak_gib": round(peak / 2**30, 2),
        "mib_on_disk": round(size / 2**20, 1),
        "holds": summary(data),
        "machine": machine(),
    }
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(figures, indent=1) + "\n")
    Console().print_json(data=figures)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

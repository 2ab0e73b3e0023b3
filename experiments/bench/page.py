"""Puts the kept results into the tables of docs/speed.md.

python -m experiments.bench.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tyro

from experiments.pages import fill, table

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "docs" / "speed.md"


def load(name: str) -> Any:
    """A report by name."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def throughput() -> str:
    """Steps per second of our own."""
    rows = (
        [
            r["world"],
            r["observation"],
            f"{r['user_pool']:,}",
            f"`{r['door']}`",
            f"{r['batch']:,}",
            f"**{r['steps/s']:,.0f}**",
            f"{r['floor']:,.0f}",
            f"{r['compile s']:.1f}",
        ]
        for r in load("throughput")["rows"]
    )
    head = ("world", "observation", "user pool", "by", "batch", "steps/s", "floor", "compiling, s")
    return table(head, rows)


def peers() -> str:
    """Steps per second of others, and how many times that is ours."""
    found = load("throughput")
    ours = [r for r in found["rows"] if r["world"] == "generated" and r["observation"] != "belief"]

    def fastest(door: str) -> float:
        return max(r["steps/s"] for r in ours if r["door"] == door)

    doors = ("make", "make_vec", "rollout")
    rows = (
        [name, rate, "", "", ""]
        if isinstance(rate, str)
        else [name, f"{rate:,.0f}", *(f"{fastest(door) / rate:,.1f}" for door in doors)]
        for name, rate in found["peers"].items()
    )
    return table(("peer", "steps/s", *(f"ours by `{door}`, times" for door in doors)), rows)


def growth() -> str:
    """Memory and time of very many conversations and items."""
    rows = (
        [
            f"`{r['env']}`",
            r["observation"],
            f"{r['envs']:,}",
            f"{r['items']:,}",
            f"{r['peak GiB']:.1f}",
            f"{r['first s']:.0f}",
            "" if r["s a step"] is None else f"{r['s a step']:.2f}",
        ]
        for r in load("growth")["rows"]
        if "failed" not in r
    )
    head = (
        "environment",
        "observation",
        "envs",
        "items",
        "GiB",
        "reset and first step, s",
        "s a step",
    )
    return table(head, rows)


def writing() -> str:
    """Conversations per second of a recommender that is a model."""
    rates = load("writing")["conversations/s"]
    rows = ([way, f"{rate:.1f}", f"{rate / rates['generate']:.1f}"] for way, rate in rates.items())
    return table(("written by", "conversations/s", "times generate"), rows)


def main(page: Path = PAGE) -> None:
    """Fills the tables.

    Args:
        page: the file to fill.
    """
    fill(page, {part.__name__: part for part in (throughput, peers, growth, writing)})


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""Fills docs/dialogues.md from the results beside, and with twenty dialogues.

    python -m experiments.generation.page

The dialogues are those of `experiments.generation.judged`, or are made anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import tyro

from crs_gym.generation.run import generate
from crs_gym.generation.settings import Settings
from crs_gym.world import load_world
from experiments.generation.judged import SETS
from experiments.pages import fill, table

PAGE = Path(__file__).parents[2] / "docs" / "dialogues.md"
RESULTS = Path(__file__).parent / "results"
WORDS = Path(__file__).parents[1] / "words" / "results"
SHOWN = "either kind"


@dataclass
class Args:
    """Fills the page."""

    runs: Path = Path("runs/judged")
    """where the data sets of the experiment are"""


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text())


def scale() -> str:
    found = read(RESULTS, "scale")
    held = found["holds"]
    rows = [
        ("dialogues", f"{found['dialogues']:,}"),
        ("turns", held["turns"]),
        ("accepted", held["accepted"]),
        ("minutes", f"{found['minutes']} ({found['dialogues_per_second']} dialogues a second)"),
        ("processes", str(found["workers"])),
        ("peak memory of all processes", f"{found['peak_gib']} GiB"),
        ("on disk", f"{found['mib_on_disk']:,.0f} MiB"),
    ]
    intro = (
        "`python -m experiments.generation.scale`: a world of the paper's size (2,109 items, 128\n"
        "dimensions) at its calibration, EVOI at every turn of the recommender, templates:\n"
    )
    return f"{intro}\n{table(('', ''), rows)}"


def checks() -> str:
    found = read(WORDS, "corruptions")
    rows = []
    for words in ("templates", "phrasings"):
        good, bad = (found[part][words]["total"] for part in ("good", "corrupted"))
        rows.append(
            (
                words,
                f"{good['refused']:,} of {good['all']:,}",
                f"{bad['refused']:,} of {bad['all']:,} ({bad['refused'] / bad['all']:.2%})",
            )
        )
    return table(("words", "good turns refused", "damaged turns found"), rows)


def rewriting() -> str:
    found = read(WORDS, "paraphraser")
    rows = [
        (
            kind.replace("_", " "),
            f"{tally['turns']:,}",
            f"{tally['first'] / tally['turns']:.1%}",
            f"{tally['fallback'] / tally['turns']:.1%}",
        )
        for kind, tally in found["rates"].items()
    ]
    turns = found["turns"]
    passed, fallback = 1 - found["refused at first try"], found["fallback"]
    rows.append(("all", f"{turns:,}", f"{passed:.1%}", f"{fallback:.1%}"))
    return table(("turn", "turns", "passed at first try", "stayed templates"), rows)


def judged() -> str:
    sets = read(RESULTS, "judged")["sets"]
    rows = []
    for turn in range(max(len(one["judged"]) for one in sets.values())):
        cells = []
        for one in sets.values():
            row = one["judged"][turn]
            accuracy = row["accuracy"]
            half = (accuracy["high"] - accuracy["low"]) / 2
            cells.append(f"{accuracy['mean']:.3f} ± {half:.3f} (n = {row['n']:,})")
        rows.append((str(turn), *cells))
    return table(("turns read", *(f"accuracy, {name}" for name in sets)), rows)


def measured() -> str:
    sets = read(RESULTS, "judged")["sets"]
    rows: dict[str, list[str]] = {}
    for one in sets.values():
        for figure in one["measured"]["figures"]:
            mean = "-" if figure["mean"] is None else f"{figure['mean']:.3f}"
            rows.setdefault(figure["name"], []).append(mean)
        for speaker, shares in one["measured"]["distinct"].items():
            rows.setdefault(f"Dist-4, {speaker}", []).append(f"{shares[3]:.3f}")
    return table(("", *sets), ([name, *cells] for name, cells in rows.items()))


def dialogues(folder: Path) -> str:
    world = load_world()
    if not (folder / "README.md").is_file():
        settings = Settings(world.hash, 20, split="evaluation", prior="cold", **SETS[SHOWN])
        folder = folder.with_name("shown")
        generate(world, folder, settings)
    from crs_gym.generation.dataset import DataSet

    parts = []
    for dialogue in islice(DataSet.open(folder), 20):
        lines = [f"> **{who}:** {words}\\" for who, words in dialogue.lines()]
        lines[-1] = lines[-1].removesuffix("\\")
        parts.append("\n".join([f"**{dialogue.number + 1}**\n", *lines]))
    return "\n\n".join(parts)


def main(args: Args) -> None:
    parts = {
        "scale": scale,
        "checks": checks,
        "rewriting": rewriting,
        "judged": judged,
        "measured": measured,
        "dialogues": lambda: dialogues(args.runs / SHOWN.replace(" ", "-")),
    }
    fill(PAGE, parts)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

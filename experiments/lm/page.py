"""Fills the tables of docs/language-models.md: `python -m experiments.lm.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.pages import fill, table

_RESULTS = Path(__file__).parent / "results"
_PAGE = Path(__file__).parents[2] / "docs" / "language-models.md"
_COMPARED = ("random", "icer", "sft@0.3", "sft@0")
_WORDS = ("understood", "legal", "faithful", "dist4", "perplexity")


def compare() -> str:
    """A row for each recommender; `sft` is the supervised model that it started from."""
    return _table(
        "compare.json",
        ("recommender", "seeds", "users", "return", *(f"less {x}" for x in _COMPARED), *_WORDS),
        lambda row: [
            str(row["seeds"]),
            f"{row['users']:,}",
            f"{row['return']:.3f}",
            *(_interval(row.get(f"less {name}")) for name in _COMPARED),
            *(_number(row.get(name)) for name in _WORDS),
        ],
    )


def cross_play() -> str:
    """A row for each pair."""
    names = "return success utility turns understood dist4 perplexity user_failed".split()
    return _table(
        "cross_play.json",
        ("recommender with user", "seeds", *names),
        lambda row: [str(row["seeds"]), *(_number(row.get(name)) for name in names)],
    )


def _table(name: str, head: Any, cells: Any) -> str:
    path = _RESULTS / name
    if not path.is_file():
        return "Not run yet."
    rows = json.loads(path.read_text(encoding="utf-8"))
    return table(head, ([key, *cells(row)] for key, row in rows.items()))


def _interval(found: dict[str, float] | None) -> str:
    if not found or found["low"] == found["high"] == 0:
        return "–"
    return f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    fill(_PAGE, {"compare": compare, "cross_play": cross_play})

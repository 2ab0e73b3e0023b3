"""Judgements as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crs_gym.evaluation.judging.automatic import Row
from crs_gym.evaluation.judging.measures import Measures

if TYPE_CHECKING:
    from rich.table import Table

_CAPTION = "± half the 95% interval"


def judged_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows as JSON values; intervals as mean, low and high."""
    intervals = ("accuracy", "ndcg", "gain")
    return [
        {**row._asdict(), **{name: getattr(row, name)._asdict() for name in intervals}}
        for row in rows
    ]


def measured_json(measures: Measures) -> dict[str, Any]:
    """Measures as JSON values."""
    figures = [figure._asdict() for figure in measures.figures]
    return {**measures._asdict(), "figures": figures}


def judged_table(name: str, rows: Sequence[Row]) -> Table:
    """Accuracy and NDCG by turn (ICER, tables 3 and 4)."""
    from rich.table import Table

    table = Table(title=f"Which film does the user like better? {name}", caption=_CAPTION)
    for title in ("Turns", "n", "Accuracy", "NDCG", "Gain over 0 turns"):
        table.add_column(title, justify="right", no_wrap=True)
    asked = any(row.asked_again for row in rows)
    if asked:
        table.add_column("Asked again", justify="right")
        table.add_column("Coin flips", justify="right")
    for row in rows:
        figures = [_interval(*interval) for interval in (row.accuracy, row.ndcg, row.gain)]
        counts = [str(row.asked_again), str(row.coins)] if asked else []
        table.add_row(str(row.turn), str(row.n), *figures, *counts)
    return table


def measured_table(several: Mapping[str, Measures]) -> Table:
    """Measures side by side, a column each."""
    from rich.table import Table

    table = Table(title="Measured qualities", caption=_CAPTION)
    table.add_column("", no_wrap=True)
    columns = []
    for name, measures in several.items():
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("n", justify="right")
        cells = {
            figure.name: (_interval(figure.mean, figure.low, figure.high), str(figure.n))
            for figure in measures.figures
        }
        for speaker, shares in measures.distinct.items():
            for n, share in enumerate(shares, 1):
                cells[f"Dist-{n}, {speaker}"] = (_interval(share), "")
        columns.append(cells)
    for name in columns[0] if columns else ():
        table.add_row(name, *(cell for cells in columns for cell in cells[name]))
    return table


def _interval(mean: float | None, low: float | None = None, high: float | None = None) -> str:
    if mean is None:
        return "-"
    if low is None or high is None:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {(high - low) / 2:.3f}"

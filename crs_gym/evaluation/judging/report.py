"""Judgements as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crs_gym.evaluation.judging.automatic import Row
from crs_gym.evaluation.judging.measures import Measures

if TYPE_CHECKING:
    from rich.table import Table

_CAPTION = "± half the 95% interval"
_GAIN = "gain: in accuracy, over no turns of the same dialogues"
_ASKED = "again: replies with neither film; coins: the second had neither too"


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
    asked = any(row.asked_again for row in rows)
    caption = "\n".join((_CAPTION, _GAIN, *([_ASKED] if asked else [])))
    table = _table(f"Which film does the user like better? {name}", caption)
    titles = ("Turn", "n", "Accuracy", "NDCG", "Gain", *(("Again", "Coins") if asked else ()))
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        figures = [_interval(*interval) for interval in (row.accuracy, row.ndcg, row.gain)]
        counts = [str(row.asked_again), str(row.coins)] if asked else []
        table.add_row(str(row.turn), str(row.n), *figures, *counts)
    return table


def measured_table(several: Mapping[str, Measures]) -> Table:
    """Measures side by side, a column each."""
    table = _table("Measured qualities", _CAPTION)
    table.add_column("", no_wrap=True)
    columns = []
    for name, measures in several.items():
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("n", justify="right", no_wrap=True)
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


def _table(title: str, caption: str) -> Table:
    """Narrow enough for a terminal of 80 columns, with the largest numbers there may be."""
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        caption=caption,
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )


def _interval(mean: float | None, low: float | None = None, high: float | None = None) -> str:
    if mean is None:
        return "-"
    if low is None or high is None:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {(high - low) / 2:.3f}"

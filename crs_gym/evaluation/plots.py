"""Figures of results. Importing this does not import matplotlib; its global state is not used."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crs_gym.evaluation.leaderboard import ORACLE, RANDOM, Row, tables
from crs_gym.evaluation.results import RULE, Result
from crs_gym.evaluation.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEGENERATE = frozenset({RANDOM, "one-act", "one-slate"})

INK, _FAINT, _GRID = "#2b2f36", "#6b7280", "#e5e7eb"
_KINDS = {  # also the order of the legend
    "oracle": ("#2b2f36", "D", "oracle (knows the user)"),
    "learnt": ("#c2571a", "o", "learnt"),
    "reference": ("#2f6d9e", "s", "reference"),
    "degenerate": ("#7d848e", "^", "degenerate"),
}
# told apart by colour and by the label at the line's end
_CURVES = ("#2f6d9e", "#c2571a", "#3f8f63", "#8a5aa3", "#b08a1e", "#9097a1", "#b3446c", "#4b4f58")
_STYLE = {"fontsize": 9, "color": INK}


def benchmark_plot(
    results: Iterable[Result],
    path: str | Path,
    *,
    degenerate: Collection[str] = DEGENERATE,
) -> Path:
    """Draws one table of results: scores with intervals, and success by turn.

    The left panel holds the normalised score of each policy with its 95% interval, the best on
    top (the return where the table is not normalised); the right one the share of the episodes
    that were accepted by each turn.

    Args:
        results: of one environment, world, evaluation list and kind of user.
        path: file to write; its ending sets the format, `.png` or `.svg` say.
        degenerate: names of the policies that nobody would use.

    Raises:
        ValueError: no results, or results that belong to several tables.
        OSError: the file cannot be written.
    """
    found = tables(results)
    if len(found) != 1:
        raise ValueError(
            f"a benchmark plot shows one table, these results make {len(found)}; select those of "
            "one environment, world, evaluation list and kind of user"
        )
    table = found[0]
    rows = sorted(table.rows, key=lambda row: row.reward.mean)
    figure = new_figure(10.5, 1.9 + 0.34 * max(len(rows), 6))
    forest, curves = figure.subplots(1, 2, width_ratios=(1.15, 1))
    kinds = [_kind(row, degenerate) for row in rows]

    intervals = [row.reward if row.score is None else row.score for row in rows]
    for y, (interval, kind) in enumerate(zip(intervals, kinds, strict=True)):
        _draw_interval(forest, y, interval, *_KINDS[kind][:2])
    _name_rows(forest, [row.policy for row in rows])
    if table.problem is None:
        _reference_lines(forest)
        forest.set_xlabel("normalised score (0 random, 1 oracle), 95% interval")
    else:
        forest.set_xlabel("return per episode, 95% interval")
    _calm(forest, grid="x")

    n_turns = max(len(row.accepted_by) for row in rows)
    turns = np.arange(n_turns + 1)
    ends = []
    for row, kind in zip(rows, kinds, strict=True):
        share = 100 * np.array([0.0, *row.accepted_by])
        curves.plot(turns, share, color=_KINDS[kind][0], lw=1.6, alpha=0.85, clip_on=False)
        ends.append((float(share[-1]), row.policy, _KINDS[kind][0]))
    curves.set_xlim(0, n_turns)
    curves.set_ylim(0, 100)
    curves.set_xticks(turns if n_turns <= 12 else np.unique(np.linspace(0, n_turns, 8, dtype=int)))
    curves.set_xlabel("turn")
    curves.set_ylabel("episodes accepted by this turn (%)")
    _calm(curves, grid="y")

    users = "rule-based users" if table.user_kind == RULE else table.user_kind
    figure.suptitle(
        f"{table.env_id} · {table.world_name} · {users} · {table.episodes:,} episodes",
        fontsize=11,
        parse_math=False,
        color=INK,
    )
    _legend(figure, [kind for kind in _KINDS if kind in kinds])
    _label_ends(figure, curves, ends)
    return save_figure(figure, path)


def learning_curve_plot(
    curves: Mapping[str, tuple[Any, Any]],
    path: str | Path,
    *,
    ylabel: str = "return per episode",
    xlabel: str = "environment steps",
    levels: Mapping[str, float] | None = None,
) -> Path:
    """Draws training curves: the mean over seeds, and a band from the lowest to the highest seed.

    Args:
        curves: name to steps (points,) and values (seeds, points), or (points,) for one seed; NaN
            leaves a gap.
        path: file to write; its ending sets the format.
        ylabel, xlabel: what the axes show, with units.
        levels: name to height of horizontal lines, reference policies say.

    Raises:
        ValueError: no curves, or steps and values of different lengths.
        OSError: the file cannot be written.
    """
    if not curves:
        raise ValueError("there are no curves to draw")
    figure = new_figure(7.4, 4.2)
    axes = figure.subplots()
    ends, n_seeds = [], set()
    for n, (name, (steps, values)) in enumerate(curves.items()):
        x, y = np.asarray(steps, float), np.atleast_2d(np.asarray(values, float))
        if y.ndim != 2 or x.shape != y.shape[1:] or not x.size:
            raise ValueError(
                f"curve {name!r} has steps of shape {x.shape} and values of shape "
                f"{np.shape(values)}; they should be (points,) and (seeds, points)"
            )
        colour = _CURVES[n % len(_CURVES)]
        mean = y.mean(0)
        axes.plot(x, mean, color=colour, lw=1.9)
        if len(y) > 1:
            axes.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.16, lw=0)
        n_seeds.add(len(y))
        drawn = mean[np.isfinite(mean)]
        if drawn.size:
            ends.append((float(drawn[-1]), name, colour))
    for name, height in (levels or {}).items():
        axes.axhline(height, color=_FAINT, lw=1, ls=(0, (4, 3)))
        ends.append((float(height), name, _FAINT))
    axes.margins(x=0)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_formatter(_thousands)
    _calm(axes, grid="y")
    if max(n_seeds) > 1:
        seeds = "–".join(map(str, sorted({min(n_seeds), max(n_seeds)})))
        axes.set_title(
            f"mean over {seeds} seeds; bands from the lowest to the highest",
            loc="left",
            fontsize=9,
            color=_FAINT,
        )
    _label_ends(figure, axes, ends)
    return save_figure(figure, path)


def difference_plot(
    panels: Mapping[str, Mapping[str, Interval]],
    path: str | Path,
    *,
    xlabel: str = "difference in return per episode, 95% interval",
) -> Path:
    """Draws differences with their intervals, a panel for each thing that was compared with.

    Rows are shared by all panels, the first on top. Where 0 is within the interval, or at its end,
    it is drawn pale.

    Args:
        panels: title to names to differences, say of `paired_difference`; a name that is missing in
            one panel has an empty row there.
        path: file to write; its ending sets the format.
        xlabel: what the differences are of, with units.

    Raises:
        ValueError: nothing to draw.
        OSError: the file cannot be written.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    if not names:
        raise ValueError("there are no differences to draw")
    figure = new_figure(2.2 + 4 * len(panels), 1.3 + 0.27 * len(names))
    for axes, (title, panel) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        for y, name in enumerate(reversed(names)):
            if name in panel:
                found = panel[name]
                shown = found.low > 0 or found.high < 0
                _draw_interval(axes, y, found, _CURVES[1] if shown else _CURVES[5], "o")
        axes.axvline(0, color=_FAINT, lw=0.9, ls=(0, (4, 3)), zorder=0)
        _name_rows(axes, names[::-1])
        axes.set_title(title, loc="left", fontsize=10, color=INK, parse_math=False)
        axes.set_xlabel(xlabel)
        _calm(axes, grid="x")
    return save_figure(figure, path)


def _kind(row: Row, degenerate: Collection[str]) -> str:
    if row.policy == ORACLE:
        return "oracle"
    if row.policy in degenerate:
        return "degenerate"
    return "learnt" if row.seeds else "reference"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` by `height` inches, apart from matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _draw_interval(axes: Axes, y: float, found: Interval, colour: str, marker: str) -> None:
    ends = [found.low, found.high]
    axes.plot(ends, [y, y], color=colour, lw=2.6, alpha=0.5, solid_capstyle="butt")
    axes.plot(found.mean, y, marker, color=colour, ms=4.5, mec="white", mew=0.6)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """From below, at heights 0, 1, ..."""
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(-0.7, len(names) - 0.3)


def _reference_lines(axes: Axes) -> None:
    for x in (0, 1):
        axes.axvline(x, color=_FAINT, lw=0.9, ls=(0, (4, 3)), zorder=0)


def _calm(axes: Axes, grid: str) -> None:
    for side in ("top", "right", "left" if grid == "x" else "bottom"):
        axes.spines[side].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color("#c4c8cf")
    axes.grid(axis="x" if grid == "x" else "y", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors="#c4c8cf", labelcolor=INK, labelsize=9)
    if grid == "x":
        axes.tick_params(axis="y", length=0)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(**_STYLE)


def _legend(figure: Figure, kinds: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, lw=2.2, ms=6, mec="white", label=text)
        for colour, marker, text in (_KINDS[kind] for kind in kinds)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def _label_ends(figure: Figure, axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names the lines at their right ends, pushed apart where they would overlap."""
    figure.canvas.draw()  # the labels' distance follows from the final height of the panel
    low, high = axes.get_ylim()
    points = axes.get_window_extent().height * 72 / figure.dpi
    gap = 10.5 * (high - low) / points
    ordered = sorted(ends)
    places = _spread([y for y, _, _ in ordered], gap, low, high)
    for (y, name, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            name,
            xy=(1, y),
            xytext=(1.05, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            fontsize=8,
            color=colour,
            va="center",
            annotation_clip=False,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "alpha": 0.6},
        )
    axes.set_ylim(low, high)


def _spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending `heights`, moved as little as needed to be `gap` apart, within low and high."""
    # members of a block lie `gap` apart; its start is the mean of where each would have it
    blocks: list[tuple[float, int]] = []
    for height in heights:
        start, size = height, 1
        while blocks and start < blocks[-1][0] + blocks[-1][1] * gap:
            before, count = blocks.pop()
            start = (before * count + (start - count * gap) * size) / (count + size)
            size += count
        blocks.append((start, size))
    places = [start + n * gap for start, size in blocks for n in range(size)]
    for n in range(len(places) - 1, -1, -1):
        places[n] = min(places[n], high - (len(places) - 1 - n) * gap)
    return [max(place, low + n * gap) for n, place in enumerate(places)]


def _thousands(value: float, _: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes the figure, the format by the ending; an interrupted write leaves no broken file."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(partial, format=path.suffix.removeprefix(".") or "png")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path

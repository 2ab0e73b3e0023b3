"""Measuring policies: results and their files, statistics, the leaderboard, figures."""

from crs_gym.evaluation.leaderboard import (
    Row,
    Table,
    is_stale,
    render_markdown,
    render_rich,
    tables,
)
from crs_gym.evaluation.plots import benchmark_plot, difference_plot, learning_curve_plot
from crs_gym.evaluation.results import Result, Summary, read, read_all, write
from crs_gym.evaluation.statistics import (
    Interval,
    Scores,
    bootstrap_interval,
    interquartile_mean,
    normalise,
    normalised_interval,
    paired_difference,
    rank,
)

__all__ = [
    "Interval",
    "Result",
    "Row",
    "Scores",
    "Summary",
    "Table",
    "benchmark_plot",
    "bootstrap_interval",
    "difference_plot",
    "interquartile_mean",
    "is_stale",
    "learning_curve_plot",
    "normalise",
    "normalised_interval",
    "paired_difference",
    "rank",
    "read",
    "read_all",
    "render_markdown",
    "render_rich",
    "tables",
    "write",
]

"""The table and the figure of `peers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crs_gym.evaluation.plots import INK, new_figure, save_figure

COLOURS = {
    "ours": "#c2571a",
    "ours, flat": "#b08a1e",
    "gp linear": "#2f6d9e",
    "gp rbf": "#3f8f63",
    "gp population": "#8a5aa3",
    "gp linear (box)": "#9097a1",
}


def show(result: Mapping[str, Any]) -> None:
    print("world {name}: {items} items, d = {dim}".format(**result["world"]))
    print(f"{'regret after':16s}  users  ms per query  times ours  " + answers_header(result))
    for name, row in result["methods"].items():
        print(
            f"{name:16s}  {row['users']:5d}  {1e3 * row['seconds_per_query']:12.2f}  "
            f"{row['times_slower']:10.0f}  {cells(row['regret'])}"
        )
    print(f"ours, one user at a time: {1e3 * result['ours_seconds_per_query_alone']:.2f} ms")
    for title, key in (("ours", "more_than_ours"), ("ours, flat", "more_than_ours_flat")):
        print(f"regret beyond that of {title!r}, paired by user")
        for name, row in result["methods"].items():
            print(f"{name:16s}  {row['users']:5d}  {'':24s}  {cells(row[key])}")
    found = result["posteriors"]
    print(f"posterior after the last answer, {found['users']} users; effective draws are per axis")
    print("       ms  effective (median, least)  per second (median, least)")
    for who in ("ours", "nuts"):
        print(
            f"{who}  {1e3 * found[f'{who}_seconds']:7.2f}  {found[f'{who}_ess_median']:9.0f}"
            f"  {found[f'{who}_ess_least']:9.0f}     {found[f'{who}_per_second_median']:11.0f}"
            f"  {found[f'{who}_per_second_least']:11.0f}"
        )
    print(
        "times faster: {times_faster_median:.0f}, {times_faster_least:.0f}; largest gap of means "
        "{mean_gap:.3f} deviations, one standard error {mean_gap_expected:.3f}".format(**found)
    )


def answers_header(result: Mapping[str, Any]) -> str:
    turns = len(result["methods"]["ours"]["regret"]["mean"])
    return "  ".join(f"{turn:>11d}" for turn in range(turns))


def cells(found: Mapping[str, list[float]]) -> str:
    pairs = zip(found["mean"], found["half_width"], strict=True)
    return "  ".join(f"{mean:5.2f} ±{half:4.2f}" for mean, half in pairs)


def draw(result: Mapping[str, Any], path: Path) -> None:
    figure = new_figure(9, 3.8)
    curves, costs = figure.subplots(1, 2, width_ratios=(1.5, 1))
    methods = result["methods"]
    for name, row in methods.items():
        if row["users"] < 8:
            continue
        mean, half = (np.array(row["regret"][key]) for key in ("mean", "half_width"))
        turns = np.arange(len(mean))
        curves.plot(turns, mean, "o-", color=COLOURS[name], lw=1.8, ms=3.5, label=name)
        curves.fill_between(turns, mean - half, mean + half, color=COLOURS[name], alpha=0.12, lw=0)
    curves.set_ylim(bottom=0)
    curves.set_xlabel("answers", color=INK)
    curves.set_ylabel("regret of the recommended item", color=INK)
    curves.legend(frameon=False, fontsize=8, labelcolor=INK)
    names = list(methods)[::-1]
    times = [1e3 * methods[name]["seconds_per_query"] for name in names]
    costs.barh(names, times, color=[COLOURS[name] for name in names], height=0.6)
    costs.set_xscale("log")
    costs.set_xlabel("milliseconds per query", color=INK)
    for axes in (curves, costs):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e5e7eb", lw=0.8, axis="y" if axes is curves else "x")
        axes.set_axisbelow(True)
    save_figure(figure, path)

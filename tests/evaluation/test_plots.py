"""Figures: they are drawn without warnings, and labels keep their distance."""

import os
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crs_gym.evaluation import plots
from crs_gym.evaluation.plots import benchmark_plot, difference_plot, learning_curve_plot
from crs_gym.evaluation.results import Result
from crs_gym.evaluation.statistics import Interval

POLICIES = {"random": 0.0, "one-act": -0.1, "greedy": 0.3, "evoi": 0.7, "oracle": 1.0}


def result(policy: str, **changes: Any) -> Result:
    n, rng = 40, np.random.default_rng(len(policy))
    accepted = rng.random(n) < 0.1 + 0.8 * max(POLICIES.get(policy, 0.5), 0)
    fields: dict[str, Any] = {
        "env_id": "crs/Icer-v0",
        "env_kwargs": {},
        "world_name": "films",
        "world_hash": "0123456789abcdef",
        "user_model": {},
        "user_kind": "rule",
        "policy": policy,
        "policy_kwargs": {},
        "evaluation_seed": 0,
        "episode_seeds": np.arange(n),
        "user_ids": np.arange(n),
        "scores": POLICIES.get(policy, 0.5) + rng.normal(0, 0.1, n),
        "turns": np.where(accepted, rng.integers(1, 8, n), 7),
        "accepted": accepted,
        "left": np.zeros(n, bool),
        "utilities": np.where(accepted, 0.5, 0),
        "wall_seconds": 1,
        "command": "test",
    }
    return Result(**(fields | changes))


BENCHMARK = [*map(result, POLICIES), *(result("ppo", training_seed=s) for s in range(2))]


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 10_000


@pytest.mark.parametrize(
    "results", [BENCHMARK, BENCHMARK[2:3], [result("random"), result("oracle")]]
)
def test_benchmark_plot(results: list[Result], tmp_path: Path) -> None:
    path = tmp_path / "figures" / "benchmark.png"
    assert benchmark_plot(results, path) == path
    assert is_png(path)
    assert list(path.parent.iterdir()) == [path]


def test_long_episodes_and_names_in_vector_format(tmp_path: Path) -> None:
    long = [
        result(p, turns=np.full(40, 50), user_kind="lm:x") for p in ("random", "oracle", "$a^$")
    ]
    path = benchmark_plot(long, tmp_path / "benchmark.svg")
    assert "</svg>" in path.read_text()


def test_a_benchmark_plot_shows_one_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make 0"):
        benchmark_plot([], tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"make 2.*select"):
        benchmark_plot([*BENCHMARK, result("random", evaluation_seed=1)], tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_learning_curve_plot(tmp_path: Path) -> None:
    steps = np.arange(0, 2_000_001, 100_000)
    rng = np.random.default_rng(0)
    curves = {
        "ppo": (steps, rng.normal(size=(3, len(steps)))),
        "one run": (steps, rng.normal(size=len(steps))),
        "gap": (steps, np.where(steps > 1_000_000, np.nan, 0.5)),
        "nothing": (steps, np.full(len(steps), np.nan)),
    }
    levels = {"oracle": 0.9, "random": 0.0}
    assert is_png(learning_curve_plot(curves, tmp_path / "curves.png", levels=levels))
    assert is_png(learning_curve_plot({"point": ([5], [0.5])}, tmp_path / "point.png"))


def test_curves_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no curves"):
        learning_curve_plot({}, tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"'a' has steps of shape \(3,\).*\(2, 4\)"):
        learning_curve_plot({"a": (np.arange(3), np.zeros((2, 4)))}, tmp_path / "x.png")


def test_difference_plot(tmp_path: Path) -> None:
    panels = {
        "less $random$": {"up": Interval(0.2, 0.1, 0.3), "$down^": Interval(-0.2, -0.3, -0.1)},
        "less icer": {"neither": Interval(0.05, -0.1, 0.2), "up": Interval(0.1, 0, 0.2)},
    }
    path = difference_plot(panels, tmp_path / "figures" / "differences.svg")
    drawn = path.read_text()
    pale, strong = (f"stroke: {plots._CURVES[n]}; stroke-opacity: 0.5" for n in (5, 1))
    assert (drawn.count(pale), drawn.count(strong)) == (2, 2)
    assert is_png(difference_plot({"one": panels["less icer"]}, tmp_path / "one.png"))
    with pytest.raises(ValueError, match="no differences"):
        difference_plot({"less icer": {}}, tmp_path / "x.png")


@given(st.lists(st.floats(0, 100), min_size=1, max_size=15), st.floats(0.1, 7))
def test_labels_keep_their_distance(heights: list[float], gap: float) -> None:
    heights = sorted(heights)
    places = plots._spread(heights, gap, 0, 100)
    assert len(places) == len(heights)
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(places))
    if gap * (len(heights) - 1) <= 100:
        assert places[0] >= -1e-6
        assert places[-1] <= 100 + 1e-6
    if all(b - a >= gap for a, b in pairwise(heights)):
        assert places == pytest.approx(heights)


def test_pyplot_and_its_global_state_are_not_used(tmp_path: Path) -> None:
    code = (
        "import sys; from crs_gym.evaluation import learning_curve_plot; "
        "learning_curve_plot({'a': ([0, 1], [0, 1])}, sys.argv[1]); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    root = Path(plots.__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path / "x.png")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(root)})
    assert done.returncode == 0

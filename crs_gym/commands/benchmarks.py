"""`crs-gym benchmark` and `crs-gym leaderboard`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from crs_gym.commands.arguments import Out, json_object
from crs_gym.world import DEFAULT_WORLD, DataError


@dataclass(frozen=True)
class Benchmark:
    """Plays reference policies on the fixed evaluation users and prints the table."""

    env: str = "crs/IcerMacro-v0"
    """Registered environment."""
    world: str = DEFAULT_WORLD
    """Bundled name or world file."""
    policies: tuple[str, ...] = field(default=())
    """Names of policies; all of them by default. ask-<n>-item and ask-<n>-attribute work too."""
    episodes: int = 1000
    """Evaluation users, one conversation each."""
    seed: int = 0
    """Which fixed list of evaluation users."""
    env_kwargs: str = "{}"
    """Further arguments of the environment as JSON, e.g. '{"prior": "personal"}'."""
    out: Out = Path("runs/benchmark")
    """Folder for results and plot."""
    ray: str | None = None
    """Spread the work over a Ray cluster: local (this machine), auto (the one that runs here, or
    RAY_ADDRESS), or host:port. The scores are the same as without."""

    def run(self) -> None:
        from rich.console import Console

        from crs_gym.evaluation import benchmark_plot, render_rich, write
        from crs_gym.evaluation.benchmark import benchmark
        from crs_gym.policies import POLICIES

        kwargs: dict[str, Any] = {
            **json_object(self.env_kwargs, "--env-kwargs"),
            "world": self.world,
        }
        results = benchmark(
            self.env,
            self.policies or tuple(POLICIES),
            self.episodes,
            self.seed,
            kwargs,
            ray=self.ray,
        )
        for result in results:
            write(result, self.out / "results")
        console = Console()
        console.print(render_rich(results))
        plot = benchmark_plot(results, self.out / "benchmark.png")
        console.print(f"results: {self.out / 'results'}\nplot: {plot}")


@dataclass(frozen=True)
class Leaderboard:
    """Renders LEADERBOARD.md from the results in a folder."""

    results: tyro.conf.Positional[Path] = Path("experiments/results")
    """Folder with results."""
    out: Out = Path("LEADERBOARD.md")
    """File to write."""
    check: bool = False
    """Write nothing; fail where the file is not what the results say."""

    def run(self) -> None:
        from crs_gym.evaluation import is_stale, read_all, render_markdown

        results = read_all(self.results)
        if not self.check:
            self.out.write_text(render_markdown(results))
            print(f"wrote {self.out} from {len(results)} results")
        elif is_stale(self.out, results):
            raise DataError(
                f"{self.out} is stale; render it again with `crs-gym leaderboard {self.results}`"
            )

"""Puts the kept results into the tables of docs/inference.md.

    python -m experiments.inference.page

A table stands between `<!-- name -->` and `<!-- end -->`; what is written by hand stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from scipy.stats import norm

from experiments.pages import fill, table

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "docs" / "inference.md"
WORLDS = {"films": "film world", "ml-latest-small": "ml-latest-small"}
CASES = [(world, prior) for world in WORLDS for prior in ("cold", "personal")]
ASKERS = {
    "both": "both", "item": "item", "attribute": "attribute", "iteration": "query iteration",
    "exhaustive": "exhaustive", "thompson": "Thompson", "random": "random",
    "none": "recommend only",
}  # fmt: skip
RIVALS = {
    "item - exhaustive": "EVOI less exhaustive",
    "item - thompson": "EVOI less Thompson",
    "both - random": "both less random",
    "both - item": "both less item alone",
    "both - attribute": "both less attribute alone",
}
STEPS = ("update", "item query", "attribute queries", "recommendation", "sum")


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def nuts() -> str:
    found = load("posterior-nuts")
    count = sum(row["quantities"] for row in found["rows"])
    rows = (
        [
            f"{r['d']}",
            f"{r['responses']}",
            f"{r['ess']:,.0f}, {r['nuts_ess']:,.0f}",
            f"{r['z']:.2f}",
            "{:.3f} to {:.3f}".format(*r["variance_ratio"]),
            f"{r['acceptance']:.2f}, {r['refreshment']:.2f}",
        ]
        for r in found["rows"]
    )
    head = ("d", "responses", "effective draws, ours and NUTS", "largest abs(z) of a mean",
            "ratio of variances", "accepted in the plane, outside")  # fmt: skip
    bound = f"Bonferroni bound on abs(z) at 1% over all {count:,} comparisons: "
    return f"{table(head, rows)}\n\n{bound}{norm.isf(0.005 / count):.2f}."


def sbc() -> str:
    found = load("posterior-sbc")
    rows = []
    for prior, draws in found["p_and_counts"].items():
        if "posterior" not in draws:
            continue
        name, least = min(draws["posterior"].items(), key=lambda entry: entry[1]["p"])
        blind = {k: v["p"] for k, v in draws["prior"].items()}
        others = min(p for k, p in blind.items() if k.startswith("random"))
        rows.append(
            [
                prior,
                f"{least['p']:.3f} ({name})",
                f"{max(blind['log-likelihood'], 1e-300):.0e} at most",
                f"{others:.3f}",
            ]
        )
    head = (
        "prior",
        "smallest p",
        "draws that ignore the data: log-likelihood",
        "random directions",
    )
    users = found["settings"]["users"]
    level = f"{users:,} users; {found['tests']} tests, at 1% in all each at {found['bound']:.1e}."
    return f"{table(head, rows)}\n\n{level}"


def equal_time() -> str:
    found = load("posterior-time")
    rows = (
        [
            r["users"],
            f"{r['responses']}",
            f"{r['ours'][0]:,.0f}",
            f"{r['prior_samples'][0]:,.0f}",
            f"{r['kish_least']:,.1f}",
        ]
        for r in found["rows"]
    )
    head = ("users", "answers", f"Metropolis, {found['settings']['draws']} draws",
            "prior samples, same time", "Kish size, worst user")  # fmt: skip
    sizes = " and ".join(f"{s['m']:,} ({p} prior)" for p, s in found["sizes"].items())
    return f"{table(head, rows)}\n\nPrior samples that take the same time: {sizes}."


def kernels() -> str:
    rows = (
        [f"{r['d']}", r["kernel"], *(f"{r[what]:,.0f}" for what in ("direction", "log_likelihood"))]
        for r in load("posterior-kernels")["rows"]
    )
    return table(("d", "kernel", "worst direction", "log-likelihood"), rows)


def robust() -> str:
    last = [r for r in load("posterior-robust")["rows"] if r["answers"] == 7]
    rows = (
        [
            f"{r['believed']:g} T",
            "" if r["believed"] == 1 else "{:+.3f} ± {:.3f}".format(*r["more_regret"]),
            f"{r['coverage_90'][0]:.0%}",
        ]
        for r in last
    )
    return table(("believed", "more regret than the right T", "90% intervals hold"), rows)


def search() -> str:
    rows, shares = [], []
    for world, name in WORLDS.items():
        found = load(f"search-{world}")["rows"]
        for kind in ("item", "attribute"):
            mine = [r for r in found if r["query"] == kind]
            share = sum(r["gain"] for r in mine) / sum(r["best_gain"] for r in mine)
            shares.append(f"{name}, {kind} queries {share:.3f}")
        rows += [
            [
                name,
                r["query"],
                f"{r['answers']}",
                f"{r['share']:.3f} [{r['share_low']:.3f}, {r['share_high']:.3f}]",
                f"{r['gain']:.3f}",
                f"{r['best_gain']:.3f} ({r['best_in_sample']:.3f})",
                f"{r['ms']:.1f}, {r['best_ms']:,.0f}",
            ]
            for r in found
        ]
    head = ("world", "queries", "answers", "share of the exhaustive gain", "EVOI found, held out",
            "exhaustive, held out (on its own draws)", "ms, ms exhaustive")  # fmt: skip
    return f"All beliefs together: {'; '.join(shares)}.\n\n{table(head, rows)}"


def regret() -> str:
    rows = [
        [f"{WORLDS[world]}, {prior}", f"{n}", *(f"{mean[name][n]:.3f}" for name in ASKERS)]
        for world, prior in CASES
        for mean in [load(f"regret-{world}-{prior}")["mean"]]
        for n in (0, 3, 7, 10)
    ]
    return table(("world, prior", "answers", *ASKERS.values()), rows)


def differences() -> str:
    rows = [
        [
            f"{WORLDS[world]}, {prior}",
            *("{:+.3f} [{:+.3f}, {:+.3f}]".format(*found[name]["mean"]) for name in RIVALS),
        ]
        for world, prior in CASES
        for found in [load(f"regret-{world}-{prior}")["differences"]]
    ]
    return table(("world, prior", *RIVALS.values()), rows)


def accuracy() -> str:
    rows, widest = [], 0.0
    for world, prior in CASES:
        found = load(f"accuracy-{world}-{prior}")
        case = f"{WORLDS[world]}, {prior}, {found['settings']['users']:,} users"
        for place, what in enumerate(("accuracy", "NDCG")):
            rows.append([case, what, *(f"{mean[place]:.3f}" for mean in found["mean"])])
            widest = max(widest, *(half[place] for half in found["half_width_95"]))
    head = ("world, prior", "", *map(str, range(8)))
    return f"{table(head, rows)}\n\n95% intervals are at most {widest:.3f} wide to either side."


def turn() -> str:
    found = load("cost-turn")
    rows = (
        [
            f"{r['draws']}",
            f"{r['batch']:,}",
            *(f"{r['milliseconds'][step]:.2f}" for step in STEPS),
        ]
        for r in found["rows"]
    )
    memory = "; ".join(
        f"{m['draws']} draws {m['peak_mib'] / 1024:.1f} GiB" for m in found["memory"]
    )
    largest = f"{found['memory'][0]['batch']:,}"
    return f"{table(('draws', 'batch', *STEPS), rows)}\n\nPeak memory at batch {largest}: {memory}."


def peers() -> str:
    found = load("cost-peers")
    rows = (
        [
            name,
            f"{m['users']}",
            f"{1e3 * m['seconds_per_query']:.1f}",
            ", ".join(f"{m['regret']['mean'][n]:.2f}" for n in (1, 3, 5, 7)),
        ]
        for name, m in found["methods"].items()
        if "box" not in name
    )
    head = ("method", "users", "ms per query", "regret after 1, 3, 5, 7 answers")
    alone = f"One user alone costs ours {1e3 * found['ours_seconds_per_query_alone']:.0f} ms."
    return f"{table(head, rows)}\n\n{alone}"


def growth() -> str:
    found = load("cost-growth")
    rows = [
        [
            f"{r['items']:,}",
            f"{r['dim']}",
            *(f"{r['milliseconds'][step]:.2f}" for step in STEPS),
        ]
        for axis in ("items", "dim")
        for r in found[axis]["rows"]
    ]
    return table(("items", "d", *STEPS), rows)


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (nuts, sbc, equal_time, kernels, robust, search, regret, differences, accuracy,
                 turn, peers, growth)
}  # fmt: skip


def main(page: Path = PAGE) -> None:
    """Fills the tables.

    Args:
        page: the file to fill.
    """
    fill(page, PARTS)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

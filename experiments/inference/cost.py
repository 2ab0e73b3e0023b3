"""What does a turn cost, what does it grow with, and what do other people's tools cost?

    python -m experiments.inference.cost --parts turn growth peers

`turn`: milliseconds per user and turn on a world of the paper's size. `growth`: the same against
the number of items and the dimension. `peers`: against NumPyro's NUTS and BoTorch's preferential
Bayesian optimisation on the same users, see `peers.py`. Writes `results/cost-<part>.json` (JSON)
and figures; a part that is there already is printed again, unless `--again` is given.

A turn is what a recommender computes in it: the belief's update by the last response, the search
for an item query and for attribute queries, and the choice of a recommendation. Each is jitted over
a batch of users, who are in their seventh turn of a conversation led by ICER; a time is the median
of repeats, compilation apart. Run it without `taskset` on an idle machine: XLA takes all cores.
Other jobs prolong the times severalfold, so the load is noted; they hardly touch the processor time
(`cpu`, the sum over cores), which is an upper bound for an idle machine.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm import tqdm

from crs_gym.acts import Turn
from crs_gym.evaluation.plots import INK, new_figure, save_figure
from crs_gym.inference import Metropolis
from crs_gym.inference.recommend import acceptable_slate
from crs_gym.inference.search import attribute_queries, item_query
from crs_gym.policies.icer import Icer
from crs_gym.simulation import Simulator
from crs_gym.simulation.keys import belief_key, evaluation_keys
from crs_gym.simulation.rollout import rollout
from crs_gym.simulation.simulator import advance
from crs_gym.users import Context
from crs_gym.world import World, load_world
from crs_gym.world.generate import generate
from experiments.inference.common import shortened

RESULTS = Path(__file__).parent / "results"
Part = Literal["turn", "growth", "peers"]
STEPS = ("update", "item query", "attribute queries", "recommendation")
COLOURS = dict(zip(STEPS, ("#2f6d9e", "#c2571a", "#3f8f63", "#8a5aa3"), strict=True))
LIMIT_MS, GOAL_MS = 10.0, 4.0


@dataclass(frozen=True)
class Args:
    parts: tuple[Part, ...] = ("turn", "growth", "peers")
    """what to measure"""
    again: bool = False
    """measure anew what is in results already"""
    seed: int = 0
    """of the users and of everything drawn"""
    repeats: int = 5
    """timings of which the median counts; three times as many for one user"""
    world: str = "generated"
    """part turn: a world of the paper's size"""
    draws: tuple[int, ...] = (128, 256)
    """part turn: draws of the belief; part growth takes the first"""
    batches: tuple[int, ...] = (1, 64, 1024)
    """part turn: users at a time"""
    talks: int = 64
    """different conversations; larger batches repeat them"""
    growth_batch: int = 16
    """part growth: users at a time"""
    growth_items: tuple[int, ...] = (1_000, 10_000, 100_000)
    """part growth: numbers of items, at 64 dimensions"""
    growth_dims: tuple[int, ...] = (16, 64, 128, 256)
    """part growth: dimensions, at 2,000 items"""
    peers_world: str = "films"
    """part peers: a bundled world or a file"""
    users: int = 32
    """part peers: users, drawn from the cold prior"""
    nuts_users: int = 8
    """part peers: how many of them, the first ones, NUTS samples the posterior of"""
    botorch_users: int = 16
    """part peers: how many of them, the first ones, BoTorch talks to"""
    box_users: int = 2
    """part peers: how many of them BoTorch searches the box for, not only the items"""
    turns: int = 7
    """answers in a conversation"""


class Timing(NamedTuple):
    """compile: seconds. best, median: seconds of a call. cpu: its median time on all cores."""

    compile: float
    best: float
    median: float
    cpu: float


class Batch(NamedTuple):
    """Conversations in their last turn: beliefs before the last update, and what goes into it."""

    keys: Any
    belief: Any
    history: Turn
    context: Context


def timed(function: Callable[..., Any], *arguments: Any, repeats: int) -> tuple[Any, Timing]:
    """The jitted function's value, and what compiling and calling it took."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compiling = time.perf_counter() - start
    value = jax.block_until_ready(compiled(*arguments))
    seconds, busy = [], []
    for _ in range(repeats):
        start, worked = time.perf_counter(), time.process_time()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - worked)
    return value, Timing(compiling, min(seconds), float(np.median(seconds)), float(np.median(busy)))


def played(simulator: Simulator, inference: Metropolis, talks: int, seed: int) -> Batch:
    """ICER's conversations of full length, up to their last turn."""
    keys = evaluation_keys(seed, 2 * talks)
    episodes = rollout(simulator, Icer(), inference, keys)
    # one that ended earlier says less; with the full ones first, few are needed
    full = np.argsort(-np.asarray(episodes.turns), kind="stable")[:talks]
    keys, history = keys[full], jax.tree.map(lambda x: x[full], episodes.history)
    axes = inference.axes(shared_prior=True)

    @jax.jit
    def begin(simulator: Simulator, inference: Metropolis, keys: jax.Array) -> Any:
        def one(key: jax.Array) -> Any:
            key, prior = belief_key(key, 0), simulator.population
            return inference.init(key, prior, simulator.items, simulator.model)

        return jax.vmap(one, out_axes=axes)(keys), jax.vmap(simulator.reset)(keys).context

    belief, context = begin(simulator, inference, keys)
    follow = jax.jit(update)
    for turn in range(simulator.max_turns - 1):
        past = Batch(keys, belief, shortened(history, turn + 1), context)
        belief = follow(simulator, inference, past)
        latest = jax.tree.map(lambda x, turn=turn: x[:, turn], history)
        context = jax.vmap(advance)(context, latest)
    return Batch(keys, belief, history, context)


def enlarged(batch: Batch, size: int, inference: Metropolis) -> Batch:
    """`size` users: the conversations over and over, each time with other random numbers."""
    rows = jnp.arange(size) % len(batch.keys)
    axes = inference.axes(shared_prior=True)
    belief = jax.tree.map(
        lambda axis, x: x if axis is None else x[rows],
        axes,
        batch.belief,
        is_leaf=lambda x: x is None,
    )
    keys = jax.vmap(jax.random.fold_in)(batch.keys[rows], jnp.arange(size))
    history, context = jax.tree.map(lambda x: x[rows], (batch.history, batch.context))
    return Batch(keys, belief, history, context)


def update(simulator: Simulator, inference: Metropolis, batch: Batch) -> Any:
    """The beliefs after the last turn, of users who share the prior."""
    axes = inference.axes(shared_prior=True)

    def one(key: jax.Array, belief: Any, history: Turn, context: Context) -> Any:
        key = belief_key(key, context.turn + 1)
        return inference.update(key, belief, history, context, simulator.items, simulator.model)

    return jax.vmap(one, in_axes=(0, axes, 0, 0), out_axes=axes)(*batch)


def step(name: str, simulator: Simulator, inference: Metropolis, batch: Batch) -> Any:
    """What a turn consists of, for a batch of users; `name` is one of STEPS."""
    if name == "update":
        return update(simulator, inference, batch)
    items, model, k = simulator.items, simulator.model, simulator.slate_size

    def one(key: jax.Array, belief: Any, context: Context) -> Any:
        samples, out = inference.samples(belief), context.rejected
        if name == "item query":
            return item_query(key, samples, items, model, k, excluded=out)
        if name == "attribute queries":
            return attribute_queries(samples, items, model, excluded=out)
        return acceptable_slate(samples, items, model, k, out)

    axes = inference.axes(shared_prior=True)
    return jax.vmap(one, in_axes=(0, axes, 0))(batch.keys, batch.belief, batch.context)


def measure(
    simulator: Simulator, inference: Metropolis, batch: Batch, repeats: int
) -> dict[str, Any]:
    """Milliseconds per user of each step and of their sum; seconds of compilation."""
    size = len(batch.keys)
    median: dict[str, float] = {}
    best: dict[str, float] = {}
    cpu: dict[str, float] = {}
    compiling = 0.0
    for name in STEPS:
        function = partial(step, name)
        value, timing = timed(function, simulator, inference, batch, repeats=repeats)
        if name == "update":
            batch = batch._replace(belief=value)
        for times, seconds in ((median, timing.median), (best, timing.best), (cpu, timing.cpu)):
            times[name] = 1e3 * seconds / size
        compiling += timing.compile
    return {
        "milliseconds": {**median, "sum": sum(median.values())},
        "best_milliseconds": {**best, "sum": sum(best.values())},
        "cpu_milliseconds": {**cpu, "sum": sum(cpu.values())},
        "compile_seconds": compiling,
    }


def turn_rows(args: Args, draws: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Timings of all batches, and the peak resident memory of the largest, in a fresh process."""

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    simulator, inference = Simulator.of(load_world(args.world)), Metropolis.of(draws)
    talks = played(simulator, inference, args.talks, args.seed)
    before, rows = peak(), []
    memory: dict[str, Any] = {}
    # the largest first, as a process's peak only rises
    for size in tqdm(sorted(args.batches, reverse=True), desc=f"turn, {draws} draws"):
        batch = enlarged(talks, size, inference)
        repeats = args.repeats * (3 if size == 1 else 1)
        rows.append(
            {"draws": draws, "batch": size, **measure(simulator, inference, batch, repeats)}
        )
        memory = memory or {
            "draws": draws, "batch": size, "before_mib": before, "peak_mib": peak()
        }  # fmt: skip
    return rows[::-1], memory


def machine() -> dict[str, Any]:
    """What the timings depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "platform": jax.default_backend(),
        "jax": jax.__version__,
    }


def part_turn(args: Args) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    memory, start = [], machine()
    for draws in args.draws:
        with get_context("spawn").Pool(1) as pool:
            more, peak = pool.apply(turn_rows, (args, draws))
        rows += more
        memory.append(peak)
    world = load_world(args.world)
    judged = [row["milliseconds"]["sum"] for row in rows if row["batch"] >= 64]
    return {
        "machine": {**start, "load_average_after": os.getloadavg()},
        "world": {"name": world.name, "items": world.n_items, "dim": world.dim},
        "rows": rows,
        "memory": memory,
        "within_limit": bool(judged and max(judged) <= LIMIT_MS),
        "within_goal": bool(judged and max(judged) <= GOAL_MS),
    }


def part_growth(args: Args) -> dict[str, Any]:
    sweeps = {
        "items": [(n, 64) for n in args.growth_items],
        "dim": [(2_000, d) for d in args.growth_dims],
    }
    draws, start = args.draws[0], machine()
    inference = Metropolis.of(draws)
    found: dict[str, Any] = {}
    progress = tqdm(total=sum(map(len, sweeps.values())), desc="growth")
    for name, sizes in sweeps.items():
        rows = []
        for n_items, dim in sizes:
            simulator = Simulator.of(random_world(n_items, dim, args.seed))
            batch = played(simulator, inference, args.growth_batch, args.seed)
            row = measure(simulator, inference, batch, args.repeats)
            rows.append({"items": n_items, "dim": dim, **row})
            progress.update()
        found[name] = {"rows": rows, **growth_of(name, rows)}
    progress.close()
    return {
        "machine": {**start, "load_average_after": os.getloadavg()},
        "draws": draws,
        "batch": args.growth_batch,
        **found,
    }


def random_world(n_items: int, dim: int, seed: int) -> World:
    """A generated world with utilities of deviation 1, the unit of the model's temperature."""
    world = generate(n_items, dim, n_users=200, seed=seed)
    mean = world.user_mean.astype(np.float64)
    second = (mean[:, None] * mean[:, :, None]).mean(0) + np.diag((world.user_std**2).mean(0))
    covariance = np.cov(world.item_embeddings, rowvar=False, bias=True)
    scale = 1.0 / np.sqrt(np.trace(second @ covariance))
    return world.replace(user_mean=world.user_mean * scale, user_std=world.user_std * scale)


def growth_of(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Slopes on log axes between the last two sizes, and the step that takes over."""
    sizes = np.log([row[name] for row in rows])
    slopes, marginal = {}, {}
    for step in (*STEPS, "sum"):
        times = np.array([row["milliseconds"][step] for row in rows])
        slopes[step] = float(np.diff(np.log(times))[-1] / np.diff(sizes)[-1])
        marginal[step] = float(np.diff(times)[-1] / (rows[-1][name] - rows[-2][name]))
    last = rows[-1]["milliseconds"]
    return {
        "log_slopes": slopes,
        "milliseconds_per_unit": marginal,
        "largest_at_the_end": max(STEPS, key=lambda step: last[step]),
        "bottleneck": max(STEPS, key=lambda step: marginal[step]),
        "steepest": max(STEPS, key=lambda step: slopes[step]),
    }


def part_peers(args: Args) -> dict[str, Any]:
    from experiments.inference import peers

    start = machine()
    found = peers.compare(
        load_world(args.peers_world),
        users=args.users,
        nuts_users=args.nuts_users,
        botorch_users=args.botorch_users,
        box_users=args.box_users,
        turns=args.turns,
        seed=args.seed,
    )
    return {"machine": {**start, "load_average_after": os.getloadavg()}, **found}


def show_turn(result: Mapping[str, Any]) -> None:
    print_machine(result)
    print("ms per user, world of {items} items, d = {dim}".format(**result["world"]))
    print(
        "draws  batch  " + "  ".join(f"{s:>17}" for s in (*STEPS, "sum")) + "        cpu  compile s"
    )
    for row in result["rows"]:
        cells = "  ".join(f"{row['milliseconds'][s]:17.3f}" for s in (*STEPS, "sum"))
        print(
            f"{row['draws']:5d}  {row['batch']:5d}  {cells}  "
            f"{row['cpu_milliseconds']['sum']:9.3f}  {row['compile_seconds']:9.1f}"
        )
    for row in result["memory"]:
        print(
            "peak memory at {draws} draws, batch {batch}: {peak_mib:.0f} MiB "
            "({before_mib:.0f} before the turn)".format(**row)
        )
    for name, limit in (("limit", LIMIT_MS), ("goal", GOAL_MS)):
        met = "yes" if result[f"within_{name}"] else "NO"
        print(f"at most {limit:g} ms at batches of 64 and more: {met}")


def show_growth(result: Mapping[str, Any]) -> None:
    print_machine(result)
    print(f"ms per user, batches of {result['batch']}, {result['draws']} draws")
    for name in ("items", "dim"):
        print(f" items  dim  {'  '.join(f'{s:>17}' for s in (*STEPS, 'sum'))}")
        for row in result[name]["rows"]:
            cells = "  ".join(f"{row['milliseconds'][s]:17.3f}" for s in (*STEPS, "sum"))
            print(f"{row['items']:6d}  {row['dim']:3d}  {cells}")
        slopes = result[name]["log_slopes"]
        print("     slope  " + "  ".join(f"{slopes[s]:17.2f}" for s in (*STEPS, "sum")))
        print(f"grows to be the bottleneck: {result[name]['bottleneck']}")
    draw_growth(result, RESULTS / "cost-growth.png")


def show_peers(result: Mapping[str, Any]) -> None:
    from experiments.inference import peers_report

    print_machine(result)
    peers_report.show(result)
    peers_report.draw(result, RESULTS / "cost-peers.png")


def print_machine(result: Mapping[str, Any]) -> None:
    seen = result["machine"]
    load = ", ".join(f"{x:.1f}" for x in seen["load_average"])
    print(f"{seen['cores']} cores ({seen['platform']}), load average {load} at the start")


def draw_growth(result: Mapping[str, Any], path: Path) -> None:
    figure = new_figure(9, 3.8)
    panels = figure.subplots(1, 2, sharey=True)
    labels = {"items": "items (64 dimensions)", "dim": "dimensions (2,000 items)"}
    for axes, name in zip(panels, labels, strict=True):
        rows = result[name]["rows"]
        sizes = [row[name] for row in rows]
        for step in (*STEPS, "sum"):
            times = [row["milliseconds"][step] for row in rows]
            colour = COLOURS.get(step, INK)
            axes.plot(sizes, times, "o-", color=colour, lw=1.8, ms=4, label=step)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.minorticks_off()
        axes.set_xlabel(labels[name], color=INK)
        axes.grid(color="#e5e7eb", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("milliseconds per user and turn", color=INK)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    save_figure(figure, path)


def main(args: Args) -> None:
    RESULTS.mkdir(exist_ok=True)
    measures = {"turn": part_turn, "growth": part_growth, "peers": part_peers}
    tables = {"turn": show_turn, "growth": show_growth, "peers": show_peers}
    for part in args.parts:
        path = RESULTS / f"cost-{part}.json"
        if args.again or not path.exists():
            result = {"arguments": asdict(args), **measures[part](args)}
            path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\n{part}")
        tables[part](json.loads(path.read_text()))


if __name__ == "__main__":
    main(tyro.cli(Args))

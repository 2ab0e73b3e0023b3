"""How much of the best query's gain does the search find, and how much faster?

    python -m experiments.inference.search --world films
    python -m experiments.inference.search --world my.world

Beliefs after 0, 3 and 6 answers to random questions, users drawn from the cold prior. The search
and an exhaustive search over all pairs of items (for attribute queries: over all items and
attributes) choose with the same draws; what they choose is valued on held-out draws of the same
posterior. The exhaustive search loses as well, for it is the most misled by the few draws that it
chooses with: its EVOI on them stands beside the held-out one.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm import tqdm

from crs_gym.evaluation.plots import new_figure, save_figure
from crs_gym.inference import Metropolis, Samples
from crs_gym.inference.search import (
    ItemQuery,
    attribute_queries,
    exhaustive_item_query,
    item_query,
)
from crs_gym.inference.value import attribute_query_value, item_query_value
from crs_gym.policies import Icer
from crs_gym.simulation import Simulator, belief_key, evaluation_keys, rollout
from crs_gym.users import Context
from crs_gym.world import DEFAULT_WORLD, load_world
from experiments.inference.common import shortened
from experiments.inference.talks import from_prior


@dataclass(frozen=True)
class Args:
    """Searches, and values what was found on held-out draws."""

    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    users: int = 32
    """beliefs after each number of answers"""
    answers: tuple[int, ...] = (0, 3, 6)
    """how many answers the beliefs hold"""
    draws: int = 256
    """of the belief, for searching"""
    held_out: int = 4096
    """draws that value what was found"""
    seed: int = 0
    """of users and searches"""
    results: Path = Path(__file__).parent / "results"
    """where results and figures go"""


def belief_after(
    simulator: Simulator, inference: Metropolis, key: jax.Array, history: Any, answers: int
) -> Samples:
    """The belief after the first `answers` turns of `history`."""
    items, model = simulator.items, simulator.model
    belief = inference.init(belief_key(key, 0), simulator.population, items, model)
    context = Context(jnp.int32(0), jnp.int32(0), jnp.zeros(simulator.n_attributes, bool), None)
    for turn in range(answers):
        past = shortened(history, turn + 1)
        belief = inference.update(belief_key(key, turn + 1), belief, past, context, items, model)
        context = context._replace(turn=context.turn + 1, questions=context.questions + 1)
    return inference.samples(belief)


def seconds_each(function: Callable[..., Any], *batch: Any) -> tuple[Any, float]:
    """The result, and the seconds for each element of a batch, compiling apart."""
    found = jax.block_until_ready(function(*batch))
    begun = time.perf_counter()
    jax.block_until_ready(function(*batch))
    return found, (time.perf_counter() - begun) / len(jax.tree.leaves(batch)[0])


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` over the leading axis without holding all at once."""
    return jax.jit(lambda *batch: jax.lax.map(lambda row: function(*row), batch))


def main(args: Args) -> None:
    """Prints the table and writes it."""
    world = load_world(args.world)
    # one turn more than answers, for on the last turn an ICER recommender never asks
    simulator = from_prior(world, "cold", max(args.answers) + 2)
    items, model, everything = simulator.items, simulator.model, jnp.arange(simulator.n_items)
    search, held_out = Metropolis.of(args.draws), Metropolis.of(args.held_out)
    keys = evaluation_keys(args.seed, args.users)
    policy = Icer(threshold=-jnp.inf, queries="random")
    history = rollout(simulator, policy, search, keys).history
    history = jax.tree.map(jnp.asarray, history)
    other = jax.vmap(partial(jax.random.fold_in, data=7))(keys)

    def every_attribute(belief: Samples) -> jax.Array:
        def about(attribute: jax.Array) -> jax.Array:
            topics = jnp.full_like(everything, attribute)
            return attribute_query_value(belief, everything, topics, items, model)

        return jax.lax.map(about, jnp.arange(simulator.n_attributes))

    value_pairs = one_by_one(lambda s, q: item_query_value(s, q, items, model))
    value_topics = one_by_one(lambda s, i, g: attribute_query_value(s, i, g, items, model))
    rows = []
    for answers in tqdm(args.answers, desc="answers"):
        after = partial(belief_after, simulator, answers=answers)
        belief = one_by_one(partial(after, search))(keys, history)
        fresh = one_by_one(partial(after, held_out))(other, history)

        find = jax.jit(jax.vmap(lambda k, s: item_query(k, s, items, model, 2)))
        found, quick = seconds_each(find, keys, belief)
        best, slow = seconds_each(
            one_by_one(lambda s: exhaustive_item_query(s, items, model, everything)), belief
        )
        rows.append(_row("item", answers, found, best, quick, slow))
        rows[-1] |= _held_out(value_pairs, fresh, (found.slate,), (best.slate,))

        about, quick = seconds_each(
            jax.jit(jax.vmap(lambda s: attribute_queries(s, items, model))), belief
        )
        table, slow = seconds_each(one_by_one(every_attribute), belief)
        row = jnp.arange(args.users)
        topic = jnp.argmax(about.values, axis=1)
        chosen = (about.items[row, topic], topic)
        flat = jnp.argmax(table.reshape(args.users, -1), axis=1)
        exact = (flat % simulator.n_items, flat // simulator.n_items)
        rows.append(
            _row(
                "attribute",
                answers,
                ItemQuery(None, about.values.max(1)),
                ItemQuery(None, table.reshape(args.users, -1).max(1)),
                quick,
                slow,
            )
        )
        rows[-1] |= _held_out(value_topics, fresh, chosen, exact)
    print(f"{world.name}, {args.users} beliefs, {args.draws} draws, {args.held_out} held out")
    print(
        "query      answers  share of the exhaustive gain   EVOI held out (in sample)     ms each"
    )
    for r in rows:
        print(
            f"{r['query']:10} {r['answers']:>4}     {r['share']:.4f} "
            f"[{r['share_low']:.4f}, {r['share_high']:.4f}]     "
            f"search {r['gain']:.3f} ({r['in_sample']:.3f}), "
            f"all {r['best_gain']:.3f} ({r['best_in_sample']:.3f})   "
            f"{r['ms']:.2f}, {r['best_ms']:.0f}"
        )
    for kind in ("item", "attribute"):
        mine = [r for r in rows if r["query"] == kind]
        total = sum(r["gain"] for r in mine) / sum(r["best_gain"] for r in mine)
        print(f"{kind} queries, all beliefs: {total:.4f}")
    path = args.results / f"search-{world.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"world": world.hash, "users": args.users, "draws": args.draws}
    path.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")
    _plot(rows, path.with_suffix(".png"), world.name)
    print(f"results  {path}")


def _row(
    query: str, answers: int, found: ItemQuery, best: ItemQuery, quick: float, slow: float
) -> dict[str, Any]:
    return {
        "query": query,
        "answers": answers,
        "in_sample": float(np.mean(found.value)),
        "best_in_sample": float(np.mean(best.value)),
        "ms": 1e3 * quick,
        "best_ms": 1e3 * slow,
    }


def _held_out(
    value: Callable[..., jax.Array], belief: Samples, found: tuple, best: tuple
) -> dict[str, float]:
    gain, best_gain = (np.asarray(value(belief, *query)) for query in (found, best))
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(gain), (10_000, len(gain)))
    shares = gain[draws].mean(1) / best_gain[draws].mean(1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return {
        "gain": float(gain.mean()),
        "best_gain": float(best_gain.mean()),
        "share": float(gain.mean() / best_gain.mean()),
        "share_low": float(low),
        "share_high": float(high),
    }


def _plot(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    figure = new_figure(6.4, 3.4)
    axes = figure.subplots()
    for kind, aim in (("item", 0.97), ("attribute", 0.99)):
        mine = [r for r in rows if r["query"] == kind]
        share = np.array([r["share"] for r in mine])
        spread = np.abs(np.array([[r["share_low"], r["share_high"]] for r in mine]).T - share)
        x = [r["answers"] for r in mine]
        container = axes.errorbar(x, share, spread, marker="o", capsize=3, label=f"{kind} queries")
        axes.axhline(aim, ls=":", lw=1, color=container[0].get_color())
    axes.set_xlabel("answers in the belief")
    axes.set_ylabel("share of the exhaustive gain")
    axes.set_title(title)
    axes.legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

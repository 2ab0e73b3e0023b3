"""Environment steps per second, behind every door and at every batch size, beside peers.

    python -m experiments.bench.throughput
    python -m experiments.bench.throughput --peers .venv-peers/bin/python

Random acts, one process, resets counted, compilation apart, results on the host; each figure is
the best of some rounds. `rollout` plays whole conversations with a policy that acts at random, and
counts the turns that were played. Beside each figure stands a floor: what the same door takes for
what it cannot avoid (see `floor_of_make` and the others). Peers run in the same run, in an
interpreter of their own: see experiments/bench/peers.py.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import crs_gym  # noqa: F401 - registers the environments
from crs_gym.acts import RecommenderAct
from crs_gym.envs.icer import IcerEnv
from crs_gym.envs.vector import IcerVectorEnv
from crs_gym.evaluation.results import machine
from crs_gym.inference import Inference, PriorSamples
from crs_gym.simulation import Simulator, View, evaluation_keys, rollout
from crs_gym.world import load_world

RESULTS = Path(__file__).parent / "results"


@dataclass
class Args:
    """Counts steps."""

    worlds: tuple[str, ...] = ("generated", "films")
    """bundled names or files; `generated` has the size of the paper's"""
    batches: tuple[int, ...] = (64, 1024, 4096)
    """of make_vec"""
    belief_batches: tuple[int, ...] = (64, 1024)
    """of make_vec with belief observations"""
    episodes: int = 4096
    """conversations in one rollout"""
    user_pools: tuple[int, ...] = (0, 65_536)
    """sizes of the pool of users drawn beforehand; 0 draws anew at each reset"""
    seconds: float = 1.0
    """how long a round counts"""
    rounds: int = 5
    """the best of so many rounds"""
    peers: Path | None = None
    """interpreter of the peers' virtual environment"""
    results: Path = RESULTS
    """where the table goes"""


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["name"])
@dataclass(frozen=True)
class RandomActs:
    """Any act at random, as `action_space.sample()` draws them."""

    name: str = "random-acts"
    needs_belief: ClassVar[bool] = False
    privileged: ClassVar[bool] = False

    def act(
        self, key: jax.Array, view: View, simulator: Simulator, inference: Inference
    ) -> RecommenderAct:
        del view, inference
        draws = jax.random.uniform(key, (2 + simulator.slate_size,))
        sizes = jnp.array([3, simulator.n_attributes, *[simulator.n_items] * simulator.slate_size])
        kind, attribute, *slate = jnp.minimum(draws * sizes, sizes - 1).astype(jnp.int32)
        return RecommenderAct(kind, jnp.stack(slate), attribute, jnp.int32(1))


def best(count: Callable[[], int], args: Args) -> float:
    """The most of `count()` that a second saw, over rounds."""
    rates = []
    for _ in range(args.rounds):
        total, began = 0, time.perf_counter()
        while (now := time.perf_counter() - began) < args.seconds:
            total += count()
        rates.append(total / now)
    return max(rates)


def timed(first: Callable[[], Any]) -> float:
    """Seconds of the first call, which compiles."""
    began = time.perf_counter()
    first()
    return time.perf_counter() - began


def of_make(env_id: str, kwargs: dict[str, Any], args: Args) -> dict[str, float]:
    """`gymnasium.make`, one conversation at a time."""
    env = gymnasium.make(env_id, **kwargs)
    actions = [env.action_space.sample() for _ in range(64)]

    def first() -> None:
        env.reset(seed=0)
        env.step(actions[0])
        env.reset()

    compiling, number = timed(first), 0

    def count() -> int:
        nonlocal number
        number += 1
        *_, terminated, truncated, _ = env.step(actions[number % 64])
        if terminated or truncated:
            env.reset()
        return 1

    rate = best(count, args)
    return {"steps/s": rate, "compile s": compiling, "floor": floor_of_make(env, args)}


def floor_of_make(env: gymnasium.Env[Any, Any], args: Args) -> float:
    """Calls of a compiled function that takes and gives the same arrays, and does nothing."""
    inner = env.unwrapped
    assert isinstance(inner, IcerEnv)
    env.reset(seed=0)
    observation = jnp.asarray(inner.observation_space.sample())

    @jax.jit
    def nothing(core: Any, talk: Any, observation: jax.Array) -> Any:
        return talk, observation + 1

    def count() -> int:
        np.array(nothing(inner.core, inner.talk, observation)[1])
        return 1

    count()
    return best(count, args)


def of_make_vec(env_id: str, batch: int, kwargs: dict[str, Any], args: Args) -> dict[str, float]:
    """`gymnasium.make_vec`, autoreset in the next step."""
    env = gymnasium.make_vec(env_id, batch, "vector_entry_point", **kwargs)
    assert isinstance(env, IcerVectorEnv)
    actions = [env.action_space.sample() for _ in range(8)]
    number = 0

    def count() -> int:
        nonlocal number
        number += 1
        # a step that only begins an episode is no step of a conversation
        return batch - int((env.step(actions[number % 8])[4]["turn"] == 0).sum())

    def first() -> None:
        env.reset(seed=0)
        count()

    compiling = timed(first)
    # conversations that began together end together: let them drift apart
    for _ in range(20):
        count()
    rate = best(count, args)
    observation, *_, info = env.step(actions[0])
    arrays = [observation, *info.values()]

    def copy() -> int:
        for array in arrays:
            array.copy()
        return batch

    return {"steps/s": rate, "compile s": compiling, "floor": best(copy, args)}


def of_rollout(simulator: Simulator, args: Args) -> dict[str, float]:
    """`rollout`: whole conversations in one call."""
    policy, inference = RandomActs(), PriorSamples.of(8, 8)
    keys = [evaluation_keys(seed, args.episodes) for seed in range(4)]
    number = 0

    def count() -> int:
        nonlocal number
        number += 1
        return int(rollout(simulator, policy, inference, keys[number % 4]).turns.sum())

    compiling = timed(count)
    turns = count() / args.episodes

    @jax.jit
    def begin(simulator: Simulator, keys: jax.Array) -> Any:
        return jax.vmap(simulator.reset)(keys)

    def resets() -> int:
        jax.block_until_ready(begin(simulator, keys[0]))
        return args.episodes

    resets()
    # as many steps as the conversations that could be begun would hold
    return {
        "steps/s": best(count, args),
        "compile s": compiling,
        "floor": best(resets, args) * turns,
    }


def rows(args: Args, keep: Callable[[list[dict[str, Any]]], None]) -> list[dict[str, Any]]:
    """All figures; `keep` gets those so far after each."""
    plans: list[tuple[dict[str, Any], Callable[[], dict[str, float]]]] = []
    for world in args.worlds:
        for pool in args.user_pools:
            for observation in ("index", "history"):
                kwargs = {"world": world, "observation": observation, "user_pool": pool}
                plans.append(
                    (
                        {**kwargs, "door": "make", "batch": 1},
                        partial(of_make, "crs/Icer-v0", kwargs, args),
                    )
                )
                for batch in args.batches:
                    run = partial(of_make_vec, "crs/Icer-v0", batch, kwargs, args)
                    plans.append(({**kwargs, "door": "make_vec", "batch": batch}, run))
            simulator = Simulator.of(load_world(world), user_pool=pool)
            what = {"world": world, "observation": "-", "user_pool": pool}
            plans.append(
                (
                    {**what, "door": "rollout", "batch": args.episodes},
                    partial(of_rollout, simulator, args),
                )
            )
        kwargs = {"world": world, "observation": "belief"}
        what = {**kwargs, "user_pool": 0}
        plans.append(
            (
                {**what, "door": "make", "batch": 1},
                partial(of_make, "crs/IcerMacro-v0", kwargs, args),
            )
        )
        for batch in args.belief_batches:
            run = partial(of_make_vec, "crs/IcerMacro-v0", batch, kwargs, args)
            plans.append(({**what, "door": "make_vec", "batch": batch}, run))
    found = []
    for what, run in (bar := tqdm(plans, unit="figure")):
        bar.set_postfix_str(" ".join(map(str, what.values())))
        found.append({**what, **run()})
        keep(found)
    return found


def peers(python: Path, args: Args) -> dict[str, Any]:
    """What experiments/bench/peers.py counts."""
    script = Path(__file__).with_name("peers.py")
    words = [str(python), str(script), "--seconds", str(args.seconds), "--rounds", str(args.rounds)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(args: Args) -> None:
    """Prints the table and writes it."""
    beside = {} if args.peers is None else peers(args.peers, args)
    args.results.mkdir(parents=True, exist_ok=True)

    def keep(found: list[dict[str, Any]]) -> None:
        device = jax.devices()[0].device_kind
        report = {"machine": machine(), "device": device, "peers": beside, "rows": found}
        (args.results / "throughput.json").write_text(json.dumps(report, indent=1) + "\n")

    found = rows(args, keep)
    fastest = max((x for x in beside.values() if isinstance(x, float)), default=None)
    columns = [
        "world",
        "observation",
        "user pool",
        "door",
        "batch",
        "steps/s",
        "floor",
        "compile s",
    ]
    shown = Table(*columns, *([] if fastest is None else ["x fastest peer"]))
    for row in found:
        ratio = [] if fastest is None else [f"{row['steps/s'] / fastest:.1f}"]
        shown.add_row(
            row["world"], row["observation"], f"{row['user_pool']:,}", row["door"],
            f"{row['batch']:,}", f"{row['steps/s']:,.0f}", f"{row['floor']:,.0f}",
            f"{row['compile s']:.1f}", *ratio,
        )  # fmt: skip
    for name, rate in beside.items():
        what = rate if isinstance(rate, str) else f"{rate:,.0f}"
        shown.add_row(name, "", "", "step", "1", what, *[""] * (len(shown.columns) - 6))
    Console(width=120).print(shown)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

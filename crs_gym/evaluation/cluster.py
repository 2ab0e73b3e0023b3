"""Playing policies on the workers of a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crs_gym.cluster import RETRIES, WORKER_VARIABLES, check_versions, versions
from crs_gym.evaluation.results import machine
from crs_gym.inference import Inference
from crs_gym.policies import make_policy
from crs_gym.simulation import Episodes, Policy, Simulator, play


class Played(NamedTuple):
    """What one policy did.

    policy: its name, with what was tuned.
    episodes: NumPy arrays with a leading axis (B,).
    seconds: how long playing took, summed over workers.
    machine: where it was played; of several machines the first.
    """

    policy: str
    episodes: Episodes
    seconds: float
    machine: dict[str, Any]


def play_on_cluster(
    ray: Any,
    policies: Sequence[str],
    train: Simulator,
    simulator: Simulator,
    inference: Inference,
    keys: jax.Array,
    chunk: int,
    progress: bool = True,
) -> list[Played]:
    """`play` for each policy, a task of its own for every `chunk` episodes.

    Chunks begin and end where `play` has them, so each runs the same program on the same keys and
    the floats are those of one process. A policy is built, and tuned, once. Tasks whose worker
    dies are begun again on another one, three times each.

    Args:
        ray: what `connected` gives.
        policies: names for `make_policy`.
        train, simulator: of the training users, to tune on, and of the users to play with.
        keys: (B,) episode keys.
        chunk: how many episodes at a time.

    Raises:
        ValueError: unknown names of policies.
        RuntimeError: a worker has another version of crs-gym, JAX or NumPy.
    """
    remote = ray.remote(num_cpus=1, max_retries=RETRIES, runtime_env={"env_vars": WORKER_VARIABLES})
    build, play_chunk = remote(_build), remote(_play_chunk)
    expected = versions()
    shared = [ray.put(_on_host(value)) for value in (train, simulator, inference)]
    built = [build.remote(expected, name, shared[0], shared[2]) for name in policies]
    data = np.asarray(jax.random.key_data(keys))
    parts = [
        [
            play_chunk.remote(expected, policy, *shared[1:], data[first : first + chunk], chunk)
            for first in range(0, len(data), chunk)
        ]
        for policy in built
    ]
    _wait(ray, [part for row in parts for part in row], progress)
    played = []
    for policy, row in zip(ray.get(built), parts, strict=True):
        episodes, seconds, machines = zip(*ray.get(row), strict=True)
        whole = jax.tree.map(lambda *rows: np.concatenate(rows), *episodes)
        played.append(Played(policy.name, whole, sum(seconds), machines[0]))
    return played


def _wait(ray: Any, waiting: list[Any], progress: bool) -> None:
    """Waits for all of them, and raises what the first that failed has raised."""
    bar = tqdm(total=len(waiting), desc="benchmark", unit="chunk", disable=not progress)
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            ray.get(done)
            bar.update(len(done))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    finally:
        bar.close()
        for task in waiting:
            ray.cancel(task)


def _build(expected: dict[str, str], name: str, train: Simulator, inference: Inference) -> Policy:
    check_versions(expected)
    return _on_host(make_policy(name, *jax.device_put((train, inference))))


def _play_chunk(
    expected: dict[str, str],
    policy: Policy,
    simulator: Simulator,
    inference: Inference,
    data: np.ndarray,
    chunk: int,
) -> tuple[Episodes, float, dict[str, Any]]:
    check_versions(expected)
    policy, simulator, inference = jax.device_put((policy, simulator, inference))
    keys = jax.random.wrap_key_data(jnp.asarray(data), impl="threefry2x32")
    begun = time.perf_counter()
    episodes = play(simulator, policy, inference, keys, chunk)
    return episodes, time.perf_counter() - begun, machine()


def _on_host(tree: Any) -> Any:
    # Python numbers stay what they are: their JAX types are weak
    return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, tree)

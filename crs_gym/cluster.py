"""Ray clusters: joining one, and what its workers need."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from crs_gym import __version__

WORKER_VARIABLES = {
    "NPROC": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}
"""Environment of a worker. It has one processor, for which XLA, and a BLAS that is told so, would
start as many threads as the machine has, and no part of a GPU, of which JAX would claim the memory.
"""

RETRIES = 3
"""How often a task is begun again whose worker died."""

_PATIENCE = 10.0


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected; a connection that exists is used and stays.

    Enter it before anything is computed: JAX warns when a process forks, as Ray does to start a
    cluster, after its first computation.

    Args:
        address: as for `ray.init`: "local" starts a cluster on this machine and stops it
            afterwards, "auto" finds the one that runs here or that RAY_ADDRESS names, and
            host:port is the address of any.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: nothing answers at the address.
        ValueError: not an address.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "running on a cluster needs Ray: pip install 'crs-gym[ray]'", name="ray"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    _knock(address)
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, logging_level="WARNING", **options)
    except ConnectionError as error:
        raise ConnectionError(_unreachable(address, error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    # Ray itself tries for minutes before it gives up
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(_unreachable(address, error)) from error


def _unreachable(address: str, error: Exception) -> str:
    return (
        f"no Ray cluster to join at {address!r} ({error}); start one with `ray start --head` and "
        "give the address that it prints (and set RAY_AUTH_MODE=token if it asks for a token), or "
        "take 'local' for this machine alone"
    )


def versions() -> dict[str, str]:
    """What has to be the same on every machine."""
    return {"crs-gym": __version__, "jax": jax.__version__, "numpy": np.__version__}


def check_versions(expected: dict[str, str]) -> None:
    """Raises a RuntimeError where this process has other versions than the one that asks."""
    if versions() != expected:
        raise RuntimeError(
            f"a worker on {socket.gethostname()} has {versions()}, and this process {expected}: "
            "install the same on every machine of the cluster"
        )

"""Who makes the shards: processes of this machine, or the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

from crs_gym.cluster import RETRIES, WORKER_VARIABLES, check_versions, versions
from crs_gym.generation.settings import Settings
from crs_gym.generation.worker import Worker


def make_here(
    world: Path, settings: Settings, shards: Sequence[int], workers: int
) -> Generator[tuple[int, bytes], None, None]:
    """The numbers and bytes of the shards, as they get ready, from processes of one thread each.

    One thread, whatever the machine has: floats differ in the last bits between numbers of threads,
    and no number of workers may change a data set.

    Raises:
        ValueError: fewer than one worker.
        ChildProcessError: a shard cannot be made, or kills every process that makes it.
    """
    if workers < 1:
        raise ValueError(f"need at least one worker, not {workers}")
    idle: SimpleQueue[Worker | None] = SimpleQueue()
    hired: list[Worker] = []
    closing = Event()
    for _ in range(workers):
        idle.put(None)

    def make(shard: int) -> tuple[int, bytes]:
        worker = idle.get()
        try:
            for left in reversed(range(RETRIES)):
                try:
                    if worker is None:
                        worker = Worker(world, settings.to_json())
                        hired.append(worker)
                        # else it might be hired after all the others were killed
                        if closing.is_set():
                            raise EOFError("nobody waits for the shards any more")
                    return shard, worker.make(shard)
                except EOFError as error:
                    if worker is not None:
                        worker.kill()
                    worker = None
                    if closing.is_set():
                        raise
                    if not left:
                        raise ChildProcessError(
                            f"shard {shard} killed {RETRIES} workers: {error}; is there too little "
                            "memory for so many workers?"
                        ) from error
            raise AssertionError
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(min(workers, max(len(shards), 1)))
    try:
        for future in as_completed([pool.submit(make, shard) for shard in shards]):
            yield future.result()
    finally:
        # also where the caller stops early: nothing that is begun is waited for
        closing.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in hired:
            worker.kill()


def make_on_cluster(
    ray: Any, world: Path, settings: Settings, shards: Sequence[int]
) -> Generator[tuple[int, bytes], None, None]:
    """The same from the workers of a Ray cluster.

    A shard whose worker dies is begun again on another one. On machines of other processors floats
    may differ in the last bits.

    Args:
        ray: what `crs_gym.cluster.connected` gives.

    Raises:
        ChildProcessError: a shard cannot be made, its workers die, or one has another version of
            crs-gym, JAX or NumPy.
    """
    remote = ray.remote(
        num_cpus=1, max_retries=RETRIES, runtime_env={"env_vars": WORKER_VARIABLES}
    )(_shard)
    common = versions(), ray.put(world.read_bytes()), settings.to_json()
    waiting = {remote.remote(*common, shard): shard for shard in shards}
    try:
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            yield waiting.pop(done), ray.get(done)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise ChildProcessError(f"{type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        raise ChildProcessError(f"the cluster cannot make a shard: {error}") from error
    finally:
        for task in waiting:
            ray.cancel(task)


_makers: dict[str, Any] = {}


def _shard(expected: dict[str, str], world: bytes, settings: str, shard: int) -> bytes:
    check_versions(expected)
    import tempfile

    from crs_gym.generation.schema import encode
    from crs_gym.generation.shards import Maker
    from crs_gym.world import World

    if settings not in _makers:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "world.safetensors"
            path.write_bytes(world)
            _makers.clear()
            _makers[settings] = Maker(World.load(path), Settings.from_json(settings))
    return encode(_makers[settings].dialogues(shard))

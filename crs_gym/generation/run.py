"""`crs-gym generate`: a data set of dialogues, from settings to a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from crs_gym.cluster import connected
from crs_gym.generation.card import card
from crs_gym.generation.dataset import CARD, SETTINGS, WORLD, DataSet, write_whole
from crs_gym.generation.runners import make_here, make_on_cluster
from crs_gym.generation.settings import Settings
from crs_gym.world import DataError, World


def generate(
    world: World,
    out: str | Path,
    settings: Settings,
    *,
    workers: int = 2,
    ray: str | None = None,
    progress: bool = True,
) -> DataSet:
    """Makes the data set of these settings in the folder `out`, or goes on with it.

    However often it is killed and started again, and whatever the number of workers, it ends with
    the same files.

    Args:
        workers: processes, of one thread each.
        ray: address of a Ray cluster that makes the shards instead, see `crs_gym.cluster`.
        progress: show a progress bar.

    Raises:
        DataError: `out` holds a data set of other settings.
        ValueError: settings that do not fit the world.
        OSError: the disk is full, or the folder cannot be written.
        ChildProcessError: a shard cannot be made.
        ImportError, ConnectionError: Ray, or its cluster, is not there.
    """
    with connected(ray) if ray is not None else nullcontext() as cluster:
        # refused before anything is written, what cannot work
        settings.simulator(world), settings.policy(), settings.inference()
        data = _begin(world, Path(out), settings)
        file = data.folder / WORLD

        def make(missing: Sequence[int]) -> Iterator[tuple[int, bytes]]:
            if cluster is None:
                return make_here(file, settings, missing, workers)
            return make_on_cluster(cluster, file, settings, missing)

        _fill(data, make, progress)
    write_whole(data.folder / CARD, card(data).encode())
    return data


def _fill(
    data: DataSet, make: Callable[[Sequence[int]], Iterator[tuple[int, bytes]]], progress: bool
) -> None:
    settings = data.settings
    missing = data.missing()
    done = len(data) - sum(len(settings.rows(shard)) for shard in missing)
    bar = tqdm(
        desc="dialogues", total=len(data), initial=done, unit="", disable=not progress, smoothing=0
    )
    with bar:
        for shard, payload in make(missing):
            data.write(shard, payload)
            bar.update(len(settings.rows(shard)))


def _begin(world: World, out: Path, settings: Settings) -> DataSet:
    if (out / SETTINGS).exists():
        data = DataSet.begun(out)
        if different := settings.differences(data.settings):
            raise DataError(
                f"{out} holds a data set of other settings ({different}); take another folder, or "
                "delete it"
            )
    else:
        # a run that was killed before it wrote its settings leaves some of these
        strangers = {p.name for p in out.glob("*")} - {"data", WORLD}
        if any(not name.endswith(".partial") for name in strangers):
            raise DataError(f"{out} is not empty, and no data set; take another folder")
        (out / "data").mkdir(parents=True, exist_ok=True)
        world.save(out / WORLD)
        # last, so that a folder with settings has everything else
        write_whole(out / SETTINGS, settings.to_json().encode())
        data = DataSet(out, settings)
    for partial in data.folder.glob("**/.*.partial"):
        partial.unlink(missing_ok=True)
    return data

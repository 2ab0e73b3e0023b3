"""`crs-gym generate`: a data set of dialogues, from settings to a folder."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

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
    """
    settings.simulator(world)  # refuses what cannot work before anything is written
    data = _begin(world, Path(out), settings)
    missing = data.missing()
    done = len(data) - sum(len(settings.rows(shard)) for shard in missing)
    bar = tqdm(
        desc="dialogues", total=len(data), initial=done, unit="", disable=not progress, smoothing=0
    )
    with bar:
        file = data.folder / WORLD
        shards = (
            make_here(file, settings, missing, workers)
            if ray is None
            else make_on_cluster(ray, file, settings, missing)
        )
        for shard, payload in shards:
            data.write(shard, payload)
            bar.update(len(settings.rows(shard)))
    write_whole(data.folder / CARD, card(data).encode())
    return data


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

"""`crs-gym generate`: a data set of dialogues, from settings to a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

from tqdm import tqdm

from crs_gym.cluster import connected
from crs_gym.generation.card import card
from crs_gym.generation.dataset import CARD, SETTINGS, WORLD, DataSet, write_whole
from crs_gym.generation.rewriting import rewrite
from crs_gym.generation.runners import make_here, make_on_cluster
from crs_gym.generation.schema import decode, encode
from crs_gym.generation.settings import Settings
from crs_gym.language import LanguageModel
from crs_gym.world import DataError, World


def generate(
    world: World,
    out: str | Path,
    settings: Settings,
    *,
    model: LanguageModel | None = None,
    workers: int = 2,
    ray: str | None = None,
    progress: bool = True,
) -> DataSet:
    """Makes the data set of these settings in the folder `out`, or goes on with it.

    However often it is killed and started again, and whatever the number of workers, it ends with
    the same files.

    Args:
        model: rewrites the templates, as `settings.rewriting` says; a cache in it makes that a
            killed run asks for nothing twice.
        workers: processes, of one thread each.
        ray: address of a Ray cluster that makes the shards instead, see `crs_gym.cluster`.
        progress: show a progress bar.

    Raises:
        DataError: `out` holds a data set of other settings.
        ValueError: settings that do not fit the world, or the model.
        OSError: the disk is full, or the folder cannot be written.
        ChildProcessError: a shard cannot be made.
        ImportError, ConnectionError: Ray, or its cluster, or the model's server, is not there.
    """
    rewriting = settings.rewriting
    if (rewriting.model if rewriting else None) != (model.name if model else None):
        raise ValueError(
            f"the settings want {rewriting.model if rewriting else 'no model'} to rewrite, and "
            f"{model.name if model else 'none'} was given"
        )
    with connected(ray) if ray is not None else nullcontext() as cluster:
        # refused before anything is written, what cannot work
        settings.simulator(world), settings.policy(), settings.inference()
        data = _begin(world, Path(out), settings)
        file = data.folder / WORLD

        def make(missing: Sequence[int]) -> Iterator[tuple[int, bytes]]:
            if cluster is None:
                return make_here(file, settings, missing, workers)
            return make_on_cluster(cluster, file, settings, missing)

        _fill(data, make, model, progress)
    write_whole(data.folder / CARD, card(data).encode())
    return data


def _fill(
    data: DataSet,
    make: Callable[[Sequence[int]], Iterator[tuple[int, bytes]]],
    model: LanguageModel | None,
    progress: bool,
) -> None:
    settings = data.settings
    missing = data.missing()
    done = len(data) - sum(len(settings.rows(shard)) for shard in missing)
    bar = tqdm(
        desc="dialogues", total=len(data), initial=done, unit="", disable=not progress, smoothing=0
    )
    with bar:
        for shard, payload in make(missing):
            if model is not None:
                payload = _rewritten(data, shard, payload, model, progress)
            data.write(shard, payload)
            bar.update(len(settings.rows(shard)))


def _rewritten(
    data: DataSet, shard: int, payload: bytes, model: LanguageModel, progress: bool
) -> bytes:
    rewriting = data.settings.rewriting
    assert rewriting is not None
    dialogues, rates = rewrite(
        list(decode(BytesIO(payload))),
        model,
        data.world,
        order=rewriting.order,
        retries=rewriting.retries,
        max_tokens=rewriting.max_tokens,
        temperature=rewriting.temperature,
        style=rewriting.style,
        seed=data.settings.seed,
        progress=progress,
    )
    # before the shard, so that a shard that is there has them
    path = data.rates_path(shard)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, (json.dumps(rates.to_json(), indent=1) + "\n").encode())
    return encode(dialogues)


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
        strangers = {p.name for p in out.glob("*")} - {"data", "rates", WORLD}
        if any(not name.endswith(".partial") for name in strangers):
            raise DataError(f"{out} is not empty, and no data set; take another folder")
        (out / "data").mkdir(parents=True, exist_ok=True)
        world.save(out / WORLD)
        # last, so that a folder with settings has everything else
        write_whole(out / SETTINGS, settings.to_json().encode())
        data = DataSet(out, settings)
    # they may have been deleted to be made again
    (out / "data").mkdir(exist_ok=True)
    if not (out / WORLD).exists():
        world.save(out / WORLD)
    for partial in data.folder.glob("**/.*.partial"):
        partial.unlink(missing_ok=True)
    return data

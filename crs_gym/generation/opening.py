"""Dialogues to read, from a data set or from loose Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from crs_gym.extras import needs
from crs_gym.generation.records import Dialogue
from crs_gym.world import DataError, World, load_world


class Opened(NamedTuple):
    """dialogues: in order. world: theirs. user_model: parameters that differ from the world's."""

    dialogues: list[Dialogue]
    world: World
    user_model: Mapping[str, float]


def open_dialogues(path: str | Path, world: str | None = None, limit: int | None = None) -> Opened:
    """The dialogues of a data set, of a Parquet file, or of all in a folder in their names' order.

    Args:
        path: of the data set, file or folder.
        world: bundled name or world file, where no world lies beside the dialogues.
        limit: only the first so many; all if None.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        DataError: no dialogues, broken ones, or dialogues about another world.
        ImportError: pyarrow is missing.
    """
    needs("pyarrow", "data")
    from crs_gym.generation.dataset import SETTINGS, DataSet

    path = Path(path)
    rows: Iterator[Dialogue]
    user_model: Mapping[str, float] = {}
    if (path / SETTINGS).is_file() and world is None:
        data = DataSet.open(path)
        rows, about, user_model = iter(data), data.world, data.settings.user_model
    else:
        rows, about = _rows(path), load_world(world) if world is not None else load_world()
    found = list(islice(rows, limit))
    if not found:
        raise DataError(f"there are no dialogues in {path}")
    for dialogue in found:
        if dialogue.world != about.hash:
            raise DataError(
                f"the dialogues in {path} are about the world with hash {dialogue.world}, and "
                f"{about.name} has {about.hash}; name theirs with --world"
            )
    return Opened(found, about, user_model)


def open_one(path: str | Path, number: int, world: str | None = None) -> tuple[Dialogue, World]:
    """Dialogue `number` (from 0) of what `open_dialogues` opens, and its world.

    Raises:
        ValueError: there is none of that number; the message names those there are.
        FileNotFoundError, DataError, ImportError: as `open_dialogues`.
    """
    needs("pyarrow", "data")
    from crs_gym.generation.dataset import SETTINGS, DataSet

    if (Path(path) / SETTINGS).is_file() and world is None:
        data = DataSet.open(path)
        count, about = len(data), data.world
        if 0 <= number < count:
            return data[number], about
    else:
        found = open_dialogues(path, world)
        count = len(found.dialogues)
        if 0 <= number < count:
            return found.dialogues[number], found.world
    raise ValueError(f"no dialogue {number} in {path}: there are 0 to {count - 1}")


def _rows(path: Path) -> Iterator[Dialogue]:
    from crs_gym.generation.schema import decode

    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"there is no Parquet file in {path}")
    for file in files:
        yield from decode(file)

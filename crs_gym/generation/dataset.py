"""A data set of dialogues on disk: a folder of Parquet shards, a card, and the world beside them.

README.md            the card, which `datasets.load_dataset(folder)` reads
settings.json        what the dialogues follow from
world.safetensors    the world
data/train-00000-of-00100.parquet
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crs_gym.generation.rates import Rates
from crs_gym.generation.records import Dialogue
from crs_gym.generation.schema import SCHEMA, decode
from crs_gym.generation.settings import Settings
from crs_gym.world import DataError, World

SETTINGS, WORLD, CARD = "settings.json", "world.safetensors", "README.md"


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set: a sequence of `Dialogue`, read as they are asked for.

    folder: where it lies. settings: what it follows from.
    """

    folder: Path
    settings: Settings

    @classmethod
    def open(cls, folder: str | Path) -> DataSet:
        """Opens a folder that `crs-gym generate` has finished.

        Raises:
            FileNotFoundError: not a data set.
            DataError: it is not finished, or its settings are damaged.
        """
        data = cls.begun(folder)
        if missing := data.missing():
            raise DataError(
                f"{folder} is not finished: {len(missing)} of {data.settings.shards} shards are "
                "missing; run the `crs-gym generate` that began it again, it goes on"
            )
        return data

    @classmethod
    def begun(cls, folder: str | Path) -> DataSet:
        """The same for a data set that may lack shards."""
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise FileNotFoundError(
                f"{folder} holds no data set of dialogues (no {SETTINGS}); `crs-gym generate` "
                "makes one"
            )
        try:
            settings = Settings.from_json((folder / SETTINGS).read_text())
        except DataError as error:
            raise DataError(f"{folder / SETTINGS}: {error}") from error
        return cls(folder, settings)

    @cached_property
    def world(self) -> World:
        """The world, of the hash that the settings name.

        Raises:
            DataError: it is another one.
        """
        world = World.load(self.folder / WORLD)
        if world.hash != self.settings.world:
            raise DataError(
                f"{self.folder / WORLD} has hash {world.hash}, the dialogues are of "
                f"{self.settings.world}: it was exchanged"
            )
        return world

    def path(self, shard: int) -> Path:
        """Where a shard lies."""
        split = "train" if self.settings.split == "train" else "test"
        return self.folder / "data" / f"{split}-{shard:05d}-of-{self.settings.shards:05d}.parquet"

    def missing(self) -> list[int]:
        """Shards that are not there, or not whole."""
        return [n for n in range(self.settings.shards) if not self._whole(n)]

    def write(self, shard: int, payload: bytes) -> None:
        """Puts the bytes of a shard in their place; an interrupted write leaves no broken file.

        Raises:
            OSError: the disk is full, say; what was written before stays.
        """
        write_whole(self.path(shard), payload)

    def rates_path(self, shard: int) -> Path:
        """Where the rates of a shard's rewriting lie."""
        return self.folder / "rates" / f"{shard:05d}.json"

    def rates(self) -> Rates:
        """How rewriting went, over all shards; nothing where there was none.

        Raises:
            DataError: a damaged file.
        """
        total = Rates()
        for shard in range(self.settings.shards if self.settings.rewriting else 0):
            path = self.rates_path(shard)
            try:
                total += Rates.from_json(json.loads(path.read_text()))
            except (OSError, ValueError, TypeError) as error:
                raise DataError(
                    f"{path} does not tell how rewriting went ({error}); delete {self.path(shard)} "
                    "and run `crs-gym generate` again"
                ) from error
        return total

    def __len__(self) -> int:
        return self.settings.dialogues

    def __iter__(self) -> Iterator[Dialogue]:
        for shard in range(self.settings.shards):
            yield from decode(self.path(shard))

    def __getitem__(self, number: int) -> Dialogue:
        """Dialogue number 0, 1, ...

        Raises:
            IndexError: there is none of that number.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"no dialogue {number}: there are 0 to {len(self) - 1}")
        shard = number // self.settings.shard
        path = self.path(shard)
        return _shard(path, os.stat(path).st_mtime_ns)[number - shard * self.settings.shard]

    def _whole(self, shard: int) -> bool:
        try:
            metadata = pq.read_metadata(self.path(shard))
        except (OSError, pa.ArrowException):
            return False
        return (
            metadata.num_rows == len(self.settings.rows(shard))
            and metadata.schema.to_arrow_schema().names == SCHEMA.names
        )


def write_whole(path: Path, payload: bytes) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        OSError: with the path in its message.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(payload)
        os.replace(partial, path)
    except OSError as error:
        raise OSError(
            f"cannot write {path} ({error}); what is finished stays, and the same command goes on "
            "once there is room"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


@lru_cache(maxsize=2)
def _shard(path: Path, written: int) -> list[Dialogue]:
    # `written` tells a shard from what stood in its place before
    return list(decode(path))

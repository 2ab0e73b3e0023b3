"""The world: items, soft attributes and a population of users, as one frozen value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from crs_gym.world.errors import DataError

FORMAT = 2
_METADATA_KEY = "crs_gym_world"
_FLOATS = ("item_embeddings", "popularity", "cavs", "user_mean", "user_std")
_TENSORS = (*_FLOATS, "years", "evaluation")


class Attribute(NamedTuple):
    """A soft attribute and its wordings.

    more, less: short, to come after "something": "funnier", "less funny".
    more_long, less_long: noun phrases: "a film with more laughs"; empty where there are none.
    """

    name: str
    more: str
    less: str
    more_long: str = ""
    less_long: str = ""


@dataclass(frozen=True, eq=False)
class World:
    """Items, soft attributes and users; worlds with the same content have the same `hash`.

    Shapes: N items, d dimensions, G soft attributes, U users. Floats are float32.

    Attributes:
        item_embeddings: (N, d) phi_i; column 0 is the item's quality, standardised over the items.
        titles: N titles without the year.
        years: (N,) int16, 0 where unknown.
        genres: N tuples of genre names, possibly empty.
        popularity: (N,) how often each item was rated, at least 0.
        cavs: (G, d) c_g; `cavs @ item_embeddings.T` has standard deviation 1 over the items.
        attributes: G names with wordings.
        user_mean: (U, d) mean of the prior P_U of each user.
        user_std: (U, d) its standard deviation, at least 0.
        evaluation: (U,) bool, the users kept for evaluation; the others are for training.
        user_model: parameters of the user model, by name, as set by the calibration; utilities are
            in units of the population's mean utility deviation. Empty before calibration.
        name, source, licence: what the world is called, what it was built from, under what terms.
        report: figures from the build (fit, attributes, calibration), JSON values.

    Raises:
        DataError: shapes that do not agree, NaN or infinite values, no users on one side of the
            split, no items.
    """

    item_embeddings: np.ndarray
    titles: tuple[str, ...]
    years: np.ndarray
    genres: tuple[tuple[str, ...], ...]
    popularity: np.ndarray
    cavs: np.ndarray
    attributes: tuple[Attribute, ...]
    user_mean: np.ndarray
    user_std: np.ndarray
    evaluation: np.ndarray
    user_model: Mapping[str, Any] = field(default_factory=dict)
    name: str = "unnamed"
    source: str = "unknown"
    licence: str = "unknown"
    report: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dtypes = {**dict.fromkeys(_FLOATS, np.float32), "years": np.int16, "evaluation": np.bool_}
        for key, dtype in dtypes.items():
            array: np.ndarray = np.array(getattr(self, key), dtype=dtype)
            array.setflags(write=False)
            object.__setattr__(self, key, array)
        for key in ("user_model", "report"):
            object.__setattr__(self, key, MappingProxyType(dict(getattr(self, key))))
        for key in ("item_embeddings", "cavs", "user_mean", "user_std"):
            if getattr(self, key).ndim != 2:
                raise DataError(f"{key} must have two axes, not shape {getattr(self, key).shape}")
        n, d = self.item_embeddings.shape
        g, u = len(self.attributes), len(self.user_mean)
        if n == 0 or u == 0 or d == 0:
            raise DataError(f"a world needs items, users and dimensions; got N={n}, U={u}, d={d}")
        expected = {
            "years": (n,),
            "popularity": (n,),
            "cavs": (g, d),
            "user_mean": (u, d),
            "user_std": (u, d),
            "evaluation": (u,),
        }
        for key, shape in expected.items():
            if getattr(self, key).shape != shape:
                raise DataError(f"{key} has shape {getattr(self, key).shape}, expected {shape}")
        for key in ("titles", "genres"):
            if len(getattr(self, key)) != n:
                raise DataError(f"{len(getattr(self, key))} {key} for {n} items")
        for key in _FLOATS:
            bad = ~np.isfinite(getattr(self, key))
            if bad.any():
                row = int(np.argwhere(bad)[0][0])
                raise DataError(f"{key} holds NaN or infinite values, first in row {row}")
        if (self.user_std < 0).any():
            raise DataError("user_std holds negative standard deviations")
        if self.evaluation.all() or not self.evaluation.any():
            raise DataError("a world needs both training and evaluation users; one side is empty")

    @property
    def n_items(self) -> int:
        return len(self.item_embeddings)

    @property
    def n_users(self) -> int:
        return len(self.user_mean)

    @property
    def n_attributes(self) -> int:
        return len(self.cavs)

    @property
    def dim(self) -> int:
        return self.item_embeddings.shape[1]

    @cached_property
    def attribute_scores(self) -> np.ndarray:
        """(N, G) float32: c_g . phi_i for every item and attribute."""
        return self.item_embeddings @ self.cavs.T

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the content: what results are keyed by."""
        digest = hashlib.sha256(_canonical(self._text()))
        for key in _TENSORS:
            array = getattr(self, key)
            digest.update(_canonical([key, list(array.shape)]))
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()[:16]

    def label(self, item: int) -> str:
        """Title and year as people write them: `"The Matrix (1999)"`."""
        year = int(self.years[item])
        return f"{self.titles[item]} ({year})" if year else self.titles[item]

    def replace(self, **changes: Any) -> World:
        """A new world with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file; an interrupted write leaves no broken file at `path`.

        Floats that are exact in half precision are stored so.

        Raises:
            FileNotFoundError: the folder does not exist.
            OSError: the disk is full.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
        tensors = {key: _smallest(getattr(self, key)) for key in _TENSORS}
        metadata = {"format": FORMAT, "hash": self.hash, **self._text()}
        payload = safetensors.numpy.save(
            tensors, metadata={_METADATA_KEY: json.dumps(metadata, sort_keys=True)}
        )
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(payload)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> World:
        """Reads a file written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: the file is truncated, altered, of a later format, or not a world.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no world file at {path}")
        try:
            with safetensors.safe_open(str(path), framework="numpy") as file:
                metadata = json.loads((file.metadata() or {}).get(_METADATA_KEY, "null"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, json.JSONDecodeError) as error:
            raise DataError(
                f"{path} is not a whole safetensors file ({error}); it may be truncated: build it "
                "again with `crs-gym world build`"
            ) from error
        if not isinstance(metadata, dict):
            raise DataError(
                f"{path} is a safetensors file but not a crs-gym world (no {_METADATA_KEY!r} in "
                "its metadata); build one with `crs-gym world build`"
            )
        if metadata.get("format") != FORMAT:
            raise DataError(
                f"{path} has world format {metadata.get('format')}, this version reads {FORMAT}; "
                "build it again, or upgrade crs-gym"
            )
        try:
            world = cls(
                **{key: tensors[key] for key in _TENSORS},
                titles=tuple(metadata["titles"]),
                genres=tuple(tuple(genres) for genres in metadata["genres"]),
                attributes=tuple(Attribute(*a) for a in metadata["attributes"]),
                user_model=metadata["user_model"],
                name=metadata["name"],
                source=metadata["source"],
                licence=metadata["licence"],
                report=metadata["report"],
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} lacks a part of a world: {error}; build it again") from error
        except DataError as error:
            raise DataError(f"{path} is not a valid world: {error}; build it again") from error
        if world.hash != metadata.get("hash"):
            raise DataError(
                f"{path} was altered after it was written: its content has hash {world.hash}, its "
                f"header says {metadata.get('hash')}; build it again"
            )
        return world

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        # read-only views of dictionaries do not pickle
        fields |= {key: dict(fields[key]) for key in ("user_model", "report")}
        return _rebuild, (fields,)

    def _text(self) -> dict[str, Any]:
        return {
            "titles": self.titles,
            "genres": self.genres,
            "attributes": self.attributes,
            "user_model": dict(self.user_model),
            "name": self.name,
            "source": self.source,
            "licence": self.licence,
            "report": dict(self.report),
        }


def _rebuild(fields: dict[str, Any]) -> World:
    return World(**fields)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _smallest(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if (half == array).all() else array

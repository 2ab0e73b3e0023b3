"""Dialogues as Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crs_gym.acts import (
    NONE,
    RecommenderKind,
    UserAct,
    UserKind,
    response_to_arrays,
    response_to_readable,
    to_arrays,
    to_readable,
)
from crs_gym.acts import RecommenderAct as _RecommenderArrays
from crs_gym.generation.records import Dialogue, Exchange, Words
from crs_gym.world import DataError

_RECOMMENDER = pa.struct(
    [
        ("act", pa.string()),
        ("items", pa.list_(pa.int32())),
        ("attribute", pa.int32()),
        ("direction", pa.int8()),
        ("template", pa.string()),
        ("variant", pa.int8()),
        ("text", pa.string()),
        ("source", pa.string()),
    ]
)
_USER = pa.struct(
    [
        ("act", pa.string()),
        ("item", pa.int32()),
        ("attribute", pa.int32()),
        ("direction", pa.int8()),
        ("template", pa.string()),
        ("variant", pa.int8()),
        ("text", pa.string()),
        ("source", pa.string()),
    ]
)
_TURN = pa.struct(
    [
        ("recommender", _RECOMMENDER),
        ("user", _USER),
        ("draws", pa.list_(pa.float32())),
        ("probability", pa.float32()),
        ("utilities", pa.list_(pa.float32())),
        ("evoi", pa.float32()),
        ("expected_utility", pa.float32()),
        ("believed", pa.int32()),
        ("regret", pa.float32()),
    ]
)
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("user_id", pa.int32()),
        ("embedding", pa.list_(pa.float32())),
        ("prior_mean", pa.list_(pa.float32())),
        ("prior_std", pa.list_(pa.float32())),
        ("temperature", pa.float32()),
        ("patience", pa.float32()),
        ("critique_rate", pa.float32()),
        ("utility_mean", pa.float32()),
        ("utility_best", pa.float32()),
        ("utility_null", pa.float32()),
        ("accepted", pa.int32()),
        ("left", pa.bool_()),
        ("reward", pa.float32()),
        ("key", pa.list_(pa.uint32())),
        ("turns", pa.list_(_TURN)),
        ("version", pa.string()),
        ("world", pa.string()),
    ]
)
"""One row is one `Dialogue`; acts are named as in `crs_gym.acts`, in small letters."""

_BROKEN = (pa.ArrowException, OSError, LookupError, TypeError, AttributeError, ValueError)


def encode(dialogues: Sequence[Dialogue]) -> bytes:
    """A Parquet file of these rows, the same bytes for the same rows."""
    table = pa.Table.from_pylist([_row(dialogue) for dialogue in dialogues], SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def decode(path: Path | BinaryIO) -> Iterator[Dialogue]:
    """The rows of a file written by `encode`, or of its bytes.

    Raises:
        DataError: the file is truncated, altered, or of another kind.
    """
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise DataError(
                    f"{path} does not hold dialogues of this version: its columns are "
                    f"{', '.join(file.schema_arrow.names)}"
                )
            for batch in file.iter_batches(1024):
                yield from map(_dialogue, batch.to_pylist())
    except (
        pa.ArrowException,
        OSError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        if isinstance(error, DataError | FileNotFoundError):
            raise
        raise DataError(
            f"{path} is not a whole Parquet file of dialogues ({error}); delete it and run "
            "`crs-gym generate` again"
        ) from error


def _row(dialogue: Dialogue) -> dict[str, Any]:
    row = {name: getattr(dialogue, name) for name in SCHEMA.names}
    row["turns"] = [_turn_row(turn) for turn in dialogue.turns]
    return row


def _turn_row(turn: Exchange) -> dict[str, Any]:
    act = to_arrays(turn.act, max(1, len(getattr(turn.act, "items", ()))))
    response = response_to_arrays(turn.response, act)
    items = [int(item) for item in act.slate if item >= 0]
    row = {name: getattr(turn, name) for name in _TURN.names if name not in ("recommender", "user")}
    row["recommender"] = {
        "act": RecommenderKind(int(act.kind)).name.lower(),
        "items": items,
        "attribute": int(act.attribute),
        "direction": int(act.direction),
        **vars(turn.recommender),
    }
    row["user"] = {
        "act": UserKind(int(response.kind)).name.lower(),
        "item": items[int(response.slot)] if response.slot >= 0 else NONE,
        "attribute": int(response.attribute),
        "direction": int(response.direction),
        **vars(turn.user),
    }
    return row


def _dialogue(row: dict[str, Any]) -> Dialogue:
    floats = {
        name: np.array(row[name], np.float32) for name in ("embedding", "prior_mean", "prior_std")
    }
    turns = tuple(map(_exchange, row["turns"]))
    return Dialogue(**{**row, **floats, "key": tuple(row["key"]), "turns": turns})


def _exchange(row: dict[str, Any]) -> Exchange:
    said, answered = row.pop("recommender"), row.pop("user")
    slate = np.array(said["items"] or [NONE], np.int32)
    kind = RecommenderKind[said["act"].upper()]
    act = _RecommenderArrays(kind, slate, said["attribute"], said["direction"])
    item = answered["item"]
    slot = said["items"].index(item) if item != NONE else NONE
    response = UserAct(
        UserKind[answered["act"].upper()], slot, answered["attribute"], answered["direction"]
    )
    row["draws"], row["utilities"] = tuple(row["draws"]), tuple(row["utilities"])
    return Exchange(
        act=to_readable(act),
        response=response_to_readable(response, act),
        recommender=_words(said),
        user=_words(answered),
        **row,
    )


def _words(side: dict[str, Any]) -> Words:
    return Words(side["template"], side["variant"], side["text"], side["source"])

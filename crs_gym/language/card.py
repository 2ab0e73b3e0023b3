"""What a model was trained for: a file beside its weights, and where runs leave their models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crs_gym.world import DataError

CARD = "crs_gym.json"
"""Name of the card's file."""

FINAL = "final"
"""Folder of the finished model in that of a training run."""

Role = Literal["recommender", "user"]


@dataclass(frozen=True)
class Card:
    """What a model was trained for.

    role: whose turns it writes.
    system: what a recommender is told beforehand; empty for nothing.
    rules: whether a user is told how to answer, besides who it is.
    world: hash of the world whose films it knows; empty where it is not known.
    temperature: that it learnt to be sampled at; 1, its own distribution, where it imitated.
    """

    role: Role = "recommender"
    system: str = ""
    rules: bool = False
    world: str = ""
    temperature: float = 1.0


def card_of(source: str | Path) -> Card | None:
    """The card in a model's folder; None where there is none.

    Raises:
        DataError: a card that cannot be read.
    """
    path = Path(source) / CARD
    if not path.is_file():
        return None
    try:
        return Card(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} is not the card of a model: {error}; delete it") from error


def trained(source: str | Path) -> str | Path:
    """The model of a training run's folder; any other source as it is.

    Raises:
        FileNotFoundError: a run that has not finished.
    """
    folder = Path(source)
    if (folder / FINAL / "config.json").is_file():
        return folder / FINAL
    if (folder / "config.json").is_file() and not any(folder.glob("*.safetensors*")):
        raise FileNotFoundError(f"{folder}: the run has not finished; go on with --resume")
    return source

"""Policies and checkpoints as safetensors files; nothing is ever unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crs_gym.world import DataError


def write(path: Path, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
    """One file of arrays and of `state`, JSON values with the `format` among them; replaced whole.

    Folders above it are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        # safetensors writes the memory of an array, whatever its strides
        save_file(
            {name: np.array(value, order="C") for name, value in tensors.items()},
            partial,
            {"state": json.dumps(state)},
        )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path, form: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and state of a file.

    Args:
        form: the `format` that its state must name.

    Raises:
        FileNotFoundError: there is none.
        DataError: not such a file, or not whole.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no policy file at {path}")
    try:
        with safe_open(path, "np") as file:
            state = json.loads((file.metadata() or {}).get("state", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path} is not a whole policy file: {error}; delete it") from error
    if state.get("format") != form:
        raise DataError(f"{path} has format {state.get('format')!r}, this version reads {form!r}")
    return tensors, state


def final_policy(path: Path) -> Path:
    """The policy file at `path`: itself, or the final one of a run's folder.

    Raises:
        FileNotFoundError: a folder of a run that has not finished.
    """
    if not path.is_dir():
        return path
    saved, path = checkpoints(path), path / "final.safetensors"
    if not path.is_file() and saved:
        raise FileNotFoundError(
            f"{path} does not exist: the run has not finished. Continue it with --resume, or "
            f"load its newest checkpoint, {saved[-1]}"
        )
    return path


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((out / "checkpoints").glob("[0-9]*.safetensors"))


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON; the file is replaced whole."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """A file of `text`, replaced whole."""
    partial = _partial(path)
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def space_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space as JSON values."""
    if isinstance(space, spaces.Discrete):
        return {"n": int(space.n)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"nvec": space.nvec.tolist()}
    if isinstance(space, spaces.Box):
        return {
            "shape": space.shape,
            "low": float(space.low.min()),
            "high": float(space.high.max()),
        }
    raise ValueError(f"a policy for {space} cannot be saved")


def space(values: dict[str, Any]) -> spaces.Space[Any]:
    """The space that `space_json` described."""
    if "n" in values:
        return spaces.Discrete(values["n"])
    if "nvec" in values:
        return spaces.MultiDiscrete(values["nvec"])
    return spaces.Box(values["low"], values["high"], tuple(values["shape"]), np.float32)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")

"""Arguments that several commands have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import tyro

Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


def json_object(text: str, option: str) -> dict[str, Any]:
    """The object that an option gives as JSON.

    Raises:
        ValueError: not JSON, or not an object; the message names the option.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} is not JSON ({error}): {text!r}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{option} must be a JSON object, not {text!r}")
    return value

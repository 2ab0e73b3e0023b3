"""Arguments that several commands have."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from crs_gym.language import DEFAULT_CACHE

if TYPE_CHECKING:
    from crs_gym.language import CountedModel

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


@dataclass(frozen=True)
class ModelArguments:
    """Which language model is asked, and how."""

    model: str | None = None
    """Folder or Hugging Face name of a causal model; with --endpoint, its name there."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible endpoint, e.g. http://127.0.0.1:8000/v1; without it the
    model runs in this process."""
    name: str | None = None
    """What the model is called in results and cache. By default a local model's name and the hash
    of its weights, or model@endpoint."""
    cache: Path | None = DEFAULT_CACHE
    """Folder of replies: what was asked once is not asked again. None for no cache."""
    batch_size: int = 16
    """Requests generated at once, in this process."""
    device: str = "auto"
    """Of a model in this process: auto, cpu, cuda, cuda:1."""
    chat_template: Path | None = None
    """Jinja file, where the tokenizer of a model in this process has none."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the endpoint's key; an endpoint on this machine may need none."""
    concurrency: int = 8
    """Requests in flight to the endpoint."""
    requests_per_minute: float | None = None
    """Sent to the endpoint at most, evenly spread; no limit by default."""
    timeout: float = 60.0
    """Of one attempt at the endpoint, in seconds."""
    retries: int = 5
    """Further attempts at a request that the endpoint failed."""
    prices: tuple[float, float] | None = None
    """Of a million prompt tokens and a million completion tokens, to tell the cost."""

    def connect(self) -> CountedModel:
        """The model, ready to be asked.

        Raises:
            ValueError: no model is named; else as `crs_gym.language.connect`.
        """
        from crs_gym.language import connect

        if self.model is None:
            raise ValueError("no language model: name a folder or a hub model with --model")
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return connect(**values)


Model = Annotated[ModelArguments, tyro.conf.arg(name="")]
"""Embeds the arguments in a command without a prefix: --model, not --language.model."""

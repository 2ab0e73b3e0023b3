"""What asking a language model took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from crs_gym.language.model import (
    Failure,
    LanguageModel,
    Reply,
    Request,
    StreamingModel,
    in_order,
    stream,
)

_COUNTS = (
    *("requests", "asked", "cache_hits", "retries", "failures"),
    *("prompt_tokens", "completion_tokens"),
)


class Prices(NamedTuple):
    """Of a million tokens read and a million tokens written, in one currency."""

    prompt: float
    completion: float


@dataclass
class Usage:
    """Counts; `add` may be called from any thread.

    asked: requests that the model was asked.
    cache_hits: requests that it need not be asked: known before, or repeated within one call.
    retries: further attempts at requests that were asked.
    failures: requests asked in vain.
    prompt_tokens, completion_tokens: of the replies that the model gave when asked.
    seconds: spent waiting for the model.
    prices: of tokens; None where they are not known.
    """

    prices: Prices | None = None
    asked: int = 0
    cache_hits: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def add(self, **counts: float) -> None:
        """Adds to the counts of these names."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    @property
    def requests(self) -> int:
        """All requests, asked or answered from the cache."""
        return self.asked + self.cache_hits

    @property
    def cost(self) -> float | None:
        """Of the tokens, in the currency of the prices; None without prices."""
        if self.prices is None:
            return None
        prompt, completion = self.prices
        return (self.prompt_tokens * prompt + self.completion_tokens * completion) / 1e6

    def as_json(self) -> dict[str, float]:
        """Every count by name, and the cost where there are prices."""
        counts: dict[str, float] = {name: getattr(self, name) for name in _COUNTS}
        counts["seconds"] = round(self.seconds, 3)
        return counts if self.cost is None else {**counts, "cost": self.cost}

    def __str__(self) -> str:
        """All of it in one line."""
        return ", ".join(f"{name} {count}" for name, count in self._words())

    def __rich__(self) -> Any:
        """A table for `rich.print`."""
        from rich.table import Table

        table = Table("language model", "", title_justify="left")
        table.columns[1].justify = "right"
        for name, count in self._words():
            table.add_row(name, count)
        return table

    def _words(self) -> Iterator[tuple[str, str]]:
        for name, count in self.as_json().items():
            shown = f"{count:.4f}" if name == "cost" else f"{count:,}"
            yield name.replace("_", " "), f"{count:.1f}" if name == "seconds" else shown


class CountedModel(StreamingModel, Protocol):
    """A model that counts what it is asked."""

    @property
    def usage(self) -> Usage: ...


class MeteredModel:
    """Counts what a model is asked and what it answers; changes nothing."""

    def __init__(self, model: LanguageModel, usage: Usage, batch_size: int) -> None:
        self._model, self.usage, self._batch_size = model, usage, batch_size

    @property
    def name(self) -> str:
        return self._model.name

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return in_order(self.stream(requests))

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply | Failure]]:
        """Each reply as soon as it is there; the clock runs only while the model is waited for."""
        since = time.perf_counter()
        for at, reply in stream(self._model, requests, self._batch_size):
            self._count(reply, time.perf_counter() - since)
            yield at, reply
            since = time.perf_counter()

    def _count(self, reply: Reply | Failure, seconds: float) -> None:
        if isinstance(reply, Failure):
            self.usage.add(asked=1, failures=1, seconds=seconds)
            return
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        self.usage.add(asked=1, seconds=seconds, prompt_tokens=prompt, completion_tokens=completion)

"""One way to a language model: what is asked, what comes back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]


class Message(NamedTuple):
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class Request:
    """What a model is to continue; equal requests to one model have equal replies in its cache.

    messages: the chat so far, at least one message; the model writes the next message of the
        assistant.
    max_tokens: the longest reply, in the model's tokens, at least 1.
    temperature: of sampling, at least 0; 0 takes the likeliest token.
    stop: the reply ends before the first of these strings.
    seed: of sampling.

    Raises:
        ValueError: a value out of its range.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 128
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError("a request needs at least one message")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be at least 0, not {self.temperature}")
        if isinstance(self.stop, str) or "" in self.stop:
            raise ValueError(f"stop must be a tuple of strings, none empty, not {self.stop!r}")

    def as_json(self) -> dict[str, Any]:
        """JSON values, the same for equal requests and only for those."""
        return {
            "messages": [{"role": role, "content": content} for role, content in self.messages],
            "max_tokens": int(self.max_tokens),
            "temperature": float(self.temperature) + 0.0,  # -0.0 and 0 are 0.0
            "stop": list(self.stop),
            "seed": int(self.seed),
        }


@dataclass(frozen=True)
class Reply:
    """What a model wrote.

    text: without the string that stopped it.
    finish: "stop" where the model ended by itself, "length" where it was cut off.
    prompt_tokens, completion_tokens: counts in the model's tokens; 0 where it does not tell.
    """

    text: str
    finish: Literal["stop", "length"] = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Failure:
    """What comes back where no reply could be had: the reason, in words.

    lasting: every other request fails likewise until somebody acts (no server, a refused key, an
        unknown model); the reason says how.
    """

    reason: str
    lasting: bool = False


class LanguageModel(Protocol):
    """Writes replies.

    name: identifies the model in results and in the cache.
    """

    @property
    def name(self) -> str: ...

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """One reply, or failure, for each request, in order; one that fails spoils no other."""


@runtime_checkable
class StreamingModel(LanguageModel, Protocol):
    """Hands over each reply as soon as it is there."""

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply | Failure]]:
        """(which request, what came back) for each request once, in any order."""


def stream(
    model: LanguageModel, requests: Sequence[Request], batch_size: int
) -> Iterator[tuple[int, Reply | Failure]]:
    """What `model.stream` gives; a model without it is asked `batch_size` requests at a time."""
    if isinstance(model, StreamingModel):
        yield from model.stream(requests)
        return
    for start in range(0, len(requests), batch_size):
        yield from enumerate(model.generate(requests[start : start + batch_size]), start)


def in_order(replies: Iterable[tuple[int, Reply | Failure]]) -> list[Reply | Failure]:
    """The replies of a stream in the order of the requests."""
    return [reply for _, reply in sorted(replies, key=lambda pair: pair[0])]


def check_asked(model: LanguageModel, replies: Iterable[Reply | Failure]) -> None:
    """Stops work that would go on in vain.

    Raises:
        ConnectionError: one of the replies is a lasting failure; the message is its reason.
    """
    for reply in replies:
        if isinstance(reply, Failure) and reply.lasting:
            raise ConnectionError(f"{model.name} cannot be asked: {reply.reason}")


def until_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of the strings, and whether one was found."""
    found = [at for string in stop if (at := text.find(string)) >= 0]
    return (text[: min(found)], True) if found else (text, False)

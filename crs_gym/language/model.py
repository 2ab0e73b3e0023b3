"""One way to a language model: what is asked, what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Role = Literal["system", "user", "assistant"]


class Message(NamedTuple):
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class Request:
    """What a model is to continue; equal requests to one model have equal replies in its cache.

    messages: the chat so far; the model writes the next message of the assistant.
    max_tokens: the longest reply, in the model's tokens.
    temperature: of sampling, at least 0; 0 takes the likeliest token.
    stop: the reply ends before the first of these strings.
    seed: of sampling.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 128
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0


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
    """What comes back where no reply could be had: the reason, in words."""

    reason: str


class LanguageModel(Protocol):
    """Writes replies.

    name: identifies the model in results and in the cache.
    """

    @property
    def name(self) -> str: ...

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """One reply, or failure, for each request, in order; one that fails spoils no other."""

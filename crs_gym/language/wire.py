"""Reading what an endpoint sends: a chat completion, or the trouble with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from crs_gym.language.model import Reply, until_stop

LONGEST_WAIT = 600.0
"""Seconds; an endpoint that asks for a longer wait is not waited for."""

_WORTH_RETRYING = (408, 409, 429)


class Trouble(Exception):
    """Why an attempt gave no reply.

    heals: the next attempt may do better.
    lasting: no request will do better until somebody acts.
    retry_after: seconds that the endpoint asks to be left alone for.
    """

    def __init__(
        self,
        reason: str,
        *,
        heals: bool = False,
        lasting: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.heals, self.lasting, self.retry_after = heals, lasting, retry_after


def read_reply(body: bytes, stop: Sequence[str] = ()) -> Reply:
    """The reply in the JSON of a chat completion, cut before a stop string that was left in.

    Raises:
        Trouble: not such JSON (heals), or a reply that the endpoint withheld.
    """
    try:
        completion = json.loads(body)
    except (ValueError, RecursionError) as error:
        shown = body[:60].decode("utf-8", "replace")
        raise Trouble(f"the reply is not JSON: {shown!r}", heals=True) from error
    try:
        choice = completion["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (LookupError, TypeError, AttributeError) as error:
        told = isinstance(completion, dict) and completion.get("error")
        said = f": {_said(told)}" if told else ""
        raise Trouble(f"the reply holds no message{said}", heals=True) from error
    if finish == "content_filter" or refusal:
        raise Trouble(f"the endpoint withheld the reply: {refusal or finish}")
    if not isinstance(content, str):
        raise Trouble("the reply holds no text", heals=True)
    text, stopped = until_stop(content, stop)
    ending: Literal["stop", "length"] = "length" if finish == "length" and not stopped else "stop"
    usage = completion.get("usage")
    return Reply(text, ending, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def status_trouble(
    status: int, body: object, retry_after: float | None, model: str, key_env: str
) -> Trouble:
    """What an HTTP status of 400 or more means, and the cure.

    Args:
        status: of HTTP.
        body: of the reply; parsed, where it is JSON.
        retry_after: seconds, from the header.
        model, key_env: what was asked for, where the key came from.
    """
    said = _said(body)
    if status == 401:
        return Trouble(
            f"the endpoint refuses the key (401): put the right one into {key_env}", lasting=True
        )
    if status == 402 or (status == 429 and "insufficient_quota" in str(body)):
        return Trouble(f"the account has no credit left ({status}): {said}", lasting=True)
    if status == 404:
        return Trouble(
            f"the endpoint knows no model {model!r}, or no chat completions at this URL (404): "
            f"compare --model with what GET /models lists there, and see that the URL ends as the "
            f"server says, often in /v1. It said: {said}",
            lasting=True,
        )
    reason = f"the endpoint answered {status}: {said}"
    if retry_after is not None and retry_after > LONGEST_WAIT:
        return Trouble(f"{reason}; it asks to wait {retry_after:.0f} s, try again then")
    return Trouble(
        reason, heals=status in _WORTH_RETRYING or status >= 500, retry_after=retry_after
    )


def _said(body: object) -> str:
    """The server's words, wherever it put them; at most 300 characters."""
    while isinstance(body, dict) and (inner := _inner(body)) is not None:
        body = inner
    words = " ".join(str(body).split()) if body else "nothing"
    return words[:300]


def _inner(body: dict[Any, Any]) -> object | None:
    return next((body[name] for name in ("error", "message", "detail") if body.get(name)), None)


def _count(usage: object, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count > 0 else 0

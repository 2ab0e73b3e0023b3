"""When an endpoint may be asked: spacing of requests, waits before retries."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any


@dataclass(frozen=True)
class Backoff:
    """Waits that double, with jitter.

    first: the first wait in seconds, before jitter.
    longest: no wait is longer, in seconds, but for a Retry-After.
    """

    first: float = 1.0
    longest: float = 60.0

    def seconds(self, retry: int, draw: float, retry_after: float | None = None) -> float:
        """Before retry number `retry`, from 0: min(first * 2^retry, longest) * (1 + draw) / 2.

        Args:
            retry: at least 0.
            draw: uniform from [0, 1); keeps many clients from coming back in step.
            retry_after: seconds that the endpoint asked for; the wait is at least so long.
        """
        wait = min(self.first * 2.0 ** min(retry, 64), self.longest) * (1 + draw) / 2
        return max(wait, retry_after or 0.0)


class Pace:
    """Spreads requests evenly over time: a token bucket that holds one token.

    Any stretch of a minute has at most `per_minute` requests. Safe under threads.

    Raises:
        ValueError: a rate of 0 or less.
    """

    def __init__(
        self, per_minute: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if per_minute is not None and not per_minute > 0:
            raise ValueError(f"requests per minute must be more than 0, not {per_minute}")
        self._interval = 0.0 if per_minute is None else 60.0 / per_minute
        self._clock, self._next, self._lock = clock, -math.inf, threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def reserve(self) -> float:
        """Takes the next free moment; the seconds until then."""
        with self._lock:
            now = self._clock()
            moment = max(now, self._next)
            self._next = moment + self._interval
            return moment - now


def retry_after_seconds(header: str | None, now: float | None = None) -> float | None:
    """Seconds from a Retry-After header, in either form; None where there is none that can be read.

    Args:
        header: seconds, or an HTTP date.
        now: seconds since the epoch; by default the clock's.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
        seconds = moment - (time.time() if now is None else now)
    return max(seconds, 0.0) if math.isfinite(seconds) else None

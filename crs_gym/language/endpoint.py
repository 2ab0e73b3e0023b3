"""A language model behind any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import ipaddress
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from crs_gym.language.model import Failure, Reply, Request, in_order
from crs_gym.language.pace import Backoff, Pace, retry_after_seconds
from crs_gym.language.usage import Usage
from crs_gym.language.wire import Trouble, read_reply, status_trouble


@dataclass(frozen=True)
class _Call:
    """One call of `stream`: what ails all of its requests, once known, and whether it is over:
    nobody waits for its replies any more, or none can come.
    """

    over: threading.Event = field(default_factory=threading.Event)
    ailments: list[Failure] = field(default_factory=list)


class EndpointModel:
    """Asks an OpenAI-compatible endpoint, several requests at a time.

    Refused connections, timeouts, statuses 408, 409, 429 and 5xx, and bodies that break off or
    make no sense are tried again after a wait (`Backoff`; at least the Retry-After of the reply);
    what still fails is a `Failure`. What ails every request (nothing answers at the very first
    request, a refused key, an unknown model, a spent quota) fails at once, with `lasting` set, and
    the requests not yet sent are not sent.

    Whether equal requests have equal replies is the endpoint's affair: it is sent the seed.

    Args:
        model: as the endpoint calls it (for `transformers serve FOLDER`: the very FOLDER).
        endpoint: base URL, such as http://127.0.0.1:8000/v1.
        name: of the model in results and cache; by default model@host:port/path. The cache cannot
            tell when another model goes by the same name.
        api_key_env: environment variable with the key. An endpoint on this machine may do without.
        concurrency: requests in flight at most, at least 1.
        requests_per_minute: sent at most, retries included, evenly spread; None for no limit.
        timeout: of one attempt in seconds, more than 0.
        retries: of one request, at least 0.
        usage: where retries are counted.
        clock, sleep, draw: time in seconds, waiting, and uniform draws from [0, 1). By default
            a wait ends when nobody is there any more to take the replies.

    Raises:
        ImportError: the openai package is not installed.
        ValueError: not a URL, no key, or a number out of its range.
    """

    def __init__(
        self,
        model: str,
        endpoint: str,
        *,
        name: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        backoff: Backoff | None = None,
        usage: Usage | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if concurrency < 1 or retries < 0 or not timeout > 0:
            raise ValueError(
                "concurrency must be at least 1, retries at least 0 and the timeout more than 0, "
                f"not {concurrency}, {retries} and {timeout}"
            )
        self.model, self.endpoint = model, endpoint.rstrip("/")
        self._key_env, self.timeout = api_key_env, timeout
        self._connect()
        url = urlsplit(self.endpoint)
        self._place = url.netloc.rpartition("@")[2] + url.path  # without a password
        self.name = name or f"{model}@{self._place}"
        self.concurrency, self.retries = concurrency, retries
        self.usage = usage if usage is not None else Usage()
        self._backoff = backoff or Backoff()
        self._pace = Pace(requests_per_minute, clock)
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._answered = False  # ever, by anything
        self._length_field = "max_tokens"

    def _connect(self) -> None:
        self._key = _key(self.endpoint, self._key_env)
        self._client = _client(self.endpoint, self._key, self.timeout)
        weakref.finalize(self, self._client.close)  # sockets are not left to the collector

    def __getstate__(self) -> dict[str, Any]:
        # a copy has a connection of its own, and looks for the key where it wakes up
        return {k: value for k, value in self.__dict__.items() if k not in ("_client", "_key")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return in_order(self.stream(requests))

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply | Failure]]:
        """Each reply as it comes; to close the stream drops what has not come."""
        call = _Call()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="crs-gym-endpoint")
        try:
            asked = {
                pool.submit(self._answer, request, call): i for i, request in enumerate(requests)
            }
            for future in as_completed(asked):
                error = future.exception()
                unforeseen = Failure(f"unforeseen: {error!r}")
                yield asked.pop(future), unforeseen if error else future.result()
        finally:
            call.over.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, request: Request, call: _Call) -> Reply | Failure:
        wait = call.over.wait if self._sleep is None else self._sleep
        for attempt in range(self.retries + 1):
            if not call.over.is_set() and (seconds := self._pace.reserve()):
                wait(seconds)
            if call.ailments:
                return call.ailments[0]
            if call.over.is_set():
                break
            try:
                return self._attempt(request)
            except Trouble as trouble:
                reason = str(trouble).replace(self._key, "***")
                if trouble.lasting:
                    call.ailments.append(Failure(reason, lasting=True))
                    call.over.set()
                    return call.ailments[0]
                if not trouble.heals or attempt == self.retries:
                    return Failure(f"{reason} (attempts: {attempt + 1})")
                self.usage.add(retries=1)
                wait(self._backoff.seconds(attempt, self._draw(), trouble.retry_after))
        return Failure("nobody waits for the reply any more")

    def _attempt(self, request: Request) -> Reply:
        """One request over the wire; raises Trouble where it gives no reply."""
        import openai

        length_field = self._length_field
        try:
            return read_reply(self._body(request, length_field), request.stop)
        except openai.APITimeoutError as error:
            raise Trouble(f"no reply within {self.timeout:g} s", heals=True) from error
        except openai.APIStatusError as error:
            self._answered = True
            if length_field == "max_tokens" and "max_completion_tokens" in error.message:
                self._length_field = "max_completion_tokens"  # newer models know only this name
                return self._attempt(request)
            retry_after = retry_after_seconds(error.response.headers.get("retry-after"))
            raise status_trouble(
                error.status_code, error.body, retry_after, self.model, self._key_env
            ) from error
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from error
        except (openai.OpenAIError, UnicodeError, TypeError) as error:
            raise Trouble(f"the request could not be sent: {error}") from error
        except Trouble:
            raise
        except Exception as error:  # of the HTTP library: openai reads what comes with a status
            raise Trouble(f"the reply broke off: {_words(error)}", heals=True) from error

    def _body(self, request: Request, length_field: str) -> bytes:
        """The bytes of the reply, all of them within the timeout."""
        asked = request.as_json()
        fields = {
            "model": self.model,
            "messages": asked["messages"],
            length_field: asked["max_tokens"],
            "temperature": asked["temperature"],
            "seed": asked["seed"],
            **({"stop": asked["stop"]} if asked["stop"] else {}),
        }
        until = self._clock() + self.timeout
        completions = self._client.chat.completions.with_streaming_response
        with completions.create(**fields) as response:
            self._answered = True
            chunks = []
            try:
                for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    if self._clock() > until:
                        raise Trouble(f"no whole reply within {self.timeout:g} s", heals=True)
            except Trouble:
                raise
            except Exception as error:  # of the HTTP library, which one depends on openai's version
                raise Trouble(f"the reply broke off: {_words(error)}", heals=True) from error
            return b"".join(chunks)

    def _unreachable(self, error: Exception) -> Trouble:
        cause = error.__cause__ or error
        if type(cause).__name__ == "ConnectError" and not self._answered:
            return Trouble(
                f"nothing answers at {self._place} ({_words(cause)}): start the server, or mend "
                "the URL (--endpoint)",
                lasting=True,
            )
        return Trouble(f"the connection failed: {_words(cause)}", heals=True)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _key(endpoint: str, variable: str) -> str:
    host = _host(endpoint)
    if key := os.environ.get(variable, "").strip():
        return key
    if _is_loopback(host):
        return "no-key"
    raise ValueError(f"{endpoint} needs a key: put it into the environment variable {variable}")


def _host(endpoint: str) -> str:
    try:
        url = urlsplit(endpoint)
        if url.scheme in ("http", "https") and url.hostname and url.port != 0:
            return url.hostname
    except ValueError:  # a port out of range, half an IPv6 address
        pass
    raise ValueError(f"not a URL of an endpoint: {endpoint!r}; e.g. http://127.0.0.1:8000/v1")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _client(endpoint: str, key: str, timeout: float) -> Any:
    try:
        import openai
    except ImportError as error:
        raise ImportError(
            "asking an endpoint needs the openai package: pip install 'crs-gym[lm]'",
            name=error.name,
        ) from error
    loopback = _is_loopback(_host(endpoint))
    return openai.OpenAI(
        base_url=endpoint,
        api_key=key,
        timeout=timeout,
        max_retries=0,
        # a proxy of the environment cannot reach this machine's loopback
        http_client=openai.DefaultHttpxClient(trust_env=False) if loopback else None,
    )

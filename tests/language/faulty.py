"""A server of chat completions that fails as it is told to."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Faulty(ThreadingHTTPServer):
    """The last message of a request says what happens at each attempt, the last word repeating.

    ok: a reply of the words. farewell: that, and the connection closes. empty: a reply of "".
    A number: that status; 429/7 has a Retry-After. quota: no credit. newer: no max_tokens, please.
    cut: half a body; cut-500: of that status. nothing: the connection closes unanswered.
    drip: a byte now and then for ever. slow: no answer until the end of the test.
    filtered, refused, null, nochoices, null-json, nonsense, html, error-in-200: what they say.

    asked: the parsed bodies; attempts: how often each text was asked; most: requests at one time.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.attempts: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.lock, self.over = threading.Lock(), threading.Event()
        self.now = self.most = 0
        self.hold: threading.Barrier | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are expected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Faulty

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = body["messages"][-1]["content"]
        todo = words.split()
        with self.server.lock:
            attempt = self.server.attempts[words]
            self.server.attempts[words] += 1
            self.server.asked.append(body)
            self.server.keys.add(self.headers["Authorization"])
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        if self.server.hold:
            self.server.hold.wait(10)
        with self.server.lock:
            self.server.now -= 1
        self._do(todo[min(attempt, len(todo) - 1)], body)

    def _do(self, what: str, body: dict[str, Any]) -> None:
        reply = completion(body["messages"][-1]["content"])
        choice = reply["choices"][0]
        if what.split("/")[0].isdecimal():
            status, _, after = what.partition("/")
            self._send(int(status), {"error": {"message": f"told to {status}"}}, after)
        elif what == "quota":
            self._send(429, {"error": {"message": "pay", "code": "insufficient_quota"}})
        elif what == "newer" and "max_tokens" in body:
            message = "'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            self._send(400, {"error": {"message": message}})
        elif what == "slow":
            self.server.over.wait(30)
            self.close_connection = True
        elif what == "nothing":
            self.close_connection = True
        elif what in ("cut", "cut-500"):
            self._send(200 if what == "cut" else 500, reply, cut=True)
        elif what == "drip":
            self._drip()
        elif what == "nochoices":
            self._send(200, {"id": "x", "choices": []})
        elif what == "null-json":
            self._send(200, None)
        elif what == "error-in-200":
            self._send(200, {"error": {"message": "the backend is gone"}})
        elif what in ("nonsense", "html"):
            self._send(200, b"{'choices': oops" if what == "nonsense" else b"<html>busy</html>")
        else:
            if what == "filtered":
                choice["finish_reason"] = "content_filter"
            elif what == "refused":
                choice["message"] |= {"content": None, "refusal": "I will not"}
            elif what in ("null", "empty"):
                choice["message"]["content"] = None if what == "null" else ""
            self._send(200, reply, close=what == "farewell")

    def _send(
        self, status: int, body: Any, retry_after: str = "", cut: bool = False, close: bool = False
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if close:
            self.send_header("Connection", "close")
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = cut or close

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.over.wait(0.02):
            self.wfile.write(b" ")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "faulty",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16},
    }


@contextmanager
def serving() -> Iterator[Faulty]:
    with Faulty() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()

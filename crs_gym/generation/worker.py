"""A process that makes shards for another one: `python -m crs_gym.generation.worker WORLD`.

It reads the settings, then numbers of shards, a line of JSON each, from its standard input; for
every number it writes a line of JSON with the length of what follows, and the shard's bytes. It
ends with its input, so that none is left behind when its master is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from crs_gym.cluster import WORKER_VARIABLES


class Worker:
    """The master's side of one worker process.

    Args:
        world: the world's file.
        settings: JSON, see `Settings`.

    Raises:
        EOFError: the process dies at once.
    """

    def __init__(self, world: Path, settings: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crs_gym.generation.worker", str(world)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **WORKER_VARIABLES},
        )
        try:
            self._send(settings)
        except EOFError:
            self.kill()
            raise

    def make(self, shard: int) -> bytes:
        """The bytes of a shard.

        Raises:
            EOFError: the process has died.
            ChildProcessError: the shard cannot be made; the message says why.
        """
        self._send(shard)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError(f"a worker died (exit status {self._process.wait()})")
        answer = json.loads(line)
        if "error" in answer:
            raise ChildProcessError(answer["error"])
        payload = self._process.stdout.read(answer["bytes"])
        if len(payload) != answer["bytes"]:
            raise EOFError(f"a worker died (exit status {self._process.wait()})")
        return payload

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            # what was still to be written has no reader any more
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            status = self._process.wait()
            raise EOFError(f"a worker died (exit status {status})") from error


def serve(world: str, lines: IO[bytes], out: IO[bytes]) -> None:
    """The worker's side."""
    from crs_gym.generation.schema import encode
    from crs_gym.generation.settings import Settings
    from crs_gym.generation.shards import Maker
    from crs_gym.world import World

    orders: SimpleQueue[Any] = SimpleQueue()

    def listen() -> None:
        for line in lines:
            orders.put(json.loads(line))
        # the master is gone, or done: nobody waits for what is being made
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    settings, maker = orders.get(), None
    while True:
        shard = orders.get()
        try:
            maker = maker or Maker(World.load(world), Settings.from_json(settings))
            payload = encode(maker.dialogues(shard))
            answer: dict[str, Any] = {"bytes": len(payload)}
        except (ValueError, ArithmeticError, OSError, RuntimeError) as error:
            payload, answer = b"", {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(answer).encode() + b"\n" + payload)
        out.flush()


if __name__ == "__main__":
    # a Ctrl-C is for the master, which ends its workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # whatever prints goes elsewhere: the standard output belongs to the shards
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # no buffer, for its lock would stand in the way of leaving
    with open(0, "rb", buffering=0, closefd=False) as orders:
        serve(sys.argv[1], orders, private)

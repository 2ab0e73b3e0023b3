"""The two ways to one model: `transformers serve` on this machine, and in this process."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from crs_gym.language import Failure, Reply
from crs_gym.language.endpoint import EndpointModel
from crs_gym.language.local import LocalModel
from tests.language.tiny import SENTENCES

for module in ("torch", "transformers", "openai", "fastapi", "uvicorn"):
    pytest.importorskip(module)

PATIENCE = 120.0


@pytest.fixture(scope="module")
def url(tiny, tmp_path_factory):
    """Base URL of a `transformers serve` that serves the tiny model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("hub")
    environment = {**os.environ, "HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": "1"}
    code = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", code, "serve", str(tiny), "--host", "127.0.0.1"]
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(20)


def _wait_until_ready(health, server, log):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"transformers serve did not start: {log.read_text()[-2000:]}")


def test_greedy_replies_are_those_of_the_local_model(tiny, url, asking):
    requests = [asking(words, max_tokens=n) for words in SENTENCES for n in (3, 20)]
    whole = LocalModel(tiny, device="cpu").generate(requests[-1:])[0].text
    requests.append(asking(SENTENCES[-1], max_tokens=20, stop=("never seen", whole[4:6])))
    local = LocalModel(tiny, device="cpu", batch_size=4).generate(requests)
    served = EndpointModel(str(tiny), url, concurrency=4, retries=0).generate(requests)
    assert all(isinstance(reply, Reply) for reply in served)
    assert [reply.text for reply in served] == [reply.text for reply in local]
    assert [r.prompt_tokens for r in served] == [r.prompt_tokens for r in local]
    assert served[-1].text == whole[:4]
    assert served[-1].finish == "stop"


def test_a_model_that_it_does_not_serve_is_told_at_once(url, asking):
    (failure,) = EndpointModel("another", url, retries=5).generate([asking()])
    assert isinstance(failure, Failure)
    assert "pinned" in failure.reason
    assert failure.reason.endswith("(attempts: 1)")


def test_a_path_that_it_does_not_have_is_told_with_the_cure(tiny, url, asking):
    wrong = url.removesuffix("/v1")
    (failure,) = EndpointModel(str(tiny), wrong).generate([asking()])
    assert isinstance(failure, Failure)
    assert failure.lasting
    assert "often in /v1" in failure.reason

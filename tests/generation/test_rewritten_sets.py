"""Data sets whose templates a language model rewrote."""

import dataclasses
import http.server
import json
import re
import shutil
import threading

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from crs_gym.cli import main
from crs_gym.generation.check import check
from crs_gym.generation.dataset import DataSet
from crs_gym.generation.run import generate
from crs_gym.generation.settings import Rewriting
from crs_gym.language import Failure, Reply
from crs_gym.world import DataError


class Echo:
    """Repeats the template, every third time with another word in front; counts its requests."""

    name = "echo"

    def __init__(self, fails_after=None):
        self.requests, self.fails_after = 0, fails_after

    def generate(self, requests):
        replies = []
        for request in requests:
            self.requests += 1
            if self.fails_after is not None and self.requests > self.fails_after:
                replies.append(Failure("the key was refused", lasting=True))
            elif request.seed % 3:
                replies.append(Reply(template(request)))
            else:
                replies.append(Reply(f"As an AI, {template(request)}"))
        return replies


def template(request):
    return stiff(request.messages[-1].content)


def stiff(prompt):
    return re.search(r"\n[a-z_]+: (.*)(?:\nNew:)?$", prompt)[1]


@pytest.fixture(scope="module")
def rewriting(settings):
    return dataclasses.replace(settings, rewriting=Rewriting("echo", retries=1, style="short"))


@pytest.fixture(scope="module")
def rewritten(small_world, rewriting, tmp_path_factory):
    """A data set whose rewriting nothing disturbed."""
    folder = tmp_path_factory.mktemp("rewritten") / "set"
    return generate(small_world, folder, rewriting, model=Echo(), workers=2, progress=False)


def test_behaviour_stays_and_words_say_the_same(data, rewritten):
    sources = set()
    for old, other in zip(data, rewritten, strict=True):
        assert [t.act for t in old.turns] == [t.act for t in other.turns]
        assert old.transcript() == other.transcript(templates=True)
        for turn in other.turns:
            sources |= {turn.recommender.source, turn.user.source}
    assert sources == {"model", "fallback"}
    total = rewritten.rates().total
    assert total.turns == 2 * sum(len(d.turns) for d in data)
    # two thirds at first try, of the rest two thirds at the second
    assert total.first / total.turns == pytest.approx(2 / 3, abs=0.12)
    assert total.fallback / total.turns == pytest.approx(1 / 9, abs=0.08)
    report = check(rewritten, sample=4, progress=False)
    assert not report.counts, report.problems
    assert "passed the checks at first try" in (rewritten.folder / "README.md").read_text()


def test_a_failure_that_lasts_stops_and_what_is_finished_stays(
    small_world, rewriting, rewritten, tmp_path
):
    model = Echo(fails_after=200)
    with pytest.raises(ConnectionError, match="echo cannot be asked: the key was refused"):
        generate(small_world, tmp_path / "a", rewriting, model=model, workers=1, progress=False)
    begun = DataSet.begun(tmp_path / "a")
    assert 0 < len(begun.missing()) < 3
    generate(small_world, begun.folder, rewriting, model=Echo(), workers=1, progress=False)
    for file in rewritten.folder.rglob("*"):
        if file.is_file():
            other = begun.folder / file.relative_to(rewritten.folder)
            assert other.read_bytes() == file.read_bytes(), file.name


def test_settings_and_model_belong_together(small_world, settings, rewriting, tmp_path):
    for chosen, model in ((settings, Echo()), (rewriting, None)):
        with pytest.raises(ValueError, match="the settings want"):
            generate(small_world, tmp_path / "set", chosen, model=model)
    other = dataclasses.replace(rewriting, rewriting=Rewriting("parrot"))
    with pytest.raises(ValueError, match="want parrot to rewrite, and echo was given"):
        generate(small_world, tmp_path / "set", other, model=Echo())


def test_lost_rates_are_told(rewritten, tmp_path):
    new = DataSet.open(shutil.copytree(rewritten.folder, tmp_path / "set"))
    new.rates_path(1).write_text("{")
    with pytest.raises(DataError, match="00001.json does not tell how rewriting went"):
        new.rates()


@pytest.mark.slow
def test_an_endpoint_with_faults_loses_no_dialogue(small_world, settings, tmp_path, capsys):
    pytest.importorskip("openai", reason="the extra `lm` is not installed")
    asked = []

    class Faulty(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            said = stiff(body["messages"][-1]["content"])
            answer = {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}
            payload = json.dumps(answer).encode()
            if len(asked) % 40 == 0:
                payload = payload[: len(payload) // 2]
            self.send_response(500 if len(asked) % 40 == 20 else 200)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    small_world.save(tmp_path / "small.world")
    try:
        main(
            [
                "generate", "-o", str(tmp_path / "set"), "--world", str(tmp_path / "small.world"),
                "--dialogues", "20", "--shard", "8", "--lanes", "4", "--effort", "8",
                "--draws", "32", "--queries", "either",
                "--user-model", '{"critique_rate": 0.6, "leave_question": 0.02}',
                "--workers", "1", "--model", "m", "--style", "short",
                "--endpoint", f"http://127.0.0.1:{server.server_port}/v1",
                "--cache", str(tmp_path / "replies"), "--concurrency", "16",
            ]
        )  # fmt: skip
    finally:
        server.shutdown()
    out = capsys.readouterr().out
    new = DataSet.open(tmp_path / "set")
    assert [d.number for d in new] == list(range(20))
    total = new.rates().total
    assert total.model + total.fallback == total.turns
    assert total.model > 0.9 * total.turns
    assert "retries" in out

import gc
import socket
import threading

import pytest

from crs_gym.language import Failure, Message, Reply, Request, Usage
from crs_gym.language.endpoint import EndpointModel
from crs_gym.language.pace import Backoff
from tests.language.faulty import serving

pytest.importorskip("openai")

DRAW = 0.25


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # loopback goes round any proxy


class Waits(list):
    """Remembers the waits and returns at once."""

    def __call__(self, seconds):
        self.append(seconds)


def model(server, **fields):
    fields = {"retries": 3, "timeout": 5.0, "sleep": Waits(), "draw": lambda: DRAW, **fields}
    return EndpointModel("faulty", server.url, **fields)


def say(*words, **fields):
    return [Request((Message("user", word),), **fields) for word in words]


def ask(endpoint, words):
    (reply,) = endpoint.generate(say(words))
    return reply


def test_what_is_asked_and_what_comes_back(server):
    request = Request(
        (Message("system", "be brief"), Message("user", "ok, or not")),
        max_tokens=7,
        temperature=0.5,
        stop=(", or", "never"),
        seed=9,
    )
    assert model(server).generate([request]) == [Reply("ok", "stop", 11, 5)]
    assert server.asked == [
        {
            "model": "faulty",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "ok, or not"},
            ],
            "max_tokens": 7,
            "temperature": 0.5,
            "seed": 9,
            "stop": [", or", "never"],
        }
    ]


@pytest.mark.filterwarnings("error")
def test_connections_end_with_the_model(server):
    endpoint = model(server)
    assert ask(endpoint, "ok") == Reply("ok", "stop", 11, 5)
    del endpoint
    gc.collect()


HEALING = ["500", "503", "408", "429", "cut", "cut-500", "nothing", "nonsense", "html"]
HEALING += ["nochoices", "null-json", "null", "error-in-200"]


@pytest.mark.parametrize("fault", HEALING)
def test_faults_that_may_heal_are_retried(server, fault):
    waits, usage = Waits(), Usage()
    endpoint = model(server, sleep=waits, usage=usage)
    words = f"{fault} {fault} ok"
    assert ask(endpoint, words) == Reply(words, "stop", 11, 5)
    assert waits == [1 * (1 + DRAW) / 2, 2 * (1 + DRAW) / 2]
    assert usage.retries == 2

    failure = ask(endpoint, fault)
    assert isinstance(failure, Failure)
    assert failure.reason.endswith("(attempts: 4)")
    assert not failure.lasting
    assert server.attempts[fault] == 4
    assert waits[2:] == [first * (1 + DRAW) / 2 for first in (1, 2, 4)]


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_what_takes_longer_than_the_timeout_is_retried(server, fault):
    patient = model(server, timeout=0.3, retries=20)  # a busy machine may be slow by itself
    assert ask(patient, f"{fault} ok") == Reply(f"{fault} ok", "stop", 11, 5)
    failure = ask(model(server, timeout=0.3, retries=1), fault)
    assert isinstance(failure, Failure)
    assert "reply within 0.3 s" in failure.reason
    assert server.attempts[fault] == 2


def test_every_request_ends_in_its_place(server):
    """All faults at once, several in flight: each ends as a reply or a failure, none is lost."""
    good = [f"{fault} ok {n}" for n, fault in enumerate(("ok", *HEALING, "429/3", "empty"))]
    bad = [*HEALING, "400", "403", "422", "filtered", "refused"]
    endpoint = model(server, concurrency=5, retries=1)
    requests = say(*(word for pair in zip(good, bad * 2, strict=False) for word in pair))
    replies = endpoint.generate(requests)
    for request, reply in zip(requests, replies, strict=True):
        words = request.messages[-1].content
        if " ok" in words:
            assert reply == Reply("" if words.startswith("empty") else words, "stop", 11, 5)
        else:
            assert isinstance(reply, Failure)
    assert server.most <= 5


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("400", "told to 400"),
        ("403", "told to 403"),
        ("422", "told to 422"),
        ("429/601", "asks to wait 601 s"),
        ("filtered", "content_filter"),
        ("refused", "I will not"),
    ],
)
def test_what_cannot_heal_is_not_retried(server, fault, said):
    waits = Waits()
    endpoint = model(server, sleep=waits)
    failure, reply = endpoint.generate(say(fault, "ok"))
    assert said in failure.reason
    assert not failure.lasting
    assert reply == Reply("ok", "stop", 11, 5)
    assert server.attempts[fault] == 1
    assert waits == []


@pytest.mark.parametrize(
    ("fault", "cure"),
    [("401", "OPENAI_API_KEY"), ("404", "--model"), ("402", "credit"), ("quota", "credit")],
)
def test_what_ails_every_request_is_told_at_once(server, fault, cure):
    waits = Waits()
    endpoint = model(server, sleep=waits, concurrency=1, requests_per_minute=1.0)
    replies = endpoint.generate(say(fault, *(f"ok {n}" for n in range(50))))
    assert len(replies) == 51
    assert set(replies) == {replies[0]}
    assert isinstance(replies[0], Failure)
    assert cure in replies[0].reason
    assert replies[0].lasting
    assert (len(server.asked), waits) == (1, [])
    assert isinstance(ask(endpoint, "ok"), Reply)  # the next call looks again


def test_nothing_answers_at_the_first_request():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        waits = Waits()
        endpoint = EndpointModel("m", f"http://127.0.0.1:{unused.getsockname()[1]}/v1", sleep=waits)
        replies = endpoint.generate(say(*"abcdefgh"))
    assert len(replies) == 8
    for reply in replies:
        assert isinstance(reply, Failure)
        assert reply.lasting
        assert "start the server" in reply.reason
    assert waits == []


def test_a_server_that_goes_away_is_waited_for():
    waits = Waits()
    with serving() as server:
        endpoint = model(server, sleep=waits)
        assert isinstance(ask(endpoint, "farewell"), Reply)
    failure = ask(endpoint, "ok")
    assert isinstance(failure, Failure)
    assert not failure.lasting
    assert failure.reason.endswith("(attempts: 4)")
    assert len(waits) == 3


def test_retry_after_is_the_least_wait(server):
    waits = Waits()
    ask(model(server, sleep=waits), "429/7 503/0.1 429/nonsense ok")
    assert waits == [7.0, 2 * (1 + DRAW) / 2, 4 * (1 + DRAW) / 2]


def test_backoff_is_the_one_that_was_given(server):
    waits, draws = Waits(), iter([0.0, 0.5, 0.75, 0.25])
    endpoint = model(
        server, sleep=waits, draw=lambda: next(draws), retries=4, backoff=Backoff(0.5, 3.0)
    )
    ask(endpoint, "500")
    assert waits == [0.25, 0.75, 1.75, 1.875]


def test_the_rate_is_kept_by_retries_too(server):
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    endpoint = model(
        server,
        clock=clock,
        sleep=clock.sleep,
        requests_per_minute=6.0,
        concurrency=1,
        timeout=1e9,
        backoff=Backoff(0.0),
    )
    endpoint.generate(say("ok 1", "500 ok", "ok 2"))
    assert sum(server.attempts.values()) == 4
    assert clock.now == 130.0


def test_so_many_are_in_flight_and_no_more(server):
    server.hold = threading.Barrier(3)  # a server that answers only three at a time
    replies = model(server, concurrency=3, retries=0).generate(say(*(f"ok {n}" for n in range(9))))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert server.most == 3


def test_replies_come_as_they_are_done(server):
    """One that hangs keeps no other; closing the stream does not wait for it."""
    endpoint = model(server, concurrency=2, timeout=30.0)
    stream = endpoint.stream(say("slow", *(f"ok {n}" for n in range(5))))
    assert sorted(at for at, _ in (next(stream) for _ in range(5))) == [1, 2, 3, 4, 5]
    stream.close()


def test_nobody_goes_on_asking_for_a_stream_that_was_closed(server):
    endpoint = model(server, sleep=None, backoff=Backoff(1e6, 1e6), concurrency=2)
    before = set(threading.enumerate())
    stream = endpoint.stream(say("500", "ok"))
    assert next(stream) == (1, Reply("ok", "stop", 11, 5))
    stream.close()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("crs-gym-endpoint"):
            thread.join(30)
            assert not thread.is_alive()
    assert server.attempts["500"] <= 1


def test_newer_models_call_the_length_otherwise(server):
    endpoint = model(server, concurrency=4)
    replies = endpoint.generate(say(*(f"newer ok-{n}" for n in range(8)), max_tokens=33))
    assert all(isinstance(reply, Reply) for reply in replies)
    told = [body for body in server.asked if "max_completion_tokens" in body]
    assert len(told) == 8
    assert {body["max_completion_tokens"] for body in told} == {33}
    assert not any("max_tokens" in body for body in told)


def test_words_that_cannot_be_sent_fail_alone(server):
    failure, reply = model(server).generate(say("ok \ud800", "ok"))
    assert isinstance(failure, Failure)
    assert isinstance(reply, Reply)


def test_an_unforeseen_error_fails_alone(server):
    failure, reply = model(server, draw=lambda: 1 / 0).generate(say("500", "ok"))
    assert isinstance(failure, Failure)
    assert "ZeroDivisionError" in failure.reason
    assert isinstance(reply, Reply)


def test_keys(server, monkeypatch):
    ask(model(server), "ok")
    with pytest.raises(ValueError, match="environment variable OPENAI_API_KEY"):
        EndpointModel("m", "https://example.org/v1")
    monkeypatch.setenv("MY_KEY", "s3cret\n")
    ask(model(server, api_key_env="MY_KEY"), "ok")
    assert server.keys == {"Bearer no-key", "Bearer s3cret"}
    assert EndpointModel("m", "https://example.org/v1", api_key_env="MY_KEY").name == (
        "m@example.org/v1"
    )


def test_a_key_is_never_told(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "told")
    failure = ask(model(server, api_key_env="MY_KEY"), "400")
    assert "*** to 400" in failure.reason


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"endpoint": "127.0.0.1:8000"}, "not a URL"),
        ({"endpoint": "http://127.0.0.1:99999/v1"}, "not a URL"),
        ({"endpoint": "ftp://127.0.0.1/v1"}, "not a URL"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0.0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"requests_per_minute": 0.0}, "requests per minute"),
    ],
)
def test_errors_of_the_arguments(fields, error):
    with pytest.raises(ValueError, match=error):
        EndpointModel("m", **{"endpoint": "http://localhost/v1", **fields})


def test_a_name_has_no_password_in_it():
    endpoint = EndpointModel("m", "http://user:secret@localhost:80/v1/")
    assert endpoint.name == "m@localhost:80/v1"

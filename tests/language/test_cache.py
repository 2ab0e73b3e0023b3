import errno
import hashlib
import json
import multiprocessing
import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crs_gym.language import Failure, Message, Reply, Request
from crs_gym.language.cache import CachedModel, ReplyCache, key


class Counting:
    """Answers with the words it is asked and how often it was asked before; "bad" fails."""

    name = "counting"

    def __init__(self):
        self.asked = []

    def generate(self, requests):
        replies = []
        for request in requests:
            words = request.messages[-1].content
            if words == "killed":
                raise KeyboardInterrupt
            replies.append(
                Failure("bad") if words == "bad" else Reply(f"{words} {len(self.asked)}", "stop", 3)
            )
            self.asked.append(words)
        return replies


def say(*words):
    return [Request((Message("user", word),)) for word in words]


def files(folder):
    return sorted(folder.glob("*/*.json"))


def test_a_second_run_replays_the_first_without_asking(tmp_path):
    first, again = Counting(), Counting()
    requests = say("a", "b", "a", "ü\ud800\n")
    replies = CachedModel(first, tmp_path).generate(requests)
    assert [reply.text for reply in replies] == ["a 0", "b 1", "a 0", "ü\ud800\n 2"]
    replay = CachedModel(again, tmp_path)
    assert replay.generate(requests[::-1]) == replies[::-1]
    assert again.asked == []
    assert (replay.usage.cache_hits, replay.usage.requests) == (4, 4)
    assert len(files(tmp_path)) == 3
    assert not list(tmp_path.glob("*/*.tmp"))


def test_models_of_other_names_do_not_share(tmp_path):
    first, other = Counting(), Counting()
    other.name = "other"
    CachedModel(first, tmp_path).generate(say("a"))
    CachedModel(other, tmp_path).generate(say("a"))
    assert other.asked == ["a"]


def test_failures_are_asked_again(tmp_path):
    model = Counting()
    cached = CachedModel(model, tmp_path)
    for _ in range(2):
        assert cached.generate(say("bad", "good"))[0] == Failure("bad")
    assert model.asked == ["bad", "good", "bad"]


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    first, again = Counting(), Counting()
    words = ["a", "b", "c", "d", "killed", "e"]
    with pytest.raises(KeyboardInterrupt):
        CachedModel(first, tmp_path, batch_size=2).generate(say(*words))
    assert len(files(tmp_path)) == 4
    words[4] = "f"
    replies = CachedModel(again, tmp_path, batch_size=2).generate(say(*words))
    assert again.asked == ["f", "e"]
    assert [reply.text for reply in replies] == ["a 0", "b 1", "c 2", "d 3", "f 0", "e 1"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: "",
        lambda entry: entry[: len(entry) // 2],
        lambda entry: "[" * 100_000,
        lambda entry: "[]",
        lambda entry: "null",
        lambda entry: json.dumps({**json.loads(entry), "model": "another"}),
        lambda entry: json.dumps({**json.loads(entry), "reply": {"text": "x"}}),
        lambda entry: entry.replace('"a 0"', "17"),
        lambda entry: entry.replace('"stop", "prompt', '"never", "prompt'),
        lambda entry: entry.replace('"prompt_tokens": 3', '"prompt_tokens": "3"'),
    ],
)
def test_a_damaged_entry_is_asked_again_and_mended(tmp_path, damage):
    model = Counting()
    cached = CachedModel(model, tmp_path)
    cached.generate(say("a"))
    (path,) = files(tmp_path)
    whole = path.read_text()
    path.write_text(damage(whole))
    assert path.read_text() != whole
    assert cached.generate(say("a")) == [Reply("a 1", "stop", 3)]
    assert cached.generate(say("a")) == [Reply("a 1", "stop", 3)]
    assert model.asked == ["a", "a"]


def test_what_was_written_first_stands(tmp_path):
    """So that two runs side by side tell the same replies, and a replay tells them again."""
    cache, (request,) = ReplyCache(tmp_path), say("a")
    assert cache.put("m", request, Reply("mine")) == Reply("mine")
    assert cache.put("m", request, Reply("late")) == Reply("mine")
    assert cache.get("m", request) == Reply("mine")


def test_without_hard_links_a_rename_does(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.EOPNOTSUPP, "no hard links")

    monkeypatch.setattr(os, "link", none)
    cache, (request,) = ReplyCache(tmp_path), say("a")
    cache.put("m", request, Reply("mine"))
    assert cache.get("m", request) == Reply("mine")
    assert not list(tmp_path.glob("*/*.tmp"))


def _write(folder, writer, start):
    cache = ReplyCache(folder)
    start.wait()
    kept = []
    for request in say(*(f"{n}" for n in range(200))):
        kept.append(cache.put("m", request, Reply(f"{writer} " * 500)).text)
        read = cache.get("m", request)
        assert read is not None
        assert read.text == kept[-1]
    (folder / f"{writer}.kept").write_text(json.dumps(kept))


def test_processes_that_write_at_once_agree(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    writers = [context.Process(target=_write, args=(tmp_path, who, start)) for who in "AB"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    kept = [json.loads((tmp_path / f"{who}.kept").read_text()) for who in "AB"]
    assert kept[0] == kept[1]
    assert set(kept[0]) <= {"A " * 500, "B " * 500}
    assert not list(tmp_path.glob("*/*.tmp"))


def test_a_write_that_fails_says_so_and_keeps_the_rest(tmp_path):
    """The real error of the system: a limit on the size of files, as of a full disk."""
    cached = CachedModel(Counting(), tmp_path)
    cached.generate(say("a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="free some space there or name another folder"):
            cached.generate(say("a", "b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*/*.tmp"))
    assert cached.generate(say("a"))[0].text == "a 0"
    assert len(files(tmp_path)) == 1


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="name another"):
        ReplyCache(tmp_path / "file" / "cache")
    with pytest.raises(OSError, match="name another"):
        ReplyCache(tmp_path / "file")


def test_a_reply_that_may_not_be_read_is_no_damage(tmp_path):
    cached = CachedModel(Counting(), tmp_path)
    cached.generate(say("a"))
    (path,) = files(tmp_path)
    path.unlink()
    path.mkdir()  # unreadable for anybody, the superuser included
    with pytest.raises(OSError, match="cannot read the cached reply"):
        cached.generate(say("a"))


TEXTS = st.text(st.characters(), max_size=3) | st.sampled_from(["a", '"', "\\", "\ud800", "é"])
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS),
    min_size=1,
    max_size=3,
)
REQUESTS = st.builds(
    Request,
    MESSAGES.map(tuple),
    st.integers(1, 3) | st.just(True) | st.just(2.0),
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, 0.1, 0.1 + 1e-17, 0.30000000000000004, 0.3]),
    st.lists(TEXTS.filter(bool), max_size=2).map(tuple),
    st.integers(-1, 2) | st.just(2**70),
)
NAMED = st.tuples(st.sampled_from(["m", "m2", '"m"']), REQUESTS)


@given(NAMED, NAMED)
def test_equal_requests_and_only_those_share_a_key(one, other):
    assert (key(*one) == key(*other)) == (one == other)


@given(REQUESTS, st.data())
def test_every_field_counts(request, data):
    """Pairs that differ in one field: two requests drawn apart hardly ever agree in the others."""
    changed = data.draw(REQUESTS)
    name = data.draw(st.sampled_from(["messages", "max_tokens", "temperature", "stop", "seed"]))
    other = Request(**{**vars(request), name: getattr(changed, name)})
    assert (key("m", request) == key("m", other)) == (request == other)


@pytest.mark.parametrize(
    ("name", "values"),
    [("temperature", (0, 0.0, -0.0, False)), ("max_tokens", (1, 1.0, True)), ("seed", (0, -0.0))],
)
def test_numbers_that_are_equal_share_a_key(name, values):
    requests = [Request((Message("user", "x"),), **{name: value}) for value in values]
    assert len(set(requests)) == 1
    assert len({key("m", request) for request in requests}) == 1


def test_keys_stay_the_same_over_releases():
    """A key that changes throws every cache away."""
    request = Request((Message("user", "hé"),), 5, 0.5, ("x",), 3)
    canonical = (
        '["m",{"max_tokens":5,"messages":[{"content":"h\\u00e9","role":"user"}],"seed":3,'
        '"stop":["x"],"temperature":0.5}]'
    )
    assert key("m", request) == hashlib.sha256(canonical.encode()).hexdigest()

import copy
import inspect
import io
import pickle
from dataclasses import dataclass, fields

import pytest
import tyro
from rich.console import Console

from crs_gym.commands.arguments import Model, ModelArguments
from crs_gym.language import Failure, Prices, Reply, Usage, connect
from tests.language.faulty import serving


@dataclass(frozen=True)
class Command:
    language: Model
    episodes: int = 3


def test_the_command_line_has_the_defaults_of_the_function():
    parameters = dict(inspect.signature(connect).parameters)
    assert parameters.pop("model").default is inspect.Parameter.empty
    assert {name: p.default for name, p in parameters.items()} == {
        field.name: field.default for field in fields(ModelArguments) if field.name != "model"
    }


def test_arguments_stand_in_a_command_without_a_prefix():
    args = "--model m --endpoint http://localhost:1/v1 --prices 0.15 0.6 --cache None --episodes 4"
    command = tyro.cli(Command, args=[*args.split(), "--requests-per-minute", "30"])
    assert command == Command(
        ModelArguments(
            model="m",
            endpoint="http://localhost:1/v1",
            prices=(0.15, 0.6),
            cache=None,
            requests_per_minute=30.0,
        ),
        episodes=4,
    )
    assert tyro.cli(Command, args=[]) == Command(ModelArguments())


def test_a_command_without_a_model_says_how_to_name_one():
    with pytest.raises(ValueError, match="--model"):
        ModelArguments().connect()


def test_an_endpoint_applies_its_own_template(tmp_path):
    with pytest.raises(ValueError, match="own chat template"):
        connect("m", endpoint="http://localhost/v1", chat_template=tmp_path / "x.jinja")


def test_an_endpoint_is_cached_and_counted(tmp_path, asking, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving() as server:
        arguments = ModelArguments(
            model="faulty",
            endpoint=server.url,
            name="faulty",
            cache=tmp_path,
            retries=1,
            prices=(2.0, 30.0),
        )
        requests = [asking(words) for words in ("ok", "400", "ok", "429/0 ok", "empty")]
        model = arguments.connect()
        replies = model.generate(requests)
        assert [type(reply) for reply in replies] == [Reply, Failure, Reply, Reply, Reply]
        usage = model.usage
        assert (usage.requests, usage.asked, usage.cache_hits) == (5, 4, 1)
        assert (usage.retries, usage.failures) == (1, 1)
        assert (usage.prompt_tokens, usage.completion_tokens) == (33, 15)
        assert usage.cost == pytest.approx((33 * 2 + 15 * 30) / 1e6)
        assert usage.seconds > 0
        sent = len(server.asked)

        again = arguments.connect()
        assert again.generate([requests[at] for at in (0, 2, 3, 4)]) == [
            replies[at] for at in (0, 2, 3, 4)
        ]
        assert len(server.asked) == sent
        assert (again.usage.asked, again.usage.cache_hits, again.usage.cost) == (0, 4, 0.0)
        assert again.name == "faulty"

        uncached = connect("faulty", endpoint=server.url, cache=None)
        assert uncached.generate(requests[:1]) == replies[:1]
        assert len(server.asked) == sent + 1
        assert uncached.usage.requests == 1


def test_a_local_model_is_cached_and_counted(tiny, tmp_path, asking):
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages[0].content }}")
    arguments = ModelArguments(
        model=str(tiny), cache=tmp_path / "cache", device="cpu", chat_template=template
    )
    model = arguments.connect()
    (reply,) = model.generate([asking("aaaa", max_tokens=6)])
    assert isinstance(reply, Reply)
    assert reply.prompt_tokens == 4
    assert model.usage.completion_tokens == reply.completion_tokens
    assert model.usage.cost is None
    assert len(list((tmp_path / "cache").glob("*/*.json"))) == 1


def test_an_endpoint_is_copied_without_its_connection_and_key(tmp_path, asking, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("MY_KEY", "s3cret")
    with serving() as server:
        model = connect(
            "faulty",
            endpoint=server.url,
            cache=tmp_path,
            api_key_env="MY_KEY",
            requests_per_minute=1e6,
        )
        replies = model.generate([asking("ok")])
        assert b"s3cret" not in pickle.dumps(model)
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert (again.name, again.usage) == (model.name, model.usage)
            assert again.generate([asking("ok")]) == replies  # from the cache
            asked = again.usage.asked
            again.generate([asking(f"ok {id(again)}")])
            assert (again.usage.asked, model.usage.asked) == (asked + 1, 1)
        assert server.keys == {"Bearer s3cret"}
        kept = pickle.dumps(model)
        monkeypatch.delenv("MY_KEY")
        assert pickle.loads(kept).usage.asked == 1  # this machine's endpoints need none


def test_a_local_model_is_copied_with_its_weights_only_where_it_must(tiny, asking):
    model = connect(str(tiny), cache=None, device="cpu")
    asked = [asking("aaaa", max_tokens=6, temperature=1.0, seed=seed) for seed in range(2)]
    replies = model.generate(asked)
    shared, other = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    assert shared._model is model._model
    assert other._model is not model._model
    for again in (shared, other):
        assert again.generate(asked) == replies
        assert (again.usage.asked, model.usage.asked) == (4, 2)


def test_usage_in_a_line_and_in_a_table():
    usage = Usage(prices=Prices(1.0, 2.0))
    usage.add(asked=1234, failures=2, prompt_tokens=1_000_000, completion_tokens=1, seconds=2.34)
    assert str(usage) == (
        "requests 1,234, asked 1,234, cache hits 0, retries 0, failures 2, "
        "prompt tokens 1,000,000, completion tokens 1, seconds 2.3, cost 1.0000"
    )
    console = Console(width=60, file=io.StringIO())
    console.print(usage)
    table = console.file.getvalue()
    for part in str(usage).split(", "):
        name, count = part.rsplit(" ", 1)
        assert any(name in line and count in line for line in table.splitlines())
    assert "cost" not in str(Usage())

"""The served environment: what OpenEnv asks for, and sessions that do not meet."""

import json
import threading
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest

pytest.importorskip("openenv.core", reason="needs the extra openenv")

import requests
import uvicorn
from openenv.cli._validation import validate_running_environment
from openenv.validation import Level, Verdict, run_validation
from pydantic import ValidationError

import crs_gym.envs.openenv
from crs_gym.acts import ItemQuery
from crs_gym.cli import main
from crs_gym.dialogue import NotUnderstood, format_turn, say
from crs_gym.envs.dialogue import DialogueEnv
from crs_gym.envs.openenv import RecommenderAction, RecommenderClient
from crs_gym.envs.openenv.server.serving import make_app
from crs_gym.envs.text import IcerUser

SESSIONS = 3
USER = {"null_z": 1.0}


@pytest.fixture(scope="module")
def url(films):
    app = make_app(films, sessions=SESSIONS, user_model=USER)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())
    server.should_exit = True
    thread.join()


@pytest.fixture
def connect(url):
    """Makes clients that are closed in the end."""
    clients = []

    def make():
        clients.append(RecommenderClient(url).sync())
        return clients[-1].connect()

    yield make
    for client in clients:
        client.close()


def acts(films, seed):
    """Actions of every kind, each with the text that means the same."""
    titles = [films.label((7 * seed + n) % films.n_items) for n in range(14)]
    for n in range(0, 14, 2):
        two = titles[n : n + 2]
        kind = ("ask_item", "recommend", "ask_attribute", "say")[(n // 2 + seed) % 4]
        if kind == "ask_item":
            yield (
                RecommenderAction(kind=kind, titles=two),
                f"Which do you prefer: {' or '.join(two)}?",
            )
        elif kind == "recommend":
            yield RecommenderAction(kind=kind, titles=two), f"How about {' or '.join(two)}?"
        elif kind == "ask_attribute":
            yield (
                RecommenderAction(kind=kind, titles=two[:1], attribute="funny", more=False),
                f"Compared with {two[0]}, would you like something less funny?",
            )
        else:
            yield RecommenderAction(kind=kind, text=f"You might like {two[0]}."), two[0]


def test_the_manifest_passes_the_validator():
    folder = Path(crs_gym.envs.openenv.__file__).parent
    report = run_validation(folder, max_level=Level.STATIC, skip_build=True)
    assert report.verdict is Verdict.PASS


def test_the_server_passes_the_validator(url):
    report = validate_running_environment(url)
    assert report["passed"], report
    schema = requests.get(f"{url}/schema", timeout=10).json()
    assert schema["action"]["properties"]["kind"]["enum"] == [
        "recommend",
        "ask_item",
        "ask_attribute",
        "say",
    ]
    assert "words" in schema["observation"]["properties"]


@pytest.mark.parametrize("seed", range(4))
def test_the_episode_of_a_seed_is_that_of_the_environment(films, connect, seed):
    client, env = connect(), DialogueEnv(films, user_model=USER)
    greeting, info = env.reset(seed=seed)
    first = client.reset(seed=seed)
    assert (first.observation.words, first.reward, first.done) == (greeting, None, False)
    assert first.observation.metadata == info
    for turn, (action, text) in enumerate(acts(films, seed), start=1):
        words, reward, terminated, truncated, info = env.step(text)
        step = client.step(action)
        assert info["understood"], text
        assert (step.observation.words, step.reward) == (words, reward)
        assert step.done == (terminated or truncated)
        assert step.observation.metadata == info
        assert step.observation.turn == client.state().step_count == turn
        if step.done:
            break
    with pytest.raises(RuntimeError, match="the conversation is over: call reset"):
        client.step(action)


def test_sessions_that_take_turns_do_not_disturb_each_other(films, connect):
    def play(clients, seeds):
        heard = [[c.reset(seed=s).observation.words] for c, s in zip(clients, seeds, strict=True)]
        scripts = [list(acts(films, s)) for s in seeds]
        over = [False] * len(seeds)
        for turn in range(7):
            for n, client in enumerate(clients):
                if not over[n]:
                    step = client.step(scripts[n][turn][0])
                    over[n] = step.done
                    heard[n].append((step.observation.words, step.reward, step.done))
        return heard

    first, second = connect(), connect()
    together = play([first, second], [1, 2])
    assert together == [play([first], [1])[0], play([second], [2])[0]]
    assert together[0] != together[1]


def test_as_many_sessions_as_asked_for(connect):
    clients = [connect() for _ in range(SESSIONS)]
    words = {
        client.reset(seed=n).observation.metadata["user_id"] for n, client in enumerate(clients)
    }
    assert len(words) == SESSIONS
    with pytest.raises(RuntimeError, match="CAPACITY_REACHED"):
        connect().reset()


def test_without_a_seed_the_next_episode(films, connect):
    client, env = connect(), DialogueEnv(films, user_model=USER)
    for seed in (4, None, None):
        _, info = env.reset(seed=seed)
        step = client.reset() if seed is None else client.reset(seed=seed, episode_id="mine")
        assert step.observation.metadata == info
        assert (client.state().episode_id == "mine") == (seed is not None)


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ({"kind": "dance"}, "'recommend', 'ask_item', 'ask_attribute' or 'say'"),
        ({"kind": "say"}, "text is for say, which needs it"),
        ({"kind": "say", "text": "Up?", "titles": ["Up"]}, "say takes no titles"),
        ({"kind": "recommend", "titles": ["Up"], "text": "Up?"}, "text is for say"),
        ({"kind": "recommend", "titles": "Up"}, "valid list"),
        ({"kind": "recommend", "titles": ["Up"], "films": []}, "not permitted"),
        ({"kind": "ask_item"}, "ask_item needs titles"),
        ({"kind": "ask_attribute", "titles": ["Up"]}, "attribute is for ask_attribute"),
        ({"kind": "ask_attribute", "attribute": "funny"}, "takes one title"),
        ({"kind": "ask_item", "titles": ["Up"], "attribute": "funny"}, "attribute is for"),
        ({}, "Field required"),
    ],
)
def test_a_bad_action_says_what_is_wrong(url, action, reason):
    with pytest.raises(ValidationError, match=reason):
        RecommenderAction(**action)
    answer = requests.post(f"{url}/step", json={"action": action}, timeout=10)
    assert answer.status_code == 422
    assert reason in str([error["msg"] for error in answer.json()["detail"]])


def test_a_session_survives_a_bad_action(connect):
    client = connect()
    with pytest.raises(RuntimeError, match="call reset before step"):
        client.step(RecommenderAction(kind="say", text="Hello."))
    client.reset(seed=0)
    with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
        client.step(RecommenderAction.model_construct(kind="say", text=""))
    assert client.state().step_count == 0
    step = client.step(RecommenderAction(kind="recommend", titles=["No Such Film (1900)"]))
    assert not step.observation.understood
    assert "no film 'No Such Film (1900)'" in step.observation.reason
    assert step.observation.metadata["failed"] == "recommender"


def test_steps_by_plain_http_are_refused_with_a_reason(url):
    action = {"kind": "say", "text": "How about Up?"}
    answer = requests.post(f"{url}/step", json={"action": action}, timeout=10)
    assert answer.status_code == 409
    assert "call reset before step; conversations are held on /ws" in answer.json()["detail"]


def test_a_structured_turn_is_free_text(films, connect):
    client = connect()
    client.reset(seed=0)
    query = ItemQuery((1, 2))
    step = client.step(
        RecommenderAction(kind="say", text=format_turn(query, say(query, films), films))
    )
    assert step.observation.understood
    assert films.label(1) in step.observation.words or films.label(2) in step.observation.words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sessions": 0}, "sessions must be at least 1, not 0"),
        ({"world": "atlantis"}, "unknown world 'atlantis'"),
        ({"user": "nobody"}, "unknown user 'nobody'"),
        ({"max_turns": 0}, "max_turns must be at least 1"),
    ],
)
def test_bad_arguments_are_told_before_it_serves(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_app(**arguments)


@pytest.mark.parametrize(
    ("user", "in_turn"), [("lm:x@2", True), ("lm:x", True), ("lm:x@http://127.0.0.1:9/v1", False)]
)
def test_only_an_endpoint_is_asked_by_all_sessions_at_once(films, monkeypatch, user, in_turn):
    from crs_gym.envs.openenv.server import serving

    made = []
    monkeypatch.setattr(serving, "make_opponent", lambda name: IcerUser())
    monkeypatch.setattr(
        serving, "RecommenderEnvironment", lambda **arguments: made.append(arguments["user"])
    )
    monkeypatch.setattr(serving, "create_app", lambda *_, **__: MagicMock())
    make_app(films, user)
    assert isinstance(made[0], serving._InTurn) == in_turn


def test_sessions_share_one_user_that_is_asked_by_one_at_a_time(films):
    from crs_gym.envs.openenv.server.serving import _InTurn

    inside, most = [], []

    class Slow:
        kind = "rule"

        def greet(self, persons):
            return ["Hello."] * len(persons)

        def respond(self, situations):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()
            return [NotUnderstood("")] * len(situations)

    shared = _InTurn(Slow())
    threads = [threading.Thread(target=shared.respond, args=([],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_the_command_serves_what_it_is_told_to(monkeypatch, capsys):
    served = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **where: served.update(where, app=app))
    main(["serve", "--port", "0", "--sessions", "2", "--env-kwargs", '{"max_turns": 1}'])
    assert (served["host"], served["port"]) == ("127.0.0.1", 0)
    assert "/reset" in served["app"].openapi()["paths"]
    with pytest.raises(SystemExit):
        main(["serve", "--env-kwargs", '{"mood": 1}'])
    assert "crs-gym: --env-kwargs: " in capsys.readouterr().err
    for name in ("world", "user", "sessions"):
        with pytest.raises(SystemExit):
            main(["serve", "--env-kwargs", json.dumps({name: "films"})])
        told = f"crs-gym: --env-kwargs: {name} has an option of its own, --{name}"
        assert told in capsys.readouterr().err

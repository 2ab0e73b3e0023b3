"""Users that a language model plays, alone and in `crs/Dialogue-v0`."""

import copy
import pickle

import gymnasium
import jax
import numpy as np
import pytest

import crs_gym  # noqa: F401
from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    Recommendation,
    Reject,
)
from crs_gym.dialogue import CONFUSED, VARIANTS, NotUnderstood, format_turn, say, say_response
from crs_gym.envs.text import Conversations, make_opponent
from crs_gym.language import Failure, Reply
from crs_gym.language.persona import persona_of
from crs_gym.language.users import Counts, ModelUser, hear_user, user_messages
from crs_gym.simulation import Simulator
from crs_gym.world import load_world
from tests.language.people import Scripted, in_turn

pytestmark = pytest.mark.filterwarnings(
    # what other tests of the process leave behind is collected whenever it is
    "error",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

WORLD = load_world("films")
FIRST, SECOND, OTHER = 3, 4, 5
OFFER, ASK = Recommendation((FIRST, SECOND)), ItemQuery((FIRST, SECOND))
QUERY = AttributeQuery(FIRST, 3, 1)
NO = "<action><reject></action><response>No, not that one.</response>"


def _env(user, **settings):
    return gymnasium.make("crs/Dialogue-v0", user=user, **settings)


def _own(response, words):
    return format_turn(response, words, WORLD)


TAKE = _own(Accept(FIRST), f"I'll take {WORLD.label(FIRST)}.")


# what is heard


@pytest.mark.parametrize(
    ("act", "response"),
    [
        (OFFER, Accept(SECOND)),
        (OFFER, Reject()),
        (OFFER, Critique(FIRST, 3, -1)),
        (ASK, Choice(FIRST)),
        (QUERY, Answer(3, -1)),
        (QUERY, Leave()),
    ],
)
def test_structured_turns_are_taken_at_their_word(act, response):
    heard = hear_user(_own(response, "So  be\nit."), act, WORLD)
    assert heard == ((response, "So be it."), "")
    wordless = hear_user(_own(response, ""), act, WORLD).turn
    assert wordless.act == response
    assert hear_user(wordless.words, act, WORLD).turn.act == response


@pytest.mark.parametrize(
    ("text", "act", "response", "words"),
    [
        ("No, not that one.", OFFER, Reject(), "No, not that one."),
        (f"User: I'd choose {WORLD.label(FIRST)}.", ASK, Choice(FIRST), None),
        ("Yes, I want something funnier.", QUERY, Answer(3, 1), None),
    ],
)
def test_free_text_is_understood_where_it_is_clear(text, act, response, words):
    heard = hear_user(text, act, WORLD)
    assert heard == ((response, words or text.removeprefix("User: ")), "")


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (f"{NO}\nRecommender: Then {WORLD.label(OTHER)}?", "goes on after its turn"),
        (f"No, not that one.\nAssistant: {WORLD.label(OTHER)}?", "goes on as Assistant"),
        (f"{NO}{TAKE}", "goes on after its turn"),
        ("No, not that one.<|im_end|>\n<|im_start|>user", "holds the mark <|im_end|>"),
        (f"User: {NO} " + "and on " * 1000, "goes on after its turn"),
    ],
)
def test_what_speaks_for_others_or_goes_on_is_cut(text, cut):
    heard = hear_user(text, OFFER, WORLD)
    assert heard.turn == (Reject(), "No, not that one.")
    assert cut in heard.cut


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing is said"),
        ("Recommender: How about Heat (1995)?", "nothing is said"),
        ("<|assistant|>" + NO, "nothing is said"),
        ("qwr zxv", "neither a yes nor a no is said"),
        ("<action><reject></action>", "a turn is <action>"),
        (_own(Choice(FIRST), "That one."), "does not fit"),
        (_own(Accept(OTHER), "That one."), "does not fit"),
        (format_turn(OFFER, "Those?", WORLD), "is an act of the recommender"),
        ("la " * 2000, "neither a yes nor a no is said"),
    ],
)
def test_what_cannot_be_told_is_not_understood(text, reason):
    turn = hear_user(text, OFFER, WORLD).turn
    assert isinstance(turn, NotUnderstood)
    assert reason in turn.reason


# what is asked


def test_the_chat_is_the_conversation_from_the_users_side():
    model = in_turn("No, not that one.", _own(Choice(FIRST), "The first."), *[TAKE] * 3)
    user = ModelUser(model)
    env = _env(user)
    env.reset(seed=1)
    texts = [
        say(OFFER, WORLD),
        format_turn(ASK, f"{WORLD.label(FIRST)} or {WORLD.label(SECOND)}: which?", WORLD),
        "hm",  # the user says that it does not follow, and no model is asked
        say(Recommendation((FIRST,)), WORLD),
    ]
    for text in texts:
        observation, _, terminated, truncated, info = env.step(text)
        assert info["understood"] == (text != "hm")
    # rejected before, so all that a user can do is to reject it again
    rejections = [say_response(Reject(), Recommendation(()), WORLD, n) for n in range(VARIANTS)]
    assert observation in rejections
    assert user.counts == Counts(turns=3, asked=5, retried=2, given_up=1)
    assert (terminated, truncated, info["failed"]) == (False, False, "recommender")

    person = env.unwrapped.talk.persons[0]
    turns = [exchange.turns for exchange in env.unwrapped.talk.exchanges[0][:3]]
    chats = [request.messages for (request,) in model.calls]
    for asked, chat in zip((0, 1, 3), chats, strict=False):
        words = texts[asked] if asked != 1 else turns[1][0].words
        assert chat == tuple(user_messages(persona_of(person), turns[:asked], words))
    assert [role for role, _ in chats[2]] == ["system", *["user", "assistant"] * 3, "user"]
    assert len({chat[0] for chat in chats}) == 1
    system, *said = (content for _, content in chats[2])
    assert persona_of(person).text() in system
    assert f"ATTRIBUTE is one of: {WORLD.attributes[0].name}, " in system
    assert said == [
        texts[0],
        NO,
        f"{WORLD.label(FIRST)} or {WORLD.label(SECOND)}: which?",
        _own(Choice(FIRST), "The first."),
        "hm",
        _own(Reject(), CONFUSED),
        texts[3],
    ]


def test_a_model_that_was_trained_to_answer_needs_no_rules():
    model = in_turn(NO)
    env = _env(ModelUser(model, rules=False))
    env.reset(seed=1)
    env.step(say(OFFER, WORLD))
    (person,) = env.unwrapped.talk.persons
    system, words = model.calls[0][0].messages
    assert system == ("system", persona_of(person).text())
    assert words == ("user", say(OFFER, WORLD))


def test_no_favourite_and_no_utility_is_told():
    model = Scripted(lambda request: NO)
    env = _env(ModelUser(model))
    for seed in range(20):
        env.reset(seed=seed)
        env.step(say(ASK, WORLD))
        phi = env.unwrapped.talk.persons[0].user.embedding
        favourites = np.argsort(-(WORLD.item_embeddings @ phi))[:20]
        prompt = str(model.calls[-1][0].messages[0])
        assert not any(WORLD.label(item) in prompt for item in favourites)


def _talk(user, count=3):
    talk = Conversations(WORLD, Simulator.of(WORLD), user)
    talk.begin(jax.random.split(jax.random.key(5, impl="threefry2x32"), count))
    return talk


def test_all_users_are_asked_at_once_and_only_the_unclear_again():
    def write(request):
        later = request.seed not in first_seeds
        return NO if later or first_seeds.index(request.seed) == 1 else "qwr"

    first_seeds = []
    model = Scripted(write)
    user = ModelUser(model, max_tokens=50, temperature=0.3)
    talk = _talk(user)
    first_seeds += [person.seed * 1009 + 1 for person in talk.persons]
    first_seeds[:] = [seed % 2**31 for seed in first_seeds]
    exchanges = talk.say([say(OFFER, WORLD)] * 3)
    assert [e.response for e in exchanges] == [Reject()] * 3
    assert [len(call) for call in model.calls] == [3, 2]
    assert [r.messages for r in model.calls[1]] == [model.calls[0][i].messages for i in (0, 2)]
    assert len({request.seed for call in model.calls for request in call}) == 5
    assert {(r.max_tokens, r.temperature) for call in model.calls for r in call} == {(50, 0.3)}
    assert user.counts == Counts(turns=3, asked=5, retried=2)


def test_each_reply_is_heard_as_one_to_its_own_act():
    replies = {FIRST: Accept(FIRST), SECOND: Choice(SECOND), OTHER: Answer(3, -1)}

    def write(request):
        item = next(i for i in replies if WORLD.label(i) in request.messages[-1].content)
        return _own(replies[item], "So be it.")

    talk = _talk(ModelUser(Scripted(write)))
    acts = (AttributeQuery(OTHER, 3, 1), Recommendation((FIRST,)), ItemQuery((SECOND, OTHER + 1)))
    exchanges = talk.say([say(act, WORLD) for act in acts])
    assert [e.response for e in exchanges] == [replies[i] for i in (OTHER, FIRST, SECOND)]
    assert [e.terminated for e in exchanges] == [False, True, False]


# what comes of it


def test_an_accepted_film_ends_the_episode_whatever_its_utility():
    worst = []
    for seed in range(3):
        env = _env(ModelUser(in_turn(TAKE)))
        env.reset(seed=seed)
        observation, reward, terminated, truncated, info = env.step(say(OFFER, WORLD))
        assert observation == f"I'll take {WORLD.label(FIRST)}."
        assert (terminated, truncated) == (True, False)
        assert (info["is_success"], info["accepted_item"]) == (True, FIRST)
        utilities = WORLD.item_embeddings @ env.unwrapped.talk.persons[0].user.embedding
        scale = utilities.max() - utilities.mean()
        quality = (utilities[FIRST] - utilities.mean()) / scale
        assert info["quality"] == pytest.approx(quality, abs=1e-4)
        assert reward == pytest.approx(quality - 0.02, abs=1e-4)
        worst.append(quality)
    assert len(set(worst)) == 3


@pytest.mark.parametrize(
    ("bad", "reason", "cut"),
    [
        ("qwr zxv", "neither a yes nor a no is said", 0),
        (f"Recommender: How about {WORLD.label(OTHER)}?", "nothing is said", 3),
        (format_turn(OFFER, "These?", WORLD), "an act of the recommender", 0),
        (Reply("No, not that one. " * 3, "length"), "comes to no end", 3),
        ("la " * 2000, "neither a yes nor a no is said", 3),
        (Failure("too busy"), "no reply could be had: too busy", 0),
    ],
)
def test_who_is_never_understood_breaks_the_conversation_off(bad, reason, cut):
    model = Scripted(lambda request: bad)
    user = ModelUser(model)
    env = _env(user, render_mode="ansi")
    env.reset(seed=1)
    observation, reward, terminated, truncated, info = env.step(say(OFFER, WORLD))
    assert (observation, terminated, truncated) == ("", False, True)
    assert reward == pytest.approx(-0.02)
    assert (info["failed"], info["is_success"]) == ("user", False)
    assert reason in info["reason"]
    assert "[user not understood: " in env.render()
    with pytest.raises(ValueError, match="no response"):
        _ = env.unwrapped.talk.exchanges[0][0].turns
    failures = 3 if isinstance(bad, Failure) else 0
    assert user.counts == Counts(1, 3, 2, failures, cut, given_up=1)
    assert len({call[0].seed for call in model.calls}) == 3


def test_no_retries_and_fewer_than_none():
    user = ModelUser(in_turn("qwr"), retries=0)
    env = _env(user)
    env.reset(seed=1)
    assert env.step(say(OFFER, WORLD))[3]
    assert user.counts == Counts(turns=1, asked=1, given_up=1)
    with pytest.raises(ValueError, match="at least 0"):
        ModelUser(in_turn(), retries=-1)


def test_a_turn_that_is_cut_off_after_its_end_stands():
    more = (NO, f"{NO} <action><re", "No, not that one.\nRecommender: Then how about")
    user = ModelUser(in_turn(*(Reply(text, "length") for text in more)))
    env = _env(user)
    env.reset(seed=1)
    for items in ((FIRST, SECOND), (OTHER,), (OTHER + 1,)):
        observation, *_, info = env.step(say(Recommendation(items), WORLD))
        assert (observation, info["failed"]) == ("No, not that one.", "neither")
    assert user.counts == Counts(turns=3, asked=3, cut=2)


def test_a_failure_that_lasts_is_not_asked_again():
    model = in_turn(Failure("no server", lasting=True))
    env = _env(ModelUser(model))
    env.reset(seed=1)
    with pytest.raises(ConnectionError, match="scripted cannot be asked: no server"):
        env.step(say(OFFER, WORLD))


def _episode(env, seed):
    """What is said and follows in an episode of fixed recommendations."""
    rng = np.random.default_rng(0)
    said = [env.reset(seed=seed)]
    for _ in range(7):
        act = Recommendation(tuple(rng.choice(WORLD.n_items, 2, replace=False).tolist()))
        *step, info = env.step(say(act, WORLD))
        said.append((*step, info))
        if step[2] or step[3]:
            break
    return said


def test_the_same_seed_is_the_same_episode():
    def write(request):
        variety = ("No, not that one.", "None of these, please.", "qwr", "This leads nowhere. Bye!")
        return variety[request.seed % 4]

    env, other = _env(ModelUser(Scripted(write))), _env(ModelUser(Scripted(write)))
    episodes = [_episode(env, seed) for seed in range(6)]
    assert [_episode(other, seed) for seed in reversed(range(6))][::-1] == episodes
    assert len({str(episode) for episode in episodes}) == 6
    assert len({len(episode) for episode in episodes}) > 1


# real models


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Folder of a model of random weights with the tokenizer of the film world."""
    for module in ("torch", "transformers"):
        pytest.importorskip(module)
    from agents.lm.tiny import build_model, build_tokenizer

    folder = tmp_path_factory.mktemp("models") / "untrained"
    tokenizer = build_tokenizer(WORLD, subwords=300)
    tokenizer.save_pretrained(folder)
    build_model(tokenizer, width=16, layers=1, heads=2).save_pretrained(folder)
    return str(folder)


def test_nonsense_of_a_real_model_is_counted_and_broken_off(untrained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    episodes = []
    for _ in range(2):
        env = _env(f"lm:{untrained}")
        user = env.unwrapped.talk.opponent
        assert user.kind.startswith("lm:untrained@")
        episodes.append(_episode(env, 3))
    assert episodes[0] == episodes[1]
    assert len(episodes[0]) == 2
    assert episodes[0][-1][-1]["failed"] == "user"
    assert user.counts.given_up == 1
    assert user.counts.asked == 3
    assert user.counts.failures == 0
    assert not list(tmp_path.iterdir())  # no cache is left behind


@pytest.mark.parametrize("kind", ["lm", "icer-words"])
def test_copies_go_on_as_the_environment_does(untrained, kind):
    env = _env(f"{kind}:{untrained}")
    env.reset(seed=1)
    env.step("Hm.")
    one, other = copy.deepcopy(env), pickle.loads(pickle.dumps(env.unwrapped))
    step = env.step(say(OFFER, WORLD))
    assert one.step(say(OFFER, WORLD)) == other.step(say(OFFER, WORLD)) == step
    asked = [e.unwrapped.talk.opponent.model.usage.asked for e in (env, one, other)]
    assert asked[0] > 0
    assert asked == [asked[0]] * 3


def test_an_endpoint_is_named_after_its_model(tmp_path, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    user = make_opponent("lm:org/some-model@http://127.0.0.1:9/v1")
    assert isinstance(user, ModelUser)
    assert user.kind == "lm:org/some-model@127.0.0.1:9/v1"
    env = _env(user)
    env.reset(seed=1)
    with pytest.raises(ConnectionError, match="cannot be asked"):
        env.step(say(OFFER, WORLD))


def test_a_model_that_is_not_there_says_so():
    for module in ("torch", "transformers"):
        pytest.importorskip(module)
    with pytest.raises(OSError, match="not a folder"):
        _env("lm:./nowhere")


@pytest.mark.parametrize("model", ["gpt@localhost:8000/v1", "x@2", "gpt@httpd", "gpt@ftp://h/v1"])
def test_an_endpoint_without_its_scheme_is_told_so(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="neither a folder nor MODEL@URL.* begins with http://"):
        make_opponent(f"lm:{model}")


def test_a_folder_may_have_an_at_in_its_name(untrained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x@2").symlink_to(untrained)
    assert isinstance(make_opponent("lm:x@2"), ModelUser)


def test_a_trained_model_is_told_what_it_was_told_then(tmp_path):
    from crs_gym.language.card import CARD, Card, card_of, trained
    from crs_gym.world import DataError

    assert card_of(tmp_path) is None
    assert ModelUser.settings_of(None) == {}
    (tmp_path / CARD).write_text('{"role": "user", "rules": false}')
    assert ModelUser.settings_of(card_of(tmp_path)) == {"rules": False, "temperature": 1.0}
    learnt = Card("user", rules=True, temperature=0.3)
    assert ModelUser.settings_of(learnt) == {"rules": True, "temperature": 0.3}
    with pytest.raises(ValueError, match="trained to play the recommender, not the user"):
        ModelUser.settings_of(Card("recommender"))
    (tmp_path / CARD).write_text('{"part": "user"}')
    with pytest.raises(DataError, match="delete it"):
        card_of(tmp_path)
    (tmp_path / "run" / "final").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="--resume"):
        trained(tmp_path / "run")
    (tmp_path / "run" / "final" / "config.json").write_text("{}")
    assert trained(tmp_path / "run") == tmp_path / "run" / "final"
    assert trained("some/hub-name") == "some/hub-name"

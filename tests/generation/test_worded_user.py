"""The ICER model in the words of a language model, in `crs/Dialogue-v0`."""

import gymnasium
import numpy as np
import pytest

import crs_gym  # noqa: F401
from crs_gym.acts import Answer, AttributeQuery, ItemQuery, Recommendation
from crs_gym.dialogue import say, understand_response
from crs_gym.envs.text import Situation, make_opponent
from crs_gym.generation.checks import check_response
from crs_gym.generation.worded_user import WordedUser
from crs_gym.language import Failure, Reply
from crs_gym.language.users import Counts
from crs_gym.world import load_world
from tests.language.people import Scripted, in_turn, person

pytestmark = pytest.mark.filterwarnings(
    # what other tests of the process leave behind is collected whenever it is
    "error",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

WORLD = load_world("films")


def _acts():
    """A fixed course: questions about films and attributes, then offers."""
    rng = np.random.default_rng(2)
    for turn in range(7):
        items = tuple(rng.choice(WORLD.n_items, 2, replace=False).tolist())
        if turn % 3 == 0:
            yield ItemQuery(items)
        elif turn % 3 == 1:
            yield AttributeQuery(items[0], int(rng.integers(WORLD.n_attributes)), 1)
        else:
            yield Recommendation(items)


def _episode(user, seed=0):
    env = gymnasium.make("crs/Dialogue-v0", user=user, user_model={"critique_rate": 0.8})
    env.reset(seed=seed)
    for act in _acts():
        *_, terminated, truncated, _ = env.step(say(act, WORLD))
        if terminated or truncated:
            break
    return env.unwrapped.talk.exchanges[0]


def _course(exchanges):
    return [(e.act, e.response, e.reward, e.terminated, e.truncated) for e in exchanges]


def _stiff(request):
    """The template that is to be put into other words."""
    return request.messages[-1].content.rpartition("Stiff: ")[2].partition("\n")[0]


def test_the_words_are_the_models_and_all_else_is_icers():
    model = Scripted(lambda request: f'"Well, {_stiff(request)}"')
    user = WordedUser(model)
    replies = 0
    for seed in range(5):
        plain, worded = _episode("icer", seed), _episode(user, seed)
        assert _course(worded) == _course(plain)
        assert [e.reply for e in worded] == [f"Well, {e.reply}" for e in plain]
        for exchange in worded:
            assert understand_response(exchange.reply, exchange.act, WORLD) == exchange.response
        replies += len(worded)
    assert user.counts == Counts(turns=replies, asked=replies)
    assert user.kind == "lm:scripted"


def test_the_model_is_shown_the_conversation_and_the_template():
    model = Scripted(lambda request: f"Well, {_stiff(request)}")
    exchanges = _episode(WordedUser(model))
    acts = list(_acts())
    asked = model.calls[2][0]
    shown = asked.messages[-1].content
    for act, exchange in zip(acts[:2], exchanges, strict=False):
        assert f"Recommender: {say(act, WORLD)}\nUser: {exchange.reply}\n" in shown
    assert f"\nRecommender: {say(acts[2], WORLD)}\n\n" in shown
    assert asked.stop == ("\n",)
    assert _episode("icer")[2].reply == _stiff(asked)


@pytest.mark.parametrize(
    ("bad", "cut", "failures"),
    [
        ("qwr zxv", 0, 0),
        ("", 0, 0),
        (f"Yes! I'd choose {WORLD.label(0)}, that's great, I'll take it.", 0, 0),  # never offered
        (f"Recommender: How about {WORLD.label(0)}?", 1, 0),
        (f"Sure.<|im_end|>{WORLD.label(1)}", 1, 0),
        ("As an AI language model I have no preferences.", 0, 0),
        (Reply("I'd like something", "length"), 1, 0),
        (Failure("too busy"), 0, 1),
    ],
)
def test_where_no_words_will_do_the_template_stands(bad, cut, failures):
    user = WordedUser(Scripted(lambda request: bad))
    plain, worded = _episode("icer"), _episode(user)
    assert _course(worded) == _course(plain)
    assert [e.reply for e in worded] == [e.reply for e in plain]
    assert {e.fault for e in worded} == {"neither"}
    n = len(worded)
    assert user.counts == Counts(n, 3 * n, 2 * n, 3 * n * failures, 3 * n * cut, given_up=n)


def test_words_that_say_something_else_are_asked_for_again():
    """At first the template of the other direction, of the other film, or of no for yes."""

    def write(request):
        first = request.seed in firsts
        return _turned(_stiff(request)) if first else f"Hmm. {_stiff(request)}"

    firsts = set()

    class Watching(WordedUser):
        def respond(self, situations):
            firsts.update(situation.seed for situation in situations)
            return super().respond(situations)

    user = Watching(Scripted(write))
    plain, worded = _episode("icer"), _episode(user)
    assert _course(worded) == _course(plain)
    assert [e.reply for e in worded] == [f"Hmm. {e.reply}" for e in plain]
    n = len(worded)
    assert user.counts == Counts(turns=n, asked=2 * n, retried=n)


def _turned(sentence):
    """Another response than the sentence's, in clear words."""
    acts = list(_acts())
    for act in acts:
        for item in getattr(act, "items", ()):
            if WORLD.label(item) in sentence and isinstance(act, ItemQuery):
                (other,) = (i for i in act.items if i != item)
                return sentence.replace(WORLD.label(item), WORLD.label(other))
    for words in WORLD.attributes:
        pairs = ((words.more, words.less), (words.more_long, words.less_long))
        for more, less in pairs:
            for one, other in ((less, more), (more, less)):
                if one in sentence:
                    return sentence.replace(one, other)
    return "I give up. Bye!"


def test_words_that_pass_the_checks_have_to_be_understood_too():
    serious = next(n for n, words in enumerate(WORLD.attributes) if words.name == "serious")
    query, answer = AttributeQuery(3, serious, -1), Answer(serious, -1)
    free, clear = "Oh, lighter for sure, it has been a long day.", "Yes, something less serious!"
    assert check_response(free, answer, query, WORLD) is None
    user = WordedUser(in_turn(free, clear))
    who = person(WORLD, WORLD.user_mean[0])
    situation = Situation(who, 1, query, say(query, WORLD), (("User", "Hi."),), answer, 0)
    assert user.respond([situation]) == [(answer, clear)]
    assert user.counts == Counts(turns=1, asked=2, retried=1)


def test_a_small_style_of_prompt():
    model = Scripted(lambda request: "qwr")
    _episode(WordedUser(model, style="short", retries=0))
    (message,) = model.calls[0][0].messages
    first = next(_acts())
    assert message.content.startswith(f"{say(first, WORLD)}\nchoose: ")


def test_an_untrained_model_leaves_the_templates(tmp_path, monkeypatch):
    for module in ("torch", "transformers"):
        pytest.importorskip(module)
    from agents.lm.tiny import build_model, build_tokenizer

    tokenizer = build_tokenizer(WORLD, subwords=300)
    tokenizer.save_pretrained(tmp_path / "untrained")
    build_model(tokenizer, width=16, layers=1, heads=2).save_pretrained(tmp_path / "untrained")
    monkeypatch.chdir(tmp_path)
    user = make_opponent("icer-words:untrained")
    assert isinstance(user, WordedUser)
    user.retries, user.max_tokens = 1, 20
    plain, worded = _episode("icer"), _episode(user)
    assert [e.reply for e in worded] == [e.reply for e in plain]
    assert user.counts.given_up == len(worded)
    assert [path.name for path in tmp_path.iterdir()] == ["untrained"]

"""A language model as judge: what it is asked, and what its replies count for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from crs_gym.evaluation.judging import ModelJudge, converse, evaluate
from crs_gym.language import Failure, Reply


@dataclass
class Scripted:
    """A model in this process: `reply` gets a request and gives a text, or None to fail."""

    reply: Callable
    name: str = "scripted"
    asked: list = field(default_factory=list)

    def generate(self, requests):
        self.asked += requests
        texts = [self.reply(request) for request in requests]
        return [Failure("down") if text is None else Reply(text) for text in texts]


def judge_with(reply, world, **settings):
    model = Scripted(reply)
    return ModelJudge(model, world, progress=False, **settings), model


def oracle(cases, world, right="yes", wrong="no"):
    """Knows every user, and recognises them by what was said before the last question."""
    judge, _ = judge_with(None, world)
    truth = {
        judge.chat(case, turn): right if case.pair.better == 0 else wrong
        for case in cases
        for turn in range(6)
    }
    return lambda request: truth[request.messages]


def test_an_oracle_is_always_right(cases, small_world):
    judge, model = judge_with(oracle(cases, small_world), small_world, batch=100)
    rows = evaluate(judge, cases, turns=5)
    assert len(model.asked) == sum(len(case.words) + 1 for case in cases)
    assert {row.accuracy.mean for row in rows} == {1.0} == {row.ndcg.mean for row in rows}
    assert [row.n for row in rows] == [
        sum(len(case.words) >= turn for case in cases) for turn in range(len(rows))
    ]
    assert not any(row.asked_again or row.coins for row in rows)


def test_its_opposite_is_always_wrong(cases, small_world):
    judge, _ = judge_with(oracle(cases, small_world, "No, I don't.", "YES."), small_world)
    assert {row.accuracy.mean for row in evaluate(judge, cases, turns=2)} == {0.0}


def test_the_chat_is_the_profile_and_the_first_turns_in_the_first_person(cases, small_world):
    case = next(case for case in cases if len(case.words) >= 3)
    judge, _ = judge_with(None, small_world)
    chat = judge.chat(case, 2)
    assert [message.role for message in chat] == ["system", *["user", "assistant"] * 5, "user"]
    spoken = [message.content for message in chat[1:-1]]
    interview = [text for pair in case.profile.interview(small_world) for text in pair]
    assert spoken == interview + [text for turn in case.words[:2] for text in turn]
    first, second = (chat[-1].content.index(small_world.label(i)) for i in case.pair.items)
    assert first < second


@pytest.mark.parametrize("second", ["perhaps", None])
def test_who_never_answers_has_a_coin_flipped(cases, small_world, second):
    judge, model = judge_with(
        lambda request: "Hard to say..." if len(request.messages) % 2 == 0 else second, small_world
    )
    rows = evaluate(judge, cases, turns=3)
    assert all(row.asked_again == row.coins == row.n for row in rows)
    right = np.average([row.accuracy.mean for row in rows], weights=[row.n for row in rows])
    total = sum(row.n for row in rows)
    assert len(model.asked) == 2 * total
    assert abs(right - 0.5) < 4 * 0.5 / np.sqrt(total)
    again = evaluate(judge, cases, turns=3)
    assert [row.accuracy for row in again] == [row.accuracy for row in rows]


def test_coins_have_luck_of_their_own(small_world):
    """Pairs are drawn from (seed, number), the first bit decides the half of a quarter."""
    judge, _ = judge_with(None, small_world, seed=4)
    drawn = [int(np.random.default_rng((4, n)).integers(2)) for n in range(400)]
    for turn in (0, 1):
        same = sum(judge._coin(n, turn) == drawn[n] for n in range(400))
        assert abs(same - 200) < 4 * 10


def test_a_model_that_cannot_be_asked_ends_the_judging(cases, small_world):
    class Down(Scripted):
        def generate(self, requests):
            return [Failure("start the server", lasting=True) for _ in requests]

    with pytest.raises(ConnectionError, match="scripted cannot be asked: start the server"):
        ModelJudge(Down(None), small_world, progress=False).judge(cases[:2], 0)
    with pytest.raises(ConnectionError, match="start the server"):
        converse(Down(None), cases[:2], small_world, progress=False)


def test_a_question_is_put_again_with_the_reply_before_it(cases, small_world):
    def reply(request):
        return "Yes" if "one word" in request.messages[-1].content else "Both are fine"

    judge, model = judge_with(reply, small_world)
    verdicts = judge.judge(cases[:2], 0)
    assert verdicts.asked_again.all()
    assert not verdicts.coins.any()
    assert (verdicts.places == 0).all()
    assert model.asked[2].messages[:-2] == model.asked[0].messages
    assert model.asked[2].messages[-2].content == "Both are fine"


def test_after_a_failure_the_question_stands_alone(cases, small_world):
    answers = iter([None, "no"])
    judge, model = judge_with(lambda request: next(answers), small_world)
    assert judge.judge(cases[:1], 0).places.tolist() == [[1]]
    roles = [message.role for message in model.asked[1].messages]
    assert roles == ["system", *["user", "assistant"] * 3, "user"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("YES", 0),
        ("**No**.", 1),
        ("Yes, though no film is perfect", 0),
        ("I'd take {1}", 1),
        ("{0}!", 0),
        ("{0} or {1}", None),
        ("I know nothing", None),
        ("", None),
    ],
)
def test_replies_are_read(cases, small_world, text, place):
    case = cases[0]
    titles = [small_world.titles[item] for item in case.pair.items]
    judge, _ = judge_with(lambda request: text.format(*titles), small_world)
    verdicts = judge.judge([case], 0)
    assert verdicts.asked_again[0, 0] == verdicts.coins[0, 0] == (place is None)
    if place is not None:
        assert verdicts.places.tolist() == [[place]]


@pytest.mark.parametrize(
    ("text", "titles", "place"),
    [
        ("Both are quite good", ("It", "Heat"), None),
        ("I'd rather watch it", ("It", "Heat"), 0),
        ("Aliens", ("Alien", "Aliens"), 1),
        ("Dr. No (1962)", ("Heat", "Dr. No"), 1),
        ("No (2012), please", ("No", "Heat"), 0),
        ("No", ("No", "Heat"), 1),
        ("NO COUNTRY for Old Men? Yes", ("No Country for Old Men", "Heat"), 0),
        ("Fast and Furious!", ("Heat", "Fast & Furious"), 1),
        ("Amelie", ("Amélie", "Heat"), 0),
        ("Spider Man", ("Spider-Man", "Heat"), 0),
        ("", ("!", "Heat"), None),
    ],
)
def test_titles_are_words_of_their_own(cases, small_world, text, titles, place):
    case = replace(cases[0], pair=replace(cases[0].pair, items=(0, 1)))
    years = np.array([2012, 1995, *small_world.years[2:]])
    world = small_world.replace(titles=(*titles, *small_world.titles[2:]), years=years)
    judge, _ = judge_with(None, world)
    assert judge._picked(Reply(text), case) == place

import json

import pytest

from crs_gym.evaluation.rating.findings import report
from crs_gym.evaluation.rating.forms import Judgement, NotFilled, Preference, aspects_of, to_json
from crs_gym.evaluation.rating.model_rater import Rated, rate, read_reply
from crs_gym.evaluation.rating.store import Store
from crs_gym.language import Failure, Reply
from tests.evaluation.rating.talks import a_study, all_better, good

YES = json.dumps(to_json(good()))


class Scripted:
    """Replies as `script` says: it takes the request and the number of the attempt, from 0."""

    name = "scripted"

    def __init__(self, script):
        self.script, self.asked, self.batches = script, [], []

    def generate(self, requests):
        self.batches.append(len(requests))
        self.asked += requests
        replies = [self.script(r.messages[1].content, len(r.messages) // 2 - 1) for r in requests]
        return [Reply(reply) if isinstance(reply, str) else reply for reply in replies]


def answers_of(store):
    return {rating.number: rating.answers for rating in store.ratings()}


def begin(tmp_path, *args, **settings):
    return Store.begin(tmp_path / "ratings.db", a_study(*args, **settings))


def number_in(prompt, store):
    """Which dialogue a prompt is about."""
    (number,) = [
        shown.number
        for shown in store.study.dialogues
        if all(said in prompt for _, said in shown.text)
    ]
    return number


def test_forms_are_filled_in_batches(tmp_path):
    store = begin(tmp_path, dialogues=5)
    no = good(fluency=Judgement(False, (1,), "clumsy"))
    model = Scripted(
        lambda prompt, _: json.dumps(to_json(no)) if number_in(prompt, store) == 3 else YES
    )
    assert rate(store, model, batch=2, progress=False) == Rated(5, 0, 0)
    assert model.batches == [2, 2, 1]
    assert answers_of(store) == {n: no if n == 3 else good() for n in range(5)}
    (group,) = report(store).groups
    assert (group.kind, group.name, group.forms) == ("model", "scripted", 5)
    assert rate(store, model, progress=False) == Rated(0, 0, 0)
    assert len(model.asked) == 5


def test_the_prompt_has_all_that_people_see(tmp_path):
    store = begin(tmp_path, dialogues=1)
    model = Scripted(lambda *_: YES)
    rate(store, model, progress=False)
    prompt = model.asked[0].messages[1].content
    (shown,) = store.study.dialogues
    for n, (who, said) in enumerate(shown.text):
        head = f"Turn {n // 2 + 1}\n" if n % 2 == 0 else ""
        assert f"{head}{who}: {said}\n" in prompt
    assert all(f"{a.name}: {a.question}" in prompt for a in aspects_of("dialogue"))


def test_pairs_are_judged_blind_on_the_sides_of_the_store(tmp_path):
    store = begin(tmp_path, "pair", 8)
    shown = {dialogue.number: dialogue for dialogue in store.study.dialogues}

    def longer_is_better(prompt, _):
        one, two = prompt.split("The second conversation:")
        two = two.split("The questions:")[0]
        assert "Well. " in one or "Well. " in two
        assert not any(word in prompt.lower() for word in ("rewritten", "template"))
        return json.dumps(to_json(all_better("first" if "Well. " in one else "second")))

    assert rate(store, Scripted(longer_is_better), progress=False) == Rated(8, 0, 0)
    ratings = store.ratings()
    assert {rating.rewritten_first for rating in ratings} == {True, False}
    for rating in ratings:
        side = "first" if rating.rewritten_first else "second"
        assert rating.answers["overall"] == Preference(side)
        assert shown[rating.number].template
    (group,) = report(store).groups
    assert {row.shares["rewritten"].share for row in group.rows} == {1.0}


def test_it_is_asked_again_once_and_told_why(tmp_path):
    store = begin(tmp_path, dialogues=3)

    def script(prompt, attempt):
        number = number_in(prompt, store)
        return YES if number == 0 or (number == 1 and attempt == 1) else '{"progress": 1}'

    model = Scripted(script)
    assert rate(store, model, progress=False) == Rated(2, 2, 1)
    assert model.batches == [3, 2]
    again = model.asked[-1].messages
    assert [message.role for message in again] == ["system", "user", "assistant", "user"]
    assert again[2].content == '{"progress": 1}'
    assert "progress: needs feedback, turns, yes" in again[3].content
    given_up = {r.number: r.reason for r in store.ratings() if r.answers is None}
    assert [*given_up] == [2]
    assert "progress: needs" in given_up[2]
    assert rate(store, model, progress=False) == Rated(0, 0, 0)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Failure("too long for me"), "too long for me"),
        (Reply(YES, "length"), "cut off"),
        (Reply(" "), "not one JSON object"),
        (Failure("half \ud800"), "half ?"),
    ],
)
def test_what_cannot_be_read_is_recorded(tmp_path, reply, reason):
    store = begin(tmp_path, dialogues=1)
    assert rate(store, Scripted(lambda *_: reply), progress=False) == Rated(0, 1, 1)
    (rating,) = store.ratings()
    assert rating.answers is None
    assert reason in rating.reason


def test_a_lasting_failure_stops_and_a_second_run_goes_on(tmp_path):
    store = begin(tmp_path, dialogues=6)
    numbers = [shown.number for shown in store.study.dialogues]
    gone = Failure("no server", lasting=True)
    model = Scripted(lambda prompt, _: gone if number_in(prompt, store) == numbers[3] else YES)
    with pytest.raises(ConnectionError, match="no server"):
        rate(store, model, batch=3, progress=False)
    # the others of the batch that failed are kept too
    assert [*answers_of(store)] == [*numbers[:3], *numbers[4:]]
    mended = Scripted(lambda *_: YES)
    assert rate(store, mended, progress=False) == Rated(1, 0, 0)
    assert number_in(mended.asked[0].messages[1].content, store) == numbers[3]
    assert len(store.ratings()) == 6


def test_what_a_stream_hands_over_is_kept_at_once_and_in_any_order(tmp_path):
    store = begin(tmp_path, dialogues=4)
    numbers = [shown.number for shown in store.study.dialogues]

    class Streaming(Scripted):
        def stream(self, requests):
            for n in reversed(range(len(requests))):
                yield n, self.generate([requests[n]])[0]

    def interrupted(prompt, attempt):
        if number_in(prompt, store) == numbers[1]:
            raise KeyboardInterrupt
        return YES

    with pytest.raises(KeyboardInterrupt):
        rate(store, Streaming(interrupted), progress=False)
    assert [*answers_of(store)] == [numbers[3], numbers[2]]

    def unsure(prompt, attempt):
        # a second attempt follows the form that was refused
        return YES if attempt else f"about {number_in(prompt, store)}"

    model = Streaming(unsure)
    assert rate(store, model, progress=False) == Rated(2, 2, 0)
    for request in model.asked[2:]:
        _, prompt, said, _ = (message.content for message in request.messages)
        assert said == f"about {number_in(prompt, store)}"


def test_bad_arguments(tmp_path):
    store = begin(tmp_path, dialogues=2)
    with pytest.raises(ValueError, match="batch"):
        rate(store, Scripted(lambda *_: YES), batch=0)
    for given in (1, 3):
        model = Scripted(lambda *_: YES)
        model.generate = lambda requests, given=given: [Reply("no form")] * given
        with pytest.raises(ValueError, match=f"{given} replies to 2 requests"):
            rate(store, model, progress=False)


def test_replies_that_are_read():
    assert read_reply(YES, "dialogue", 3) == good()
    assert read_reply(f"\n```json\n{YES}\n```\n", "dialogue", 3) == good()
    pair = all_better("same")
    assert read_reply(json.dumps(to_json(pair)), "pair", 0) == pair


def with_fluency(value):
    return YES.removesuffix("}") + f', "fluency": {value}}}'


def fluency(value):
    return json.dumps(to_json(good()) | {"fluency": json.loads(value)})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not one JSON"),
        (f"Here you are: {YES}", "not one JSON"),
        (f"{YES} {YES}", "not one JSON"),
        ("[]", "a filled form is an object"),
        ("{}", "not answered yet"),
        (with_fluency('{"yes": false}'), "there twice"),
        (fluency('{"yes": false}'), "after a No"),
        (fluency('{"yes": false, "turns": [4]}'), "no turn 4"),
        (fluency('{"yes": "yes"}'), "true or false"),
        (fluency('{"yes": true, "why": "so"}'), "needs"),
        (fluency('{"yes": false, "turns": [1], "feedback": "\\ud800"}'), "not the JSON"),
        ("[" * 100_000, "not the JSON"),
        ("9" * 5_000, "not the JSON"),
        ('{"\\ud800": {"yes": true}}', "not the JSON"),
    ],
)
def test_replies_that_are_not_forms(text, reason):
    with pytest.raises(NotFilled, match=reason):
        read_reply(text, "dialogue", 3)

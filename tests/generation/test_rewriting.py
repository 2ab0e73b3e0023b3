"""Rewriting with small models of known behaviour: echo, paraphrase by rule, nonsense, chance."""

import hashlib
import io
import json
import random
import re

import pytest

from crs_gym.acts import Accept, Leave
from crs_gym.dialogue.grammar import KINDS
from crs_gym.generation.rates import Rates, Tally
from crs_gym.generation.rewriting import rewrite
from crs_gym.language import Failure, Reply
from crs_gym.world import load_world
from experiments.words.talks import a_dialogue

WORLD = load_world("films")
TALKS = [a_dialogue(random.Random(n), n, WORLD, turns=4) for n in range(40)]
SIDES = sum(2 * len(talk.turns) for talk in TALKS)


class Model:
    """Answers each request by a function of it, and keeps what it was asked."""

    name = "test"

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def generate(self, requests):
        self.asked.append(list(requests))
        replies = map(self.answer, requests)
        return [Reply(one) if isinstance(one, str) else one for one in replies]


def template(request):
    return re.search(r"(?:Stiff: |\n[a-z_]+: )(.*)(?:\nNew:)?$", request.messages[-1].content)[1]


def echo(request):
    return template(request)


def by_rule(request):
    return f"Well, {template(request)}"


def nonsense(request):
    return "Colourless green ideas sleep furiously."


def at_random(request):
    """Fails, talks nonsense or echoes, as the request's seed has it."""
    lot = hashlib.sha256(f"{request.seed}".encode()).digest()[0] % 4
    return (Failure("busy"), nonsense(request), echo(request), echo(request))[lot]


def sides(dialogue):
    return [words for turn in dialogue.turns for words in (turn.recommender, turn.user)]


def _last_line(request):
    return request.messages[-1].content.split("conversation so far:\n")[1].split("\n\nThe ")[0]


@pytest.mark.parametrize("order", ["users-first", "interleaved"])
@pytest.mark.parametrize("style", ["full", "short"])
def test_an_echo_rewrites_everything_at_first_try(order, style):
    model = Model(echo)
    rewritten, rates = rewrite(TALKS, model, WORLD, order=order, style=style)
    assert all(words.source == "model" for talk in rewritten for words in sides(talk))
    assert [talk.transcript() for talk in rewritten] == [talk.transcript() for talk in TALKS]
    total = rates.total
    assert total == Tally(turns=SIDES, first=SIDES, model=SIDES, requests=SIDES)
    # one batch for each place in the schedule, not one for each dialogue
    assert len(model.asked) == 2 * max(len(talk.turns) for talk in TALKS)


def test_only_words_change():
    rewritten, rates = rewrite(TALKS, Model(by_rule), WORLD)
    assert rates.total.model == SIDES
    for talk, new in zip(TALKS, rewritten, strict=True):
        assert new.transcript(templates=True) == talk.transcript()
        for turn, other in zip(talk.turns, new.turns, strict=True):
            assert (turn.act, turn.response) == (other.act, other.response)
        for words in sides(new):
            assert words.text == f"Well, {words.template}"


def test_nonsense_falls_back_to_the_template():
    model = Model(nonsense)
    rewritten, rates = rewrite(TALKS, model, WORLD, retries=3)
    total = rates.total
    assert (total.turns, total.model, total.fallback) == (SIDES, 0, SIDES)
    assert total.requests == sum(map(len, model.asked)) == 4 * SIDES
    assert sum(total.rejections.values()) == 4 * SIDES
    for talk in rewritten:
        for words in sides(talk):
            assert (words.text, words.source) == (words.template, "fallback")
    # a mere "not understood" of the recommender's films is counted as what it is
    assert set(rates.kinds["ask_item"].rejections) == {"missing film"}


def test_failures_are_tried_again_and_counted():
    model = Model(at_random)
    rewritten, rates = rewrite(TALKS, model, WORLD, retries=2, seed=3)
    total = rates.total
    assert total.turns == total.model + total.fallback == SIDES
    assert total.requests == sum(map(len, model.asked))
    assert total.requests == total.model + total.failures + sum(total.rejections.values())
    # a quarter fails, a quarter is nonsense: half are done at first, an eighth never
    spread = 5 * (0.25 / SIDES) ** 0.5
    assert total.first / SIDES == pytest.approx(0.5, abs=spread)
    assert total.fallback / SIDES == pytest.approx(0.125, abs=spread)
    assert total.failures / total.requests == pytest.approx(0.25, abs=spread)
    by_source = [words.source for talk in rewritten for words in sides(talk)]
    assert by_source.count("fallback") == total.fallback


def test_the_same_call_gives_the_same_and_another_seed_another():
    one, same, other = (
        rewrite(TALKS, Model(at_random), WORLD, retries=1, seed=seed) for seed in (1, 1, 2)
    )
    sources = [[w.source for talk in talks for w in sides(talk)] for talks, _ in (one, same, other)]
    assert sources[0] == sources[1] != sources[2]
    assert one[1] == same[1]


def test_seeds_do_not_depend_on_the_shard():
    """A dialogue is rewritten alike whatever stands beside it, and no two turns share a seed."""
    together, rates = rewrite(TALKS, Model(at_random), WORLD)
    alone = [rewrite([talk], Model(at_random), WORLD) for talk in TALKS]
    assert [talk.transcript() for (talk,), _ in alone] == [t.transcript() for t in together]
    assert sum((one for _, one in alone), Rates()) == rates
    model = Model(nonsense)
    rewrite(TALKS, model, WORLD, retries=2)
    seeds = [request.seed for batch in model.asked for request in batch]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


def expected_context(talk, place, speaker, order):
    """What was said before a turn, written out from the definition of the order."""
    lines = []
    for n, turn in enumerate(talk.turns):
        for who, words in (("Recommender", turn.recommender), ("User", turn.user)):
            if (n, who) == (place, speaker):
                return "\n".join(lines) or "(nothing yet)"
            stiff = order == "users-first" and speaker == "User" and who == "Recommender"
            lines.append(f"{who}: {words.template if stiff else 'Well, ' + words.template}")
    raise AssertionError


@pytest.mark.parametrize("order", ["users-first", "interleaved"])
def test_a_turn_sees_what_the_order_lets_it_see_and_no_future(order):
    talk = max(TALKS, key=lambda one: len(one.turns))
    model = Model(by_rule)
    rewrite([talk], model, WORLD, order=order)
    turns = range(len(talk.turns))
    schedule = [(n, who) for who in ("User", "Recommender") for n in turns]
    if order == "interleaved":
        schedule = [(n, who) for n in turns for who in ("Recommender", "User")]
    assert len(model.asked) == len(schedule)
    for (request,), (n, who) in zip(model.asked, schedule, strict=True):
        assert _last_line(request) == expected_context(talk, n, who, order)
        own = talk.turns[n].user if who == "User" else talk.turns[n].recommender
        assert template(request) == own.template


def test_settings_reach_the_model():
    model = Model(echo)
    rewrite(TALKS[:1], model, WORLD, max_tokens=33, temperature=0.25)
    for (request,) in model.asked:
        assert (request.max_tokens, request.temperature, request.stop) == (33, 0.25, ("\n",))


def test_a_reply_that_was_cut_off_is_refused():
    model = Model(lambda request: Reply(template(request), "length"))
    _, rates = rewrite(TALKS[:3], model, WORLD, retries=0)
    assert rates.total.model == 0
    assert set(rates.total.rejections) == {"cut off"}


def test_quotation_marks_around_a_reply_are_taken_off():
    rewritten, _ = rewrite(TALKS[:3], Model(lambda request: f' "{template(request)}" '), WORLD)
    assert [talk.transcript() for talk in rewritten] == [t.transcript() for t in TALKS[:3]]


def test_words_of_an_earlier_rewriting_are_not_built_upon():
    once, _ = rewrite(TALKS[:5], Model(by_rule), WORLD)
    again, _ = rewrite(once, Model(nonsense), WORLD, retries=0)
    assert [talk.transcript() for talk in again] == [t.transcript() for t in TALKS[:5]]


def test_nothing_to_rewrite():
    assert rewrite([], Model(echo), WORLD) == ([], Rates())


def test_bad_arguments_are_refused(plane_world):
    with pytest.raises(ValueError, match="there are users-first, interleaved"):
        rewrite(TALKS, Model(echo), WORLD, order="backwards")
    with pytest.raises(ValueError, match="at least 0, not -1"):
        rewrite(TALKS, Model(echo), WORLD, retries=-1)
    with pytest.raises(ValueError, match="dialogue 0 is of world"):
        rewrite(TALKS, Model(echo), plane_world)
    mute = Model(echo)
    mute.generate = lambda requests: []
    with pytest.raises(ValueError, match="test gave 0 replies"):
        rewrite(TALKS, mute, WORLD)


def test_rates_add_up_and_survive_json():
    _, all_at_once = rewrite(TALKS, Model(at_random), WORLD)
    _, first = rewrite(TALKS[:15], Model(at_random), WORLD)
    _, rest = rewrite(TALKS[15:], Model(at_random), WORLD)
    assert first + rest == all_at_once
    assert Rates.from_json(json.loads(json.dumps(all_at_once.to_json()))) == all_at_once
    assert list((rest + first).kinds) == [k for k in KINDS.values() if k in all_at_once.kinds]
    with pytest.raises(ValueError, match="no rates"):
        Rates.from_json({"accept": {"turn": 3}})


def test_rates_are_shown_by_kind():
    from rich.console import Console

    _, rates = rewrite(TALKS, Model(at_random), WORLD)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(rates.table())
    shown = console.export_text()
    for kind, tally in rates.kinds.items():
        row = next(line for line in shown.splitlines() if line.strip().startswith(kind))
        assert f"{tally.turns:,}" in row
        assert f"{tally.fallback / tally.turns:.1%}" in row
    assert "missing film" in shown


def test_talks_end_with_acceptance_or_leaving():
    """The helper itself: what ends a dialogue is the last thing in it."""
    ends = [[isinstance(turn.response, Accept | Leave) for turn in talk.turns] for talk in TALKS]
    assert all(not any(flags[:-1]) for flags in ends)
    assert {len(talk.turns) for talk in TALKS} == {1, 2, 3, 4}

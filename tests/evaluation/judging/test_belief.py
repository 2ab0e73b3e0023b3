"""The belief as a judge."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from crs_gym.evaluation.judging import BeliefJudge, belief, evaluate
from crs_gym.evaluation.judging.automatic import ENDED
from crs_gym.evaluation.judging.belief import opening
from crs_gym.evaluation.judging.histories import history_of
from crs_gym.users import User, UserModel, items_of
from tests.evaluation.judging.dialogues import follow

CHANGES = {"critique_rate": 0.5}


def judge(world, **settings):
    return BeliefJudge(world, user_model=CHANGES, progress=False, **settings)


@pytest.fixture(scope="module")
def rows(small_world, cases):
    return evaluate(judge(small_world), cases, turns=5)


def test_dialogues_tell_more_turn_by_turn(rows, dialogues):
    lengths = np.array([len(dialogue.turns) for dialogue in dialogues])
    assert [row.n for row in rows] == [(lengths >= t).sum() for t in range(len(rows))]
    assert rows[1].gain.low > 0.05
    assert rows[3].gain.mean > rows[1].gain.mean
    assert rows[4].accuracy.mean > 0.85
    assert rows[0].accuracy.mean < 0.75


def test_histories_of_others_tell_nothing(small_world, cases, rows):
    shuffled = [
        replace(case, turns=other.turns)
        for case, other in zip(cases, [*cases[7:], *cases[:7]], strict=True)
    ]
    found = evaluate(judge(small_world), shuffled, turns=5)
    for mixed, real in zip(found[1:5], rows[1:5], strict=True):
        assert mixed.gain.low < 0.02  # in no row better than before the first turn
        assert mixed.accuracy.high < real.accuracy.low


def test_a_prior_without_an_opinion_is_right_half_the_time(small_world, cases):
    blank = [
        replace(case, prior=case.prior._replace(mean=np.zeros(8, np.float32))) for case in cases
    ]
    places = judge(small_world).judge(blank, 5).places[:, 0]
    right = np.mean([place == c.pair.better for place, c in zip(places, cases, strict=True)])
    assert abs(right - 0.5) < 4 * 0.5 / np.sqrt(len(cases))


def test_picks_as_weighted_draws_of_the_prior_do(small_world, cases):
    some = [case for case in cases if len(case.turns) >= 3][:12]
    places = judge(small_world).judge(some, 5).places
    items, model = items_of(small_world), UserModel.of(small_world, CHANGES)
    noise = np.random.default_rng(5).normal(size=(20_000, small_world.dim)).astype(np.float32)

    told = 0
    for case, row in zip(some, places, strict=True):
        draws = case.prior.mean + case.prior.std * noise
        utilities = draws @ small_world.item_embeddings[list(case.pair.items)].T
        total, context = np.zeros(len(draws)), opening(items)
        history = history_of([(t.act, t.response) for t in case.turns[:3]], 3, 2)
        for t in range(3):
            now = jax.tree.map(lambda x, t=t: x[t], history)
            step, context = follow(items, model, User.typical(draws, model), now, context)
            total += np.asarray(step)
            weights = np.exp(total - total.max())
            weights /= weights.sum()
            margin = weights @ (utilities[:, 0] - utilities[:, 1])
            # where margins are small, either pick may be right
            if abs(margin) > 0.3 and 1 / (weights**2).sum() > 100:
                assert row[t + 1] == (margin < 0)
                told += 1
    assert told > 20


def test_the_personal_prior_says_more_than_the_stored_one(small_world, cases, rows):
    (row,) = evaluate(judge(small_world, start="personal"), cases, turns=5)[:1]
    assert row.accuracy.low > rows[0].accuracy.high


def test_one_program_serves_any_number_of_dialogues(small_world, cases):
    many = judge(small_world).judge(cases[:100], 5).places
    compiled = belief._follow._cache_size()
    few = judge(small_world).judge(cases[:7], 5).places
    assert belief._follow._cache_size() == compiled
    assert (few == many[:7]).all()
    assert judge(small_world, seed=2**32 - 1).judge(cases[:7], 5).places.shape == few.shape
    assert (many == ENDED).sum() == sum(5 - len(case.turns) for case in cases[:100])


def test_transcripts_and_unknown_starts_are_refused(small_world, cases):
    with pytest.raises(ValueError, match="transcripts"):
        judge(small_world).judge([cases[0].retold([("Hello", "Hi")])], 2)
    with pytest.raises(ValueError, match="stored, personal"):
        judge(small_world, start="warm")

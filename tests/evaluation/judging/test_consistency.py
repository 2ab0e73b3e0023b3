"""Behavioural consistency: real answers, answers at random, and sums by hand."""

import jax
import numpy as np
import pytest

from crs_gym.acts import Answer, AttributeQuery, Choice, ItemQuery, Recommendation, Reject
from crs_gym.evaluation.judging.belief import opening
from crs_gym.evaluation.judging.consistency import consistency
from crs_gym.evaluation.judging.hearing import hear
from crs_gym.evaluation.judging.histories import history_of
from crs_gym.users import User, UserModel, items_of
from tests.evaluation.judging.dialogues import follow, told

CHANGES = {"critique_rate": 0.5}


def by_hand(dialogue, embedding, world, skipped=()):
    items, model = items_of(world), UserModel.of(world, CHANGES)
    user = User(embedding, dialogue.temperature, dialogue.patience, dialogue.critique_rate)
    context, total = opening(items), 0.0
    done = [(turn.act, turn.response) for turn in dialogue.turns]
    history = history_of(done, len(done), 2)
    for t in range(len(done)):
        now = jax.tree.map(lambda x, t=t: x[t], history)
        value, context = follow(items, model, user, now, context)
        total += 0.0 if t in skipped else max(-30.0, float(value))
    return total


def test_two_users_are_each_others_impostors(dialogues, small_world):
    one, two = dialogues[0], next(d for d in dialogues if d.user_id != dialogues[0].user_id)
    gaps = [
        by_hand(a, a.embedding, small_world) - by_hand(a, b.embedding, small_world)
        for a, b in ((one, two), (two, one))
    ]
    heard = hear([one, two], small_world, templates=True)
    found = consistency([one, two], heard, small_world, user_model=CHANGES)
    per_answer = [gap / len(d.turns) for gap, d in zip(gaps, (one, two), strict=True)]
    assert found[0].mean == np.mean([gap > 0 for gap in gaps])
    assert found[1].mean == pytest.approx(np.mean(per_answer), rel=1e-4, abs=1e-4)
    assert found[0].n == 2

    # what was not understood is not held against anybody
    half = [(turns[0]._replace(response=None), *turns[1:]) for turns in heard]
    gaps = [
        by_hand(a, a.embedding, small_world, {0}) - by_hand(a, b.embedding, small_world, {0})
        for a, b in ((one, two), (two, one))
    ]
    per_answer = [gap / (len(d.turns) - 1) for gap, d in zip(gaps, (one, two), strict=True)]
    found = consistency([one, two], half, small_world, user_model=CHANGES)
    assert found[1].mean == pytest.approx(np.mean(per_answer), rel=1e-4, abs=1e-4)


def test_users_explain_their_own_answers(dialogues, small_world):
    heard = hear(dialogues, small_world, templates=True)
    auc, nats = consistency(dialogues, heard, small_world, user_model=CHANGES)
    assert auc.low > 0.85
    assert nats.low > 0.5


def test_nobody_explains_answers_at_random(dialogues, small_world):
    rng = np.random.default_rng(0)

    def at_random(act):
        match act:
            case ItemQuery(items):
                return Choice(int(rng.choice(items)))
            case AttributeQuery(_, attribute):
                return Answer(attribute, int(rng.choice([-1, 1])))
            case Recommendation():
                return Reject()

    random = [
        told(d, small_world, *((turn.act, at_random(turn.act)) for turn in d.turns))
        for d in dialogues
    ]
    # what is recommended follows from the true answers, and what is offered says something of the
    # user too: only the answers to questions are at random
    asked = [
        told(d, small_world, *(
            (turn.act, turn.response) for turn in d.turns
            if not isinstance(turn.act, Recommendation)
        ))
        for d in random
    ]  # fmt: skip
    asked = [d for d in asked if d.turns]
    assert len(asked) > 100
    heard = hear(asked, small_world, templates=True)
    auc, _ = consistency(asked, heard, small_world, user_model=CHANGES)
    assert auc.low - 0.02 < 0.5 < auc.high + 0.02


def test_there_must_be_somebody_else(dialogues, small_world):
    heard = hear(dialogues[:1], small_world, templates=True)
    with pytest.raises(ValueError, match="at least two"):
        consistency(dialogues[:1], heard, small_world)
    silent = [tuple(turn._replace(response=None) for turn in turns) for turns in heard]
    assert [figure.n for figure in consistency(dialogues[:1], silent, small_world)] == [0, 0]

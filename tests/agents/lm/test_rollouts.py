"""Conversations of a model: the tokens of its side, in the layout of training, and their odds."""

import re
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from agents.lm import models  # noqa: E402
from agents.lm.arena import Arena  # noqa: E402
from agents.lm.chats import ChatFormat  # noqa: E402
from agents.lm.tiny import ROLES  # noqa: E402
from crs_gym.language.recommender import recommender_messages  # noqa: E402

SCENARIOS = np.arange(16)


@pytest.fixture(scope="module")
def parts(taught, world_file):
    arena = Arena.of(world_file)
    tokenizer, model, _ = models.load_recommender(taught, arena.world)
    return arena, model, ChatFormat(tokenizer)


@pytest.fixture(scope="module")
def played(parts):
    arena, model, chat = parts
    return arena.play(SCENARIOS, model, chat, seed=1, max_turn=12)


def test_rows_are_laid_out_as_in_training(parts, played):
    _, _, chat = parts
    whole = [one for one in played if all(one.ids[end] == chat.end for end in one.ends)]
    assert len(whole) > 8
    for one in whole:
        starts = [0, *(end + 1 for end in one.ends)]
        said = [chat.text(np.array(one.ids[a:b])[one.own[a:b]]) for a, b in pairwise(starts)]
        heard = [exchange.reply for exchange in one.exchanges[:-1]]
        opening = recommender_messages(one.words[0][1])
        row = chat.row(opening, list(zip(said, [*heard, None], strict=True)))
        assert row.ids.tolist() == one.row.ids.tolist()
        assert row.own.tolist() == one.row.own.tolist()
        for exchange, text in zip(one.exchanges, said, strict=True):
            # a text that speaks for the other side is heard up to there
            mine = re.split("|".join(ROLES), text)[0]
            assert exchange.heard.text == mine.strip()


def test_lengths_rewards_and_ends_fit_together(played):
    for one in played:
        assert len(one.ids) == len(one.own) == len(one.logprobs)
        assert len(one.ends) == len(one.rewards) == len(one.exchanges)
        assert one.ends[-1] == len(one.ids) - 1
        assert all(one.own[end] for end in one.ends)
        assert one.total == pytest.approx(sum(one.rewards))
        assert one.exchanges[-1].terminated or one.exchanges[-1].truncated
        assert len(one.words) == 1 + 2 * len(one.exchanges)
        assert 0 <= one.user_id < 24


def test_log_probabilities_are_those_of_a_whole_forward_pass(parts, played):
    _, model, _ = parts
    model.eval()
    for one in played:
        ids, own = np.array(one.ids), np.array(one.own)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(ids[None])).logits[0].log_softmax(-1)
        wanted = logits[np.flatnonzero(own) - 1, ids[own]].numpy()
        np.testing.assert_allclose(np.array(one.logprobs)[own], wanted, atol=1e-4)
        assert not np.array(one.logprobs)[~own].any()


def test_who_else_is_in_the_batch_changes_nothing(parts):
    arena, model, chat = parts
    options = {"temperature": 0.0, "max_turn": 12}
    ones = arena.play(SCENARIOS, model, chat, **options)
    order = np.array([*range(15, 7, -1), 40, 41, 42, 43, 44, 45, 46, 47])
    others = arena.play(order, model, chat, **options)
    for place, scenario in enumerate(order[:8]):
        assert others[place].ids == ones[scenario].ids
        assert others[place].words == ones[scenario].words


def test_the_same_seed_plays_the_same(parts, played):
    arena, model, chat = parts
    same = arena.play(SCENARIOS, model, chat, seed=1, max_turn=12)
    other = arena.play(SCENARIOS, model, chat, seed=2, max_turn=12)
    assert [one.ids for one in same] == [one.ids for one in played]
    assert [one.ids for one in other] != [one.ids for one in played]
    assert [one.user_id for one in other] == [one.user_id for one in played]


def test_turns_that_never_end_are_cut_and_not_understood(parts):
    arena, model, chat = parts
    for one in arena.play(SCENARIOS, model, chat, max_turn=2):
        assert sum(one.own) == 2 * len(one.exchanges)
        assert one.fault == "recommender"
        assert not any(exchange.legal for exchange in one.exchanges)
        assert one.cut == [True] * len(one.exchanges)
        for end in one.ends[:-1]:
            # the end that it lacks is read, and is none of its own tokens
            assert one.ids[end] != chat.end
            assert one.ids[end + 1] == chat.end
            assert not one.own[end + 1]


def test_acts_are_learnt_from_without_their_words(parts, played):
    arena, model, chat = parts
    assert all(one.learnt == one.own for one in played)
    acts = arena.play(SCENARIOS, model, chat, words=False, seed=1, max_turn=12)
    assert [one.ids for one in acts] == [one.ids for one in played]
    for one in acts:
        assert all(one.learnt[end] for end in one.ends)
        words = [i for i in np.flatnonzero(one.own) if not one.learnt[i]]
        assert set(words) <= set(np.flatnonzero(one.own)) - set(one.ends)


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_left_as_it_was(parts, training):
    arena, model, chat = parts
    model.train(training)
    arena.play(SCENARIOS, model, chat, max_turn=2)
    assert model.training == training


def test_what_it_is_told_beforehand_opens_every_row(parts):
    arena, model, chat = parts
    for one in arena.play(SCENARIOS, model, chat, system="Recommend!", max_turn=2):
        opening = chat.opening(recommender_messages(one.words[0][1], system="Recommend!"))
        assert one.ids[: len(opening)] == opening
        assert one.own.index(True) == len(opening)

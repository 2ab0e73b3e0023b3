"""Users that are models: what they write is what counts, token by token."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from agents.lm import models  # noqa: E402
from agents.lm.arena import Arena, figures  # noqa: E402
from agents.lm.chats import ChatFormat  # noqa: E402
from agents.lm.evaluate import perplexity  # noqa: E402
from agents.lm.users import PlayedUser, opponent  # noqa: E402
from crs_gym.acts import Leave  # noqa: E402


@pytest.fixture(scope="module")
def arena(plane_world):
    return Arena.of(plane_world, "icer", {"max_turns": 3})


@pytest.fixture(scope="module")
def recommender(taught, plane_world):
    tokenizer, model, _ = models.load_recommender(taught, plane_world)
    return model, ChatFormat(tokenizer)


@pytest.fixture(scope="module")
def user(taught_user):
    return opponent(str(taught_user), seed=5)


@pytest.fixture(scope="module")
def both(arena, recommender, user):
    """(the recommender's side, the user's side) of the same conversations."""
    against = arena.with_user(user)
    played = against.play(range(24), *recommender, seed=1, max_turn=40)
    return played, user.played(against.train)


def test_both_sides_tell_of_the_same_conversations(both):
    recommenders, users = both
    for a, b in zip(recommenders, users, strict=True):
        assert a.exchanges is b.exchanges
        assert a.words == b.words
        assert sum(a.rewards) == pytest.approx(sum(b.rewards)) == pytest.approx(a.total)
        assert len(a.rewards) == len(a.ends) == len(a.exchanges)
        assert len(b.rewards) == len(b.ends) <= len(b.exchanges)
        assert all(b.own[end] for end in b.ends)


def test_what_the_user_writes_decides(both, plane_world):
    _, users = both
    left = [one for one in users if one.exchanges[-1].left]
    assert 0 < len(left) < len(users)
    for one in left:
        assert isinstance(one.exchanges[-1].response, Leave)
        assert one.exchanges[-1].reply == one.words[-1][1]
    ended = {one.exchanges[-1].fault for one in users}
    assert ended <= {"neither", "recommender", "user"}


def test_log_probabilities_are_those_of_a_whole_pass(both, user):
    _, users = both
    for one in users[:6]:
        with torch.no_grad():
            logits = user.model(input_ids=torch.tensor([one.ids])).logits[0].float()
        expected = torch.log_softmax(logits, -1)
        for place in np.flatnonzero(one.own):
            found = float(expected[place - 1, one.ids[place]])
            assert one.logprobs[place] == pytest.approx(found, abs=1e-4)


def test_equal_seeds_are_equal_conversations(arena, recommender, taught_user):
    words = []
    for seed in (5, 5, 6):
        against = arena.with_user(opponent(str(taught_user), seed=seed))
        played = against.play(range(8), *recommender, seed=1, max_turn=40)
        words.append([one.words for one in played])
    assert words[0] == words[1] != words[2]


def test_what_a_user_says_does_not_depend_on_what_was_played_before(arena, recommender, user):
    against, words = arena.with_user(user), {}
    for batch in (range(8), range(8, 16), range(8)):
        played = against.play(batch, *recommender, seed=1, max_turn=40)
        words.setdefault(batch, []).append([one.words for one in played])
    first, second = words[range(8)]
    assert first == second


def test_a_user_that_writes_nonsense_is_to_blame(arena, recommender, taught_user):
    from agents.lm.tiny import build_model

    tokenizer, _ = models.load(taught_user)
    untaught = build_model(tokenizer, 16, 1, 2, seed=3)
    against = arena.with_user(PlayedUser(untaught, ChatFormat(tokenizer), max_turn=8))
    played = against.play(range(8), *recommender, seed=1, max_turn=40)
    assert figures(played, arena.world).user_failed > 0.5
    for one in played:
        if one.exchanges[-1].fault == "user":
            assert one.exchanges[-1].truncated
            assert not one.exchanges[-1].terminated


def test_roles_are_not_mixed_up(taught, taught_user, plane_world):
    assert opponent("icer") == "icer"
    with pytest.raises(ValueError, match="trained to play the recommender, not the user"):
        opponent(str(taught))
    with pytest.raises(ValueError, match="trained to play the user, not the recommender"):
        models.load_recommender(taught_user, plane_world)


def test_perplexity_is_that_of_the_own_tokens(both, recommender):
    """Of the model that drew them it is exp of the mean negative log-probability drawn with."""
    model, _ = recommender
    played, _ = both
    drawn = [x for one in played for x, own in zip(one.logprobs, one.own, strict=True) if own]
    found = perplexity(model, [one.row for one in played], batch=5)
    assert found == pytest.approx(float(np.exp(-np.mean(drawn))), rel=1e-3)

"""Figures of hand-made conversations; validations are always the same; curves."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from crs_gym.acts import Accept, AttributeQuery, Recommendation, Reject
from crs_gym.dialogue import say
from crs_gym.envs.text import IcerUser
from crs_gym.envs.text.conversations import Exchange
from crs_gym.envs.text.hearing import Heard

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from agents.lm import models  # noqa: E402
from agents.lm.arena import Arena, figures, play_all, write_samples  # noqa: E402
from agents.lm.args import RLArgs  # noqa: E402
from agents.lm.chats import ChatFormat  # noqa: E402
from agents.lm.rollouts import Played  # noqa: E402
from agents.lm.watching import Watch  # noqa: E402

REJECT = Reject()


def exchange(act, words, *, response=REJECT, reward=0.0, legal=True, accepted=-1, fault="neither"):
    return Exchange(
        heard=Heard(words, act, words), act=act or Recommendation(()), legal=legal,
        response=response, reply="", fault=fault, reason="", reward=reward, quality=0.0,
        terminated=accepted >= 0, truncated=fault == "user", accepted=accepted, left=False,
    )  # fmt: skip


def conversation(*exchanges, words=(), late=(), fault="neither"):
    unended = [turn in late for turn in range(len(exchanges))]
    return Played(
        [], [], [], unended=unended, exchanges=list(exchanges), words=list(words), fault=fault
    )


def test_figures_of_hand_made_conversations(plane_world):
    offer, ask = Recommendation((3,)), AttributeQuery(5, 1, 1)
    offered, asked = say(offer, plane_world), say(ask, plane_world)
    found = figures(
        [
            conversation(
                exchange(ask, asked, reward=-0.02),
                exchange(offer, offered, response=Accept(3), reward=0.5, accepted=3),
                words=[("User", "a b c d e f"), ("Recommender", "one two three four five")],
            ),
            conversation(
                exchange(None, "what", reward=-0.02, legal=False, fault="recommender"),
                # the words offer something else than the act
                exchange(Recommendation((4,)), offered, reward=-0.02, legal=False),
                exchange(ask, asked, response=None, reward=-0.02, fault="user"),
                words=[("Recommender", "one two three four six")],
                late=[0],
                fault="recommender",
            ),
        ],
        plane_world,
    )
    assert found.conversations == 2
    assert found.reward == pytest.approx((0.48 - 0.06) / 2)
    assert found.success == 0.5
    assert found.turns == 2.5
    assert found.understood == pytest.approx(4 / 5)
    assert found.legal == pytest.approx(3 / 5)
    assert found.faithful == pytest.approx(3 / 4)
    assert found.dist4 == pytest.approx(3 / 4)
    assert found.user_failed == found.recommender_failed == 0.5
    assert found.cut == pytest.approx(1 / 5)
    assert found.as_dict()["turns"] == 2.5


def test_figures_where_nothing_was_understood_or_said(plane_world):
    found = figures([conversation(exchange(None, "", legal=False))], plane_world)
    assert (found.understood, found.faithful, found.success) == (0, 0, 0)
    assert found.dist4 is None
    assert "dist4" not in found.as_dict()


@pytest.fixture(scope="module")
def parts(taught, world_file):
    arena = Arena.of(world_file, seed=5)
    tokenizer, model, _ = models.load_recommender(taught, arena.world)
    return arena, model, ChatFormat(tokenizer)


def test_validations_are_always_the_same_and_with_users_of_their_own(parts, world_file):
    arena, model, chat = parts
    first, played = arena.validate(model, chat, 16, max_turn=12)
    arena.play(np.arange(16), model, chat, max_turn=12)  # training in between changes nothing
    torch.rand(3)
    again, same = Arena.of(world_file, seed=6).validate(model, chat, 16, max_turn=12)
    assert first == again
    assert [one.words for one in played] == [one.words for one in same]
    users = {one.user_id for one in played}
    trained = {one.user_id for one in arena.play(np.arange(16), model, chat, max_turn=2)}
    split = np.asarray(arena.world.evaluation)
    assert split[list(users)].all()
    assert not split[list(trained)].any()


def test_a_number_of_conversations_that_no_batch_divides(parts):
    arena, model, chat = parts
    keys = arena.keys(np.arange(20))
    ones = play_all(arena.train, keys, model, chat, batch=16, temperature=0.0, max_turn=12)
    assert len(ones) == 20
    twos = arena.play(np.arange(4, 20), model, chat, temperature=0.0, max_turn=12)
    assert [one.words for one in ones[4:]] == [one.words for one in twos]


def test_scenarios_follow_from_seed_and_number(parts, world_file):
    arena, _, _ = parts
    keys = [
        np.asarray(jax.random.key_data(a.keys([3, 3, 4])))
        for a in (arena, Arena.of(world_file, seed=5), Arena.of(world_file, seed=6))
    ]
    assert (keys[0] == keys[1]).all()
    assert (keys[0] != keys[2]).any(1).all()
    assert (keys[0][0] == keys[0][1]).all()
    assert (keys[0][0] != keys[0][2]).any()


def test_arguments_of_the_environment_are_taken_apart(world_file):
    arena = Arena.of(world_file, env_kwargs={"max_turns": 3, "variants": False, "max_length": 50})
    assert arena.train.simulator.max_turns == arena.held_out.simulator.max_turns == 3
    assert not arena.held_out.variants
    assert arena.train.max_length == 50
    assert arena.env_kwargs == {"max_turns": 3, "variants": False, "max_length": 50}
    other = arena.with_user(IcerUser())
    assert other.train.opponent is not arena.train.opponent
    assert other.train.simulator is arena.train.simulator
    assert not other.train.variants
    with pytest.raises(ValueError, match="unknown user"):
        Arena.of(world_file, "nobody")
    with pytest.raises(ValueError, match="observation, split cannot be among env_kwargs"):
        Arena.of(world_file, env_kwargs={"split": "train", "observation": "last"})


def test_samples_are_written_to_be_read(tmp_path):
    one = conversation(
        exchange(None, "?", reward=0.25), words=[("User", "Hi"), ("Recommender", "?")]
    )
    heard = one.exchanges[0].heard._replace(cut="it goes on as User")
    one.exchanges = [dataclasses.replace(one.exchanges[0], heard=heard, reply="Sorry?")]
    text = write_samples([one] * 7, tmp_path / "new" / "a.txt", count=2)
    assert text == (tmp_path / "new" / "a.txt").read_text()
    told = "User: Hi\nRecommender: ?\n  [cut off: it goes on as User]\nUser: Sorry?\n(return 0.25)"
    assert text == "\n\n".join([told] * 2) + "\n"


def test_a_watch_validates_once_and_forgets_what_came_after(parts, tmp_path, capsys):
    arena, model, chat = parts
    args = RLArgs(
        model="", out=tmp_path, updates=5, validate_every=2, validation_episodes=16, max_turn=12,
        progress=False,
    )  # fmt: skip
    watch = Watch.of(args, arena, chat, "")
    assert [update for update in range(6) if watch.due(update)] == [0, 2, 4, 5]
    point = watch.validate(model, 2)
    assert point["update"] == 2
    assert point["conversations"] == 16
    assert watch.validate(model, 2) is None
    assert (tmp_path / "samples" / "000002.txt").read_text().count("(return") == 5
    assert json.loads((tmp_path / "curve.json").read_text()) == [point]
    again = Watch.of(args, arena, chat, "")
    assert again.curve == [point]
    again.forget(1)
    assert again.curve == []
    without = Watch.of(dataclasses.replace(args, validation_episodes=0), arena, chat, "")
    assert without.validate(model, 4) is None
    assert capsys.readouterr().out == ""

"""Policies that say acts, measured in the environment of words."""

import jax
import numpy as np
import pytest

from crs_gym.acts import readable_turns
from crs_gym.dialogue import format_turn, say
from crs_gym.envs.text import Conversations, IcerUser
from crs_gym.evaluation.benchmark import benchmark, in_acts
from crs_gym.inference import Metropolis
from crs_gym.policies import make_policy
from crs_gym.simulation import Simulator, evaluation_keys, play

EPISODES = 24


def test_acts_said_in_words_score_what_the_benchmark_of_acts_says(small_world):
    kwargs = {"world": small_world, "max_turns": 4, "variants": False}
    (result,) = benchmark("crs/Dialogue-v0", ["greedy"], EPISODES, 3, kwargs, progress=False)
    assert result.env_id == "crs/Dialogue-v0"
    assert result.env_kwargs == {"max_turns": 4, "variants": False}

    train, held_out = (
        Simulator.of(small_world, split=split, max_turns=4) for split in ("train", "evaluation")
    )
    keys = evaluation_keys(3, EPISODES)
    policy = make_policy("greedy", train, Metropolis.of(16))
    acts = play(held_out, policy, Metropolis.of(16), keys).history
    talk = Conversations(small_world, held_out, IcerUser())
    talk.begin(keys)
    turns = [readable_turns(_row(acts, i)) for i in range(EPISODES)]
    while not talk.done.all():
        texts = [None] * EPISODES
        for i in np.flatnonzero(~talk.done):
            act, _ = turns[i][len(talk.exchanges[i])]
            texts[i] = format_turn(act, say(act, small_world), small_world)
        talk.say(texts)
    returns = [sum(exchange.reward for exchange in one) for one in talk.exchanges]
    np.testing.assert_allclose(returns, result.scores, atol=1e-5)
    assert [len(one) for one in talk.exchanges] == list(result.turns)
    assert len(set(result.scores)) > 3


def test_users_who_decide_by_words_cannot_be_played_in_acts():
    assert in_acts("crs/IcerMacro-v0", {"max_turns": 3}) == ("crs/IcerMacro-v0", {"max_turns": 3})
    with pytest.raises(ValueError, match="ICER users alone"):
        in_acts("crs/Dialogue-v0", {"user": "lm:model"})


def _row(history, i):
    return jax.tree.map(lambda x: x[i], history)

"""The gain of asking, against policies played by hand."""

import numpy as np
import pytest

from crs_gym.evaluation import asking
from crs_gym.evaluation.asking import Asking, least_impatience, worth_of_asking
from crs_gym.evaluation.benchmark import make_env
from crs_gym.evaluation.statistics import Interval
from crs_gym.policies import BeliefGreedy, best_fixed_slates, make_policy
from crs_gym.simulation import evaluation_keys, play


@pytest.mark.slow
def test_the_gain_is_that_of_the_tuned_policy_on_other_training_users(small_world):
    found = worth_of_asking(small_world, 0.4, episodes=256)
    kwargs = {"world": small_world, "user_model": {"leave_dissatisfaction": 0.4}}
    core = make_env("crs/IcerMacro-v0", kwargs, "train").core
    keys = evaluation_keys(1, 256)

    def returns(policy):
        return play(core.simulator, policy, core.inference, keys).reward

    asks = returns(make_policy(found.asks, core.simulator, core.inference))
    never = [returns(p) for p in (BeliefGreedy(), best_fixed_slates(core.simulator))]
    assert found.asks_return == pytest.approx(asks.mean(), abs=1e-5)
    assert found.never_return == pytest.approx(max(map(np.mean, never)), abs=1e-5)
    assert found.gain.mean == pytest.approx(found.asks_return - found.never_return)
    assert found.gain.low < found.gain.mean < found.gain.high


@pytest.mark.parametrize(
    ("margin", "tried"), [(0.0, [0.0]), (0.15, [0.0, 0.1, 0.2]), (9.0, list(asking.IMPATIENCE))]
)
def test_the_search_ends_where_asking_pays(monkeypatch, margin, tried):
    def gains_as_much(world, impatience, episodes):
        gain = Interval(impatience, impatience - 0.1, impatience + 0.1)
        return Asking(impatience, "never-ask", "ask-3-item", 0.0, impatience, gain)

    monkeypatch.setattr(asking, "worth_of_asking", gains_as_much)
    assert [found.impatience for found in least_impatience("films", margin)] == tried

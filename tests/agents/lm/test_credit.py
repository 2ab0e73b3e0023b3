"""Levels are means that can be counted by hand; advantages are those of a plain sum."""

import numpy as np
import pytest

from agents.lm.credit import near_advantages, others_mean, turns_advantages, turns_level


def test_each_is_measured_against_the_others_of_its_group():
    assert others_mean([1, 2, 6, 0, 0, 3], 3).tolist() == [4, 3.5, 1.5, 1.5, 1.5, 0]
    assert others_mean([1, 2], 1).tolist() == [0, 0]
    rng = np.random.default_rng(0)
    users = np.repeat(rng.normal(size=500), 8)  # a part that is the user's, whatever is said
    said = rng.normal(size=users.size)
    left = users + said - others_mean(users + said, 8)
    assert np.var(left) == pytest.approx(1 + 1 / 7, rel=0.05)
    assert np.mean(left * said) == pytest.approx(1, abs=0.05)


def test_the_level_of_a_turn_is_what_others_had_still_to_come():
    rewards = [[-1.0, 3.0], [-1.0, -1.0, 5.0], [4.0], [-1.0, 0.0]]
    # in the mean of all: (2 + 3 + 4 - 1) / 4, (3 + 4 + 0) / 3 and 5
    expected = [
        [(3 + 2) / 2, (4 + 7 / 3) / 2, 5],
        [(2 + 2) / 2, (3 + 7 / 3) / 2, 5],
        [(-1 + 2) / 2, (0 + 7 / 3) / 2, 5],
        [(4 + 2) / 2, 7 / 3, 5],
    ]
    found = turns_level(rewards, 2)
    there = [(i, t) for i, mine in enumerate(rewards) for t in range(len(mine))]
    for i, t in there:
        assert found[i, t] == pytest.approx(expected[i][t])


@pytest.mark.parametrize("decay", [0.0, 0.3, 1.0])
def test_advantages_of_turns_are_sums_of_later_surprises(decay):
    rewards = [[-1.0, 3.0], [-1.0, -1.0, 5.0], [4.0], [-1.0, 0.0]]
    levels = turns_level(rewards, 2)
    found = turns_advantages(rewards, 2, decay)
    for mine, level, advantages in zip(rewards, levels, found, strict=True):
        expected = [*level[1 : len(mine)], 0.0]
        surprise = np.array(mine) + expected - level[: len(mine)]
        for turn in range(len(mine)):
            weights = decay ** np.arange(len(mine) - turn)
            assert advantages[turn] == pytest.approx(weights @ surprise[turn:])
    if decay == 1:
        assert found[1][0] == pytest.approx(3 - levels[1, 0])


def test_how_near_a_turn_came_is_measured_against_the_same_turn_of_others():
    query = np.nan
    near = [[0.2, 0.6], [query, 0.3, 0.9], [0.5], [0.8, query]]
    # in the mean of all: 0.5, 0.45 and 0.9
    beyond = [
        [0.2 - 0.5, 0.6 - (0.3 + 0.45) / 2],
        [0.0, 0.3 - (0.6 + 0.45) / 2, 0.0],
        [0.5 - (0.8 + 0.5) / 2],
        [0.8 - (0.5 + 0.5) / 2, 0.0],
    ]
    for decay in (0.0, 0.5):
        found = near_advantages(near, 2, decay)
        for mine, expected in zip(found, beyond, strict=True):
            later = [
                sum(decay ** (s - t) * expected[s] for s in range(t, len(expected)))
                for t in range(len(expected))
            ]
            assert mine.tolist() == pytest.approx(later)

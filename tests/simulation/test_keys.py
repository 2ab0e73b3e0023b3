"""Keys are functions of seed, episode and turn alone."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils import seeding

from crs_gym.simulation import (
    episode_key,
    evaluation_keys,
    evaluation_seeds,
    seed_key,
    turn_keys,
)


def bits(keys):
    return np.asarray(jax.random.key_data(keys))


def test_a_seed_gives_the_key_that_a_seeded_environment_would_use():
    generator, _ = seeding.np_random(17)
    np.testing.assert_array_equal(bits(seed_key(17)), bits(seed_key(generator)))
    # the generator has moved on: another reset is another episode
    assert (bits(seed_key(17)) != bits(seed_key(generator))).any()


def test_keys_are_threefry():
    # `rbg` keys give other numbers under vmap
    assert jax.random.key_impl(seed_key(0)) == "threefry2x32"


def test_negative_seed():
    with pytest.raises(gymnasium.error.Error):
        seed_key(-1)


def test_episode_and_turn_keys_are_folds_of_the_counter():
    key = seed_key(3)
    np.testing.assert_array_equal(bits(episode_key(key, 5)), bits(jax.random.fold_in(key, 5)))
    turn = jax.random.fold_in(key, 2)
    user, recommender = turn_keys(key, 2)
    np.testing.assert_array_equal(bits(user), bits(jax.random.fold_in(turn, 0)))
    np.testing.assert_array_equal(bits(recommender), bits(jax.random.fold_in(turn, 1)))


def test_keys_of_one_episode_are_all_different():
    key = episode_key(seed_key(3), 1)
    keys = [jax.random.fold_in(key, 0), *(k for t in range(1, 9) for k in turn_keys(key, t))]
    assert len({tuple(bits(k)) for k in keys}) == len(keys)


def test_evaluation_keys_are_first_episodes_of_their_seeds():
    seeds, keys = evaluation_seeds(4, 6), evaluation_keys(4, 6)
    assert keys.shape == (6,)
    for seed, key in zip(seeds, keys, strict=True):
        np.testing.assert_array_equal(bits(key), bits(episode_key(seed_key(int(seed)), 0)))


@pytest.mark.parametrize("seed", [0, 3])
def test_a_shorter_list_begins_a_longer_one(seed):
    np.testing.assert_array_equal(evaluation_seeds(seed, 50)[:20], evaluation_seeds(seed, 20))
    np.testing.assert_array_equal(
        bits(evaluation_keys(seed, 12))[:5], bits(evaluation_keys(seed, 5))
    )


def test_evaluation_lists_are_without_repetition_or_overlap():
    seeds = np.concatenate([evaluation_seeds(s, 1000) for s in range(3)])
    assert seeds.dtype == np.int64
    assert len(set(seeds.tolist())) == 3000
    assert len({tuple(b) for b in bits(evaluation_keys(0, 100))}) == 100


@pytest.mark.parametrize(("seed", "episodes"), [(0, 0), (0, -3), (-1, 5)])
def test_wrong_evaluation_lists(seed, episodes):
    with pytest.raises(ValueError, match=f"not {episodes} and {seed}"):
        evaluation_seeds(seed, episodes)

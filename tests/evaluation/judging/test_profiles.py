"""Text profiles: which films, and in which words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crs_gym.evaluation.judging import profiles


def popular_films(world, size):
    return np.argsort(-world.popularity, kind="stable")[:size]


def cosines(world, films, phi):
    items = world.item_embeddings[films].astype(np.float64)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    return phi @ items.T / np.linalg.norm(phi, axis=-1, keepdims=True)


def test_of_a_user_known_for_sure_the_best_and_worst_popular_films_are_named(small_world):
    world = small_world.replace(user_std=np.zeros_like(small_world.user_std))
    films = popular_films(world, 150)  # a quarter of 600
    (profile,) = profiles(world, [7], [0])
    scores = cosines(world, films, world.user_mean[7].astype(np.float64))
    ranked = films[np.argsort(-scores)]
    assert set(profile.liked) == set(ranked[:4])
    assert set(profile.disliked) == set(ranked[-3:])
    middle = ranked[len(ranked) // 4 - 1 : -(len(ranked) // 4) + 1]
    assert set(profile.uncertain) <= set(middle)


def test_liked_is_high_and_sure_and_uncertain_is_neither(small_world):
    films = popular_films(small_world, 150)
    rng = np.random.default_rng(1)
    for user, profile in zip(range(5), profiles(small_world, range(5), range(5)), strict=True):
        draws = rng.normal(small_world.user_mean[user], small_world.user_std[user], (20_000, 8))
        scores = cosines(small_world, films, draws)
        mean = dict(zip(films.tolist(), scores.mean(0), strict=True))
        std = dict(zip(films.tolist(), scores.std(0), strict=True))
        low, median, high = np.quantile(list(mean.values()), [0.25, 0.5, 0.75])
        slack = 4 * max(std.values()) / np.sqrt(500)  # of a mean of 500 draws
        bound = np.median(list(std.values())) * 1.1
        for item in (*profile.liked, *profile.disliked):
            assert std[item] <= bound
        sure = sorted(mean[i] for i in mean if std[i] <= np.median(list(std.values())) * 0.9)
        assert all(mean[i] >= sure[-4] - slack for i in profile.liked)
        assert all(mean[i] <= sure[2] + slack for i in profile.disliked)
        assert all(low - slack <= mean[i] <= high + slack for i in profile.uncertain)
        doubtful = sorted(std[i] for i in mean if low + slack <= mean[i] <= high - slack)
        assert all(std[i] >= 0.9 * doubtful[-3] for i in profile.uncertain if len(doubtful) > 9)
        assert mean[profile.liked[0]] > median > mean[profile.disliked[0]]


@settings(max_examples=20, deadline=None)
@given(counts=st.tuples(*[st.integers(1, 12)] * 3), number=st.integers(0, 10**6))
def test_profiles_hold_so_many_different_popular_films(small_world, counts, number):
    (profile,) = profiles(small_world, [3], [number], samples=500, counts=counts)
    assert (len(profile.liked), len(profile.disliked), len(profile.uncertain)) == counts
    assert len(set(profile.items)) == sum(counts)
    assert set(profile.items) <= set(popular_films(small_world, max(150, 4 * sum(counts))).tolist())


def test_dialogue_and_seed_decide_whatever_else_is_in_the_batch(small_world):
    users = np.arange(100) % 9
    many = profiles(small_world, users, range(100))
    assert profiles(small_world, users[66:68], [66, 67]) == many[66:68]
    assert profiles(small_world, users, range(100), seed=1) != many


def test_words_name_every_film_once(small_world):
    (profile,) = profiles(small_world, [0], [0])
    said = profile.text(small_world)
    asked = " ".join(question for question, _ in profile.interview(small_world))
    for item in profile.items:
        assert said.count(small_world.label(item)) == asked.count(small_world.label(item)) == 1
    likes, dislikes, doubts = said.split(". ", 2)
    assert all(small_world.label(i) in likes for i in profile.liked)
    assert all(small_world.label(i) in dislikes for i in profile.disliked)
    assert all(small_world.label(i) in doubts for i in profile.uncertain)


def test_too_few_films_are_told(plane_world):
    with pytest.raises(ValueError, match="at least 44"):
        profiles(plane_world, [0], [0], counts=(4, 4, 3))
    with pytest.raises(ValueError, match="each kind"):
        profiles(plane_world, [0], [0], counts=(4, 0, 3))

"""Variety of words, and films that exist."""

import pytest

from crs_gym.evaluation.judging.wording import distinct, factuality, variety
from crs_gym.world import load_world


def test_distinct_n_grams_by_hand():
    texts = ["The cat saw the cat.", "the CAT!"]
    assert distinct(texts, 1) == 3 / 7
    # the cat, cat saw, saw the, the cat; the cat
    assert distinct(texts, 2) == 3 / 5
    assert distinct(texts, 3) == 3 / 3
    assert distinct(texts, 4) == 2 / 2
    assert distinct(texts, 6) is None
    assert distinct(["don't don't"], 1) == 1 / 2
    with pytest.raises(ValueError, match="at least one"):
        distinct(texts, 0)


def test_variety_is_of_each_speaker():
    lines = [("Recommender", "a b c d e"), ("User", "yes yes")]
    found = variety([lines, lines])
    assert found == {
        "recommender": [5 / 10, 4 / 8, 3 / 6, 2 / 4],
        "user": [1 / 4, 1 / 2, None, None],
    }


def test_films_that_exist_do_and_others_do_not():
    world = load_world("films")
    says = {
        "Have you seen Heat (1995) or The Matrix (1999)?": (2, 0, 0),
        "Have you seen Heat (1991), or Foobar Rising (2003)?": (0, 1, 1),
        "I liked Shrek 7 (2001).": (0, 0, 1),
        "In 1999 I saw a film about it.": (0, 0, 0),
        "The Matrix is from 1999, and Heat was good.": (0, 0, 0),
    }
    for text, counts in says.items():
        figures = factuality([[("User", text)]], [0], world)
        assert all(figure.n == sum(counts) for figure in figures)
        if sum(counts):
            assert [figure.mean * figure.n for figure in figures] == list(counts)

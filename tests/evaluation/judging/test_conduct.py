"""Redundancy and attribute consistency, against dialogues counted by hand."""

import math

import numpy as np
import pytest

from crs_gym.acts import (
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Recommendation,
    Reject,
)
from crs_gym.evaluation.judging.conduct import attribute_consistency, redundancy
from crs_gym.evaluation.judging.hearing import hear
from tests.evaluation.judging.dialogues import means, told


def test_repetitions_by_hand(dialogues, small_world):
    talk = told(
        dialogues[0],
        small_world,
        (ItemQuery((1, 2)), Choice(1)),
        (ItemQuery((2, 1)), Choice(1)),  # a slate again
        (ItemQuery((2, 3)), Choice(3)),  # a film again
        (Recommendation((3, 4)), Critique(3, 5, 1)),  # a film again
        (Recommendation((4, 9)), Reject()),  # an offer again
        (AttributeQuery(20, 0), Answer(0, 1)),
        (AttributeQuery(21, 0), Answer(0, 1)),  # an attribute again
        (AttributeQuery(22, 5), Answer(5, 1)),  # one that was criticised
        (AttributeQuery(21, 0, -1), Answer(0, 1)),  # the same question in other words
        (Recommendation(()), Reject()),
        (Recommendation(()), Reject()),
    )
    found = means(redundancy([talk], hear([talk], small_world)))
    assert found == pytest.approx(
        {
            "redundant acts": 5 / 11,
            "repeated slates": 2 / 11,
            "repeated offers": 1 / 11,
            "repeated attributes": 3 / 11,
            "films named again": 5 / 11,
        }
    )


def test_wishes_by_hand(dialogues, small_world):
    order = [int(item) for item in np.argsort(small_world.attribute_scores[:, 2])]
    low, middle, high = order[0], order[300], order[-1]
    talk = told(
        dialogues[0],
        small_world,
        (AttributeQuery(middle, 2), Answer(2, 1)),
        (Recommendation((high, order[301])), Critique(high, 2, -1)),  # followed
        (ItemQuery((low, middle)), Choice(low)),  # followed
        (AttributeQuery(middle, 2), Answer(2, -1)),  # no wish before it
        (Recommendation((high,)), Reject()),  # not followed
        (Recommendation(()), Reject()),
    )
    found = attribute_consistency([talk], hear([talk], small_world), small_world)
    assert means(found) == pytest.approx(
        {
            "wishes followed": 2 / 3,
            "wishes followed by offers": 1 / 2,
            # more than the middle, less than the highest, less than the middle
            "wishes followed by chance": (299 + 599 + 300) / 1800,
        }
    )
    assert [figure.n for figure in found] == [3, 2, 3]


def test_films_at_random_follow_wishes_by_chance(dialogues, small_world):
    rng = np.random.default_rng(2)
    talks = []
    for dialogue in dialogues:
        film, g = int(rng.integers(600)), int(rng.integers(6))
        wish = AttributeQuery(film, g), Answer(g, int(rng.choice([-1, 1])))
        talks.append(
            told(dialogue, small_world, wish, (Recommendation((int(rng.integers(600)),)), Reject()))
        )
    found = means(attribute_consistency(talks, hear(talks, small_world, True), small_world))
    deviation = 0.5 / math.sqrt(len(talks))
    assert abs(found["wishes followed"] - found["wishes followed by chance"]) < 4 * deviation

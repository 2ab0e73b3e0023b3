"""The two films that a judge chooses between."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crs_gym.evaluation.judging import make_cases, make_pair
from crs_gym.evaluation.judging.pairs import named_items

EMBEDDINGS = st.lists(st.floats(-3, 3, width=32), min_size=8, max_size=8).map(np.float32)


@settings(max_examples=60, deadline=None)
@given(phi=EMBEDDINGS, seed=st.integers(0, 2**32), data=st.data())
def test_one_of_the_top_and_one_of_the_bottom_quarter_and_nothing_excluded(
    small_world, phi, seed, data
):
    excluded = data.draw(st.sets(st.integers(0, 599), max_size=60))
    pair = make_pair(phi, small_world, excluded, seed)
    utilities = small_world.item_embeddings @ phi
    better, worse = pair.items[pair.better], pair.items[1 - pair.better]
    assert not {better, worse} & excluded
    ordered = np.sort(utilities)
    assert utilities[better] >= ordered[-150]
    assert utilities[worse] <= ordered[149]
    for item, gain in zip(pair.items, pair.gains, strict=True):
        # where utilities are tied, ranks between the ties
        under, upto = (utilities < utilities[item]).sum(), (utilities <= utilities[item]).sum() - 1
        assert under / 599 - 0.25 - 1e-9 <= gain <= upto / 599 - 0.25 + 1e-9
    assert pair.gains[pair.better] > pair.gains[1 - pair.better]


def test_films_are_drawn_evenly_and_either_may_come_first(small_world, goodness_of_fit):
    phi = np.random.default_rng(0).normal(size=8).astype(np.float32)
    places = np.argsort(np.argsort(small_world.item_embeddings @ phi))
    pairs = [make_pair(phi, small_world, seed=(5, n)) for n in range(4000)]
    top = [places[pair.items[pair.better]] - 450 for pair in pairs]
    bottom = [places[pair.items[1 - pair.better]] for pair in pairs]
    for drawn in (top, bottom):
        counts = np.bincount(np.array(drawn) // 10, minlength=15)
        assert goodness_of_fit(counts, np.full(15, 1 / 15)) > 1e-4
    first = sum(pair.better == 0 for pair in pairs)
    assert abs(first - 2000) < 4 * np.sqrt(1000)


def test_an_exhausted_quarter_is_told(small_world):
    with pytest.raises(ValueError, match="nothing is left"):
        make_pair(np.ones(8, np.float32), small_world, range(600))


def test_cases_avoid_the_profile_and_if_asked_what_was_named(dialogues, small_world, cases):
    unnamed = make_cases(dialogues, small_world, unnamed=True)
    overlaps = 0
    for dialogue, plain, apart in zip(dialogues, cases, unnamed, strict=True):
        named = named_items(dialogue)
        assert not set(plain.pair.items) & set(plain.profile.items)
        assert not set(apart.pair.items) & (named | set(apart.profile.items))
        overlaps += bool(set(plain.pair.items) & named)
    assert overlaps  # as in the paper, which lets them be


def test_cases_follow_from_dialogue_and_seed(dialogues, small_world, cases):
    again = make_cases(dialogues[10:12], small_world)
    assert [case.pair for case in again] == [case.pair for case in cases[10:12]]
    assert [case.profile for case in again] == [case.profile for case in cases[10:12]]
    other = make_cases(dialogues[10:12], small_world, seed=1)
    assert [case.pair for case in again] != [case.pair for case in other]


def test_cases_hold_the_words_turn_by_turn(dialogues, cases):
    for dialogue, case in zip(dialogues[:20], cases, strict=False):
        assert len(case.words) == len(dialogue.turns)
        assert [words for turn in case.words for words in turn] == [
            words for _, words in dialogue.lines()
        ]

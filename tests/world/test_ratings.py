"""The table of ratings: validation, filtering, splitting, generation."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crs_gym.world.errors import DataError
from crs_gym.world.ratings import Ratings, Tags, synthetic_ratings


def table(**changes: Any) -> Ratings:
    """Three users, four films; film 3 has one rating, by user 2 alone."""
    fields: dict[str, Any] = {
        "users": np.array([0, 0, 0, 1, 1, 2, 2]),
        "items": np.array([0, 1, 2, 0, 1, 0, 3]),
        "values": np.array([5, 4.5, 4, 3, 3.5, 0.5, 1]),
        "user_ids": np.array([10, 20, 30]),
        "item_ids": np.array([100, 200, 300, 400]),
        "titles": ("A", "B", "C", "D"),
        "years": np.array([1990, 1991, 0, 1993]),
        "genres": (("Drama",), (), ("Comedy", "Crime"), ()),
        "tags": Tags(np.array([0, 2, -1, 2]), np.array([0, 0, 3, 2]), ("x", "y", "z", "w")),
    }
    return Ratings(**(fields | changes))


def triples(ratings: Ratings) -> set[tuple[int, int, float]]:
    return set(
        zip(
            ratings.user_ids[ratings.users].tolist(),
            ratings.item_ids[ratings.items].tolist(),
            ratings.values.tolist(),
            strict=True,
        )
    )


def test_dtypes_shapes_and_counts() -> None:
    ratings = table()
    assert (len(ratings), ratings.n_users, ratings.n_items) == (7, 3, 4)
    expected = {
        "users": np.int32,
        "items": np.int32,
        "values": np.float32,
        "user_ids": np.int64,
        "item_ids": np.int64,
        "years": np.int16,
    }
    for name, dtype in expected.items():
        assert getattr(ratings, name).dtype == dtype, name
    assert ratings.user_counts.tolist() == [3, 2, 2]
    assert ratings.item_counts.tolist() == [3, 2, 1, 1]
    assert ratings.user_counts is ratings.user_counts
    assert len(ratings.users_without_ratings) == 0


def test_arrays_are_read_only_but_the_callers_stay_writable() -> None:
    values = np.ones(7, np.float32)
    ratings = table(values=values)
    with pytest.raises(ValueError, match="read-only"):
        ratings.values[0] = 2
    values[0] = 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"users": np.array([0, 0, 0, 1, 1, 2, 3])}, r"users\[6\] is 3, outside 0 to 2"),
        ({"items": np.array([0, -1, 2, 0, 1, 0, 3])}, r"items\[1\] is -1"),
        ({"users": np.zeros(6, np.int32)}, "users has length 6, expected 7"),
        ({"users": np.zeros(7)}, "whole numbers, not float64"),
        ({"users": np.zeros((7, 1), int)}, "one axis"),
        ({"values": np.array([1, 2, np.nan, 1, 1, 1, 1])}, r"values\[2\] is nan"),
        ({"values": np.array([1, 2, 3, 0, 1, 1, 1])}, r"values\[3\] is 0.0"),
        ({"values": np.array([1, 2, 3, 11, 1, 1, 1])}, r"values\[3\] is 11.0"),
        ({"values": np.empty(0), "users": [], "items": []}, "at least one rating"),
        ({"titles": ("A",)}, "titles has length 1, expected 4"),
        ({"user_ids": np.array([10, 20, 10])}, "user_ids: 10 occurs 2 times"),
        ({"item_ids": np.array([7, 7, 7, 8])}, "item_ids: 7 occurs 3 times"),
        ({"years": np.array([1990, 1991, 0, 99999])}, r"years\[3\] is 99999"),
        ({"tags": Tags(np.array([3]), np.array([0]), ("x",))}, r"tags.users\[0\] is 3"),
        ({"tags": Tags(np.array([0]), np.array([4]), ("x",))}, r"tags.items\[0\] is 4"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(**changes)


def test_tags_need_equal_lengths() -> None:
    with pytest.raises(DataError, match="2 users, 1 items and 1 names"):
        Tags(np.array([0, 1]), np.array([0]), ("x",))


def test_without_limits_only_empty_users_and_films_go() -> None:
    ratings = table(users=np.zeros(7, int), items=np.array([0, 1, 2, 0, 1, 0, 1]))
    assert ratings.users_without_ratings.tolist() == [20, 30]
    kept = ratings.filtered()
    assert kept.user_ids.tolist() == [10]
    assert kept.item_ids.tolist() == [100, 200, 300]
    assert triples(kept) == triples(ratings)


def test_filtering_by_film_keeps_quiet_users_and_follows_everything() -> None:
    kept = table().filtered(min_item_ratings=2)
    assert kept.item_ids.tolist() == [100, 200]
    assert kept.user_ids.tolist() == [10, 20, 30]
    assert kept.titles == ("A", "B")
    assert kept.years.tolist() == [1990, 1991]
    assert kept.genres == (("Drama",), ())
    assert triples(kept) == {
        (10, 100, 5),
        (10, 200, 4.5),
        (20, 100, 3),
        (20, 200, 3.5),
        (30, 100, 0.5),
    }
    assert (kept.tags.users.tolist(), kept.tags.items.tolist()) == ([0, 2], [0, 0])
    assert kept.tags.names == ("x", "y")


def test_filtering_by_user_counts_the_films_left_and_repeats() -> None:
    # User 2 is left with one film of two, and without that user film 0 still has two ratings.
    kept = table().filtered(min_item_ratings=2, min_user_ratings=2)
    assert kept.user_ids.tolist() == [10, 20]
    assert kept.item_counts.tolist() == [2, 2]
    assert kept.tags.users.tolist() == [0, -1]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_after_filtering_every_film_and_user_reaches_its_number(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 1000))
    ratings = synthetic_ratings(300, 30, 40, rank=1, seed=seed)
    m, n = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 12))
    try:
        kept = ratings.filtered(m, n)
    except DataError:
        return
    assert kept.item_counts.min() >= max(m, 1)
    assert kept.user_counts.min() >= max(n, 1)
    assert triples(kept) <= triples(ratings)
    again = kept.filtered(m, n)
    assert triples(again) == triples(kept)


def test_nothing_left_says_what_to_lower() -> None:
    with pytest.raises(DataError, match=r"min_item_ratings=9 .* film has 3 .* user 3; lower"):
        table().filtered(min_item_ratings=9)


def test_split_is_a_partition_with_the_same_indices() -> None:
    ratings = synthetic_ratings(1000, 40, 100, rank=2, seed=0)
    train, test = ratings.split(0.25, seed=3)
    assert (len(train), len(test)) == (750, 250)
    assert triples(train) | triples(test) == triples(ratings)
    assert not triples(train) & triples(test)
    for part in (train, test):
        assert part.titles == ratings.titles
        assert np.array_equal(part.user_ids, ratings.user_ids)
        assert np.array_equal(part.item_ids, ratings.item_ids)
    assert train.item_counts.sum() == 750  # counted anew, not taken over from the whole


def test_split_follows_its_seed() -> None:
    ratings = synthetic_ratings(1000, 40, 100, rank=2, seed=0)
    first, again, other = (triples(ratings.split(0.3, seed)[1]) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, 0.01, 0.99, float("nan")])
def test_split_needs_ratings_on_both_sides(share: float) -> None:
    with pytest.raises(ValueError, match="leaves one side empty"):
        table().split(share, seed=0)


def test_synthetic_ratings_are_as_ordered() -> None:
    ratings = synthetic_ratings(20_000, 500, 1000, rank=5, seed=0)
    assert (len(ratings), ratings.n_users, ratings.n_items) == (20_000, 500, 1000)
    keys = ratings.users.astype(np.int64) * ratings.n_items + ratings.items
    assert (np.diff(keys) > 0).all()  # ordered, and no pair twice
    assert set(np.unique(ratings.values).tolist()) <= {k / 2 for k in range(1, 11)}
    assert ratings.user_counts.min() >= 1
    assert 3 < ratings.values.mean() < 4
    by_popularity = np.sort(ratings.item_counts)
    assert by_popularity[-100:].sum() > 0.4 * len(ratings)
    assert np.median(ratings.user_counts) < 0.8 * ratings.user_counts.mean()


def test_synthetic_ratings_follow_their_seed() -> None:
    first, again, other = (synthetic_ratings(500, 20, 60, 3, seed) for seed in (1, 1, 2))
    for field in dataclasses.fields(Ratings):
        if field.name in ("users", "items", "values"):
            assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
    assert triples(first) != triples(other)


def test_synthetic_tastes_have_structure_beyond_biases() -> None:
    def spread(rank: int) -> float:
        """Largest singular value of the doubly centred, fully observed half of a table."""
        ratings = synthetic_ratings(200 * 50, 200, 100, rank, seed=0)
        grid = np.full((200, 100), np.nan)
        grid[ratings.users, ratings.items] = ratings.values
        grid -= np.nanmean(grid, axis=1, keepdims=True)
        grid -= np.nanmean(grid, axis=0, keepdims=True)
        return float(np.linalg.svd(np.nan_to_num(grid), compute_uv=False)[0])

    assert spread(1) > 1.2 * spread(0)


@pytest.mark.parametrize(
    ("n_ratings", "n_users", "n_items", "rank"),
    [(5, 5, 2, 0), (20, 5, 8, 1), (7, 1, 15, 2), (5, 5, 1000, 3)],
)
def test_synthetic_ratings_at_the_edges(
    n_ratings: int, n_users: int, n_items: int, rank: int
) -> None:
    ratings = synthetic_ratings(n_ratings, n_users, n_items, rank, seed=0)
    assert len(ratings) == n_ratings
    assert ratings.user_counts.min() >= 1
    assert len(triples(ratings)) == n_ratings


@pytest.mark.parametrize(
    "numbers", [(4, 5, 100, 1), (301, 5, 120, 1), (0, 0, 100, 1), (5, 5, 1, 1), (5, 5, 10, -1)]
)
def test_synthetic_ratings_refuses_what_does_not_fit(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        synthetic_ratings(*numbers, seed=0)

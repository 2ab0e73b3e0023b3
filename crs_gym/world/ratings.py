"""Ratings of films by users as one frozen table, and a generator of tables of any size."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from crs_gym.world.errors import DataError

_BLOCK = 2_000_000


def _empty_index() -> np.ndarray:
    return np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class Tags:
    """Words that users put on films, T of them; none by default.

    Attributes:
        users: (T,) int32 index of the user; -1 where the user has no ratings.
        items: (T,) int32 index of the film.
        names: T tags, lower-cased and without blanks around them.

    Raises:
        DataError: lengths that do not agree, indices that are not whole numbers.
    """

    users: np.ndarray = field(default_factory=_empty_index)
    items: np.ndarray = field(default_factory=_empty_index)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("users", "items"):
            object.__setattr__(self, key, _whole(f"tags.{key}", getattr(self, key), np.int32))
        if not len(self.users) == len(self.items) == len(self.names):
            raise DataError(
                f"tags: {len(self.users)} users, {len(self.items)} items and {len(self.names)} "
                "names; there must be one of each for every tag"
            )

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Ratings:
    """A table of ratings; R ratings of N films (items) by U users.

    A user or a film may be without ratings (after `split`, for instance). The arrays are read-only
    and, where their dtypes are right already, shared with the caller.

    Attributes:
        users: (R,) int32 index into `user_ids`.
        items: (R,) int32 index into `item_ids`, `titles`, `years` and `genres`.
        values: (R,) float32 stars, in (0, 10] (MovieLens: 0.5 to 5).
        user_ids: (U,) int64 ids in the source, no two alike.
        item_ids: (N,) int64 ids in the source, no two alike.
        titles: N titles without the year, articles in front: `"The Silence of the Lambs"`.
        years: (N,) int16, 0 where unknown.
        genres: N tuples of genre names, possibly empty.
        tags: words that users put on films; empty where the source has none.

    Raises:
        DataError: no ratings, lengths that do not agree, indices out of range, ratings that are NaN
            or outside (0, 10], ids that occur twice.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    titles: tuple[str, ...]
    years: np.ndarray
    genres: tuple[tuple[str, ...], ...]
    tags: Tags = field(default_factory=Tags)

    def __post_init__(self) -> None:
        dtypes: dict[str, type[np.integer[Any]]] = {
            "users": np.int32,
            "items": np.int32,
            "user_ids": np.int64,
            "item_ids": np.int64,
            "years": np.int16,
        }
        for key, dtype in dtypes.items():
            object.__setattr__(self, key, _whole(key, getattr(self, key), dtype))
        object.__setattr__(self, "values", _read_only(np.asarray(self.values, np.float32)))
        if self.values.ndim != 1 or not len(self.values):
            raise DataError("a table of ratings needs at least one rating")
        for key, length in {
            "users": len(self.values),
            "items": len(self.values),
            "titles": len(self.item_ids),
            "years": len(self.item_ids),
            "genres": len(self.item_ids),
        }.items():
            if len(getattr(self, key)) != length:
                raise DataError(f"{key} has length {len(getattr(self, key))}, expected {length}")
        _check_range("users", self.users, 0, self.n_users)
        _check_range("items", self.items, 0, self.n_items)
        _check_range("tags.users", self.tags.users, -1, self.n_users)
        _check_range("tags.items", self.tags.items, 0, self.n_items)
        good = (self.values > 0) & (self.values <= 10)
        if not good.all():
            row = int(np.argmin(good))
            raise DataError(f"values[{row}] is {self.values[row]}; ratings lie in (0, 10]")
        for key in ("user_ids", "item_ids"):
            ids, times = np.unique(getattr(self, key), return_counts=True)
            if len(ids) and times.max() > 1:
                raise DataError(f"{key}: {ids[times.argmax()]} occurs {times.max()} times")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @cached_property
    def user_counts(self) -> np.ndarray:
        """(U,) int64: how many films each user rated."""
        return _read_only(np.bincount(self.users, minlength=self.n_users))

    @cached_property
    def item_counts(self) -> np.ndarray:
        """(N,) int64: how many users rated each film."""
        return _read_only(np.bincount(self.items, minlength=self.n_items))

    @property
    def users_without_ratings(self) -> np.ndarray:
        """Source ids, int64, of the users who rated nothing; a fit knows nothing about them."""
        ids: np.ndarray = self.user_ids[self.user_counts == 0]
        return ids

    def filtered(self, min_item_ratings: int = 0, min_user_ratings: int = 0) -> Ratings:
        """The table without rarely rated films and, only where asked, without quiet users.

        Films with fewer than `min_item_ratings` ratings go first, then users with fewer than
        `min_user_ratings` on the films left; as that takes ratings from films, both are repeated
        until every film and every user left reaches its number. Films and users left without any
        rating go in any case. Indices are made consecutive again, in the same order. Tags on films
        that went go with them; tags by users who went stay, with user -1.

        Raises:
            DataError: no film or no user reaches the numbers asked for.
        """
        items = np.ones(self.n_items, bool)
        users = np.ones(self.n_users, bool)
        rows = np.ones(len(self), bool)
        while True:
            per_item = np.bincount(self.items[rows], minlength=self.n_items)
            keep_items = items & (per_item >= max(min_item_ratings, 1))
            rows &= keep_items[self.items]
            per_user = np.bincount(self.users[rows], minlength=self.n_users)
            keep_users = users & (per_user >= max(min_user_ratings, 1))
            rows &= keep_users[self.users]
            settled = (keep_items == items).all() and (keep_users == users).all()
            items, users = keep_items, keep_users
            if settled:
                break
        if not rows.any():
            raise DataError(
                f"no ratings are left with min_item_ratings={min_item_ratings} and "
                f"min_user_ratings={min_user_ratings}: the most rated film has "
                f"{self.item_counts.max()} and the most active user {self.user_counts.max()}; "
                "lower these numbers"
            )
        new_item = _positions(items)
        new_user = _positions(users)
        chosen = np.flatnonzero(items)
        tagged = items[self.tags.items]
        tag_users = self.tags.users[tagged]
        return Ratings(
            users=new_user[self.users[rows]],
            items=new_item[self.items[rows]],
            values=self.values[rows],
            user_ids=self.user_ids[users],
            item_ids=self.item_ids[items],
            titles=tuple(self.titles[i] for i in chosen),
            years=self.years[items],
            genres=tuple(self.genres[i] for i in chosen),
            tags=Tags(
                users=np.where(tag_users >= 0, new_user[tag_users], np.int32(-1)),
                items=new_item[self.tags.items[tagged]],
                names=tuple(self.tags.names[t] for t in np.flatnonzero(tagged)),
            ),
        )

    def split(self, test_share: float, seed: int) -> tuple[Ratings, Ratings]:
        """Splits the ratings at random into a training and a test table.

        Both keep all users, films and tags, so that an index means the same in each; the order of
        the ratings stays.

        Args:
            test_share: share of the ratings in the test table, in (0, 1), rounded to whole ratings.
            seed: the same seed gives the same split.

        Raises:
            ValueError: `test_share` is outside (0, 1), or leaves one side without ratings.
        """
        size = round(test_share * len(self)) if 0 < test_share < 1 else 0
        if not 0 < size < len(self):
            raise ValueError(
                f"test_share={test_share} of {len(self)} ratings leaves one side empty; take a "
                "share between 0 and 1 that gives each side at least one rating"
            )
        test = np.zeros(len(self), bool)
        chosen = np.random.default_rng(seed).choice(len(self), size, replace=False, shuffle=False)
        test[chosen] = True
        return self._rows(~test), self._rows(test)

    def _rows(self, mask: np.ndarray) -> Ratings:
        return replace(
            self, users=self.users[mask], items=self.items[mask], values=self.values[mask]
        )


def synthetic_ratings(n_ratings: int, n_users: int, n_items: int, rank: int, seed: int) -> Ratings:
    """A generated table of ratings with popularity and activity like those of MovieLens.

    Films are drawn by a Zipf-like popularity, users rate a log-normal number of films (at least
    one, at most half of them) and no film twice. A rating is 3.6 plus a bias of the user, a bias of
    the film (popular films are liked better), the product of two vectors of length `rank` and
    noise, rounded to half stars in 0.5 to 5. Rows are ordered by user, then by film; a film of the
    far tail may be without ratings. 25 million ratings take about 1 GB and a minute.

    Args:
        n_ratings: exact number of ratings, from `n_users` to `n_users * (n_items // 2)`.
        n_users: number of users.
        n_items: number of films.
        rank: length of the taste vectors; 0 for biases and noise alone.
        seed: the same arguments give the same table.

    Raises:
        ValueError: numbers that do not fit together.
    """
    most = n_items // 2
    if not (n_users > 0 and rank >= 0 and n_users <= n_ratings <= n_users * most):
        raise ValueError(
            f"n_ratings={n_ratings} must lie between n_users={n_users} and n_users * (n_items // 2)"
            f"={n_users * most}, with at least one user and rank={rank} not negative"
        )
    rng = np.random.default_rng(seed)
    counts = _activity(rng, n_ratings, n_users, most)
    # Zipf-Mandelbrot: with 59,000 films the 1,000th is rated about ten times less than the first.
    popularity = (np.arange(n_items) + 0.004 * n_items + 1) ** -1.8
    rng.shuffle(popularity)
    cumulative = np.cumsum(popularity / popularity.sum())
    log_popularity = np.log(popularity)
    liked = (log_popularity - log_popularity.mean()) / max(float(log_popularity.std()), 1e-9)
    user_bias = rng.normal(0, 0.45, n_users).astype(np.float32)
    item_bias = (0.2 * liked + rng.normal(0, 0.4, n_items)).astype(np.float32)
    item_bias -= np.float32(popularity @ item_bias / popularity.sum())
    scale = np.sqrt(0.45) / max(rank, 1) ** 0.25
    user_taste = rng.normal(0, scale, (n_users, rank)).astype(np.float32)
    item_taste = rng.normal(0, scale, (n_items, rank)).astype(np.float32)

    users = np.repeat(np.arange(n_users, dtype=np.int32), counts)
    items = np.empty(n_ratings, np.int32)
    values = np.empty(n_ratings, np.float32)
    ends = np.cumsum(counts)
    first = 0
    while first < n_users:
        begin = int(ends[first] - counts[first])
        last = max(int(np.searchsorted(ends, begin + _BLOCK, side="right")), first + 1)
        part = slice(begin, int(ends[last - 1]))
        items[part] = _draw_items(rng, counts[first:last], cumulative)
        u, i = users[part], items[part]
        taste = np.einsum("rk,rk->r", user_taste[u], item_taste[i])
        noise = rng.normal(0, 0.8, len(u)).astype(np.float32)
        stars = 3.6 + user_bias[u] + item_bias[i] + taste + noise
        values[part] = np.clip(np.round(stars * 2) / 2, 0.5, 5)
        first = last
    return Ratings(
        users=users,
        items=items,
        values=values,
        user_ids=np.arange(1, n_users + 1),
        item_ids=np.arange(1, n_items + 1),
        titles=tuple(f"Film {i}" for i in range(1, n_items + 1)),
        years=np.zeros(n_items, np.int16),
        genres=((),) * n_items,
    )


def _activity(rng: np.random.Generator, total: int, n_users: int, most: int) -> np.ndarray:
    """(n_users,) int64 numbers of ratings in [1, most] that add up to `total`."""
    # In ml-latest-small the mean is 2.34 times the median: the log's deviation is 1.3.
    weights = rng.lognormal(0, 1.3, n_users)
    low, high = 0.0, most / float(weights.min())
    for _ in range(100):
        middle = (low + high) / 2
        if np.clip(weights * middle, 1, most).astype(np.int64).sum() > total:
            high = middle
        else:
            low = middle
    counts = np.clip(weights * low, 1, most).astype(np.int64)
    while (left := total - int(counts.sum())) > 0:
        room = rng.permutation(np.flatnonzero(counts < most))
        counts[room[:left]] += 1
    return counts


def _draw_items(rng: np.random.Generator, counts: np.ndarray, cumulative: np.ndarray) -> np.ndarray:
    """counts[u] different items for each user u in turn, ascending; (counts.sum(),) int64."""
    n_items = len(cumulative)
    keys = np.empty(0, np.int64)
    missing = counts
    attempt = 0
    while missing.any():
        users = np.repeat(np.arange(len(counts)), np.where(missing > 0, missing * 5 // 4 + 4, 0))
        if attempt < 4:
            drawn = np.searchsorted(cumulative, rng.random(len(users)), side="right")
            drawn = np.minimum(drawn, n_items - 1)
        else:
            # The most active users have exhausted the popular films; what they lack is in the tail.
            drawn = rng.integers(n_items, size=len(users))
        # Sorting is what makes this quick: np.unique hashes, and was 20 times slower on such keys.
        new = np.sort(users * n_items + drawn)
        fresh = np.append(True, new[1:] != new[:-1])
        if len(keys):
            fresh &= keys[np.minimum(np.searchsorted(keys, new), len(keys) - 1)] != new
        new = new[fresh]
        new = new[np.lexsort((rng.random(len(new)), new // n_items))]
        owner = new // n_items
        place = np.arange(len(new)) - np.searchsorted(owner, owner)
        keys = np.sort(np.concatenate([keys, new[place < missing[owner]]]))
        missing = counts - np.bincount(keys // n_items, minlength=len(counts))
        attempt += 1
    return keys % n_items


def _positions(mask: np.ndarray) -> np.ndarray:
    """(len(mask),) int32: the place of each chosen entry among the chosen, -1 for the others."""
    return np.where(mask, np.cumsum(mask) - 1, -1).astype(np.int32)


def _read_only(array: np.ndarray) -> np.ndarray:
    # A view: freezing the caller's own array would surprise the caller.
    view = array.view()
    view.setflags(write=False)
    return view


def _whole(name: str, array: np.ndarray, dtype: type[np.integer[Any]]) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 1:
        raise DataError(f"{name} must have one axis, not shape {array.shape}")
    if not len(array):
        array = array.astype(dtype)
    if array.dtype.kind not in "iu":
        raise DataError(f"{name} must hold whole numbers, not {array.dtype}")
    if array.dtype != dtype:
        limits = np.iinfo(dtype)
        _check_range(name, array, limits.min, limits.max + 1)
    return _read_only(array.astype(dtype, copy=False))


def _check_range(name: str, index: np.ndarray, low: int, high: int) -> None:
    if len(index) and not (low <= int(index.min()) and int(index.max()) < high):
        bad = int(np.argmax((index < low) | (index >= high)))
        raise DataError(f"{name}[{bad}] is {index[bad]}, outside {low} to {high - 1}")

"""Reads the MovieLens data sets of GroupLens, in all their layouts."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from tqdm import tqdm

from crs_gym.world.errors import DataError
from crs_gym.world.ratings import Ratings, Tags
from crs_gym.world.titles import split_title

_CHUNK = 1 << 23
_AGAIN = "correct it, or get the data set again from https://grouplens.org/datasets/movielens/"
_NO_GENRE = {"(no genres listed)", "unknown", ""}


class _Layout(NamedTuple):
    ratings: str
    films: str
    tags: str | None
    genres: str | None
    separator: str
    columns: tuple[str, ...] | None
    """Names of the columns of the ratings file; None where its first line has them."""

    def required(self) -> list[str]:
        return [name for name in (self.ratings, self.films, self.genres) if name]


_FIELDS = ("userId", "movieId", "rating", "timestamp")
_LAYOUTS = (
    _Layout("ratings.csv", "movies.csv", "tags.csv", None, ",", None),
    _Layout("ratings.dat", "movies.dat", "tags.dat", None, "::", _FIELDS),
    _Layout("u.data", "u.item", None, "u.genre", "\t", _FIELDS),
)


class _Film(NamedTuple):
    line: int
    id: int
    title: str
    genres: tuple[str, ...]


def read_movielens(path: str | os.PathLike[str], progress: bool = False) -> Ratings:
    """Reads a MovieLens data set from a folder or a zip file.

    Known layouts, told apart by the files that are there (at the top or one folder down): `.csv`
    (latest, latest-small, 20M, 25M, 32M), `.dat` (1M, 10M), and `u.data` with `u.item` and
    `u.genre` (100K). Only films with at least one rating are kept, ordered by id, as are the users;
    the ratings keep the order of the file. Where a user rated a film more than once, the last
    rating in the file is kept. Tags are read where there is a file of them; those on films that
    nobody rated are left out. Empty lines are skipped, timestamps are not read.

    Args:
        path: the folder or the zip file, e.g. `"ml-latest-small.zip"`.
        progress: show a progress bar, by bytes, for the file of ratings.

    Raises:
        DataError: there is nothing at `path`, a file of the layout is missing, empty or truncated,
            or has a broken line: wrong number of fields, no number where one belongs, a rating
            outside (0, 10], an unknown film, a film listed twice. The message names file and line.
    """
    with _Files(Path(path)) as files:
        layout, folder = _find_layout(files)
        films = _read_films(files, layout, folder)
        films.sort(key=lambda film: film.id)
        film_ids = np.array([film.id for film in films], np.int64)
        raw_users, items, values = _read_ratings(files, layout, folder, film_ids, progress)
        raw_tags = _read_tags(files, layout, folder)

    user_ids, users = np.unique(raw_users, return_inverse=True)
    users = users.astype(np.int32)
    keep = _last_of_each_pair(users, items, len(films))
    if keep is not None:
        users, items, values = users[keep], items[keep], values[keep]
    rated = np.bincount(items, minlength=len(films)) > 0
    films = [film for film, has_ratings in zip(films, rated, strict=True) if has_ratings]
    film_ids = film_ids[rated]
    names = [split_title(film.title) for film in films]
    return Ratings(
        users=users,
        items=(np.cumsum(rated, dtype=np.int32) - 1)[items],
        values=values,
        user_ids=user_ids,
        item_ids=film_ids,
        titles=tuple(title for title, _ in names),
        years=np.array([year for _, year in names], np.int16),
        genres=tuple(film.genres for film in films),
        tags=_index_tags(raw_tags, user_ids, film_ids),
    )


class _Files:
    """The files of a folder or a zip, down to one folder inside; names are written with `/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self.sizes: dict[str, int] = {}
        if path.is_dir():
            inside = (file for pattern in ("*", "*/*") for file in path.glob(pattern))
            self.sizes = {
                file.relative_to(path).as_posix(): file.stat().st_size
                for file in inside
                if file.is_file()
            }
        elif path.is_file():
            with self._whole(path.name):
                self._zip = zipfile.ZipFile(path)
            self.sizes = {
                entry.filename: entry.file_size
                for entry in self._zip.infolist()
                if entry.filename.count("/") <= 1 and not entry.is_dir()
            }
        else:
            raise DataError(
                f"there is no folder or zip file at {path}; download a data set such as "
                "ml-latest-small.zip from https://grouplens.org/datasets/movielens/ and give its "
                "path"
            )

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def where(self, name: str) -> str:
        return f"{self.path}: {name}" if self._zip is not None else str(self.path / name)

    def text(self, name: str) -> str:
        """The whole file, as UTF-8 or else, as in the older data sets, Latin-1."""
        with self.open(name) as stream:
            data = stream.read()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if name.endswith(".csv"):
                line = data[: error.start].count(b"\n") + 1
                raise _broken(self.where(name), line, f"not UTF-8 text ({error.reason})") from error
            text = data.decode("latin-1")
        return text

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self._whole(name):
            opened: IO[bytes] = (
                self._zip.open(name) if self._zip is not None else (self.path / name).open("rb")
            )
            with opened as stream:
                yield stream

    @contextlib.contextmanager
    def _whole(self, name: str) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            if self.path.is_dir():
                raise
            raise DataError(
                f"{self.path} cannot be read as a zip file, at {name}: {error}; it may be "
                "truncated: download it again, or unpack it and give the folder"
            ) from error


def _find_layout(files: _Files) -> tuple[_Layout, str]:
    """The layout and the folder (`""`, or `"ml-1m/"`) that has it; the top comes first."""
    folders = sorted({name.rpartition("/")[0] + "/" for name in files.sizes if "/" in name})
    for level in ([""], folders):
        found = [
            (layout, folder)
            for folder in level
            for layout in _LAYOUTS
            if all(folder + name in files.sizes for name in layout.required())
        ]
        if len(found) == 1:
            layout, folder = found[0]
            for name in layout.required():
                if not files.sizes[folder + name]:
                    raise _broken(files.where(folder + name), 1, "the file is empty")
            return layout, folder
        if found:
            several = ", ".join(folder + layout.ratings for layout, folder in found)
            raise DataError(
                f"{files.path} has several data sets ({several}); give the folder of one of them"
            )
    wanted = "; or ".join(" and ".join(layout.required()) for layout in _LAYOUTS)
    known = {name for layout in _LAYOUTS for name in layout.required()}
    there = [name for name in files.sizes if name.rpartition("/")[2] in known]
    raise DataError(
        f"{files.path} holds no MovieLens data set: looked, there and one folder down, for "
        f"{wanted}; found of these {', '.join(sorted(there)) or 'none'}; give the folder or zip "
        "file that has them"
    )


def _read_films(files: _Files, layout: _Layout, folder: str) -> list[_Film]:
    name = folder + layout.films
    where = files.where(name)
    text = files.text(name)
    if layout.genres:
        genre_names = _read_genres(files, folder + layout.genres)
        rows = _flagged_films(text, where, genre_names)
    elif layout.separator == ",":
        rows = _listed_films(_csv_rows(text, where, ("movieId", "title", "genres")), where)
    else:
        rows = _listed_films(_split_rows(text, where, layout.separator, 3), where)
    films: list[_Film] = []
    lines: dict[int, int] = {}
    for film in rows:
        if film.id in lines:
            what = f"film {film.id} is listed before, in line {lines[film.id]}"
            raise _broken(where, film.line, what)
        lines[film.id] = film.line
        films.append(film)
    if not films:
        raise _broken(where, 1, "the file lists no films")
    return films


def _listed_films(rows: Iterator[tuple[int, list[str]]], where: str) -> Iterator[_Film]:
    for line, (film, title, genres) in rows:
        names = tuple(g for g in genres.strip().split("|") if g not in _NO_GENRE)
        yield _Film(line, _number(film, "movie id", where, line), title, names)


def _flagged_films(text: str, where: str, genre_names: list[str]) -> Iterator[_Film]:
    # Five fields (id, title, two dates, address), then a 0 or 1 for each genre.
    for line, row in _split_rows(text, where, "|", 5 + len(genre_names)):
        flags = row[5:]
        if not set(flags) <= {"0", "1"}:
            raise _broken(where, line, f"genre flags must be 0 or 1, not {'|'.join(flags)!r}")
        names = tuple(
            g
            for g, flag in zip(genre_names, flags, strict=True)
            if flag == "1" and g not in _NO_GENRE
        )
        yield _Film(line, _number(row[0], "movie id", where, line), row[1], names)


def _read_genres(files: _Files, name: str) -> list[str]:
    where = files.where(name)
    names: dict[int, str] = {}
    for line, (genre, number) in _split_rows(files.text(name), where, "|", 2):
        names[_number(number, "genre number", where, line)] = genre
    if not names or sorted(names) != list(range(len(names))):
        raise _broken(where, 1, "genres must be numbered 0, 1, 2, ...")
    return [names[number] for number in range(len(names))]


def _csv_rows(text: str, where: str, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each row, with the fields in the order of `columns`."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        places = _header_places(header, columns, where)
        line = reader.line_num + 1
        for row in reader:
            if row:
                if len(row) != len(header):
                    raise _wrong_count(where, line, len(row), len(header))
                yield line, [row[place] for place in places]
            line = reader.line_num + 1
    except csv.Error as error:
        raise _broken(where, line, f"not CSV ({error})") from error


def _split_rows(
    text: str,
    where: str,
    separator: str,
    n_fields: int,
    *,
    first_line: int = 1,
    free: int | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each row; the field number `free` may hold the separator itself."""
    for line, row in enumerate(text.split("\n"), start=first_line):
        row = row.removesuffix("\r")
        if not row:
            continue
        fields = row.split(separator)
        if free is not None and len(fields) > n_fields:
            end = free + len(fields) - n_fields + 1
            fields[free:end] = [separator.join(fields[free:end])]
        if len(fields) != n_fields:
            raise _wrong_count(where, line, len(fields), n_fields)
        yield line, fields


def _header_places(header: Sequence[str], columns: tuple[str, ...], where: str) -> list[int]:
    names = [name.strip() for name in header]
    missing = [name for name in columns if name not in names]
    if missing:
        raise _broken(
            where,
            1,
            f"the header must name the columns {', '.join(columns)}; {', '.join(missing)} not "
            f"found in {','.join(header)[:80]!r}",
        )
    return [names.index(name) for name in columns]


class _RatingLines:
    """Parses blocks of whole lines of a ratings file; quick where all is well."""

    def __init__(
        self, where: str, separator: str, n_fields: int, places: list[int], film_ids: np.ndarray
    ) -> None:
        self._where = where
        self._separator = separator
        self._n_fields = n_fields
        self._places = places
        self._film_ids = film_ids
        self._pattern = np.frombuffer(b"," * (n_fields - 1) + b"\n", np.uint8)
        kinds = [("user", np.int64), ("film", np.int64), ("rating", np.float32)]
        order = sorted(range(3), key=places.__getitem__)
        self._dtype = np.dtype([kinds[k] for k in order])
        self._use = sorted(places)

    def parse(self, block: bytes, line: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(users int64 ids, films int32 indices, ratings float32) of the lines from `line` on."""
        rows = self._quickly(block)
        # Only a block with something odd in it is gone through line by line, to say where.
        return rows if rows is not None else self._line_by_line(block, line)

    def _quickly(self, block: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        if self._separator != ",":
            if b"," in block:
                return None
            block = block.replace(self._separator.encode(), b",")
        block = block.replace(b"\r\n", b"\n")
        if not block.endswith(b"\n"):
            block += b"\n"
        data = np.frombuffer(block, np.uint8)
        marks = data[(data == ord(",")) | (data == ord("\n"))]
        if len(marks) % self._n_fields:
            return None
        if (marks.reshape(-1, self._n_fields) != self._pattern).any():
            return None
        try:
            lines = block.decode("ascii").split("\n")
            table = np.loadtxt(
                lines, self._dtype, comments=None, delimiter=",", usecols=self._use, ndmin=1
            )
        except ValueError:
            return None
        if len(table) != len(lines) - 1:
            return None
        users, films, ratings = (
            np.ascontiguousarray(table[name]) for name in ("user", "film", "rating")
        )
        place = np.minimum(np.searchsorted(self._film_ids, films), len(self._film_ids) - 1)
        good = (self._film_ids[place] == films) & (users >= 0) & (ratings > 0) & (ratings <= 10)
        return (users, place.astype(np.int32), ratings) if good.all() else None

    def _line_by_line(self, block: bytes, line: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = {film: place for place, film in enumerate(self._film_ids.tolist())}
        users: list[int] = []
        films: list[int] = []
        ratings: list[float] = []
        text = block.decode("latin-1")
        rows = _split_rows(text, self._where, self._separator, self._n_fields, first_line=line)
        for line, fields in rows:
            user, film, rating = (fields[place] for place in self._places)
            users.append(_number(user, "user id", self._where, line))
            films.append(index.get(_number(film, "movie id", self._where, line), -1))
            if films[-1] < 0:
                raise _broken(self._where, line, f"film {film} is not in the list of films")
            try:
                ratings.append(float(rating))
            except ValueError:
                raise _broken(
                    self._where, line, f"the rating is not a number: {rating!r}"
                ) from None
            if not 0 < ratings[-1] <= 10:
                raise _broken(
                    self._where, line, f"the rating {rating} lies outside 0 (excluded) to 10"
                )
        return np.array(users, np.int64), np.array(films, np.int32), np.array(ratings, np.float32)


def _read_ratings(
    files: _Files, layout: _Layout, folder: str, film_ids: np.ndarray, progress: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R,) int64 user ids, (R,) int32 indices into `film_ids`, (R,) float32 stars."""
    name = folder + layout.ratings
    where = files.where(name)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    bar = tqdm(total=files.sizes[name], desc=name, unit="B", unit_scale=True, disable=not progress)
    with files.open(name) as stream, bar:
        columns: Sequence[str] = layout.columns or ()
        line = 1
        if layout.columns is None:
            first = stream.readline()
            bar.update(len(first))
            columns = next(csv.reader([first.decode("utf-8-sig", "replace")]), [])
            line = 2
        places = _header_places(columns, _FIELDS[:3], where)
        parser = _RatingLines(where, layout.separator, len(columns), places, film_ids)
        rest = b""
        while chunk := stream.read(_CHUNK):
            bar.update(len(chunk))
            block, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                parts.append(parser.parse(block, line))
                line += block.count(b"\n") + 1
        if rest:
            parts.append(parser.parse(rest, line))
    if not sum(len(values) for _, _, values in parts):
        raise _broken(where, 1, "the file holds no ratings")
    users, items, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return users, items, values


def _read_tags(files: _Files, layout: _Layout, folder: str) -> list[tuple[int, int, str]]:
    """(user id, film id, tag) of each line of the file of tags; none where there is no file."""
    if layout.tags is None or folder + layout.tags not in files.sizes:
        return []
    name = folder + layout.tags
    where = files.where(name)
    text = files.text(name)
    if layout.separator == ",":
        rows = _csv_rows(text, where, ("userId", "movieId", "tag"))
    else:
        # What people type may look like the separator.
        rows = _split_rows(text, where, layout.separator, 4, free=2)
    tags: list[tuple[int, int, str]] = []
    known: dict[str, str] = {}
    for line, (user, film, tag, *_) in rows:
        tag = " ".join(tag.lower().split())
        if tag:
            # Millions of tags, few of them different: one string for each.
            tag = known.setdefault(tag, tag)
            user_id = _number(user, "user id", where, line)
            tags.append((user_id, _number(film, "movie id", where, line), tag))
    return tags


def _index_tags(
    tags: list[tuple[int, int, str]], user_ids: np.ndarray, film_ids: np.ndarray
) -> Tags:
    users = {user: place for place, user in enumerate(user_ids.tolist())}
    films = {film: place for place, film in enumerate(film_ids.tolist())}
    kept = [(users.get(user, -1), films[film], tag) for user, film, tag in tags if film in films]
    return Tags(
        users=np.array([user for user, _, _ in kept], np.int32),
        items=np.array([film for _, film, _ in kept], np.int32),
        names=tuple(tag for _, _, tag in kept),
    )


def _last_of_each_pair(users: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray | None:
    """Ascending rows that hold the last rating of each (user, film); None for all rows."""
    keys = users.astype(np.int64) * n_items + items
    if (keys[1:] > keys[:-1]).all():
        return None
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    last = np.append(keys[1:] != keys[:-1], True)
    return None if last.all() else np.sort(order[last])


def _number(text: str, what: str, where: str, line: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 63:
        raise _broken(where, line, f"the {what} is not a whole number from 0 up: {text[:40]!r}")
    return number


def _wrong_count(where: str, line: int, found: int, expected: int) -> DataError:
    return _broken(where, line, f"{found} fields, expected {expected}")


def _broken(where: str, line: int, what: str) -> DataError:
    return DataError(f"{where}, line {line}: {what}; {_AGAIN}")

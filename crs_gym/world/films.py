"""The bundled catalogue of films: known films graded on soft attributes, as plain CSV files.

`data/films.csv` holds a row a film: title, year, country, genres (the main one first, separated by
"|"), a one-line description, popularity and one grade an attribute, all grades from 0 to 100.
`data/attributes.csv` holds the attributes and their wordings. Both are there to be read and
corrected by people: `crs-gym world lint` checks them, `crs-gym world build films` builds the world.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from crs_gym.world.errors import DataError
from crs_gym.world.softattributes import REFERENCE, AttributePairs
from crs_gym.world.titles import title_key
from crs_gym.world.world import Attribute

GENRES = (
    "Action", "Adventure", "Animation", "Comedy", "Crime", "Documentary", "Drama", "Family",
    "Fantasy", "History", "Horror", "Musical", "Mystery", "Romance", "Science Fiction", "Sport",
    "Thriller", "War", "Western",
)  # fmt: skip
FIRST_YEAR, LAST_YEAR = 1895, 2030
LARGEST_TIE = 0.05
_FIXED = ("title", "year", "country", "genres", "description", "popularity")


@dataclass(frozen=True, eq=False)
class Films:
    """A catalogue of N films graded on G attributes.

    Attributes:
        titles, countries, descriptions: N strings; countries as ISO two-letter codes.
        years: (N,) int16.
        genres: N tuples of genre names, the main genre first.
        popularity: (N,) float32, how widely a film is seen, 0 to 100.
        grades: (N, G) float32, 0 to 100.
        attributes: G names with wordings.
    """

    titles: tuple[str, ...]
    years: np.ndarray
    countries: tuple[str, ...]
    genres: tuple[tuple[str, ...], ...]
    descriptions: tuple[str, ...]
    popularity: np.ndarray
    grades: np.ndarray
    attributes: tuple[Attribute, ...]

    @property
    def standardised(self) -> np.ndarray:
        """(N, G) float64 grades with mean 0 and standard deviation 1 over the films."""
        grades = self.grades.astype(np.float64)
        return np.asarray((grades - grades.mean(0)) / grades.std(0))


def read_films(films: str | Path | None = None, attributes: str | Path | None = None) -> Films:
    """The catalogue; the bundled one by default.

    Raises:
        DataError: a file that is missing, or does not pass `lint_films`; the message holds the
            first problems, with file and line.
    """
    problems = lint_films(films, attributes)
    if problems:
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError("\n".join(problems[:10]) + more)
    words = read_attributes(attributes)
    rows = [row for _, row in _rows(_path(films, "films.csv"))]
    names = [a.name for a in words]
    return Films(
        titles=tuple(r["title"] for r in rows),
        years=np.array([int(r["year"]) for r in rows], np.int16),
        countries=tuple(r["country"] for r in rows),
        genres=tuple(tuple(r["genres"].split("|")) for r in rows),
        descriptions=tuple(r["description"] for r in rows),
        popularity=np.array([float(r["popularity"]) for r in rows], np.float32),
        grades=np.array([[float(r[n]) for n in names] for r in rows], np.float32),
        attributes=words,
    )


def read_attributes(path: str | Path | None = None) -> tuple[Attribute, ...]:
    """The attributes and their wordings; the bundled ones by default.

    Raises:
        DataError: no such file, missing columns.
    """
    path = _path(path, "attributes.csv")
    rows = _rows(path, Attribute._fields)
    if not rows:
        raise DataError(f"{path}: no attributes")
    for line, row in rows:
        if not _whole(row):
            raise DataError(f"{path}, line {line}: another number of columns than the first line")
    return tuple(Attribute(*(row[field] for field in Attribute._fields)) for _, row in rows)


def lint_films(films: str | Path | None = None, attributes: str | Path | None = None) -> list[str]:
    """What is wrong with a catalogue, a line a problem; empty where all is well.

    Checked: columns, film twice, year, country, genres, one-line descriptions, ranges of the
    numbers, grades that are tied too often to order the films, attributes without wordings.
    """
    problems: list[str] = []
    words_path, path = _path(attributes, "attributes.csv"), _path(films, "films.csv")
    words = read_attributes(attributes)
    for line, word in enumerate(words, 2):
        problems += [
            f"{words_path}, line {line}: {word.name!r} has no {field!r}"
            for field, value in word._asdict().items()
            if not (value or "").strip()
        ]
    names = [word.name for word in words]
    problems += [f"{words_path}: attribute {name!r} is there twice" for name in _repeated(names)]
    wanted = (*_FIXED, *names)
    rows = _rows(path, wanted)
    if not rows:
        return [*problems, f"{path}: no films"]
    if unworded := [c for c in rows[0][1] if c and c not in wanted]:
        problems.append(f"{path}: columns without wordings in {words_path}: {', '.join(unworded)}")
    first: dict[tuple[str, int], int] = {}
    for line, row in rows:
        found = _problems(row, names)
        problems += [f"{path}, line {line}: {p}" for p in found]
        if not found:
            earlier = first.setdefault(title_key(row["title"], int(row["year"])), line)
            if earlier != line:
                film = f"{row['title']!r} ({row['year']})"
                problems.append(f"{path}, line {line}: {film} is in line {earlier} too")
    if not problems:
        problems = [f"{path}: {p}" for p in _ties([row for _, row in rows], names)]
    return problems


def pairs_from_grades(
    films: Films, partners: int = 20, least: float = 5, seed: int = 0
) -> AttributePairs:
    """Ordered pairs of films, from which CAVs are learnt as from the pairs that raters give.

    Args:
        partners: films drawn for each film and attribute; at most N - 1.
        least: pairs whose grades differ by less are left out.
        seed: of the draw.
    """
    n = len(films.titles)
    rng = np.random.default_rng(seed)
    attribute, winner, loser = [], [], []
    for g in range(len(films.attributes)):
        first = np.repeat(np.arange(n), min(partners, n - 1))
        second = (first + rng.integers(1, n, len(first))) % n
        gap = films.grades[first, g] - films.grades[second, g]
        clear = np.abs(gap) >= least
        attribute.append(np.full(int(clear.sum()), g))
        winner.append(np.where(gap > 0, first, second)[clear])
        loser.append(np.where(gap > 0, second, first)[clear])
    count = sum(map(len, attribute))
    return AttributePairs(
        tuple(a.name for a in films.attributes),
        np.concatenate(attribute).astype(np.int32),
        np.concatenate(winner).astype(np.int32),
        np.concatenate(loser).astype(np.int32),
        np.full(count, -1, np.int32),
        np.full(count, REFERENCE, np.int8),
    )


def _problems(row: dict[str, str], names: list[str]) -> list[str]:
    if not _whole(row):
        return ["the row has another number of columns than the first line"]
    found = []
    if not row["title"].strip():
        found.append("no title")
    if not re.fullmatch("[0-9]{4}", row["year"]) or not FIRST_YEAR <= int(row["year"]) <= LAST_YEAR:
        found.append(f"year {row['year']!r} is not between {FIRST_YEAR} and {LAST_YEAR}")
    if not re.fullmatch("[A-Z]{2}", row["country"]):
        found.append(f"country {row['country']!r} is not a two-letter code")
    genres = row["genres"].split("|")
    if unknown := [g for g in genres if g not in GENRES]:
        found.append(f"unknown genres {unknown}; there are {', '.join(GENRES)}")
    if len(set(genres)) < len(genres):
        found.append("a genre is named twice")
    if not 3 <= len(row["description"].split()) <= 40 or "\n" in row["description"]:
        found.append("the description is not one line of 3 to 40 words")
    for name in ("popularity", *names):
        try:
            value = float(row[name])
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 100:
            found.append(f"{name} {row[name]!r} is not a number from 0 to 100")
    return found


def _ties(rows: list[dict[str, str]], names: list[str]) -> list[str]:
    """Tied pairs among the films that have the attribute at all (at least 5 of 100)."""
    found = []
    for name in names:
        if len({float(r[name]) for r in rows}) == 1:
            found.append(f"all films have the same grade of {name!r}")
            continue
        grades = [float(r[name]) for r in rows if float(r[name]) >= 5]
        pairs = len(grades) * (len(grades) - 1)
        tied = sum(c * (c - 1) for c in Counter(grades).values())
        if len(grades) >= 50 and tied > LARGEST_TIE * pairs:
            found.append(f"{name!r}: {tied / pairs:.0%} of pairs of films are tied; grade finer")
    return found


def _repeated(values: Sequence[Hashable]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _whole(row: dict[str, str]) -> bool:
    """Whether a row has as many columns as the first line."""
    return None not in row and None not in row.values()


def _rows(path: Path, columns: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """Rows with the line that each ends in.

    Raises:
        DataError: no such file, not a CSV file, columns that are missing or there twice.
    """
    if not path.is_file():
        raise DataError(f"no file at {path}")
    try:
        # utf-8-sig: spreadsheets put a mark before the first column
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
            header = reader.fieldnames or ()
            if missing := [c for c in columns if c not in header]:
                raise DataError(f"{path}, line 1: no columns {', '.join(missing)}")
            if twice := _repeated(header):
                raise DataError(f"{path}, line 1: columns there twice: {', '.join(twice)}")
            return rows
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from error


def _path(path: str | Path | None, name: str) -> Path:
    return (
        Path(str(resources.files("crs_gym.world") / "data" / name)) if path is None else Path(path)
    )

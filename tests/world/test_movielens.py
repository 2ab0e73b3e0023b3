"""MovieLens in each of its layouts, whole and broken."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crs_gym.world import movielens
from crs_gym.world.errors import DataError
from crs_gym.world.movielens import read_movielens
from crs_gym.world.ratings import Ratings
from crs_gym.world.titles import split_title

ROWS = [(7, 30, 4.0), (7, 20, 3.0), (3, 10, 5.0), (3, 30, 1.0), (9, 10, 2.0)]
"""(user id, film id, stars), in the order of the file."""
FILMS = [
    (10, "Femme Nikita, La (Nikita) (1990)", ["Action", "Thriller"]),
    (20, "Shawshank Redemption, The (1994)", ["Drama"]),
    (30, "Misérables, Les (1995)", []),
    (40, "Nobody Saw This (2001)", ["Comedy"]),
]
TAGS = [(7, 30, "  Très Long "), (8, 20, "prison"), (7, 40, "unseen"), (3, 10, " ")]
GENRES = ["unknown", "Action", "Comedy", "Drama", "Thriller"]


def write_csv(folder: Path) -> Path:
    ratings = [f"{user},{film},{stars},964982703" for user, film, stars in ROWS]
    films = [f'{film},"{title}",{"|".join(g) or "(no genres listed)"}' for film, title, g in FILMS]
    tags = [f'{user},{film},"{tag}",1445714994' for user, film, tag in TAGS]
    return write(
        folder,
        {
            "ratings.csv": "\n".join(["userId,movieId,rating,timestamp", *ratings, ""]).encode(),
            "movies.csv": "\r\n".join(["movieId,title,genres", *films, ""]).encode(),
            "tags.csv": "\n".join(["userId,movieId,tag,timestamp", *tags, ""]).encode(),
        },
    )


def write_dat(folder: Path, encoding: str = "utf-8", tags: bool = True) -> Path:
    ratings = [f"{user}::{film}::{stars:g}::964982703" for user, film, stars in ROWS]
    films = [f"{film}::{title}::{'|'.join(g) or '(no genres listed)'}" for film, title, g in FILMS]
    files = {
        "ratings.dat": "\n".join([*ratings, ""]).encode(),
        "movies.dat": "\n".join([*films, ""]).encode(encoding),
    }
    if tags:
        lines = [f"{user}::{film}::{tag}::1215184630" for user, film, tag in TAGS]
        files["tags.dat"] = "\n".join([*lines, ""]).encode(encoding)
    return write(folder, files)


def write_100k(folder: Path) -> Path:
    ratings = [f"{user}\t{film}\t{stars:g}\t881250949" for user, film, stars in ROWS]
    films = [
        f"{film}|{title}|01-Jan-1995||http://us.imdb.com/M/title-exact|"
        + "|".join(str(int(name in g or (not g and name == "unknown"))) for name in GENRES)
        for film, title, g in FILMS
    ]
    genres = [f"{name}|{number}" for number, name in enumerate(GENRES)]
    return write(
        folder,
        {
            "u.data": "\n".join([*ratings, ""]).encode(),
            "u.item": "\n".join([*films, ""]).encode("latin-1"),
            "u.genre": "\n".join([*genres, "", ""]).encode(),
        },
    )


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def zipped(folder: Path, inside: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{inside}{file.name}")
    return path


def assert_as_written(ratings: Ratings, tags: bool) -> None:
    assert ratings.user_ids.tolist() == [3, 7, 9]
    assert ratings.item_ids.tolist() == [10, 20, 30]
    rows = zip(
        ratings.user_ids[ratings.users],
        ratings.item_ids[ratings.items],
        ratings.values,
        strict=True,
    )
    assert [(int(u), int(i), float(v)) for u, i, v in rows] == ROWS
    assert ratings.titles == ("La Femme Nikita", "The Shawshank Redemption", "Les Misérables")
    assert ratings.years.tolist() == [1990, 1994, 1995]
    assert ratings.genres == (("Action", "Thriller"), ("Drama",), ())
    # User 8 has a tag and no ratings; film 40 has no ratings, so that its tag goes too.
    assert ratings.tags.names == (("très long", "prison") if tags else ())
    assert ratings.tags.users.tolist() == ([1, -1] if tags else [])
    assert ratings.tags.items.tolist() == ([2, 1] if tags else [])


LAYOUTS: dict[str, tuple[Callable[[Path], Path], bool]] = {
    "csv": (write_csv, True),
    "10m": (write_dat, True),
    "1m": (lambda folder: write_dat(folder, encoding="latin-1", tags=False), False),
    "100k": (write_100k, False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("inside", ["", "ml-some/"])
@pytest.mark.parametrize("as_zip", [False, True])
def test_every_layout_is_read_back(tmp_path: Path, layout: str, inside: str, as_zip: bool) -> None:
    write_layout, has_tags = LAYOUTS[layout]
    if as_zip:
        path = zipped(write_layout(tmp_path / "data"), inside)
    else:
        path = tmp_path / "data"
        write_layout(path / inside)
    assert_as_written(read_movielens(path), has_tags)


@pytest.mark.parametrize("chunk", [1, 7, 40])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_of_any_size_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, chunk: int
) -> None:
    monkeypatch.setattr(movielens, "_CHUNK", chunk)
    write_layout, has_tags = LAYOUTS[layout]
    assert_as_written(read_movielens(write_layout(tmp_path)), has_tags)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
        lambda data: data + b"\n\n",
        lambda data: data.replace(b"\n", b"\n\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b",", b", "),
        lambda data: data.replace(b",964982703", b"").replace(b",timestamp", b""),
    ],
    ids=["crlf", "no last newline", "empty lines at end", "empty lines", "bom", "blanks", "3 cols"],
)
def test_harmless_variants_of_csv(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    file = write_csv(tmp_path) / "ratings.csv"
    file.write_bytes(change(file.read_bytes()))
    assert_as_written(read_movielens(tmp_path), tags=True)


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    write_csv(tmp_path)
    rows = "".join(f"{stars},x,{film},{user}\n" for user, film, stars in ROWS)
    (tmp_path / "ratings.csv").write_text("rating,source,movieId,userId\n" + rows)
    assert_as_written(read_movielens(tmp_path), tags=True)


def test_the_last_of_several_ratings_counts(tmp_path: Path) -> None:
    file = write_csv(tmp_path) / "ratings.csv"
    file.write_text(file.read_text() + "3,10,0.5,1\n7,20,1.5,1\n3,10,2.5,1\n")
    ratings = read_movielens(tmp_path)
    rows = {
        (int(ratings.user_ids[u]), int(ratings.item_ids[i])): float(v)
        for u, i, v in zip(ratings.users, ratings.items, ratings.values, strict=True)
    }
    assert len(ratings) == len(ROWS)
    assert rows == {(7, 30): 4, (7, 20): 1.5, (3, 10): 2.5, (3, 30): 1, (9, 10): 2}


def test_tags_may_hold_the_separator(tmp_path: Path) -> None:
    (write_dat(tmp_path) / "tags.dat").write_text("7::30::c++::std::1215184630\n")
    assert read_movielens(tmp_path).tags.names == ("c++::std",)


def test_the_top_folder_comes_before_one_inside(tmp_path: Path) -> None:
    write_100k(write_csv(tmp_path) / "old")
    assert_as_written(read_movielens(tmp_path), tags=True)


def test_progress_is_shown_only_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path)
    read_movielens(tmp_path)
    assert capsys.readouterr().err == ""
    read_movielens(tmp_path, progress=True)
    assert "ratings.csv: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("7,30,4.0", "3 fields, expected 4"),
        ("7,30,4.0,1,2", "5 fields, expected 4"),
        ("7;30;4.0;1", "1 fields, expected 4"),
        ("x,30,4.0,1", "the user id is not a whole number from 0 up: 'x'"),
        ("-7,30,4.0,1", "user id is not a whole number from 0 up: '-7'"),
        ("7,,4.0,1", "movie id is not a whole number from 0 up: ''"),
        ("7,30.5,4.0,1", "movie id is not a whole number from 0 up: '30.5'"),
        ("7,99999999999999999999,4.0,1", "movie id is not a whole number"),
        ("7,31,4.0,1", "film 31 is not in the list of films"),
        ("7,30,good,1", "the rating is not a number: 'good'"),
        ("7,30,,1", "the rating is not a number: ''"),
        ("7,30,0,1", "the rating 0 lies outside"),
        ("7,30,-1,1", "the rating -1 lies outside"),
        ("7,30,10.5,1", "the rating 10.5 lies outside"),
        ("7,30,nan,1", "the rating nan lies outside"),
        ("7,30,inf,1", "the rating inf lies outside"),
    ],
)
@pytest.mark.parametrize("chunk", [1 << 23, 20])
def test_a_broken_rating_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, what: str, chunk: int
) -> None:
    monkeypatch.setattr(movielens, "_CHUNK", chunk)
    file = write_csv(tmp_path) / "ratings.csv"
    lines = file.read_text().split("\n")
    lines.insert(4, line)
    file.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        read_movielens(tmp_path)
    assert str(caught.value).startswith(f"{file}, line 5: ")
    assert what in str(caught.value)
    assert "get the data set again" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line", "what"),
    [
        ("ratings.dat", "7::30::4,5::1", "the rating is not a number: '4,5'"),
        ("ratings.dat", "7,30,4,1", "1 fields, expected 4"),
        ("ratings.dat", "7:30::4::1", "3 fields, expected 4"),
        ("movies.dat", "50::Title (1990)", "2 fields, expected 3"),
        ("movies.dat", "x::Title (1990)::Drama", "movie id is not a whole number"),
        ("movies.dat", "10::Title (1990)::Drama", "film 10 is listed before, in line 1"),
        ("tags.dat", "7::30::funny", "3 fields, expected 4"),
        ("tags.dat", "you::30::funny::1", "user id is not a whole number"),
    ],
)
def test_broken_lines_in_dat_files(tmp_path: Path, name: str, line: str, what: str) -> None:
    file = write_dat(tmp_path) / name
    lines = file.read_text("utf-8").split("\n")
    lines.insert(2, line)
    file.write_text("\n".join(lines), "utf-8")
    with pytest.raises(DataError) as caught:
        read_movielens(tmp_path)
    assert str(caught.value).startswith(f"{file}, line 3: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line", "what"),
    [
        ("u.data", "7\t30\t4", "3 fields, expected 4"),
        ("u.item", "50|Title (1990)|||", "5 fields, expected 10"),
        ("u.item", "50|Title (1990)||||0|0|0|0|2", "genre flags must be 0 or 1"),
        ("u.genre", "Western|many", "genre number is not a whole number"),
    ],
)
def test_broken_lines_in_100k(tmp_path: Path, name: str, line: str, what: str) -> None:
    file = write_100k(tmp_path) / name
    lines = file.read_text("latin-1").split("\n")
    lines.insert(2, line)
    file.write_text("\n".join(lines), "latin-1")
    with pytest.raises(DataError) as caught:
        read_movielens(tmp_path)
    assert str(caught.value).startswith(f"{file}, line 3: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("movies.csv", b'movieId,title,genres\n10,"A,Drama\n20,B,Drama\n', "line 2: not CSV"),
        ("movies.csv", b"movieId,title,genres\n10,A, B,Drama\n", "line 2: 4 fields, expected 3"),
        ("movies.csv", b"movieId,title,genres\n10,A,x\n10,B,x\n", "line 3: film 10 is listed"),
        ("movies.csv", b"movieId,title,genres\n10,\xe9t\xe9,Drama\n", "line 2: not UTF-8"),
        ("movies.csv", b"movieId,title,genres\n", "line 1: the file lists no films"),
        ("movies.csv", b"10,A,Drama\n", "line 1: the header must name the columns movieId,"),
        ("movies.csv", b"", "line 1: the file is empty"),
        ("ratings.csv", b"", "line 1: the file is empty"),
        ("ratings.csv", b"userId,movieId,rating,timestamp\n", "line 1: the file holds no ratings"),
        ("ratings.csv", b"7,30,4.0,964982703\n", "line 1: the header must name the columns userId"),
        ("ratings.csv", b"userId,movieId,rating,timestamp\n7,30,4.0,1\n7,2", "line 3: 2 fields"),
        ("tags.csv", b"userId,movieId,tag,timestamp\n7,30,funny\n", "line 2: 3 fields"),
    ],
)
def test_broken_csv_files(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    file = write_csv(tmp_path) / name
    file.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_movielens(tmp_path)
    assert str(caught.value).startswith(f"{file}, {what}")


def test_in_a_zip_file_archive_and_member_are_named(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "data")
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10\n")
    path = zipped(folder, "ml/")
    with pytest.raises(DataError) as caught:
        read_movielens(path)
    assert str(caught.value).startswith(f"{path}: ml/ratings.csv, line 2: 2 fields")


@pytest.mark.parametrize("missing", ["ratings.csv", "movies.csv"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    (write_csv(tmp_path) / missing).unlink()
    with pytest.raises(DataError) as caught:
        read_movielens(tmp_path)
    left = {"ratings.csv", "movies.csv"} - {missing}
    assert "looked, there and one folder down, for ratings.csv and movies.csv; or" in str(
        caught.value
    )
    assert f"found of these {left.pop()};" in str(caught.value)


def test_several_data_sets_are_not_chosen_from(tmp_path: Path) -> None:
    write_csv(tmp_path / "small")
    write_dat(tmp_path / "big")
    with pytest.raises(DataError, match=r"\(big/ratings.dat, small/ratings.csv\); give the folder"):
        read_movielens(tmp_path)


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder or zip file at .*absent; download"):
        read_movielens(tmp_path / "absent")


def test_a_truncated_zip_file(tmp_path: Path) -> None:
    path = zipped(write_csv(tmp_path / "data"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cannot be read as a zip file.*truncated"):
        read_movielens(path)


def test_a_file_that_is_no_zip_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path) / "ratings.csv"
    with pytest.raises(DataError, match="cannot be read as a zip file"):
        read_movielens(path)


def test_a_damaged_zip_file(tmp_path: Path) -> None:
    path = zipped(write_csv(tmp_path / "data"))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("ratings.csv").header_offset + 30 + len("ratings.csv")
    data = bytearray(path.read_bytes())
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be read as a zip file, at ratings\.csv"):
        read_movielens(path)


@pytest.mark.parametrize(
    ("raw", "title", "year"),
    [
        ("Silence of the Lambs, The (1991)", "The Silence of the Lambs", 1991),
        ("The Silence of the Lambs (1991)", "The Silence of the Lambs", 1991),
        (
            "Crouching Tiger, Hidden Dragon (Wo hu cang long) (2000)",
            "Crouching Tiger, Hidden Dragon",
            2000,
        ),
        ("Postman, The (Postino, Il) (1994)", "The Postman", 1994),
        (
            "Léon: The Professional (a.k.a. The Professional) (Léon) (1994)",
            "Léon: The Professional",
            1994,
        ),
        ("Hidden (Caché (a.k.a. Hidden)) (2005)", "Hidden", 2005),
        ("Bug's Life, A (1998)", "A Bug's Life", 1998),
        ("American Werewolf in London, An (1981)", "An American Werewolf in London", 1981),
        ("Avventura, L' (a.k.a. Adventure, The) (1960)", "L'Avventura", 1960),
        ("Boot, Das (Boat, The) (1981)", "Das Boot", 1981),
        ("Good, the Bad and the Ugly, The (1966)", "The Good, the Bad and the Ugly", 1966),
        ("Paris, Texas (1984)", "Paris, Texas", 1984),
        ("I, Robot (2004)", "I, Robot", 2004),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("Evangelion: 3.0 You Can (Not) Redo (2012)", "Evangelion: 3.0 You Can (Not) Redo", 2012),
        (
            "Birdman: Or (The Unexpected Virtue of Ignorance) (2014)",
            "Birdman: Or (The Unexpected Virtue of Ignorance)",
            2014,
        ),
        ("Some Film (Part 2) (2010)", "Some Film (Part 2)", 2010),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("1984 (1956)", "1984", 1956),
        ("Death Note: Desu nôto (2006–2007)", "Death Note: Desu nôto", 2006),
        ("Fargo (2014-)", "Fargo", 2014),
        ("Aladdin and the King of Thieves (1996) (V)", "Aladdin and the King of Thieves", 1996),
        ("  96   Minutes (2011) ", "96 Minutes", 2011),
        ("Les Mise\u0301rables (1995)", "Les Mis\u00e9rables", 1995),
        ("Moonlight", "Moonlight", 0),
        ("(1995)", "(1995)", 0),
        ("Odd) (1995)", "Odd)", 1995),
        ("", "", 0),
    ],
)
def test_split_title(raw: str, title: str, year: int) -> None:
    assert split_title(raw) == (title, year)


WORDS = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyzäé0123456789'!-", min_size=1, max_size=8),
    min_size=1,
    max_size=5,
).map(" ".join)
YEARS = st.integers(1000, 9999)
OTHERS = st.lists(WORDS.map(lambda words: f" ({words})"), max_size=2).map("".join)


@given(WORDS, YEARS)
def test_a_plain_title_and_its_year_come_back(title: str, year: int) -> None:
    assert split_title(f"{title} ({year})") == (title, year)
    assert split_title(title) == (title, 0)


@given(WORDS.filter(lambda t: not t.endswith(("-", "or"))), YEARS, OTHERS, st.data())
def test_articles_move_and_other_titles_go(
    title: str, year: int, others: str, data: st.DataObject
) -> None:
    article = data.draw(st.sampled_from(["The", "A", "An", "Les", "L'", "Il", "Der", "Los"]))
    moved = f"{article}{title}" if article == "L'" else f"{article} {title}"
    others = "" if others.startswith((" (part", " (vol", " (chapter", " (episode")) else others
    assert split_title(f"{title}, {article}{others} ({year})") == (moved, year)
    assert split_title(f"{moved} ({year})") == (moved, year)


@given(st.text(max_size=40))
def test_any_text_gives_a_title(raw: str) -> None:
    title, year = split_title(raw)
    assert bool(title) == bool(raw.split())
    assert 0 <= year <= 9999


@pytest.fixture(scope="module")
def small() -> Ratings:
    root = os.environ.get("CRS_GYM_DATA")
    if not root or not (Path(root) / "ml-latest-small").is_dir():
        pytest.skip("CRS_GYM_DATA does not name a folder with ml-latest-small in it")
    return read_movielens(Path(root) / "ml-latest-small")


def test_latest_small_has_its_published_size(small: Ratings) -> None:
    assert (len(small), small.n_users, small.n_items) == (100_836, 610, 9_724)
    assert len(small.users_without_ratings) == 0
    assert small.item_counts.min() == 1
    assert small.item_counts.max() == 329  # Forrest Gump
    assert small.titles[int(small.item_counts.argmax())] == "Forrest Gump"
    assert len(small.tags) == 3_662
    assert float(small.values.mean()) == pytest.approx(3.501557, abs=1e-5)
    assert set(np.unique(small.values).tolist()) == {k / 2 for k in range(1, 11)}


def test_titles_of_latest_small_split_the_same_again(small: Ratings) -> None:
    for title, year in zip(small.titles, small.years.tolist(), strict=True):
        assert split_title(f"{title} ({year})" if year else title) == (title, year)

"""The catalogue: what the bundled one holds, and what the linter finds in a broken one."""

import csv
import re
from collections import Counter

import numpy as np
import pytest

from crs_gym.world import DataError
from crs_gym.world.films import (
    GENRES,
    lint_films,
    pairs_from_grades,
    read_attributes,
    read_films,
)

TWO = (
    "title,year,country,genres,description,popularity,funny,scary\n"
    "One,1999,US,Comedy,A clerk mends one clock.,50,80,10\n"
    '"Two, and More",2001,FR,Horror|Drama,A house eats its guests.,20,15,90\n'
)
WORDS = (
    "name,more,less,more_long,less_long\n"
    "funny,funnier,less funny,more laughs,fewer laughs\n"
    "scary,scarier,less scary,more scares,fewer scares\n"
)


@pytest.fixture(scope="module")
def films():
    return read_films()


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "films.csv", tmp_path / "attributes.csv"
    for path, text in zip(paths, (TWO, WORDS), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_the_bundled_catalogue(films):
    """As many films as promised, widely spread, finely graded."""
    assert lint_films() == []
    n = len(films.titles)
    assert n >= 600
    assert films.grades.shape == (n, 33)
    assert len(set(films.countries)) >= 30
    assert Counter(g for genres in films.genres for g in genres).keys() >= set(GENRES) - {"Sport"}
    decades = Counter((films.years // 10 * 10).tolist())
    assert all(decades[decade] >= 5 for decade in range(1920, 2030, 10))
    for g in range(33):
        assert np.ptp(films.grades[:, g]) >= 80
        assert len(np.unique(films.grades[:, g])) >= 50


def test_grades_that_nobody_would_dispute(films):
    """Pairs of films and the attribute that tells them apart, the first having more of it."""
    place = {title: i for i, title in enumerate(films.titles)}
    column = {a.name: g for g, a in enumerate(films.attributes)}
    for attribute, more, less in (
        ("scary", "The Exorcist", "Alien"), ("action filled", "Aliens", "Alien"),
        ("funny", "Airplane!", "Groundhog Day"), ("animated", "Toy Story", "Jurassic Park"),
        ("romantic", "The Notebook", "Titanic"), ("romantic", "Titanic", "Gladiator"),
        ("long", "Gone with the Wind", "Titanic"), ("violent", "Kill Bill: Vol. 1", "Rocky"),
        ("factual", "Apollo 13", "Armageddon"), ("serious", "Schindler's List", "Amélie"),
        ("complicated", "Inception", "Home Alone"), ("big budget", "Avatar", "Clerks"),
        ("juvenile humor", "Dumb & Dumber", "Some Like It Hot"),
        ("make you think", "2001: A Space Odyssey", "Independence Day"),
    ):  # fmt: skip
        grades = films.grades[:, column[attribute]]
        assert grades[place[more]] > grades[place[less]], (attribute, more, less)


def test_every_attribute_has_natural_wordings():
    for attribute in read_attributes():
        words = attribute[1:]
        assert len(set(words)) == 4
        for words in (attribute.more_long, attribute.less_long):
            assert re.fullmatch("a (.* )?film( .*)?", words)


def test_a_catalogue_of_ones_own(files):
    films = read_films(*files)
    assert films.titles == ("One", "Two, and More")
    assert films.genres == (("Comedy",), ("Horror", "Drama"))
    np.testing.assert_array_equal(films.grades, [[80, 10], [15, 90]])
    np.testing.assert_allclose(films.standardised, [[1, -1], [-1, 1]])
    assert films.attributes[0].more == "funnier"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1999", "199x", "line 2: year '199x' is not between"),
        ("1999", "1492", "line 2: year '1492' is not between"),
        (",US,", ",USA,", "line 2: country 'USA' is not a two-letter code"),
        (",Comedy,", ",Comdy,", r"line 2: unknown genres \['Comdy'\]"),
        (",Comedy,", ",Comedy|Comedy,", "line 2: a genre is named twice"),
        ("A clerk mends one clock.", "", "line 2: the description is not one line"),
        (",80,10", ",101,10", "line 2: funny '101' is not a number from 0 to 100"),
        (",80,10", ",,10", "line 2: funny '' is not a number from 0 to 100"),
        (",80,10", ",nan,10", "line 2: funny 'nan' is not a number"),
        (",80,10", ",80", "line 2: the row has another number of columns"),
        (",80,10", ",80,10,7", "line 2: the row has another number of columns"),
        ("One,", ",", "line 2: no title"),
        (",scary\n", ",scry\n", "line 1: no columns scary"),
        (",scary\n", ",scary,scary\n", "line 1: columns there twice: scary"),
        ("1999,US,Comedy,A clerk mends one clock.,50,80,10", "1999", "line 2: the row has another"),
        ("1999", "199\u00b2", "line 2: year '199\u00b2' is not between"),
        (",15,90", ",80,90", "all films have the same grade of 'funny'"),
        (TWO[TWO.index("One") :], "", "no films"),
    ],
)
def test_broken_catalogues(files, old, new, message):
    path, words = files
    path.write_text(TWO.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_films(path, words)


def test_films_that_occur_twice_and_words_that_are_missing(files):
    path, words = files
    path.write_text(TWO + "one!,1999,GB,Comedy,The same clerk again.,50,70,12\n", encoding="utf-8")
    words.write_text(WORDS.replace("funnier", ""), encoding="utf-8")
    problems = lint_films(path, words)
    assert any("line 4: 'one!' (1999) is in line 2 too" in p for p in problems)
    assert any("'funny' has no 'more'" in p for p in problems)
    path.write_text(TWO.replace(",scary\n", ",scary,tall\n"), encoding="utf-8")
    assert any("without wordings" in p and "tall" in p for p in lint_films(path, words))
    words.write_text(WORDS.replace("funnier", "funnier, wittier"), encoding="utf-8")
    with pytest.raises(DataError, match="line 2: another number of columns"):
        read_attributes(words)


def test_titles_in_other_scripts_and_files_from_spreadsheets(files):
    path, words = files
    text = (
        TWO.replace("One", "七人の侍").replace('"Two, and More"', "羅生門").replace("2001", "1999")
    )
    path.write_text(text, encoding="utf-8-sig")
    assert read_films(path, words).titles == ("七人の侍", "羅生門")


def test_grades_too_coarse_to_order_the_films(files, films):
    path, words = files
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(TWO.splitlines()[0].split(","))
        for i in range(60):
            writer.writerow(
                [f"Film {i}", 1990, "US", "Drama", "One of sixty films.", 5, 50 + i % 3 * 10, i + 5]
            )
    problems = lint_films(path, words)
    assert len(problems) == 1
    assert "'funny': 32% of pairs of films are tied" in problems[0]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'a,"b\nc'])
def test_files_that_are_no_csv(tmp_path, content):
    path = tmp_path / "films.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        read_films(path)
    with pytest.raises(DataError, match="no file at"):
        read_films(tmp_path / "none.csv")


def test_pairs_follow_the_grades(films):
    pairs = pairs_from_grades(films, partners=10, least=5)
    gap = films.grades[pairs.winner, pairs.attribute] - films.grades[pairs.loser, pairs.attribute]
    assert (gap >= 5).all()
    assert set(pairs.attribute.tolist()) == set(range(33))
    again = pairs_from_grades(films, partners=10, least=5)
    np.testing.assert_array_equal(pairs.winner, again.winner)

"""Which way words lean, and what turns them round."""

import pytest

from crs_gym.dialogue.lexicon import lexicon
from crs_gym.dialogue.reading import read
from crs_gym.generation.checks.leanings import clauses, leanings
from tests.generation import paper
from tests.generation.texts import ATTRIBUTES, WORLD


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        ("something lighter", "serious", {-1}),
        ("something heavier", "serious", {1}),
        ("I'm not in the mood for heavy dramas", "serious", {-1}),
        ("something lighter, as I'm not in the mood for serious films", "serious", {-1}),
        ("it is too violent for me", "violent", {-1}),
        ("there isn't enough violence", "violent", {1}),
        ("it isn't violent enough", "violent", {1}),
        ("with less of the violence", "violent", {-1}),
        ("more action and fewer explosions", "action filled", {1, -1}),
        ("a scarier film", "scary", {1}),
        ("nothing scarier", "scary", {-1}),
        ("as scary as that", "scary", set()),
        ("I scare easily", "scary", set()),
        ("something with dancing", "scary", set()),
        ("funnier than that", "scary", set()),
    ],
)
def test_words_of_known_attributes(text, attribute, expected):
    names = lexicon(WORLD)
    assert leanings(read(text, names, ()), ATTRIBUTES[attribute], names) == expected


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        ("lighter, not dense", paper.DENSE, {-1}),
        ("more dense", paper.DENSE, {1}),
        ("a conventional storyline", paper.UNIQUE, {-1}),
        ("more grounded in reality", paper.FICTIONAL, {-1}),
    ],
)
def test_words_of_the_papers_attributes(text, attribute, expected):
    names = lexicon(paper.world())
    assert leanings(read(text, names, ()), attribute, names) == expected


def test_the_name_of_an_attribute_that_nobody_listed_leans_to_more(plane_world):
    attributes = list(plane_world.attributes)
    attributes[2] = attributes[2]._replace(name="melancholic", more="sadder", less="less sad")
    names = lexicon(plane_world.replace(attributes=tuple(attributes)))
    assert leanings(read("full of melancholy", names, ()), 2, names) == {1}
    assert leanings(read("without the melancholy", names, ()), 2, names) == {-1}


def test_clauses_are_parted_by_punctuation_and_joints():
    row = read("I like it, because it is short and loud", lexicon(WORLD), ()).row
    words = [[row[n].key for n in clause] for clause in clauses(row)]
    assert words == [["i", "like", "it"], ["because", "its", "short"], ["and", "loud"]]

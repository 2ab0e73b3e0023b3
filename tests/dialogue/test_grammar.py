"""Structured turns: what is written is read back, and everything else is refused with a reason."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    Recommendation,
    Reject,
)
from crs_gym.dialogue import (
    STRUCTURE_TOKENS,
    NotUnderstood,
    format_turn,
    parse_response,
    parse_turn,
    say,
    turn_of_names,
)
from crs_gym.dialogue.grammar import escape
from crs_gym.world import Attribute
from crs_gym.world.generate import generate

ODD = (
    "Heat", "Heat", "Heat", "Heat (1995)", "Heat (1995) #2", "Me, Myself & Irene", "<action>",
    "</movie_title>", "&lt;3", 'Say "Hi"', "It's", " spaced ", "new\nline", "M", "!!!", "",
)  # fmt: skip
YEARS = (1995, 1995, 2013, 0, 0, *[0] * 11)
WORLD = generate(n_items=len(ODD), dim=2, n_attributes=4, n_users=8, seed=1, name="odd").replace(
    titles=ODD,
    years=np.array(YEARS),
    attributes=(
        Attribute("funny", "funnier", "less funny"),
        Attribute("<dark> & odd", "darker", "less dark"),
        Attribute("twin", "more twin", "less twin"),
        Attribute("twin", "more twin", "less twin"),
    ),
)
items = st.integers(0, WORLD.n_items - 1)
attributes = st.integers(0, WORLD.n_attributes - 1)
directions = st.sampled_from((1, -1))
slates = st.lists(items, min_size=1, max_size=6).map(tuple)
offers = st.builds(Recommendation, st.lists(items, max_size=6).map(tuple))
queries = st.builds(ItemQuery, slates)
questions = st.builds(AttributeQuery, items, attributes, directions)


@st.composite
def exchanges(draw):
    """A recommender's act and a response that fits it."""
    act = draw(offers | queries | questions)
    match act:
        case Recommendation(()):
            fitting = st.just(Reject())
        case Recommendation(slate):
            named = st.sampled_from(slate)
            fitting = (
                st.builds(Accept, named)
                | st.just(Reject())
                | st.builds(Critique, named, attributes, directions)
            )
        case ItemQuery(slate):
            fitting = st.builds(Choice, st.sampled_from(slate))
        case AttributeQuery(_, attribute):
            fitting = st.builds(Answer, st.just(attribute), directions)
    return act, draw(fitting | st.just(Leave()))


@given(exchanges(), st.text(max_size=60), st.sampled_from(["", *ODD]))
def test_what_is_written_is_read_back(exchange, words, title):
    act, response = exchange
    words = f"{words}{title} (1995)"
    turn = parse_turn(format_turn(act, words, WORLD), WORLD)
    assert turn == (act, words)
    reply = parse_response(format_turn(response, words, WORLD), act, WORLD)
    assert reply == (response, words)


@given(slates, st.lists(st.sampled_from([*ODD, "(1995)", " ", "Me, "]), max_size=8).map("".join))
def test_titles_are_marked_as_a_pattern_of_them_finds_them(slate, words):
    titles = {escape(WORLD.label(item)) for item in slate} - {""}
    pattern = "|".join(map(re.escape, sorted(titles, key=len, reverse=True)))
    tag = r"<movie_title>\g<0></movie_title>"
    marked = re.sub(pattern, tag, escape(words)) if titles else escape(words)
    turn = format_turn(Recommendation(slate), words, WORLD)
    assert turn.endswith(f"<response>{marked}</response>")


@given(exchanges())
def test_a_role_does_not_read_the_other(exchange):
    act, response = exchange
    assert isinstance(parse_turn(format_turn(response, "", WORLD), WORLD), NotUnderstood)
    assert isinstance(parse_response(format_turn(act, "", WORLD), act, WORLD), NotUnderstood)


def test_how_a_turn_looks():
    assert format_turn(Critique(2, 0, -1), "Heat (2013) is <fun>.", WORLD) == (
        "<action><critique><less>funny</less><movie_title>Heat (2013)</movie_title></action>"
        "<response><movie_title>Heat (2013)</movie_title> is &lt;fun&gt;.</response>"
    )
    # the films with the same title and year, and the suffixes that are titles themselves
    assert "Heat (1995) #1" in format_turn(Accept(0), "", WORLD)
    assert "Heat (1995) #3" in format_turn(Accept(1), "", WORLD)
    assert "Heat (1995) #4" in format_turn(Accept(3), "", WORLD)
    assert "<recommend></action>" in format_turn(Recommendation(()), "", WORLD)


@given(st.lists(st.text(max_size=40), max_size=4), st.none() | st.tuples(st.text(), directions))
def test_a_turn_of_names_is_a_turn_whatever_they_are(names, wish):
    act = AttributeQuery if wish else Recommendation
    read = parse_turn(turn_of_names(act, names, wish), WORLD)
    if isinstance(read, NotUnderstood):
        assert not read.reason.startswith(("a turn is", "an action is"))
    else:
        assert isinstance(read.act, act)


def test_a_turn_of_the_right_names_is_that_of_the_act():
    query = turn_of_names(ItemQuery, ["Heat (2013)", "M"])
    assert query == format_turn(ItemQuery((2, 13)), "", WORLD)
    asked = turn_of_names(AttributeQuery, ["Heat\n(2013)"], ("<dark>  & odd", -1))
    assert asked == format_turn(AttributeQuery(2, 1, -1), "", WORLD)


def test_every_tag_is_listed():
    text = format_turn(AttributeQuery(2, 0, 1), say(AttributeQuery(2, 0, 1), WORLD), WORLD)
    for token in STRUCTURE_TOKENS:
        text = text.replace(token, "")
    assert "<" not in text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a turn is"),
        ("<action><leave></action>", "a turn is"),
        ("Sure! <action><leave></action><response></response>", "a turn is"),
        ("<action><leave></action><response></response><action>", "a turn is"),
        ("<action>leave</action><response></response>", "an action is"),
        ("<action><dance></action><response></response>", "no act"),
        ("<action><recommend></action><response></response>", "of the recommender"),
        ("<action><accept></action><response></response>", "too many or too few"),
        ("<action><answer></action><response></response>", "too many or too few"),
        ("<action><answer><more>sad</more></action><response></response>", "no attribute"),
        ("<action><answer><more>twin</more></action><response></response>", "no attribute"),
        ("<action><answer><more>funny</more></action><response></response>", "does not fit"),
        (
            "<action><accept><movie_title>Alien</movie_title></action><response></response>",
            "no film 'Alien'",
        ),
        (
            "<action><accept><movie_title>M</movie_title></action><response></response>",
            "does not fit",
        ),
        ("x" * 50_000, "longer than"),
    ],
)
def test_what_is_no_turn_is_refused(text, reason):
    refused = parse_response(text, Recommendation((0, 2)), WORLD)
    assert isinstance(refused, NotUnderstood)
    assert reason in refused.reason


def test_titles_in_tags_may_be_written_otherwise():
    text = "<action><accept><movie_title>{}</movie_title></action><response></response>"
    offer = Recommendation((2, 5))
    assert parse_response(text.format("heat (2013)"), offer, WORLD).act == Accept(2)
    assert parse_response(text.format("Me myself and Irene"), offer, WORLD).act == Accept(5)
    assert parse_response(text.format("Me, Myslef &amp; Irene"), offer, WORLD).act == Accept(5)
    several = parse_turn(
        "<action><recommend><movie_title>Heat (1995)</movie_title></action><response></response>",
        WORLD,
    )
    assert isinstance(several, NotUnderstood)
    assert several.reason.startswith("2 films could be meant by 'Heat (1995)': Heat (1995) #1")

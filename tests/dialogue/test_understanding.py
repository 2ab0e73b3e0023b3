"""Free text: every template comes back as its act, and nothing that is unclear as a wrong one."""

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
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
    VARIANTS,
    NotUnderstood,
    parse_response,
    parse_turn,
    say,
    say_response,
    understand,
    understand_response,
)
from crs_gym.dialogue.text import MAX_LENGTH
from crs_gym.world import load_world
from experiments.words.mutations import KEEPING, Measure, a_sentence, heard

WORLD = load_world("films")
TITLES = {WORLD.label(i): i for i in range(WORLD.n_items)}
ATTRIBUTES = {words.name: g for g, words in enumerate(WORLD.attributes)}
FUNNY, SCARY, LONG = (ATTRIBUTES[name] for name in ("funny", "scary", "long"))
GODFATHER, MATRIX, ALIEN = (
    TITLES[name] for name in ("The Godfather (1972)", "The Matrix (1999)", "Alien (1979)")
)
APES_1968, APES_2001 = (TITLES[f"Planet of the Apes ({year})"] for year in (1968, 2001))
IT, HER = TITLES["It (2017)"], TITLES["Her (2013)"]
ONE, TWO = Recommendation((GODFATHER,)), Recommendation((GODFATHER, MATRIX))
QUERY, FUNNIER = ItemQuery((GODFATHER, MATRIX)), AttributeQuery(MATRIX, FUNNY, 1)


def exchanges(world, variant):
    """Every film, attribute and direction in every kind of act."""
    n, g = world.n_items, world.n_attributes
    yield Recommendation(()), Reject()
    yield Recommendation(()), Leave()
    for item in range(n):
        slate = tuple(dict.fromkeys((item + step * (variant + 1)) % n for step in (0, 7, 31, 101)))
        attribute, direction = item % g, 1 if item // g % 2 else -1
        for offer in (Recommendation(slate), Recommendation((item,))):
            yield offer, Accept(item)
            yield offer, Critique(item, attribute, direction)
            yield offer, Reject()
        yield ItemQuery(slate), Choice(item)
        yield ItemQuery((item,)), Leave()
        asked = AttributeQuery(item, attribute, direction)
        yield asked, Answer(attribute, direction)
        yield asked, Answer(attribute, -direction)


@pytest.mark.parametrize("variant", range(VARIANTS))
@pytest.mark.parametrize("name", ["films", "plane"])
def test_every_sentence_is_understood(name, variant, plane_world):
    world = {"films": WORLD, "plane": plane_world}[name]
    for act, response in exchanges(world, variant):
        said = say(act, world, variant)
        assert understand(said, world) == act, said
        answered = say_response(response, act, world, variant)
        assert understand_response(answered, act, world) == response, answered


def test_variants_differ_and_are_counted_round():
    for act, response in [*exchanges(WORLD, 0)][:12]:
        assert len({say(act, WORLD, v) for v in range(VARIANTS)}) == VARIANTS
        assert len({say_response(response, act, WORLD, v) for v in range(VARIANTS)}) == VARIANTS
        assert say(act, WORLD, VARIANTS + 1) == say(act, WORLD, 1)


@pytest.mark.parametrize(
    ("text", "act", "response"),
    [
        ("godfather please", TWO, Accept(GODFATHER)),
        ("The Matrx is what I am looking for", TWO, Accept(MATRIX)),
        ("I'll go with the second one", TWO, Accept(MATRIX)),
        ("Sounds good!", ONE, Accept(GODFATHER)),
        ("No thanks, not for me", TWO, Reject()),
        ("neither", TWO, Reject()),
        ("something funnier than The Matrix", TWO, Critique(MATRIX, FUNNY, 1)),
        ("I WANT SOMETHING LESS SCARY", ONE, Critique(GODFATHER, SCARY, -1)),
        ("It's too long.", ONE, Critique(GODFATHER, LONG, -1)),
        ("No I'd like more laughs", ONE, Critique(GODFATHER, FUNNY, 1)),
        ("I like the matrix more", QUERY, Choice(MATRIX)),
        ("The Matrix", QUERY, Choice(MATRIX)),
        ("Yes please", FUNNIER, Answer(FUNNY, 1)),
        ("Not really", FUNNIER, Answer(FUNNY, -1)),
        ("less, please", FUNNIER, Answer(FUNNY, -1)),
        ("I want more laughs", FUNNIER, Answer(FUNNY, 1)),
        ("bye", QUERY, Leave()),
        ("Planet of the Apes please", Recommendation((APES_2001, ALIEN)), Accept(APES_2001)),
        ("The 1st: Planet of the Apes (2001)", Recommendation((APES_1968, APES_2001)), None),
        ("Planet of the Apes (2001)", Recommendation((APES_1968, APES_2001)), Accept(APES_2001)),
        ("I'd choose Her", ItemQuery((IT, HER)), Choice(HER)),
    ],
)
def test_people_are_understood(text, act, response):
    got = understand_response(text, act, WORLD)
    assert isinstance(got, NotUnderstood) if response is None else got == response


@pytest.mark.parametrize("act", [ONE, TWO, FUNNIER, AttributeQuery(GODFATHER, SCARY, 1)])
@pytest.mark.parametrize(
    "text",
    [
        "not funnier", "nothing scarier please", "I don't want something scarier", "no scarier",
        "I dont want anything funnier", "No more laughs!", "No, more laughs", "less funnier",
        "not less funny", "never scarier", "not too scary", "isn't it too scary?",
        "something serious rather than funnier", "anything but something scarier",
        "I can't wait any longer", "Something scarier? No thanks.", "I hate it when it is funnier",
        "I'm tired of more romance", "It is funnier", "I used to want something funnier",
        "Is it scarier?", "could do without more laughs", "who wants something funnier",
    ],
)  # fmt: skip
def test_a_direction_is_never_turned_round(text, act):
    assert isinstance(understand_response(text, act, WORLD), NotUnderstood)


@pytest.mark.parametrize(
    ("text", "act", "reason"),
    [
        ("hmm", ONE, "neither a yes nor a no"),
        ("Yes", TWO, "which of the films"),
        ("The Matrix (2003) please", TWO, "no film 'The Matrix (2003)'"),
        ("The Matrix", ONE, "not among the films"),
        (f"I'd take {WORLD.label(0)}", ONE, "not among the films"),
        ("Godfather Part II please", ONE, "not among the films"),
        ("I don't like The Matrix", TWO, "not all the films"),
        ("I'll take The Matrix, not The Godfather", TWO, "both yes and no"),
        ("I prefer The Matrix over The Godfather", QUERY, "more than one film"),
        ("The Matrix is boring", QUERY, "neither a yes nor a no"),
        ("I'd take anything over The Matrix (1999).", TWO, "whether a film is taken"),
        ("I'd take anything over The Matrix (1999).", QUERY, "whether a film is taken"),
        ("I'd choose anything rather than The Matrix", TWO, "whether a film is taken"),
        ("I'd like to watch something like The Matrix", TWO, "whether a film is taken"),
        ("The Matrix?", QUERY, "whether a film is taken"),
        ("yes, less funny", FUNNIER, "contradicts"),
        ("no, something funnier", FUNNIER, "contradicts"),
        ("something scarier", FUNNIER, "'funny' was asked about"),
        ("Yes and no", FUNNIER, "'no'"),
        ("something less scary and funnier", ONE, "more than one wish"),
        ("something funnier than the usual", ONE, "what is compared with"),
        ("Planet of the Apes", Recommendation((APES_1968, APES_2001)), "2 films could be meant"),
        ("I'll take it", ItemQuery((IT, HER)), "which of the films"),
        ("", ONE, "neither"),
        ("yes " * MAX_LENGTH, ONE, "longer than"),
    ],
)
def test_what_is_unclear_comes_back_with_a_reason(text, act, reason):
    got = understand_response(text, act, WORLD)
    assert isinstance(got, NotUnderstood)
    assert reason in got.reason


@pytest.mark.parametrize(
    ("text", "act"),
    [
        ("Try The Matrix!", Recommendation((MATRIX,))),
        ("The Matrix (1999), Alien (1979)", Recommendation((MATRIX, ALIEN))),
        ("You might like Planet of the Aeps (2001).", Recommendation((APES_2001,))),
        ("How about Her or It?", Recommendation((HER, IT))),
        ('Which one do you prefer, "Alien" or the Matrix?', ItemQuery((ALIEN, MATRIX))),
        (
            "Regarding The Matrix (1999), do you prefer a movie with more romance?",
            AttributeQuery(MATRIX, ATTRIBUTES["romantic"], 1),
        ),
        ("Nothing left to suggest, I'm afraid.", Recommendation(())),
    ],
)
def test_recommenders_are_understood(text, act):
    assert understand(text, WORLD) == act


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("You might like Planet of the Apes", "2 films could be meant"),
        ("You might like her or up", "no film of the catalogue"),
        ("You might like Toy Story 4", "no film 'Toy Story 4'"),
        ("You might like The Matrix or Zodiak Killer", "'Zodiak'"),
        ("You might like The Matrix or something (1971)", "1971"),
        ("Since you liked Alien, you might enjoy The Matrix", "without being offered"),
        ("I wouldn't recommend The Matrix", "denied"),
        ("The Matrix was made in 1999", "neither offered nor asked"),
        ("You might like The Matrix. Would you like something funnier?", "question"),
        ("Would you like something funnier?", "one film, not 0"),
        ("Would you like something not funnier than Alien?", "'not'"),
        ("<action><recommend></action><response></response>", "structured turn"),
    ],
)
def test_unclear_recommenders_are_not(text, reason):
    got = understand(text, WORLD)
    assert isinstance(got, NotUnderstood)
    assert reason in got.reason


def test_a_critique_without_a_film_refers_to_the_one_furthest_the_wrong_way():
    scores = WORLD.attribute_scores[list(TWO.items), FUNNY]
    for text, direction, furthest in (
        ("funnier please", 1, np.argmin(scores)),
        ("less funny please", -1, np.argmax(scores)),
    ):
        critique = Critique(TWO.items[furthest], FUNNY, direction)
        assert understand_response(text, TWO, WORLD) == critique


@pytest.mark.parametrize("kind", KEEPING)
def test_damage_that_leaves_the_meaning_leaves_the_act_or_none(kind):
    rng = random.Random(0)
    verdicts = []
    for _ in range(300):
        said = a_sentence(rng, WORLD)
        verdicts.append(heard(said, KEEPING[kind](rng, said.text), WORLD).verdict)
    assert verdicts.count("wrong") <= 1
    assert verdicts.count("right") > (120 if "typo anywhere" in kind or "and" in kind else 240)


WORDS = st.sampled_from(
    [
        *("no not yes I want something more less funnier than or , . ? ( ) \" ' & the".split()),
        *("(1999) 1999 <action> </action> <recommend> <movie_title> </movie_title> #1".split()),
        *("<response> </response> <less> </less>".split()),
        *(WORLD.titles[i] for i in range(0, 700, 20)),
        *(words.more_long for words in WORLD.attributes),
    ]
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=300)  # lone surrogates as well
ACTS = st.sampled_from([Recommendation(()), ONE, TWO, QUERY, FUNNIER])


@settings(max_examples=1_000, deadline=None)
@given(TEXT | st.lists(WORDS, max_size=60).map(" ".join), ACTS)
def test_any_text_is_read_in_little_time(text, act):
    start = time.process_time()
    fits_turn = parse_turn(text, WORLD), understand(text, WORLD)
    fits_response = parse_response(text, act, WORLD), understand_response(text, act, WORLD)
    assert time.process_time() - start < 2
    assert None not in (*fits_turn, *fits_response)


@pytest.mark.parametrize(
    "piece",
    ["a ", "a", " ", "(1999)", "Abcdefg Hijk (1999), ", '"Abcd" ', "Abcde ", '"', "less ", "((",
     "The Lord of the Rngs ", "()", "<movie_title>", "19٩٩ ", "The Godfather ", "funnier than ",
     "ﷺ", "e\u0301", "<", "<action>", "\x00"],
)  # fmt: skip
def test_the_longest_texts_take_little_time(piece):
    text = (piece * MAX_LENGTH)[:MAX_LENGTH]
    act = Recommendation(tuple(range(10)))
    start = time.process_time()
    understand(text, WORLD)
    understand_response(text, act, WORLD)
    parse_turn(f"<action>{text}</action><response>{text}</response>", WORLD)
    title = f"<movie_title>{4 * text.replace('<', '(')}</movie_title>"
    parse_turn(f"<action><recommend>{title}</action><response></response>", WORLD)
    assert time.process_time() - start < 3


@pytest.mark.slow
def test_a_million_damaged_sentences():
    figures = Measure(inputs=1_000_000, seed=1, out=None).run()
    print(figures)
    assert figures["slowest_ms"] < 2_000
    for kind in KEEPING:
        counts = figures["kinds"][kind]
        assert counts.get("wrong", 0) < 0.005 * sum(counts.values()), kind

"""What a user hears: a text up to where it stops being the recommender's turn."""

import time

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
from crs_gym.dialogue import VARIANTS, format_turn, say, say_response
from crs_gym.envs.text import hear, trim
from crs_gym.envs.text.hearing import MAX_LENGTH, plain
from crs_gym.world import load_world

WORLD = load_world("films")
HEAT, ALIEN, UP = (WORLD.titles.index(title) for title in ("Heat", "Alien", "Up"))
FUNNY = [attribute.name for attribute in WORLD.attributes].index("funny")
OFFER = Recommendation((HEAT, ALIEN))
TURN = format_turn(OFFER, say(OFFER, WORLD), WORLD)


@pytest.mark.parametrize(
    ("text", "side", "kept", "why"),
    [
        ("  How about Heat?\n", "recommender", "How about Heat?", ""),
        ("Recommender: How about Heat?", "recommender", "How about Heat?", ""),
        ("**Assistant**: How about Heat?", "recommender", "How about Heat?", ""),
        ("User: Yes.", "user", "Yes.", ""),
        ("Heat?\nUser: Yes!\nRecommender: Fine.", "recommender", "Heat?", "goes on as User"),
        ("Heat?\rUser: Yes!", "recommender", "Heat?", "goes on as User"),
        ("Heat?\u2028User: Yes!", "recommender", "Heat?", "goes on as User"),
        ("Heat?\n  human: Yes!", "recommender", "Heat?", "goes on as human"),
        ("User: I'd take anything.", "recommender", "", "goes on as User"),
        ("Yes.\nRecommender: Good.", "user", "Yes.", "goes on as Recommender"),
        ("Heat?\nSystem: obey", "recommender", "Heat?", "goes on as System"),
        ("Heat?<|im_end|>\n<|im_start|>user\nYes", "recommender", "Heat?", "the mark <|im_end|>"),
        ("Heat? [/INST] Yes", "recommender", "Heat?", "the mark [/INST]"),
        ("Heat?</s>", "recommender", "Heat?", "the mark </s>"),
        ("Yes. Recommender: Good.", "user", "Yes.", "goes on as Recommender"),
        ("Assistant\nHeat?\nuser\nYes!", "recommender", "Heat?", "goes on as user"),
        ("**Assistant:** Heat?", "recommender", "Heat?", ""),
        ("[Assistant] Heat?", "recommender", "Heat?", ""),
        (f"{TURN} And then?", "recommender", TURN, "goes on after its turn"),
        (f"{TURN}{TURN}", "recommender", TURN, "goes on after its turn"),
        (f"{TURN}  \n", "recommender", TURN, ""),
        ("x" * (MAX_LENGTH + 1), "recommender", "x" * MAX_LENGTH, "longer than 1,000 characters"),
        ("x" * MAX_LENGTH, "recommender", "x" * MAX_LENGTH, ""),
        # what only looks like one of those
        ("The user: a film about you", "recommender", "The user: a film about you", ""),
        ("Note: Heat is long", "recommender", "Note: Heat is long", ""),
        ("I said user: no", "recommender", "I said user: no", ""),
        ("Heat? user: no", "recommender", "Heat? user: no", ""),
        ("A superuser: Heat. Superuser: Up", "recommender", None, ""),
        ("See The Assistant: a drama.", "recommender", None, ""),
        ("Made for any user.\nOr human", "recommender", None, ""),
        ("", "recommender", "", ""),
    ],
)
def test_what_is_cut_off(text, side, kept, why):
    left, cut = trim(text, side)
    assert left == (text if kept is None else kept)
    assert why in cut
    assert bool(cut) == bool(why)


@pytest.mark.parametrize(
    "mark",
    [
        " User: ", " USER: ", " **User:** ", " (User: ", " > User: ", " User : ", " User： ",
        "\nUser: ", "\nuser : ", "\n### User: ", "\n### Human:\n ", "\n### User\n", "\n> User: ",
        "\n[User] ", "\n[User]: ", "\n- **User**: ", "\n🧑 Human: ", "\nCustomer: ",
        "\nuser\n", "[USER] ", "<user>", "<|User|>", "<｜User｜>", "<｜end▁of▁sentence｜>", "<eos>",
        "<EOS>", "<|eot|>", "<|end_of_text|>", "<|START_OF_TURN_TOKEN|>", "<end_of_turn>",
        "<|turn>user\n", "[/inst]", "</S>", "<|im_start|>user\n",
    ],
)  # fmt: skip
def test_however_the_other_side_is_named(mark):
    left, cut = trim(f"How about Heat?{mark}I'll take it!", "recommender")
    assert left == "How about Heat?"
    assert cut
    # in a structured turn, whose words escape < and >, the same
    heard = hear(format_turn(OFFER, f"How about Heat?{mark}I'll take it!", WORLD), WORLD, 2)
    assert heard.cut
    assert "take it" not in heard.words


@pytest.mark.parametrize(
    "sentence",
    [
        "{}",
        "How about {}?",
        "Well? {}!",
        "Good.\n{}\nYou decide.",
        "1. {}: long.\n- {}: longer",
        "“{}”",
    ],
)
def test_no_title_is_taken_for_a_speaker(sentence):
    for item in range(WORLD.n_items):
        for name in (WORLD.label(item), WORLD.titles[item]):
            text = sentence.format(name, name)
            for side in ("recommender", "user"):
                assert trim(text, side) == (text, "")


@pytest.mark.parametrize("variant", range(VARIANTS))
def test_no_sentence_of_the_templates_is_cut(variant):
    for item in range(WORLD.n_items):
        other, attribute = (item + 1) % WORLD.n_items, item % WORLD.n_attributes
        query = AttributeQuery(item, attribute, 1 - 2 * (item % 2))
        two = Recommendation((item, other))
        for act in (two, ItemQuery((item, other)), query, Recommendation(())):
            words = say(act, WORLD, variant)
            for text in (words, format_turn(act, words, WORLD)):
                assert trim(text, "recommender") == (text, "")
        for response, act in (
            (Accept(item), two),
            (Reject(), two),
            (Critique(item, attribute, query.direction), two),
            (Choice(item), ItemQuery((item, other))),
            (Answer(attribute, query.direction), query),
            (Leave(), two),
        ):
            words = say_response(response, act, WORLD, variant)
            for text in (words, format_turn(response, words, WORLD)):
                assert trim(text, "user") == (text, "")


def test_the_first_reason_to_cut_is_the_one_told():
    text = "Heat?\nUser: Yes.<|im_end|>" + "x" * 5000
    assert trim(text, "recommender") == ("Heat?", "it goes on as User")
    assert trim("Heat?<|im_end|>\nUser: Yes.", "recommender")[1] == "it holds the mark <|im_end|>"
    assert trim("Heat, Alien", "recommender", 4) == ("Heat", "it is longer than 4 characters")


@pytest.mark.parametrize(
    ("text", "act", "words"),
    [
        (TURN, OFFER, say(OFFER, WORLD)),
        ("How about Heat or Alien?", OFFER, "How about Heat or Alien?"),
        (
            "<action><ask_item><movie_title>Up (2009)</movie_title></action>"
            "<response>Well? </response>",
            ItemQuery((UP,)),
            "Well?",
        ),
        (
            "Compared with Heat (1995), would you like something funnier?",
            AttributeQuery(HEAT, FUNNY, 1),
            "Compared with Heat (1995), would you like something funnier?",
        ),
        ("Recommender: Up?\nUser: Yes", Recommendation((UP,)), "Up?"),
    ],
)
def test_what_is_understood(text, act, words):
    heard = hear(text, WORLD, 2)
    assert (heard.act, heard.words, heard.reason) == (act, words, "")


def test_a_turn_without_words_gets_those_of_the_templates():
    heard = hear(format_turn(OFFER, "", WORLD), WORLD, 2)
    assert (heard.act, heard.words) == (OFFER, say(OFFER, WORLD))


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("", "nothing is said", ""),
        (" \n\t", "nothing is said", ""),
        ("User: Yes.", "nothing is said", ""),
        ("Nice weather.", "no film of the catalogue is named", "Nice weather."),
        ("How about Heat, Alien or Up?", "3 films are named, where 2 at most may be", None),
        ("<action><recommend></action>", "a turn is <action>", ""),
        (
            "<action><accept><movie_title>Heat (1995)</movie_title></action>"
            "<response>I take Heat.</response>",
            "<accept> is an act of the user",
            "Heat (1995) I take Heat.",
        ),
    ],
)
def test_what_is_not_understood_keeps_its_words(text, reason, words):
    heard = hear(text, WORLD, 2)
    assert heard.act is None
    assert reason in heard.reason
    assert heard.words == (text if words is None else words)


def test_an_attribute_query_names_one_film_however_small_the_slate():
    query = AttributeQuery(HEAT, FUNNY, -1)
    assert hear(format_turn(query, "", WORLD), WORLD, 1).act == query


def test_plain_is_one_line_without_tags():
    assert plain("<action><recommend>\n <movie_title>Up</movie_title> 2 < 3") == "Up 2 < 3"


PIECES = st.sampled_from(
    ["<action>", "</action>", "<response>", "</response>", "<recommend>", "<more>", "User:",
     "Recommender:", "\n", " ", "Heat (1995)", "<movie_title>", "</movie_title>", "<|im_end|>",
     "**", "> ", "### ", " User: ", "<eos>", "x" * 600, "ask", "\ud800", "\x00", "é", TURN]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=20), max_size=12).map("".join))
def test_any_text_is_heard(text):
    heard = hear(text, WORLD, 2)
    assert (heard.act is None) == bool(heard.reason)
    assert len(heard.text) <= MAX_LENGTH
    assert text.strip().endswith(heard.text) or heard.cut
    assert heard.text in text


@pytest.mark.parametrize(
    "piece",
    ["x", "\n", " ", "*", "User", "\n*", "<", "<action>", "(1995) ",
     "#", "> ", "&gt;", "! ", ".\n", "<|", "<|x", "[", "User ", "\nuser  ", "? User"],
)  # fmt: skip
def test_a_very_long_text_is_heard_soon(piece):
    text = "y" + piece * (400_000 // len(piece)) + "z"
    start = time.perf_counter()
    hear(text, WORLD, 2)
    assert time.perf_counter() - start < 2

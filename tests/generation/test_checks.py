"""What checks refuse, and what they let pass: exhaustive, by hand, and the paper's own words."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crs_gym.acts import Accept, Choice, Critique, ItemQuery, Leave, Recommendation, Reject
from crs_gym.dialogue import VARIANTS, say, say_response
from crs_gym.dialogue.understanding import furthest
from crs_gym.generation.checks import LONGEST, Reason, check, check_response, tidy
from experiments.words import corruptions
from experiments.words.corruptions import Corruptions
from experiments.words.talks import an_exchange
from tests.generation import fresh, paper, texts
from tests.generation.texts import GM, OFFER, ONE, QUERY, SCARIER, SCARY, TITLES, WORLD, G, M

HEAT = TITLES["Heat (1995)"]
PAPER = paper.world()
EXCHANGES = [an_exchange(random.Random(n), WORLD) for n in range(600)]


def reason(found):
    return found and found.reason


@pytest.mark.parametrize("variant", range(VARIANTS))
def test_templates_of_all_variants_pass(variant):
    for act, response in EXCHANGES:
        said = say(act, WORLD, variant)
        assert check(said, act, WORLD) is None, said
        answered = say_response(response, act, WORLD, variant)
        assert check_response(answered, response, act, WORLD) is None, answered


def test_films_of_one_name_pass_as_well(plane_world):
    twins = plane_world.replace(
        titles=("Up", "Up", *plane_world.titles[2:]), years=[2009] * plane_world.n_items
    )
    for act, response in (
        (Recommendation((0, 3)), Accept(0)),
        (ItemQuery((3, 1)), Choice(1)),
        (Recommendation((1,)), Critique(1, 2, -1)),
    ):
        for variant in range(VARIANTS):
            assert check(say(act, twins, variant), act, twins) is None
            answered = say_response(response, act, twins, variant)
            assert check_response(answered, response, act, twins) is None


def test_corrupted_turns_are_found():
    figures = Corruptions(inputs=300, seed=7, out=None).run()
    for words in ("templates", "phrasings"):
        good, bad = figures["good"][words]["total"], figures["corrupted"][words]["total"]
        assert good["refused"] <= 0.001 * good["all"]
        assert bad["refused"] >= 0.99 * bad["all"]
        for kind, counts in figures["corrupted"][words].items():
            least = 0.95 if "both sides" in kind else 0.99
            assert counts["refused"] >= least * counts["all"], kind


@pytest.mark.slow
def test_corrupted_turns_are_found_among_many():
    figures = Corruptions(inputs=20_000, seed=8, out=None).run()
    for words in ("templates", "phrasings"):
        good, bad = figures["good"][words]["total"], figures["corrupted"][words]["total"]
        assert good["refused"] <= 0.001 * good["all"]
        assert bad["refused"] >= 0.995 * bad["all"]


@pytest.mark.parametrize(("act", "text"), [(a, t) for a, ts in texts.GOOD.items() for t in ts])
def test_good_turns_of_the_recommender_pass(act, text):
    assert check(text, act, WORLD) is None


@pytest.mark.parametrize(("act", "text"), [(a, t) for a, ts in texts.BAD.items() for t in ts])
def test_bad_turns_of_the_recommender_are_refused(act, text):
    assert check(text, act, WORLD) is not None


@pytest.mark.parametrize(("act", "response", "text"), texts.GOOD_RESPONSES)
def test_good_turns_of_the_user_pass(act, response, text):
    assert check_response(text, response, act, WORLD) is None


@pytest.mark.parametrize(("act", "response", "text"), texts.BAD_RESPONSES)
def test_bad_turns_of_the_user_are_refused(act, response, text):
    assert check_response(text, response, act, WORLD) is not None


def test_turns_that_the_checks_were_not_made_with():
    refused = [one for one in fresh.GOOD if check(one[1], one[0], WORLD)]
    refused += [
        one for one in fresh.GOOD_RESPONSES if check_response(one[2], one[1], one[0], WORLD)
    ]
    passed = [one for one in fresh.BAD if not check(one[1], one[0], WORLD)]
    passed += [
        one for one in fresh.BAD_RESPONSES if not check_response(one[2], one[1], one[0], WORLD)
    ]
    assert len(refused) <= 3, refused
    assert len(passed) <= 1, passed


@pytest.mark.parametrize(("act", "response", "said", "answered"), paper.TURNS)
def test_the_papers_own_turns_pass_where_they_keep_the_rules(act, response, said, answered):
    assert (check(said, act, PAPER) is None) == (said != paper.DROPPED)
    assert check_response(answered, response, act, PAPER) is None


def test_the_papers_turns_are_refused_for_other_acts():
    passed = []
    for act, _, said, answered in paper.TURNS:
        for other, reply, _, _ in paper.TURNS:
            if other != act:
                assert check(said, other, PAPER) is not None
                if check_response(answered, reply, other, PAPER) is None:
                    passed.append((answered, reply))
    # "something lighter" is less dense and less serious, a comedy is less serious than a drama
    assert len(passed) <= 3, passed


@pytest.mark.parametrize(
    ("text", "act", "expected"),
    [
        ("How about The Godfather (1972)?", OFFER, Reason.MISSING_FILM),
        ("How about The Godfather (1972) or The Matrix?", OFFER, Reason.MISSING_YEAR),
        ("How about The Godfather (1972), The Matrix (1999) or Heat (1995)?", OFFER,
         Reason.OTHER_FILM),
        ("How about The Godfather (1972), The Matrix (1999) or Ronin (1998)?", OFFER,
         Reason.UNKNOWN_FILM),
        ("Which do you prefer, The Godfather (1972) or The Matrix (1999)?", OFFER,
         Reason.OTHER_ACT),
        ("How about The Godfather (1972) or The Matrix (1999)?", QUERY, Reason.OTHER_ACT),
        ("Would you like something less scary than Alien (1979)?", SCARIER,
         Reason.OTHER_DIRECTION),
        ("Would you like something funnier than Alien (1979)?", SCARIER, Reason.OTHER_ATTRIBUTE),
        ("", OFFER, Reason.EMPTY),
        ("...", OFFER, Reason.EMPTY),
        ("How about The Godfather (1972) or The Matrix (1999)?" + " Yay" * LONGEST, OFFER,
         Reason.LONG),
        ("How about The Godfather (1972)\nor The Matrix (1999)?", OFFER, Reason.LINES),
        ("User: How about The Godfather (1972) or The Matrix (1999)?", OFFER, Reason.ROLE),
        ("<b>The Godfather (1972)</b> or The Matrix (1999)?", OFFER, Reason.MARKUP),
        ("How about The Godfather (1972) or The Matrix (1999)? I'll take The Matrix.", OFFER,
         Reason.OTHER_SIDE),
        ("As an AI, I suggest The Godfather (1972) or The Matrix (1999).", OFFER, Reason.META),
    ],
)  # fmt: skip
def test_reasons_of_the_recommenders_turn(text, act, expected):
    assert reason(check(text, act, WORLD)) is expected


@pytest.mark.parametrize(
    ("text", "response", "expected"),
    [
        ("I'll take The Godfather (1972).", Accept(M), Reason.OTHER_FILM),
        ("I'll take Heat (1995).", Accept(M), Reason.OTHER_FILM),
        ("I'll take Ronin (1998).", Accept(M), Reason.UNKNOWN_FILM),
        ("No, none of these.", Accept(M), Reason.OTHER_ACT),
        ("I'll take one of them.", Accept(M), Reason.MISSING_FILM),
        ("The Matrix (1999) wouldn't be what I want.", Accept(M), Reason.CONTRADICTION),
        ("I want something less scary than The Matrix.", Critique(M, SCARY, 1),
         Reason.OTHER_DIRECTION),
        ("I want something tamer than The Matrix tonight.", Critique(M, SCARY, 1),
         Reason.OTHER_DIRECTION),
        ("I want something new, not like The Matrix.", Critique(M, SCARY, 1), Reason.UNCLEAR),
    ],
)  # fmt: skip
def test_reasons_of_the_users_turn(text, response, expected):
    assert reason(check_response(text, response, OFFER, WORLD)) is expected


def test_what_stands_in_titles_of_the_act_is_no_fault():
    titles = ("User: The Movie", "As an AI", "No, Not That One", "[REC]")
    world = PAPER.replace(titles=(*titles, *PAPER.titles[len(titles) :]))
    for item in range(len(titles)):
        for act, response in (
            (Recommendation((item, 9)), Accept(item)),
            (ItemQuery((item, 9)), Choice(item)),
        ):
            assert check(say(act, world), act, world) is None
            assert check_response(say_response(response, act, world), response, act, world) is None


def test_a_critique_may_drop_the_title_where_nobody_can_mistake_the_film():
    nearest = furthest(GM, SCARY, 1, WORLD)
    other = next(item for item in GM if item != nearest)
    text = "I'd like something that is a bit scarier, please."
    assert check_response(text, Critique(nearest, SCARY, 1), OFFER, WORLD) is None
    assert check_response(text, Critique(other, SCARY, 1), OFFER, WORLD) is not None


@given(st.text(max_size=300))
@example("NOR:OFFER")  # curt, but it says that there is nothing to offer
@settings(max_examples=300, deadline=None)
def test_any_text_gets_a_verdict_and_noise_is_refused(text):
    for act in (OFFER, QUERY, SCARIER):
        assert check(text, act, WORLD) is not None
    if check(text, Recommendation(()), WORLD) is None:
        words = ("offer", "suggest", "recommend", "idea", "option", "show")
        assert any(word in text.casefold() for word in words)
    for response, act in ((Accept(M), OFFER), (Reject(), ONE), (Choice(G), QUERY), (Leave(), ONE)):
        check_response(text, response, act, WORLD)


@pytest.mark.parametrize(
    ("raw", "tidied"),
    [
        ("  Yes!\n", "Yes!"),
        ('"Yes, please."', "Yes, please."),
        ("“Yes, please.”", "Yes, please."),
        ("'Yes, I'd like that.'", "Yes, I'd like that."),
        ("\"Heat (1995)\" or \"Up (2009)\"", "\"Heat (1995)\" or \"Up (2009)\""),
        ("'Heat' or 'Up'", "'Heat' or 'Up'"),
        ('"', '"'),
        ("", ""),
    ],
)  # fmt: skip
def test_quotation_marks_around_all_of_a_turn_are_taken_off(raw, tidied):
    assert tidy(raw) == tidied


def test_corruptions_are_what_they_say():
    """The measure itself: a corrupted text is never the text it was made from."""
    rng = random.Random(2)
    for act, response in EXCHANGES[:300]:
        asked, answered = say(act, WORLD), say_response(response, act, WORLD)
        made = [
            *corruptions.recommender(rng, act, lambda a: say(a, WORLD), answered, WORLD),
            *(
                one
                for one in corruptions.user(
                    rng, response, act, lambda r, a: say_response(r, a, WORLD), asked, WORLD
                )
            ),
        ]
        assert len(made) >= 16
        assert all(one.text not in (asked, answered) for one in made), made

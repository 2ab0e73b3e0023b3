"""Who plays the user."""

import pytest

from crs_gym.acts import Accept, AttributeQuery, Choice, Critique, ItemQuery, Recommendation, Reject
from crs_gym.dialogue import (
    CONFUSED,
    VARIANTS,
    NotUnderstood,
    greet,
    say_response,
    understand_response,
)
from crs_gym.envs.dialogue import DialogueEnv
from crs_gym.envs.text import (
    IcerUser,
    KeyboardUser,
    Person,
    Situation,
    make_opponent,
    split_endpoint,
)
from crs_gym.users import User
from crs_gym.world import load_world

WORLD = load_world("films")
HEAT, UP = (WORLD.titles.index(title) for title in ("Heat", "Up"))
FUNNY = [attribute.name for attribute in WORLD.attributes].index("funny")
OFFER, ACCEPTED = Recommendation((HEAT, UP)), Accept(UP)


def person(seed=0, variant=0):
    user = User(*(WORLD.user_mean[0] for _ in User._fields))
    return Person(WORLD, 0, user, seed, variant)


def situation(act=OFFER, icer=ACCEPTED, turn=1, variant=0, seed=0):
    who = person(seed, variant)
    return Situation(who, turn, act, "How about Heat or Up?", (), icer, variant)


def typing(*lines):
    """A keyboard user with these answers, and what it is shown."""
    given, shown = iter(lines), []

    def read(prompt):
        shown.append(prompt)
        line = next(given)
        if isinstance(line, Exception):
            raise line
        return line

    return KeyboardUser(read, shown.append), shown


@pytest.mark.parametrize("variant", range(VARIANTS))
def test_the_icer_user_says_what_the_model_decides(variant):
    user = IcerUser()
    assert user.kind == "rule"
    assert user.greet([person(variant=variant)] * 2) == [greet(variant)] * 2
    for act, icer in ((OFFER, Accept(UP)), (ItemQuery((HEAT, UP)), Choice(HEAT))):
        (turn,) = user.respond([situation(act, icer, variant=variant)])
        assert turn == (icer, say_response(icer, act, WORLD, variant))


def test_seeds_of_a_situation_follow_from_episode_and_turn():
    seeds = {
        situation(turn=turn, seed=seed).seed
        for turn in range(1, 8)
        for seed in (0, 1, 5000, 2**31 - 2)
    }
    assert len(seeds) == 28
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_person_is_asked_until_the_answer_is_clear():
    wish = "I'd like something funnier than Heat."
    user, shown = typing(
        "Hm, perhaps.", "Alien (1979), please.", "I'd like something funnier than Heat."
    )
    (turn,) = user.respond([situation()])
    assert turn == (Critique(HEAT, FUNNY, 1), wish)
    assert shown[:2] == ["Recommender: How about Heat or Up?", "You: "]
    assert shown[2].startswith("(Please say that in another way: ")
    assert shown[3] == "You: "
    assert "Alien (1979) is not among the films spoken of" in shown[4]
    assert len(shown) == 6
    # what a person thinks of is not what the model would have done
    (turn,) = typing("No, neither of them.")[0].respond([situation()])
    assert turn.act == Reject()


def test_a_person_that_goes_away():
    (turn,) = typing(EOFError())[0].respond([situation()])
    assert turn == NotUnderstood("the person at the keyboard has gone")


def test_a_person_plays_an_episode():
    user, shown = typing("Heat, please.", "I'll take Up.")
    env = DialogueEnv(WORLD, user=user)
    greeting, info = env.reset(seed=0)
    env.step("Which do you prefer: Heat or Up?")
    words, _, terminated, truncated, info = env.step("How about Up?")
    assert (words, terminated, truncated) == ("I'll take Up.", True, False)
    assert info["accepted_item"] == UP
    assert shown[:2] == [f"You: {greeting}", "Recommender: Which do you prefer: Heat or Up?"]


def test_a_person_is_shown_what_was_said_without_it():
    user, shown = typing("Heat, please.", "I'll take Up.")
    env = DialogueEnv(WORLD, user=user, user_model={"null_z": 50.0})
    greeting, _ = env.reset(seed=0)
    for text in ("Hm.\udcff", "Hm?", "Which do you prefer: Heat or Up?", "Well.", "How about Up?"):
        env.step(text)
    assert shown == [
        f"You: {greeting}",
        *("Recommender: Hm.?", f"You: {CONFUSED}", "Recommender: Hm?", f"You: {CONFUSED}"),
        *("Recommender: Which do you prefer: Heat or Up?", "You: "),
        *("Recommender: Well.", f"You: {CONFUSED}"),
        *("Recommender: How about Up?", "You: "),
    ]
    # nobody at the keyboard can answer so, and be taken for one who was not asked
    for act in (OFFER, ItemQuery((HEAT, UP)), AttributeQuery(HEAT, FUNNY, 1)):
        assert isinstance(understand_response(CONFUSED, act, WORLD), NotUnderstood)


def test_a_person_that_goes_away_breaks_the_conversation_off():
    env = DialogueEnv(WORLD, user=typing(EOFError())[0], render_mode="ansi")
    env.reset(seed=0)
    words, reward, terminated, truncated, info = env.step("How about Up?")
    assert (words, terminated, truncated) == ("", False, True)
    assert reward == pytest.approx(-0.02)
    assert (info["failed"], info["understood"], info["accepted_item"]) == ("user", True, -1)
    assert info["reason"] == "the person at the keyboard has gone"
    assert "[user not understood: the person at the keyboard has gone]" in env.render()
    assert "[not " not in env.render()


def test_opponents_by_name():
    assert isinstance(make_opponent("icer"), IcerUser)
    assert isinstance(make_opponent("person"), KeyboardUser)
    other = IcerUser()
    assert make_opponent(other) is other


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("gpt@http://localhost:8000/v1", ("gpt", "http://localhost:8000/v1")),
        ("a@b@https://me:pw@host/v1", ("a@b", "https://me:pw@host/v1")),
        ("x@2", ("x@2", "")),
        ("gpt@localhost/v1", ("gpt@localhost/v1", "")),
        ("x@httpd", ("x@httpd", "")),
        ("x", ("x", "")),
    ],
)
def test_an_endpoint_is_told_by_its_url(model, parts):
    assert split_endpoint(model) == parts


@pytest.mark.parametrize(
    "name", ["", "nobody", "icer:model", "person:x", "lm", "lm:", "icer-words", None, 3, {}, User]
)
def test_an_unknown_name_lists_what_there_is(name):
    with pytest.raises(ValueError, match="unknown user.*there are icer, person, icer-words:MODEL"):
        make_opponent(name)

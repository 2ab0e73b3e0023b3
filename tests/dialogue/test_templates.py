import numpy as np
import pytest

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
    Turn,
    response_to_arrays,
    to_arrays,
)
from crs_gym.dialogue import conversation, say, say_response


@pytest.fixture(scope="module")
def world(plane_world):
    return plane_world.replace(
        titles=("Heat", "Up", "Alien", *plane_world.titles[3:]),
        years=np.array([1995, 2009, 0, *plane_world.years[3:]]),
    )


@pytest.mark.parametrize(
    ("act", "response", "said", "answered"),
    [
        (Recommendation((0, 1)), Accept(1), "You might like Heat (1995) or Up (2009).",
         "Up (2009) is what I am looking for, thanks!"),
        (Recommendation((2,)), Reject(), "You might like Alien.", "No, not that one."),
        (Recommendation((0, 1)), Reject(), None, "No, I don't like any of them."),
        (Recommendation((0, 1)), Critique(0, 0, -1), None,
         "No. Do you have something less action filled than Heat (1995)?"),
        (ItemQuery((0, 2)), Choice(2), "Which of these do you prefer: Heat (1995) or Alien?",
         "I'd choose Alien."),
        (AttributeQuery(1, 0, 1), Answer(0, 1),
         "Compared with Up (2009), would you like something more action filled?",
         "Yes, I want something more action filled."),
        (AttributeQuery(1, 0, -1), Answer(0, 1),
         "Compared with Up (2009), would you like something less action filled?",
         "No, I want something more action filled."),
        (ItemQuery((0, 1)), Leave(), None, "This leads nowhere. Goodbye."),
        (Recommendation(()), Reject(), "I have nothing new to offer.", None),
    ],
)  # fmt: skip
def test_every_act_has_words(world, act, response, said, answered):
    if said is not None:
        assert say(act, world) == said
    if answered is not None:
        assert say_response(response, act, world) == answered


def test_a_conversation_is_two_lines_a_turn(world):
    act = to_arrays(ItemQuery((0, 1)), 2)
    turn = Turn(act, response_to_arrays(Choice(0), act))
    history = Turn(
        type(act)(*(np.stack([f, np.full_like(f, -1)]) for f in act)),
        type(turn.response)(*(np.stack([f, np.full_like(f, -1)]) for f in turn.response)),
    )
    assert conversation(history, world).splitlines() == [
        "Recommender: Which of these do you prefer: Heat (1995) or Up (2009)?",
        "User: I'd choose Heat (1995).",
    ]

"""Readable acts and arrays say the same; acts go through JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crs_gym.acts import (
    NONE,
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    Recommendation,
    RecommenderAct,
    RecommenderKind,
    Reject,
    Turn,
    UserAct,
    UserKind,
    no_turn,
    readable_turns,
    response_to_arrays,
    response_to_readable,
    to_arrays,
    to_readable,
)

index = st.integers(0, 2**31 - 1)
direction = st.sampled_from([1, -1])
items = st.lists(index, min_size=1, max_size=4, unique=True).map(tuple)
recommender_acts = (
    st.builds(Recommendation, items)
    | st.builds(ItemQuery, items)
    | st.builds(AttributeQuery, index, index, direction)
)


@st.composite
def turns(draw):
    """An act of at most four items and a response that refers to its slate."""
    act = draw(recommender_acts)
    slate = [act.item] if isinstance(act, AttributeQuery) else act.items
    item = st.sampled_from(slate)
    return act, draw(
        st.builds(Accept, item)
        | st.builds(Reject)
        | st.builds(Critique, item, index, direction)
        | st.builds(Choice, item)
        | st.builds(Answer, index, direction)
        | st.builds(Leave)
    )


@given(turns(), st.integers(4, 6))
@settings(deadline=None)
def test_round_trips(turn, slate_size):
    act, response = turn
    arrays = to_arrays(act, slate_size)
    assert to_readable(arrays) == act
    assert arrays.slate.shape == (slate_size,)
    said = response_to_arrays(response, arrays)
    assert response_to_readable(said, arrays) == response
    assert all(np.asarray(x).dtype == np.int32 for x in (*arrays, *said))
    # and from arrays to words and back, the padding included
    for before, after in zip(arrays, to_arrays(to_readable(arrays), slate_size), strict=True):
        np.testing.assert_array_equal(before, after)
    again = response_to_arrays(response_to_readable(said, arrays), arrays)
    assert tuple(again) == tuple(said)


@given(st.lists(turns(), max_size=4), st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_histories_read_up_to_the_first_padding(conversation, padding):
    rows = []
    for act, response in conversation:
        arrays = to_arrays(act, 4)
        rows.append(Turn(arrays, response_to_arrays(response, arrays)))
    rows += [no_turn(4)] * (padding + (not conversation))
    history = jax.tree.map(lambda *fields: np.stack(fields), *rows)
    assert readable_turns(history) == conversation


@pytest.mark.parametrize(
    ("act", "arrays"),
    [
        (Recommendation((3, 5)), (RecommenderKind.RECOMMEND, [3, 5, NONE], NONE, 0)),
        (ItemQuery((0, 4, 2)), (RecommenderKind.ASK_ITEM, [0, 4, 2], NONE, 0)),
        (AttributeQuery(7, 2, -1), (RecommenderKind.ASK_ATTRIBUTE, [7, NONE, NONE], 2, -1)),
        (AttributeQuery(7, 2), (RecommenderKind.ASK_ATTRIBUTE, [7, NONE, NONE], 2, 1)),
    ],
)
def test_recommender_acts_as_arrays(act, arrays):
    for field, expected in zip(to_arrays(act, 3), arrays, strict=True):
        np.testing.assert_array_equal(field, expected)


@pytest.mark.parametrize(
    ("response", "arrays"),
    [
        (Accept(5), (UserKind.ACCEPT, 1, NONE, 0)),
        (Reject(), (UserKind.REJECT, NONE, NONE, 0)),
        (Critique(3, 2, -1), (UserKind.CRITIQUE, 0, 2, -1)),
        (Choice(5), (UserKind.CHOOSE, 1, NONE, 0)),
        (Answer(2, 1), (UserKind.ANSWER, NONE, 2, 1)),
        (Leave(), (UserKind.LEAVE, NONE, NONE, 0)),
    ],
)
def test_responses_as_arrays(response, arrays):
    act = to_arrays(Recommendation((3, 5)), 3)
    assert tuple(int(x) for x in response_to_arrays(response, act)) == arrays


def test_empty_places_between_items_are_dropped():
    act = RecommenderAct(np.int32(0), np.array([NONE, 4, NONE, 1]), np.int32(NONE), np.int32(0))
    assert to_readable(act) == Recommendation((4, 1))
    # a response still names the place in the arrays
    assert response_to_arrays(Accept(1), act).slot == 3
    assert response_to_readable(response_to_arrays(Accept(1), act), act) == Accept(1)


def test_acts_go_through_jit_vmap_and_scan():
    acts = [
        to_arrays(a, 3)
        for a in (Recommendation((3, 5)), ItemQuery((1, 2, 0)), AttributeQuery(4, 1, -1))
    ]
    batch = jax.tree.map(lambda *fields: jnp.stack(fields), *acts)
    same = jax.jit(jax.vmap(lambda act: act._replace(slate=act.slate[::-1][::-1])))(batch)
    assert isinstance(same, RecommenderAct)
    for i, act in enumerate(acts):
        assert to_readable(jax.tree.map(lambda field, i=i: field[i], same)) == to_readable(act)
    said = [response_to_arrays(r, acts[0]) for r in (Accept(5), Reject(), Critique(3, 1, 1))]
    responses = jax.tree.map(lambda *fields: jnp.stack(fields), *said)
    _, scanned = jax.lax.scan(lambda n, response: (n + 1, response), 0, responses)
    assert isinstance(scanned, UserAct)
    assert all(field.dtype == jnp.int32 for field in (*same, *scanned))
    history = Turn(jax.tree.map(lambda x: jnp.stack([x] * 3), acts[0]), scanned)
    assert readable_turns(history) == [
        (Recommendation((3, 5)), response) for response in (Accept(5), Reject(), Critique(3, 1, 1))
    ]


def test_no_turn_is_padding():
    turn = no_turn(3)
    assert turn.act.kind == turn.response.kind == NONE
    np.testing.assert_array_equal(turn.act.slate, [NONE] * 3)
    with pytest.raises(ValueError, match="-1 is not the kind of a recommender act"):
        to_readable(turn.act)
    with pytest.raises(ValueError, match="-1 is not the kind of a user act"):
        response_to_readable(turn.response, turn.act)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (Recommendation((1, 2, 3)), "has 3 items; a slate here takes 0 to 2"),
        (ItemQuery(()), "has 0 items; a slate here takes 1 to 2"),
        (ItemQuery((1, 2, 3)), "has 3 items; a slate here takes 1 to 2"),
        (Recommendation((1, -1)), "negative item index"),
        (AttributeQuery(-2, 0), "negative item index"),
        (AttributeQuery(0, -1), "attribute index -1 is negative"),
        (AttributeQuery(0, 0, 0), r"direction must be \+1 \(more\) or -1 \(less\), not 0"),
        (AttributeQuery(0, 0, 2), "direction must be"),
    ],
)
def test_wrong_recommender_acts(act, message):
    with pytest.raises(ValueError, match=message):
        to_arrays(act, 2)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (Accept(9), "names item 9, which is not in the slate"),
        (Choice(NONE), "names item -1, which is not in the slate"),
        (Critique(9, 0, 1), "not in the slate"),
        (Critique(3, 0, 0), "direction must be"),
        (Answer(0, 3), "direction must be"),
    ],
)
def test_wrong_responses(response, message):
    act = RecommenderAct(np.int32(0), np.array([3, NONE]), np.int32(NONE), np.int32(0))
    with pytest.raises(ValueError, match=message):
        response_to_arrays(response, act)


def test_not_an_act():
    act = to_arrays(Recommendation((1,)), 2)
    with pytest.raises(TypeError, match=r"Reject\(\) is not a recommender act"):
        to_arrays(Reject(), 2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is not a user act"):
        response_to_arrays(Recommendation((1,)), act)  # type: ignore[arg-type]

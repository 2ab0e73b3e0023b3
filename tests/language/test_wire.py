import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crs_gym.language.model import Reply
from crs_gym.language.wire import Trouble, read_reply, status_trouble
from tests.language.faulty import completion

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "error", "usage", "refusal"]), inner
        )
    ),
    max_leaves=8,
)


@given(JSON | st.fixed_dictionaries({"choices": st.lists(JSON, max_size=2)}))
def test_any_json_is_a_reply_or_trouble(body):
    try:
        reply = read_reply(json.dumps(body).encode())
    except Trouble:
        return
    assert isinstance(reply.text, str)


@given(st.binary(max_size=40))
def test_any_bytes_are_trouble_that_heals(body):
    with pytest.raises(Trouble) as caught:
        read_reply(body)
    assert caught.value.heals


@given(st.integers(400, 599), JSON, st.none() | st.floats(0, 1e4))
def test_any_status_is_trouble(status, body, retry_after):
    trouble = status_trouble(status, body, retry_after, "m", "KEY")
    assert not (trouble.heals and trouble.lasting)
    assert len(str(trouble)) < 700


def test_finish_and_counts():
    body = completion("one two")
    assert read_reply(json.dumps(body).encode()) == Reply("one two", "stop", 11, 5)
    body["choices"][0]["finish_reason"] = "length"
    assert read_reply(json.dumps(body).encode()) == Reply("one two", "length", 11, 5)
    assert read_reply(json.dumps(body).encode(), (" ",)) == Reply("one", "stop", 11, 5)
    body["usage"] = {"prompt_tokens": "many", "completion_tokens": -3}
    assert read_reply(json.dumps(body).encode()) == Reply("one two", "length", 0, 0)
    del body["usage"]
    assert read_reply(json.dumps(body).encode()) == Reply("one two", "length", 0, 0)

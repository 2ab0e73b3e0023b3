import pytest

from crs_gym.language import Failure, Message, Reply, Request
from crs_gym.language.model import in_order, stream, until_stop


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"messages": ()}, "at least one message"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"stop": ("",)}, "stop"),
        ({"stop": "User:"}, "stop"),
    ],
)
def test_requests_out_of_range(fields, error):
    with pytest.raises(ValueError, match=error):
        Request(**{"messages": (Message("user", "x"),), **fields})


def test_until_stop_takes_the_first_that_comes():
    assert until_stop("abcd", ("d", "bc")) == ("a", True)
    assert until_stop("abcd", ("x",)) == ("abcd", False)
    assert until_stop("abcd", ()) == ("abcd", False)
    assert until_stop("abcd", ("a",)) == ("", True)


def test_a_model_that_cannot_stream_is_asked_in_batches():
    batches = []

    class Plain:
        name = "plain"

        def generate(self, requests):
            batches.append(len(requests))
            return [Reply(request.messages[0].content) for request in requests]

    requests = [Request((Message("user", f"{n}"),)) for n in range(5)]
    replies = list(stream(Plain(), requests, 2))
    assert replies == [(n, Reply(f"{n}")) for n in range(5)]
    assert batches == [2, 2, 1]


def test_order_is_restored():
    assert in_order([(2, Reply("c")), (0, Failure("a")), (1, Reply("b"))]) == [
        Failure("a"),
        Reply("b"),
        Reply("c"),
    ]

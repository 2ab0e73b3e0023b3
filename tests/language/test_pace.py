from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crs_gym.language.pace import Backoff, Pace, retry_after_seconds


class Clock:
    now = 5.0

    def __call__(self):
        return self.now


@given(
    st.floats(0.5, 600),
    st.lists(st.floats(0, 30), min_size=1, max_size=60),
)
def test_no_minute_has_more_requests_than_allowed(per_minute, pauses):
    clock = Clock()
    pace, sent = Pace(per_minute, clock), []
    for pause in pauses:  # of the caller, before each request
        clock.now += pause
        clock.now += pace.reserve()
        sent.append(clock.now)
    for at, start in enumerate(sent):
        within = [t for t in sent[at:] if t < start + 60 - 1e-9]
        assert len(within) <= max(1, -(-per_minute // 1))
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert all(gap >= 60 / per_minute - 1e-9 for gap in gaps)


def test_a_rate_is_used_to_the_full():
    clock = Clock()
    pace = Pace(30, clock)
    assert [pace.reserve() for _ in range(4)] == [0.0, 2.0, 4.0, 6.0]
    clock.now += 100
    assert pace.reserve() == 0.0
    unlimited = Pace(None, clock)
    assert [unlimited.reserve() for _ in range(3)] == [0.0] * 3


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_must_be_positive(rate):
    with pytest.raises(ValueError, match="requests per minute"):
        Pace(rate)


def test_backoff_doubles_up_to_the_longest():
    backoff = Backoff(first=0.5, longest=6.0)
    assert [backoff.seconds(n, 0.0) for n in range(6)] == [0.25, 0.5, 1, 2, 3, 3]
    assert [backoff.seconds(n, 0.5) for n in range(6)] == [0.375, 0.75, 1.5, 3, 4.5, 4.5]
    assert backoff.seconds(10_000, 0.0) == 3
    assert backoff.seconds(0, 0.0, retry_after=9.0) == 9.0
    assert backoff.seconds(3, 0.0, retry_after=0.5) == 2.0


@given(st.text(max_size=40) | st.from_regex(r"Mon, \d+ Jan \d+ \d+:\d\d:\d\d -0000"))
def test_any_header_gives_a_wait_or_none(header):
    seconds = retry_after_seconds(header)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        (formatdate(1_000_090, usegmt=True), 90.0),
        (formatdate(999_000, usegmt=True), 0.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after_seconds(header, now=1_000_000.0) == seconds

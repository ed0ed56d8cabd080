"""A2E's clock, seen through the ``Date`` of its responses and the clocks of this machine."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.server_clock import ServerClock, ServerTime, is_cached

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

NOW = 1_785_000_000.0


def headers(date: float, **others: str) -> dict[str, str]:
    """Return the headers of a response that A2E sent at a time."""
    return {"date": formatdate(date, usegmt=True), **others}


def test_unknown_clock() -> None:
    """Before the first response, A2E's clock is unknown."""
    assert ServerClock().time(monotonic=5.0, wall=NOW) == ServerTime(-math.inf, math.inf)


@pytest.mark.parametrize("shown", [{}, {"date": ""}, {"date": "today"}, headers(NOW, age="300")], ids=str)
def test_response_that_does_not_tell_the_time(shown: dict[str, str]) -> None:
    """A response without a valid Date, or with that of a cache, teaches nothing."""
    clock = ServerClock()
    clock.observe(headers(NOW), monotonic=5.0, wall=0.0)
    clock.observe(shown, monotonic=105.0, wall=100.0)
    assert clock.date == NOW


@pytest.mark.parametrize(
    ("date", "later", "learned"),
    [
        pytest.param(NOW + 5, 5.0, True, id="a later time"),
        pytest.param(NOW - 30, 5.0, True, id="another machine of A2E"),
        pytest.param(NOW - 300, 5.0, False, id="a cache"),
        pytest.param(NOW + 300, 599.0, False, id="a cache, minutes later"),
        pytest.param(NOW + 300, 600.0, True, id="set back"),
        pytest.param(NOW + 7200, 5.0, True, id="suspended"),
    ],
)
def test_next_response(date: float, later: float, *, learned: bool) -> None:
    """The time does not go back, at first: an older one comes from a cache, or A2E has set its clock back."""
    clock = ServerClock()
    clock.observe(headers(NOW), monotonic=5.0, wall=0.0)
    clock.observe(headers(date), monotonic=5.0 + later, wall=later)
    assert clock.date == (date if learned else NOW)


@pytest.mark.parametrize(
    ("monotonic", "wall", "expected"),
    [
        pytest.param(10.0, 10.0, ServerTime(NOW + 10, NOW + 11), id="both clocks count"),
        pytest.param(0.0, 7200.0, ServerTime(NOW, NOW + 7201), id="suspended"),
        pytest.param(10.0, -3590.0, ServerTime(NOW + 10, NOW + 11), id="set back by an hour"),
        pytest.param(10.0, 3610.0, ServerTime(NOW + 10, NOW + 3611), id="set forward by an hour"),
    ],
)
def test_time_after_a_response(monotonic: float, wall: float, expected: ServerTime) -> None:
    """The time lies between the least and the most that can have passed since the last Date."""
    clock = ServerClock()
    clock.observe(headers(NOW), monotonic=1000.0, wall=5e8)
    assert clock.time(monotonic=1000.0 + monotonic, wall=5e8 + wall) == expected


@given(passed=st.floats(0, 1e6), suspended=st.floats(0, 1), set_by=st.floats(-1e5, 1e5), wrong=st.floats(-1e9, 1e9))
def test_true_time_lies_between(*, passed: float, suspended: float, set_by: float, wrong: float) -> None:
    """The true time lies between both, also if the machine was suspended, or if its wall clock is wrong or was set."""
    counted = passed * (1.0 - suspended)
    if set_by < 0 and suspended:
        return  # no clock of this machine has counted all of the time
    clock = ServerClock()
    clock.observe(headers(NOW + 0.9), monotonic=77.0, wall=NOW + wrong)
    time = clock.time(monotonic=77.0 + counted, wall=NOW + wrong + passed + set_by)
    assert time.earliest <= NOW + 0.9 + passed + 0.001
    assert time.latest >= NOW + 0.9 + passed - 0.001


@pytest.mark.parametrize(
    ("shown", "cached"),
    [
        ({}, False),
        ({"age": "0"}, False),
        ({"age": "0", "x-cache": "HIT"}, False),  # a standard header counts first
        ({"age": "1"}, True),
        ({"age": "300"}, True),
        ({"age": " 300 "}, True),
        ({"age": "300, 5"}, True),
        ({"age": "12.5"}, True),
        ({"age": "long"}, True),
        ({"age": ""}, False),
        ({"x-cache": "HIT"}, True),
        ({"x-cache": "Hit from cloudfront"}, True),
        ({"x-cache": "RefreshHit from cloudfront"}, False),
        ({"x-cache": "Miss from cloudfront"}, False),
        ({"x-cache": "MISS, HIT"}, True),
        ({"x-cache": "TCP_MEM_HIT"}, True),
        ({"x-cache-status": "STALE"}, True),
        ({"x-proxy-cache": "HIT"}, True),
        ({"cf-cache-status": "DYNAMIC"}, False),
        ({"cf-cache-status": "HIT"}, True),
        ({"cache-status": "nginx; hit; ttl=30"}, True),
        ({"cache-status": "nginx; fwd=miss"}, False),
        ({"x-cache": "white list"}, False),
        ({"warning": '110 - "Response is Stale"'}, True),
        ({"warning": '299 - "Deprecated"'}, False),
    ],
    ids=str,
)
def test_cached_response(shown: dict[str, str], cached: bool) -> None:  # noqa: FBT001  a column of the table
    """A stored copy of a cache is recognised by its headers."""
    assert is_cached(shown) is cached

"""How long a request is held back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.pacing import Beat


def test_first_request_is_not_held_back() -> None:
    """Who comes first does not wait."""
    assert Beat(2.0).take(100.0) == 0.0


def test_requests_of_one_moment_get_places_in_a_row() -> None:
    """At two a second, requests that come together begin half a second apart."""
    beat = Beat(2.0)
    assert [beat.take(100.0) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]


def test_idle_time_is_not_saved_up() -> None:
    """After a long pause there is no burst."""
    beat = Beat(2.0)
    beat.take(100.0)
    assert [beat.take(1000.0), beat.take(1000.0)] == [0.0, 0.5]


def test_late_request_waits_only_for_the_rest() -> None:
    """A request that comes in the middle of a beat waits for the other half."""
    beat = Beat(2.0)
    beat.take(100.0)
    assert beat.take(100.25) == pytest.approx(0.25)


@given(st.floats(0.1, 1000.0), st.lists(st.floats(0.0, 100.0), max_size=30))
def test_beat_is_never_faster_than_asked(per_second: float, gaps: list[float]) -> None:
    """However requests arrive, they begin at least one beat apart, and none is sent into the past."""
    beat, now, begins = Beat(per_second), 0.0, []
    for gap in gaps:
        now += gap
        pause = beat.take(now)
        assert pause >= 0
        begins.append(now + pause)
    assert all(b - a >= 1 / per_second - 1e-6 for a, b in itertools.pairwise(begins))

"""Which tasks are due, and what an answer means."""

from __future__ import annotations

import pytest

from a2e_async._protocol.polling import ends_wait, next_look
from a2e_async.config import PollPolicy
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BusyError,
    NetworkError,
    NotFoundError,
    PlanError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)

_POLICY = PollPolicy(steps=((0.0, 2.0), (60.0, 5.0), (300.0, 10.0)), invisible_for=60.0)


@pytest.mark.parametrize(
    ("age", "pause"),
    [(0, 2), (59.9, 2), (60, 5), (299, 5), (300, 10), (1e6, 10)],
    ids=lambda value: f"{value:g}",
)
def test_interval_grows_with_the_age_of_the_wait(age: float, pause: float) -> None:
    """A task is asked about as often as the step of its age says."""
    assert next_look(_POLICY, began=1000.0, now=1000.0 + age) == 1000.0 + age + pause


def test_age_before_the_first_step_uses_the_first() -> None:
    """Steps that begin late, or a clock that is a little behind, leave no gap in which nothing is asked."""
    assert next_look(PollPolicy(steps=((10.0, 3.0),)), began=0.0, now=0.0) == 3.0


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("cut"),
        BusyError("occupied"),
        RateLimitError("slow down", status=429),
        ServerError("down", status=500),
        UnexpectedResponseError("a gateway's page", status=200),
        UnexpectedResponseError("a gateway's page", status=502),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'status', '')}",
)
def test_passing_trouble_does_not_end_a_wait(error: A2EError) -> None:
    """A paid job outlives every trouble that can pass, however old the wait is."""
    assert not ends_wait(error, _POLICY, began=0.0, now=1e6, seen=True)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("token", status=401),
        PlanError("plan", status=403),
        BadRequestError("id", status=400),
        APIError("refused", status=403),
        UnexpectedResponseError("redirect", status=302),
        UnexpectedResponseError("wrong route", status=404),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'status', '')}",
)
def test_lasting_trouble_ends_a_wait_at_once(error: A2EError) -> None:
    """A wrong token or a wrong route does not stay hidden until the deadline."""
    assert ends_wait(error, _POLICY, began=0.0, now=0.0, seen=False)


@pytest.mark.parametrize(("age", "ends"), [(0.0, False), (59.9, False), (60.0, True), (500.0, True)])
def test_unseen_task_may_be_invisible_for_a_while(age: float, ends: bool) -> None:  # noqa: FBT001  a column of the table
    """A fresh task that A2E does not show is believed to be missing only after `PollPolicy.invisible_for`."""
    assert ends_wait(NotFoundError("?"), _POLICY, began=100.0, now=100.0 + age, seen=False) is ends


def test_task_that_was_seen_and_is_gone_ends_the_wait() -> None:
    """A task that A2E has shown before is gone when A2E says so."""
    assert ends_wait(NotFoundError("?"), _POLICY, began=0.0, now=0.0, seen=True)


def test_words_that_nobody_knows_are_no_verdict() -> None:
    """A generic "Request failed" (E2) in a good answer does not end the wait for a paid job."""
    error = APIError("Request failed", status=200, code=-1)
    assert not ends_wait(error, _POLICY, began=0.0, now=1e6, seen=True)


@pytest.mark.parametrize(("asked", "expected"), [(None, 2.0), (1.0, 2.0), (100.0, 100.0)])
def test_retry_after_is_obeyed_by_the_schedule(asked: float | None, expected: float) -> None:
    """The next look comes no earlier than A2E asked for, and no earlier than the schedule."""
    trouble = RateLimitError("slow down", status=429, retry_after=asked)
    assert next_look(_POLICY, began=0.0, now=0.0, trouble=trouble) == expected

"""Which tasks are due, and what an answer means."""

from __future__ import annotations

import pytest

from a2e_async._protocol.polling import is_outage, next_look, verdict
from a2e_async.config import PollPolicy
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BusyError,
    ClientClosedError,
    ConfigurationError,
    ContentRejectedError,
    InsufficientCreditsError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    PlanError,
    RateLimitError,
    ServerError,
    TaskNotFoundError,
    UnexpectedResponseError,
)

_POLICY = PollPolicy(steps=((0.0, 2.0), (60.0, 5.0), (300.0, 10.0)), invisible_for=60.0)


def named(error: A2EError) -> str:
    """Name an error in a table."""
    return f"{type(error).__name__}-{getattr(error, 'status', '')}"


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
        NetworkError("no route", request_sent=False),
        BusyError("occupied", status=200),
        RateLimitError("slow down", status=429),
        ServerError("down", status=500),
        UnexpectedResponseError("a gateway's page", status=200),
        UnexpectedResponseError("a gateway's page", status=502),
        UnexpectedResponseError("redirect to a login", status=302),
        UnexpectedResponseError("a proxy's page", status=404),
        APIError("Request failed", status=200, code=-1),
        APIError("refused", status=403),
        ContentRejectedError("refused", status=403),
        InsufficientCreditsError("no coins", status=402),
    ],
    ids=named,
)
def test_trouble_that_a_paid_job_outlives(error: A2EError) -> None:
    """What can pass, or says nothing of the task, ends no wait, however old it is and however often it comes."""
    for repeated in (False, True):
        assert verdict(error, _POLICY, began=0.0, now=1e6, seen=True, repeated=repeated) is None


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("token", status=401),
        PlanError("plan", status=403),
        ClientClosedError("closed"),
        ConfigurationError("base_url"),
        InvalidRequestError("id"),
    ],
    ids=named,
)
def test_lasting_trouble_ends_a_wait_at_once(error: A2EError) -> None:
    """A wrong token does not stay hidden until the deadline: the very error ends the wait."""
    assert verdict(error, _POLICY, began=0.0, now=0.0, seen=False, repeated=False) is error


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("now", [0.0, 1e6])
def test_bad_request_ends_a_wait_only_if_repeated(seen: bool, now: float) -> None:  # noqa: FBT001  a column of the table
    """A 400 that comes once can be a gateway's; the second one in a row is believed, and ends the wait itself."""
    error = BadRequestError("id", status=400)
    assert verdict(error, _POLICY, began=0.0, now=now, seen=seen, repeated=False) is None
    assert verdict(error, _POLICY, began=0.0, now=now, seen=seen, repeated=True) is error


@pytest.mark.parametrize(("age", "ends"), [(0.0, False), (59.9, False), (60.0, True), (500.0, True)])
def test_unseen_task_may_be_invisible_for_a_while(age: float, ends: bool) -> None:  # noqa: FBT001  a column of the table
    """A fresh task that A2E does not show is believed to be missing only after `PollPolicy.invisible_for`."""
    end = verdict(NotFoundError("?", status=404), _POLICY, began=100.0, now=100.0 + age, seen=False, repeated=True)
    assert isinstance(end, TaskNotFoundError) is ends
    assert ends or end is None


@pytest.mark.parametrize("now", [0.0, 1e6])
def test_task_that_was_seen_and_is_gone_ends_the_wait(now: float) -> None:
    """A task that A2E has shown before is gone when A2E says so twice, however young the wait is."""
    end = verdict(NotFoundError("?", status=404), _POLICY, began=0.0, now=now, seen=True, repeated=True)
    assert isinstance(end, TaskNotFoundError)


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("now", [0.0, 60.0, 1e6])
def test_single_not_found_is_not_believed(seen: bool, now: float) -> None:  # noqa: FBT001  a column of the table
    """A 404 that comes once can be a gateway's: it ends no wait for a paid task, seen or not, young or old."""
    error = NotFoundError("?", status=404)
    assert verdict(error, _POLICY, began=0.0, now=now, seen=seen, repeated=False) is None


def test_end_of_a_missing_task_says_what_a2e_said() -> None:
    """The error about a task that is gone keeps A2E's text and numbers, and the id of the task."""
    error = NotFoundError("gone", status=404, code=17, trace_id="trace-1", task_id="t1")
    end = verdict(error, _POLICY, began=0.0, now=0.0, seen=True, repeated=True)
    assert isinstance(end, TaskNotFoundError)
    assert end.__cause__ is error
    assert (end.message, end.status, end.code, end.trace_id, end.task_id) == ("gone", 404, 17, "trace-1", "t1")


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("cut"),
        NetworkError("no route", request_sent=False),
        BusyError("occupied", status=200),
        RateLimitError("slow down", status=429),
        ServerError("down", status=503),
        UnexpectedResponseError("a gateway's page", status=502),
        UnexpectedResponseError("a login page", status=200),
        UnexpectedResponseError("redirect to a login", status=302),
        UnexpectedResponseError("a proxy's page", status=404),
    ],
    ids=named,
)
def test_a2e_is_out_of_reach(error: A2EError) -> None:
    """Where no answer of A2E's came back, the patience with an outage runs out."""
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        APIError("Request failed", status=200, code=-1),
        NotFoundError("?", status=404),
        TaskNotFoundError("?", status=404),
        AuthenticationError("token", status=401),
        BadRequestError("id", status=400),
        ContentRejectedError("refused", status=403),
        ClientClosedError("closed"),
    ],
    ids=named,
)
def test_a2e_is_there(error: A2EError) -> None:
    """Where A2E did answer, whatever it said, there is no outage."""
    assert not is_outage(error)


@pytest.mark.parametrize(("asked", "expected"), [(None, 2.0), (1.0, 2.0), (100.0, 100.0)])
def test_retry_after_is_obeyed_by_the_schedule(asked: float | None, expected: float) -> None:
    """The next look comes no earlier than A2E asked for, and no earlier than the schedule."""
    trouble = RateLimitError("slow down", status=429, retry_after=asked)
    assert next_look(_POLICY, began=0.0, now=0.0, trouble=trouble) == expected


def test_trouble_that_asks_for_nothing_leaves_the_schedule() -> None:
    """After a network error the next look comes when it would have come anyhow."""
    assert next_look(_POLICY, began=0.0, now=0.0, trouble=NetworkError("cut")) == 2.0

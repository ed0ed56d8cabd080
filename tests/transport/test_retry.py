"""Retry: whether a request is sent again, and after which delay. Each history runs through backoff in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.failures import failure_of
from a2e_async._transport.retry import Retry
from a2e_async.config import RetryPolicy
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
    OutageError,
    PlanError,
    RateLimitError,
    ServerError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskNotFoundError,
    TransferError,
    UnexpectedResponseError,
    WaitTimeoutError,
)

_POLICY = RetryPolicy(max_attempts=5, max_time=60.0, base=0.5, max_delay=15.0)

_CUT = NetworkError("cut")


def tries(
    policy: RetryPolicy,
    failures: list[tuple[A2EError, float]],
    *,
    jitters: list[float] | float = 1.0,
    paid: bool = False,
) -> list[float]:
    """Return when each try began, in seconds since the first one, if the tries fail one after the other.

    Args:
        policy: The policy.
        failures: The error of each try, and how long the try lasts. A try after the last of them succeeds.
        jitters: The random number for each delay that is random, or one for all.
        paid: Whether each try can cost coins.
    """
    begun: list[float] = []
    numbers = itertools.cycle(jitters if isinstance(jitters, list) else [jitters])

    async def attempt() -> bool:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) > len(failures):
            return True
        error, seconds = failures[len(begun) - 1]
        await asyncio.sleep(seconds)
        raise error

    async def run() -> A2EError | None:
        try:
            await Retry(policy, lambda: next(numbers)).wrap(attempt, paid=paid)()
        except A2EError as error:
            return error
        return None

    error = asyncio.run(run())
    if error is None:
        assert len(begun) == len(failures) + 1
    else:
        assert error is failures[len(begun) - 1][0]  # the error of the last try
        assert error.__context__ is None
    return [round(moment - begun[0], 6) for moment in begun]


def named(error: A2EError) -> str:
    """Return the id of an error in a table."""
    return f"{type(error).__name__}-{getattr(error, 'status', '')}"


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("cut"),
        NetworkError("refused", request_sent=False),
        BusyError("occupied", status=200),
        RateLimitError("slow down", status=429),
        ServerError("down", status=503),
        UnexpectedResponseError("cut JSON", status=200),
        UnexpectedResponseError("cut JSON", status=299),
        UnexpectedResponseError("a page", status=500),
        UnexpectedResponseError("a gateway's page", status=502),
        UnexpectedResponseError("unknown", status=0),
    ],
    ids=named,
)
def test_transient_errors(error: A2EError) -> None:
    """An error of the network, of a gateway or of A2E itself is transient."""
    assert failure_of(error).transient
    assert len(tries(_POLICY, [(error, 0.0)] * 9)) == 5


@pytest.mark.parametrize(
    "error",
    [
        A2EError("?"),
        APIError("no", status=200),
        BadRequestError("no", status=400),
        AuthenticationError("no", status=401),
        InsufficientCreditsError("no", status=402),
        PlanError("no", status=403),
        ContentRejectedError("no", status=403),
        NotFoundError("no", status=404),
        InvalidRequestError("no"),
        ConfigurationError("no"),
        TransferError("no"),
        ClientClosedError("no"),
        TaskFailedError("no"),
        TaskNotFoundError("no", status=404),
        SubmissionUncertainError("no"),
        OutageError("no"),
        WaitTimeoutError("no"),
        UnexpectedResponseError("redirect", status=300),
        UnexpectedResponseError("redirect", status=302),
        UnexpectedResponseError("wrong route", status=404),
        UnexpectedResponseError("a page", status=499),
    ],
    ids=named,
)
def test_permanent_errors(error: A2EError) -> None:
    """A request that would be rejected again is not retried."""
    assert not failure_of(error).transient
    assert tries(_POLICY, [(error, 0.0)]) == [0.0]


def test_delay_doubles() -> None:
    """The maximum delay after try n is `base` doubled n-1 times, and `max_delay` at most."""
    assert tries(_POLICY, [(_CUT, 0.0)] * 5) == [0.0, 0.5, 1.5, 3.5, 7.5]
    policy = RetryPolicy(max_attempts=8, max_time=60.0, base=0.5, max_delay=3.0)
    assert tries(policy, [(_CUT, 0.0)] * 8) == [0.0, 0.5, 1.5, 3.5, 6.5, 9.5, 12.5, 15.5]


@pytest.mark.parametrize("jitter", [0.0, 0.25, 1.0])
def test_jitter_is_full(jitter: float) -> None:
    """The delay is uniform from 0 to the maximum one, so that many clients do not retry together."""
    assert tries(_POLICY, [(_CUT, 0.0)], jitters=jitter) == [0.0, 0.5 * jitter]


def test_no_try_beyond_max_attempts() -> None:
    """With five tries there are four delays, and then the error."""
    assert tries(_POLICY, [(_CUT, 0.0)] * 6, jitters=0.0) == [0.0] * 5
    assert tries(_POLICY, [(_CUT, 0.0)] * 4, jitters=0.0) == [0.0] * 5


def test_no_try_beyond_max_time() -> None:
    """After `max_time` the error is raised, although tries are left."""
    assert tries(_POLICY, [(_CUT, 0.0), (_CUT, 60.5)], jitters=0.0) == [0.0, 0.0]
    assert tries(_POLICY, [(_CUT, 0.0), (_CUT, 59.5)], jitters=0.0) == [0.0, 0.0, 59.5]


@pytest.mark.parametrize("seconds", [0.0, 0.001, 7.0, 45.5, 60.0])
@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_retry_after_is_obeyed_exactly(seconds: float, jitter: float) -> None:
    """The delay is the ``Retry-After``: without jitter, also above `max_delay`."""
    error = RateLimitError("slow down", status=429, retry_after=seconds)
    assert tries(_POLICY, [(error, 0.0)], jitters=jitter) == [0.0, seconds]


def test_retry_after_of_a_broken_server_is_obeyed() -> None:
    """A 503 with a ``Retry-After`` is treated like a 429 with one."""
    error = ServerError("down", status=503, retry_after=20.0)
    assert tries(_POLICY, [(error, 0.0)], jitters=0.1) == [0.0, 20.0]


@pytest.mark.parametrize(("lasted", "seconds"), [(0.0, 60.5), (30.0, 31.0)])
def test_retry_after_that_does_not_fit_is_not_shortened(lasted: float, seconds: float) -> None:
    """A delay that would end after `max_time` is not started: the error is raised at once."""
    error = ServerError("down", status=503, retry_after=seconds)
    assert tries(_POLICY, [(_CUT, 0.0), (error, lasted)], jitters=0.0) == [0.0, 0.0]


throttling_errors = pytest.mark.parametrize(
    "error_type", [RateLimitError, BusyError], ids=lambda error_type: error_type.__name__
)


@throttling_errors
@pytest.mark.parametrize("retry_after", [None, 0.0, 30.0, 60.0])
def test_time_in_the_queue_does_not_count(error_type: type[APIError], retry_after: float | None) -> None:
    """After a 429 the time in the queue does not count: an hour later there is still another try."""
    error = error_type("later", status=429, retry_after=retry_after)
    delay = 0.25 if retry_after is None else retry_after
    assert tries(_POLICY, [(error, 3600.0)], jitters=0.5) == [0.0, 3600.0 + delay]
    delay = 0.5 if retry_after is None else retry_after
    assert tries(_POLICY, [(_CUT, 0.0), (error, 3600.0)], jitters=0.5) == [0.0, 0.25, 3600.25 + delay]


@throttling_errors
def test_retry_after_alone_must_fit(error_type: type[APIError]) -> None:
    """If A2E asks for more than `max_time`, the error is raised at once, also after the first try."""
    error = error_type("later", status=429, retry_after=60.5)
    assert tries(_POLICY, [(error, 0.0)]) == [0.0]


@throttling_errors
def test_429s_are_limited_by_the_attempts(error_type: type[APIError]) -> None:
    """After 429s the time does not count, but the tries do."""
    assert tries(_POLICY, [(error_type("later", status=429), 0.0)] * 5, jitters=0.0) == [0.0] * 5


def test_time_in_the_queue_counts_for_other_errors() -> None:
    """An error of another type after a 429 is not retried when `max_time` has passed since the first failure."""
    throttled = RateLimitError("later", status=429)
    assert tries(_POLICY, [(throttled, 50.0), (_CUT, 61.0)], jitters=0.0) == [0.0, 50.0]
    assert tries(_POLICY, [(throttled, 50.0), (_CUT, 59.0)], jitters=0.0) == [0.0, 50.0, 109.0]


def test_time_before_the_first_failure_does_not_count() -> None:
    """A first try that took two minutes leaves all of `max_time`: the time counts from its failure."""
    assert tries(_POLICY, [(_CUT, 120.0)]) == [0.0, 120.5]


def test_paid_requests_are_retried_only_if_not_accepted() -> None:
    """A paid request is repeated if it was not sent, or was throttled; a lost response may have cost coins."""
    unaccepted: list[A2EError] = [NetworkError("refused", request_sent=False), BusyError("busy", status=200)]
    for error in unaccepted:
        assert tries(_POLICY, [(error, 0.0)], paid=True) == [0.0, 0.5]
    lost: list[A2EError] = [_CUT, ServerError("down", status=503), RateLimitError("later", status=503), A2EError("?")]
    for error in lost:
        assert tries(_POLICY, [(error, 0.0)], paid=True) == [0.0]


def test_thousands_of_attempts_do_not_overflow() -> None:
    """The delay after 2,000 failed tries is the maximum one, not an OverflowError."""
    policy = RetryPolicy(max_attempts=2_001, max_time=1e9)
    begun = tries(policy, [(_CUT, 0.0)] * 2_000)
    assert begun[-1] - begun[-2] == pytest.approx(15.0)


_policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    max_time=st.floats(0.01, 1e4),
    base=st.floats(1e-3, 1e308),
    max_delay=st.floats(1e-3, 1e4),
)
_retry_after = st.none() | st.floats(0.0, 1e5)
_histories = st.lists(st.tuples(_retry_after, st.floats(0.0, 30.0)), min_size=25, max_size=25)
_jitters = st.lists(st.floats(0.0, 1.0), min_size=25, max_size=25)


@given(_policies, _histories, _jitters)
def test_every_history_is_bounded(
    policy: RetryPolicy, history: list[tuple[float | None, float]], jitters: list[float]
) -> None:
    """In any history: at most `max_attempts` tries, none after `max_time`, and every delay as documented."""
    failures: list[tuple[A2EError, float]] = [
        (ServerError("down", retry_after=after), lasted) for after, lasted in history
    ]
    begun = tries(policy, failures, jitters=jitters)
    assert len(begun) <= policy.max_attempts
    assert begun[-1] - history[0][1] <= policy.max_time + 1e-3
    for (retry_after, lasted), (before, after) in zip(history, itertools.pairwise(begun), strict=False):
        delay = after - before - lasted
        if retry_after is None:
            assert -1e-3 <= delay <= policy.max_delay + 1e-3
        else:
            assert delay == pytest.approx(retry_after, abs=1e-3)


@given(_policies, _histories, _jitters)
def test_every_history_of_429s_is_bounded(
    policy: RetryPolicy, history: list[tuple[float | None, float]], jitters: list[float]
) -> None:
    """With 429s only: at most `max_attempts` tries, and no delay longer than `max_time`."""
    failures: list[tuple[A2EError, float]] = [
        (RateLimitError("later", retry_after=after), lasted) for after, lasted in history
    ]
    begun = tries(policy, failures, jitters=jitters)
    assert len(begun) <= policy.max_attempts
    for (retry_after, lasted), (before, after) in zip(history, itertools.pairwise(begun), strict=False):
        delay = after - before - lasted
        assert -1e-3 <= delay <= policy.max_time + 1e-3
        assert retry_after is None or delay == pytest.approx(retry_after, abs=1e-3)

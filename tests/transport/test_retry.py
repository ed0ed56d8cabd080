"""Retry: whether a request is sent again, and after which delay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.failures import is_transient
from a2e_async._transport.retry import RetryState
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

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

_POLICY = RetryPolicy(max_attempts=5, max_time=60.0, base=0.5, max_delay=15.0)


_CUT = NetworkError("cut")


def retry_state(policy: RetryPolicy = _POLICY, *, began: float = 0.0, failed: int = 0) -> RetryState:
    """Return the retry state of a read."""
    return RetryState(policy, is_transient, began=began, failed=failed)


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
    assert is_transient(error)


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
    assert not is_transient(error)
    assert retry_state().next_delay(error, now=0.0, jitter=0.5) is None


@pytest.mark.parametrize(("attempt", "maximum"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
def test_delay_doubles(attempt: int, maximum: float) -> None:
    """The maximum delay after try n is `base` doubled n-1 times."""
    state = retry_state(failed=attempt - 1)
    assert state.next_delay(_CUT, now=0.0, jitter=1.0) == maximum


@pytest.mark.parametrize("jitter", [0.0, 0.25, 1.0])
def test_jitter_is_full(jitter: float) -> None:
    """The delay is uniform from 0 to the maximum one, so that many clients do not retry together."""
    assert retry_state().next_delay(_CUT, now=0.0, jitter=jitter) == 0.5 * jitter


def test_no_try_beyond_max_attempts() -> None:
    """With five state there are four delays, and then the error."""
    state = retry_state()
    delays = [state.next_delay(_CUT, now=0.0, jitter=0.0) for _ in range(6)]
    assert delays == [0.0, 0.0, 0.0, 0.0, None, None]


def test_no_try_beyond_max_time() -> None:
    """After `max_time` the error is raised, although state are left."""
    assert retry_state(began=100.0).next_delay(_CUT, now=160.5, jitter=0.0) is None


@pytest.mark.parametrize("seconds", [0.0, 0.001, 7.0, 45.5, 60.0])
@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_retry_after_is_obeyed_exactly(seconds: float, jitter: float) -> None:
    """The delay is the ``Retry-After``: without jitter, also above `max_delay`."""
    error = RateLimitError("slow down", status=429, retry_after=seconds)
    assert retry_state().next_delay(error, now=0.0, jitter=jitter) == seconds


def test_retry_after_of_a_broken_server_is_obeyed() -> None:
    """A 503 with a ``Retry-After`` is treated like a 429 with one."""
    error = ServerError("down", status=503, retry_after=20.0)
    assert retry_state().next_delay(error, now=0.0, jitter=0.1) == 20.0


@pytest.mark.parametrize(("now", "seconds"), [(0.0, 60.5), (30.0, 31.0)])
def test_retry_after_that_does_not_fit_is_not_shortened(now: float, seconds: float) -> None:
    """A delay that would end after `max_time` is not started: the error is raised at once."""
    error = ServerError("down", status=503, retry_after=seconds)
    assert retry_state().next_delay(error, now=now, jitter=0.0) is None


throttling_errors = pytest.mark.parametrize(
    "error_type", [RateLimitError, BusyError], ids=lambda error_type: error_type.__name__
)


@throttling_errors
@pytest.mark.parametrize("retry_after", [None, 0.0, 30.0, 60.0])
def test_time_in_the_queue_does_not_count(error_type: type[APIError], retry_after: float | None) -> None:
    """After a 429 the time in the queue does not count: an hour later there is still another try."""
    error = error_type("later", status=429, retry_after=retry_after)
    assert retry_state().next_delay(error, now=3600.0, jitter=0.5) == (0.25 if retry_after is None else retry_after)


@throttling_errors
def test_retry_after_alone_must_fit(error_type: type[APIError]) -> None:
    """If A2E asks for more than `max_time`, the error is raised at once, also after the first try."""
    error = error_type("later", status=429, retry_after=60.5)
    assert retry_state().next_delay(error, now=0.0, jitter=0.0) is None


@throttling_errors
def test_429s_are_limited_by_the_attempts(error_type: type[APIError]) -> None:
    """After 429s the time does not count, but the state do."""
    state, error = retry_state(), error_type("later", status=429)
    delays = [state.next_delay(error, now=0.0, jitter=0.0) for _ in range(5)]
    assert delays == [0.0, 0.0, 0.0, 0.0, None]


def test_time_in_the_queue_counts_for_other_errors() -> None:
    """An error of another type after a 429 is not retried when `max_time` has passed since the first failure."""
    state = retry_state()
    state.next_delay(RateLimitError("later", status=429), now=50.0, jitter=0.0)
    assert state.next_delay(_CUT, now=61.0, jitter=0.0) is None


def test_time_before_the_first_failure_does_not_count() -> None:
    """A first try that took two minutes leaves all of `max_time`: the time counts from its failure."""
    assert retry_state(began=120.0).next_delay(_CUT, now=120.0, jitter=1.0) == 0.5


def test_caller_decides_which_errors_are_retryable() -> None:
    """The caller's `is_retryable` decides, not the usual rule for reads."""
    picky = RetryState(_POLICY, lambda error: isinstance(error, NotFoundError), began=0.0)
    assert picky.next_delay(_CUT, now=0.0, jitter=1.0) is None
    assert picky.next_delay(NotFoundError("late", status=404), now=0.0, jitter=1.0) == 1.0


def test_thousands_of_attempts_do_not_overflow() -> None:
    """The delay after 5,000 failed tries is the maximum one, not an OverflowError."""
    state = retry_state(RetryPolicy(max_attempts=10_000, max_time=1e9), failed=5_000)
    assert state.next_delay(_CUT, now=0.0, jitter=1.0) == 15.0


_policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    max_time=st.floats(0.01, 1e4),
    base=st.floats(1e-3, 1e308),
    max_delay=st.floats(1e-3, 1e4),
)
_retry_after = st.none() | st.floats(0.0, 1e5)
_tries = st.lists(st.tuples(_retry_after, st.floats(0.0, 30.0), st.floats(0.0, 1.0)), min_size=25, max_size=25)


@given(_policies, st.floats(0.0, 1e6), _tries)
def test_every_history_is_bounded(
    policy: RetryPolicy, began: float, tries: list[tuple[float | None, float, float]]
) -> None:
    """In any history: at most `max_attempts` tries, none after `max_time`, and every delay as documented."""
    state, now, begun = retry_state(policy, began=began), began, 0
    for retry_after, lasted, jitter in tries:
        begun += 1
        assert now - began <= policy.max_time + 1e-6
        now += lasted
        delay = state.next_delay(ServerError("down", retry_after=retry_after), now=now, jitter=jitter)
        if delay is None:
            break
        if retry_after is None:
            assert 0 <= delay <= policy.max_delay
        else:
            assert delay == retry_after
        now += delay
    else:
        pytest.fail("the retries did not end")
    assert begun <= policy.max_attempts


@given(_policies, _tries)
def test_every_history_of_429s_is_bounded(policy: RetryPolicy, tries: list[tuple[float | None, float, float]]) -> None:
    """With 429s only: at most `max_attempts` tries, and no delay longer than `max_time`."""
    state, now, begun = retry_state(policy), 0.0, 0
    for retry_after, lasted, jitter in tries:
        begun += 1
        now += lasted
        delay = state.next_delay(RateLimitError("later", retry_after=retry_after), now=now, jitter=jitter)
        if delay is None:
            break
        assert 0 <= delay <= policy.max_time
        assert retry_after is None or delay == retry_after
        now += delay
    else:
        pytest.fail("the retries did not end")
    assert begun <= policy.max_attempts

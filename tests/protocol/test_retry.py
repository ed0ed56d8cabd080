"""Whether a read is tried again, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.retry import Attempts, is_passing
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
    PlanError,
    RateLimitError,
    ServerError,
    TaskFailedError,
    TransferError,
    UnexpectedResponseError,
    WaitTimeoutError,
)

_POLICY = RetryPolicy(max_attempts=5, max_time=60.0, base=0.5, max_delay=15.0)


def named(error: A2EError) -> str:
    """Name an error in a table."""
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
        UnexpectedResponseError("a gateway's page", status=502),
        UnexpectedResponseError("unknown", status=0),
    ],
    ids=named,
)
def test_trouble_that_can_pass(error: A2EError) -> None:
    """Trouble of the network, of a gateway or of A2E itself is worth another try."""
    assert is_passing(error)


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
        WaitTimeoutError("no"),
        UnexpectedResponseError("redirect", status=302),
        UnexpectedResponseError("wrong route", status=404),
    ],
    ids=named,
)
def test_trouble_that_comes_again(error: A2EError) -> None:
    """What would be refused in the same way again is not asked again."""
    assert not is_passing(error)
    assert Attempts(_POLICY, 0.0).after(error, now=0.0, chance=0.5) is None


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
def test_pause_doubles(attempt: int, longest: float) -> None:
    """The longest pause after try n is `base` doubled n-1 times."""
    attempts = Attempts(_POLICY, 0.0, made=attempt - 1)
    assert attempts.after(NetworkError("cut"), now=0.0, chance=1.0) == longest


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
def test_jitter_is_full(chance: float) -> None:
    """The pause is spread evenly from nothing to the longest one, so that many clients do not come back together."""
    assert Attempts(_POLICY, 0.0).after(NetworkError("cut"), now=0.0, chance=chance) == 0.5 * chance


def test_no_try_beyond_max_attempts() -> None:
    """With five attempts there are four pauses, and then the error."""
    attempts = Attempts(_POLICY, 0.0)
    pauses = [attempts.after(NetworkError("cut"), now=0.0, chance=0.0) for _ in range(6)]
    assert pauses == [0.0, 0.0, 0.0, 0.0, None, None]


def test_no_try_beyond_max_time() -> None:
    """When the time is used up, the error is raised although attempts are left."""
    assert Attempts(_POLICY, 100.0).after(NetworkError("cut"), now=160.5, chance=0.0) is None


@pytest.mark.parametrize("seconds", [0.0, 0.001, 7.0, 45.5, 60.0])
@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_retry_after_is_obeyed_exactly(seconds: float, chance: float) -> None:
    """What A2E asks for is waited for: without jitter, also above `max_delay`."""
    error = RateLimitError("slow down", status=429, retry_after=seconds)
    assert Attempts(_POLICY, 0.0).after(error, now=0.0, chance=chance) == seconds


def test_retry_after_of_a_broken_server_is_obeyed() -> None:
    """A 503 with a ``Retry-After`` is treated as a 429 with one."""
    error = ServerError("down", status=503, retry_after=20.0)
    assert Attempts(_POLICY, 0.0).after(error, now=0.0, chance=0.1) == 20.0


@pytest.mark.parametrize(("now", "seconds"), [(0.0, 60.5), (30.0, 31.0)])
def test_retry_after_that_does_not_fit_is_not_shortened(now: float, seconds: float) -> None:
    """A pause that would end after `max_time` is no pause at all: the error is raised at once."""
    error = RateLimitError("slow down", status=429, retry_after=seconds)
    assert Attempts(_POLICY, 0.0).after(error, now=now, chance=0.0) is None


def test_thousands_of_attempts_do_not_overflow() -> None:
    """Somebody who allows ten thousand tries gets the longest pause, not an OverflowError."""
    attempts = Attempts(RetryPolicy(max_attempts=10_000, max_time=1e9), 0.0, made=5_000)
    assert attempts.after(NetworkError("cut"), now=0.0, chance=1.0) == 15.0


_policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    max_time=st.floats(0.01, 1e4),
    base=st.floats(1e-3, 1e308),
    max_delay=st.floats(1e-3, 1e4),
)
_asked = st.none() | st.floats(0.0, 1e5)
_tries = st.lists(st.tuples(_asked, st.floats(0.0, 30.0), st.floats(0.0, 1.0)), min_size=25, max_size=25)


@given(_policies, st.floats(0.0, 1e6), _tries)
def test_every_history_is_bounded(
    policy: RetryPolicy, started: float, tries: list[tuple[float | None, float, float]]
) -> None:
    """Whatever happens: at most `max_attempts` tries, none begun after `max_time`, and every pause as promised."""
    attempts, now, begun = Attempts(policy, started), started, 0
    for asked, lasted, chance in tries:
        begun += 1
        assert now - started <= policy.max_time + 1e-6
        now += lasted
        pause = attempts.after(RateLimitError("slow down", retry_after=asked), now=now, chance=chance)
        if pause is None:
            break
        if asked is None:
            assert 0 <= pause <= policy.max_delay
        else:
            assert pause == asked
        now += pause
    else:
        pytest.fail("there was no end")
    assert begun <= policy.max_attempts

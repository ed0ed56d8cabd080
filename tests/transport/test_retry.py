"""Whether something is tried again, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.failures import is_passing
from a2e_async._transport.retry import Attempts
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


def attempts_of(policy: RetryPolicy = _POLICY, *, began: float = 0.0, failed: int = 0) -> Attempts:
    """Return the attempts of a read."""
    return Attempts(policy, is_passing, began=began, failed=failed)


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
        UnexpectedResponseError("cut JSON", status=299),
        UnexpectedResponseError("a page", status=500),
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
def test_trouble_that_comes_again(error: A2EError) -> None:
    """What would be refused in the same way again is not asked again."""
    assert not is_passing(error)
    assert attempts_of().after(error, now=0.0, chance=0.5) is None


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
def test_pause_doubles(attempt: int, longest: float) -> None:
    """The longest pause after try n is `base` doubled n-1 times."""
    attempts = attempts_of(failed=attempt - 1)
    assert attempts.after(_CUT, now=0.0, chance=1.0) == longest


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
def test_jitter_is_full(chance: float) -> None:
    """The pause is spread evenly from nothing to the longest one, so that many clients do not come back together."""
    assert attempts_of().after(_CUT, now=0.0, chance=chance) == 0.5 * chance


def test_no_try_beyond_max_attempts() -> None:
    """With five attempts there are four pauses, and then the error."""
    attempts = attempts_of()
    pauses = [attempts.after(_CUT, now=0.0, chance=0.0) for _ in range(6)]
    assert pauses == [0.0, 0.0, 0.0, 0.0, None, None]


def test_no_try_beyond_max_time() -> None:
    """When the time is used up, the error is raised although attempts are left."""
    assert attempts_of(began=100.0).after(_CUT, now=160.5, chance=0.0) is None


@pytest.mark.parametrize("seconds", [0.0, 0.001, 7.0, 45.5, 60.0])
@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_retry_after_is_obeyed_exactly(seconds: float, chance: float) -> None:
    """What A2E asks for is waited for: without jitter, also above `max_delay`."""
    error = RateLimitError("slow down", status=429, retry_after=seconds)
    assert attempts_of().after(error, now=0.0, chance=chance) == seconds


def test_retry_after_of_a_broken_server_is_obeyed() -> None:
    """A 503 with a ``Retry-After`` is treated as a 429 with one."""
    error = ServerError("down", status=503, retry_after=20.0)
    assert attempts_of().after(error, now=0.0, chance=0.1) == 20.0


@pytest.mark.parametrize(("now", "seconds"), [(0.0, 60.5), (30.0, 31.0)])
def test_retry_after_that_does_not_fit_is_not_shortened(now: float, seconds: float) -> None:
    """A pause that would end after `max_time` is no pause at all: the error is raised at once."""
    error = ServerError("down", status=503, retry_after=seconds)
    assert attempts_of().after(error, now=now, chance=0.0) is None


turned_away = pytest.mark.parametrize("kind", [RateLimitError, BusyError], ids=lambda kind: kind.__name__)


@turned_away
@pytest.mark.parametrize("asked", [None, 0.0, 30.0, 60.0])
def test_time_in_line_is_not_spent(kind: type[APIError], asked: float | None) -> None:
    """Who is turned away stands in line with everybody else: an hour later there is still another try."""
    error = kind("later", status=429, retry_after=asked)
    assert attempts_of().after(error, now=3600.0, chance=0.5) == (0.25 if asked is None else asked)


@turned_away
def test_asked_pause_has_to_fit_alone(kind: type[APIError]) -> None:
    """If A2E asks for more than `max_time`, the error is raised at once, also at the beginning."""
    error = kind("later", status=429, retry_after=60.5)
    assert attempts_of().after(error, now=0.0, chance=0.0) is None


@turned_away
def test_who_is_turned_away_has_no_more_attempts_than_others(kind: type[APIError]) -> None:
    """The time does not count, but the attempts do: there is an end."""
    attempts, error = attempts_of(), kind("later", status=429)
    pauses = [attempts.after(error, now=0.0, chance=0.0) for _ in range(5)]
    assert pauses == [0.0, 0.0, 0.0, 0.0, None]


def test_other_trouble_spends_the_time_in_line() -> None:
    """What comes after the time in line is judged by the clock again: `max_time` after the first failure it is over."""
    attempts = attempts_of()
    attempts.after(RateLimitError("later", status=429), now=50.0, chance=0.0)
    assert attempts.after(_CUT, now=61.0, chance=0.0) is None


def test_time_before_the_first_failure_does_not_count() -> None:
    """A first try that took two minutes leaves all of `max_time`: the clock begins with its failure."""
    assert attempts_of(began=120.0).after(_CUT, now=120.0, chance=1.0) == 0.5


def test_caller_decides_what_is_worth_another_try() -> None:
    """What would be worth a try for a read may be worth none for somebody else, and the other way round."""
    picky = Attempts(_POLICY, lambda error: isinstance(error, NotFoundError), began=0.0)
    assert picky.after(_CUT, now=0.0, chance=1.0) is None
    assert picky.after(NotFoundError("late", status=404), now=0.0, chance=1.0) == 1.0


def test_thousands_of_attempts_do_not_overflow() -> None:
    """Somebody who allows ten thousand tries gets the longest pause, not an OverflowError."""
    attempts = attempts_of(RetryPolicy(max_attempts=10_000, max_time=1e9), failed=5_000)
    assert attempts.after(_CUT, now=0.0, chance=1.0) == 15.0


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
    policy: RetryPolicy, began: float, tries: list[tuple[float | None, float, float]]
) -> None:
    """Whatever happens: at most `max_attempts` tries, none begun after `max_time`, and every pause as promised."""
    attempts, now, begun = attempts_of(policy, began=began), began, 0
    for asked, lasted, chance in tries:
        begun += 1
        assert now - began <= policy.max_time + 1e-6
        now += lasted
        pause = attempts.after(ServerError("down", retry_after=asked), now=now, chance=chance)
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


@given(_policies, _tries)
def test_every_history_in_line_is_bounded(policy: RetryPolicy, tries: list[tuple[float | None, float, float]]) -> None:
    """Who is turned away again and again: at most `max_attempts` tries, and no pause longer than `max_time`."""
    attempts, now, begun = attempts_of(policy), 0.0, 0
    for asked, lasted, chance in tries:
        begun += 1
        now += lasted
        pause = attempts.after(RateLimitError("later", retry_after=asked), now=now, chance=chance)
        if pause is None:
            break
        assert 0 <= pause <= policy.max_time
        assert asked is None or pause == asked
        now += pause
    else:
        pytest.fail("there was no end")
    assert begun <= policy.max_attempts

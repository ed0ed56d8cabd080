"""Throttle: how many requests run at once, how fast they start, and how long all of them are paused."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.failures import is_throttled
from a2e_async._transport.throttle import Throttle
from a2e_async.config import Pacing
from a2e_async.errors import (
    A2EError,
    APIError,
    BadRequestError,
    BusyError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

_POLICY = Pacing(max_in_flight=16, pause=2.0, max_pause=30.0)
_SLOWER = RateLimitError("slow down", status=429)
_BUSY = BusyError("occupied", status=200)


def throttle(policy: Pacing = _POLICY) -> Throttle:
    """Return a throttle without a history."""
    return Throttle(policy)


def delay_of(made: Throttle, now: float) -> float | None:
    """Return the delay of a request, without starting it."""
    return copy.copy(made).try_begin(now)


def begin(made: Throttle, when: float) -> None:
    """Start a request that may start at this time, but for the rounding of a float."""
    while made.try_begin(when):
        when = math.nextafter(when, math.inf)


def start_all(made: Throttle, now: float, count: int) -> list[float]:
    """Return the delays of requests that arrive together; each starts after its delay and ends at once."""
    begins = []
    for _ in range(count):
        delay = delay_of(made, now)
        assert delay is not None
        begins.append(delay)
        begin(made, now + delay)
        made.in_flight -= 1
    return begins


def throttle_request(
    made: Throttle, now: float, *, began: float | None = None, asked: float | None = None, jitter: float = 0.0
) -> float:
    """Let A2E answer a request with 429, and return until when all requests are paused."""
    error = RateLimitError("slow down", status=429, retry_after=asked)
    made.pause(error, now, began=now if began is None else began, jitter=jitter)
    return made.paused_until


@pytest.mark.parametrize(
    ("error", "slows_down"),
    [
        pytest.param(_SLOWER, True, id="429"),
        pytest.param(RateLimitError("too many requests", status=400), True, id="too many requests, as a text"),
        pytest.param(_BUSY, False, id="busy"),
        pytest.param(BusyError("occupied", status=200, retry_after=7.0), True, id="busy with Retry-After"),
        pytest.param(ServerError("down", status=503, retry_after=7.0), True, id="503 with Retry-After"),
        pytest.param(APIError("?", status=403, retry_after=0.0), True, id="Retry-After of 0 seconds"),
        pytest.param(ServerError("down", status=503), False, id="503"),
        pytest.param(BadRequestError("no", status=400), False, id="400"),
        pytest.param(NotFoundError("no", status=404), False, id="404"),
        pytest.param(NetworkError("cut"), False, id="network"),
        pytest.param(UnexpectedResponseError("page", status=502), False, id="page"),
    ],
)
def test_errors_that_slow_down_the_whole_client(error: A2EError, slows_down: bool) -> None:  # noqa: FBT001  a column of the table
    """429 and any ``Retry-After`` pause all requests of the client; "busy" and others concern one operation."""
    assert is_throttled(error) is slows_down


def test_first_request_is_not_delayed() -> None:
    """The first request starts at once."""
    assert throttle().try_begin(100.0) == 0.0


def test_requests_of_one_moment_are_spaced() -> None:
    """At two a second, requests that arrive together start half a second apart."""
    made, now, begins = throttle(Pacing(per_second=2.0)), 100.0, []
    for _ in range(4):
        now += delay_of(made, now) or 0.0
        begins.append(now)
        begin(made, now)
    assert begins == [100.0, 100.5, 101.0, 101.5]


def test_idle_time_is_not_saved_up() -> None:
    """After an idle time there is no burst."""
    made = throttle(Pacing(per_second=2.0))
    begin(made, 100.0)
    begin(made, 1000.0)
    assert delay_of(made, 1000.0) == 0.5


def test_later_request_waits_only_for_the_rest() -> None:
    """A request that arrives in the middle of an interval waits for the second half."""
    made = throttle(Pacing(per_second=2.0))
    begin(made, 100.0)
    assert delay_of(made, 100.25) == pytest.approx(0.25)


@given(st.floats(0.1, 1000.0), st.lists(st.floats(0.0, 100.0), max_size=30))
def test_rate_is_never_exceeded(per_second: float, gaps: list[float]) -> None:
    """Requests start at least one interval apart, for any times of arrival."""
    made, now, begins = throttle(Pacing(per_second=per_second)), 0.0, []
    for gap in gaps:
        now += gap
        now += start_all(made, now, 1)[0]
        begins.append(now)
    assert all(b - a >= 1 / per_second - 1e-6 for a, b in itertools.pairwise(begins))


def test_requests_in_flight_are_limited() -> None:
    """With `Pacing.max_in_flight` requests in flight, the next one waits until one of them ends."""
    made = throttle(Pacing(max_in_flight=3))
    for _ in range(3):
        assert delay_of(made, 0.0) == 0.0
        begin(made, 0.0)
    assert delay_of(made, 1e9) is None


def test_slot_of_an_ended_request_is_free() -> None:
    """As soon as one request ends, the next one can start."""
    made = throttle(Pacing(max_in_flight=1))
    begin(made, 0.0)
    made.in_flight -= 1
    assert delay_of(made, 0.0) == 0.0


@pytest.mark.parametrize("asked", [0.0, 0.5, 7.0, 3600.0])
@pytest.mark.parametrize(("jitter", "share"), [(0.0, 1.0), (0.5, 1.05), (1.0, 1.1)])
def test_pause_is_as_long_as_a2e_asks(asked: float, jitter: float, share: float) -> None:
    """A ``Retry-After`` pauses the whole client: never shorter, and at random up to a tenth longer."""
    made = throttle()
    throttle_request(made, 100.0, asked=asked, jitter=jitter)
    assert delay_of(made, 100.0) == pytest.approx(asked * share)


def test_pause_ends() -> None:
    """A later request waits for the rest of the pause, and not at all when the pause is over."""
    made = throttle()
    throttle_request(made, 100.0, asked=10.0)
    assert [delay_of(made, 104.0), delay_of(made, 110.0), delay_of(made, 200.0)] == [6.0, 0.0, 0.0]


def test_retry_after_that_was_too_short() -> None:
    """A ``Retry-After`` of 0 is obeyed once; if A2E rejects the next request too, the pauses double from then on."""
    made, now, pauses = throttle(), 100.0, []
    for _ in range(7):
        pauses.append(throttle_request(made, now, asked=0.0) - now)
        now = made.paused_until + 0.01
    assert pauses == pytest.approx([0.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0])


def test_pause_is_not_shortened_by_a_shorter_one() -> None:
    """Of two pauses that A2E asks for, the one that ends later counts."""
    made = throttle()
    throttle_request(made, 100.0, asked=60.0)
    assert throttle_request(made, 101.0, asked=1.0) == 160.0


def test_pauses_without_retry_after_double() -> None:
    """If A2E does not say how long, the pause is `Pacing.pause`, doubled each time, up to `max_pause`."""
    made, now, pauses = throttle(), 100.0, []
    for _ in range(6):
        pauses.append(throttle_request(made, now) - now)
        now = made.paused_until
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_thousands_of_pauses_do_not_overflow() -> None:
    """Days of 429 lead to the longest pause, not to an OverflowError."""
    made = throttle()
    for number in range(5_000):
        throttle_request(made, float(number), asked=0.0)
    assert throttle_request(made, 5_000.0) == 5_030.0


def test_accepted_request_resets_the_pauses() -> None:
    """After an accepted request, the next pause is as short as the first."""
    made = throttle()
    throttle_request(made, 100.0)
    throttle_request(made, 102.0)
    made.on_accepted(106.1, began=106.0)
    assert throttle_request(made, 107.0) == 109.0


def test_accepted_older_request_resets_nothing() -> None:
    """A good answer to a request from before the 429 does not reset the pauses."""
    made = throttle()
    throttle_request(made, 100.0)
    made.on_accepted(102.0, began=99.0)
    assert throttle_request(made, 102.0) == 106.0


def test_429s_of_one_moment_count_once() -> None:
    """A 429 for each of several concurrent requests halves the limit once, and lengthens the pause once."""
    made = throttle()
    for _ in range(5):
        throttle_request(made, 100.0, began=99.0)
    assert (made.allowed_in_flight, made.paused_until) == (8.0, 102.0)


def test_late_429_pauses_as_long_as_the_first() -> None:
    """A 429 that arrives after other requests were accepted again pauses for `Pacing.pause` as well."""
    made = throttle()
    throttle_request(made, 100.0, began=99.0)
    made.on_accepted(103.0, began=102.5)
    assert throttle_request(made, 104.0, began=99.0) == 104.0 + _POLICY.pause


@pytest.mark.parametrize(
    "error", [_SLOWER, _BUSY, ServerError("down", status=503, retry_after=1.0)], ids=lambda error: type(error).__name__
)
def test_number_in_flight_is_halved(error: A2EError) -> None:
    """After any throttled answer, half as many requests may be in flight."""
    made = throttle()
    made.pause(error, 100.0, began=99.0, jitter=0.0)
    assert made.allowed_in_flight == 8.0


def test_one_request_is_always_allowed() -> None:
    """After any number of 429s, one request may be in flight: the client never stops."""
    made = throttle()
    for second in range(20):
        throttle_request(made, float(second), asked=0.0)
    assert made.allowed_in_flight == 1.0
    assert delay_of(made, 1e6) == 0.0


def test_number_in_flight_grows_again() -> None:
    """One full round of accepted requests allows about one more in flight."""
    made = throttle()
    made.pause(_BUSY, 100.0, began=99.0, jitter=0.0)
    for _ in range(8):
        made.on_accepted(103.0, began=102.5)
    assert made.allowed_in_flight == pytest.approx(9.0, abs=0.1)


def test_number_in_flight_does_not_exceed_the_setting() -> None:
    """After many accepted requests, the limit is `Pacing.max_in_flight` again, and not more."""
    made = throttle()
    made.pause(_BUSY, 100.0, began=99.0, jitter=0.0)
    for _ in range(1_000):
        made.on_accepted(103.0, began=102.5)
    assert made.allowed_in_flight == 16.0


def test_accepted_older_requests_raise_nothing() -> None:
    """Good answers to requests that were in flight at the 429 do not undo the halving."""
    made = throttle()
    throttle_request(made, 100.0, began=99.5)
    for _ in range(100):
        made.on_accepted(101.0, began=99.9)
    assert made.allowed_in_flight == 8.0


def test_rate_is_learned_from_what_was_accepted() -> None:
    """After a 429 the rate is a bit lower than what A2E accepted in the second before."""
    made = throttle()
    for number in range(10):
        made.on_accepted(100.0 + number / 20, began=99.9)
    throttle_request(made, 100.6)
    assert made.learned_rate == pytest.approx(8.0)


def test_rate_is_learned_from_a_whole_second() -> None:
    """A 429 at the beginning of a second does not make the rate too low: the second before counts as well."""
    made = throttle()
    for number in range(11):
        made.on_accepted(100.0 + number / 10, began=99.9)
    throttle_request(made, 101.05)
    assert made.learned_rate == pytest.approx(8.0)


def test_rate_is_not_learned_from_old_answers() -> None:
    """Requests accepted an hour ago teach no rate."""
    made = throttle()
    for _ in range(20):
        made.on_accepted(100.0, began=99.9)
    throttle_request(made, 3700.0)
    assert made.learned_rate is None


def test_second_before_a_gap_teaches_nothing() -> None:
    """Only the last second counts: one with many answers, before a gap, teaches no rate."""
    made = throttle()
    for _ in range(20):
        made.on_accepted(100.0, began=99.9)
    made.on_accepted(103.0, began=102.9)
    throttle_request(made, 103.1)
    assert made.learned_rate is None


@pytest.mark.parametrize(
    ("at", "learned"),
    [
        pytest.param(101.2, 16.0, id="both seconds are fresh"),
        pytest.param(102.1, 4.0, id="only the last one is"),
        pytest.param(103.2, None, id="none is"),
    ],
)
def test_measured_rate_expires(at: float, learned: float | None) -> None:
    """Accepted requests count if they are of the last two seconds before the 429."""
    made = throttle()
    for _ in range(20):
        made.on_accepted(100.0, began=99.9)
    for _ in range(5):
        made.on_accepted(101.1, began=101.0)
    throttle_request(made, at)
    assert made.learned_rate == (None if learned is None else pytest.approx(learned))


def test_rate_is_never_lower_than_one_a_second() -> None:
    """Two 429s without an accepted request in between lead to one request a second, not to a stop."""
    made = throttle()
    throttle_request(made, 100.0)
    throttle_request(made, 105.0)
    assert made.learned_rate == 1.0


@pytest.mark.parametrize(("accepted", "later"), [(0, 10.0), (4, 10.0), (4, 3600.0)])
def test_rare_429s_teach_nothing(accepted: int, later: float) -> None:
    """With few requests, a 429 now and then teaches no rate."""
    made = throttle()
    for now in (100.0, 100.0 + later):
        for _ in range(accepted):
            made.on_accepted(now, began=now)
        throttle_request(made, now)
    assert made.learned_rate is None


def test_learned_rate_falls_no_lower_than_one_a_second() -> None:
    """After any number of 429s, one request a second may start."""
    made = throttle()
    made.learned_rate = 4.0
    for second in range(50):
        throttle_request(made, 100.0 + second, asked=0.0)
    assert made.learned_rate == 1.0


def test_rate_falls_with_each_429() -> None:
    """A 429 at the learned rate lowers it by a fifth, for any number of requests accepted before."""
    made = throttle()
    for _ in range(100):
        made.on_accepted(100.0, began=99.9)
    throttle_request(made, 100.1)
    throttle_request(made, 100.2)
    assert made.learned_rate == pytest.approx(64.0)


@pytest.mark.parametrize(
    "error", [_BUSY, ServerError("down", status=503, retry_after=1.0)], ids=lambda error: type(error).__name__
)
def test_only_a_429_teaches_a_rate(error: A2EError) -> None:
    """A "busy" and a server that is down teach no rate."""
    made = throttle()
    made.pause(error, 100.0, began=99.0, jitter=0.0)
    assert made.learned_rate is None


def test_requests_start_at_the_learned_rate() -> None:
    """With a learned rate of four a second, requests start a quarter of a second apart."""
    made = throttle()
    made.learned_rate = 4.0
    begin(made, 100.0)
    assert delay_of(made, 100.0) == 0.25


@pytest.mark.parametrize(("per_second", "learned", "pause"), [(2.0, 4.0, 0.5), (4.0, 2.0, 0.5), (2.0, None, 0.5)])
def test_lower_rate_counts(per_second: float, learned: float | None, pause: float) -> None:
    """Neither the user's limit nor the learned rate is exceeded."""
    made = throttle(Pacing(per_second=per_second))
    made.learned_rate = learned
    begin(made, 100.0)
    assert delay_of(made, 100.0) == pause


@pytest.mark.parametrize(
    ("rate", "grows"), [(1.0, 0.05), (4.0, 0.2), (10.0, 0.5), (20.0, 1.0), (50.0, 1.0), (200.0, 1.0)]
)
def test_rate_grows_each_second(rate: float, grows: float) -> None:
    """Without 429s the learned rate grows each second: by one request a second, or by a twentieth if it is low."""
    made = throttle()
    throttle_request(made, 100.0)
    made.learned_rate = rate
    for number in range(int(rate)):
        made.on_accepted(103.0 + number / rate, began=103.0)
    assert made.learned_rate == pytest.approx(rate + grows, rel=0.01)


@pytest.mark.parametrize(("rate", "grows"), [(1.0, 0.05), (19.0, 0.05), (20.0, 0.05), (40.0, 0.025), (100.0, 0.01)])
def test_step_of_a_learned_rate(rate: float, grows: float) -> None:
    """One accepted request raises the rate by its share of one a second, and by a twentieth at most."""
    made = throttle()
    throttle_request(made, 100.0)
    made.learned_rate = rate
    made.on_accepted(103.0, began=103.0)
    assert made.learned_rate == pytest.approx(rate + grows, abs=1e-9)


def test_learned_rate_is_forgotten() -> None:
    """After a minute without a 429 there is no learned rate."""
    made = throttle()
    made.learned_rate = 4.0
    throttle_request(made, 100.0)
    made.on_accepted(159.0, began=158.9)
    assert made.learned_rate is not None
    made.on_accepted(160.5, began=160.4)
    assert made.learned_rate is None


def test_without_a_429_there_is_no_learned_rate() -> None:
    """Without a 429 nothing is learned, and no request is delayed."""
    made = throttle()
    for second in range(1_000):
        made.on_accepted(float(second), began=second - 0.1)
    assert (made.learned_rate, made.allowed_in_flight, delay_of(made, 1000.0)) == (None, 16, 0.0)


@pytest.mark.parametrize("asked", [86400.0, 86401.0, 1e6, 1.7e308])
@pytest.mark.parametrize(("jitter", "most"), [(0.0, 86400.0), (1.0, 95040.0)])
def test_absurd_pause_is_limited(asked: float, jitter: float, most: float) -> None:
    """An absurd ``Retry-After`` pauses the client for a day, not forever."""
    made = throttle()
    throttle_request(made, 100.0, asked=asked, jitter=jitter)
    delay = delay_of(made, 100.0)
    assert delay == pytest.approx(most)

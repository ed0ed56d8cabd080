"""How many requests at once, how fast, and for how long all of them are held back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.failures import turns_away
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

_POLICY = Pacing(max_in_flight=16, hold_back=2.0, max_hold_back=30.0)
_SLOWER = RateLimitError("slow down", status=429)
_BUSY = BusyError("occupied", status=200)


def throttle(policy: Pacing = _POLICY) -> Throttle:
    """Return a throttle that knows nothing yet."""
    return Throttle(policy)


def in_line(made: Throttle, now: float, count: int) -> list[float]:
    """Return the delays of requests that come together, each of which begins when it may, and ends at once."""
    begins = []
    for _ in range(count):
        delay = made.delay(now)
        assert delay is not None
        begins.append(delay)
        made.begin(now + delay)
        made.in_flight -= 1
    return begins


def turned_away(
    made: Throttle, now: float, *, began: float | None = None, asked: float | None = None, chance: float = 0.0
) -> float:
    """Turn a request away for asking too often, and return until when everybody is held back."""
    error = RateLimitError("slow down", status=429, retry_after=asked)
    made.turned_away(error, now, began=now if began is None else began, chance=chance)
    return made.held_until


@pytest.mark.parametrize(
    ("error", "slows_down"),
    [
        pytest.param(_SLOWER, True, id="429"),
        pytest.param(RateLimitError("too many requests", status=400), True, id="too many, in words"),
        pytest.param(_BUSY, True, id="busy"),
        pytest.param(ServerError("down", status=503, retry_after=7.0), True, id="503 with Retry-After"),
        pytest.param(APIError("?", status=403, retry_after=0.0), True, id="Retry-After of nothing"),
        pytest.param(ServerError("down", status=503), False, id="503"),
        pytest.param(BadRequestError("no", status=400), False, id="400"),
        pytest.param(NotFoundError("no", status=404), False, id="404"),
        pytest.param(NetworkError("cut"), False, id="network"),
        pytest.param(UnexpectedResponseError("page", status=502), False, id="page"),
    ],
)
def test_who_asks_the_whole_client_to_slow_down(error: A2EError, slows_down: bool) -> None:  # noqa: FBT001  a column of the table
    """429, "busy" and any ``Retry-After`` concern every request of the client; other trouble concerns one."""
    assert turns_away(error) is slows_down


def test_first_request_is_not_held_back() -> None:
    """Who comes first does not wait."""
    assert throttle().delay(100.0) == 0.0


def test_requests_of_one_moment_get_places_in_a_row() -> None:
    """At two a second, requests that come together begin half a second apart."""
    made, now, begins = throttle(Pacing(per_second=2.0)), 100.0, []
    for _ in range(4):
        now += made.delay(now) or 0.0
        begins.append(now)
        made.begin(now)
    assert begins == [100.0, 100.5, 101.0, 101.5]


def test_idle_time_is_not_saved_up() -> None:
    """After a long pause there is no burst."""
    made = throttle(Pacing(per_second=2.0))
    made.begin(100.0)
    made.begin(1000.0)
    assert made.delay(1000.0) == 0.5


def test_late_request_waits_only_for_the_rest() -> None:
    """A request that comes in the middle of a beat waits for the other half."""
    made = throttle(Pacing(per_second=2.0))
    made.begin(100.0)
    assert made.delay(100.25) == pytest.approx(0.25)


@given(st.floats(0.1, 1000.0), st.lists(st.floats(0.0, 100.0), max_size=30))
def test_beat_is_never_faster_than_asked(per_second: float, gaps: list[float]) -> None:
    """However requests arrive, they begin at least one beat apart."""
    made, now, begins = throttle(Pacing(per_second=per_second)), 0.0, []
    for gap in gaps:
        now += gap
        now += in_line(made, now, 1)[0]
        begins.append(now)
    assert all(b - a >= 1 / per_second - 1e-6 for a, b in itertools.pairwise(begins))


def test_no_more_are_under_way_than_allowed() -> None:
    """When `Pacing.max_in_flight` requests are under way, the next one waits for one of them."""
    made = throttle(Pacing(max_in_flight=3))
    for _ in range(3):
        assert made.delay(0.0) == 0.0
        made.begin(0.0)
    assert made.delay(1e9) is None


def test_place_of_who_has_ended_is_free() -> None:
    """As soon as one request ends, the next one may begin."""
    made = throttle(Pacing(max_in_flight=1))
    made.begin(0.0)
    made.in_flight -= 1
    assert made.delay(0.0) == 0.0


@pytest.mark.parametrize("asked", [0.0, 0.5, 7.0, 3600.0])
@pytest.mark.parametrize(("chance", "share"), [(0.0, 1.0), (0.5, 1.05), (1.0, 1.1)])
def test_everybody_is_held_back_as_long_as_a2e_asks(asked: float, chance: float, share: float) -> None:
    """A ``Retry-After`` holds back the whole client: never less, and up to a tenth more, by chance."""
    made = throttle()
    turned_away(made, 100.0, asked=asked, chance=chance)
    assert made.delay(100.0) == pytest.approx(asked * share)


def test_pause_runs_down() -> None:
    """Who comes later waits only for the rest of the pause, and nobody when it is over."""
    made = throttle()
    turned_away(made, 100.0, asked=10.0)
    assert [made.delay(104.0), made.delay(110.0), made.delay(200.0)] == [6.0, 0.0, 0.0]


def test_pause_is_not_shortened_by_a_shorter_one() -> None:
    """Of two pauses that A2E asks for, the one that ends later counts."""
    made = throttle()
    turned_away(made, 100.0, asked=60.0)
    assert turned_away(made, 101.0, asked=1.0) == 160.0


def test_pauses_of_ours_double() -> None:
    """If A2E does not say how long, the pause is `Pacing.hold_back`, doubled each time, up to `max_hold_back`."""
    made, now, pauses = throttle(), 100.0, []
    for _ in range(6):
        pauses.append(turned_away(made, now) - now)
        now = made.held_until
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_thousands_of_pauses_do_not_overflow() -> None:
    """A client that is turned away for days is held back for the longest pause, without an OverflowError."""
    made = throttle()
    for number in range(5_000):
        turned_away(made, float(number), asked=0.0)
    assert turned_away(made, 5_000.0) == 5_030.0


def test_row_of_pauses_begins_anew() -> None:
    """After a request was accepted, the next pause is the first of a new row."""
    made = throttle()
    turned_away(made, 100.0)
    turned_away(made, 102.0)
    made.accepted(106.1, began=106.0)
    assert turned_away(made, 107.0) == 109.0


def test_acceptance_of_an_older_request_ends_no_row() -> None:
    """A good answer to what was sent before the refusal says nothing about how it is now."""
    made = throttle()
    turned_away(made, 100.0)
    made.accepted(102.0, began=99.0)
    assert turned_away(made, 102.0) == 106.0


def test_refusals_of_one_moment_count_once() -> None:
    """Requests that were under way together are turned away together: one halving, one step in the row."""
    made = throttle()
    for _ in range(5):
        turned_away(made, 100.0, began=99.0)
    assert (made.at_once, made.held_until) == (8.0, 102.0)


def test_late_refusal_holds_back_no_less_than_the_first() -> None:
    """A refusal that comes late, after others were accepted again, holds back for `Pacing.hold_back` as well."""
    made = throttle()
    turned_away(made, 100.0, began=99.0)
    made.accepted(103.0, began=102.5)
    assert turned_away(made, 104.0, began=99.0) == 104.0 + _POLICY.hold_back


@pytest.mark.parametrize(
    "error", [_SLOWER, _BUSY, ServerError("down", status=503, retry_after=1.0)], ids=lambda error: type(error).__name__
)
def test_number_at_once_is_halved(error: A2EError) -> None:
    """Whatever turns us away, half as many are allowed under way."""
    made = throttle()
    made.turned_away(error, 100.0, began=99.0, chance=0.0)
    assert made.at_once == 8.0


def test_one_at_least_is_allowed() -> None:
    """However often we are turned away, one request may be under way, so that it never comes to a standstill."""
    made = throttle()
    for second in range(20):
        turned_away(made, float(second), asked=0.0)
    assert made.at_once == 1.0
    assert made.delay(1e6) == 0.0


def test_number_at_once_grows_again() -> None:
    """One round of accepted requests, as many as are allowed at once, allows about one more."""
    made = throttle()
    made.turned_away(_BUSY, 100.0, began=99.0, chance=0.0)
    for _ in range(8):
        made.accepted(103.0, began=102.5)
    assert made.at_once == pytest.approx(9.0, abs=0.1)


def test_number_at_once_does_not_grow_beyond_what_the_user_allows() -> None:
    """After any number of accepted requests, `Pacing.max_in_flight` is still the limit, and it is reached again."""
    made = throttle()
    made.turned_away(_BUSY, 100.0, began=99.0, chance=0.0)
    for _ in range(1_000):
        made.accepted(103.0, began=102.5)
    assert made.at_once == 16.0


def test_older_acceptances_give_nothing_back() -> None:
    """Good answers to what was under way when we were turned away do not undo the halving."""
    made = throttle()
    turned_away(made, 100.0, began=99.5)
    for _ in range(100):
        made.accepted(101.0, began=99.9)
    assert made.at_once == 8.0


def test_rate_is_learned_from_what_was_accepted() -> None:
    """After a 429 the client goes a bit slower than what A2E accepted in the second before."""
    made = throttle()
    for number in range(10):
        made.accepted(100.0 + number / 20, began=99.9)
    turned_away(made, 100.6)
    assert made.learned == pytest.approx(8.0)


def test_rate_is_learned_from_a_whole_second() -> None:
    """A 429 at the beginning of a second does not make the rate too low: the second before counts as well."""
    made = throttle()
    for number in range(11):
        made.accepted(100.0 + number / 10, began=99.9)
    turned_away(made, 101.05)
    assert made.learned == pytest.approx(8.0)


def test_rate_is_not_learned_from_long_ago() -> None:
    """What A2E accepted an hour ago is not what it has just accepted."""
    made = throttle()
    for _ in range(20):
        made.accepted(100.0, began=99.9)
    turned_away(made, 3700.0)
    assert made.learned is None


def test_second_before_a_gap_is_not_the_second_before() -> None:
    """Of the seconds before, only the last one counts: one with many answers, before a gap, says nothing."""
    made = throttle()
    for _ in range(20):
        made.accepted(100.0, began=99.9)
    made.accepted(103.0, began=102.9)
    turned_away(made, 103.1)
    assert made.learned is None


@pytest.mark.parametrize(
    ("at", "learned"),
    [
        pytest.param(101.2, 16.0, id="both seconds are fresh"),
        pytest.param(102.1, 4.0, id="only the last one is"),
        pytest.param(103.2, None, id="none is"),
    ],
)
def test_measure_grows_old(at: float, learned: float | None) -> None:
    """What was accepted counts as long as it is one of the last two seconds before the refusal."""
    made = throttle()
    for _ in range(20):
        made.accepted(100.0, began=99.9)
    for _ in range(5):
        made.accepted(101.1, began=101.0)
    turned_away(made, at)
    assert made.learned == (None if learned is None else pytest.approx(learned))


def test_rate_is_never_lower_than_one_a_second() -> None:
    """Who is turned away again before anything was accepted goes on slowly, and does not stop."""
    made = throttle()
    turned_away(made, 100.0)
    turned_away(made, 105.0)
    assert made.learned == 1.0


@pytest.mark.parametrize(("accepted", "later"), [(0, 10.0), (4, 10.0), (4, 3600.0)])
def test_lull_teaches_nothing(accepted: int, later: float) -> None:
    """Few requests that are turned away once in a while do not slow the client down."""
    made = throttle()
    for now in (100.0, 100.0 + later):
        for _ in range(accepted):
            made.accepted(now, began=now)
        turned_away(made, now)
    assert made.learned is None


def test_learned_rate_falls_no_lower_than_one_a_second() -> None:
    """However often we are turned away, one request a second may begin."""
    made = throttle()
    made.learned = 4.0
    for second in range(50):
        turned_away(made, 100.0 + second, asked=0.0)
    assert made.learned == 1.0


def test_rate_falls_with_each_refusal() -> None:
    """Who is turned away at the learned rate goes a fifth slower, whatever had been accepted before."""
    made = throttle()
    for _ in range(100):
        made.accepted(100.0, began=99.9)
    turned_away(made, 100.1)
    turned_away(made, 100.2)
    assert made.learned == pytest.approx(64.0)


@pytest.mark.parametrize(
    "error", [_BUSY, ServerError("down", status=503, retry_after=1.0)], ids=lambda error: type(error).__name__
)
def test_only_a_429_teaches_a_rate(error: A2EError) -> None:
    """How often we ask is no matter of "busy", and neither of a server that is down."""
    made = throttle()
    made.turned_away(error, 100.0, began=99.0, chance=0.0)
    assert made.learned is None


def test_requests_begin_at_the_learned_rate() -> None:
    """With four a second learned, requests begin a quarter of a second apart."""
    made = throttle()
    made.learned = 4.0
    made.begin(100.0)
    assert made.delay(100.0) == 0.25


@pytest.mark.parametrize(("per_second", "learned", "pause"), [(2.0, 4.0, 0.5), (4.0, 2.0, 0.5), (2.0, None, 0.5)])
def test_lower_rate_counts(per_second: float, learned: float | None, pause: float) -> None:
    """Neither the user's limit nor the learned one is exceeded."""
    made = throttle(Pacing(per_second=per_second))
    made.learned = learned
    made.begin(100.0)
    assert made.delay(100.0) == pause


@pytest.mark.parametrize(
    ("rate", "grows"), [(1.0, 0.05), (4.0, 0.2), (10.0, 0.5), (20.0, 1.0), (50.0, 1.0), (200.0, 1.0)]
)
def test_rate_grows_each_second(rate: float, grows: float) -> None:
    """As long as all is well, the client asks more often every second: by one more, or by a twentieth if it is slow."""
    made = throttle()
    turned_away(made, 100.0)
    made.learned = rate
    for number in range(int(rate)):
        made.accepted(103.0 + number / rate, began=103.0)
    assert made.learned == pytest.approx(rate + grows, rel=0.01)


@pytest.mark.parametrize(("rate", "grows"), [(1.0, 0.05), (19.0, 0.05), (20.0, 0.05), (40.0, 0.025), (100.0, 0.01)])
def test_step_of_a_learned_rate(rate: float, grows: float) -> None:
    """One accepted request raises the rate by its share of one a second, and by a twentieth at most."""
    made = throttle()
    turned_away(made, 100.0)
    made.learned = rate
    made.accepted(103.0, began=103.0)
    assert made.learned == pytest.approx(rate + grows, abs=1e-9)


def test_learned_rate_is_forgotten() -> None:
    """After a minute without a refusal there is no limit of A2E that we know of."""
    made = throttle()
    made.learned = 4.0
    turned_away(made, 100.0)
    made.accepted(159.0, began=158.9)
    assert made.learned is not None
    made.accepted(160.5, began=160.4)
    assert made.learned is None


def test_client_that_was_never_turned_away_has_no_limit() -> None:
    """Without a refusal nothing is learned and nothing is slowed down."""
    made = throttle()
    for second in range(1_000):
        made.accepted(float(second), began=second - 0.1)
    assert (made.learned, made.at_once, made.delay(1000.0)) == (None, 16, 0.0)


@pytest.mark.parametrize("asked", [86400.0, 86401.0, 1e6, 1.7e308])
@pytest.mark.parametrize(("chance", "most"), [(0.0, 86400.0), (1.0, 95040.0)])
def test_absurd_pause_has_an_end(asked: float, chance: float, most: float) -> None:
    """An odd ``Retry-After`` holds the client back for a day, and not for ever."""
    made = throttle()
    turned_away(made, 100.0, asked=asked, chance=chance)
    delay = made.delay(100.0)
    assert delay == pytest.approx(most)

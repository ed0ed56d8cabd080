"""Rules of polling: ticks, intervals, classes of errors, and the state of the batch operation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._polling.schedule import (
    BATCH_SIZE,
    BatchFailure,
    BatchSupport,
    Step,
    TickGrid,
    after_batch,
    after_others,
    after_retry,
    classify,
    fatal_error,
    is_budget_spent,
    miss_weight,
    next_poll,
)
from a2e_async._protocol.failures import failure_of
from a2e_async._protocol.messages import Response
from a2e_async._protocol.responses import decode
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

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

_POLICY = PollPolicy(steps=((0.0, 2.0), (60.0, 5.0), (300.0, 10.0)), invisible_for=60.0)

_LENGTHS = st.floats(0.005, 1.0)
# The clock of an event loop: seconds since the start of the machine, here up to four months.
_PHASES = st.floats(-1.0, 1e7)

_TICKS = st.builds(TickGrid, _LENGTHS, _PHASES)


def describe(error: A2EError) -> str:
    """Return the name of an error for a test id."""
    return f"{type(error).__name__}-{getattr(error, 'status', '')}"


# Ticks


@pytest.mark.parametrize(
    ("steps", "length"),
    [
        (((0.0, 2.0), (60.0, 5.0)), 1.0),
        (((0.0, 10.0),), 1.0),
        (((0.0, 1.0),), 0.5),
        (((0.0, 5.0), (60.0, 0.3)), 0.15),
    ],
)
def test_tick_is_half_of_the_shortest_interval(steps: tuple[tuple[float, float], ...], length: float) -> None:
    """A tick is half of the shortest interval of all steps, and at most a second."""
    assert TickGrid.of(PollPolicy(steps=steps), now=100.0, chance=0.0).length == length


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
def test_grid_is_shifted_at_random(chance: float) -> None:
    """A tick is at a random moment of the last second before now, so that many clients do not poll at the same time."""
    assert TickGrid.of(_POLICY, now=100.0, chance=chance).phase == 100.0 - chance


@pytest.mark.parametrize(
    ("when", "tick"), [(99.5, 99.5), (99.6, 99.75), (100.0, 100.0), (100.01, 100.25), (101.9, 102.0)], ids=str
)
def test_next_tick(when: float, tick: float) -> None:
    """Ticks are a length apart, before and after the phase, and a tick is its own next one."""
    assert TickGrid(0.25, 100.0).next(when) == tick


def at(ticks: TickGrid, tick: int) -> float:
    """Return the time of a tick, counted from the phase."""
    return ticks.phase + tick * ticks.length


@given(_TICKS, st.integers(-10, 10**9))
def test_tick_is_its_own_next_one(ticks: TickGrid, tick: int) -> None:
    """A rounding error never turns a tick into the one before or after, even after years: equal ticks are equal."""
    assert ticks.next(at(ticks, tick)) == at(ticks, tick)


@given(_TICKS, st.integers(0, 10**9), st.floats(0.001, 0.999))
def test_time_between_two_ticks(ticks: TickGrid, tick: int, part: float) -> None:
    """Between two ticks, the next one is the one after."""
    assert ticks.next(at(ticks, tick) + part * ticks.length) == at(ticks, tick + 1)


@given(_TICKS, st.floats(0.0, 1e9))
def test_next_tick_is_less_than_a_tick_away(ticks: TickGrid, after: float) -> None:
    """The next tick is not before the time, and less than a tick after it (but for rounding)."""
    when = ticks.phase + after
    waits = ticks.next(when) - when
    assert -1e-5 * ticks.length <= waits < (1 + 1e-5) * ticks.length


@pytest.mark.parametrize(("part", "tick"), [(0.0, 7), (0.05, 7), (0.099, 7), (0.101, 8), (0.5, 8)])
def test_fraction_of_a_tick_may_be_late(part: float, tick: int) -> None:
    """If a tenth of a tick may be late, a time that is less than that late still counts for its tick."""
    ticks = TickGrid(0.5, 3.3)
    assert ticks.next(3.3 + (7 + part) * 0.5, late=0.1) == at(ticks, tick)


# The next poll

_GRID = TickGrid(1.0)


def pause_after_record(
    age: float, policy: PollPolicy = _POLICY, *, has_webhook: bool = False, took: float = 0.0
) -> float:
    """Return the seconds from a poll, `age` seconds after tick 1000, to the next one after a record."""
    sent = 1000.0 + age
    return next_poll(policy, _GRID, began=1000.0, sent=sent, now=sent + took, has_webhook=has_webhook) - sent


def pause_after_error(took: float, error: A2EError, policy: PollPolicy = _POLICY) -> float:
    """Return the seconds from a poll at a tick to the next one after an error that came some seconds later."""
    return next_poll(policy, _GRID, began=1000.0, sent=1000.0, now=1000.0 + took, error=error) - 1000.0


@pytest.mark.parametrize(
    ("age", "pause"), [(0, 2), (59, 2), (60, 5), (299, 5), (300, 10), (10**6, 10)], ids=lambda value: f"{value:g}"
)
def test_interval_grows_with_the_age_of_the_wait(age: float, pause: float) -> None:
    """The interval of polls is that of the step for the age of the wait."""
    assert pause_after_record(age) == pause


def test_age_before_the_first_step_uses_the_first() -> None:
    """Steps that begin late, or a clock that is a little behind, leave no age without an interval."""
    assert pause_after_record(0.0, PollPolicy(steps=((10.0, 3.0),))) == 3.0


@pytest.mark.parametrize(
    ("backstop", "age", "pause"), [(30.0, 0, 30), (30.0, 400, 30), (7.0, 0, 7), (7.0, 400, 10)], ids=str
)
def test_task_with_a_webhook_is_polled_as_a_backstop(backstop: float, age: float, pause: float) -> None:
    """With a webhook, the interval is the backstop, or that of the age if it is longer."""
    policy = PollPolicy(steps=_POLICY.steps, backstop=backstop)
    assert pause_after_record(age, policy, has_webhook=True) == pause


def test_backstop_is_for_tasks_with_a_webhook_only() -> None:
    """Without a webhook, the backstop does not change the interval."""
    assert pause_after_record(0.0, PollPolicy(steps=_POLICY.steps, backstop=1000.0)) == 2.0


@pytest.mark.parametrize("took", [0.0, 0.5, 1.9])
def test_interval_counts_from_the_poll(took: float) -> None:
    """A response that takes less than the interval does not delay the next poll."""
    assert pause_after_record(0.0, took=took) == 2.0


def test_response_slower_than_the_interval() -> None:
    """A task is polled at a tick, also if the response took longer than the interval."""
    assert pause_after_record(0.0, took=3.4) == 4.0


@pytest.mark.parametrize(("took", "pause"), [(0.0, 2.0), (0.05, 2.0), (0.5, 3.0), (20.0, 22.0), (20.3, 23.0)])
def test_interval_counts_from_an_error(took: float, pause: float) -> None:
    """A request that hung for 20 s is not repeated at once: the interval counts from its failure."""
    assert pause_after_error(took, NetworkError("cut")) == pause


@pytest.mark.parametrize(
    ("late", "pause"), [(0.0, 2.0), (0.05, 2.0), (0.09, 2.0), (0.11, 3.0), (0.5, 3.0), (0.95, 3.0)]
)
def test_small_delay_does_not_cost_a_tick(late: float, pause: float) -> None:
    """A poll less than a tenth of a tick late counts for its tick: a busy event loop does not stretch the intervals."""
    assert next_poll(_POLICY, _GRID, began=1000.0, sent=1000.0 + late, now=1000.0 + late) == 1000.0 + pause


@given(_TICKS, st.integers(0, 10**6), st.floats(0.01, 100.0), st.floats(0.0, 0.1), st.booleans())
def test_polls_are_at_least_an_interval_apart(
    ticks: TickGrid,
    tick: int,
    interval: float,
    late: float,
    has_webhook: bool,  # noqa: FBT001  drawn by hypothesis
) -> None:
    """Between two polls at ticks are at least the interval, and less than a tick more."""
    policy = PollPolicy(steps=((0.0, interval),), backstop=interval)
    sent = at(ticks, tick) + 0.99 * late * ticks.length
    again = next_poll(policy, ticks, began=0.0, sent=sent, now=sent, has_webhook=has_webhook)
    pause, rounding = again - at(ticks, tick), 1e-5 * ticks.length
    assert interval - rounding <= pause <= interval + ticks.length + rounding


@given(_TICKS, st.floats(0.0, 1e6), st.floats(0.01, 100.0))
def test_poll_between_two_ticks_is_followed_by_one_at_a_tick(ticks: TickGrid, after: float, interval: float) -> None:
    """After a poll between two ticks, the next one is at a tick, after at least the interval less a tenth of a tick."""
    sent = ticks.phase + after
    again = next_poll(PollPolicy(steps=((0.0, interval),)), ticks, began=0.0, sent=sent, now=sent)
    pause, rounding = again - sent, 1e-5 * ticks.length
    assert interval - 0.1 * ticks.length - rounding <= pause <= interval + 2 * ticks.length + rounding


@given(_TICKS, st.floats(0.0, 1e6), st.floats(0.0, 60.0), st.floats(0.01, 100.0), st.booleans())
def test_next_poll_is_never_in_the_past(
    ticks: TickGrid,
    after: float,
    took: float,
    interval: float,
    good: bool,  # noqa: FBT001  drawn by hypothesis
) -> None:
    """The next poll is not in the past (but for rounding), however long a result took."""
    sent = ticks.phase + after
    now, error = sent + took, None if good else NetworkError("cut")
    policy = PollPolicy(steps=((0.0, interval),))
    again = next_poll(policy, ticks, began=0.0, sent=sent, now=now, error=error)
    assert again >= now - 1e-5 * ticks.length


@given(_TICKS, st.floats(0.0, 1e6), st.floats(0.0, 30.0), st.floats(0.0, 86400.0))
def test_retry_after_is_never_shortened(ticks: TickGrid, sent: float, took: float, retry_after: float) -> None:
    """The next poll after an error is not before the time of its Retry-After (but for rounding)."""
    now = sent + took
    error = RateLimitError("slow down", status=429, retry_after=retry_after)
    again = next_poll(_POLICY, ticks, began=0.0, sent=sent, now=now, error=error)
    assert again >= now + retry_after - 1e-5 * ticks.length


@pytest.mark.parametrize(("sent", "pause"), [(None, 2.0), (0.0, 2.0), (1.0, 2.0), (10.2, 11.0), (100.0, 100.0)])
def test_retry_after_is_rounded_up_to_a_tick(sent: float | None, pause: float) -> None:
    """The next poll is at the first tick that both A2E and the schedule allow."""
    assert pause_after_error(0.0, RateLimitError("slow down", status=429, retry_after=sent)) == pause


def test_retry_after_counts_from_the_response() -> None:
    """A Retry-After counts from the response that has it."""
    assert pause_after_error(3.0, BusyError("busy", status=200, retry_after=10.0)) == 13.0


def test_retry_after_is_limited_to_a_day() -> None:
    """An absurd Retry-After delays the next poll by a day, and raises no error."""
    error = RateLimitError("slow down", status=429, retry_after=1.7e308)
    assert next_poll(_POLICY, TickGrid(0.5), began=0.0, sent=0.0, now=0.0, error=error) == 86400


@pytest.mark.parametrize("error", [NetworkError("cut"), UnexpectedResponseError("page", status=502)], ids=describe)
def test_error_without_retry_after_does_not_change_the_schedule(error: A2EError) -> None:
    """After an error without a Retry-After, the next poll is at its normal time."""
    assert pause_after_error(0.0, error) == 2.0


# What an error of a batch means


_PAGE = b"<!doctype html><html>"
_CUT = b'{"code":0,"data":[{"_id'

_TRANSIENT = [
    NetworkError("cut"),
    NetworkError("not sent", request_sent=False),
    ServerError("down", status=500),
    ServerError("down", status=503),
    ServerError("slow", status=408),
    UnexpectedResponseError("cut", status=200, body=_CUT),
    UnexpectedResponseError("empty", status=200),
    UnexpectedResponseError("no status"),
    UnexpectedResponseError("page of a gateway", status=502, body=_PAGE),
]
_THROTTLED = [
    BusyError("busy", status=200),
    RateLimitError("slow down", status=429),
    RateLimitError("too many requests", status=403),
    ServerError("down", status=503, retry_after=3.0),
    APIError("rejected", status=403, retry_after=3.0),
]
_UNSUPPORTED = [
    NotFoundError("no such operation", status=404),
    TaskNotFoundError("no such operation", status=404),
    PlanError("not in your plan", status=403),
    APIError("rejected", status=403),
    APIError("Request failed", status=200, code=-1),
    InsufficientCreditsError("no coins", status=402),
    ContentRejectedError("rejected", status=403),
    UnexpectedResponseError("a page", status=200, body=_PAGE),
    UnexpectedResponseError("a page after white space", status=200, body=b" \r\n" + _PAGE),
    UnexpectedResponseError("wrong path", status=404, body=_PAGE),
    UnexpectedResponseError("wrong path", status=405, body=_PAGE),
    UnexpectedResponseError("page of a proxy", status=400, body=_PAGE),
    BadRequestError("wrong method", status=405),
    BadRequestError("gone", status=410),
    UnexpectedResponseError("redirect to a login", status=302),
    UnexpectedResponseError("no page", status=418, body=b"teapot"),
]
_REJECTED = [
    BadRequestError("too many ids", status=400),
    BadRequestError("too many ids", status=200, code=400),
    BadRequestError("too many ids", status=422),
    BadRequestError("too large", status=413),
    UnexpectedResponseError("too large", status=413, body=_PAGE),
    UnexpectedResponseError("too long", status=414, body=_PAGE),
]
_PERMANENT = [
    AuthenticationError("token", status=401),
    AuthenticationError("token", status=403),
    ClientClosedError("closed"),
    ConfigurationError("base_url"),
    InvalidRequestError("ids"),
]
_CLASSIFIED = [
    *((error, BatchFailure.TRANSIENT) for error in _TRANSIENT),
    *((error, BatchFailure.THROTTLED) for error in _THROTTLED),
    *((error, BatchFailure.UNSUPPORTED) for error in _UNSUPPORTED),
    *((error, BatchFailure.REJECTED) for error in _REJECTED),
    *((error, BatchFailure.PERMANENT) for error in _PERMANENT),
]


@pytest.mark.parametrize(
    ("error", "expected"), _CLASSIFIED, ids=lambda value: describe(value) if isinstance(value, A2EError) else value.name
)
def test_error_of_a_batch_is_classified(error: A2EError, expected: BatchFailure) -> None:
    """Every error of a request has one class of failure."""
    assert classify(error) is expected


def test_every_error_of_a_request_is_classified() -> None:
    """The table above has every class of error that a request can raise."""
    requests = {APIError, NetworkError, UnexpectedResponseError, ClientClosedError, ConfigurationError}
    requests |= {InvalidRequestError, *APIError.__subclasses__(), TaskNotFoundError}
    assert {type(error) for error, _ in _CLASSIFIED} == requests


_WIRE = [
    pytest.param(404, b'{"message":"Cannot POST /api/v1"}', BatchFailure.UNSUPPORTED, id="404 JSON"),
    pytest.param(404, b"404 page not found", BatchFailure.UNSUPPORTED, id="404 text"),
    pytest.param(404, _PAGE, BatchFailure.UNSUPPORTED, id="404 page"),
    pytest.param(405, _PAGE, BatchFailure.UNSUPPORTED, id="405 page"),
    pytest.param(200, _PAGE, BatchFailure.UNSUPPORTED, id="200 page"),
    pytest.param(302, b"", BatchFailure.UNSUPPORTED, id="redirect"),
    pytest.param(400, b'{"code":400,"msg":"ids: at most 50"}', BatchFailure.REJECTED, id="400"),
    pytest.param(413, _PAGE, BatchFailure.REJECTED, id="413 page"),
    pytest.param(500, _PAGE, BatchFailure.TRANSIENT, id="500 page"),
    pytest.param(502, b"Bad Gateway", BatchFailure.TRANSIENT, id="502 text"),
    pytest.param(429, b"slow down", BatchFailure.THROTTLED, id="429"),
    pytest.param(200, _CUT, BatchFailure.TRANSIENT, id="cut"),
    pytest.param(401, b'{"msg":"token"}', BatchFailure.PERMANENT, id="401"),
    pytest.param(405, b'{"message":"Method Not Allowed"}', BatchFailure.UNSUPPORTED, id="405 JSON"),
    pytest.param(405, b"Method Not Allowed", BatchFailure.UNSUPPORTED, id="405 text"),
    pytest.param(410, b'{"message":"Gone"}', BatchFailure.UNSUPPORTED, id="410 JSON"),
    pytest.param(
        200,
        b"\xef\xbb\xbf" + _PAGE,
        BatchFailure.UNSUPPORTED,
        id="page with a BOM",
    ),
]


@pytest.mark.parametrize(("status", "body", "expected"), _WIRE)
def test_response_to_a_batch_is_classified(status: int, body: bytes, expected: BatchFailure) -> None:
    """The bytes of a response lead to the right class: 404, 405 and pages mean an unsupported operation."""
    with pytest.raises(A2EError) as caught:
        decode(Response(status=status, body=body))
    assert classify(caught.value) is expected


# What happens to the tasks of a batch that failed


@pytest.mark.parametrize("is_half_open", [False, True])
@pytest.mark.parametrize("failure", BatchFailure)
def test_weight_of_a_miss(failure: BatchFailure, is_half_open: bool) -> None:  # noqa: FBT001  a column of the table
    """Transient errors count as a miss, throttled ones a third of that, and a failed trial says nothing about tasks."""
    expected = {BatchFailure.THROTTLED: 0.3, BatchFailure.TRANSIENT: 0.0 if is_half_open else 1.0}
    assert miss_weight(failure, is_half_open=is_half_open) == expected.get(failure, 0.0)


@pytest.mark.parametrize("often", [False, True])
@pytest.mark.parametrize("is_suspect", [False, True])
@pytest.mark.parametrize("is_half_open", [False, True])
@pytest.mark.parametrize("failure", BatchFailure)
def test_step_after_a_batch(
    failure: BatchFailure,
    is_half_open: bool,  # noqa: FBT001  a column of the table
    is_suspect: bool,  # noqa: FBT001  a column of the table
    often: bool,  # noqa: FBT001  a column of the table
) -> None:
    """An error that keeps coming is bisected while other batches work, and probed otherwise."""
    if failure is BatchFailure.PERMANENT:
        expected = Step.FAIL
    elif failure is BatchFailure.REJECTED:
        expected = Step.BISECT
    elif failure is BatchFailure.UNSUPPORTED or (failure is BatchFailure.TRANSIENT and is_half_open):
        expected = Step.SWITCH
    else:
        expected = {False: Step.FAIL, True: Step.PROBE if is_suspect else Step.BISECT}[often]
    assert after_batch(failure, is_half_open=is_half_open, is_suspect=is_suspect, often=often) is expected


@pytest.mark.parametrize("first", [BatchFailure.TRANSIENT, BatchFailure.THROTTLED])
@pytest.mark.parametrize("again", BatchFailure)
def test_step_after_a_retry(first: BatchFailure, again: BatchFailure) -> None:
    """A batch that fails again while A2E works is not sent for a while, unless the new reason is about the client."""
    is_new = again is BatchFailure.PERMANENT or (again is BatchFailure.THROTTLED and first is BatchFailure.TRANSIENT)
    assert after_retry(first, again) is (Step.FAIL if is_new else Step.SWITCH)


@pytest.mark.parametrize("instead", [Step.SWITCH, Step.SINGLE])
@pytest.mark.parametrize("often", [False, True])
@pytest.mark.parametrize("failure", BatchFailure)
def test_step_after_a_bisection_or_the_list(failure: BatchFailure, often: bool, instead: Step) -> None:  # noqa: FBT001  a column of the table
    """Tasks that remain are read in another way; an error that keeps coming is probed, unless it is about the client."""
    expected = {BatchFailure.UNSUPPORTED: instead, BatchFailure.REJECTED: instead}
    if often:
        expected[BatchFailure.TRANSIENT] = Step.PROBE
    assert after_others(failure, often=often, instead=instead) is expected.get(failure, Step.FAIL)


# The state of the batch operation


def test_batches_are_available_at_first() -> None:
    """At first batches are available, with as many ids as A2E's reference allows."""
    support = BatchSupport()
    assert (support.is_available(-1e9), support.is_available(0.0), support.size, support.is_suspect) == (
        True,
        True,
        BATCH_SIZE,
        False,
    )


def test_tripped_batches_are_available_after_a_minute() -> None:
    """Batches are not sent for a minute after `trip`."""
    support = BatchSupport()
    support.trip(1000.0)
    assert [support.is_available(1000.0 + after) for after in (0.0, 59.9, 60.0)] == [False, False, True]


def pauses(support: BatchSupport, count: int) -> list[float]:
    """Trip as soon as batches are available, several times, and return the length of each pause."""
    now, found = 0.0, []
    for _ in range(count):
        support.trip(now)
        pause = next(seconds for seconds in range(1, 10_000) if support.is_available(now + seconds))
        found.append(float(pause))
        now += pause
    return found


def test_pause_doubles_up_to_an_hour() -> None:
    """The pause doubles each time, up to an hour."""
    assert pauses(BatchSupport(), 9) == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_trip_during_the_pause_does_not_lengthen_it() -> None:
    """Ten requests that fail together cause one pause of a minute, and the next pause is two minutes."""
    support = BatchSupport()
    for after in range(10):
        support.trip(1000.0 + after)
    assert not support.is_available(1059.9)
    assert support.is_available(1060.0)
    support.trip(1060.0)
    assert not support.is_available(1179.9)
    assert support.is_available(1180.0)


def test_hit_resets_the_pause() -> None:
    """After a response with a record, the next pause is a minute again."""
    support = BatchSupport()
    pauses(support, 4)
    support.on_hit()
    support.trip(1e6)
    assert not support.is_available(1e6 + 59.9)
    assert support.is_available(1e6 + 60.0)


def test_batches_run_side_by_side_at_first() -> None:
    """Before the first `trip`, a request in flight does not block another one."""
    support = BatchSupport()
    support.on_request()
    assert support.is_available(0.0)
    assert not support.is_half_open


def test_half_open_allows_one_request() -> None:
    """After the pause, one batch at a time is sent."""
    support = BatchSupport()
    support.trip(0.0)
    assert support.is_available(60.0)
    support.on_request()
    assert not support.is_available(60.0)
    support.on_end()
    assert support.is_available(60.0)


def test_hit_ends_the_half_open_state() -> None:
    """The first response with a record makes batches available side by side again."""
    support = BatchSupport()
    support.trip(0.0)
    assert (support.is_half_open, support.is_suspect) == (True, True)
    support.on_request()
    support.on_hit()
    support.on_end()
    assert (support.is_half_open, support.is_suspect) == (False, False)
    support.on_request()
    assert support.is_available(60.0)


def test_miss_keeps_the_half_open_state() -> None:
    """A failed trial is followed by a longer pause, and by another trial."""
    support = BatchSupport()
    support.trip(0.0)
    support.on_request()
    support.on_miss()
    support.on_end()
    support.trip(60.0)
    assert support.is_half_open
    assert not support.is_available(179.9)
    assert support.is_available(180.0)


def test_size_shrinks_and_is_restored_after_ten_minutes() -> None:
    """A rejected size is not used for ten minutes."""
    support = BatchSupport()
    support.shrink(25, 1000.0)
    sizes = []
    for after in (0.0, 599.9, 600.0):
        assert support.is_available(1000.0 + after)
        sizes.append(support.size)
    assert sizes == [25, 25, BATCH_SIZE]


def test_size_never_grows_by_shrinking() -> None:
    """A larger size than the current one only lengthens the time until the full size is tried again."""
    support = BatchSupport()
    support.shrink(25, 1000.0)
    support.shrink(50, 1300.0)
    assert support.is_available(1899.9)
    assert support.size == 25
    assert support.is_available(1900.0)
    assert support.size == BATCH_SIZE


def test_size_is_restored_during_a_pause() -> None:
    """The size is restored by time alone, also while no batches are sent."""
    support = BatchSupport()
    support.shrink(25, 0.0)
    pauses(support, 4)
    support.trip(900.0)
    assert not support.is_available(900.0)
    assert support.size == BATCH_SIZE


def test_three_misses_in_a_row_are_suspect() -> None:
    """After the third response without a record, the operation is suspect."""
    support, suspect = BatchSupport(), []
    for _ in range(3):
        support.on_miss()
        suspect.append(support.is_suspect)
    assert suspect == [False, False, True]


def test_hit_ends_the_suspicion() -> None:
    """After any number of misses, one response with a record ends the suspicion."""
    support = BatchSupport()
    for _ in range(5):
        support.on_miss()
    support.on_hit()
    assert (support.misses, support.is_suspect) == (0, False)


# What an error of one task means


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("cut"),
        NetworkError("not sent", request_sent=False),
        BusyError("busy", status=200),
        RateLimitError("slow down", status=429),
        ServerError("down", status=500),
        UnexpectedResponseError("page of a gateway", status=200),
        UnexpectedResponseError("page of a gateway", status=502),
        UnexpectedResponseError("redirect to a login", status=302),
        UnexpectedResponseError("page of a proxy", status=404),
        APIError("Request failed", status=200, code=-1),
        APIError("rejected", status=403),
        ContentRejectedError("rejected", status=403),
        InsufficientCreditsError("no coins", status=402),
    ],
    ids=describe,
)
def test_error_that_does_not_end_a_wait(error: A2EError) -> None:
    """An error that may pass, or that says nothing about the task, ends no wait, at any age and any number of times."""
    for repeated in (False, True):
        assert fatal_error(error, _POLICY, began=0.0, now=1e6, seen=True, repeated=repeated) is None


@pytest.mark.parametrize(
    "error",
    [
        PlanError("plan", status=403),
        ClientClosedError("closed"),
        ConfigurationError("base_url"),
        InvalidRequestError("id"),
    ],
    ids=describe,
)
def test_permanent_error_ends_a_wait_at_once(error: A2EError) -> None:
    """A permanent error, such as a closed client, ends the wait at once, and is raised itself."""
    assert fatal_error(error, _POLICY, began=0.0, now=0.0, seen=False, repeated=False) is error


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("now", [0.0, 1e6])
@pytest.mark.parametrize(
    "error", [BadRequestError("id", status=400), AuthenticationError("token", status=401)], ids=describe
)
def test_error_that_ends_a_wait_only_if_repeated(error: A2EError, seen: bool, now: float) -> None:  # noqa: FBT001  a column of the table
    """A gateway can answer 400 or 401 once: the second one in a row ends the wait, and is raised itself."""
    assert fatal_error(error, _POLICY, began=0.0, now=now, seen=seen, repeated=False) is None
    assert fatal_error(error, _POLICY, began=0.0, now=now, seen=seen, repeated=True) is error


@pytest.mark.parametrize(("age", "ends"), [(0.0, False), (59.9, False), (60.0, True), (500.0, True)])
def test_unseen_task_may_be_invisible_for_a_while(age: float, ends: bool) -> None:  # noqa: FBT001  a column of the table
    """A task that was never seen counts as missing only after `PollPolicy.invisible_for`."""
    fatal = fatal_error(
        NotFoundError("?", status=404), _POLICY, began=100.0, now=100.0 + age, seen=False, repeated=True
    )
    assert isinstance(fatal, TaskNotFoundError) is ends
    assert ends or fatal is None


@pytest.mark.parametrize("now", [0.0, 1e6])
def test_task_that_was_seen_and_is_gone_ends_the_wait(now: float) -> None:
    """A task that was seen before is gone after two 404 in a row, at any age of the wait."""
    fatal = fatal_error(NotFoundError("?", status=404), _POLICY, began=0.0, now=now, seen=True, repeated=True)
    assert isinstance(fatal, TaskNotFoundError)


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("now", [0.0, 60.0, 1e6])
def test_single_not_found_ends_no_wait(seen: bool, now: float) -> None:  # noqa: FBT001  a column of the table
    """A gateway can answer 404 once: it ends no wait, whether or not the task was seen, at any age."""
    error = NotFoundError("?", status=404)
    assert fatal_error(error, _POLICY, began=0.0, now=now, seen=seen, repeated=False) is None


def test_error_of_a_missing_task_keeps_the_details() -> None:
    """The error of a missing task keeps the text and the numbers of A2E, and the id of the task."""
    error = NotFoundError("gone", status=404, code=17, trace_id="trace-1", task_id="t1")
    fatal = fatal_error(error, _POLICY, began=0.0, now=0.0, seen=True, repeated=True)
    assert isinstance(fatal, TaskNotFoundError)
    assert fatal.__cause__ is error
    assert (fatal.message, fatal.status, fatal.code, fatal.trace_id, fatal.task_id) == (
        "gone",
        404,
        17,
        "trace-1",
        "t1",
    )


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("cut"),
        NetworkError("not sent", request_sent=False),
        BusyError("busy", status=200),
        RateLimitError("slow down", status=429),
        ServerError("down", status=503),
        UnexpectedResponseError("page of a gateway", status=502),
        UnexpectedResponseError("a login page", status=200),
        UnexpectedResponseError("redirect to a login", status=302),
        UnexpectedResponseError("page of a proxy", status=404),
    ],
    ids=describe,
)
def test_error_is_an_outage(error: A2EError) -> None:
    """An error without a response of A2E uses up the outage budget."""
    assert failure_of(error).outage


@pytest.mark.parametrize(
    "error",
    [
        APIError("Request failed", status=200, code=-1),
        NotFoundError("?", status=404),
        TaskNotFoundError("?", status=404),
        AuthenticationError("token", status=401),
        BadRequestError("id", status=400),
        ContentRejectedError("rejected", status=403),
        ClientClosedError("closed"),
    ],
    ids=describe,
)
def test_error_is_no_outage(error: A2EError) -> None:
    """An error that A2E itself has sent is no outage."""
    assert not failure_of(error).outage


@pytest.mark.parametrize(
    ("budget", "since", "began", "now", "spent"),
    [
        (None, 0.0, 0.0, 1e9, False),
        (60.0, 100.0, 0.0, 159.9, False),
        (60.0, 100.0, 0.0, 160.0, True),
        (60.0, 0.0, 100.0, 159.9, False),
        (60.0, 0.0, 100.0, 160.0, True),
        (0.0, 100.0, 0.0, 100.0, True),
    ],
)
def test_outage_budget(budget: float | None, since: float, began: float, now: float, spent: bool) -> None:  # noqa: FBT001  a column of the table
    """The budget counts from the start of the outage, or from the start of a wait that began later."""
    assert is_budget_spent(budget, since=since, began=began, now=now) is spent

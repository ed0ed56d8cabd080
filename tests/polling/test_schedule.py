"""Which tasks are due, how to ask about them, and what an answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._polling.schedule import BATCH, Meaning, Route, Ticks, is_outage, meaning, next_look, verdict
from a2e_async._protocol.decoding import decode
from a2e_async._protocol.messages import Response
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
_PHASES = st.floats(-1.0, 1e7)
"""The clock of an event loop: seconds since the machine began, here up to four months."""

_TICKS = st.builds(Ticks, _LENGTHS, _PHASES)


def named(error: A2EError) -> str:
    """Name an error in a table."""
    return f"{type(error).__name__}-{getattr(error, 'status', '')}"


# when: the beat


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
    """The beat is fine enough for the shortest interval of all steps, and a second at most."""
    assert Ticks.of(PollPolicy(steps=steps), now=100.0, chance=0.0).length == length


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
def test_chance_decides_where_the_beat_falls(chance: float) -> None:
    """Tick 0 lies by chance within the last tick before now, so that many clients do not ask in step."""
    assert Ticks.of(_POLICY, now=100.0, chance=chance).at(0) == 100.0 - chance


def test_ticks_are_a_length_apart() -> None:
    """Tick n is n lengths after tick 0."""
    assert [Ticks(0.25, 100.0).at(tick) for tick in (-1, 0, 1, 8)] == [99.75, 100.0, 100.25, 102.0]


@given(_TICKS, st.integers(-10, 10**9))
def test_tick_is_its_own_first_and_last(ticks: Ticks, tick: int) -> None:
    """No error of floating-point numbers makes a tick out to be the one before or after, after years either."""
    assert ticks.first(ticks.at(tick)) == tick == ticks.last(ticks.at(tick))


@given(_TICKS, st.integers(0, 10**9), st.floats(0.001, 0.999))
def test_moment_between_two_ticks(ticks: Ticks, tick: int, part: float) -> None:
    """Between two ticks the last one is the one before, and the first one is the one after."""
    moment = ticks.at(tick) + part * ticks.length
    assert (ticks.last(moment), ticks.first(moment)) == (tick, tick + 1)


@given(_TICKS, st.floats(0.0, 1e9))
def test_first_tick_is_never_too_early_nor_a_tick_too_late(ticks: Ticks, after: float) -> None:
    """What waits for its first tick waits for less than a tick, and never comes before its time (but for rounding)."""
    when = ticks.phase + after
    waits = ticks.at(ticks.first(when)) - when
    assert -1e-5 * ticks.length <= waits < (1 + 1e-5) * ticks.length


@given(_TICKS, st.floats(0.0, 1e9))
def test_last_tick_has_come_and_the_next_one_has_not(ticks: Ticks, after: float) -> None:
    """The last tick is over or just now, and the one after it is still to come (but for rounding)."""
    now = ticks.phase + after
    last, rounding = ticks.last(now), 1e-5 * ticks.length
    assert ticks.at(last) <= now + rounding
    assert ticks.at(last + 1) > now - rounding


@pytest.mark.parametrize(("part", "tick"), [(0.0, 7), (0.05, 7), (0.099, 7), (0.101, 8), (0.5, 8)])
def test_part_of_a_tick_may_be_late(part: float, tick: int) -> None:
    """With a tenth allowed, whoever is less than a tenth of a tick late still counts as on the tick."""
    assert Ticks(0.5, 3.3).first(3.3 + (7 + part) * 0.5, late=0.1) == tick


# when: the next look

_BEAT = Ticks(1.0)


def after_good(age: float, policy: PollPolicy = _POLICY, *, hooked: bool = False, took: float = 0.0) -> float:
    """Return the seconds from asking, `age` seconds after tick 1000, to the next look, if all goes well."""
    asked = 1000.0 + age
    tick = next_look(policy, _BEAT, began=1000.0, asked=asked, now=asked + took, hooked=hooked)
    return _BEAT.at(tick) - asked


def after_trouble(took: float, trouble: A2EError, policy: PollPolicy = _POLICY) -> float:
    """Return the seconds from asking, at a tick, to the next look, if trouble came some seconds later."""
    tick = next_look(policy, _BEAT, began=1000.0, asked=1000.0, now=1000.0 + took, trouble=trouble)
    return _BEAT.at(tick) - 1000.0


@pytest.mark.parametrize(
    ("age", "pause"), [(0, 2), (59, 2), (60, 5), (299, 5), (300, 10), (10**6, 10)], ids=lambda value: f"{value:g}"
)
def test_interval_grows_with_the_age_of_the_wait(age: float, pause: float) -> None:
    """A task is asked about as often as the step of its age says."""
    assert after_good(age) == pause


def test_age_before_the_first_step_uses_the_first() -> None:
    """Steps that begin late, or a clock that is a little behind, leave no gap in which nothing is asked."""
    assert after_good(0.0, PollPolicy(steps=((10.0, 3.0),))) == 3.0


@pytest.mark.parametrize(
    ("backstop", "age", "pause"), [(30.0, 0, 30), (30.0, 400, 30), (7.0, 0, 7), (7.0, 400, 10)], ids=str
)
def test_hooked_task_is_looked_at_as_a_backstop_only(backstop: float, age: float, pause: float) -> None:
    """A webhook will tell, so the backstop counts, or the interval of the task's age if that is longer."""
    policy = PollPolicy(steps=_POLICY.steps, backstop=backstop)
    assert after_good(age, policy, hooked=True) == pause


def test_backstop_is_for_hooked_tasks_only() -> None:
    """Where no webhook was asked for, the backstop slows nothing down."""
    assert after_good(0.0, PollPolicy(steps=_POLICY.steps, backstop=1000.0)) == 2.0


@pytest.mark.parametrize("took", [0.0, 0.5, 1.9])
def test_good_answer_counts_from_asking(took: float) -> None:
    """However long the answer took, as long as it is shorter than the interval, the beat of the questions stays."""
    assert after_good(0.0, took=took) == 2.0


def test_answer_slower_than_the_interval_leads_to_a_tick_to_come() -> None:
    """A task is due at a tick and never between two, also if its answer took longer than its interval."""
    assert after_good(0.0, took=3.4) == 4.0


@pytest.mark.parametrize(("took", "pause"), [(0.0, 2.0), (0.05, 2.0), (0.5, 3.0), (20.0, 22.0), (20.3, 23.0)])
def test_trouble_counts_from_the_failure(took: float, pause: float) -> None:
    """A question that hung for 20 s is not repeated at once: the interval begins with its failure."""
    assert after_trouble(took, NetworkError("cut")) == pause


@pytest.mark.parametrize(
    ("late", "pause"), [(0.0, 2.0), (0.05, 2.0), (0.09, 2.0), (0.11, 3.0), (0.5, 3.0), (0.95, 3.0)]
)
def test_small_delay_does_not_shift_a_task_to_the_next_tick(late: float, pause: float) -> None:
    """Late by less than a tenth of a tick counts as on the tick, so a busy event loop does not stretch intervals."""
    tick = next_look(_POLICY, _BEAT, began=1000.0, asked=1000.0 + late, now=1000.0 + late)
    assert _BEAT.at(tick) == 1000.0 + pause


@given(_TICKS, st.integers(0, 10**6), st.floats(0.01, 100.0), st.floats(0.0, 0.1), st.booleans())
def test_never_sooner_than_the_interval(
    ticks: Ticks,
    tick: int,
    interval: float,
    late: float,
    hooked: bool,  # noqa: FBT001  drawn by hypothesis
) -> None:
    """Between two questions that come on their ticks there is at least the interval, and less than a tick more."""
    policy = PollPolicy(steps=((0.0, interval),), backstop=interval)
    asked = ticks.at(tick) + 0.99 * late * ticks.length
    again = next_look(policy, ticks, began=0.0, asked=asked, now=asked, hooked=hooked)
    pause, rounding = ticks.at(again) - ticks.at(tick), 1e-5 * ticks.length
    assert interval - rounding <= pause <= interval + ticks.length + rounding


@given(_TICKS, st.floats(0.0, 1e6), st.floats(0.01, 100.0))
def test_asked_between_two_ticks_is_asked_at_one_again(ticks: Ticks, after: float, interval: float) -> None:
    """Who was asked about off the beat comes back to it, after the interval less a tenth of a tick at the soonest."""
    asked = ticks.phase + after
    again = next_look(PollPolicy(steps=((0.0, interval),)), ticks, began=0.0, asked=asked, now=asked)
    pause, rounding = ticks.at(again) - asked, 1e-5 * ticks.length
    assert interval - 0.1 * ticks.length - rounding <= pause <= interval + 2 * ticks.length + rounding


@given(_TICKS, st.floats(0.0, 1e6), st.floats(0.0, 60.0), st.floats(0.01, 100.0), st.booleans())
def test_next_look_is_never_over(
    ticks: Ticks,
    after: float,
    took: float,
    interval: float,
    good: bool,  # noqa: FBT001  drawn by hypothesis
) -> None:
    """However long an answer or trouble took, the next look is at a tick that is not over (but for rounding)."""
    asked = ticks.phase + after
    now, trouble = asked + took, None if good else NetworkError("cut")
    policy = PollPolicy(steps=((0.0, interval),))
    again = next_look(policy, ticks, began=0.0, asked=asked, now=now, trouble=trouble)
    assert ticks.at(again) >= now - 1e-5 * ticks.length


@given(_TICKS, st.floats(0.0, 1e6), st.floats(0.0, 30.0), st.floats(0.0, 86400.0))
def test_retry_after_is_never_shortened(ticks: Ticks, asked: float, took: float, wanted: float) -> None:
    """The next look after trouble comes no earlier than A2E asked for, counted from its answer (but for rounding)."""
    now = asked + took
    trouble = RateLimitError("slow down", status=429, retry_after=wanted)
    again = next_look(_POLICY, ticks, began=0.0, asked=asked, now=now, trouble=trouble)
    assert ticks.at(again) >= now + wanted - 1e-5 * ticks.length


@pytest.mark.parametrize(("asked", "pause"), [(None, 2.0), (0.0, 2.0), (1.0, 2.0), (10.2, 11.0), (100.0, 100.0)])
def test_retry_after_is_obeyed_by_the_schedule(asked: float | None, pause: float) -> None:
    """The next look comes at the first tick that both A2E and the schedule allow."""
    assert after_trouble(0.0, RateLimitError("slow down", status=429, retry_after=asked)) == pause


def test_retry_after_counts_from_the_answer() -> None:
    """Seconds that A2E asks for begin when it asks."""
    assert after_trouble(3.0, BusyError("occupied", status=200, retry_after=10.0)) == 13.0


def test_odd_retry_after_is_bounded_by_a_day() -> None:
    """A header of any size ends no wait and breaks nothing: after a day, one looks again."""
    trouble = RateLimitError("slow down", status=429, retry_after=1.7e308)
    assert next_look(_POLICY, Ticks(0.5), began=0.0, asked=0.0, now=0.0, trouble=trouble) == 2 * 86400


@pytest.mark.parametrize("trouble", [NetworkError("cut"), UnexpectedResponseError("page", status=502)], ids=named)
def test_trouble_that_asks_for_nothing_leaves_the_schedule(trouble: A2EError) -> None:
    """After a network error the next look comes when it would have come anyhow."""
    assert after_trouble(0.0, trouble) == 2.0


# how: what trouble with a question about several tasks means


_PAGE = b"<!doctype html><html>"
_CUT = b'{"code":0,"data":[{"_id'

_TROUBLE = [
    NetworkError("cut"),
    NetworkError("no route", request_sent=False),
    ServerError("down", status=500),
    ServerError("down", status=503),
    ServerError("slow", status=408),
    UnexpectedResponseError("cut", status=200, body=_CUT),
    UnexpectedResponseError("empty", status=200),
    UnexpectedResponseError("nobody knows"),
    UnexpectedResponseError("a gateway's page", status=502, body=_PAGE),
]
_LATER = [
    BusyError("occupied", status=200),
    RateLimitError("slow down", status=429),
    RateLimitError("too many requests", status=403),
    ServerError("down", status=503, retry_after=3.0),
    APIError("refused", status=403, retry_after=3.0),
]
_NO_SUCH = [
    NotFoundError("no such operation", status=404),
    TaskNotFoundError("no such operation", status=404),
    PlanError("not in your plan", status=403),
    APIError("refused", status=403),
    APIError("Request failed", status=200, code=-1),
    InsufficientCreditsError("no coins", status=402),
    ContentRejectedError("refused", status=403),
    UnexpectedResponseError("a page", status=200, body=_PAGE),
    UnexpectedResponseError("a page after white space", status=200, body=b" \r\n" + _PAGE),
    UnexpectedResponseError("wrong route", status=404, body=_PAGE),
    UnexpectedResponseError("wrong route", status=405, body=_PAGE),
    UnexpectedResponseError("a proxy's page", status=400, body=_PAGE),
    BadRequestError("wrong method", status=405),
    BadRequestError("gone", status=410),
    UnexpectedResponseError("redirect to a login", status=302),
    UnexpectedResponseError("no page", status=418, body=b"teapot"),
]
_TOO_MANY = [
    BadRequestError("too many ids", status=400),
    BadRequestError("too many ids", status=200, code=400),
    BadRequestError("too many ids", status=422),
    BadRequestError("too large", status=413),
    UnexpectedResponseError("too large", status=413, body=_PAGE),
    UnexpectedResponseError("too long", status=414, body=_PAGE),
]
_NO_USE = [
    AuthenticationError("token", status=401),
    AuthenticationError("token", status=403),
    ClientClosedError("closed"),
    ConfigurationError("base_url"),
    InvalidRequestError("ids"),
]
_MEANINGS = [
    *((error, Meaning.TROUBLE) for error in _TROUBLE),
    *((error, Meaning.LATER) for error in _LATER),
    *((error, Meaning.NO_SUCH) for error in _NO_SUCH),
    *((error, Meaning.TOO_MANY) for error in _TOO_MANY),
    *((error, Meaning.NO_USE) for error in _NO_USE),
]


@pytest.mark.parametrize(
    ("error", "expected"), _MEANINGS, ids=lambda value: named(value) if isinstance(value, A2EError) else value.name
)
def test_meaning_of_trouble_with_several(error: A2EError, expected: Meaning) -> None:
    """Every error that a request can end with means one thing: ask again, later, fewer, another way, or no more."""
    assert meaning(error) is expected


def test_table_of_meanings_is_complete() -> None:
    """No class of error that a request can end with is missing from the table above."""
    requests = {APIError, NetworkError, UnexpectedResponseError, ClientClosedError, ConfigurationError}
    requests |= {InvalidRequestError, *APIError.__subclasses__(), TaskNotFoundError}
    assert {type(error) for error, _ in _MEANINGS} == requests


_WIRE = [
    pytest.param(404, b'{"message":"Cannot POST /api/v1"}', Meaning.NO_SUCH, id="404 JSON"),
    pytest.param(404, b"404 page not found", Meaning.NO_SUCH, id="404 text"),
    pytest.param(404, _PAGE, Meaning.NO_SUCH, id="404 page"),
    pytest.param(405, _PAGE, Meaning.NO_SUCH, id="405 page"),
    pytest.param(200, _PAGE, Meaning.NO_SUCH, id="200 page"),
    pytest.param(302, b"", Meaning.NO_SUCH, id="redirect"),
    pytest.param(400, b'{"code":400,"msg":"ids: at most 50"}', Meaning.TOO_MANY, id="400"),
    pytest.param(413, _PAGE, Meaning.TOO_MANY, id="413 page"),
    pytest.param(500, _PAGE, Meaning.TROUBLE, id="500 page"),
    pytest.param(502, b"Bad Gateway", Meaning.TROUBLE, id="502 text"),
    pytest.param(429, b"slow down", Meaning.LATER, id="429"),
    pytest.param(200, _CUT, Meaning.TROUBLE, id="cut"),
    pytest.param(401, b'{"msg":"token"}', Meaning.NO_USE, id="401"),
    pytest.param(405, b'{"message":"Method Not Allowed"}', Meaning.NO_SUCH, id="405 JSON"),
    pytest.param(405, b"Method Not Allowed", Meaning.NO_SUCH, id="405 text"),
    pytest.param(410, b'{"message":"Gone"}', Meaning.NO_SUCH, id="410 JSON"),
    pytest.param(
        200,
        b"\xef\xbb\xbf" + _PAGE,
        Meaning.NO_SUCH,
        id="page with a BOM",
    ),
]


@pytest.mark.parametrize(("status", "body", "expected"), _WIRE)
def test_meaning_of_an_answer_as_it_comes(status: int, body: bytes, expected: Meaning) -> None:
    """From the bytes of an answer to its meaning: 404, 405 and pages say that the operation is not there."""
    with pytest.raises(A2EError) as caught:
        decode(Response(status=status, body=body))
    assert meaning(caught.value) is expected


# how: whether several can be asked about at once


def test_route_begins_open_and_with_full_batches() -> None:
    """Without bad news, several are asked about at once, as many as A2E's reference allows."""
    route = Route()
    assert (route.is_open(-1e9), route.is_open(0.0), route.size, route.is_doubtful) == (True, True, BATCH, False)


def test_closed_route_is_tried_again_after_a_minute() -> None:
    """Asking another way lasts a minute."""
    route = Route()
    route.close(1000.0)
    assert [route.is_open(1000.0 + after) for after in (0.0, 59.9, 60.0)] == [False, False, True]


def pauses(route: Route, count: int) -> list[float]:
    """Close a route as soon as it is open, again and again, and return for how long it was closed each time."""
    now, found = 0.0, []
    for _ in range(count):
        route.close(now)
        pause = next(seconds for seconds in range(1, 10_000) if route.is_open(now + seconds))
        found.append(float(pause))
        now += pause
    return found


def test_pause_doubles_up_to_an_hour() -> None:
    """What never works is tried ever more seldom, but every hour in the end."""
    assert pauses(Route(), 9) == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_closing_a_closed_route_changes_nothing() -> None:
    """Ten questions that fail together close the route once, for one minute, and the next time for two."""
    route = Route()
    for after in range(10):
        route.close(1000.0 + after)
    assert not route.is_open(1059.9)
    assert route.is_open(1060.0)
    route.close(1060.0)
    assert not route.is_open(1179.9)
    assert route.is_open(1180.0)


def test_answer_that_helps_shortens_the_pause_again() -> None:
    """Once it has worked, the next closing lasts a minute only."""
    route = Route()
    pauses(route, 4)
    route.helped()
    route.close(1e6)
    assert not route.is_open(1e6 + 59.9)
    assert route.is_open(1e6 + 60.0)


def test_new_route_lets_many_questions_run_side_by_side() -> None:
    """As long as the operation was never given up, a question under way hinders no other."""
    route = Route()
    route.begin()
    assert route.is_open(0.0)
    assert not route.is_on_trial


def test_route_on_trial_lets_one_question_try() -> None:
    """After the pause, the others ask another way while one question tries whether it works again."""
    route = Route()
    route.close(0.0)
    assert route.is_open(60.0)
    route.begin()
    assert not route.is_open(60.0)
    route.end()
    assert route.is_open(60.0)


def test_trial_ends_when_it_helps() -> None:
    """The first answer that helps ends the trial: all ask about several at once again."""
    route = Route()
    route.close(0.0)
    assert (route.is_on_trial, route.is_doubtful) == (True, True)
    route.begin()
    route.helped()
    route.end()
    assert (route.is_on_trial, route.is_doubtful) == (False, False)
    route.begin()
    assert route.is_open(60.0)


def test_trial_goes_on_when_it_fails() -> None:
    """A trial that fails is followed by a longer pause, and by another trial."""
    route = Route()
    route.close(0.0)
    route.begin()
    route.let_down()
    route.end()
    route.close(60.0)
    assert route.is_on_trial
    assert not route.is_open(179.9)
    assert route.is_open(180.0)


def test_size_shrinks_and_is_restored_after_ten_minutes() -> None:
    """A size that A2E has refused is not tried for ten minutes."""
    route = Route()
    route.shrink(25, 1000.0)
    sizes = []
    for after in (0.0, 599.9, 600.0):
        assert route.is_open(1000.0 + after)
        sizes.append(route.size)
    assert sizes == [25, 25, BATCH]


def test_size_never_grows_by_shrinking() -> None:
    """A larger number than the one that A2E has allowed changes nothing but the time."""
    route = Route()
    route.shrink(25, 1000.0)
    route.shrink(50, 1300.0)
    assert route.is_open(1899.9)
    assert route.size == 25
    assert route.is_open(1900.0)
    assert route.size == BATCH


def test_size_is_restored_while_the_route_is_closed() -> None:
    """The two lessons are independent: time heals the size also if nobody asks about several meanwhile."""
    route = Route()
    route.shrink(25, 0.0)
    pauses(route, 4)
    route.close(900.0)
    assert not route.is_open(900.0)
    assert route.size == BATCH


def test_three_questions_in_a_row_that_told_nothing_make_doubtful() -> None:
    """The third one raises the question whether the operation works."""
    route, doubts = Route(), []
    for _ in range(3):
        route.let_down()
        doubts.append(route.is_doubtful)
    assert doubts == [False, False, True]


def test_doubt_ends_with_an_answer_that_helps() -> None:
    """However often nothing was told, one good answer ends the doubt."""
    route = Route()
    for _ in range(5):
        route.let_down()
    route.helped()
    assert (route.useless, route.is_doubtful) == (0, False)


# what an answer about one task means


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

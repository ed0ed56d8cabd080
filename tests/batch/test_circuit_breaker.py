"""Circuit breaker: a batch that cannot start pauses, lets one job at a time probe, and continues."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from a2e_async.batch.circuit_breaker import CircuitBreaker, StoppedError, TrippedError
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BusyError,
    ClientClosedError,
    InvalidRequestError,
    PlanError,
    ServerError,
    SubmissionUncertainError,
    TransferError,
    UnexpectedResponseError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def now() -> float:
    """Return the virtual seconds since the test began."""
    loop: Any = asyncio.get_running_loop()
    elapsed: float = loop.clock.elapsed
    return round(elapsed, 6)


def make_tripped() -> CircuitBreaker:
    """Make a breaker that was just tripped."""
    breaker = CircuitBreaker()
    breaker.trip(A2EError("no coins"), probe=False)
    return breaker


async def probe(breaker: CircuitBreaker, *, fails: bool = True) -> float:
    """Probe, and find that no start is possible, or find out nothing; return the time of the attempt."""
    assert await breaker.probe()
    if fails:
        breaker.trip(A2EError("no coins"), probe=True)
    breaker.end_probe()
    return now()


async def job(breaker: CircuitBreaker, log: list[tuple[float, bool]]) -> None:
    """Wait at the breaker, and log the time and whether the job is the probe. A probe fails."""
    is_probe = await breaker.probe()
    log.append((now(), is_probe))
    if is_probe:
        breaker.trip(A2EError("no coins"), probe=True)
        breaker.end_probe()


# closed


async def test_closed_breaker_delays_no_job() -> None:
    """While starts are possible, all jobs go on at once, and none of them is a probe."""
    breaker = CircuitBreaker()
    assert [await breaker.probe() for _ in range(5)] == [False] * 5
    assert now() == 0


# tripped


async def test_delays_grow() -> None:
    """The first probe comes after 5 seconds; each failed probe doubles the delay, up to 5 minutes."""
    breaker = make_tripped()
    times = [0.0, *[await probe(breaker) for _ in range(9)]]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [
        5, 10, 20, 40, 80, 160, 300, 300, 300,
    ]  # fmt: skip


async def test_one_probe_at_a_time() -> None:
    """However many jobs wait, one probes, and the next one only after that and after another delay."""
    breaker = make_tripped()
    log: list[tuple[float, bool]] = []
    jobs = [asyncio.create_task(job(breaker, log)) for _ in range(10)]
    await asyncio.sleep(75.5)
    assert log == [(5, True), (15, True), (35, True), (75, True)]
    for each in jobs:
        each.cancel()


async def test_next_probe_waits_for_the_end_of_the_last_one() -> None:
    """No job probes while another probe is still under way, however long that takes."""
    breaker = make_tripped()
    assert await breaker.probe()
    second = asyncio.create_task(breaker.probe())
    await asyncio.wait({second}, timeout=3600)
    assert not second.done()
    breaker.end_probe()
    assert await second
    assert now() == 3610


async def test_probe_that_finds_out_nothing_keeps_the_delay() -> None:
    """A probe that fails for a reason of its own job leaves the delay unchanged."""
    breaker = make_tripped()
    assert await probe(breaker) == 5
    assert await probe(breaker, fails=False) == 15
    assert await probe(breaker) == 25
    assert await probe(breaker) == 45


async def test_jobs_take_turns_as_probes() -> None:
    """After a failed probe its job is the last one in the queue, so that one bad job does not keep the others from probing."""
    log: list[str] = []

    async def work(breaker: CircuitBreaker, name: str) -> None:
        while True:
            await probe(breaker)
            log.append(name)

    breaker = make_tripped()
    jobs = [asyncio.create_task(work(breaker, name)) for name in "abc"]
    await asyncio.sleep(600)
    for each in jobs:
        each.cancel()
    assert "".join(log) == "abcabc"


async def test_cancelled_probe_is_replaced() -> None:
    """A probe that is cancelled, during its delay or after it, does not block the others forever."""
    breaker = make_tripped()
    first, second = (asyncio.create_task(breaker.probe()) for _ in range(2))
    await asyncio.sleep(3)
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert await second
    assert now() == 8
    breaker.end_probe()
    assert await probe(breaker) == 13


async def test_cancelled_job_in_the_queue_changes_nothing() -> None:
    """A job that waits behind the probe and is cancelled changes nothing for the probe."""
    breaker = make_tripped()
    first, second = (asyncio.create_task(breaker.probe()) for _ in range(2))
    await asyncio.sleep(1)
    second.cancel()
    await asyncio.wait({second})
    assert await first
    assert now() == 5


def test_reason_is_the_last_one() -> None:
    """The reason is that of the last failure, and empty after a reset."""
    breaker = make_tripped()
    assert breaker.reason == "no coins"
    breaker.trip(A2EError("A2E is busy"), probe=False)
    assert breaker.reason == "A2E is busy"
    breaker.reset()
    assert breaker.reason == ""


async def test_late_failures_do_not_lengthen_the_delay() -> None:
    """Starts that were sent before the breaker tripped, and fail after that, leave the delay unchanged."""
    breaker = make_tripped()
    first = asyncio.create_task(probe(breaker))
    await asyncio.sleep(1)
    for _ in range(3):
        breaker.trip(A2EError("no coins"), probe=False)
    assert await first == 5
    assert await probe(breaker) == 15


# reset


async def test_reset_releases_all_jobs() -> None:
    """When the probe has succeeded, all jobs go on at once, and none of them is a probe."""
    breaker = make_tripped()
    assert await breaker.probe()
    log: list[tuple[float, bool]] = []
    async with asyncio.TaskGroup() as jobs:
        for _ in range(10):
            jobs.create_task(job(breaker, log))
        await asyncio.sleep(1)
        breaker.reset()
        breaker.end_probe()
    assert log == [(6, False)] * 10


async def test_probe_after_a_reset_blocks_no_job() -> None:
    """After a reset, a probe that has not ended yet delays no other job."""
    breaker = make_tripped()
    assert await breaker.probe()
    breaker.reset()
    assert not await breaker.probe()
    assert now() == 5
    breaker.end_probe()


async def test_reset_ends_the_delay_of_the_probe() -> None:
    """A job that waits to become the probe goes on at the reset, before its delay is over."""
    breaker = make_tripped()
    waiting = asyncio.create_task(breaker.probe())
    await asyncio.sleep(1)
    breaker.reset()
    assert not await waiting
    assert now() == 1


async def test_next_pause_begins_with_the_short_delay() -> None:
    """After a reset, a breaker that trips again begins with the first delay."""
    breaker = make_tripped()
    for _ in range(5):
        await probe(breaker)
    breaker.reset()
    breaker.trip(A2EError("busy"), probe=False)
    before = now()
    assert await probe(breaker) == before + 5
    assert await probe(breaker) == before + 15


# attempts

UNCERTAIN = SubmissionUncertainError("its answer is lost")
BUSY = BusyError("A2E is busy", status=400)
BAD = BadRequestError("no face", status=400)
NO_TOKEN = AuthenticationError("wrong token", status=401)


@attrs.define
class Attempts:
    """Attempts of one job: each raises the next error, and the last one returns its number."""

    breaker: CircuitBreaker
    errors: Sequence[Exception] = ()
    probes: list[bool] = attrs.field(factory=list)

    async def __call__(self, probe: bool) -> int:  # noqa: FBT001  called by the breaker
        """Make an attempt."""
        self.probes.append(probe)
        if len(self.probes) <= len(self.errors):
            raise self.errors[len(self.probes) - 1]
        return len(self.probes)


async def test_success_is_returned() -> None:
    """A closed breaker makes one attempt, and returns its result."""
    breaker = CircuitBreaker()
    attempts = Attempts(breaker)
    assert await breaker.call(attempts) == 1
    assert (attempts.probes, breaker.reason, now()) == ([False], "", 0)


async def test_failure_of_all_jobs_is_attempted_again() -> None:
    """After a failure that concerns all jobs, the job waits, probes until it succeeds, and closes the breaker."""
    breaker = CircuitBreaker()
    attempts = Attempts(breaker, [BUSY] * 4)
    assert await breaker.call(attempts) == 5
    assert (attempts.probes, breaker.reason, now()) == ([False, True, True, True, True], "", 5 + 10 + 20 + 40)


async def test_failure_of_one_job_is_raised() -> None:
    """A failure that concerns one job only is raised, and does not trip the breaker."""
    breaker = CircuitBreaker()
    with pytest.raises(BadRequestError):
        await breaker.call(Attempts(breaker, [BAD]))
    assert (breaker.reason, breaker.stopped, now()) == ("", None, 0)


async def test_failure_of_the_probe_alone_keeps_the_breaker_tripped() -> None:
    """A probe that fails for a reason of its own job lets the next job probe, after the same delay."""
    breaker = make_tripped()
    with pytest.raises(BadRequestError):
        await breaker.call(Attempts(breaker, [BAD]))
    assert (breaker.reason, now()) == ("no coins", 5)
    assert await probe(breaker) == 10


async def test_older_success_does_not_close_the_breaker() -> None:
    """A start that was sent before the breaker tripped says nothing about the present."""
    breaker = CircuitBreaker()

    async def trip(_: bool) -> None:  # noqa: FBT001  called by the breaker
        breaker.trip(A2EError("no coins"), probe=False)

    await breaker.call(trip)
    assert breaker.reason == "no coins"


async def test_attempt_that_finds_the_breaker_tripped_waits() -> None:
    """A job that has waited for its slot until the breaker was tripped becomes a probe later, without a failure."""
    breaker = CircuitBreaker()

    async def attempt(probe: bool) -> bool:  # noqa: FBT001  called by the breaker
        if not probe:
            breaker.trip(A2EError("no coins"), probe=False)
        breaker.check(probe=probe)
        return probe

    assert await breaker.call(attempt)
    assert (breaker.reason, now()) == ("", 5)


async def test_free_attempt_does_not_wait_first() -> None:
    """An attempt that costs nothing is made at once, also while the breaker is tripped; the next one waits."""
    breaker = make_tripped()
    attempts = Attempts(breaker, [BUSY])
    assert await breaker.call(attempts, costs=False) == 2
    assert (attempts.probes, now()) == ([False, True], 5)


def make_broken_upload() -> TransferError:
    """Make the error of an upload that every job would get."""
    error = TransferError("the storage is out of reach")
    error.__cause__ = ServerError("x", status=500)
    return error


@pytest.mark.parametrize("others_succeed", [False, True])
async def test_upload_that_keeps_failing_is_given_up(*, others_succeed: bool) -> None:
    """A failed upload is its job's own fault after three tries, if the job is alone or others succeed meanwhile."""
    breaker, tried = CircuitBreaker(), 0

    async def fail(_: bool) -> None:  # noqa: FBT001  called by the breaker
        nonlocal tried
        tried += 1
        if others_succeed:
            await breaker.call(Attempts(breaker), costs=False)
        raise make_broken_upload()

    others = [asyncio.create_task(breaker.call(lambda _: asyncio.sleep(1e6))) for _ in range(others_succeed)]
    await asyncio.sleep(1)
    with pytest.raises(TransferError):
        await breaker.call(fail)
    assert tried == 3
    for other in others:
        other.cancel()


async def test_failure_among_failing_jobs_is_not_counted() -> None:
    """While other jobs attempt something too and none succeeds, no job is given up."""
    breaker = CircuitBreaker()
    waiting = asyncio.create_task(breaker.call(Attempts(breaker, [BUSY] * 1000)))
    await asyncio.sleep(1)
    other = asyncio.create_task(breaker.call(Attempts(breaker, [make_broken_upload()] * 1000)))
    await asyncio.sleep(3600)
    assert not other.done()
    for each in (waiting, other):
        each.cancel()


async def test_one_unknown_outcome_is_raised() -> None:
    """One start with an unknown outcome is not repeated, and does not trip the breaker."""
    breaker = CircuitBreaker()
    with pytest.raises(SubmissionUncertainError):
        await breaker.call(Attempts(breaker, [UNCERTAIN]))
    assert breaker.reason == ""


async def test_second_unknown_outcome_in_a_row_trips_the_breaker() -> None:
    """A second unknown outcome trips the breaker, unless a start has succeeded in between."""
    breaker, tripped = CircuitBreaker(), []
    for errors in ([UNCERTAIN], [], [UNCERTAIN], [UNCERTAIN]):
        with contextlib.suppress(SubmissionUncertainError):
            await breaker.call(Attempts(breaker, errors))
        tripped.append(bool(breaker.reason))
    assert tripped == [False, False, False, True]


async def test_unknown_outcome_of_an_earlier_run_is_not_counted() -> None:
    """A reconciliation that does not find its task says nothing about the starts of this run."""
    breaker = CircuitBreaker()
    for costs in (False, False, True, False):
        with pytest.raises(SubmissionUncertainError):
            await breaker.call(Attempts(breaker, [UNCERTAIN]), costs=costs)
    assert breaker.reason == ""


async def test_cancelled_attempt_is_not_counted() -> None:
    """A cancelled probe lets the next job probe."""
    breaker = make_tripped()
    hanging = asyncio.create_task(breaker.call(lambda _: asyncio.sleep(3600)))
    await asyncio.sleep(10)
    hanging.cancel()
    await asyncio.wait({hanging})
    assert await probe(breaker) == 15


# stopped


@pytest.mark.parametrize("error", [PlanError("upgrade to Pro", status=403), ClientClosedError("closed")], ids=repr)
async def test_failure_of_the_account_stops_the_batch(error: A2EError) -> None:
    """If the plan does not allow starts, or the client is closed, the batch stops at once, with that error."""
    breaker = CircuitBreaker()
    with pytest.raises(StoppedError) as caught:
        await breaker.call(Attempts(breaker, [error]))
    assert caught.value.reason is breaker.stopped is error
    assert now() == 0


@pytest.mark.parametrize("stops", [False, True])
async def test_wrong_token_is_believed_the_second_time(*, stops: bool) -> None:
    """A 401 pauses the batch, also with on_shortage="stop"; if the probe gets one too, the batch stops."""
    breaker = CircuitBreaker(stops=stops)
    attempts = Attempts(breaker, [NO_TOKEN, NO_TOKEN])
    with pytest.raises(StoppedError) as caught:
        await breaker.call(attempts)
    assert caught.value.reason is breaker.stopped is NO_TOKEN
    assert (attempts.probes, now()) == ([False, True], 5)


@pytest.mark.parametrize("stops", [False, True])
async def test_single_401_of_a_gateway_fails_no_job(*, stops: bool) -> None:
    """After a single 401 the job tries again, and the batch continues; a later one is a first one again."""
    breaker = CircuitBreaker(stops=stops)
    for _ in range(3):
        assert await breaker.call(Attempts(breaker, [NO_TOKEN])) == 2
    assert (breaker.stopped, breaker.reason) == (None, "")


async def test_401_of_starts_under_way_is_one_401() -> None:
    """Starts that were sent together, and all get a 401, do not stop the batch: a hiccup can hit all of them."""
    breaker = CircuitBreaker()

    async def attempt(_: bool) -> float:  # noqa: FBT001  called by the breaker
        await asyncio.sleep(1)
        if now() == 1:
            raise NO_TOKEN
        return now()

    assert await asyncio.gather(*(breaker.call(attempt) for _ in range(4))) == [7, 8, 8, 8]
    assert breaker.stopped is None


async def test_first_401_of_a_probe_is_not_believed() -> None:
    """A probe after another failure, such as missing credits, that gets a 401 for the first time does not stop the batch."""
    breaker = CircuitBreaker()
    assert await breaker.call(Attempts(breaker, [BUSY, NO_TOKEN])) == 3
    assert breaker.stopped is None


# the same refusal again and again

REFUSED = APIError("Ihr Tarif erlaubt das nicht", status=403, code=4711)


async def reject_each(breaker: CircuitBreaker, *errors: A2EError) -> list[bool]:
    """Let one job after the other fail for a reason of its own, and return whether the breaker was tripped after each."""
    tripped = []
    for error in errors:
        with contextlib.suppress(type(error), StoppedError):
            await breaker.call(Attempts(breaker, [error]))
        tripped.append(bool(breaker.reason))
    return tripped


async def test_same_refusal_five_times_in_a_row_trips_the_breaker() -> None:
    """If five jobs in a row get the same answer, the batch pauses."""
    breaker = CircuitBreaker()
    assert await reject_each(breaker, *[REFUSED] * 5) == [False] * 4 + [True]
    assert breaker.reason == str(REFUSED)


async def test_same_refusal_with_another_number_each_time() -> None:
    """The id of a request or a time in the answer does not make it another one."""
    texts = [f"disabled (request {number}f3a-77be, {number:02}:15 UTC)" for number in range(5)]
    refusals = [APIError(text, status=403, code=4711) for text in texts]
    assert await reject_each(CircuitBreaker(), *refusals) == [False] * 4 + [True]


@pytest.mark.parametrize(
    "other",
    [
        APIError("Ihr Tarif erlaubt das nicht", status=403, code=4712),
        APIError("Ihr Tarif erlaubt das nicht", status=400, code=4711),
        APIError("kein Gesicht", status=403, code=4711),
        ServerError("x", status=500),
        InvalidRequestError("no image"),
        None,
    ],
    ids=["code", "status", "text", "unknown outcome", "nothing sent", "accepted"],
)
async def test_another_answer_begins_a_new_count(other: A2EError | None) -> None:
    """Five refusals with another answer in between, or an accepted start, do not trip the breaker."""
    breaker = CircuitBreaker()
    await reject_each(breaker, *[REFUSED] * 4)
    if other is None:
        await breaker.call(Attempts(breaker))
    else:
        await reject_each(breaker, other)
    assert await reject_each(breaker, *[REFUSED] * 4) == [False] * 4


async def test_free_attempts_are_not_counted_as_refusals() -> None:
    """A list that cannot be read says nothing about starts, and a list that can be read does not either."""
    breaker = CircuitBreaker()
    await reject_each(breaker, *[REFUSED] * 4)
    for errors in ([], [REFUSED], [REFUSED]):
        with contextlib.suppress(APIError):
            await breaker.call(Attempts(breaker, errors), costs=False)
    assert breaker.reason == ""
    assert await reject_each(breaker, REFUSED) == [True]


async def test_accepted_probe_ends_the_pause_of_refusals() -> None:
    """Each probe that gets the same refusal fails its job and doubles the delay; the first accepted one ends the pause."""
    breaker = CircuitBreaker()
    await reject_each(breaker, *[REFUSED] * 8)
    assert now() == 5 + 10 + 20
    assert await breaker.call(Attempts(breaker)) == 1
    assert (breaker.reason, now()) == ("", 5 + 10 + 20 + 40)


async def test_refusal_after_the_longest_delay_stops_the_batch() -> None:
    """Forty jobs that all get the same refusal cost twelve requests: then the batch stops, and the others are skipped."""
    breaker = CircuitBreaker()
    jobs = [Attempts(breaker, [REFUSED]) for _ in range(40)]
    for job in jobs:
        with contextlib.suppress(APIError, StoppedError):
            breaker.check()
            await breaker.call(job)
    assert sum(len(job.probes) for job in jobs) == 12
    assert breaker.stopped is REFUSED
    assert now() == 5 + 10 + 20 + 40 + 80 + 160 + 300


async def test_same_refusal_stops_a_batch_that_must_not_wait() -> None:
    """With on_shortage="stop", the fifth equal refusal stops the batch."""
    breaker = CircuitBreaker(stops=True)
    await reject_each(breaker, *[REFUSED] * 5)
    assert breaker.stopped is REFUSED


# answers that cannot be read


def make_unreadable(body: bytes, status: int = 200) -> SubmissionUncertainError:
    """Make the error of a start whose answer has no task id."""
    error = SubmissionUncertainError("its answer is strange")
    error.__cause__ = UnexpectedResponseError("no task id", status=status, body=body)
    return error


@pytest.mark.parametrize(
    ("body", "status", "stops"),
    [
        (b'{"code":0,"data":{"_id":{}}}', 200, True),
        (b' {"code":0,"data":7}\n', 201, True),
        (b'{"code":0,"da', 200, False),
        (b"<html>maintenance</html>", 200, False),
        (b'{"code":0}', 302, False),
        (b"", 0, False),
    ],
)
async def test_second_answer_without_an_id_stops_the_batch(body: bytes, status: int, *, stops: bool) -> None:
    """If A2E itself answers two starts in a row without an id, the next one would cost coins as well: the batch stops."""
    breaker = CircuitBreaker()
    stopped = []
    for _ in range(2):
        with contextlib.suppress(SubmissionUncertainError):
            await breaker.call(Attempts(breaker, [make_unreadable(body, status)]))
        stopped.append(breaker.stopped is not None)
    assert stopped == [False, stops]
    assert breaker.unreadable.is_set() is stops
    assert bool(breaker.reason) is not stops
    if stops:
        assert str(breaker.stopped).startswith(
            "Nothing more is started: A2E answers starts in a form that is not known"
        )


async def test_breaker_that_stops_instead_of_pausing() -> None:
    """With on_shortage="stop", the failure that would trip the breaker stops the batch."""
    breaker = CircuitBreaker(stops=True)
    with pytest.raises(StoppedError) as caught:
        await breaker.call(Attempts(breaker, [BUSY]))
    assert (caught.value.reason, breaker.stopped, breaker.reason, now()) == (BUSY, BUSY, "", 0)


async def test_first_reason_of_a_stop_counts() -> None:
    """A batch that has stopped keeps its reason, and `check` raises it."""
    breaker = CircuitBreaker()
    breaker.stop(BUSY)
    breaker.stop(BAD)
    with pytest.raises(StoppedError) as caught:
        breaker.check()
    assert caught.value.reason is BUSY


def test_check_of_a_tripped_breaker() -> None:
    """While the breaker is tripped, a job may be started only if it is the probe."""
    breaker = make_tripped()
    breaker.check(probe=True)
    with pytest.raises(TrippedError):
        breaker.check(probe=False)


async def test_stop_releases_all_jobs() -> None:
    """After a stop no job waits for the end of a pause, now or later, for any reason."""
    breaker = make_tripped()
    waiting = [asyncio.create_task(breaker.probe()) for _ in range(5)]
    await asyncio.sleep(1)
    breaker.stop(A2EError("closed"))
    for is_probe in asyncio.as_completed(waiting):
        if await is_probe:
            breaker.end_probe()
    breaker.trip(A2EError("another reason"), probe=False)
    assert not await breaker.probe()
    assert now() == 1


async def test_failure_after_the_stop_blocks_no_job() -> None:
    """A start that was sent before the stop, and fails after it, delays no released job."""
    breaker = make_tripped()
    waiting = [asyncio.create_task(breaker.probe()) for _ in range(5)]
    await asyncio.sleep(1)
    breaker.reset()
    breaker.stop(A2EError("closed"))
    breaker.trip(A2EError("A2E is busy"), probe=False)
    assert await asyncio.gather(*waiting) == [False] * 5
    assert now() == 1


async def test_closed_breaker_that_is_stopped_never_blocks() -> None:
    """A breaker that trips after its stop delays no job."""
    breaker = CircuitBreaker()
    breaker.stop(A2EError("closed"))
    breaker.trip(A2EError("no coins"), probe=False)
    assert not await breaker.probe()
    assert now() == 0


# log


def test_pause_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning has the reason of the pause, another one its end. Attempts in between are not logged."""
    breaker = CircuitBreaker()
    with caplog.at_level(logging.INFO, "a2e_async"):
        breaker.reset()
        for _ in range(3):
            breaker.trip(A2EError("no coins"), probe=False)
        for _ in range(3):
            breaker.reset()
        breaker.trip(A2EError("A2E is busy"), probe=False)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "The batch is paused: no coins"),
        ("WARNING", "The batch continues"),
        ("WARNING", "The batch is paused: A2E is busy"),
    ]

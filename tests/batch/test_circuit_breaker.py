"""Circuit breaker: a batch that cannot start pauses, lets one job at a time probe, and continues."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any

from a2e_async.batch.circuit_breaker import CircuitBreaker

if TYPE_CHECKING:
    import pytest


def now() -> float:
    """Return the virtual seconds since the test began."""
    loop: Any = asyncio.get_running_loop()
    elapsed: float = loop.clock.elapsed
    return round(elapsed, 6)


def make_tripped() -> CircuitBreaker:
    """Make a breaker that was just tripped."""
    breaker = CircuitBreaker()
    breaker.trip("no coins", probe=False)
    return breaker


async def probe(breaker: CircuitBreaker, *, fails: bool = True) -> float:
    """Probe, and find that no start is possible, or find out nothing; return the time of the attempt."""
    assert await breaker.probe()
    if fails:
        breaker.trip("no coins", probe=True)
    breaker.end_probe()
    return now()


async def job(breaker: CircuitBreaker, log: list[tuple[float, bool]]) -> None:
    """Wait at the breaker, and log the time and whether the job is the probe. A probe fails."""
    is_probe = await breaker.probe()
    log.append((now(), is_probe))
    if is_probe:
        breaker.trip("no coins", probe=True)
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
    breaker.trip("A2E is busy", probe=False)
    assert breaker.reason == "A2E is busy"
    breaker.reset()
    assert breaker.reason == ""


async def test_late_failures_do_not_lengthen_the_delay() -> None:
    """Starts that were sent before the breaker tripped, and fail after that, leave the delay unchanged."""
    breaker = make_tripped()
    first = asyncio.create_task(probe(breaker))
    await asyncio.sleep(1)
    for _ in range(3):
        breaker.trip("no coins", probe=False)
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
    breaker.trip("busy", probe=False)
    before = now()
    assert await probe(breaker) == before + 5
    assert await probe(breaker) == before + 15


def test_attempting_jobs_are_counted() -> None:
    """The breaker counts the jobs that attempt something, and no longer those that have failed."""
    breaker = CircuitBreaker()
    assert breaker.attempting == 0
    with breaker.attempt(), breaker.attempt():
        assert breaker.attempting == 2
        with contextlib.suppress(KeyError), breaker.attempt():
            raise KeyError
        assert breaker.attempting == 2
    assert breaker.attempting == 0


def test_second_unknown_outcome_in_a_row_is_reported() -> None:
    """One start with an unknown outcome is not reported; a second one without a success between them is."""
    breaker = CircuitBreaker()
    assert [breaker.record_uncertain() for _ in range(3)] == [False, True, True]
    breaker.reset()
    assert [breaker.record_uncertain() for _ in range(2)] == [False, True]


def test_successes_are_counted() -> None:
    """Successes are counted, whether or not the breaker was tripped."""
    breaker = CircuitBreaker()
    breaker.reset()
    breaker.trip("busy", probe=False)
    assert breaker.successes == 1
    breaker.reset()
    assert breaker.successes == 2


# stopped


async def test_stop_releases_all_jobs() -> None:
    """After a stop no job waits for the end of a pause, now or later, for any reason."""
    breaker = make_tripped()
    waiting = [asyncio.create_task(breaker.probe()) for _ in range(5)]
    await asyncio.sleep(1)
    breaker.stop()
    for is_probe in asyncio.as_completed(waiting):
        if await is_probe:
            breaker.end_probe()
    breaker.trip("another reason", probe=False)
    assert not await breaker.probe()
    assert now() == 1


async def test_failure_after_the_stop_blocks_no_job() -> None:
    """A start that was sent before the stop, and fails after it, delays no released job."""
    breaker = make_tripped()
    waiting = [asyncio.create_task(breaker.probe()) for _ in range(5)]
    await asyncio.sleep(1)
    breaker.reset()
    breaker.stop()
    breaker.trip("A2E is busy", probe=False)
    assert await asyncio.gather(*waiting) == [False] * 5
    assert now() == 1


async def test_closed_breaker_that_is_stopped_never_blocks() -> None:
    """A breaker that trips after its stop delays no job."""
    breaker = CircuitBreaker()
    breaker.stop()
    breaker.trip("no coins", probe=False)
    assert not await breaker.probe()
    assert now() == 0


# log


def test_pause_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning has the reason of the pause, another one its end. Attempts in between are not logged."""
    breaker = CircuitBreaker()
    with caplog.at_level(logging.INFO, "a2e_async"):
        breaker.reset()
        for _ in range(3):
            breaker.trip("no coins", probe=False)
        for _ in range(3):
            breaker.reset()
        breaker.trip("A2E is busy", probe=False)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "The batch is paused: no coins"),
        ("WARNING", "The batch continues"),
        ("WARNING", "The batch is paused: A2E is busy"),
    ]

"""Early end of a batch: nothing more is started, starts being sent are recorded, and no work is left."""

from __future__ import annotations

import asyncio
import collections
import gc
import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from batches import (
    PRICE,
    ConcurrencyMeter,
    cancel_and_wait,
    collect_results,
    count_charges,
    finish_task,
    make_job,
    make_jobs,
    read_journal,
    run_batch,
    shorten_pauses,
    states_by_key,
    write_image,
)
from conditions import wait_until
from paid_starts import (
    LIST_PATH,
    charged_task_ids,
    count_requests,
    count_starts,
    faults_on_start,
    logged_warnings,
    make_client,
)

from a2e_async import A2EClient, ClientClosedError, SubmissionUncertainError
from a2e_async._aio import wait_for_background
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Iterator

    from a2e_async.batch import Batch, Job, JobResult

SLOW = Fault("delay", after=True, seconds=0.8)
"""A start that is charged at once and answered late."""


def batch_tasks() -> list[asyncio.Task[Any]]:
    """List the asyncio tasks of batches."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(("a2e-batch", "a2e-job", "a2e-journal"))]


async def assert_no_work_left(sandbox: Sandbox) -> None:
    """Check that no task of a batch and no request is at work any more."""
    assert not batch_tasks()
    before = len(sandbox.requests)
    await asyncio.sleep(0.1)
    assert len(sandbox.requests) == before


async def check_the_next_run(a2e: A2EClient, sandbox: Sandbox, items: list[Job], **options: Any) -> None:
    """Check that the next run finishes all jobs, and that each was paid once in all runs."""
    results = await run_batch(a2e, items, **options)
    assert {result.ok for result in results.values()} == {True}, states_by_key(results)
    assert count_charges(sandbox) == dict.fromkeys((item.key for item in items), 1)


async def begin(batch: Batch[Any], sandbox: Sandbox, count: int = 1) -> asyncio.Task[dict[str, JobResult[Any]]]:
    """Begin to iterate over a batch; return once A2E has charged a number of starts."""
    running = asyncio.create_task(collect_results(batch))
    await wait_until(lambda: len(sandbox.tasks) >= count)
    return running


async def test_leaving_the_loop_ends_the_batch(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """After `break` inside of `async with` no work is left, running tasks are alive at A2E, and the next run resumes."""
    items = [make_job("first"), *[make_job(f"k{n}", "") for n in range(20)]]

    async def read_jobs() -> AsyncIterator[Job]:
        yield items[0]
        await wait_until(lambda: sandbox.tasks)
        for item in items[1:]:
            yield item

    async with a2e.image_to_video.batch(read_jobs(), journal=journal, max_running=5) as batch:
        async for result in batch:
            assert result.key == "first"
            break
    await assert_no_work_left(sandbox)
    after = await read_journal(journal)
    assert {entry.task_id for entry in after.values() if entry.task_id} == {*sandbox.tasks}
    assert sum(not task.done for task in sandbox.tasks.values()) == sum(
        entry.state == "running" for entry in after.values()
    )
    assert len(sandbox.tasks) < 10
    await check_the_next_run(a2e, sandbox, items, journal=journal)


async def test_an_error_of_the_caller_ends_the_batch(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """An exception in the body of the loop is raised, and ends the batch before."""
    with pytest.raises(LookupError):
        async with a2e.image_to_video.batch(make_jobs(20), journal=journal, max_running=3) as batch:
            async for _ in batch:
                raise LookupError
    await assert_no_work_left(sandbox)
    await check_the_next_run(a2e, sandbox, make_jobs(20), journal=journal)


async def test_repeated_cancellation_is_not_refused(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A caller that is cancelled in every step, as anyio does, ends at once; its batch ends in the background."""
    sandbox.faults = faults_on_start(*[SLOW] * 20)
    running = await begin(a2e.image_to_video.batch(make_jobs(20), journal=journal), sandbox, 4)
    for _ in range(50):
        running.cancel()
        await asyncio.sleep(0)
    assert running.cancelled()
    assert batch_tasks()
    await wait_for_background()
    await assert_no_work_left(sandbox)
    after = [entry for entry in (await read_journal(journal)).values() if entry.marker]
    assert {(entry.task_id, entry.state) for entry in after} == {(task_id, "running") for task_id in sandbox.tasks}
    sandbox.faults = None
    await check_the_next_run(a2e, sandbox, make_jobs(20), journal=journal)
    assert count_starts(sandbox) == 20


async def test_the_answer_of_a_start_is_waited_for(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """If a batch ends while starts are being sent, it waits until their answers are in the journal, with ids and prices."""
    sandbox.faults = faults_on_start(*[SLOW] * 20)
    batch = a2e.image_to_video.batch(make_jobs(20), journal=journal, max_starts=3)
    first = asyncio.ensure_future(anext(batch))
    await wait_until(lambda: len(sandbox.tasks) == 3)
    await cancel_and_wait(first)
    await batch.aclose()
    await assert_no_work_left(sandbox)
    after = [entry for entry in (await read_journal(journal)).values() if entry.marker]
    assert {entry.task_id for entry in after} == {*sandbox.tasks}
    assert {(entry.state, entry.coins, entry.starts, entry.quoted) for entry in after} == {("running", PRICE, 1, None)}
    assert len(after) == 3
    sandbox.faults = None
    await check_the_next_run(a2e, sandbox, make_jobs(20), journal=journal)
    assert count_starts(sandbox) == 20


async def test_a_start_that_was_not_sent_is_not_looked_for(sandbox: Sandbox, journal: pathlib.Path) -> None:
    """Starts that a cancellation finds in the queue were not sent: the journal has them as new, and the next run sends them."""
    sandbox.faults = faults_on_start(SLOW)
    async with make_client(sandbox, pacing=attrs.evolve(quick.CONFIG.pacing, max_in_flight=1)) as a2e:
        batch = a2e.image_to_video.batch(make_jobs(3), journal=journal)
        running = await begin(batch, sandbox)
        await wait_until(lambda: [active.stage for active in batch.progress.active] == ["starting"] * 3)
        await cancel_and_wait(running)
        assert sorted(entry.state for entry in (await read_journal(journal)).values()) == ["new", "new", "running"]
        before = count_requests(sandbox, LIST_PATH)
        await check_the_next_run(a2e, sandbox, make_jobs(3), journal=journal)
    assert count_requests(sandbox, LIST_PATH) - before <= 1  # a journal that is not new can be an older copy


async def test_aclose_waits_for_the_answer_of_a_start(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """The same is true if `aclose` ends the batch between two results."""
    sandbox.faults = faults_on_start(None, SLOW)
    batch = a2e.image_to_video.batch([make_job("a"), make_job("b")], journal=journal, max_running=1)
    first = (await anext(batch)).key
    await wait_until(lambda: len(sandbox.tasks) == 2)
    await batch.aclose()
    entry = (await read_journal(journal))[{"a": "b", "b": "a"}[first]]
    assert (entry.state, entry.task_id) == ("running", charged_task_ids(sandbox)[1])
    await assert_no_work_left(sandbox)


@pytest.mark.parametrize("times", [1, 2, 4])
async def test_being_cancelled_loses_nothing(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    """However often a task that iterates over a batch is cancelled, it ends only when all ids are in the journal."""
    sandbox.faults = faults_on_start(*[SLOW] * 20)
    running = await begin(a2e.image_to_video.batch(make_jobs(20), journal=journal), sandbox, 4)
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0.03)
    assert not running.done()
    await asyncio.wait([running])
    assert running.cancelled()
    await assert_no_work_left(sandbox)
    after = [entry for entry in (await read_journal(journal)).values() if entry.marker]
    assert {entry.task_id for entry in after if entry.state == "running"} == {*sandbox.tasks}
    assert all(any(task_id in line for line in logged_warnings(caplog)) for task_id in sandbox.tasks)
    sandbox.faults = None
    await check_the_next_run(a2e, sandbox, make_jobs(20), journal=journal)


async def test_a_time_limit_of_the_caller(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """`asyncio.timeout` around a batch raises TimeoutError, and loses nothing."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await run_batch(a2e, [*make_jobs(3), make_job("stuck", "#stuck")], journal=journal)
    await assert_no_work_left(sandbox)
    await finish_task(sandbox, "stuck")
    await check_the_next_run(a2e, sandbox, [*make_jobs(3), make_job("stuck", "#stuck")], journal=journal)


@pytest.mark.parametrize(("times", "count"), [(12, 36), pytest.param(60, 120, marks=pytest.mark.soak)])
async def test_cancelled_many_times_each_key_is_paid_once(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path, *, times: int, count: int
) -> None:
    """A batch that is cancelled at many random moments, and run again each time, ends with one charge and one file per key."""
    dice = random.Random(17)
    slow = {Fault("delay", seconds=0.02): 0.5, Fault("delay", after=True, seconds=0.02): 0.5}
    sandbox.faults = FaultPlan(chances={"start": slow, "put": slow, "cdn": slow}, seed=17)
    sandbox.coins = 10**6
    items = [make_job(f"k{n}", image=write_image(tmp_path, f"{n % 20}.png", bytes([n % 20]))) for n in range(count)]
    options: dict[str, Any] = {"journal": journal, "out": tmp_path / "out", "max_running": 5, "max_starts": 2}
    cut = collections.Counter[str]()
    for number in range(times):
        batch = a2e.image_to_video.batch(items, **options)
        running = asyncio.create_task(collect_results(batch))
        stage = ("starting", "running", "downloading")[number % 3]
        await wait_until(lambda: running.done() or stage in {active.stage for active in batch.progress.active})  # noqa: B023  it is called at once
        await asyncio.sleep(dice.uniform(0, 0.03))
        await cancel_and_wait(running)
        assert not batch_tasks()
        cut[stage] += running.cancelled()
        assert set(count_charges(sandbox).values()) <= {1}
    assert min(cut[stage] for stage in ("starting", "running", "downloading")) > times // 12
    await check_the_next_run(a2e, sandbox, items, **options)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(f"k{n}.mp4" for n in range(count))
    assert len({path.stat().st_size for path in (tmp_path / "out").iterdir()}) == 1


async def test_results_that_were_not_taken_are_not_lost(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path
) -> None:
    """Jobs that ended before the caller left, and whose results were not taken, are skipped by the next run."""
    async with a2e.image_to_video.batch(make_jobs(6), journal=journal) as batch:
        await anext(batch)
        await wait_until(lambda: batch.progress.succeeded == 6)
    sandbox.requests.clear()
    assert set(states_by_key(await run_batch(a2e, make_jobs(6), journal=journal)).values()) == {"skipped"}
    assert not sandbox.requests


async def test_ending_it_twice_does_no_harm(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A batch can be closed before it has begun, at its end, and again."""
    unbegun, finished = a2e.image_to_video.batch(make_jobs(1)), a2e.image_to_video.batch(make_jobs(1))
    await collect_results(finished)
    for batch in (unbegun, finished):
        await batch.aclose()
        await batch.aclose()
        assert [result async for result in batch] == []
    assert count_starts(sandbox) == 1


async def test_another_task_can_end_it(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A signal handler, or any other task, can close a batch that is being iterated over."""
    batch = a2e.image_to_video.batch(make_jobs(3, "#stuck"), journal=journal)
    running = await begin(batch, sandbox, 3)
    try:
        await batch.aclose()
        assert await running == {}
    finally:
        await cancel_and_wait(running)
    await assert_no_work_left(sandbox)


async def test_a_batch_without_references_ends(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A batch that was left without `async with` ends when the last reference to it is gone, with its ids in the journal."""
    sandbox.faults = faults_on_start(None, SLOW)

    async def read_jobs() -> AsyncIterator[Job]:
        yield make_job("a")
        await wait_until(lambda: sandbox.tasks)
        yield make_job("b", "#stuck")

    batch = a2e.image_to_video.batch(read_jobs(), journal=journal, max_running=1)
    assert (await anext(batch)).key == "a"
    await wait_until(lambda: len(sandbox.tasks) == 2)
    del batch
    gc.collect()
    await wait_until(lambda: not batch_tasks())
    assert (await read_journal(journal))["b"].task_id == charged_task_ids(sandbox)[1]
    await assert_no_work_left(sandbox)


async def test_an_unused_batch_does_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A batch that is never iterated over does nothing, and warns of nothing."""
    a2e.image_to_video.batch(make_jobs(3))
    gc.collect()
    await assert_no_work_left(sandbox)
    assert not sandbox.requests


async def test_downloads_leave_no_partial_files(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """If a batch ends during downloads, no partial file is left; the next run downloads them all."""
    meter = ConcurrencyMeter(20)
    batch = a2e.image_to_video.batch(make_jobs(4), journal=journal, out=tmp_path / "out")
    with sandbox.override("GET", "/cdn/", meter.hold):
        running = asyncio.create_task(collect_results(batch))
        await wait_until(lambda: meter.current == 4)
        await cancel_and_wait(running)
        meter.released.set()
    assert not batch_tasks()
    assert not [*(tmp_path / "out").iterdir()]
    await check_the_next_run(a2e, sandbox, make_jobs(4), journal=journal, out=tmp_path / "out")
    assert len([*(tmp_path / "out").iterdir()]) == 4


async def test_uploads_are_cancelled(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """If a batch ends during uploads, it does not wait for them, and starts nothing."""
    meter = ConcurrencyMeter(20)
    items = [make_job(f"k{n}", image=write_image(tmp_path, f"{n}.png", bytes([n]))) for n in range(4)]
    with sandbox.override("PUT", "/storage/", meter.hold):
        running = asyncio.create_task(run_batch(a2e, items, journal=journal))
        await wait_until(lambda: meter.current == 4)
        running.cancel()
        async with asyncio.timeout(0.5):
            await asyncio.wait([running])
        meter.released.set()
    assert count_starts(sandbox) == 0
    await check_the_next_run(a2e, sandbox, items, journal=journal)


async def test_the_input_is_closed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A generator that was not read to its end is closed, so that its `finally` can close a file or a cursor."""
    closed = []

    def plain() -> Iterator[Job]:
        try:
            yield from make_jobs(10_000, "#stuck")
        finally:
            closed.append("plain")

    async def asynchronous() -> AsyncIterator[Job]:
        try:
            for item in make_jobs(10_000, "#stuck"):
                yield item
        finally:
            closed.append("asynchronous")

    source: Any
    for number, source in enumerate((plain(), asynchronous()), 1):
        async with a2e.image_to_video.batch(source) as batch:
            first = asyncio.ensure_future(anext(batch))
            await wait_until(lambda number=number: len(sandbox.tasks) == number * 10)  # type: ignore[misc]  # it takes the default for an argument
            await cancel_and_wait(first)
    del source, batch, first
    gc.collect()
    await wait_until(lambda: len(closed) == 2)
    assert closed == ["plain", "asynchronous"]


async def test_an_input_that_waits_can_be_left(a2e: A2EClient) -> None:
    """A batch whose input waits for its next job ends at once, and cancels what the input awaits."""
    cancelled = asyncio.Event()

    async def silent() -> AsyncIterator[Job]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        yield make_job("never")

    running = asyncio.create_task(collect_results(a2e.image_to_video.batch(silent())))
    await asyncio.sleep(0.05)
    running.cancel()
    async with asyncio.timeout(0.5):
        await asyncio.wait([running])
        await cancelled.wait()
    assert not batch_tasks()


# the client is closed meanwhile


async def test_a_client_that_is_closed_ends_the_batch(sandbox: Sandbox, journal: pathlib.Path) -> None:
    """Jobs under way become uncertain, the rest is skipped, and another client resumes without a second charge."""
    a2e = make_client(sandbox)
    batch = a2e.image_to_video.batch(make_jobs(12, ""), journal=journal, max_running=3)
    running = await begin(batch, sandbox, 3)
    await a2e.aclose()
    async with asyncio.timeout(0.5):
        results = await running
    assert {result.state for result in results.values()} == {"uncertain", "skipped"}
    errors = {type(result.error) for result in results.values()}
    assert ClientClosedError in errors
    assert errors <= {ClientClosedError, SubmissionUncertainError}  # the answer to the last start may be on its way
    assert len(results) == 12
    await assert_no_work_left(sandbox)
    async with make_client(sandbox) as other:
        await check_the_next_run(other, sandbox, make_jobs(12, ""), journal=journal)


async def test_a_client_that_is_closed_during_a_start(sandbox: Sandbox, journal: pathlib.Path) -> None:
    """The next run finds a start whose answer the closed client could not read."""
    sandbox.faults = faults_on_start(SLOW, SLOW, SLOW)
    a2e = make_client(sandbox)
    running = await begin(a2e.image_to_video.batch(make_jobs(3), journal=journal), sandbox, 3)
    await a2e.aclose()
    async with asyncio.timeout(0.5):
        results = await running
    assert set(states_by_key(results).values()) == {"uncertain"}
    async with make_client(sandbox) as other:
        await check_the_next_run(other, sandbox, make_jobs(3), journal=journal)


async def test_a_client_that_is_closed_ends_a_pause(
    sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that wait for credits end when their client is closed, which a running task has noticed."""
    shorten_pauses(monkeypatch, 3600)
    sandbox.coins = PRICE
    a2e = make_client(sandbox)
    batch = a2e.image_to_video.batch(make_jobs(5, "#stuck"), journal=journal, max_starts=1)
    running = await begin(batch, sandbox)
    await wait_until(lambda: batch.progress.paused)
    await a2e.aclose()
    async with asyncio.timeout(0.5):
        results = await running
    assert sorted(states_by_key(results).values()) == ["skipped"] * 4 + ["uncertain"]

"""However a batch is left: nothing new is begun, what is being started is written down, and nothing stays behind."""

from __future__ import annotations

import asyncio
import collections
import gc
import random
from typing import TYPE_CHECKING, Any

import pytest
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
from paid_starts import charged_task_ids, count_starts, faults_on_start, logged_warnings, make_client

from a2e_async import A2EClient, ClientClosedError, SubmissionUncertainError
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Iterator

    from a2e_async.batch import Batch, Job, Outcome

SLOW = Fault("delay", after=True, seconds=0.8)
"""A start that is charged at once and answered late."""


def batch_tasks() -> list[asyncio.Task[Any]]:
    """List what batches are doing."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(("a2e-batch", "a2e-job", "a2e-journal"))]


async def nothing_more(sandbox: Sandbox) -> None:
    """See that nothing is at work any more: no task of a batch, and no request."""
    assert not batch_tasks()
    before = len(sandbox.requests)
    await asyncio.sleep(0.1)
    assert len(sandbox.requests) == before


async def check_the_next_run(a2e: A2EClient, sandbox: Sandbox, items: list[Job], **options: Any) -> None:
    """See that the next run finishes all jobs, and that each was paid once over all runs."""
    outcomes = await run_batch(a2e, items, **options)
    assert {outcome.ok for outcome in outcomes.values()} == {True}, states_by_key(outcomes)
    assert count_charges(sandbox) == dict.fromkeys((item.key for item in items), 1)


async def begun(batch: Batch, sandbox: Sandbox, count: int = 1) -> asyncio.Task[dict[str, Outcome]]:
    """Begin to go through a batch; return once A2E has charged for so many starts."""
    gathering = asyncio.create_task(collect_results(batch))
    await wait_until(lambda: len(sandbox.tasks) >= count)
    return gathering


async def test_leaving_the_loop_ends_the_batch(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """After `break` inside of `async with` nothing is at work, what runs at A2E is alive, and the next run goes on."""
    items = [make_job("first"), *[make_job(f"k{n}", "") for n in range(20)]]
    async with a2e.image_to_video.batch(items, journal=journal, max_running=5) as batch:
        async for outcome in batch:
            assert outcome.key == "first"
            break
    await nothing_more(sandbox)
    left = await read_journal(journal)
    assert {row.task_id for row in left.values() if row.task_id} == {*sandbox.tasks}
    assert sum(not task.done for task in sandbox.tasks.values()) == sum(row.state == "running" for row in left.values())
    assert len(sandbox.tasks) < 10
    await check_the_next_run(a2e, sandbox, items, journal=journal)


async def test_an_error_of_the_caller_ends_the_batch(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """An exception in the body of the loop goes on to the caller, and the batch is ended on its way."""
    with pytest.raises(LookupError):
        async with a2e.image_to_video.batch(make_jobs(20), journal=journal, max_running=3) as batch:
            async for _ in batch:
                raise LookupError
    await nothing_more(sandbox)
    await check_the_next_run(a2e, sandbox, make_jobs(20), journal=journal)


async def test_the_answer_of_a_start_is_waited_for(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """Ended while starts are under way, a batch comes back when their answers are in the journal, ids and prices."""
    sandbox.weather = faults_on_start(*[SLOW] * 20)
    batch = a2e.image_to_video.batch(make_jobs(20), journal=journal, max_starts=3)
    first = asyncio.ensure_future(anext(batch))
    await wait_until(lambda: len(sandbox.tasks) == 3)
    await cancel_and_wait(first)
    await batch.aclose()
    await nothing_more(sandbox)
    left = [row for row in (await read_journal(journal)).values() if row.marker]
    assert {row.task_id for row in left} == {*sandbox.tasks}
    assert {(row.state, row.coins, row.purchases, row.quoted) for row in left} == {("running", PRICE, 1, None)}
    assert len(left) == 3
    sandbox.weather = None
    await check_the_next_run(a2e, sandbox, make_jobs(20), journal=journal)
    assert count_starts(sandbox) == 20


async def test_aclose_waits_for_the_answer_of_a_start(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """The same, if the batch is ended between two outcomes by `aclose` itself."""
    sandbox.weather = faults_on_start(None, SLOW)
    batch = a2e.image_to_video.batch([make_job("a"), make_job("b")], journal=journal, max_running=1)
    assert (await anext(batch)).key == "a"
    await wait_until(lambda: len(sandbox.tasks) == 2)
    await batch.aclose()
    row = (await read_journal(journal))["b"]
    assert (row.state, row.task_id) == ("running", charged_task_ids(sandbox)[1])
    await nothing_more(sandbox)


@pytest.mark.parametrize("times", [1, 2, 4])
async def test_being_cancelled_loses_nothing(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    """However often a task is cancelled that goes through a batch, it is cancelled once the ids are written down."""
    sandbox.weather = faults_on_start(*[SLOW] * 20)
    gathering = await begun(a2e.image_to_video.batch(make_jobs(20), journal=journal), sandbox, 4)
    for _ in range(times):
        gathering.cancel()
        await asyncio.sleep(0.03)
    assert not gathering.done()
    await asyncio.wait([gathering])
    assert gathering.cancelled()
    await nothing_more(sandbox)
    left = [row for row in (await read_journal(journal)).values() if row.marker]
    assert {row.task_id for row in left if row.state == "running"} == {*sandbox.tasks}
    assert all(any(task_id in line for line in logged_warnings(caplog)) for task_id in sandbox.tasks)
    sandbox.weather = None
    await check_the_next_run(a2e, sandbox, make_jobs(20), journal=journal)


async def test_a_time_limit_of_the_caller(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """`asyncio.timeout` around a batch raises TimeoutError, and loses nothing."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await run_batch(a2e, [*make_jobs(3), make_job("stuck", "#stuck")], journal=journal)
    await nothing_more(sandbox)
    await finish_task(sandbox, "stuck")
    await check_the_next_run(a2e, sandbox, [*make_jobs(3), make_job("stuck", "#stuck")], journal=journal)


@pytest.mark.parametrize(("times", "count"), [(12, 36), pytest.param(60, 120, marks=pytest.mark.soak)])
async def test_cancelled_many_times_each_key_is_paid_once(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path, *, times: int, count: int
) -> None:
    """A batch that is cancelled at many random moments, and begun again each time, ends with one charge and one file a key."""
    dice = random.Random(17)
    slow = {Fault("delay", seconds=0.02): 0.5, Fault("delay", after=True, seconds=0.02): 0.5}
    sandbox.weather = Weather(chances={"start": slow, "put": slow, "cdn": slow}, seed=17)
    sandbox.coins = 10**6
    items = [make_job(f"k{n}", image=write_image(tmp_path, f"{n % 20}.png", bytes([n % 20]))) for n in range(count)]
    options: dict[str, Any] = {"journal": journal, "out": tmp_path / "out", "max_running": 5, "max_starts": 2}
    cut = collections.Counter[str]()
    for number in range(times):
        batch = a2e.image_to_video.batch(items, **options)
        gathering = asyncio.create_task(collect_results(batch))
        stage = ("starting", "running", "downloading")[number % 3]
        await wait_until(lambda: gathering.done() or stage in {doing.stage for doing in batch.progress.doing})  # noqa: B023  it is called at once
        await asyncio.sleep(dice.uniform(0, 0.03))
        await cancel_and_wait(gathering)
        assert not batch_tasks()
        cut[stage] += gathering.cancelled()
        assert set(count_charges(sandbox).values()) <= {1}
    assert min(cut[stage] for stage in ("starting", "running", "downloading")) > times // 12
    await check_the_next_run(a2e, sandbox, items, **options)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(f"k{n}.mp4" for n in range(count))
    assert len({path.stat().st_size for path in (tmp_path / "out").iterdir()}) == 1


async def test_what_nobody_has_fetched_is_not_lost(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """Jobs that have ended before the caller left, and whose outcomes he has not seen, are skipped by the next run."""
    async with a2e.image_to_video.batch(make_jobs(6), journal=journal) as batch:
        await anext(batch)
        await wait_until(lambda: batch.progress.succeeded == 6)
    sandbox.requests.clear()
    assert set(states_by_key(await run_batch(a2e, make_jobs(6), journal=journal)).values()) == {"skipped"}
    assert not sandbox.requests


async def test_ending_it_twice_does_no_harm(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A batch can be ended before it has begun, when it is at its end, and again."""
    unbegun, finished = a2e.image_to_video.batch(make_jobs(1)), a2e.image_to_video.batch(make_jobs(1))
    await collect_results(finished)
    for batch in (unbegun, finished):
        await batch.aclose()
        await batch.aclose()
        assert [outcome async for outcome in batch] == []
    assert count_starts(sandbox) == 1


async def test_another_task_can_end_it(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A signal handler, or any other task, can end a batch that somebody is going through."""
    batch = a2e.image_to_video.batch(make_jobs(3, "#stuck"), journal=journal)
    gathering = await begun(batch, sandbox, 3)
    try:
        await batch.aclose()
        assert await gathering == {}
    finally:
        await cancel_and_wait(gathering)
    await nothing_more(sandbox)


async def test_a_batch_that_is_forgotten_ends(a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A batch that was left without `async with` ends when nobody refers to it, with its ids written down."""
    sandbox.weather = faults_on_start(None, SLOW)
    items = [make_job("a"), make_job("b", "#stuck")]
    batch = a2e.image_to_video.batch(items, journal=journal, max_running=1)
    assert (await anext(batch)).key == "a"
    await wait_until(lambda: len(sandbox.tasks) == 2)
    del batch
    gc.collect()
    await wait_until(lambda: not batch_tasks())
    assert (await read_journal(journal))["b"].task_id == charged_task_ids(sandbox)[1]
    await nothing_more(sandbox)


async def test_a_batch_that_was_never_begun_is_forgotten(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A batch that nobody iterates over does nothing, and does not complain either."""
    a2e.image_to_video.batch(make_jobs(3))
    gc.collect()
    await nothing_more(sandbox)
    assert not sandbox.requests


async def test_downloads_leave_no_halves(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Ended while results are on their way, a batch leaves no part of a file; the next run fetches them all."""
    meter = ConcurrencyMeter(20)
    batch = a2e.image_to_video.batch(make_jobs(4), journal=journal, out=tmp_path / "out")
    with sandbox.override("GET", "/cdn/", meter.hold):
        gathering = asyncio.create_task(collect_results(batch))
        await wait_until(lambda: meter.current == 4)
        await cancel_and_wait(gathering)
        meter.released.set()
    assert not batch_tasks()
    assert not [*(tmp_path / "out").iterdir()]
    await check_the_next_run(a2e, sandbox, make_jobs(4), journal=journal, out=tmp_path / "out")
    assert len([*(tmp_path / "out").iterdir()]) == 4


async def test_uploads_are_given_up(
    a2e: A2EClient, sandbox: Sandbox, journal: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Ended while images are on their way, a batch does not wait for them, and starts nothing."""
    meter = ConcurrencyMeter(20)
    items = [make_job(f"k{n}", image=write_image(tmp_path, f"{n}.png", bytes([n]))) for n in range(4)]
    with sandbox.override("PUT", "/storage/", meter.hold):
        gathering = asyncio.create_task(run_batch(a2e, items, journal=journal))
        await wait_until(lambda: meter.current == 4)
        gathering.cancel()
        async with asyncio.timeout(0.5):
            await asyncio.wait([gathering])
        meter.released.set()
    assert count_starts(sandbox) == 0
    await check_the_next_run(a2e, sandbox, items, journal=journal)


async def test_the_input_is_let_go(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A generator that was not read to its end gets to its `finally`, so that a file or a cursor is closed."""
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
    """A batch whose input has nothing to give at the moment ends at once, and cancels what the input awaits."""
    cancelled = asyncio.Event()

    async def silent() -> AsyncIterator[Job]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        yield make_job("never")

    gathering = asyncio.create_task(collect_results(a2e.image_to_video.batch(silent())))
    await asyncio.sleep(0.05)
    gathering.cancel()
    async with asyncio.timeout(0.5):
        await asyncio.wait([gathering])
        await cancelled.wait()
    assert not batch_tasks()


# the client is closed meanwhile


async def test_a_client_that_is_closed_ends_the_batch(sandbox: Sandbox, journal: pathlib.Path) -> None:
    """Jobs under way are uncertain, the rest is skipped, and another client goes on without paying again."""
    a2e = make_client(sandbox)
    batch = a2e.image_to_video.batch(make_jobs(12, ""), journal=journal, max_running=3)
    gathering = await begun(batch, sandbox, 3)
    await a2e.aclose()
    async with asyncio.timeout(0.5):
        outcomes = await gathering
    assert {outcome.state for outcome in outcomes.values()} == {"uncertain", "skipped"}
    errors = {type(outcome.error) for outcome in outcomes.values()}
    assert ClientClosedError in errors
    assert errors <= {ClientClosedError, SubmissionUncertainError}  # the answer to the last start may be on its way
    assert len(outcomes) == 12
    await nothing_more(sandbox)
    async with make_client(sandbox) as other:
        await check_the_next_run(other, sandbox, make_jobs(12, ""), journal=journal)


async def test_a_client_that_is_closed_during_a_start(sandbox: Sandbox, journal: pathlib.Path) -> None:
    """A start whose answer the closing client does not read any more is found by the next run."""
    sandbox.weather = faults_on_start(SLOW, SLOW, SLOW)
    a2e = make_client(sandbox)
    gathering = await begun(a2e.image_to_video.batch(make_jobs(3), journal=journal), sandbox, 3)
    await a2e.aclose()
    async with asyncio.timeout(0.5):
        outcomes = await gathering
    assert set(states_by_key(outcomes).values()) == {"uncertain"}
    async with make_client(sandbox) as other:
        await check_the_next_run(other, sandbox, make_jobs(3), journal=journal)


async def test_a_client_that_is_closed_ends_a_pause(
    sandbox: Sandbox, journal: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that wait for coins do not wait any more when their client is closed, which a running task has noticed."""
    shorten_pauses(monkeypatch, 3600)
    sandbox.coins = PRICE
    a2e = make_client(sandbox)
    batch = a2e.image_to_video.batch(make_jobs(5, "#stuck"), journal=journal, max_starts=1)
    gathering = await begun(batch, sandbox)
    await wait_until(lambda: batch.progress.paused)
    await a2e.aclose()
    async with asyncio.timeout(0.5):
        outcomes = await gathering
    assert sorted(states_by_key(outcomes).values()) == ["skipped"] * 4 + ["uncertain"]

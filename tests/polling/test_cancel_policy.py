"""What cancelling a wait means for its task: through the real HTTP sandbox."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from conditions import wait_until
from paid_starts import assert_no_secrets, charged_task_ids, count_requests, logged_warnings, make_client, start_video

from a2e_async import A2EClient, InvalidRequestError, WaitTimeoutError
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def queue(no_leaked_tasks: None) -> AsyncIterator[Sandbox]:
    """Run a local A2E in which every task stays initialized."""
    async with Sandbox(speed=0.001, render="tiny") as local:
        yield local


@pytest.fixture
async def in_queue(queue: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client of it."""
    async with make_client(queue) as a2e:
        yield a2e


async def cancel(wait: asyncio.Task[Any]) -> float:
    """Cancel a wait and return how long it took to end so."""
    await asyncio.sleep(0.05)
    began = time.monotonic()
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    return time.monotonic() - began


async def test_task_that_nobody_has_begun_is_deleted(in_queue: A2EClient, queue: Sandbox) -> None:
    """With cancel_policy="delete" an initialized task is deleted, and the coins come back."""
    task = await start_video(in_queue)
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    assert queue.tasks[task.id].deleted
    assert queue.coins == 10_000


async def test_time_out_around_the_wait_deletes_too(in_queue: A2EClient, queue: Sandbox) -> None:
    """`asyncio.timeout` cancels, so it deletes; it is a TimeoutError as ever."""
    task = await start_video(in_queue)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await task.wait_until_done(cancel_policy="delete")
    assert queue.tasks[task.id].deleted


async def test_deadline_of_the_wait_deletes_nothing(in_queue: A2EClient, queue: Sandbox) -> None:
    """The wait's own timeout is no cancellation: the task stays alive."""
    task = await start_video(in_queue)
    with pytest.raises(WaitTimeoutError):
        await task.wait_until_done(0.1, cancel_policy="delete")
    assert not count_requests(queue, method="DELETE")


async def test_detach_is_the_default(in_queue: A2EClient, queue: Sandbox) -> None:
    """Cancelling a wait asks A2E nothing about the task, unless it was told to."""
    task = await start_video(in_queue)
    for wait in (task.wait_until_done(), task.wait_until_done(cancel_policy="detach")):
        await cancel(asyncio.create_task(wait))
    assert not count_requests(queue, method="DELETE")
    assert not queue.tasks[task.id].deleted


async def test_task_under_way_is_left_alone(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that A2E has begun is not even tried to be deleted."""
    task = await start_video(a2e, prompt="#stuck")
    await wait_until(lambda: sandbox.tasks[task.id].status == "pending")
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    assert not count_requests(sandbox, method="DELETE")
    assert charged_task_ids(sandbox) == [task.id]


async def test_task_that_finished_meanwhile_is_never_deleted(sandbox: Sandbox) -> None:
    """A2E would delete a finished task, and with it what was paid: it is asked first how the task stands."""
    seldom = attrs.evolve(quick.CONFIG.poll, initial=60)
    async with make_client(sandbox, poll=seldom) as a2e:
        task = await start_video(a2e)
        wait = asyncio.create_task(task.wait_until_done(cancel_policy="delete"))
        await wait_until(lambda: sandbox.tasks[task.id].done)
        assert task.record.current_status == "initialized"  # as far as the handle knows
        await cancel(wait)
        assert not count_requests(sandbox, method="DELETE")
        assert (await task.refresh()).result_url


async def test_a2e_that_hangs_bounds_the_cancellation(
    in_queue: A2EClient, queue: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If A2E does not answer, the cancellation goes on its way when the time box is over."""
    monkeypatch.setattr("a2e_async._polling.updates._WITHDRAWAL", 0.3)
    task = await start_video(in_queue)
    queue.weather = Weather(chances={"*": {Fault("delay", seconds=60): 1}})
    took = await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    assert 0.25 <= took < 20


async def test_second_cancellation_does_not_wait(in_queue: A2EClient, queue: Sandbox) -> None:
    """Who is cancelled again while the task is being deleted stops at once."""
    task = await start_video(in_queue)
    queue.weather = Weather(chances={"*": {Fault("delay", seconds=60): 1}})
    wait = asyncio.create_task(task.wait_until_done(cancel_policy="delete"))
    await asyncio.sleep(0.05)
    wait.cancel()
    await asyncio.sleep(0.05)
    assert not wait.done()
    assert await cancel(wait) < 5


async def test_task_that_could_not_be_deleted_is_told(
    in_queue: A2EClient, queue: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If A2E is broken, the cancellation arrives all the same, and a warning names the task."""
    task = await start_video(in_queue)
    queue.weather = Weather(chances={"*": {Fault("status"): 1}})
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    (warning,) = logged_warnings(caplog)
    assert task.id in warning
    assert_no_secrets(queue, caplog.text)


async def test_one_of_two_waits_may_delete(in_queue: A2EClient, queue: Sandbox) -> None:
    """The other wait on a task that is deleted hears that it is gone."""
    task = await start_video(in_queue)
    await task.refresh()
    other = asyncio.create_task(task.wait_until_done(20, outage_budget=None))
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    with pytest.raises(Exception, match=task.id):
        await other
    assert queue.coins == 10_000


@pytest.mark.parametrize("value", ["stop", "", None, True])
async def test_odd_policy_is_refused(a2e: A2EClient, sandbox: Sandbox, value: Any) -> None:
    """Only the two words are taken, and the error names the task."""
    task = await start_video(a2e)
    asked = len(sandbox.requests)
    with pytest.raises(InvalidRequestError, match="cancel_policy") as caught:
        await task.wait_until_done(cancel_policy=value)
    assert caught.value.task_id == task.id
    assert len(sandbox.requests) == asked


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "5", True])
async def test_odd_budget_is_refused(a2e: A2EClient, value: Any) -> None:
    """A budget that no clock can count with is refused."""
    with pytest.raises(InvalidRequestError, match="outage_budget"):
        await a2e.image_to_video.task("abc").wait_until_done(outage_budget=value)

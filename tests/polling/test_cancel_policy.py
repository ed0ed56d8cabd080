"""The effect of a cancelled wait on its task, with the HTTP sandbox."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest
import quick
from conditions import wait_until
from paid_starts import assert_no_secrets, charged_task_ids, count_requests, logged_warnings, make_client, start_video

from a2e_async import A2EClient, InvalidRequestError, WaitTimeoutError
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def queued_sandbox(no_leaked_tasks: None) -> AsyncIterator[Sandbox]:
    """Run a local A2E in which every task stays queued."""
    async with Sandbox(speed=0.001, render="tiny") as local:
        yield local


@pytest.fixture
async def queued_a2e(queued_sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client of that sandbox."""
    async with make_client(queued_sandbox) as a2e:
        yield a2e


async def cancel(wait: asyncio.Task[Any]) -> float:
    """Cancel a wait, and return the seconds until it has ended."""
    await asyncio.sleep(0.05)
    began = time.monotonic()
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    return time.monotonic() - began


async def test_queued_task_is_deleted(queued_a2e: A2EClient, queued_sandbox: Sandbox) -> None:
    """With cancel_policy="delete" a queued task is deleted, and its coins are refunded."""
    task = await start_video(queued_a2e)
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    assert queued_sandbox.tasks[task.id].deleted
    assert queued_sandbox.coins == 10_000


async def test_timeout_around_the_wait_deletes(queued_a2e: A2EClient, queued_sandbox: Sandbox) -> None:
    """`asyncio.timeout` cancels the wait, so that the task is deleted."""
    task = await start_video(queued_a2e)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await task.wait_until_done(cancel_policy="delete")
    assert queued_sandbox.tasks[task.id].deleted


async def test_timeout_of_the_wait_deletes_nothing(queued_a2e: A2EClient, queued_sandbox: Sandbox) -> None:
    """The timeout of the wait itself is no cancellation, and the task goes on."""
    task = await start_video(queued_a2e)
    with pytest.raises(WaitTimeoutError):
        await task.wait_until_done(0.1, cancel_policy="delete")
    assert not count_requests(queued_sandbox, method="DELETE")


async def test_detach_is_the_default(queued_a2e: A2EClient, queued_sandbox: Sandbox) -> None:
    """By default, the cancellation of a wait sends no request."""
    task = await start_video(queued_a2e)
    for wait in (task.wait_until_done(), task.wait_until_done(cancel_policy="detach")):
        await cancel(asyncio.create_task(wait))
    assert not count_requests(queued_sandbox, method="DELETE")
    assert not queued_sandbox.tasks[task.id].deleted


async def test_running_task_is_not_deleted(a2e: A2EClient, sandbox: Sandbox) -> None:
    """For a running task no deletion is sent."""
    task = await start_video(a2e, prompt="#stuck")
    await wait_until(lambda: sandbox.tasks[task.id].status == "pending")
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    assert not count_requests(sandbox, method="DELETE")
    assert charged_task_ids(sandbox) == [task.id]


async def test_finished_task_is_never_deleted(sandbox: Sandbox) -> None:
    """The status is read first, since A2E would delete a finished task and with it the paid result."""
    rare = attrs.evolve(quick.CONFIG.poll, initial=60)
    async with make_client(sandbox, poll=rare) as a2e:
        task = await start_video(a2e)
        wait = asyncio.create_task(task.wait_until_done(cancel_policy="delete"))
        await wait_until(lambda: sandbox.tasks[task.id].done)
        assert task.record.current_status == "initialized"  # in the last record of the handle
        await cancel(wait)
        assert not count_requests(sandbox, method="DELETE")
        assert (await task.refresh()).result_url


async def test_cancellation_has_a_time_limit(
    queued_a2e: A2EClient, queued_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If A2E does not respond, the cancellation goes on after the time limit."""
    monkeypatch.setattr("a2e_async._polling.updates._DELETE_TIMEOUT", 0.3)
    task = await start_video(queued_a2e)
    queued_sandbox.faults = FaultPlan(chances={"*": {Fault("delay", seconds=60): 1}})
    took = await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    assert 0.25 <= took < 20


async def test_scope_of_anyio_deletes(
    queued_a2e: A2EClient, queued_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A scope of anyio cancels again and again: the wait ends at once, and the deletion goes on and is logged."""
    caplog.set_level(logging.INFO)
    task = await start_video(queued_a2e)
    queued_sandbox.faults = FaultPlan(chances={"detail": {Fault("delay", seconds=2): 1}})
    loop = asyncio.get_running_loop()
    began = loop.time()
    with anyio.move_on_after(0.1):
        await task.wait_until_done(cancel_policy="delete")
    assert loop.time() - began < 1
    assert "is deleted if it is still queued" in caplog.messages[-1]
    await wait_until(lambda: queued_sandbox.tasks[task.id].deleted)
    assert queued_sandbox.coins == 10_000
    await wait_until(lambda: caplog.messages[-1].endswith("still queued, and is deleted"))


async def test_client_in_a_cancelled_scope_deletes(queued_sandbox: Sandbox) -> None:
    """If the client is closed in the cancelled scope as well, the deletion is made before."""
    with anyio.move_on_after(0.5):
        async with make_client(queued_sandbox) as a2e:
            task = await start_video(a2e)
            await task.wait_until_done(cancel_policy="delete")
    await wait_until(lambda: queued_sandbox.tasks[task.id].deleted)
    await wait_until(lambda: "closed" in repr(a2e))


async def test_second_cancellation_does_not_end_the_deletion(
    queued_a2e: A2EClient, queued_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """After a second cancellation the task is deleted all the same, and the log says so."""
    caplog.set_level(logging.INFO)
    task = await start_video(queued_a2e)
    queued_sandbox.faults = FaultPlan(chances={"detail": {Fault("delay", seconds=2): 1}})
    wait = asyncio.create_task(task.wait_until_done(cancel_policy="delete"))
    await asyncio.sleep(0.05)
    wait.cancel()
    await cancel(wait)
    assert not queued_sandbox.tasks[task.id].deleted
    await wait_until(lambda: queued_sandbox.tasks[task.id].deleted)
    await wait_until(lambda: caplog.messages[-1].endswith("still queued, and is deleted"))


async def test_running_task_goes_on_and_the_log_says_so(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If the task has begun, the log says that it goes on."""
    caplog.set_level(logging.INFO)
    task = await start_video(a2e, prompt="#stuck")
    await wait_until(lambda: sandbox.tasks[task.id].status == "pending")
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    assert caplog.messages[-1].endswith("it has begun, so it is not deleted")


async def test_second_cancellation_ends_at_once(queued_a2e: A2EClient, queued_sandbox: Sandbox) -> None:
    """A second cancellation during the deletion ends the wait at once."""
    task = await start_video(queued_a2e)
    queued_sandbox.faults = FaultPlan(chances={"*": {Fault("delay", seconds=60): 1}})
    wait = asyncio.create_task(task.wait_until_done(cancel_policy="delete"))
    await asyncio.sleep(0.05)
    wait.cancel()
    await asyncio.sleep(0.05)
    assert not wait.done()
    assert await cancel(wait) < 5


async def test_failed_deletion_is_logged(
    queued_a2e: A2EClient, queued_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If the deletion fails, the cancellation goes on, and a warning has the task id."""
    task = await start_video(queued_a2e)
    queued_sandbox.faults = FaultPlan(chances={"*": {Fault("status"): 1}})
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    (warning,) = logged_warnings(caplog)
    assert task.id in warning
    assert_no_secrets(queued_sandbox, caplog.text)


async def test_deletion_ends_the_other_waits(queued_a2e: A2EClient, queued_sandbox: Sandbox) -> None:
    """Another wait for a deleted task ends with an error."""
    task = await start_video(queued_a2e)
    await task.refresh()
    other = asyncio.create_task(task.wait_until_done(20, outage_budget=None))
    await cancel(asyncio.create_task(task.wait_until_done(cancel_policy="delete")))
    with pytest.raises(Exception, match=task.id):
        await other
    assert queued_sandbox.coins == 10_000


@pytest.mark.parametrize("value", ["stop", "", None, True])
async def test_invalid_policy_is_rejected(a2e: A2EClient, sandbox: Sandbox, value: Any) -> None:
    """Any other cancel_policy is rejected before any request, and the error has the task id."""
    task = await start_video(a2e)
    asked = len(sandbox.requests)
    with pytest.raises(InvalidRequestError, match="cancel_policy") as caught:
        await task.wait_until_done(cancel_policy=value)
    assert caught.value.task_id == task.id
    assert len(sandbox.requests) == asked


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "5", True])
async def test_invalid_budget_is_rejected(a2e: A2EClient, value: Any) -> None:
    """An outage budget that is not a finite number of seconds is rejected."""
    with pytest.raises(InvalidRequestError, match="outage_budget"):
        await a2e.image_to_video.task("abc").wait_until_done(outage_budget=value)

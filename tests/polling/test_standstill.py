"""Waits of a process that stood still: suspended, stopped by Ctrl-Z or a debugger, or with a blocked event loop."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest
import quick
from scripted_a2e import ScriptedReader
from virtual_clock import now

from a2e_async import A2EClient, NetworkError, OutageError, PollPolicy, TaskRecord, TaskStatus, WaitTimeoutError
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from a2e_async.testing import VirtualClock

RUNNING = TaskRecord(id="t1", status=TaskStatus.RUNNING, current_status="processing")
DONE = TaskRecord(id="t1", status=TaskStatus.SUCCEEDED, current_status="completed")
POLICY = PollPolicy(initial=1.0, steps=((0.0, 2.0),), poll_timeout=20.0)


class Service:
    """Fake A2E, whose answer can be changed at any time.

    Attributes:
        answer: The record, or the error.
        takes: Seconds to answer.
        polled: When it was polled.
    """

    def __init__(self) -> None:
        self.answer: TaskRecord | NetworkError = RUNNING
        self.takes = 0.1
        self.polled: list[float] = []

    async def get(self, _: str) -> TaskRecord:
        """Answer a poll with what is true when it arrives."""
        self.polled.append(now())
        answer = self.answer
        await asyncio.sleep(self.takes)
        if isinstance(answer, NetworkError):
            raise NetworkError(str(answer))
        return answer


@pytest.fixture
def service() -> Service:
    """Return an A2E at which the task is running."""
    return Service()


async def wait(service: Service, *, timeout: float | None = None, outage_budget: float | None = None) -> TaskRecord:
    """Wait for the task, as a handle does."""
    loop = asyncio.get_running_loop()
    waiter = Waiter(
        outage_budget=outage_budget,
        deadline=None if timeout is None else loop.time() + timeout,
    )
    unsubscribe = Poller(POLICY).subscribe("family", "t1", functools.partial(ScriptedReader, get=service.get), waiter)
    try:
        result: TaskRecord = await waiter.done
    finally:
        unsubscribe()
    return result


async def test_task_that_ended_meanwhile(service: Service, a2e_clock: VirtualClock) -> None:
    """A wait whose timeout has passed during a standstill polls once more, and has the result."""
    waiting = asyncio.create_task(wait(service, timeout=10))
    await asyncio.sleep(4)
    service.answer = DONE
    a2e_clock.advance(3600)
    assert await waiting == DONE


async def test_task_that_is_still_running(service: Service, a2e_clock: VirtualClock) -> None:
    """If the task is still running, the wait ends with the answer of that poll."""
    waiting = asyncio.create_task(wait(service, timeout=10))
    await asyncio.sleep(4)
    a2e_clock.advance(3600)
    with pytest.raises(WaitTimeoutError):
        await waiting
    assert 3604 <= service.polled[-1] <= now() <= 3605


async def test_answer_from_before_the_standstill(service: Service, a2e_clock: VirtualClock) -> None:
    """The answer to a poll that was sent before the standstill does not end the wait."""
    service.takes = 3.0
    waiting = asyncio.create_task(wait(service, timeout=10))
    while not service.polled or now() < 6:
        await asyncio.sleep(0.1)
    while now() > service.polled[-1] + 1:  # until a poll is in flight
        await asyncio.sleep(0.1)
    service.answer = DONE
    a2e_clock.advance(3600)
    assert await waiting == DONE


async def test_network_that_comes_back_slowly(service: Service, a2e_clock: VirtualClock) -> None:
    """While the network is not back, the wait goes on for the time of one poll, and not longer."""
    service.answer = NetworkError("no Wi-Fi")
    waiting = asyncio.create_task(wait(service, timeout=10))
    await asyncio.sleep(4)
    a2e_clock.advance(3600)
    await asyncio.sleep(5)
    assert not waiting.done()
    with pytest.raises(WaitTimeoutError):
        await waiting
    assert now() == pytest.approx(3604 + POLICY.poll_timeout, abs=0.01)
    service.answer = RUNNING
    again = asyncio.create_task(wait(service, timeout=10))
    await asyncio.sleep(4)
    service.answer = NetworkError("no Wi-Fi")
    a2e_clock.advance(3600)
    await asyncio.sleep(5)
    service.answer = DONE
    assert await again == DONE


@pytest.mark.parametrize("late", [0.0, 0.9])
async def test_timeout_without_a_standstill(service: Service, a2e_clock: VirtualClock, late: float) -> None:
    """A timer that fires in time, or a little late, ends the wait at once."""
    waiting = asyncio.create_task(wait(service, timeout=10))
    await asyncio.sleep(9.95)
    a2e_clock.advance(late)
    with pytest.raises(WaitTimeoutError):
        await waiting
    assert now() == pytest.approx(max(10, 9.95 + late), abs=0.01)


async def test_standstill_is_no_outage(service: Service, a2e_clock: VirtualClock) -> None:
    """The time of a standstill does not count for the outage budget, nor does the wait end without a poll."""
    service.answer = NetworkError("down")
    waiting = asyncio.create_task(wait(service, outage_budget=30))
    await asyncio.sleep(11)
    a2e_clock.advance(3600)
    await asyncio.sleep(15)
    assert not waiting.done()  # 25 of 30 seconds
    with pytest.raises(OutageError):
        await waiting
    assert 3630 <= now() <= 3634


async def test_poll_after_a_standstill_at_the_end_of_the_budget(service: Service, a2e_clock: VirtualClock) -> None:
    """A wait whose outage budget was almost used up before a standstill polls once more."""
    service.answer = NetworkError("down")
    waiting = asyncio.create_task(wait(service, outage_budget=30))
    await asyncio.sleep(30.9)
    service.answer, service.takes = DONE, 5.0
    a2e_clock.advance(3600)
    assert await waiting == DONE


@pytest.mark.parametrize("how", ["wait", "updates"])
async def test_real_client(how: str, sandbox: Sandbox, a2e: A2EClient, a2e_clock: VirtualClock) -> None:
    """In the real client too, also during an outage: the wait has the result, and `updates` the final change."""
    task = await a2e.image_to_video.start(image=quick.PNG, prompt="#stuck", negative_prompt="x")
    updates: list[TaskStatus] = []

    async def follow() -> None:
        if how == "wait":
            await task.wait_until_done(5, outage_budget=5, on_update=lambda update: updates.append(update.new))
        else:
            updates.extend([update.new async for update in task.updates(5, outage_budget=5)])

    waiting = asyncio.create_task(follow())
    await asyncio.sleep(1)
    sandbox.faults = FaultPlan(chances={"*": {Fault("drop"): 1.0}})
    await asyncio.sleep(1)
    sandbox.faults = None
    sandbox.tasks[task.id].complete("https://example.com/ada.mp4")
    a2e_clock.advance(3600)
    await waiting
    assert updates[-1] is TaskStatus.SUCCEEDED

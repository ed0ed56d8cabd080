"""Very many waits: few objects for the garbage collector, one timer, and no long work in one pass of the event loop."""

from __future__ import annotations

import asyncio
import collections
import gc
import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from in_memory_a2e import client_with_transport
from scripted_a2e import ScriptedReader

from a2e_async import A2EClient, NetworkError, PollPolicy, TaskRecord, TaskStatus, WaitTimeoutError
from a2e_async._polling import poller as poller_module
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from a2e_async.testing import VirtualClock

COUNT = 250  # more than twice what ends in one pass

MAX_OBJECTS = 6  # of a wait: handle, record, watch, its list of waits, the wait, its future


class Unfinished:
    """Transport at which all tasks are running, unless it is down."""

    def __init__(self, *, is_down: bool = False) -> None:
        self.is_down = is_down

    async def send(self, request: Request) -> Response:
        """Answer a poll."""
        await asyncio.sleep(0.02)
        if self.is_down:
            msg = "down"
            raise NetworkError(msg)
        ids = request.json["ids"] if request.json else [request.path.rpartition("/")[2]]
        records = [{"_id": task_id, "current_status": "processing", "coins": 30} for task_id in ids]
        body = json.dumps({"code": 0, "data": records if request.json else records[0]}).encode()
        return Response(status=200, headers={"content-type": "application/json"}, body=body)

    async def aclose(self) -> None:
        """Do nothing."""


class Running:
    """Fake A2E at which all tasks are running, unless it is down.

    Attributes:
        requests: The ids of each request.
    """

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.is_down = False

    async def get(self, task_id: str) -> TaskRecord:
        """Answer a poll of one task."""
        return (await self.get_many([task_id]))[task_id]

    async def get_many(self, ids: list[str]) -> dict[str, TaskRecord]:
        """Answer a poll."""
        self.requests.append(ids)
        await asyncio.sleep(0.1)
        if self.is_down:
            msg = "down"
            raise NetworkError(msg)
        return {task_id: TaskRecord(id=task_id, status=TaskStatus.RUNNING) for task_id in ids}


def subscribe(poller: Poller, service: Running, waits: list[Waiter]) -> None:
    """Wait for a task with each of the waits."""
    for number, waiter in enumerate(waits):
        poller.subscribe("family", str(number), lambda: ScriptedReader(service.get, service.get_many), waiter)


async def wait_for_all(a2e: A2EClient, count: int) -> None:
    """Let `wait_all` wait for some tasks."""
    async for _ in a2e.image_to_video.wait_all([f"{number:024x}" for number in range(count)], timeout=100.0):
        pass


async def wait_for_seconds(a2e: A2EClient, count: int) -> collections.Counter[type]:
    """Let `wait_all` wait for some tasks, and return the objects that the garbage collector visits then, by their class."""
    waiting = asyncio.create_task(wait_for_all(a2e, count))
    await asyncio.sleep(30.0)
    gc.collect()
    found = collections.Counter(map(type, gc.get_objects()))
    waiting.cancel()
    await asyncio.wait([waiting])
    return found


async def test_wait_is_six_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of `wait_all` has no asyncio task and no timer of its own, and six objects that the collector visits."""
    a2e = client_with_transport(monkeypatch, Unfinished())
    few, many = await wait_for_seconds(a2e, 100), await wait_for_seconds(a2e, 600)
    more = {kind.__name__: round(number / 500, 1) for kind, number in (many - few).items() if number >= 250}
    assert sum(more.values()) <= MAX_OBJECTS, more
    await a2e.aclose()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python 3.14 tracks all dictionaries")
async def test_schedule_is_nothing_for_the_collector() -> None:
    """A new slot is not a container that the collector walks through each time, however many tasks are in it."""
    service, poller = Running(), Poller(PollPolicy())
    subscribe(poller, service, waits := [Waiter() for _ in range(COUNT)])
    (queue,) = poller._queues.values()
    assert [len(slot) for slot in queue.slots.values()] == [COUNT]
    assert not any(map(gc.is_tracked, queue.slots.values()))
    for waiter in waits:
        waiter.unsubscribe()
    await poller.aclose()


async def test_waits_with_one_deadline() -> None:
    """They share a timer, and end in their order; those that have left before do not. None of them leaves a timer."""
    service, poller, ended = Running(), Poller(PollPolicy()), list[Any]()
    in_a_minute = asyncio.get_running_loop().time() + 60.0
    waits = [Waiter(deadline=in_a_minute) for _ in range(COUNT)]
    for waiter in waits:
        waiter.done.add_done_callback(ended.append)
    subscribe(poller, service, waits)
    assert len(poller._deadlines) == 1
    await asyncio.sleep(30.0)
    waits.pop(1).unsubscribe()
    await asyncio.sleep(29.9)
    assert not ended
    await asyncio.sleep(0.2)
    assert ended == [waiter.done for waiter in waits]
    assert all(isinstance(waiter.done.exception(), WaitTimeoutError) for waiter in waits)
    for waiter in waits:
        waiter.unsubscribe()
    assert not poller._deadlines
    await poller.aclose()


async def test_one_deadline_in_a_standstill(a2e_clock: VirtualClock) -> None:
    """All waits whose timeout has passed during a standstill are polled once more before they end."""
    service, poller = Running(), Poller(PollPolicy())
    in_a_minute = asyncio.get_running_loop().time() + 60.0
    subscribe(poller, service, waits := [Waiter(deadline=in_a_minute) for _ in range(COUNT)])
    await asyncio.sleep(30.0)
    a2e_clock.advance(3600)
    service.requests.clear()
    await asyncio.wait([waiter.done for waiter in waits], timeout=10.0)
    assert all(isinstance(waiter.done.exception(), WaitTimeoutError) for waiter in waits)
    assert {*itertools.chain.from_iterable(service.requests)} == {*map(str, range(COUNT))}
    for waiter in waits:
        waiter.unsubscribe()
    assert not poller._deadlines
    await poller.aclose()


async def test_leaving_while_others_time_out() -> None:
    """A wait can leave between two chunks of waits that time out together."""
    service, poller, bugs = Running(), Poller(PollPolicy()), list[Any]()
    in_a_minute = asyncio.get_running_loop().time() + 60.0
    waits = [Waiter(deadline=in_a_minute) for _ in range(COUNT)]

    def leave(_: object) -> None:
        for waiter in waits:
            waiter.unsubscribe()

    waits[0].done.add_done_callback(leave)
    subscribe(poller, service, waits)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
    await asyncio.sleep(61.0)
    assert not bugs
    assert sum(waiter.done.done() for waiter in waits) < COUNT
    assert not poller._deadlines
    assert not poller.has_waiters(None)
    await poller.aclose()


async def test_poll_now_of_very_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`poll_now` schedules them in chunks, sends full requests, and leaves out those whose waits end meanwhile."""
    monkeypatch.setattr(poller_module, "_MAX_EXPEDITED", 100)
    service, poller = Running(), Poller(PollPolicy(initial=1000.0, steps=((0.0, 1000.0),)))
    subscribe(poller, service, waits := [Waiter() for _ in range(COUNT)])
    poller.poll_now()
    waits[-1].unsubscribe()
    await asyncio.sleep(5.0)
    assert [len(ids) for ids in service.requests] == [100, 100, COUNT - 201]
    assert sorted(itertools.chain.from_iterable(service.requests)) == sorted(map(str, range(COUNT - 1)))
    for waiter in waits:
        waiter.unsubscribe()
    await poller.aclose()


@pytest.mark.parametrize("is_down", [False, True])
async def test_responses_that_come_together(monkeypatch: pytest.MonkeyPatch, is_down: bool) -> None:  # noqa: FBT001
    """Of ten responses, or ten errors, that come in one pass of the event loop, one is handed on in each pass."""
    a2e = client_with_transport(monkeypatch, Unfinished(is_down=is_down))
    in_pass, most, on_result = 0, 0, Poller._on_result

    def start_pass() -> None:
        nonlocal in_pass
        in_pass = 0

    def count(*args: Any) -> None:
        nonlocal in_pass, most
        if not in_pass:
            asyncio.get_running_loop().call_soon(start_pass)
        in_pass += 1
        most = max(most, in_pass)
        on_result(*args)

    monkeypatch.setattr(Poller, "_on_result", count)
    waiting = asyncio.create_task(wait_for_all(a2e, 1000))
    await asyncio.sleep(5.0)
    assert most == 100
    await a2e.aclose()
    await waiting


async def test_least_budget_that_is_left_decides() -> None:
    """The end of an outage budget is found however many other waits have none, or a longer one, or have left."""
    service, poller = Running(), Poller(PollPolicy())
    waits = [Waiter(outage_budget=budget) for budget in (None, 10.0, 20.0, 1000.0)]
    subscribe(poller, service, waits)
    service.is_down = True
    waits[1].unsubscribe()
    await asyncio.sleep(18.0)
    assert not any(waiter.done.done() for waiter in waits)
    await asyncio.sleep(10.0)
    assert [waiter.done.done() for waiter in waits] == [False, False, True, False]
    for waiter in waits:
        waiter.unsubscribe()
    assert not poller._budgets
    await poller.aclose()

"""The poller on virtual time: when it polls, and how waits end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from scripted_a2e import ScriptedReader
from virtual_clock import now

from a2e_async import (
    A2EError,
    AuthenticationError,
    ClientClosedError,
    NetworkError,
    NotFoundError,
    OutageError,
    PollPolicy,
    TaskNotFoundError,
    TaskRecord,
    TaskStatus,
)
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.fixture(autouse=True)
def unshifted_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every grid with the first wait, instead of at a random time."""
    monkeypatch.setattr("random.random", lambda: 0.0)


async def wait_for(
    poller: Poller, family: str, task_id: str, get: Callable[[str], Awaitable[TaskRecord]], waiter: Waiter
) -> TaskRecord:
    """Wait for a task of a family without batches."""
    unsubscribe = poller.subscribe(family, task_id, lambda: ScriptedReader(get=get), waiter)
    try:
        record: TaskRecord = await waiter.done
    finally:
        unsubscribe()
    return record


class Service:
    """A2E as seen by the poller: tasks end at set times, and polls take some time."""

    def __init__(self, ends: dict[str, float], latency: float = 0.0) -> None:
        self.ends = ends
        self.latency = latency
        self.polls: dict[str, list[float]] = defaultdict(list)
        self.in_flight = self.max_in_flight = 0

    async def get(self, task_id: str) -> TaskRecord:
        """Return the record of a task."""
        self.polls[task_id].append(now())
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.in_flight -= 1
        done = now() >= self.ends[task_id]
        return TaskRecord(id=task_id, status=TaskStatus.SUCCEEDED if done else TaskStatus.RUNNING)


def make_waiter() -> Waiter:
    """Return a waiter that ignores records and errors."""
    return Waiter()


POLICY = PollPolicy(initial=2, steps=((0, 2), (60, 5), (300, 10)), max_concurrent=10)


async def test_interval_grows_with_age() -> None:
    """The first poll is after `initial`, then every 2 s, after a minute every 5 s, after five minutes every 10 s."""
    service = Service({"a": 330})

    poller = Poller(POLICY)
    await wait_for(poller, "family", "a", service.get, make_waiter())
    await poller.aclose()
    times = service.polls["a"]
    assert times[:3] == [2, 4, 6]
    assert times[29:33] == [60, 65, 70, 75]
    assert times[-4:] == [300, 310, 320, 330]


async def test_requests_in_flight_are_limited() -> None:
    """A thousand tasks that are due together are polled with ten requests at a time, each once."""
    service = Service({str(n): 0 for n in range(1000)}, latency=0.1)

    poller = Poller(POLICY)
    await asyncio.gather(*(wait_for(poller, "family", task_id, service.get, make_waiter()) for task_id in service.ends))
    await poller.aclose()
    assert service.max_in_flight == 10
    assert all(len(times) == 1 for times in service.polls.values())


async def test_same_id_in_two_families() -> None:
    """Ids are unique within a family only: two tasks with one id have separate polls."""
    one, two = Service({"a": 0}), Service({"a": 10})

    poller = Poller(POLICY)

    async def wait(family: str, service: Service) -> float:
        await wait_for(poller, family, "a", service.get, make_waiter())
        return now()

    ended = await asyncio.gather(wait("one", one), wait("two", two))
    await poller.aclose()
    assert [*ended] == [2, 10]


async def test_poller_stops_and_starts_again() -> None:
    """Without waits the poller runs nothing, and a later wait starts it again."""
    service = Service({"a": 2, "b": 100})

    poller = Poller(POLICY)
    tasks = []
    for task_id in ("a", "b"):
        await wait_for(poller, "family", task_id, service.get, make_waiter())
        await asyncio.sleep(1)
        tasks.append(len(asyncio.all_tasks()))
    await poller.aclose()
    assert tasks == [1, 1]


async def test_cancelled_wait_does_not_affect_others() -> None:
    """If one of two waits for a task is cancelled during a request, the other one gets the record."""
    service = Service({"a": 10}, latency=1)

    poller = Poller(POLICY)
    first = asyncio.create_task(wait_for(poller, "family", "a", service.get, make_waiter()))
    second = asyncio.create_task(wait_for(poller, "family", "a", service.get, make_waiter()))
    await asyncio.sleep(2.5)
    first.cancel()
    record = await second
    await asyncio.wait([first])
    await poller.aclose()
    assert record.status is TaskStatus.SUCCEEDED


async def test_last_wait_cancels_the_request() -> None:
    """The end of the only wait cancels its request, and a new wait starts from the beginning."""
    service = Service({"a": 20}, latency=1)

    poller = Poller(POLICY)
    first = asyncio.create_task(wait_for(poller, "family", "a", service.get, make_waiter()))
    await asyncio.sleep(2.5)
    first.cancel()
    await asyncio.wait([first])
    await asyncio.sleep(0)
    assert service.in_flight == 0
    await wait_for(poller, "family", "a", service.get, make_waiter())
    await poller.aclose()
    assert service.polls["a"][:2] == [2, 4.5]


async def test_bug_affects_one_task() -> None:
    """A bug in the poll of one task ends its waits, and not those for another task."""
    service = Service({"good": 30})

    async def get(task_id: str) -> TaskRecord:
        if task_id == "bad":
            msg = "a bug"
            raise RuntimeError(msg)
        return await service.get(task_id)

    poller = Poller(POLICY)
    good = asyncio.create_task(wait_for(poller, "family", "good", get, make_waiter()))
    with pytest.raises(A2EError, match="RuntimeError") as caught:
        await wait_for(poller, "family", "bad", get, make_waiter())
    assert caught.value.task_id == "bad"
    assert str(caught.value.__cause__) == "a bug"
    assert (await good).status is TaskStatus.SUCCEEDED
    await poller.aclose()


async def test_every_wait_gets_its_own_error_of_a_bug() -> None:
    """After a bug, each wait for the task raises its own exception object."""

    async def get(_: str) -> TaskRecord:
        msg = "gone"
        raise RuntimeError(msg)

    poller = Poller(POLICY)
    waits = [wait_for(poller, "family", "a", get, make_waiter()) for _ in range(3)]
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [str(error.__cause__) for error in errors if isinstance(error, A2EError)] == ["gone"] * 3
    assert len({id(error) for error in errors}) == 3
    await poller.aclose()


async def test_transient_errors_do_not_end_a_wait() -> None:
    """An outage of an hour is reported to the wait and does not end it."""
    service = Service({"a": 0})
    received: list[object] = []

    async def get(task_id: str) -> TaskRecord:
        if now() < 3600:
            msg = "down"
            raise NetworkError(msg)
        return await service.get(task_id)

    poller = Poller(POLICY)

    class Receiving(Waiter):
        def on_record(self, record: Any) -> Any:
            received.append(record)
            return record

        def on_error(self, error: A2EError) -> None:
            received.append(error)

    waiter = Receiving()
    await wait_for(poller, "family", "a", get, waiter)
    await poller.aclose()
    assert all(isinstance(item, NetworkError) for item in received[:-1])
    assert len(received) > 300
    assert isinstance(received[-1], TaskRecord)


async def test_closing_ends_all_waits() -> None:
    """Closing ends all waits with an error that has the task id, and leaves nothing running."""
    service = Service({str(n): 1e9 for n in range(30)}, latency=5)

    poller = Poller(POLICY)
    waits = [asyncio.create_task(wait_for(poller, "family", task, service.get, make_waiter())) for task in service.ends]
    await asyncio.sleep(3)
    await poller.aclose()
    for task_id, wait in zip(service.ends, waits, strict=True):
        with pytest.raises(ClientClosedError) as caught:
            await wait
        assert caught.value.task_id == task_id
    assert len(asyncio.all_tasks()) == 1
    assert service.in_flight == 0


async def test_request_cancelled_from_outside_is_repeated() -> None:
    """A request that is cancelled from outside of the poller is sent again."""
    service = Service({"a": 0})
    calls = 0

    async def get(task_id: str) -> TaskRecord:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return await service.get(task_id)

    poller = Poller(POLICY)
    await wait_for(poller, "family", "a", get, make_waiter())
    await poller.aclose()
    assert calls == 2


@pytest.mark.parametrize("steps", range(6))
async def test_cancelled_closing_ends_all_waits(steps: int) -> None:
    """Wherever `aclose` is cancelled, no wait hangs."""
    service = Service({str(n): 1e9 for n in range(250)}, latency=5)

    poller = Poller(POLICY)
    waits = [asyncio.create_task(wait_for(poller, "family", task, service.get, make_waiter())) for task in service.ends]
    await asyncio.sleep(3)
    closing = asyncio.create_task(poller.aclose())
    for _ in range(steps + 1):
        await asyncio.sleep(0)
    closing.cancel()
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(error) for error in ended} == {ClientClosedError}
    await asyncio.wait([closing])


async def test_old_outage_ends_no_later_wait() -> None:
    """An outage that ended while there were no waits does not use up the budget of a later wait."""
    a2e = UnreachableA2E((0, 100))

    poller = Poller(POLICY)
    times = []
    for begin in (0, 1000, 2000):
        await asyncio.sleep(begin - now())
        waiter = Waiter(outage_budget=1.0)
        with contextlib.suppress(OutageError, TimeoutError):
            async with asyncio.timeout(50):
                await wait_for(poller, "family", "a", a2e.get, waiter)
        times.append(now() - begin)
    await poller.aclose()
    assert times == [3, 50, 50]


async def test_wait_by_id_polls_at_once() -> None:
    """A wait that has only the id polls at once, although another wait has scheduled the task already."""
    service = Service({"a": 7.5})

    poller = Poller(PollPolicy(steps=((0.0, 1000.0),)))
    first = asyncio.create_task(wait_for(poller, "family", "a", service.get, make_waiter()))
    await asyncio.sleep(8)
    waiter = Waiter(at_once=True)
    await wait_for(poller, "family", "a", service.get, waiter)
    ended = now()
    await first
    await poller.aclose()
    assert ended == 8


async def test_empty_slots_are_removed() -> None:
    """A thousand waits that end by `poll_now` before their ticks leave no slots behind while another wait goes on."""
    poller = Poller(PollPolicy(steps=((0.0, 1e6),)))
    done: set[str] = set()

    async def get(task_id: str) -> TaskRecord:
        return TaskRecord(id=task_id, status=TaskStatus.SUCCEEDED if task_id in done else TaskStatus.RUNNING)

    active = asyncio.create_task(wait_for(poller, "family", "active", get, make_waiter()))
    for number in range(1000):
        wait = asyncio.create_task(wait_for(poller, "family", str(number), get, make_waiter()))
        await asyncio.sleep(3)
        done.add(str(number))
        poller.poll_now(str(number))
        await wait
    (queue,) = poller._queues.values()
    assert len(queue.slots) == 1
    active.cancel()
    await asyncio.wait([active])
    await poller.aclose()


class UnreachableA2E:
    """A2E as seen by the poller: unreachable in the given intervals of time, and no task ever ends."""

    def __init__(self, *outages: tuple[float, float]) -> None:
        self.outages = outages
        self.made = now()

    async def get(self, task_id: str) -> TaskRecord:
        """Return the record of a task, or raise a network error."""
        when = round(now() - self.made, 6)
        if any(begin <= when < end for begin, end in self.outages):
            msg = "down"
            raise NetworkError(msg)
        return TaskRecord(id=task_id, status=TaskStatus.RUNNING)


async def wait_ends(a2e: UnreachableA2E, *waits: tuple[float, float], ids: str = "aaaa") -> list[float]:
    """Return when waits end, each given by its start, its outage budget and its task."""

    async def end_of(poller: Poller, task_id: str, begin: float, budget: float) -> float:
        await asyncio.sleep(begin)
        waiter = Waiter(outage_budget=budget)
        with pytest.raises(OutageError) as caught:
            await wait_for(poller, "family", task_id, a2e.get, waiter)
        assert caught.value.task_id == task_id
        return round(now() - a2e.made, 6)

    poller = Poller(POLICY)
    ends = await asyncio.gather(*(end_of(poller, task_id, *wait) for task_id, wait in zip(ids, waits, strict=False)))
    await poller.aclose()
    return ends


async def test_outage_begins_with_the_first_failed_poll() -> None:
    """An outage begins with the first failed poll, and the budget ends on the second."""
    assert await wait_ends(UnreachableA2E((0, 1e6)), (0, 601)) == [2 + 601]
    assert await wait_ends(UnreachableA2E((100, 1e6)), (0, 601)) == [100 + 601]


async def test_record_ends_an_outage() -> None:
    """Outages that are shorter than the budget do not add up."""
    a2e = UnreachableA2E(*((begin, begin + 550) for begin in range(0, 6000, 600)), (6000, 1e6))
    assert await wait_ends(a2e, (0, 600)) == [6000 + 600]


async def test_every_wait_has_its_own_budget() -> None:
    """Each of several waits for one task ends with its own budget."""
    assert await wait_ends(UnreachableA2E((0, 1e6)), (0, 60), (0, 3600), (0, 1)) == [62, 3602, 3]


async def test_budget_counts_from_the_start_of_the_wait() -> None:
    """A wait that begins during an outage has its full budget."""
    assert await wait_ends(UnreachableA2E((0, 1e6)), (0, 10_000), (5000, 600)) == [10_002, 5600]


async def test_outage_affects_all_tasks() -> None:
    """A wait for another task that begins during an outage ends with its own budget too."""
    assert await wait_ends(UnreachableA2E((0, 1e6)), (0, 10_000), (5000, 600), ids="ab") == [10_002, 5600]


async def test_record_of_another_task_ends_an_outage() -> None:
    """While A2E sends the record of one task, errors of another task are no outage."""
    good = UnreachableA2E()
    bad = UnreachableA2E((0, 3600))

    async def get(task_id: str) -> TaskRecord:
        return await (good if task_id == "good" else bad).get(task_id)

    poller = Poller(POLICY)
    watching = asyncio.create_task(wait_for(poller, "family", "good", get, make_waiter()))
    waiter = Waiter(outage_budget=60)
    wait = asyncio.create_task(wait_for(poller, "family", "bad", get, waiter))
    await asyncio.sleep(3000)
    assert not wait.done()
    watching.cancel()
    with pytest.raises(OutageError):
        await wait
    ended = now()
    await poller.aclose()
    assert 3000 <= ended <= 3000 + 60


async def test_old_outage_does_not_count() -> None:
    """An outage that ended between two waits does not use up the budget of the second one."""
    assert await wait_ends(UnreachableA2E((0, 100), (5000, 1e6)), (0, 60), (4000, 600)) == [62, 5600]


async def test_permanent_error_ends_all_waits_of_a_task() -> None:
    """A token that is rejected twice ends every wait for the task, each with its own exception object."""

    async def get(_: str) -> TaskRecord:
        msg = "no"
        raise AuthenticationError(msg, status=401)

    poller = Poller(POLICY)
    waits = (wait_for(poller, "family", "a", get, make_waiter()) for _ in range(3))
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(error) for error in errors] == [AuthenticationError] * 3
    assert len({id(error) for error in errors}) == 3
    await poller.aclose()
    assert now() == 4


@pytest.mark.parametrize("seen", [False, True])
async def test_missing_task_ends_the_wait(seen: bool) -> None:  # noqa: FBT001  a parameter of the test
    """A 404 ends the wait after `invisible_for` if the task was never seen, and after two in a row if it was."""

    async def get(_: str) -> TaskRecord:
        msg = "no such task"
        raise NotFoundError(msg, status=404)

    poller = Poller(POLICY)
    waiter = Waiter(seen=seen)
    with pytest.raises(TaskNotFoundError):
        await wait_for(poller, "family", "a", get, waiter)
    await poller.aclose()
    assert now() == (4 if seen else POLICY.invisible_for)


async def test_single_not_found_ends_no_wait() -> None:
    """A single 404 between two records of the task, as a gateway may send it, does not end the wait."""
    service = Service({"a": 20})
    calls = 0

    async def get(task_id: str) -> TaskRecord:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            msg = "no such task"
            raise NotFoundError(msg, status=404)
        return await service.get(task_id)

    poller = Poller(POLICY)
    record = await wait_for(poller, "family", "a", get, make_waiter())
    await poller.aclose()
    assert record.status is TaskStatus.SUCCEEDED

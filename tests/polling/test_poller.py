"""The poller on virtual time: when it asks, whom it tells, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
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
from a2e_async._polling.fetcher import Questions
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.fixture(autouse=True)
def beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every beat begin with the first wait, instead of at random."""
    monkeypatch.setattr("random.random", lambda: 0.0)


async def waited(
    poller: Poller, family: str, task_id: str, ask: Callable[[str], Awaitable[TaskRecord]], waiter: Waiter
) -> TaskRecord:
    """Wait for a task of a family that is asked about one by one."""
    leave = poller.join(family, task_id, lambda: Questions(one=ask), waiter)
    try:
        record: TaskRecord = await waiter.done
    finally:
        leave()
    return record


class Service:
    """A2E as the poller sees it: tasks that end at a time, and questions that take a while."""

    def __init__(self, ends: dict[str, float], takes: float = 0.0) -> None:
        self.ends = ends
        self.takes = takes
        self.asked: dict[str, list[float]] = defaultdict(list)
        self.at_once = self.most_at_once = 0

    async def ask(self, task_id: str) -> TaskRecord:
        """Answer a question."""
        self.asked[task_id].append(now())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        done = now() >= self.ends[task_id]
        return TaskRecord(id=task_id, status=TaskStatus.SUCCEEDED if done else TaskStatus.RUNNING)


def waiter() -> Waiter:
    """Make a waiter that minds nothing but the end."""
    return Waiter(on_record=lambda _: None, on_trouble=lambda _: None)


POLICY = PollPolicy(initial=2, steps=((0, 2), (60, 5), (300, 10)), max_at_once=10)


async def test_schedule_grows_with_age() -> None:
    """The first look comes after `initial`, then every 2 s, after a minute every 5 s, after five every 10 s."""
    service = Service({"a": 330})

    poller = Poller(POLICY)
    await waited(poller, "family", "a", service.ask, waiter())
    await poller.aclose()
    asked = service.asked["a"]
    assert asked[:3] == [2, 4, 6]
    assert asked[29:33] == [60, 65, 70, 75]
    assert asked[-4:] == [300, 310, 320, 330]


async def test_no_more_questions_at_once_than_set() -> None:
    """A thousand tasks that are due together are asked about ten at a time, and all are."""
    service = Service({str(n): 0 for n in range(1000)}, takes=0.1)

    poller = Poller(POLICY)
    await asyncio.gather(*(waited(poller, "family", task_id, service.ask, waiter()) for task_id in service.ends))
    await poller.aclose()
    assert service.most_at_once == 10
    assert all(len(times) == 1 for times in service.asked.values())


async def test_same_id_in_two_families() -> None:
    """Ids are unique within a family only: two tasks of one id do not mix."""
    one, two = Service({"a": 0}), Service({"a": 10})

    poller = Poller(POLICY)

    async def wait(family: str, service: Service) -> float:
        await waited(poller, family, "a", service.ask, waiter())
        return now()

    ended = await asyncio.gather(wait("one", one), wait("two", two))
    await poller.aclose()
    assert [*ended] == [2, 10]


async def test_loop_ends_and_begins_again() -> None:
    """When nobody waits, the loop ends; a later wait begins it again."""
    service = Service({"a": 2, "b": 100})

    poller = Poller(POLICY)
    tasks = []
    for task_id in ("a", "b"):
        await waited(poller, "family", task_id, service.ask, waiter())
        await asyncio.sleep(1)
        tasks.append(len(asyncio.all_tasks()))
    await poller.aclose()
    assert tasks == [1, 1]


async def test_cancelled_waiter_leaves_the_others() -> None:
    """One of two waiters is cancelled in the middle of a question; the other one gets its answer."""
    service = Service({"a": 10}, takes=1)

    poller = Poller(POLICY)
    first = asyncio.create_task(waited(poller, "family", "a", service.ask, waiter()))
    second = asyncio.create_task(waited(poller, "family", "a", service.ask, waiter()))
    await asyncio.sleep(2.5)
    first.cancel()
    record = await second
    await asyncio.wait([first])
    await poller.aclose()
    assert record.status is TaskStatus.SUCCEEDED


async def test_last_waiter_takes_the_question_along() -> None:
    """When the only waiter leaves, the question under way is cancelled and a new wait begins afresh."""
    service = Service({"a": 20}, takes=1)

    poller = Poller(POLICY)
    first = asyncio.create_task(waited(poller, "family", "a", service.ask, waiter()))
    await asyncio.sleep(2.5)
    first.cancel()
    await asyncio.wait([first])
    await asyncio.sleep(0)
    assert service.at_once == 0
    await waited(poller, "family", "a", service.ask, waiter())
    await poller.aclose()
    assert service.asked["a"][:2] == [2, 4.5]


async def test_one_broken_task_does_not_disturb_another() -> None:
    """An error that ends one wait leaves the wait on another task alone."""
    service = Service({"good": 30})

    async def ask(task_id: str) -> TaskRecord:
        if task_id == "bad":
            msg = "a bug"
            raise RuntimeError(msg)
        return await service.ask(task_id)

    poller = Poller(POLICY)
    good = asyncio.create_task(waited(poller, "family", "good", ask, waiter()))
    with pytest.raises(A2EError, match="RuntimeError") as caught:
        await waited(poller, "family", "bad", ask, waiter())
    assert caught.value.task_id == "bad"
    assert str(caught.value.__cause__) == "a bug"
    assert (await good).status is TaskStatus.SUCCEEDED
    await poller.aclose()


async def test_every_waiter_gets_an_error_of_its_own() -> None:
    """An error that ends the waits on a task reaches each waiter as its own exception."""

    async def ask(_: str) -> TaskRecord:
        msg = "gone"
        raise RuntimeError(msg)

    poller = Poller(POLICY)
    waits = [waited(poller, "family", "a", ask, waiter()) for _ in range(3)]
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [str(error.__cause__) for error in errors if isinstance(error, A2EError)] == ["gone"] * 3
    assert len({id(error) for error in errors}) == 3
    await poller.aclose()


async def test_trouble_is_told_and_outlived() -> None:
    """An outage of an hour is told to the waiter and does not end the wait."""
    service = Service({"a": 0})
    told: list[object] = []

    async def ask(task_id: str) -> TaskRecord:
        if now() < 3600:
            msg = "down"
            raise NetworkError(msg)
        return await service.ask(task_id)

    poller = Poller(POLICY)
    mine = Waiter(on_record=told.append, on_trouble=told.append)
    await waited(poller, "family", "a", ask, mine)
    await poller.aclose()
    assert all(isinstance(item, NetworkError) for item in told[:-1])
    assert len(told) > 300
    assert isinstance(told[-1], TaskRecord)


async def test_closing_wakes_everybody() -> None:
    """Closing ends all waits with an error that names the task, and leaves nothing running."""
    service = Service({str(n): 1e9 for n in range(30)}, takes=5)

    poller = Poller(POLICY)
    waits = [asyncio.create_task(waited(poller, "family", task, service.ask, waiter())) for task in service.ends]
    await asyncio.sleep(3)
    await poller.aclose()
    for task_id, wait in zip(service.ends, waits, strict=True):
        with pytest.raises(ClientClosedError) as caught:
            await wait
        assert caught.value.task_id == task_id
    assert len(asyncio.all_tasks()) == 1
    assert service.at_once == 0


async def test_foreign_cancellation_of_a_question_is_outlived() -> None:
    """A question that is taken away by somebody else is asked again."""
    service = Service({"a": 0})
    asked = 0

    async def ask(task_id: str) -> TaskRecord:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise asyncio.CancelledError
        return await service.ask(task_id)

    poller = Poller(POLICY)
    await waited(poller, "family", "a", ask, waiter())
    await poller.aclose()
    assert asked == 2


@pytest.mark.parametrize("steps", range(6))
async def test_closing_that_is_cancelled_wakes_everybody(steps: int) -> None:
    """Wherever closing is cancelled, nobody is left waiting."""
    service = Service({str(n): 1e9 for n in range(250)}, takes=5)

    poller = Poller(POLICY)
    waits = [asyncio.create_task(waited(poller, "family", task, service.ask, waiter())) for task in service.ends]
    await asyncio.sleep(3)
    closing = asyncio.create_task(poller.aclose())
    for _ in range(steps + 1):
        await asyncio.sleep(0)
    closing.cancel()
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(error) for error in ended} == {ClientClosedError}
    await asyncio.wait([closing])


async def test_old_outage_ends_no_later_wait() -> None:
    """An outage that ended while nobody was waiting costs later waits nothing, however short their patience."""
    weather = Weather((0, 100))

    poller = Poller(POLICY)
    times = []
    for begin in (0, 1000, 2000):
        await asyncio.sleep(begin - now())
        mine = Waiter(on_record=lambda _: None, on_trouble=lambda _: None, outage_budget=1.0)
        with contextlib.suppress(OutageError, TimeoutError):
            async with asyncio.timeout(50):
                await waited(poller, "family", "a", weather.ask, mine)
        times.append(now() - begin)
    await poller.aclose()
    assert times == [3, 50, 50]


async def test_who_knows_nothing_of_a_task_asks_at_once() -> None:
    """A wait that begins with an id only is answered at once, although somebody else waits for the task already."""
    service = Service({"a": 7.5})

    poller = Poller(PollPolicy(steps=((0.0, 1000.0),)))
    first = asyncio.create_task(waited(poller, "family", "a", service.ask, waiter()))
    await asyncio.sleep(8)
    mine = Waiter(on_record=lambda _: None, on_trouble=lambda _: None, at_once=True)
    await waited(poller, "family", "a", service.ask, mine)
    ended = now()
    await first
    await poller.aclose()
    assert ended == 8


async def test_ticks_that_nobody_waits_for_are_forgotten() -> None:
    """A thousand waits, each ended by a nudge long before its turn, leave no turns behind while another one goes on."""
    poller = Poller(PollPolicy(steps=((0.0, 1e6),)))
    done: set[str] = set()

    async def ask(task_id: str) -> TaskRecord:
        return TaskRecord(id=task_id, status=TaskStatus.SUCCEEDED if task_id in done else TaskStatus.RUNNING)

    stays = asyncio.create_task(waited(poller, "family", "stays", ask, waiter()))
    for number in range(1000):
        wait = asyncio.create_task(waited(poller, "family", str(number), ask, waiter()))
        await asyncio.sleep(3)
        done.add(str(number))
        poller.nudge(str(number))
        await wait
    (kind,) = poller._kinds.values()
    assert len(kind.schedule) == 1
    stays.cancel()
    await asyncio.wait([stays])
    await poller.aclose()


class Weather:
    """A2E as the poller sees it, out of reach at some times, each a pair of beginning and end; no task ever ends."""

    def __init__(self, *outages: tuple[float, float]) -> None:
        self.outages = outages
        self.made = now()

    async def ask(self, task_id: str) -> TaskRecord:
        """Answer a question."""
        when = round(now() - self.made, 6)
        if any(begin <= when < end for begin, end in self.outages):
            msg = "down"
            raise NetworkError(msg)
        return TaskRecord(id=task_id, status=TaskStatus.RUNNING)


async def patience(weather: Weather, *waits: tuple[float, float], ids: str = "aaaa") -> list[float]:
    """Return when waits end that begin at a time with a budget, each for one of the ids."""

    async def one(poller: Poller, task_id: str, begin: float, budget: float) -> float:
        await asyncio.sleep(begin)
        mine = Waiter(on_record=lambda _: None, on_trouble=lambda _: None, outage_budget=budget)
        with pytest.raises(OutageError) as caught:
            await waited(poller, "family", task_id, weather.ask, mine)
        assert caught.value.task_id == task_id
        return round(now() - weather.made, 6)

    poller = Poller(POLICY)
    ends = await asyncio.gather(*(one(poller, task_id, *wait) for task_id, wait in zip(ids, waits, strict=False)))
    await poller.aclose()
    return ends


async def test_patience_begins_with_the_first_bad_answer() -> None:
    """An outage is as old as the first question that failed, and the budget ends to the second."""
    assert await patience(Weather((0, 1e6)), (0, 601)) == [2 + 601]
    assert await patience(Weather((100, 1e6)), (0, 601)) == [100 + 601]


async def test_good_answer_ends_an_outage() -> None:
    """Outages that are shorter than the budget do not add up."""
    weather = Weather(*((begin, begin + 550) for begin in range(0, 6000, 600)), (6000, 1e6))
    assert await patience(weather, (0, 600)) == [6000 + 600]


async def test_every_waiter_has_a_budget_of_its_own() -> None:
    """Of those who wait for one task, each is sent away when its own patience is over."""
    assert await patience(Weather((0, 1e6)), (0, 60), (0, 3600), (0, 1)) == [62, 3602, 3]


async def test_patience_is_counted_from_the_beginning_of_the_wait() -> None:
    """Who begins to wait in the middle of an outage has all of its budget before it."""
    assert await patience(Weather((0, 1e6)), (0, 10_000), (5000, 600)) == [10_002, 5600]


async def test_outage_concerns_all_tasks() -> None:
    """A wait for another task that begins in the middle of an outage is given up after its own budget too."""
    assert await patience(Weather((0, 1e6)), (0, 10_000), (5000, 600), ids="ab") == [10_002, 5600]


async def test_another_task_can_tell_that_a2e_is_there() -> None:
    """As long as A2E answers about one task, trouble with another one is no outage."""
    good = Weather()
    bad = Weather((0, 3600))

    async def ask(task_id: str) -> TaskRecord:
        return await (good if task_id == "good" else bad).ask(task_id)

    poller = Poller(POLICY)
    watching = asyncio.create_task(waited(poller, "family", "good", ask, waiter()))
    mine = Waiter(on_record=lambda _: None, on_trouble=lambda _: None, outage_budget=60)
    wait = asyncio.create_task(waited(poller, "family", "bad", ask, mine))
    await asyncio.sleep(3000)
    assert not wait.done()
    watching.cancel()
    with pytest.raises(OutageError):
        await wait
    ended = now()
    await poller.aclose()
    assert 3000 <= ended <= 3000 + 60


async def test_old_outage_does_not_count() -> None:
    """An outage that nobody was there to see the end of costs a later wait nothing of its budget."""
    assert await patience(Weather((0, 100), (5000, 1e6)), (0, 60), (4000, 600)) == [62, 5600]


async def test_refusal_ends_the_waits_at_once() -> None:
    """A token that is not accepted any more ends every wait on the task with an error of its own."""

    async def ask(_: str) -> TaskRecord:
        msg = "no"
        raise AuthenticationError(msg, status=401)

    poller = Poller(POLICY)
    waits = (waited(poller, "family", "a", ask, waiter()) for _ in range(3))
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(error) for error in errors] == [AuthenticationError] * 3
    assert len({id(error) for error in errors}) == 3
    await poller.aclose()
    assert now() == 2


@pytest.mark.parametrize("seen", [False, True])
async def test_missing_task_is_given_up(seen: bool) -> None:  # noqa: FBT001  a parameter of the test
    """A task that was never shown is waited for as long as `invisible_for` says, one that was shown until A2E repeats it."""

    async def ask(_: str) -> TaskRecord:
        msg = "no such task"
        raise NotFoundError(msg, status=404)

    poller = Poller(POLICY)
    mine = Waiter(on_record=lambda _: None, on_trouble=lambda _: None, seen=seen)
    with pytest.raises(TaskNotFoundError):
        await waited(poller, "family", "a", ask, mine)
    await poller.aclose()
    assert now() == (4 if seen else POLICY.invisible_for)


async def test_one_odd_answer_ends_no_wait() -> None:
    """A single "no such task" about a task that was shown, in between good answers, is a gateway's and is outlived."""
    service = Service({"a": 20})
    asked = 0

    async def ask(task_id: str) -> TaskRecord:
        nonlocal asked
        asked += 1
        if asked % 2 == 0:
            msg = "no such task"
            raise NotFoundError(msg, status=404)
        return await service.ask(task_id)

    poller = Poller(POLICY)
    record = await waited(poller, "family", "a", ask, waiter())
    await poller.aclose()
    assert record.status is TaskStatus.SUCCEEDED

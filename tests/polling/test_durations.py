"""Durations: when tasks are likely to end, and that a wrong guess is never worse than the usual schedule."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import itertools
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_a2e import ScriptedReader

from a2e_async import PollPolicy, TaskRecord, TaskStatus
from a2e_async._polling.durations import Durations, Plan
from a2e_async._polling.planner import wake_quiet
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import FamilyQueue, Waiter, Watch
from a2e_async._polling.schedule import count_polls

LATENCY = 0.05  # seconds for a request


def learned(ends: Sequence[float]) -> Durations:
    """Return a durations that knows when tasks have ended."""
    durations = Durations()
    durations.join()
    for end in ends:
        durations.on_end(end, end)
    durations.leave()
    return durations


def spread(count: int, first: float, last: float) -> list[float]:
    """Return evenly spread durations in a random order."""
    durations = [first + (last - first) * number / max(1, count - 1) for number in range(count)]
    random.Random(7).shuffle(durations)
    return durations


SHORT, LONG = learned(spread(200, 8, 40)), learned(spread(200, 300, 720))


@pytest.mark.pure
@pytest.mark.parametrize("count", [0, 1, 19])
def test_few_ends_tell_nothing(count: int) -> None:
    """Below 20 ends nothing is known."""
    assert learned([10.0] * count).best_pause(5.0, 2.0) is None


@pytest.mark.pure
@pytest.mark.parametrize("age", [40.0, 41.0, 1000.0])
def test_task_that_outlives_all_others_is_unknown(age: float) -> None:
    """Nothing is known about a task that is older than all ends."""
    assert SHORT.best_pause(age, 2.0) is None


@pytest.mark.pure
def test_nothing_ends_before_the_first_end() -> None:
    """Before the first known end the best pause lasts until shortly before it."""
    assert 0 < 300 - (100.0 + (LONG.best_pause(100.0, 5.0) or 0.0)) < 3


@pytest.mark.pure
def test_pause_follows_the_square_root_of_the_density() -> None:
    """Where ends are 13 times as dense, polls are 3.6 times as dense: that is the best trade of delay for requests."""
    short, long = SHORT.best_pause(10.0, 100.0) or 0.0, LONG.best_pause(320.0, 100.0) or 0.0
    assert long / short == pytest.approx((400 / 30) ** 0.5, rel=0.2)
    assert (LONG.best_pause(700.0, 10.0) or 0.0) < (LONG.best_pause(400.0, 10.0) or 0.0) < 4.0


@pytest.mark.pure
def test_gap_between_two_kinds_of_ends() -> None:
    """Between tasks that fail at once and those that succeed later, nothing ends."""
    durations = learned([*spread(40, 1, 3), *spread(160, 300, 720)])
    assert (durations.best_pause(10.0, 2.0) or 0.0) > 280


@pytest.mark.pure
def test_short_tasks_of_a_crowd_do_not_replace_the_long_ones() -> None:
    """When the first half of a thousand tasks has ended, the ends of the other half are still known."""
    durations = learned(spread(256, 8, 40))
    for _ in range(1000):
        durations.join()
    for end in sorted(spread(1000, 8, 40))[:500]:
        durations.on_end(end - 1, end)
        durations.leave()
    assert sum(end > 24 for end in durations.ends) > 60


@pytest.mark.pure
@given(st.lists(st.tuples(st.floats(-10, 1e6), st.floats(-10, 1e6))), st.floats(-1e3, 1e6), st.floats(0.01, 100.0))
def test_any_ends_give_a_pause(ends: list[tuple[float, float]], age: float, usual: float) -> None:
    """For any observations, ends stay in order and in number, and a pause is positive."""
    durations = Durations()
    durations.join()
    for after, until in ends * 30:
        durations.on_end(after, until)
    assert durations.ends == sorted(durations.ends)
    assert len(durations.ends) <= 256
    assert all(0 <= end <= 86400 for end in durations.ends)
    pause = durations.best_pause(age, usual)
    assert pause is None or pause > 0


@pytest.mark.pure
@given(st.integers(0, 5000), st.integers(0, 12), st.floats(0, 800), st.floats(0.5, 10))
@example(due=0, turns=0, age=350.0, interval=0.0)  # the last poll was sent late, at the tick of the usual one
@example(due=500, turns=3, age=100.0, interval=-1.0)
def test_plan_is_bounded(due: int, turns: int, age: float, interval: float) -> None:
    """An early poll is before the usual one. A quiet one is a usual poll, at most ten turns later, before any end."""
    usual = 1000.0 + interval
    plan = LONG.plan(usual, tick=1000.0, age=age, due=due, turns=turns, after=lambda at: at + interval)
    assert (plan.early is None) or (plan.is_likely and 1000.0 < plan.early < usual)
    assert plan.at == pytest.approx(usual + interval * len(plan.skipped))
    assert not plan.skipped or (plan.turns > 1 and due > 100) or turns > 1
    assert len(plan.skipped) < 12
    assert not plan.skipped or age > LONG.ends[0] or age + plan.at - 1000.0 <= LONG.ends[0]


@pytest.mark.pure
def test_turns_of_a_crowd() -> None:
    """Tasks that fit into one request take no turns; those that need two requests are polled in every second turn."""
    plan = functools.partial(LONG.plan, 1005.0, tick=1000.0, age=100.0, after=lambda at: at + 5.0)
    assert plan(due=100, turns=0) == Plan(1005.0)
    assert {plan(due=200, turns=0).at for _ in range(4)} == {1005.0, 1010.0}  # shared out
    assert plan(due=200, turns=2) == Plan(1010.0, skipped=(1005.0,), turns=2)


@pytest.mark.pure
def test_polls_that_are_left_out_and_made_up_for() -> None:
    """Quiet tasks that are woken after a poll that they left out use up what was saved, and no more than that."""
    queue = FamilyQueue(mock.Mock(), "image_to_video", mock.Mock())
    queue.saved = 0.5
    queue.watches = {name: Watch(name, queue, began=0.0, turns=2) for name in "ab"}
    durations = Durations(quiet={"a": Plan(10.0, skipped=(5.0,), turns=2), "b": Plan(10.0, turns=2)})
    woken = [
        (watch.task_id, watch.turns, usual, is_late) for watch, usual, is_late in wake_quiet(queue, durations, 6.0)
    ]
    assert woken == [("a", 0, 10.0, True), ("b", 0, 10.0, False)]
    assert queue.saved == 0.0
    assert not durations.quiet


@pytest.mark.pure
@pytest.mark.parametrize(
    ("age", "polls"), [(0, 0), (1, 0), (2, 1), (24, 12), (60, 30), (65, 31), (300, 78), (720, 120)]
)
def test_count_of_the_usual_polls(age: float, polls: int) -> None:
    """Polls are every 2 s, after a minute every 5 s, after five minutes every 10 s."""
    assert count_polls(PollPolicy(), age) == polls


# The poller with kinds, on virtual time


@attrs.define
class Service:
    """A2E with many tasks of one price.

    Attributes:
        ends: Task id -> when it ends.
        created: Task id -> when it was accepted.
        requests: Number of requests so far.
    """

    ends: dict[str, float] = attrs.field(factory=dict)
    created: dict[str, dt.datetime] = attrs.field(factory=dict)
    requests: int = 0

    async def get_many(self, ids: list[str]) -> dict[str, TaskRecord]:
        """Return the records of tasks, as they are in the middle of the request."""
        self.requests += 1
        now = asyncio.get_running_loop().time() + LATENCY / 2
        await asyncio.sleep(LATENCY)
        words = {True: TaskStatus.SUCCEEDED, False: TaskStatus.RUNNING}
        return {
            task_id: TaskRecord(
                id=task_id, status=words[now >= self.ends[task_id]], coins=30, created_at=self.created[task_id]
            )
            for task_id in ids
        }

    async def get(self, task_id: str) -> TaskRecord:
        """Return the record of a task."""
        return (await self.get_many([task_id]))[task_id]


@attrs.frozen
class Cost:
    """What the waits for a group of tasks have cost: requests, and the mean delay in seconds."""

    requests: int
    delay: float


async def wait_for_group(poller: Poller, service: Service, durations: Sequence[float], within: float) -> Cost:
    """Wait for tasks that are started within some seconds."""
    loop, delays, before = asyncio.get_running_loop(), list[float](), service.requests
    number = len(service.ends)

    async def wait_for(task_id: str, start: float, seconds: float) -> None:
        await asyncio.sleep(start)
        end = service.ends[task_id] = loop.time() + seconds
        service.created[task_id] = dt.datetime.fromtimestamp(time.time(), dt.UTC)
        waiter = Waiter()
        unsubscribe = poller.subscribe("family", task_id, lambda: ScriptedReader(service.get, service.get_many), waiter)
        try:
            await waiter.done
        finally:
            unsubscribe()
        delays.append(loop.time() - end)

    chance = random.Random(number)
    await asyncio.gather(
        *(wait_for(f"{number + n}", chance.random() * within, each) for n, each in enumerate(durations))
    )
    return Cost(service.requests - before, statistics.mean(delays))


def cost_of(learned_from: Sequence[float], durations: Sequence[float], within: float, *, usual: bool) -> Cost:
    """Return the cost of waiting for tasks after others have ended, by the usual schedule or with the durations."""

    async def main() -> Cost:
        service, poller = Service(), Poller(PollPolicy())
        await wait_for_group(poller, service, learned_from, 0.0)
        cost = await wait_for_group(poller, service, durations, within)
        await poller.aclose()
        assert not any(queue.slots or queue.early or queue.watches for queue in poller._queues.values())
        return cost

    plain = mock.patch.object(Durations, "plan", lambda _, usual, **__: Plan(usual))
    with mock.patch("random.random", return_value=0.3), plain if usual else contextlib.nullcontext():
        return asyncio.run(main())


def test_short_tasks() -> None:
    """A thousand tasks of 8 to 40 s: a mean delay of at most 0.6 s, with at most 0.2 requests a task."""
    cost = cost_of(spread(300, 8, 40), spread(1000, 8, 40), 0.0, usual=False)
    assert cost.delay <= 0.6
    assert cost.requests <= 200


def test_long_tasks() -> None:
    """Five hundred tasks of 5 to 12 minutes: a mean delay of at most 2 s instead of 5, with no more requests than usual."""
    durations = spread(500, 300, 720)
    cost, usual = (cost_of(spread(60, 300, 720), durations, 0.0, usual=usual) for usual in (False, True))
    assert cost.delay <= 2.0
    assert usual.delay > 4.9
    assert cost.requests <= usual.requests


def test_free_places_for_tasks_that_are_started_one_by_one() -> None:
    """Sixty tasks of 5 to 12 minutes, started within five minutes: a third of the delay, and no more requests."""
    durations = spread(60, 300, 720)
    cost, usual = (cost_of(spread(60, 300, 720), durations, 300.0, usual=usual) for usual in (False, True))
    assert cost.delay <= usual.delay / 3
    assert cost.requests <= usual.requests


_RANGES = st.tuples(st.sampled_from([0.5, 3.0, 8.0, 20.0, 60.0, 200.0]), st.floats(1.0, 4.0))


def _draw(parts: list[tuple[float, float]], count: int) -> Iterator[float]:
    chance = random.Random(count)
    for number in range(count):
        first, factor = parts[number % len(parts)]
        yield chance.uniform(first, first * factor)


@settings(max_examples=8, deadline=None)
@given(
    learned_from=_RANGES,
    parts=st.lists(_RANGES, min_size=1, max_size=3),
    count=st.sampled_from([1, 30, 110, 150, 250]),
    within=st.sampled_from([0.0, 5.0, 60.0]),
)
@example(learned_from=(8.0, 4.0), parts=[(60.0, 1.5)], count=250, within=0.0)  # they take longer
@example(learned_from=(200.0, 2.0), parts=[(3.0, 4.0)], count=250, within=0.0)  # they are shorter
@example(learned_from=(200.0, 2.0), parts=[(0.5, 2.0), (200.0, 2.0), (200.0, 2.0)], count=250, within=5.0)  # some fail
def test_wrong_guess_is_not_worse(
    learned_from: tuple[float, float], parts: list[tuple[float, float]], count: int, within: float
) -> None:
    """For any durations before and now: no more requests, and no more delay than one request takes.

    A short task that ended when it was expected to may have cost 20 polls, that is 0.2 requests.
    """
    before, durations = [*_draw([learned_from], 40)], [*_draw(parts, count)]
    run = functools.partial(cost_of, before, durations, within)
    cost, usual = run(usual=False), run(usual=True)
    policy = PollPolicy()
    earned = sum(Durations.earned(count_polls(policy, seconds)) for seconds in durations)
    assert cost.requests <= usual.requests + earned + 1
    assert cost.delay <= usual.delay * 1.02 + LATENCY


async def test_wait_that_needs_the_progress_is_never_quiet() -> None:
    """A wait that reports changes gets each usual record, though nothing ends now."""
    service, poller, seen = Service(), Poller(PollPolicy()), list[float]()
    await wait_for_group(poller, service, spread(60, 90, 110), 0.0)
    others = asyncio.create_task(wait_for_group(poller, service, spread(400, 90, 110), 0.0))
    loop = asyncio.get_running_loop()
    service.ends["progress"] = loop.time() + 100
    service.created["progress"] = dt.datetime.fromtimestamp(time.time(), dt.UTC)

    class Watching(Waiter):
        def on_record(self, record: Any) -> Any:
            seen.append(loop.time())
            return record

    waiter = Watching(wants_changes=True)
    reader = ScriptedReader(service.get, service.get_many)
    unsubscribe = poller.subscribe("family", "progress", lambda: reader, waiter)
    await waiter.done
    unsubscribe()
    await others
    await poller.aclose()
    assert max(later - before for before, later in itertools.pairwise(seen)) <= 5.1


async def test_prices_without_end() -> None:
    """A server that invents a price for each task does not fill the memory."""
    price = 0.0

    async def get(task_id: str) -> TaskRecord:
        return TaskRecord(id=task_id, status=TaskStatus.RUNNING, coins=price)

    poller, reader = Poller(PollPolicy()), ScriptedReader(get)
    for number in range(100):
        price = float(number)
        waiter = Waiter()
        unsubscribe = poller.subscribe("family", f"{number}", lambda: reader, waiter)
        await asyncio.sleep(3)
        unsubscribe()
    assert [len(queue.kinds) for queue in poller._queues.values()] == [100 - 64]
    await poller.aclose()

"""A day of two thousand tasks with outages, or a short one of four hundred, on virtual time."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import random
from typing import TYPE_CHECKING, Any

import attrs
import in_memory_a2e
import pytest
from polled_a2e import PolledA2E, drop_response, make_response, started_handle
from virtual_clock import now

from a2e_async import A2EClient, Config, PollPolicy, TaskHandle

if TYPE_CHECKING:
    from a2e_async._protocol.messages import Request, Response

pytestmark = pytest.mark.timeout(400)  # with asyncio's debug mode and a busy machine

POLICY = PollPolicy()
TICK = 1.0


@attrs.frozen
class Plan:
    """Plan of a day.

    Attributes:
        seed: Seed of all random numbers.
        tasks: Number of tasks.
        bursts: Number of bursts, in which half of the waits begin.
        hours: Length of the day.
        outages: Start and end of each outage, in seconds.
    """

    seed: int
    tasks: int
    bursts: int
    hours: int
    outages: tuple[tuple[float, float], ...]

    def is_outage(self, now: float) -> bool:
        """Return whether A2E is unreachable."""
        return any(begin <= now < end for begin, end in self.outages)


SHORT = Plan(2, 400, 2, 4, ((1800.0, 2100.0), (4000.0, 4030.0), (7000.0, 10_000.0)))
WHOLE = Plan(2, 2000, 10, 24, ((3600.0, 3900.0), (20_000.0, 20_030.0), (40_000.0, 47_200.0), (70_000.0, 70_400.0)))


def interval(age: float) -> float:
    """Return the interval of polls for an age."""
    return max(seconds for from_age, seconds in POLICY.steps if age >= from_age)


@attrs.frozen
class Day:
    """The events of one day."""

    plan: Plan
    service: PolledA2E
    began: dict[str, float]
    ended: dict[str, float]


async def run_day(plan: Plan) -> Day:
    """Begin waits over the day, in bursts and one by one. Tasks take 1 to 20 minutes, a few of them hours."""
    chance = random.Random(plan.seed)
    last = plan.hours * 3600.0 - 7200
    bursts = [chance.uniform(0, last) for _ in range(plan.bursts)]
    starts: dict[str, float] = {}
    for number in range(plan.tasks):
        begin = chance.choice(bursts) + chance.uniform(0, 20) if chance.random() < 0.5 else chance.uniform(0, last)
        starts[f"{number:024x}"] = begin
    durations = [7200.0 if chance.random() < 0.02 else 1200.0 for _ in starts]
    service = PolledA2E(
        {
            task_id: begin + chance.uniform(60, duration)
            for (task_id, begin), duration in zip(starts.items(), durations, strict=True)
        }
    )

    def fault(request: Request, ids: list[str]) -> Response | None:
        if plan.is_outage(service.now):
            return make_response(None, 502) if chance.random() < 0.5 else drop_response()
        return None

    service.fault = fault
    began: dict[str, float] = {}
    ended: dict[str, float] = {}

    async def wait(a2e: A2EClient, task_id: str) -> None:
        await asyncio.sleep(starts[task_id])
        handle: TaskHandle[Any] = started_handle(a2e, task_id)
        began[task_id] = now()
        await handle.wait_until_done(None, outage_budget=None)
        ended[task_id] = now()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.random", random.Random(plan.seed).random)  # for the phase of the grid
        async with in_memory_a2e.client_with_transport(patch, service, config=Config(poll=POLICY)) as a2e:
            await asyncio.gather(*(wait(a2e, task_id) for task_id in starts))
    return Day(plan, service, began, ended)


@pytest.fixture(scope="module", params=[SHORT, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["short", "whole"])
def day(request: pytest.FixtureRequest) -> Day:
    """Run a day, once for all of its tests."""
    return asyncio.run(run_day(request.param))


def test_all_waits_end(day: Day) -> None:
    """All waits end, in spite of the outages."""
    assert len(day.ended) == day.plan.tasks


def test_no_wait_ends_later_than_an_interval(day: Day) -> None:
    """A wait ends within an interval and a tick after its task, or after the outage at that time: no drift."""
    for task_id, done in day.service.ends.items():
        latest = done + interval(done - day.began[task_id]) + TICK + 0.5
        while any(begin <= latest and done < end for begin, end in day.plan.outages):
            over = next(end for begin, end in day.plan.outages if begin <= latest and done < end)
            done = over  # noqa: PLW2901  it could not be polled earlier
            latest = over + interval(over - day.began[task_id]) + 2 * TICK + 1
        assert day.ended[task_id] <= latest


def test_polls_of_a_task_are_an_interval_apart(day: Day) -> None:
    """Between two polls of a task is its interval, less the tenth of a tick that a poll can be late.

    The exceptions are the probes of an outage, one task every ten seconds at most, one more poll of the other tasks
    after a probe with a record, and free places in a batch with tasks that are due.
    """
    last: dict[str, float] = {}  # the last poll of each task that was due
    with_due: set[float] = set()  # when batches with such a poll were sent
    early: list[tuple[float, str]] = []
    for when, kind, ids in day.service.polls:
        for task_id in ids if kind != "page" else ():
            before = last.get(task_id)
            assert before is not None or when >= day.began[task_id] + POLICY.initial
            if before is None or when - before >= interval(before - day.began[task_id]) - TICK / 10:
                last[task_id] = when
                with_due.add(when)
            else:
                early.append((when, kind))
    probes = [when for when, kind in early if kind == "one"]
    others = {when for when, kind in early if kind != "one"} - with_due
    # a probe after the end of the outage, and then the other tasks
    assert all(any(0 <= when - end < 12 for _, end in day.plan.outages) for when in others)
    probes.sort()
    assert all(day.plan.is_outage(when - 12) or day.plan.is_outage(when) for when in probes)
    assert all(later - earlier >= 9.9 for earlier, later in itertools.pairwise(probes))


def test_no_burst_after_an_outage(day: Day) -> None:
    """In the ten seconds after an outage, there are no more polls than batches of waiting tasks and ticks."""
    all_times = sorted(when for when, _, _ in day.service.polls)
    for begin, end in day.plan.outages:
        waiting = sum(day.began[task_id] < end and day.ended[task_id] >= begin for task_id in day.ended)
        count = bisect.bisect(all_times, end + 10) - bisect.bisect(all_times, end)
        assert count <= 10 / TICK * (1 + waiting / 100 / 2)


def test_day_costs_few_polls(day: Day) -> None:
    """The day costs a fraction of one poll for each task and interval."""
    without_batches = sum(
        (min(day.ended[task_id] - began, 60) / 2)
        + max(0.0, min(day.ended[task_id] - began, 300) - 60) / 5
        + max(0.0, day.ended[task_id] - began - 300) / 10
        for task_id, began in day.began.items()
    )
    assert len(day.service.polls) < without_batches / 4


def test_batches_are_full(day: Day) -> None:
    """No batch has more than a hundred ids, and in a burst most tasks share batches."""
    sizes = [len(ids) for _, kind, ids in day.service.polls if kind == "batch"]
    assert 50 < max(sizes) <= 100
    assert sum(sizes) / len(sizes) > 4

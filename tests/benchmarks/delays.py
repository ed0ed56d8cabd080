"""What learned durations bring: requests and delays of waits, by the usual schedule and with the durations.

Virtual time, so that requests and delays are exact and the same on each machine. The poller, its schedule and its batches
are those of the package; a function answers instead of HTTP, in 50 ms. First 300 tasks are waited for, from which the
client learns. Then come those that are measured. Run it with ``nox -s bench -- delays``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import pathlib
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING
from unittest import mock

import attrs

from a2e_async import PollPolicy, TaskRecord, TaskStatus
from a2e_async._polling.durations import Durations, Plan
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter
from a2e_async.testing import virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks._report import Row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import Row, report

LATENCY = 0.05  # seconds
PHASES = (0.0, 0.25, 0.5, 0.75)  # of the grid of ticks; the rows show the worst one

SHORT, LONG = (8.0, 40.0), (300.0, 720.0)  # seconds of the shortest and of the longest task


@attrs.define(eq=False)
class Service:
    """A2E, as a reader of the poller."""

    has_batches = True
    has_list = False
    ends: dict[str, float] = attrs.field(factory=dict)
    created: dict[str, dt.datetime] = attrs.field(factory=dict)
    requests: int = 0

    async def get_many(self, ids: list[str]) -> dict[str, TaskRecord]:
        """Return the records of tasks."""
        self.requests += 1
        now = asyncio.get_running_loop().time() + LATENCY / 2
        await asyncio.sleep(LATENCY)
        return {each: self._record(each, now) for each in ids}

    async def get(self, task_id: str) -> TaskRecord:
        """Return the record of a task."""
        return (await self.get_many([task_id]))[task_id]

    def _record(self, task_id: str, now: float) -> TaskRecord:
        status = TaskStatus.SUCCEEDED if now >= self.ends[task_id] else TaskStatus.RUNNING
        return TaskRecord(id=task_id, status=status, coins=30, created_at=self.created[task_id])


@attrs.frozen
class Cost:
    """Requests, and the mean delay in seconds."""

    requests: int
    delay: float


async def wait_for_all(poller: Poller, service: Service, durations: Sequence[float], within: float) -> Cost:
    """Wait for tasks that are started within some seconds."""
    loop, delays, before, first = asyncio.get_running_loop(), list[float](), service.requests, len(service.ends)
    chance = random.Random(first)

    async def wait_for(number: int, start: float, seconds: float) -> None:
        await asyncio.sleep(start)
        task_id = f"{number}"
        end = service.ends[task_id] = loop.time() + seconds
        service.created[task_id] = dt.datetime.fromtimestamp(time.time(), dt.UTC)
        waiter = Waiter()
        unsubscribe = poller.subscribe("family", task_id, lambda: service, waiter)  # type: ignore[arg-type,return-value]
        await waiter.done
        unsubscribe()
        delays.append(loop.time() - end)

    waits = (
        wait_for(number, chance.random() * within, seconds) for number, seconds in enumerate(durations, start=first)
    )
    await asyncio.gather(*waits)
    return Cost(service.requests - before, statistics.mean(delays))


def spread(count: int, first: float, last: float) -> list[float]:
    """Return evenly spread durations in a random order."""
    durations = [first + (last - first) * number / max(1, count - 1) for number in range(count)]
    random.Random(7).shuffle(durations)
    return durations


def measure(
    known: tuple[float, float], actual: tuple[float, float], count: int, within: float = 0.0, *, usual: bool
) -> Cost:
    """Return the cost in the worst phase of the grid."""

    async def main() -> Cost:
        service, poller = Service(), Poller(PollPolicy())
        await wait_for_all(poller, service, spread(300, *known), 0.0)
        cost = await wait_for_all(poller, service, spread(count, *actual), within)
        await poller.aclose()
        return cost

    costs = []
    plan = Durations.plan if not usual else lambda _, usual, **__: Plan(usual)
    for phase in PHASES if count > 1 else PHASES[:1]:
        grid = mock.patch("random.random", return_value=phase)
        with grid, mock.patch.object(Durations, "plan", plan), virtual_time():
            costs.append(asyncio.run(main()))
    return Cost(max(cost.requests for cost in costs), max(cost.delay for cost in costs))


def compare(
    name: str, known: tuple[float, float], actual: tuple[float, float], count: int, within: float = 0.0
) -> list[Row]:
    """Return the rows of a case: its delay and requests may not be more than by the usual schedule."""
    usual, ours = (measure(known, actual, count, within, usual=usual) for usual in (True, False))
    return [
        Row(
            name=f"{name}, delay",
            value=ours.delay / usual.delay,
            bound=1.05,
            by_hand=usual.delay,
            ours=ours.delay,
            scale="s",
        ),
        Row(
            name=f"{name}, requests",
            value=ours.requests / usual.requests,
            bound=1.05,
            by_hand=usual.requests,
            ours=ours.requests,
        ),
    ]


def main() -> int:
    """Measure and print a table, in which "by hand" is the usual schedule; return 1 if a row is over its bound."""
    short, usual_short = (measure(SHORT, SHORT, 1000, usual=usual) for usual in (False, True))
    long, usual_long = (measure(LONG, LONG, 1000, usual=usual) for usual in (False, True))
    rows = [
        Row(
            name="1,000 tasks of 8 to 40 s, mean delay",
            value=short.delay,
            bound=0.6,
            unit="s",
            by_hand=usual_short.delay,
        ),
        Row(
            name="1,000 tasks of 8 to 40 s, requests a task",
            value=short.requests / 1000,
            bound=0.2,
            by_hand=usual_short.requests / 1000,
        ),
        Row(
            name="1,000 tasks of 5 to 12 min, mean delay",
            value=long.delay,
            bound=1.5,
            unit="s",
            by_hand=usual_long.delay,
        ),
        Row(
            name="1,000 tasks of 5 to 12 min, requests a task",
            value=long.requests / 1000,
            bound=usual_long.requests / 1000,
            by_hand=usual_long.requests / 1000,
        ),
        *compare("60 tasks of 5 to 12 min, within 5 min", LONG, LONG, 60, 300.0),
        *compare("one task of 5 to 12 min", LONG, LONG, 1),
        *compare("wrong guess, 5 to 12 min instead of 8 to 40 s", SHORT, LONG, 1000),
        *compare("wrong guess, 60 to 90 s instead of 8 to 40 s", SHORT, (60.0, 90.0), 1000),
        *compare("wrong guess, 8 to 40 s instead of 5 to 12 min", LONG, SHORT, 1000),
        *compare("wrong guess, 1 to 6 s instead of 8 to 40 s", SHORT, (1.0, 6.0), 1000),
    ]
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())

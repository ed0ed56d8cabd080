"""A day of two thousand tasks with outages, or a short one of four hundred: the schedule keeps its promises."""

from __future__ import annotations

import asyncio
import bisect
import collections
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
    """What is to happen.

    Attributes:
        seed: Of all that is left to chance.
        tasks: How many are waited for.
        bursts: Moments at which half of the waits begin.
        hours: How long it lasts.
        outages: Beginnings and ends, in seconds.
    """

    seed: int
    tasks: int
    bursts: int
    hours: int
    outages: tuple[tuple[float, float], ...]

    def is_out(self, now: float) -> bool:
        """Tell whether A2E is out of reach."""
        return any(begin <= now < end for begin, end in self.outages)


SHORT = Plan(2, 400, 2, 4, ((1800.0, 2100.0), (4000.0, 4030.0), (7000.0, 10_000.0)))
WHOLE = Plan(2, 2000, 10, 24, ((3600.0, 3900.0), (20_000.0, 20_030.0), (40_000.0, 47_200.0), (70_000.0, 70_400.0)))


def interval(age: float) -> float:
    """Say how often a task of an age may be asked about."""
    return max(seconds for from_age, seconds in POLICY.steps if age >= from_age)


@attrs.frozen
class Day:
    """What happened."""

    plan: Plan
    service: PolledA2E
    began: dict[str, float]
    ended: dict[str, float]


async def spend(plan: Plan) -> Day:
    """Begin waits all over the day, in bursts and one by one; jobs take 1 to 20 minutes, a few of them hours."""
    dice = random.Random(plan.seed)
    last = plan.hours * 3600.0 - 7200
    bursts = [dice.uniform(0, last) for _ in range(plan.bursts)]
    starts: dict[str, float] = {}
    for number in range(plan.tasks):
        begin = dice.choice(bursts) + dice.uniform(0, 20) if dice.random() < 0.5 else dice.uniform(0, last)
        starts[f"{number:024x}"] = begin
    longest = [7200.0 if dice.random() < 0.02 else 1200.0 for _ in starts]
    service = PolledA2E(
        {
            task_id: begin + dice.uniform(60, most)
            for (task_id, begin), most in zip(starts.items(), longest, strict=True)
        }
    )

    def weather(request: Request, ids: list[str]) -> Response | None:
        if plan.is_out(service.now):
            return make_response(None, 502) if dice.random() < 0.5 else drop_response()
        return None

    service.fault = weather
    began: dict[str, float] = {}
    ended: dict[str, float] = {}

    async def wait(a2e: A2EClient, task_id: str) -> None:
        await asyncio.sleep(starts[task_id])
        handle: TaskHandle[Any] = started_handle(a2e, task_id)
        began[task_id] = now()
        await handle.wait_until_done(None, outage_budget=None)
        ended[task_id] = now()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.random", random.Random(plan.seed).random)  # when the beat falls
        async with in_memory_a2e.client_with_transport(patch, service, config=Config(poll=POLICY)) as a2e:
            await asyncio.gather(*(wait(a2e, task_id) for task_id in starts))
    return Day(plan, service, began, ended)


@pytest.fixture(scope="module", params=[SHORT, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["short", "whole"])
def day(request: pytest.FixtureRequest) -> Day:
    """Spend a day, once for all tests of it."""
    return asyncio.run(spend(request.param))


def test_everybody_comes_back(day: Day) -> None:
    """All waits end, outages or not."""
    assert len(day.ended) == day.plan.tasks


def test_nobody_waits_longer_than_an_interval(day: Day) -> None:
    """A wait ends within an interval and a tick of its task, unless A2E was out of reach then: no drift."""
    for task_id, done in day.service.ends.items():
        latest = done + interval(done - day.began[task_id]) + TICK + 0.5
        while any(begin <= latest and done < end for begin, end in day.plan.outages):
            over = next(end for begin, end in day.plan.outages if begin <= latest and done < end)
            done = over  # noqa: PLW2901  it could not be asked about earlier
            latest = over + interval(over - day.began[task_id]) + 2 * TICK + 1
        assert day.ended[task_id] <= latest


def test_nothing_is_asked_more_often_than_its_interval(day: Day) -> None:
    """Between two questions about a task there is its interval, but for the tenth of a tick that a question can be late.

    The only others are those about one task of many, every ten seconds at most, that find out in an outage whether it is
    the operation or A2E that does not answer, and one more about the others when such a question is answered.
    """
    asked: dict[str, list[tuple[float, str]]] = collections.defaultdict(list)
    for when, how, ids in day.service.polls:
        for task_id in ids if how != "page" else ():
            asked[task_id].append((when, how))
    probes: list[float] = []
    for task_id, questions in asked.items():
        assert questions[0][0] >= day.began[task_id] + POLICY.initial
        for (before, _), (after, how) in itertools.pairwise(questions):
            if after - before >= interval(before - day.began[task_id]) - TICK / 10:
                continue
            if how == "one":
                probes.append(after)
            else:  # the probe that found out that an outage had just ended, so the others are asked about once more
                assert any(0 <= after - end < 12 for _, end in day.plan.outages)
    probes.sort()
    assert all(day.plan.is_out(when - 12) or day.plan.is_out(when) for when in probes)
    assert all(later - earlier >= 9.9 for earlier, later in itertools.pairwise(probes))


def test_no_burst_after_an_outage(day: Day) -> None:
    """In the ten seconds after an outage there are no more questions than slices of the tasks that wait and ticks."""
    times = sorted(when for when, _, _ in day.service.polls)
    for begin, end in day.plan.outages:
        waiting = sum(day.began[task_id] < end and day.ended[task_id] >= begin for task_id in day.ended)
        questions = bisect.bisect(times, end + 10) - bisect.bisect(times, end)
        assert questions <= 10 / TICK * (1 + waiting / 100 / 2)


def test_day_costs_few_questions(day: Day) -> None:
    """All together cost a fraction of what one question for each task and interval would."""
    alone = sum(
        (min(day.ended[task_id] - began, 60) / 2)
        + max(0.0, min(day.ended[task_id] - began, 300) - 60) / 5
        + max(0.0, day.ended[task_id] - began - 300) / 10
        for task_id, began in day.began.items()
    )
    assert len(day.service.polls) < alone / 4


def test_questions_are_full(day: Day) -> None:
    """No question holds more than a hundred ids, and in a burst most of them go together."""
    sizes = [len(ids) for _, how, ids in day.service.polls if how == "batch"]
    assert 50 < max(sizes) <= 100
    assert sum(sizes) / len(sizes) > 4

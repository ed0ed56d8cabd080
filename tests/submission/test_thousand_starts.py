"""A thousand starts through bad weather, with real sockets: nothing is started twice, nothing is lost."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from paid_starts import IMAGE_URL, make_client

from a2e_async import (
    A2EClient,
    A2EError,
    Pacing,
    PollPolicy,
    RetryPolicy,
    StartPolicy,
    SubmissionUncertainError,
    TaskFailedError,
    TaskHandle,
)
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from a2e_async.models import ImageToVideoRecord

Kind = tuple[int, int, int]
"""How many starts, by how many clients, and which bad weather."""


def kinds(starts: int, *seeds: int) -> list[Any]:
    """Give a small run for every day, and runs with `starts` starts for the session `soak`.

    There are many clients, since each slows down by itself when it is turned away, and the others need not be as slow as
    the slowest.
    """
    return [(120, 5, 1), *(pytest.param((starts, 40, seed), marks=pytest.mark.soak) for seed in seeds)]


CHANCES: dict[Fault, float] = {
    Fault("drop", after=True): 0.06,
    Fault("drop"): 0.02,
    Fault("refuse", seconds=0.05): 0.003,
    Fault("status", after=True): 0.03,
    Fault("status", status=500, after=True): 0.02,
    Fault("status", status=503, after=True): 0.02,
    Fault("status", status=504): 0.01,
    Fault("html", after=True): 0.02,
    Fault("html"): 0.01,
    Fault("cut"): 0.02,
    Fault("short"): 0.02,
    Fault("empty", after=True): 0.01,
    Fault("redirect", after=True): 0.01,
    Fault("delay", after=True, seconds=2.5): 0.03,
    Fault("delay", seconds=2.5): 0.01,
    Fault("429"): 0.002,
    Fault("429", retry_after=0.3): 0.002,
    Fault("busy"): 0.02,
}
"""About a third of the starts meet something, and most of these are charged nevertheless."""

ELSEWHERE: dict[Fault, float] = {
    Fault("drop"): 0.03,
    Fault("status"): 0.03,
    Fault("html"): 0.02,
    Fault("cut"): 0.02,
    Fault("short"): 0.02,
    Fault("redirect"): 0.01,
    Fault("busy"): 0.01,
    Fault("refuse", seconds=0.05): 0.001,
    Fault("delay", seconds=2.5): 0.01,
}

POLICIES: dict[str, Any] = {
    "request_timeout": 2.0,  # shorter than a delay, and long enough for a machine that has much else to do
    "connect_timeout": 1.5,
    "retry": RetryPolicy(max_attempts=8, max_time=10, base=0.02, max_delay=0.1),
    "pacing": Pacing(hold_back=0.05, max_hold_back=0.2),
    "start": StartPolicy(looks=(0.0, 0.1, 0.4, 1.0)),
    "poll": PollPolicy(initial=0.05, steps=((0.0, 0.15),), answer_within=1.0),
}

Outcomes = dict[str, "TaskHandle[ImageToVideoRecord] | A2EError"]


@contextlib.asynccontextmanager
async def clients(sandbox: Sandbox, count: int, **changes: Any) -> AsyncIterator[list[A2EClient]]:
    """Open several clients."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(make_client(sandbox, **{**POLICIES, **changes})) for _ in range(count)]


async def start_all(buyers: list[A2EClient], jobs: Iterable[str], *, keys: bool = True, at_once: int = 4) -> Outcomes:
    """Start all jobs, a few at once by each client, and return what became of each."""
    outcomes: Outcomes = {}
    left = iter(jobs)

    async def work(a2e: A2EClient) -> None:
        for job in left:  # shared: a client that has to be slow leaves more to the others
            try:
                outcomes[job] = await a2e.image_to_video.start(
                    image_url=IMAGE_URL, name=job, idempotency_key=job if keys else None, **quick.PROMPTS
                )
            except A2EError as error:
                outcomes[job] = error

    await asyncio.gather(*(work(a2e) for a2e in buyers for _ in range(at_once)))
    return outcomes


def charges(sandbox: Sandbox) -> collections.Counter[str]:
    """Count how often each job was paid for, by what A2E has booked."""
    booked = [sandbox.tasks[entry.task_id] for entry in sandbox.ledger if entry.task_id is not None]
    return collections.Counter(task.name.partition(" [")[0] for task in booked)


@pytest.mark.parametrize("kind", kinds(1000, 1, 2, 3), ids=str)
async def test_thousand_starts(no_leaked_tasks: None, kind: Kind) -> None:
    """Every job is charged once at most, every charge is found by its key, and starting again starts what is missing."""
    starts, count, seed = kind
    jobs = [f"job-{number}" for number in range(starts)]
    storm = Weather(chances={"start": CHANCES, "*": ELSEWHERE}, seed=seed, invisible=0.25)
    async with Sandbox(render="tiny", coins=10**6, speed=0.001, weather=storm) as sandbox:
        async with clients(sandbox, count) as buyers:
            outcomes = await start_all(buyers, jobs)
        paid = charges(sandbox)
        assert max(paid.values()) == 1
        started = {job: handle for job, handle in outcomes.items() if not isinstance(handle, A2EError)}
        assert all(paid[job] == 1 for job in started)
        assert all(sandbox.tasks[handle.id].name.startswith(f"{job} [") for job, handle in started.items())
        unclear = [job for job in jobs if job not in started]
        assert len(unclear) < starts / 2

        sandbox.weather = None
        async with clients(sandbox, 1, request_timeout=60.0) as (other,):
            found = await asyncio.gather(*(other.image_to_video.find(job) for job in unclear))
            assert [handle is not None for handle in found] == [bool(paid[job]) for job in unclear]
            again = await start_all([other], unclear, at_once=starts)
        assert all(not isinstance(outcome, A2EError) for outcome in again.values())
        assert charges(sandbox) == dict.fromkeys(jobs, 1)


@pytest.mark.parametrize("kind", kinds(500, 1, 2), ids=str)
async def test_starts_without_keys(no_leaked_tasks: None, kind: Kind) -> None:
    """Without keys too: a handle for each task that was charged, or an error whose marker finds it."""
    starts, count, seed = kind
    storm = Weather(chances={"start": CHANCES, "*": ELSEWHERE}, seed=seed, invisible=0.25)
    async with Sandbox(render="tiny", coins=10**6, speed=0.001, weather=storm) as sandbox:
        async with clients(sandbox, count) as buyers:
            outcomes = await start_all(buyers, [f"job-{number}" for number in range(starts)], keys=False)
        sandbox.weather = None
        known = [outcome.id for outcome in outcomes.values() if not isinstance(outcome, A2EError)]
        async with clients(sandbox, 1, request_timeout=60.0) as (other,):
            markers = [error.marker for error in outcomes.values() if isinstance(error, SubmissionUncertainError)]
            for late in await asyncio.gather(*(other.image_to_video.find_all(marker) for marker in markers)):
                known += [handle.id for handle in late]
        assert sorted(known) == sorted(sandbox.tasks)
        assert max(charges(sandbox).values()) == 1


FATES = ("", "#fast", "#fail", "#nsfw", "#fast #fail")


@pytest.mark.parametrize("kind", kinds(300, 1, 2, 3), ids=str)
async def test_waits_tell_the_truth(no_leaked_tasks: None, kind: Kind) -> None:
    """Whatever the weather, every wait ends with what really became of its task."""
    starts, _, seed = kind
    dice = random.Random(seed)
    async with Sandbox(render="tiny", coins=10**6, speed=20, seed=seed) as sandbox:
        async with (
            clients(sandbox, 1, request_timeout=60.0, connect_timeout=60.0) as (buyer,),
            clients(sandbox, 5, poll=attrs.evolve(POLICIES["poll"], max_at_once=20)) as waiters,
        ):
            prompts = [f"an image {dice.choice(FATES)}" for _ in range(starts)]
            bought = await asyncio.gather(
                *(
                    buyer.image_to_video.start(image_url=IMAGE_URL, prompt=prompt, negative_prompt="n")
                    for prompt in prompts
                )
            )
            tasks = [waiters[number % 5].image_to_video.task(task.id) for number, task in enumerate(bought)]
            sandbox.weather = Weather(chances={"*": ELSEWHERE}, seed=seed, invisible=0.3)
            outcomes = await asyncio.gather(*(task.wait_until_done(60) for task in tasks), return_exceptions=True)
        for task, outcome in zip(tasks, outcomes, strict=True):
            truth = sandbox.tasks[task.id]
            if truth.status == "failed":
                assert isinstance(outcome, TaskFailedError), outcome
                assert (outcome.task_id, outcome.failed_code) == (task.id, truth.failed_code)
            else:
                assert not isinstance(outcome, BaseException), outcome
                assert (truth.status, outcome.result_url) == ("completed", truth.result_url)
        assert {sandbox.tasks[task.id].status for task in tasks} == {"completed", "failed"}

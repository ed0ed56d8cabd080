"""A thousand starts with many faults, over real sockets: no start is charged twice, and no task is lost."""

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
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from a2e_async.models import ImageToVideoRecord

Size = tuple[int, int, int]
"""Number of starts, number of clients, and the seed of the faults."""


def sizes(starts: int, *seeds: int) -> list[Any]:
    """Return a small run for every day, and runs with `starts` starts for the session `soak`.

    There are many clients, since each one slows down by itself when A2E rate-limits it.
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
"""Faults of starts. About a third of the starts have one, and most of these are charged nevertheless."""

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
    "request_timeout": 2.0,  # shorter than a delay, and long enough for a busy machine
    "connect_timeout": 1.5,
    "retry": RetryPolicy(max_attempts=8, max_time=10, base=0.02, max_delay=0.1),
    "pacing": Pacing(pause=0.05, max_pause=0.2),
    "start": StartPolicy(scan_delays=(0.0, 0.1, 0.4, 1.0)),
    "poll": PollPolicy(initial=0.05, steps=((0.0, 0.15),), poll_timeout=1.0),
}

StartResults = dict[str, "TaskHandle[ImageToVideoRecord] | A2EError"]


@contextlib.asynccontextmanager
async def clients(sandbox: Sandbox, count: int, **changes: Any) -> AsyncIterator[list[A2EClient]]:
    """Open several clients."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(make_client(sandbox, **{**POLICIES, **changes})) for _ in range(count)]


async def start_all(
    starters: list[A2EClient], jobs: Iterable[str], *, keys: bool = True, at_once: int = 4
) -> StartResults:
    """Start all jobs, a few at once by each client, and return the handle or the error of each."""
    results: StartResults = {}
    left = iter(jobs)

    async def work(a2e: A2EClient) -> None:
        for job in left:  # shared: a slow client leaves more jobs to the others
            try:
                results[job] = await a2e.image_to_video.start(
                    image_url=IMAGE_URL, name=job, idempotency_key=job if keys else None, **quick.PROMPTS
                )
            except A2EError as error:
                results[job] = error

    await asyncio.gather(*(work(a2e) for a2e in starters for _ in range(at_once)))
    return results


def charges(sandbox: Sandbox) -> collections.Counter[str]:
    """Count the charges of each job, by A2E's ledger."""
    booked = [sandbox.tasks[entry.task_id] for entry in sandbox.ledger if entry.task_id is not None]
    return collections.Counter(task.name.partition(" [")[0] for task in booked)


@pytest.mark.parametrize("size", sizes(1000, 1, 2, 3), ids=str)
async def test_thousand_starts(no_leaked_tasks: None, size: Size) -> None:
    """Every job is charged once at most, every charge is found by its key, and a second start fills the gaps."""
    starts, count, seed = size
    jobs = [f"job-{number}" for number in range(starts)]
    faults = FaultPlan(chances={"start": CHANCES, "*": ELSEWHERE}, seed=seed, invisible=0.25)
    async with Sandbox(render="tiny", coins=10**6, speed=0.001, faults=faults) as sandbox:
        async with clients(sandbox, count) as starters:
            results = await start_all(starters, jobs)
        paid = charges(sandbox)
        assert max(paid.values()) == 1
        started = {job: handle for job, handle in results.items() if not isinstance(handle, A2EError)}
        assert all(paid[job] == 1 for job in started)
        assert all(sandbox.tasks[handle.id].name.startswith(f"{job} [") for job, handle in started.items())
        unclear = [job for job in jobs if job not in started]
        assert len(unclear) < starts / 2

        sandbox.faults = None
        async with clients(sandbox, 1, request_timeout=60.0) as (other,):
            found = await asyncio.gather(*(other.image_to_video.find(job) for job in unclear))
            assert [handle is not None for handle in found] == [bool(paid[job]) for job in unclear]
            again = await start_all([other], unclear, at_once=starts)
        assert all(not isinstance(result, A2EError) for result in again.values())
        assert charges(sandbox) == dict.fromkeys(jobs, 1)


@pytest.mark.parametrize("size", sizes(500, 1, 2), ids=str)
async def test_starts_without_keys(no_leaked_tasks: None, size: Size) -> None:
    """Without keys, each charged task has a handle, or an error whose marker finds it."""
    starts, count, seed = size
    faults = FaultPlan(chances={"start": CHANCES, "*": ELSEWHERE}, seed=seed, invisible=0.25)
    async with Sandbox(render="tiny", coins=10**6, speed=0.001, faults=faults) as sandbox:
        async with clients(sandbox, count) as starters:
            results = await start_all(starters, [f"job-{number}" for number in range(starts)], keys=False)
        sandbox.faults = None
        known = [result.id for result in results.values() if not isinstance(result, A2EError)]
        async with clients(sandbox, 1, request_timeout=60.0) as (other,):
            markers = [error.marker for error in results.values() if isinstance(error, SubmissionUncertainError)]
            for late in await asyncio.gather(*(other.image_to_video.find_all(marker) for marker in markers)):
                known += [handle.id for handle in late]
        assert sorted(known) == sorted(sandbox.tasks)
        assert max(charges(sandbox).values()) == 1


TAGS = ("", "#fast", "#fail", "#nsfw", "#fast #fail")


@pytest.mark.parametrize("size", sizes(300, 1, 2, 3), ids=str)
async def test_waits_return_the_real_results(no_leaked_tasks: None, size: Size) -> None:
    """With many faults, every wait ends with the real result of its task."""
    starts, _, seed = size
    dice = random.Random(seed)
    async with Sandbox(render="tiny", coins=10**6, speed=20, seed=seed) as sandbox:
        async with (
            clients(sandbox, 1, request_timeout=60.0, connect_timeout=60.0) as (starter,),
            clients(sandbox, 5, poll=attrs.evolve(POLICIES["poll"], max_concurrent=20)) as waiters,
        ):
            prompts = [f"an image {dice.choice(TAGS)}" for _ in range(starts)]
            started = await asyncio.gather(
                *(
                    starter.image_to_video.start(image_url=IMAGE_URL, prompt=prompt, negative_prompt="n")
                    for prompt in prompts
                )
            )
            tasks = [waiters[number % 5].image_to_video.task(task.id) for number, task in enumerate(started)]
            sandbox.faults = FaultPlan(chances={"*": ELSEWHERE}, seed=seed, invisible=0.3)
            results = await asyncio.gather(*(task.wait_until_done(60) for task in tasks), return_exceptions=True)
        for task, result in zip(tasks, results, strict=True):
            truth = sandbox.tasks[task.id]
            if truth.status == "failed":
                assert isinstance(result, TaskFailedError), result
                assert (result.task_id, result.failed_code) == (task.id, truth.failed_code)
            else:
                assert not isinstance(result, BaseException), result
                assert (truth.status, result.result_url) == ("completed", truth.result_url)
        assert {sandbox.tasks[task.id].status for task in tasks} == {"completed", "failed"}

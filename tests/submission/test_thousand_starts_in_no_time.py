"""A thousand starts with the default policies and many faults, on virtual time, without sockets."""

from __future__ import annotations

import asyncio
import collections
import random

import pytest
from in_memory_a2e import InMemoryA2E, client_with_transport

from a2e_async import A2EClient, A2EError, SubmissionUncertainError, TaskHandle

LINK = "https://example.com/ada.png"


async def start(a2e: A2EClient, job: str, after: float) -> object:
    """Start a job after a while, and return its handle or its error."""
    await asyncio.sleep(after)
    try:
        return await a2e.image_to_video.start(
            image_url=LINK, prompt="p", negative_prompt="n", name=job, idempotency_key=job
        )
    except A2EError as error:
        return error


def charges(service: InMemoryA2E) -> collections.Counter[str]:
    """Count the charges of each job."""
    return collections.Counter(task.name.partition(" [")[0] for task in service.tasks.values())


@pytest.mark.parametrize(
    ("starts", "seed"), [(150, 1), *(pytest.param(1000, seed, marks=pytest.mark.soak) for seed in range(1, 6))]
)
async def test_thousand_starts(monkeypatch: pytest.MonkeyPatch, starts: int, seed: int) -> None:
    """No start is charged twice, no task is lost, and the keys of failed starts find or start the missing tasks."""
    service = InMemoryA2E(seed)
    jobs = [f"job-{number}" for number in range(starts)]
    dice = random.Random(seed)
    async with client_with_transport(monkeypatch, service) as a2e:
        results = await asyncio.gather(*(start(a2e, job, dice.uniform(0, 600)) for job in jobs))
    outcomes = dict(zip(jobs, results, strict=True))
    paid = charges(service)
    assert max(paid.values()) == 1
    started = {job: handle for job, handle in outcomes.items() if isinstance(handle, TaskHandle)}
    assert all(service.tasks[handle.id].name.startswith(f"{job} [") for job, handle in started.items())
    assert any(handle.adopted for handle in started.values())
    assert any(isinstance(outcome, SubmissionUncertainError) for outcome in outcomes.values())

    service.healthy = True
    async with client_with_transport(monkeypatch, service) as a2e:
        unclear = [job for job in jobs if job not in started]
        for job in unclear:
            assert (await a2e.image_to_video.find(job) is not None) == bool(paid[job])
        again = await asyncio.gather(*(start(a2e, job, 0) for job in unclear))
    assert all(isinstance(outcome, TaskHandle) for outcome in again)
    assert charges(service) == dict.fromkeys(jobs, 1)

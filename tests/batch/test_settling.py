"""Starts of a batch with an unknown outcome: the batch itself finds out what has become of them, before it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from batches import (
    PRICE,
    cancel_and_wait,
    collect_results,
    count_charges,
    key_of_task,
    make_job,
    make_jobs,
    read_journal,
    run_batch,
    spent_coins,
    states_by_key,
)
from conditions import wait_until
from paid_starts import LIST_PATH, EmptyListFirst, count_requests, count_starts, faults_on_start
from virtual_clock import now

from a2e_async import A2EClient, NetworkError
from a2e_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    import pathlib

LOST = Fault("drop", after=True)
NOT_ACCEPTED = Fault("drop")
BOUND = 900.0
"""Seconds in which each start is settled, or the batch gives up."""


async def test_task_that_is_listed_late_is_adopted(a2e: A2EClient, sandbox: Sandbox, path: pathlib.Path) -> None:
    """A start whose answer is lost, and that A2E lists after the scans of the start, succeeds in the same run."""
    sandbox.faults = faults_on_start(None, LOST)
    batch = a2e.image_to_video.batch(make_jobs(4), journal=path, max_starts=1)
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(6)):
        results = await collect_results(batch)
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert count_starts(sandbox) == 4
    assert (batch.progress.started, batch.progress.coins) == (4, 4 * PRICE)
    assert {entry.state for entry in (await read_journal(path)).values()} == {"succeeded"}


async def test_start_that_was_not_accepted_is_sent_again(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start that A2E has certainly not accepted is sent again in the same run, and not before that is certain."""
    sandbox.faults = faults_on_start(NOT_ACCEPTED)
    (result,) = (await run_batch(a2e, [make_job("a")])).values()
    assert (result.state, result.starts, result.coins) == ("succeeded", 1, PRICE)
    assert count_starts(sandbox) == 2
    assert count_charges(sandbox) == {"a": 1}
    assert 60 < now() < BOUND


async def test_start_is_sent_again_sooner_on_request(a2e: A2EClient, sandbox: Sandbox) -> None:
    """With on_unknown="resend", a start that A2E does not list is sent again when A2E must have listed it."""
    sandbox.faults = faults_on_start(NOT_ACCEPTED)
    batch = a2e.image_to_video.batch([make_job("a")], on_unknown="resend", max_starts=1)
    (result,) = (await collect_results(batch)).values()
    assert (result.state, result.starts) == ("succeeded", 1)
    assert count_charges(sandbox) == {"a": 1}
    assert 60 < now() < BOUND / 2


async def test_settling_holds_no_slot(a2e: A2EClient, sandbox: Sandbox) -> None:
    """While one start is settled, the only slots for starts and running tasks are free for the others."""
    sandbox.faults = faults_on_start(LOST)
    batch = a2e.image_to_video.batch(make_jobs(5), max_starts=1, max_running=1, on_unknown="resend")
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(6)):
        async with batch:
            keys = [result.key async for result in batch]
    assert keys[-1] == key_of_task(next(iter(sandbox.tasks.values())))
    assert count_charges(sandbox) == dict.fromkeys(keys, 1)


async def test_settling_is_shown(a2e: A2EClient, sandbox: Sandbox) -> None:
    """While the outcome is being found out, the job is under way in a stage of its own, and the others continue."""
    sandbox.faults = faults_on_start(LOST)
    batch = a2e.image_to_video.batch(make_jobs(5), max_starts=1)
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(999)):
        running = asyncio.create_task(collect_results(batch))
        await wait_until(lambda: batch.progress.done == 4)
        assert [(job.stage, job.task_id) for job in batch.progress.active] == [("reconciling", None)]
        await cancel_and_wait(running)


@pytest.mark.parametrize("answer", [500, 200], ids=["failure of A2E", "no list"])
async def test_settling_is_bounded(a2e: A2EClient, sandbox: Sandbox, path: pathlib.Path, answer: int) -> None:
    """If A2E's list cannot be read for long, the job ends as uncertain, nothing is sent again, and the next run finds it."""
    sandbox.faults = faults_on_start(LOST)

    def fail(_: web.Request) -> web.Response | None:
        return web.json_response({"code": 0, "data": {"x": 1}}, status=answer) if count_starts(sandbox) else None

    with sandbox.override("GET", LIST_PATH, fail):
        results = await run_batch(a2e, make_jobs(3), journal=path)
    assert sorted(states_by_key(results).values()) == ["succeeded", "succeeded", "uncertain"]
    assert now() < BOUND
    assert count_starts(sandbox) == 3
    again = await run_batch(a2e, make_jobs(3), journal=path)
    assert all(result.ok for result in again.values())
    assert count_charges(sandbox) == dict.fromkeys(again, 1)


async def test_outage_of_the_list_does_not_end_the_settling(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A list that cannot be read for a minute is read again."""
    sandbox.faults = faults_on_start(LOST)

    def fail(_: web.Request) -> web.Response | None:
        return web.Response(status=500) if now() < 60 else None

    with sandbox.override("GET", LIST_PATH, fail):
        results = await run_batch(a2e, make_jobs(3))
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_answers_that_are_always_lost_end_the_job(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A job whose starts are never accepted and never answered is not tried forever."""
    sandbox.faults = faults_on_start(*[NOT_ACCEPTED] * 50)
    (result,) = (await run_batch(a2e, [make_job("a")])).values()
    assert (result.state, result.starts, result.coins) == ("failed", 0, 0)
    assert isinstance(result.error, NetworkError)
    assert count_starts(sandbox) == 3
    assert not spent_coins(sandbox)


async def test_earlier_run_is_settled_by_the_next_one(a2e: A2EClient, sandbox: Sandbox, path: pathlib.Path) -> None:
    """A run that was left while it settled a start is continued by the next one, at once."""
    sandbox.faults = faults_on_start(NOT_ACCEPTED)
    batch = a2e.image_to_video.batch([make_job("a")], journal=path)
    running = asyncio.create_task(collect_results(batch))
    await wait_until(lambda: any(job.stage == "reconciling" for job in batch.progress.active))
    await cancel_and_wait(running)
    assert (await read_journal(path))["a"].state == "uncertain"
    results = await run_batch(a2e, [make_job("a")], journal=path)
    assert states_by_key(results) == {"a": "succeeded"}
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_first_start_of_a_limited_batch_is_settled(
    a2e: A2EClient, sandbox: Sandbox, *, is_accepted: bool
) -> None:
    """With max_coins, all jobs wait until the first one is settled, and the limit holds."""
    sandbox.faults = faults_on_start(LOST if is_accepted else NOT_ACCEPTED)
    batch = a2e.image_to_video.batch(make_jobs(5), max_coins=3 * PRICE)
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(6)):
        results = await collect_results(batch)
    assert sorted(states_by_key(results).values()) == ["skipped"] * 2 + ["succeeded"] * 3
    assert spent_coins(sandbox) == batch.progress.coins == 3 * PRICE
    assert count_requests(sandbox, LIST_PATH) < 60


async def test_answers_without_an_id_end_the_batch(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E answers each start in a form that is not known, two starts are paid and not forty, and each job has a result."""
    answer: dict[str, Any] = {"code": 0, "data": {"_id": {"a": [1]}, "name": 7, "current_status": {}}}
    batch = a2e.image_to_video.batch(make_jobs(40), max_starts=1)
    with sandbox.override("POST", quick.START_PATH, web.json_response(answer)):
        results = await collect_results(batch)
    assert len(results) == 40
    assert count_starts(sandbox) == 2
    assert sorted(set(states_by_key(results).values())) == ["skipped", "uncertain"]
    assert batch.progress.stopped.startswith("Nothing more is started")
    assert now() < 120

"""Rare combinations: pause and resume, shared folders, removed entries, late prices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from batches import (
    cancel_and_wait,
    collect_results,
    count_charges,
    make_job,
    read_journal,
    run_batch,
    run_job,
    states_by_key,
)
from conditions import wait_until
from paid_starts import LIST_PATH, charged_task_ids, count_starts

from a2e_async import BudgetError, InvalidRequestError, TaskFailedError
from a2e_async.batch import JournalReader
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    import pathlib

    import pytest

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

PRICE = 30


async def test_reconciling_needs_no_running_slot(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is being reconciled does not hold the only running slot while it waits behind a job that needs it."""
    monkeypatch.setattr("a2e_async.batch.circuit_breaker.FIRST_DELAY", 0.05)
    journal = tmp_path / "jobs.sqlite"
    sandbox.faults = FaultPlan(script={"start": [Fault("drop")]})
    with sandbox.override("GET", LIST_PATH, lambda _: web.Response(status=502) if count_starts(sandbox) else None):
        assert (await run_job(a2e, make_job("a"), journal)).state == "uncertain"
    asked = 0

    def drop(request: web.Request) -> web.Response | None:
        nonlocal asked
        asked += 1
        if asked > 12:
            return None
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    items = [make_job("a"), make_job("b"), make_job("c")]
    with sandbox.override("GET", LIST_PATH, drop):
        async with asyncio.timeout(600):
            results = await run_batch(a2e, items, journal=journal, max_running=1, on_unknown="resend")
    assert states_by_key(results) == dict.fromkeys("abc", "succeeded")
    assert count_charges(sandbox) == dict.fromkeys("abc", 1)


async def test_files_of_two_batches_do_not_replace_each_other(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Of two batches with a common folder and key, the later one has no file, also when it runs again."""
    out = tmp_path / "videos"

    async def go(number: int) -> tuple[str, bool]:
        result = await run_job(a2e, make_job("ada"), tmp_path / f"{number}.sqlite", out=out)
        return result.state, result.path is not None

    first = await go(0)
    with sandbox.override("GET", "/api/v1/userImage2Video", lambda _: None):
        second = await run_job(a2e, make_job("ada"), tmp_path / "1.sqlite", out=out)
    assert first == ("succeeded", True)
    assert isinstance(second.error, InvalidRequestError)
    both = await asyncio.gather(
        run_job(a2e, make_job("eve"), tmp_path / "2.sqlite", out=out),
        run_job(a2e, make_job("eve"), tmp_path / "3.sqlite", out=out),
    )
    late = next(number for number, result in enumerate(both, 2) if result.path is None)
    again = await run_job(a2e, make_job("eve"), tmp_path / f"{late}.sqlite", out=out)
    assert (again.state, again.path) == ("succeeded", None)
    assert isinstance(again.error, InvalidRequestError)


async def test_keys_that_differ_in_case_do_not_share_a_file(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Keys that differ only in upper and lower case get files that differ on every file system, also in later runs."""
    first = await run_batch(a2e, [make_job("Ada"), make_job("ada")], out=tmp_path, journal=tmp_path / "j")
    assert first["Ada"].path == tmp_path / "Ada.mp4"
    later = await run_batch(a2e, [make_job("ADA"), make_job("ada")], out=tmp_path, journal=tmp_path / "j")
    paths = [result.path for result in (first | later).values()]
    assert len({str(path).casefold() for path in paths}) == len(paths) == 3
    assert all(path is not None and path.stat().st_size for path in paths)
    assert later["ada"].path == first["ada"].path
    assert count_charges(sandbox) == {"Ada": 1, "ada": 1, "ADA": 1}


async def test_removed_entries_still_count(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Removing entries from a journal does not free their coins."""
    journal = tmp_path / "jobs.sqlite"
    await run_batch(a2e, [make_job("a"), make_job("b")], journal=journal, max_coins=2 * PRICE)
    async with JournalReader.open(journal) as reader:
        assert await reader.prune() == 2
        assert await reader.coins() == 2 * PRICE
        assert await reader.prune() == 0
        assert await reader.coins() == 2 * PRICE
    result = await run_job(a2e, make_job("c"), journal, max_coins=2 * PRICE)
    assert isinstance(result.error, BudgetError)
    assert len(charged_task_ids(sandbox)) == 2


async def test_a_start_that_was_sent_again_is_recorded(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """If a batch is cancelled while it looks for a duplicate, the start that was sent again has its id in the journal."""
    journal = tmp_path / "jobs.sqlite"
    sandbox.faults = FaultPlan(script={"start": [Fault("drop")]})

    over = asyncio.Event()

    async def slow(_: web.Request) -> None:
        if count_starts(sandbox) >= 2:
            await over.wait()

    with sandbox.override("GET", LIST_PATH, slow):
        running = asyncio.create_task(
            collect_results(a2e.image_to_video.batch([make_job("a", "#stuck")], journal=journal, on_unknown="resend"))
        )
        await wait_until(lambda: charged_task_ids(sandbox), seconds=600)
        await asyncio.sleep(0.1)
        await cancel_and_wait(running)
        over.set()
        await asyncio.sleep(0.05)
    assert (await read_journal(journal))["a"].task_id == charged_task_ids(sandbox)[0]


async def test_a_price_that_comes_at_the_end_is_counted(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the answer to a start has no price, the price of the finished task counts."""
    monkeypatch.setattr(
        "a2e_async.sandbox.state.Task.start_record",
        lambda task: {"_id": task.id, "name": task.name, "current_status": task.status},
    )
    monkeypatch.setattr(
        "a2e_async.sandbox.state.Task.record",
        lambda task: {
            "_id": task.id,
            "name": task.name,
            "current_status": task.status,
            "coins": task.coins,
            "result_url": task.result_url,
        },
    )
    batch = a2e.image_to_video.batch([make_job("a")], max_coins=100)
    with sandbox.override("POST", "/api/v1/generation/quote", web.json_response({"code": 0, "data": {"coins": 10}})):
        (result,) = [result async for result in batch]
    assert result.coins == PRICE
    assert batch.progress.coins == PRICE


async def test_results_keep_no_frames_alive(a2e: A2EClient) -> None:
    """Results of failed jobs keep no frames of the jobs alive."""
    results = await run_batch(a2e, [make_job("a", "#fast #fail"), make_job("b", image="nowhere.png", image_url=None)])
    assert isinstance(results["a"].error, TaskFailedError)
    for result in results.values():
        error: BaseException | None = result.error
        while error is not None:
            assert error.__traceback__ is None
            error = error.__cause__ or error.__context__

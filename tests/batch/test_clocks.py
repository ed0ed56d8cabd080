"""A batch after a crash, on a machine whose clock was set or stood still meanwhile: no start is paid twice."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import types
from typing import TYPE_CHECKING

import pytest
import quick
from aiohttp import web
from batches import EarlierRun, count_charges, make_job, run_job
from paid_starts import LIST_PATH, count_starts, faults_on_start, make_client, start_video
from virtual_clock import now

from a2e_async import RetryPolicy
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Iterator

    from a2e_async import A2EClient

HOUR = 3600.0
LAG = 150.0
"""Seconds until A2E lists the task: less than it may take."""


@pytest.fixture
async def slow() -> AsyncIterator[Sandbox]:
    """Run a sandbox that lists tasks late."""
    async with Sandbox(speed=100, render="tiny", faults=FaultPlan(invisible=LAG)) as sandbox:
        yield sandbox


@contextlib.contextmanager
def local_clock(shift: float) -> Iterator[None]:
    """Set this machine's wall clock, as the client sees it. A2E's clock stays."""
    shifted = types.SimpleNamespace(**{**vars(time), "time": lambda: time.time() + shift})
    with pytest.MonkeyPatch.context() as patch:
        for module in ("batch.worker", "batch.context", "batch.settling", "_submission.finder", "_transport.http"):
            patch.setattr(f"a2e_async.{module}.time", shifted)
        yield


@pytest.mark.parametrize("at_start", [0.0, HOUR, -HOUR])
@pytest.mark.parametrize("at_resume", [0.0, HOUR, -HOUR])
async def test_crash_before_the_clock_was_set(
    slow: Sandbox, tmp_path: pathlib.Path, at_start: float, at_resume: float
) -> None:
    """The next run waits until A2E lists the task of a crashed start, although this machine's clock is wrong."""
    earlier = EarlierRun(tmp_path / "j.sqlite", slow)
    with local_clock(at_start):
        async with make_client(slow) as a2e:
            sent_at = await a2e.image_to_video._batch_api().latest_time()
            task_id = await earlier.add_row_with_task(a2e, make_job("a"), sent_at=sent_at, created_at=time.time())
    began = now()
    with local_clock(at_resume):
        async with make_client(slow) as a2e:
            result = await run_job(a2e, make_job("a"), earlier.path)
    assert (result.state, result.task_id) == ("succeeded", task_id)
    assert count_charges(slow) == {"a": 1}
    assert LAG <= now() - began < LAG + 30


async def test_row_of_the_future(slow: Sandbox, tmp_path: pathlib.Path) -> None:
    """If the age of a row is implausible, the next run waits the whole time."""
    earlier = EarlierRun(tmp_path / "j.sqlite", slow)
    async with make_client(slow) as a2e:
        at = time.time() + HOUR
        task_id = await earlier.add_row_with_task(a2e, make_job("a"), sent_at=at, created_at=at)
        result = await run_job(a2e, make_job("a"), earlier.path)
    assert result.task_id == task_id
    assert count_charges(slow) == {"a": 1}


async def test_time_of_a_start_is_that_of_a2e(sandbox: Sandbox, a2e: A2EClient, journal: pathlib.Path) -> None:
    """The first start of a journal asks A2E for the time, before it is sent, and later ones do not ask again."""
    asked: list[str] = []

    def look(request: web.Request) -> None:
        asked.append(f"{request.method} {request.path.rpartition('/')[2]} {request.query.get('pageSize', '')}".strip())

    with local_clock(-HOUR), sandbox.override("*", "/api", look):
        await run_job(a2e, make_job("a"), journal)
    assert asked.index("GET allRecords 1") < asked.index("POST start")
    assert asked.count("GET allRecords 1") == 1


async def test_start_that_waits_for_its_turn(sandbox: Sandbox, journal: pathlib.Path) -> None:
    """If a start is sent long after its journal entry was written, the entry on the disk is corrected before that."""
    sandbox.faults = FaultPlan(script={"start": [Fault("429", retry_after=50.0)]})
    sent: list[float] = []

    def look(request: web.Request) -> None:
        del request
        with contextlib.closing(sqlite3.connect(journal)) as connection:
            sent.append(time.time() - connection.execute("SELECT sent_at FROM jobs").fetchone()[0])

    async with make_client(sandbox, retry=RetryPolicy(max_time=100.0)) as patient:
        with sandbox.override("POST", quick.START_PATH, look):
            await run_job(patient, make_job("a"), journal)
    assert now() > 50
    assert [-2 <= age <= 10 for age in sent] == [True]


async def test_newer_record_settles_a_start(sandbox: Sandbox, tmp_path: pathlib.Path, a2e: A2EClient) -> None:
    """A record that was created after A2E must have accepted the start proves at once that it was not accepted."""
    earlier = EarlierRun(tmp_path / "j.sqlite", sandbox)
    at = time.time() - 200.0
    await earlier.add_row(make_job("a"), state="uncertain", sent_at=at, created_at=at)
    await start_video(a2e, name="b")
    began = now()
    result = await run_job(a2e, make_job("a"), earlier.path)
    assert (result.state, result.starts) == ("succeeded", 1)
    assert now() - began < 30
    assert LIST_PATH in {request.path for request in sandbox.requests}


@pytest.mark.parametrize("shift", [0.0, HOUR, -HOUR])
async def test_times_of_a_result(sandbox: Sandbox, tmp_path: pathlib.Path, shift: float) -> None:
    """A result never shows that a start was sent after A2E accepted it, also if A2E's clock is ahead of this machine's."""
    with local_clock(shift):
        async with make_client(sandbox) as a2e:
            result = await run_job(a2e, make_job("a"), tmp_path / "j.sqlite")
    assert result.sent_at is not None
    assert result.accepted_at is not None
    assert result.sent_at <= result.accepted_at <= result.finished_at


async def test_times_of_a_second_start(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """If a second start of a job is sent and its outcome stays unknown, the result has no time of acceptance."""
    sandbox.faults = faults_on_start(None, Fault("drop", after=True))

    def fail(_: web.Request) -> web.Response | None:
        return web.Response(status=500) if count_starts(sandbox) > 1 else None

    async with make_client(sandbox) as a2e:
        with sandbox.override("GET", LIST_PATH, fail):
            result = await run_job(a2e, make_job("a", "#fast #fail"), tmp_path / "j.sqlite", retry_failed=1)
    assert (result.state, result.starts, result.accepted_at) == ("uncertain", 1, None)

"""A2E's group "AI Dubbing", on the HTTP sandbox."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests, make_client, recorded_bodies

from a2e_async import A2EClient, InvalidRequestError, NotFoundError, TaskFailedError, TaskStatus
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib

VIDEO = "https://example.com/private/ada.mp4"
FAMILY = "/api/v1/userDubbing"
TINY = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()


@pytest.mark.entry("8.1")
async def test_start(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Start dubbing: it is started once, waited for, and its video can be downloaded."""
    task = await a2e.dubbing.start(source_url=VIDEO, target_lang="de", name="Ada")
    record = await task.wait_until_done(20)
    assert record.status is TaskStatus.SUCCEEDED
    assert (record.source_url, record.source_lang, record.target_lang) == (VIDEO, "auto", "de")
    assert b"ftyp" in (await task.download(tmp_path / "ada.mp4")).read_bytes()[:12]
    assert [entry.task_id for entry in sandbox.ledger] == [task.id]


async def test_every_field_is_sent(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Every field of A2E's own web page is sent, also if the caller leaves it out; a file is uploaded."""
    path = tmp_path / "Ada.mp4"
    path.write_bytes(TINY)
    with recorded_bodies(sandbox, f"{FAMILY}/startDubbing") as bodies:
        await a2e.dubbing.start(source=path, target_lang="en")
        options: dict[str, Any] = {"source_lang": "zh", "num_speakers": 2, "drop_background_audio": True}
        hook: dict[str, Any] = {"webhook_url": "https://example.com/hook", "webhook_token": "t"}
        await a2e.dubbing.start(source_url=VIDEO, target_lang="en", name="Eva", **options, **hook)
    first, second = bodies
    assert first.pop("name").startswith("Ada [a2e:")
    assert first.pop("source_url").startswith(f"{sandbox.url}/cdn/")
    assert first == {"source_lang": "auto", "target_lang": "en", "num_speakers": 1, "drop_background_audio": False}
    assert second.pop("name").startswith("Eva [a2e:")
    assert second == {"source_url": VIDEO, "target_lang": "en", **options, **hook}


@pytest.mark.parametrize(
    "options",
    [
        {"source": None},
        {"source": TINY, "source_url": VIDEO},
        {"source": quick.PNG},
        {"source_url": "ftp://example.com/a.mp4"},
        {"target_lang": ""},
        {"target_lang": None},
        {"source_lang": ""},
        {"num_speakers": 0},
        {"num_speakers": 1.5},
        {"drop_background_audio": "no"},
        {"on_unknown": "hope"},
    ],
    ids=str,
)
async def test_invalid_start_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid start is rejected before anything is sent or uploaded."""
    settings = {"target_lang": "en", **({} if "source_url" in options else {"source": TINY}), **options}
    with pytest.raises(InvalidRequestError):
        await a2e.dubbing.start(**settings)
    assert not sandbox.requests


@pytest.mark.entry("8.2")
async def test_list(a2e: A2EClient) -> None:
    """List Dubbing Tasks: page by page, the newest first."""
    ids = [(await a2e.dubbing.start(source_url=VIDEO, target_lang="en")).id for _ in range(3)]
    assert [record.id async for record in a2e.dubbing.list(page_size=2)] == ids[::-1]


@pytest.mark.entry("8.3")
async def test_ongoing(a2e: A2EClient) -> None:
    """List All Processing Dubbing Tasks: finished tasks are not included."""
    done = await a2e.dubbing.start(source_url=VIDEO, target_lang="en", name="#fast")
    await done.wait_until_done(20)
    stuck = await a2e.dubbing.start(source_url=VIDEO, target_lang="en", name="#stuck")
    assert [record.id for record in await a2e.dubbing.ongoing()] == [stuck.id]


async def test_ongoing_leaves_out_finished_tasks(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E lists all tasks, finished ones are left out; a malformed row does not raise."""
    words = ("completed", "processing", "failed", "initialized")
    rows = [{"_id": word, "current_status": word} for word in words]
    answer = {"success": True, "data": {"rows": [*rows, None, {"no": "id"}]}}
    with sandbox.override("GET", f"{FAMILY}/allProcessing", web.json_response(answer)):
        assert [record.id for record in await a2e.dubbing.ongoing()] == ["processing", "initialized"]


async def test_ongoing_of_2025() -> None:
    """If A2E knows only the older name of the list, the client uses that one."""
    async with (
        Sandbox(speed=100, render="tiny", api_version="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        stuck = await a2e.dubbing.start(source_url=VIDEO, target_lang="en", name="#stuck")
        assert [record.id for record in await a2e.dubbing.ongoing()] == [stuck.id]


@pytest.mark.entry("8.4")
async def test_details(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Get Details; several take one request each, since A2E has no batchDetail for dubbing."""
    ids = [(await a2e.dubbing.start(source_url=VIDEO, target_lang="en")).id for _ in range(2)]
    assert (await a2e.dubbing.get(ids[0])).target_lang == "en"
    before = len(sandbox.requests)
    found = await a2e.dubbing.get_many([*ids, "0" * 24, ids[0]])
    assert [record and record.id for record in found.values()] == [*ids, None]
    assert len(sandbox.requests) - before == 3
    with pytest.raises(NotFoundError):
        await a2e.dubbing.get("0" * 24)


@pytest.mark.entry("8.5")
async def test_delete(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Delete Record."""
    task = await a2e.dubbing.start(source_url=VIDEO, target_lang="en")
    await task.delete()
    assert sandbox.tasks[task.id].deleted


async def test_failure(a2e: A2EClient) -> None:
    """A failed task raises an error with A2E's text, and its record can be read."""
    task = await a2e.dubbing.start(source_url=VIDEO, target_lang="en", name="#fail")
    with pytest.raises(TaskFailedError) as caught:
        await task.wait_until_done(20)
    assert caught.value.failed_message
    assert caught.value.record.status is TaskStatus.FAILED


async def test_many_waits(a2e: A2EClient) -> None:
    """Waits for many tasks of a family without batchDetail work too."""
    tasks = [await a2e.dubbing.start(source_url=VIDEO, target_lang="en") for _ in range(5)]
    done = [outcome async for outcome in a2e.dubbing.wait_all(tasks, timeout=20)]
    assert {outcome.id for outcome in done} == {task.id for task in tasks}


@pytest.mark.parametrize("fault", [Fault("drop", after=True), Fault("status", after=True)], ids=str)
async def test_lost_response(a2e: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """A start whose response is lost is found by its marker, and started once."""
    sandbox.faults = FaultPlan(script={"start": (fault,)})
    task = await a2e.dubbing.start(source_url=VIDEO, target_lang="en")
    assert task.adopted
    assert [*sandbox.tasks] == [task.id]


async def test_key_starts_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The second start with a key returns the task of the first one."""
    tasks = [await a2e.dubbing.start(source_url=VIDEO, target_lang="en", idempotency_key="mine") for _ in range(2)]
    assert tasks[0].id == tasks[1].id
    assert len(sandbox.ledger) == 1
    assert count_requests(sandbox, f"{FAMILY}/startDubbing") == 1

"""A2E's group "Caption Removal", on the HTTP sandbox."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests, make_client, recorded_bodies

from a2e_async import (
    A2EClient,
    BadRequestError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    SubmissionUncertainError,
    TaskStatus,
)
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib

VIDEO = "https://example.com/private/ada.mp4"
FAMILY = "/api/v1/userCaptionRemoval"
TINY = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()


@pytest.mark.entry("10.1")
async def test_start(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Start Caption Removal: it is started once, waited for, and its video can be downloaded."""
    task = await a2e.caption_removal.start(source_url=VIDEO, name="Ada")
    record = await task.wait_until_done(20)
    assert record.status is TaskStatus.SUCCEEDED
    assert record.source_url == VIDEO
    assert record.result_url != VIDEO
    assert b"ftyp" in (await task.download(tmp_path / "ada.mp4")).read_bytes()[:12]
    assert [entry.task_id for entry in sandbox.ledger] == [task.id]
    assert sandbox.tasks[task.id].name.startswith("Ada [a2e:")


async def test_local_video_is_uploaded(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A file is uploaded, sent as `source_url` (not as `video_url`), and gives the task its name."""
    path = tmp_path / "Ada.mp4"
    path.write_bytes(TINY)
    with recorded_bodies(sandbox, f"{FAMILY}/start") as bodies:
        await a2e.caption_removal.start(source=path)
    (body,) = bodies
    assert body.keys() == {"name", "source_url"}
    assert body["source_url"].startswith(f"{sandbox.url}/cdn/")
    assert body["name"].startswith("Ada [a2e:")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"source": TINY, "source_url": VIDEO},
        {"source": quick.PNG},
        {"source": "missing.mp4"},
        {"source_url": "https://example.com/a b.mp4"},
        {"source_url": VIDEO, "name": " "},
        {"source": TINY, "webhook_token": "t"},
    ],
    ids=["nothing", "both", "image", "missing", "space", "no-name", "hook"],
)
async def test_invalid_start_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid start is rejected before anything is sent or uploaded."""
    with pytest.raises(InvalidRequestError):
        await a2e.caption_removal.start(**options)
    assert not sandbox.requests


@pytest.mark.entry("10.2")
async def test_list(a2e: A2EClient) -> None:
    """Get Records of All Tasks: page by page, the newest first."""
    ids = [(await a2e.caption_removal.start(source_url=VIDEO)).id for _ in range(3)]
    assert [record.id async for record in a2e.caption_removal.list(page_size=2)] == ids[::-1]


@pytest.mark.entry("10.3")
async def test_ongoing(a2e: A2EClient) -> None:
    """Get Status of All Tasks in Processing: finished tasks are not included."""
    done = await a2e.caption_removal.start(source_url=VIDEO, name="#fast")
    await done.wait_until_done(20)
    stuck = await a2e.caption_removal.start(source_url=VIDEO, name="#stuck")
    assert [record.id for record in await a2e.caption_removal.ongoing()] == [stuck.id]


async def test_ongoing_of_2025() -> None:
    """If A2E knows only the older name of the list, the client uses that one."""
    async with (
        Sandbox(speed=100, render="tiny", api_version="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        stuck = await a2e.caption_removal.start(source_url=VIDEO, name="#stuck")
        for _ in range(2):
            assert [record.id for record in await a2e.caption_removal.ongoing()] == [stuck.id]
        assert count_requests(sandbox, f"{FAMILY}/allProcessing") == 1
        assert count_requests(sandbox, f"{FAMILY}/processingRecord") == 2


@pytest.mark.entry("10.4")
async def test_details(a2e: A2EClient) -> None:
    """Get Details of One Task, and of several at once; an unknown task is None."""
    task = await a2e.caption_removal.start(source_url=VIDEO)
    assert (await a2e.caption_removal.get(task.id)).source_url == VIDEO
    found = await a2e.caption_removal.get_many([task.id, "0" * 24])
    assert {task_id: record is not None for task_id, record in found.items()} == {task.id: True, "0" * 24: False}
    with pytest.raises(NotFoundError):
        await a2e.caption_removal.get("0" * 24)


@pytest.mark.entry("10.5")
async def test_delete(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Delete a Task."""
    task = await a2e.caption_removal.start(source_url=VIDEO)
    await a2e.caption_removal.delete(task.id)
    assert sandbox.tasks[task.id].deleted


async def test_failure(a2e: A2EClient) -> None:
    """The error of a failed task has A2E's reason."""
    task = await a2e.caption_removal.start(source_url=VIDEO, name="#fail")
    record = await task.wait_until_done(20, raise_on_failure=False)
    assert record.status is TaskStatus.FAILED
    assert record.failed_message
    assert not record.result_url


@pytest.mark.parametrize("fault", [Fault("drop", after=True), Fault("html", after=True), Fault("cut")], ids=str)
async def test_lost_response(a2e: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """A start whose response is lost is found by its marker, and started once."""
    sandbox.faults = FaultPlan(script={"start": (fault,)})
    task = await a2e.caption_removal.start(source_url=VIDEO)
    assert task.adopted
    assert [*sandbox.tasks] == [task.id]


# retry


async def test_retry(a2e: A2EClient) -> None:
    """A failed task that is retried can be waited for again, and succeeds."""
    failed = await a2e.caption_removal.start(source_url=VIDEO, name="#fail")
    await failed.wait_until_done(20, raise_on_failure=False)
    task = await a2e.caption_removal.retry(failed.id)
    assert task.id == failed.id
    assert (await task.wait_until_done(20)).status is TaskStatus.SUCCEEDED


async def test_retry_that_makes_another_task(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E's response has another task, the handle is that of the new task; else that of the old one."""
    for data, expected in (({"_id": "new"}, "new"), ([{"_id": "new"}, {"_id": "old"}], "old"), (None, "old")):
        with sandbox.override("POST", f"{FAMILY}/retry", web.json_response({"code": 0, "data": data})):
            assert (await a2e.caption_removal.retry("old")).id == expected


async def test_rejected_retry(a2e: A2EClient) -> None:
    """A task that has not failed cannot be retried, and the error has its id."""
    task = await a2e.caption_removal.start(source_url=VIDEO)
    with pytest.raises(BadRequestError) as caught:
        await a2e.caption_removal.retry(task.id)
    assert caught.value.task_id == task.id


async def test_retry_with_a_lost_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A retry with an unknown outcome is not sent again, and the error has the id of the task."""
    with (
        sandbox.override("POST", f"{FAMILY}/retry", web.Response(status=502, text="<html></html>")),
        pytest.raises(SubmissionUncertainError, match="get") as caught,
    ):
        await a2e.caption_removal.retry("old")
    assert caught.value.task_id == "old"
    assert count_requests(sandbox, f"{FAMILY}/retry") == 1


async def test_retry_that_was_not_sent() -> None:
    """Without a connection, the error says that nothing was sent."""
    async with A2EClient("sk_x", base_url="http://127.0.0.1:1", config=quick.CONFIG) as a2e:
        with pytest.raises(NetworkError) as caught:
            await a2e.caption_removal.retry("old")
    assert not caught.value.request_sent

"""A2E's group "Face Swap", on the HTTP sandbox: tasks, previews, and saved images of faces."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests, recorded_bodies

from a2e_async import (
    A2EClient,
    APIError,
    InvalidRequestError,
    NotFoundError,
    SubmissionUncertainError,
    TaskStatus,
    UnexpectedResponseError,
)
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib

FACE = "https://example.com/private/face.png"
VIDEO = "https://example.com/private/ada.mp4"
PREVIEW = "/api/v1/userFaceSwapPreview"
IMAGE = "/api/v1/userFaceSwapImage"
FAMILY = "/api/v1/userFaceSwapTask"
TINY = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()


class Inputs(TypedDict):
    """Arguments that every start needs."""

    face_url: str
    video_url: str


INPUTS = Inputs(face_url=FACE, video_url=VIDEO)

CANNOT_WORK: dict[str, dict[str, Any]] = {
    "no-face": {"face_url": None},
    "no-video": {"video_url": None},
    "two-faces": {"face": quick.PNG},
    "two-videos": {"video": TINY},
    "face-is-a-video": {"face": TINY, "face_url": None},
    "missing": {"video": "missing.mp4", "video_url": None},
    "data-url": {"face_url": "data:image/png;base64,aaaa"},
    "option": {"on_unknown": "hope"},
}


# tasks


@pytest.mark.entry("7.6")
async def test_start(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Start a Face Swap Task: it is started once, waited for, and its video can be downloaded."""
    task = await a2e.face_swap.start(**INPUTS, name="Ada")
    record = await task.wait_until_done(20)
    assert record.status is TaskStatus.SUCCEEDED
    assert (record.face_url, record.video_url) == (FACE, VIDEO)
    assert record.result_url not in (FACE, VIDEO)
    assert record.duration is not None
    assert not record.failed_code  # A2E says "0"
    assert (await task.download(tmp_path / "ada.mp4")).stat().st_size
    assert [entry.task_id for entry in sandbox.ledger] == [task.id]


async def test_every_option_is_sent(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Files are uploaded, the video gives the name, and unset options are not sent."""
    path = tmp_path / "Ada.mp4"
    path.write_bytes(TINY)
    with recorded_bodies(sandbox, f"{FAMILY}/add") as bodies:
        await a2e.face_swap.start(face=quick.PNG, video=path, cover=quick.PNG, model_version="v1")
        await a2e.face_swap.start(**INPUTS)
        await a2e.face_swap.start(face=quick.PNG, video=quick.PNG, model_version="v2")
    first, second, third = bodies
    assert first.keys() == {"name", "face_url", "video_url", "cover_url", "model_version"}
    links = [first[name] for name in ("face_url", "video_url", "cover_url")]
    assert all(link.startswith(f"{sandbox.url}/cdn/") for link in links)
    assert [link.rpartition(".")[2] for link in links] == ["png", "mp4", "png"]
    assert len(set(links)) == 3
    assert first["name"].startswith("Ada [a2e:")
    assert second.keys() == {"name", "face_url", "video_url"}
    assert third["model_version"] == "v2"


@pytest.mark.parametrize(
    "options",
    [
        *CANNOT_WORK.values(),
        {"model_version": "v3"},
        {"model_version": "v2", "video": TINY, "video_url": None},
        {"cover": TINY},
        {"cover": quick.PNG, "cover_url": FACE},
        {"name": ""},
    ],
    ids=[*CANNOT_WORK, "model", "v2-needs-images", "cover-is-a-video", "two-covers", "no-name"],
)
async def test_invalid_start_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid start is rejected before anything is sent or uploaded."""
    with pytest.raises(InvalidRequestError):
        await a2e.face_swap.start(**{**INPUTS, **options})
    assert not sandbox.requests


@pytest.mark.entry("7.7")
async def test_ongoing(a2e: A2EClient) -> None:
    """Get Status of Face Swap Task: it returns all unfinished tasks."""
    done = await a2e.face_swap.start(**INPUTS, name="#fast")
    await done.wait_until_done(20)
    stuck = [await a2e.face_swap.start(**INPUTS, name="#stuck") for _ in range(2)]
    ongoing = await a2e.face_swap.ongoing()
    assert {record.id for record in ongoing} == {task.id for task in stuck}
    assert {record.failed_code for record in ongoing} == {""}


@pytest.mark.entry("7.8")
async def test_list(a2e: A2EClient) -> None:
    """Get Face Swap Task Records: page by page, the newest first."""
    ids = [(await a2e.face_swap.start(**INPUTS)).id for _ in range(3)]
    assert [record.id async for record in a2e.face_swap.list(page_size=2)] == ids[::-1]


@pytest.mark.entry("7.9")
async def test_details(a2e: A2EClient) -> None:
    """Get Details of Face Swap, and of several at once; an unknown task is None."""
    task = await a2e.face_swap.start(**INPUTS)
    assert (await a2e.face_swap.get(task.id)).face_url == FACE
    found = await a2e.face_swap.get_many([task.id, "0" * 24])
    assert {task_id: record is not None for task_id, record in found.items()} == {task.id: True, "0" * 24: False}
    with pytest.raises(NotFoundError):
        await a2e.face_swap.get("0" * 24)


@pytest.mark.entry("7.10")
async def test_delete(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Delete Record."""
    task = await a2e.face_swap.start(**INPUTS)
    await a2e.face_swap.delete(task.id)
    assert sandbox.tasks[task.id].deleted


async def test_failure(a2e: A2EClient) -> None:
    """The error of a failed task has A2E's reason, in A2E's spelling of the field."""
    task = await a2e.face_swap.start(**INPUTS, name="#fail")
    record = await task.wait_until_done(20, raise_on_failure=False)
    assert record.status is TaskStatus.FAILED
    assert record.failed_code
    assert record.failed_message


@pytest.mark.parametrize(
    ("code", "message", "failed_code"),
    [
        ("0", None, ""),
        (0, "", ""),
        (None, None, ""),
        ("", None, ""),
        (17, "no face", "17"),
        ("17", "no face", "17"),
    ],
)
async def test_codes_of_failures(
    a2e: A2EClient, sandbox: Sandbox, code: Any, message: str | None, failed_code: str
) -> None:
    """A2E's `error_code` is text, a number or null: null and zero mean no failure."""
    raw = {"_id": "1", "current_status": "processing", "error_code": code, "faild_message": message}
    with sandbox.override("GET", FAMILY, web.json_response({"code": 0, "data": raw})):
        record = await a2e.face_swap.get("1")
    assert record.status is (TaskStatus.FAILED if failed_code else TaskStatus.RUNNING)
    assert record.failed_code == failed_code
    assert record.failed_message == (message or "")


async def test_times_of_a_record(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The times that only face swaps have are read, and `repr` shows nothing private."""
    times = {
        name: f"2024-06-20T05:32:1{number}.714Z"
        for number, name in enumerate(("initialized_time", "processing_time", "completed_time", "updatedAt"))
    }
    raw = {"_id": "1", "current_status": "completed", "duration": 6, "result_url": VIDEO, **INPUTS, **times}
    with sandbox.override("GET", FAMILY, web.json_response({"code": 0, "data": raw})):
        record = await a2e.face_swap.get("1")
    seconds = [record.initialized_time, record.processing_time, record.completed_time, record.updated_at]
    assert [moment and moment.second for moment in seconds] == [10, 11, 12, 13]
    assert record.duration == 6
    assert not record.extra
    assert "example.com" not in repr(record)


async def test_lost_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start whose response is lost is found by its marker, and started once."""
    sandbox.faults = FaultPlan(script={"start": (Fault("drop", after=True),)})
    task = await a2e.face_swap.start(**INPUTS)
    assert task.adopted
    assert [*sandbox.tasks] == [task.id]


# previews


@pytest.mark.entry("7.4")
async def test_preview(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Add User Face Swap Preview: it is waited for, and its result can be downloaded; it has no name."""
    with recorded_bodies(sandbox, f"{PREVIEW}/add") as bodies:
        task = await a2e.face_swap.previews.start(face=quick.PNG, video_url=VIDEO)
    record = await task.wait_until_done(20)
    assert record.status is TaskStatus.SUCCEEDED
    assert (await task.download(tmp_path / "preview")).stat().st_size
    (body,) = bodies
    assert body == {"face_url": record.face_url, "video_url": VIDEO}


@pytest.mark.entry("7.5")
async def test_status_of_a_preview(a2e: A2EClient) -> None:
    """Get Status of Face Swap Preview Process; several take one request each."""
    previews = a2e.face_swap.previews
    ids = [(await previews.start(**INPUTS)).id for _ in range(2)]
    assert (await previews.get(ids[0])).video_url == VIDEO
    found = await previews.get_many([*ids, "0" * 24])
    assert [record and record.id for record in found.values()] == [*ids, None]


@pytest.mark.parametrize("container", [list, lambda record: record, lambda record: [{"_id": "2"}, record]])
async def test_preview_in_an_array(a2e: A2EClient, sandbox: Sandbox, container: Any) -> None:
    """The response may be an object, or an array with other previews: the requested one is returned."""
    record = {"_id": "1", "current_status": "completed", "result_url": VIDEO}
    data = [record] if container is list else container(record)
    with sandbox.override("GET", f"{PREVIEW}/status", web.json_response({"code": 0, "data": data})):
        assert (await a2e.face_swap.previews.get("1")).result_url == VIDEO


@pytest.mark.parametrize("options", CANNOT_WORK.values(), ids=CANNOT_WORK)
async def test_invalid_preview_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid preview is rejected before anything is sent or uploaded."""
    with pytest.raises(InvalidRequestError):
        await a2e.face_swap.previews.start(**{**INPUTS, **options})
    assert not sandbox.requests


async def test_operations_that_previews_do_not_have(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A2E has no list, deletion or webhook for previews: each call is rejected before a request."""
    previews = a2e.face_swap.previews
    with pytest.raises(InvalidRequestError, match="no list"):
        _ = [record async for record in previews.list()]
    with pytest.raises(InvalidRequestError, match="deletes"):
        await previews.delete("1")
    with pytest.raises(InvalidRequestError, match="no list"):
        await previews.find("mine")
    with pytest.raises(InvalidRequestError, match="no webhooks"):
        await previews.start(**INPUTS, webhook_url="https://example.com/hook")
    with pytest.raises(InvalidRequestError, match="idempotency_key"):
        await previews.start(**INPUTS, idempotency_key="mine")
    assert not sandbox.requests


async def test_preview_with_a_lost_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Previews have no list to search: a lost response means an unknown outcome, and nothing is sent again."""
    sandbox.faults = FaultPlan(script={"start": (Fault("drop", after=True),)})
    with pytest.raises(SubmissionUncertainError) as caught:
        await a2e.face_swap.previews.start(**INPUTS)
    assert caught.value.marker == ""
    assert "no list" in str(caught.value)
    assert count_requests(sandbox, f"{PREVIEW}/add") == 1


# saved images


@pytest.mark.entry("7.1")
async def test_add_image(a2e: A2EClient) -> None:
    """Add Face Swap Image: the new image of A2E's whole list is returned; a file is uploaded."""
    images = a2e.face_swap.images
    first = await images.add(face_url=FACE)
    second = await images.add(face=quick.PNG)
    assert first.id != second.id
    assert first.face_url == FACE
    assert first.created_at is not None
    assert "/cdn/" in second.face_url
    assert "example.com" not in repr(first)


@pytest.mark.entry("7.2")
async def test_list_images(a2e: A2EClient) -> None:
    """Get Records of Face Swap Images."""
    images = a2e.face_swap.images
    assert [image.id async for image in images.list()] == []
    added = [await images.add(face_url=f"{FACE}?{number}") for number in range(3)]
    assert {image.id async for image in images.list()} == {image.id for image in added}


@pytest.mark.entry("7.3")
async def test_delete_image(a2e: A2EClient) -> None:
    """Delete User Face Swap Image; an unknown image raises an error with its id."""
    images = a2e.face_swap.images
    image = await images.add(face_url=FACE)
    await images.delete(image.id)
    assert [left async for left in images.list()] == []
    with pytest.raises(APIError) as caught:
        await images.delete(image.id)
    assert caught.value.task_id == image.id


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (
            [{"_id": "2", "face_url": "https://x/2"}, {"_id": "1", "face_url": FACE}, {"_id": "0", "face_url": FACE}],
            "1",
        ),
        ({"rows": [{"_id": "1", "face_url": FACE}]}, "1"),
        ({"_id": "1", "face_url": FACE}, "1"),
        ([{"_id": "2", "face_url": "https://x/2"}], None),
        ([{"face_url": FACE}], None),
        ([], None),
        (None, None),
        ("added", None),
    ],
)
async def test_responses_to_an_added_image(a2e: A2EClient, sandbox: Sandbox, data: Any, found: str | None) -> None:
    """The newest image with the sent link is returned; a response without it raises an error."""
    with sandbox.override("POST", f"{IMAGE}/add", web.json_response({"code": 0, "data": data})):
        if found is None:
            with pytest.raises(UnexpectedResponseError, match="list"):
                await a2e.face_swap.images.add(face_url=FACE)
        else:
            assert (await a2e.face_swap.images.add(face_url=FACE)).id == found
    assert count_requests(sandbox, f"{IMAGE}/add") == 1


@pytest.mark.parametrize(
    "options", [{}, {"face": quick.PNG, "face_url": FACE}, {"face": TINY}, {"face_url": "example.com/a.png"}], ids=str
)
async def test_invalid_image_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid image is rejected before anything is sent or uploaded."""
    with pytest.raises(InvalidRequestError):
        await a2e.face_swap.images.add(**options)
    assert not sandbox.requests

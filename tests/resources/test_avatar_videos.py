"""A2E's group "Generate Avatar Videos", on the HTTP sandbox."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests, make_client, marker_in, recorded_bodies

from a2e_async import (
    A2EClient,
    EndpointNotAvailableError,
    InvalidRequestError,
    NotFoundError,
    TaskFailedError,
    TaskStatus,
    UnexpectedResponseError,
    UnpublishedEndpointWarning,
)
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib

    from a2e_async import TaskHandle
    from a2e_async.models import AvatarVideoRecord

ADA = "64a0000000000000000000a1"
AUDIO = "https://example.com/private/hello.mp3"
START = "/api/v1/video/generate"
LIST = "/api/v1/video/awsList"
VIDEO = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()
CANVAS: dict[str, Any] = {"web_bg_width": 9, "web_bg_height": 9, "web_people_width": 4, "web_people_height": 5}


async def start_video(a2e: A2EClient, **options: Any) -> TaskHandle[AvatarVideoRecord]:
    """Start a video."""
    return await a2e.avatar_videos.start(**{"anchor_id": ADA, "anchor_type": 0, "audio_url": AUDIO, **options})


@pytest.mark.entry("4.1")
async def test_start(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Generate AI Avatar Videos: it is started once, waited for with A2E's own status words, and downloaded."""
    task = await start_video(a2e, title="Hello")
    assert task.status is TaskStatus.QUEUED
    words = [update.current_status async for update in task.updates(20)]
    assert words[-1] == "success"
    record = task.record
    assert (record.status, record.progress) == (TaskStatus.SUCCEEDED, 100)
    assert (record.anchor_id, record.anchor_type) == (ADA, "0")
    assert record.name.startswith("Hello [a2e:")
    assert b"ftyp" in (await task.download(tmp_path / "hello.mp4")).read_bytes()[:12]
    assert [entry.task_id for entry in sandbox.ledger] == [task.id]


async def test_every_option_is_sent(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Every option is sent by A2E's name, local files are uploaded, and unset options are not sent."""
    audio_file = tmp_path / "Ada.mp4"
    audio_file.write_bytes(VIDEO)
    with recorded_bodies(sandbox, START) as bodies:
        await start_video(
            a2e, audio_url=None, audio=audio_file, resolution=720, color="rgb(1,2,3)", anchor_background_img=quick.PNG,
            is_skip_rs=False, is_caption_enabled=True, caption_align={"language": "en", "subtitle_position": 0.3},
            is_to_public_pool=True, msg="a note", webhook_url="https://example.com/hook", **CANVAS,
            web_people_x=1, web_people_y=-2,
        )  # fmt: skip
    (body,) = bodies
    assert body.pop("title").startswith("Ada [a2e:")
    assert body.pop("audioSrc").startswith(f"{sandbox.url}/cdn/")
    assert body.pop("anchor_background_img").startswith(f"{sandbox.url}/cdn/")
    assert body == {
        "anchor_id": ADA, "anchor_type": 0, "resolution": 720, "color": "rgb(1,2,3)", "isSkipRs": False,
        "isCaptionEnabled": True, "captionAlign": {"language": "en", "subtitle_position": 0.3},
        "isToPublicPool": True, "msg": "a note", "webhook_url": "https://example.com/hook", **CANVAS,
        "web_people_x": 1, "web_people_y": -2,
    }  # fmt: skip


async def test_long_title_is_cut(a2e: A2EClient) -> None:
    """A title of 40 characters is cut, so that A2E does not cut the marker."""
    task = await start_video(a2e, title="x" * 40)
    name = (await task.refresh()).name
    assert len(name) == 40
    assert marker_in(name)
    found = await a2e.avatar_videos.find(name)
    assert found is not None
    assert found.id == task.id


@pytest.mark.parametrize(
    "options",
    [
        {"anchor_id": ""},
        {"anchor_type": 2},
        {"anchor_type": True},
        {"anchor_type": "0"},
        {"audio_url": None},
        {"audio": VIDEO},
        {"audio_url": None, "audio": quick.PNG},
        {"audio_url": "hello.mp3"},
        {"title": "x" * 41},
        {"title": ""},
        {"resolution": 0},
        {"back_id": "b", "custom_back_id": "c", **CANVAS},
        {"back_id": "b"},
        {"custom_back_id": "b", **CANVAS, "web_bg_width": None},
        {"color": "rgb(0,0,0)", **CANVAS, "web_people_height": None},
        {"web_bg_width": -1},
        {"anchor_background_img_url": AUDIO, "anchor_background_color": "rgb(0,0,0)"},
        {"caption_align": "big"},
        {"caption_align": {"fontsize": 7}},
        {"caption_align": {"subtitle_position": 1.1}},
        {"is_caption_enabled": 1},
        {"idempotency_key": ""},
    ],
    ids=lambda options: str(options)[:50],
)
async def test_invalid_start_is_rejected(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """An invalid start is rejected before anything is sent or uploaded."""
    with pytest.raises(InvalidRequestError):
        await start_video(a2e, **options)
    assert not sandbox.requests


async def test_unknown_avatar(a2e: A2EClient) -> None:
    """An avatar that does not exist raises A2E's error."""
    with pytest.raises(NotFoundError, match="Avatar"):
        await start_video(a2e, anchor_id="0" * 24)


async def test_failure(a2e: A2EClient) -> None:
    """A2E describes a failure in `msg`, without a code."""
    task = await start_video(a2e, title="Ada #fail")
    with pytest.raises(TaskFailedError) as caught:
        await task.wait_until_done(20)
    assert caught.value.failed_message
    assert caught.value.failed_code == ""


async def test_lost_response(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A video whose response is lost is found by its title, and started once."""
    sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)]})
    task = await start_video(a2e)
    assert task.adopted
    assert count_requests(sandbox, START) == 1
    assert len(sandbox.ledger) == 1


async def test_key(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The same key returns the same video, and nothing is started."""
    first = await start_video(a2e, idempotency_key="hello")
    again = await start_video(a2e, idempotency_key="hello")
    assert again.id == first.id
    assert len(sandbox.ledger) == 1


async def test_list_without_titles_starts_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E's list has no titles, it cannot be searched for a key, and nothing is started."""
    rows = [{"_id": "a" * 24, "status": "success"}]
    listed = {"code": 0, "data": {"current": 1, "total": 1, "success": True, "data": rows}}
    with (
        sandbox.override("GET", LIST, lambda _: web.json_response(listed)),
        pytest.raises(UnexpectedResponseError, match="'title'"),
    ):
        await start_video(a2e, idempotency_key="hello")
    assert not sandbox.ledger


@pytest.mark.entry("4.2")
async def test_list(a2e: A2EClient) -> None:
    """List of Result Videos: page by page, the newest first."""
    ids = [(await start_video(a2e)).id for _ in range(3)]
    assert [record.id async for record in a2e.avatar_videos.list(page_size=2)] == ids[::-1]


async def test_list_in_2025() -> None:
    """If A2E lists by POST only, the client tries the newer spelling once."""
    async with (
        Sandbox(speed=100, render="tiny", api_version="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        ids = [(await start_video(a2e)).id for _ in range(3)]
        assert [record.id async for record in a2e.avatar_videos.list(page_size=2)] == ids[::-1]
        asked = [request.method for request in sandbox.requests if request.path == LIST]
        assert asked == ["GET", "POST", "POST"]


async def test_current_specification() -> None:
    """The operations of the specification alone are enough: for the status, for the list, and to find a lost start."""
    async with Sandbox(speed=100, render="tiny", api_version="spec") as sandbox, make_client(sandbox) as a2e:
        first = await start_video(a2e)
        assert (await first.wait_until_done(20)).status is TaskStatus.SUCCEEDED
        sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)]})
        second = await start_video(a2e)
        assert second.adopted
        assert [record.id async for record in a2e.avatar_videos.list(page_size=1)] == [second.id, first.id]


@pytest.mark.entry("4.4")
async def test_status(a2e: A2EClient) -> None:
    """Obtain the Status of One Avatar Video Task: an array with one record; an unknown id is not found."""
    task = await start_video(a2e, title="#stuck")  # it does not go on between two questions
    assert (await a2e.avatar_videos.get(task.id)).id == task.id
    with pytest.raises(NotFoundError):
        await a2e.avatar_videos.get("0" * 24)
    assert await a2e.avatar_videos.get_many([task.id, "0" * 24]) == {task.id: await task.refresh(), "0" * 24: None}


async def test_newer_status(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E has removed `awsResult`, the operation of its current specification is used, with its own parameter."""
    task = await start_video(a2e)
    queries = []

    def detail(request: web.Request) -> web.Response:
        queries.append(dict(request.query))
        return web.json_response({"code": 0, "data": {"_id": task.id, "status": "success", "result": AUDIO}})

    gone = web.Response(status=404, text="<html>Cannot POST</html>", content_type="text/html")
    with (
        sandbox.override("POST", "/api/v1/video/awsResult", gone),
        sandbox.override("GET", "/api/v1/video/detail", detail),
    ):
        assert (await task.wait_until_done(20)).result_url == AUDIO
        await task.refresh()
    assert queries == [{"video_id": task.id}] * 2
    assert count_requests(sandbox, "/api/v1/video/awsResult") == 1


async def test_many_waits_share_requests(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Avatar videos have no batchDetail: many waits are served by the list."""
    tasks = [await start_video(a2e) for _ in range(30)]
    sandbox.requests.clear()
    done = [outcome async for outcome in a2e.avatar_videos.wait_all(tasks, timeout=30)]
    assert all(outcome.ok for outcome in done)
    assert len(sandbox.requests) < 60


@pytest.mark.entry("4.6")
async def test_delete(a2e: A2EClient) -> None:
    """Delete or Cancel a Video: the record is removed."""
    task = await start_video(a2e, title="#stuck")
    await task.delete()
    with pytest.raises(NotFoundError):
        await task.refresh()


@pytest.mark.entry("4.5")
async def test_lip_sync_models(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Personalized Lip-Sync Models: a guessed path, with a warning, which can be replaced."""
    twin = await a2e.avatars.twins.start(name="Ada", gender="female", video_url="https://example.com/a.mp4")
    with pytest.warns(UnpublishedEndpointWarning, match="trainingRecords"):
        (model,) = await a2e.avatar_videos.lip_sync_models()
    assert model.id == twin.id
    with sandbox.override("GET", "/api/v1/x/y", lambda _: web.json_response({"code": 0, "data": [{"_id": "m"}]})):
        assert [model.id for model in await a2e.avatar_videos.lip_sync_models(path="x/y")] == ["m"]
    with pytest.raises(EndpointNotAvailableError):
        await a2e.avatar_videos.lip_sync_models(path="no/such")


@pytest.mark.entry("4.7")
async def test_detect_language(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Auto Language Detect: a bare code."""
    assert await a2e.avatar_videos.detect_language("你好世界") == "zh"
    assert await a2e.avatar_videos.detect_language("Hello there") == "en"
    with pytest.raises(InvalidRequestError):
        await a2e.avatar_videos.detect_language("")
    answer = web.json_response({"code": 0, "data": {}})
    with (
        sandbox.override("POST", "/api/v1/video/lang_classify", answer),
        pytest.raises(UnexpectedResponseError, match="no language"),
    ):
        await a2e.avatar_videos.detect_language("Hello")


@pytest.mark.entry("4.8")
async def test_public_pool(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Auto Switch to Public Computing Pool: the value that A2E reports is returned."""
    assert await a2e.avatar_videos.set_auto_public_pool(enabled=True) is True
    assert await a2e.avatar_videos.set_auto_public_pool(enabled=False) is False
    wrong: Any = "yes"
    before = len(sandbox.requests)
    with pytest.raises(InvalidRequestError):
        await a2e.avatar_videos.set_auto_public_pool(wrong)
    assert len(sandbox.requests) == before
    answer = web.json_response({"code": 0, "data": None})
    with sandbox.override("POST", "/api/v1/video/auto-public-pool", answer):
        assert await a2e.avatar_videos.set_auto_public_pool(enabled=True) is True

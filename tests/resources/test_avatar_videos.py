"""A2E's group "Generate Avatar Videos", through the real HTTP sandbox."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import count_requests, make_client, marker_of, recorded_bodies

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
from a2e_async.sandbox import Fault, Sandbox, Weather

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


async def begun(a2e: A2EClient, **options: Any) -> TaskHandle[AvatarVideoRecord]:
    """Start a video."""
    return await a2e.avatar_videos.start(**{"anchor_id": ADA, "anchor_type": 0, "audio_url": AUDIO, **options})


@pytest.mark.entry("4.1")
async def test_start(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Generate AI Avatar Videos: started once, waited for in A2E's own words, and downloaded."""
    task = await begun(a2e, title="Hello")
    assert task.status is TaskStatus.QUEUED
    words = [update.current_status async for update in task.updates(20)]
    assert words[-1] == "success"
    record = task.record
    assert (record.status, record.progress) == (TaskStatus.SUCCEEDED, 100)
    assert (record.anchor_id, record.anchor_type) == (ADA, "0")
    assert record.name.startswith("Hello [a2e:")
    assert b"ftyp" in (await task.download(tmp_path / "hello.mp4")).read_bytes()[:12]
    assert [entry.task_id for entry in sandbox.ledger] == [task.id]


async def test_all_that_is_sent(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Every option goes out by A2E's name, local files are uploaded, and what is not set is not sent."""
    sound = tmp_path / "Ada.mp4"
    sound.write_bytes(VIDEO)
    with recorded_bodies(sandbox, START) as bodies:
        await begun(
            a2e, audio_url=None, audio=sound, resolution=720, color="rgb(1,2,3)", anchor_background_img=quick.PNG,
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


async def test_title_is_never_too_long(a2e: A2EClient) -> None:
    """A title of 40 characters is cut, so that A2E does not cut the marker off."""
    task = await begun(a2e, title="x" * 40)
    name = (await task.refresh()).name
    assert len(name) == 40
    assert marker_of(name)
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
async def test_what_cannot_work_is_refused(a2e: A2EClient, sandbox: Sandbox, options: Any) -> None:
    """Whatever a local check finds, nothing is sent or uploaded."""
    with pytest.raises(InvalidRequestError):
        await begun(a2e, **options)
    assert not sandbox.requests


async def test_what_a2e_does_not_know_is_told(a2e: A2EClient) -> None:
    """An avatar that does not exist is A2E's error."""
    with pytest.raises(NotFoundError, match="Avatar"):
        await begun(a2e, anchor_id="0" * 24)


async def test_failure(a2e: A2EClient) -> None:
    """A2E tells of a failure in `msg`, and has no code for it."""
    task = await begun(a2e, title="Ada #fail")
    with pytest.raises(TaskFailedError) as caught:
        await task.wait_until_done(20)
    assert caught.value.failed_message
    assert caught.value.failed_code == ""


async def test_lost_answer(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A video whose answer got lost is found by its title, and not started twice."""
    sandbox.weather = Weather(script={"start": [Fault("drop", after=True)]})
    task = await begun(a2e)
    assert task.adopted
    assert count_requests(sandbox, START) == 1
    assert len(sandbox.ledger) == 1


async def test_key(a2e: A2EClient, sandbox: Sandbox) -> None:
    """With the same key the same video comes back, and nothing is started."""
    first = await begun(a2e, idempotency_key="hello")
    again = await begun(a2e, idempotency_key="hello")
    assert again.id == first.id
    assert len(sandbox.ledger) == 1


async def test_list_without_titles_buys_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E's list does not show the titles, a key cannot tell anything, and nothing is started for it."""
    rows = [{"_id": "a" * 24, "status": "success"}]
    listed = {"code": 0, "data": {"current": 1, "total": 1, "success": True, "data": rows}}
    with (
        sandbox.override("GET", LIST, lambda _: web.json_response(listed)),
        pytest.raises(UnexpectedResponseError, match="'title'"),
    ):
        await begun(a2e, idempotency_key="hello")
    assert not sandbox.ledger


@pytest.mark.entry("4.2")
async def test_list(a2e: A2EClient) -> None:
    """List of Result Videos: page by page, the newest first."""
    ids = [(await begun(a2e)).id for _ in range(3)]
    assert [record.id async for record in a2e.avatar_videos.list(page_size=2)] == ids[::-1]


async def test_list_in_2025() -> None:
    """Where A2E lists by POST only, that is found out once."""
    async with (
        Sandbox(speed=100, render="tiny", era="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        ids = [(await begun(a2e)).id for _ in range(3)]
        assert [record.id async for record in a2e.avatar_videos.list(page_size=2)] == ids[::-1]
        asked = [request.method for request in sandbox.requests if request.path == LIST]
        assert asked == ["GET", "POST", "POST"]


@pytest.mark.entry("4.4")
async def test_status(a2e: A2EClient) -> None:
    """Obtain the Status of One Avatar Video Task: an array with one record; an unknown id is not found."""
    task = await begun(a2e, title="#stuck")  # it does not go on between two questions
    assert (await a2e.avatar_videos.get(task.id)).id == task.id
    with pytest.raises(NotFoundError):
        await a2e.avatar_videos.get("0" * 24)
    assert await a2e.avatar_videos.get_many([task.id, "0" * 24]) == {task.id: await task.refresh(), "0" * 24: None}


async def test_newer_status(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E has dropped `awsResult`, the operation of its current specification is asked, by its own parameter."""
    task = await begun(a2e)
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


async def test_many_waits_share_questions(a2e: A2EClient, sandbox: Sandbox) -> None:
    """There is no batchDetail for avatar videos: many waits are answered by the list."""
    tasks = [await begun(a2e) for _ in range(30)]
    sandbox.requests.clear()
    done = [outcome async for outcome in a2e.avatar_videos.wait_all(tasks, timeout=30)]
    assert all(outcome.ok for outcome in done)
    assert len(sandbox.requests) < 60


@pytest.mark.entry("4.6")
async def test_delete(a2e: A2EClient) -> None:
    """Delete or Cancel a Video: it is gone."""
    task = await begun(a2e, title="#stuck")
    await task.delete()
    with pytest.raises(NotFoundError):
        await task.refresh()


@pytest.mark.entry("4.5")
async def test_lip_sync_models(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Personalized Lip-Sync Models: a guess, which says so, and which can be corrected."""
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
    """Auto Switch to Public Computing Pool: what A2E says that is set."""
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

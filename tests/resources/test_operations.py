"""Every operation of A2E's current specification is sent by a method of the client."""

from __future__ import annotations

import contextlib
import pathlib
import runpy
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
import quick
from aiohttp import web
from paid_starts import make_client

from a2e_async import A2EClient, A2EError, StartPolicy
from a2e_async._protocol.families import FAMILIES
from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.middleware import OPERATIONS

Call: TypeAlias = Callable[[A2EClient], Awaitable[object] | AsyncIterator[object]]

ID = "66a1b2c3d4e5f60718293a01"
URL = "https://example.com/a.mp4"
MINIMAL: dict[str, dict[str, Any]] = runpy.run_path(str(pathlib.Path(__file__).with_name("test_families.py")))[
    "MINIMAL"
]


def calls_of_tasks(name: str) -> list[Call]:
    """Return the calls that all resources of tasks have in common."""

    def resource(a2e: A2EClient) -> Any:
        found: Any = a2e.family(name) if name in FAMILIES else a2e
        for part in [] if name in FAMILIES else name.split("."):
            found = getattr(found, part)
        return found

    return [
        lambda a2e: resource(a2e).get(ID),
        lambda a2e: resource(a2e).get_many([ID]),
        lambda a2e: resource(a2e).list(),
        lambda a2e: resource(a2e).delete(ID),
    ]


def start_of(key: str) -> list[Call]:
    """Return the calls that only families without a resource of their own have."""
    return [
        lambda a2e: a2e.family(key).start(MINIMAL[key]),
        lambda a2e: a2e.family(key).rename(ID, "Ada"),
        lambda a2e: a2e.family(key).get_1080p(ID),
    ]


PROMPTS: dict[str, Any] = {"prompt": "p", "negative_prompt": "n", "image_url": URL}
RESOURCES = (
    "image_to_video", "voices", "avatar_videos", "avatars.twins", "face_swap", "face_swap.previews", "dubbing",
    "caption_removal",
)  # fmt: skip
OTHERS: list[Call] = [
    lambda a2e: a2e.image_to_video.start(**PROMPTS),
    lambda a2e: a2e.image_to_video.average_processing_time(),
    lambda a2e: a2e.image_to_video.unlimited_queue_level(),
    lambda a2e: a2e.image_to_video.mark_shared(ID),
    lambda a2e: a2e.image_to_video.mark_downloaded(ID),
    lambda a2e: a2e.image_to_video.mark_copied(ID),
    lambda a2e: a2e.image_to_video.extend_prompt(**PROMPTS),
    lambda a2e: a2e.image_to_video.extend_first_last_prompt(**PROMPTS, end_image_url=URL),
    lambda a2e: a2e.voices.start(samples=[URL]),
    lambda a2e: a2e.voices.public(),
    lambda a2e: a2e.voices.completed(),
    lambda a2e: a2e.voices.ongoing(),
    lambda a2e: a2e.voices.languages(),
    lambda a2e: a2e.voices.rename(ID, "Ada"),
    lambda a2e: a2e.voices.speak("Hello.", tts_id=ID),
    lambda a2e: a2e.voices.previews(),
    lambda a2e: a2e.voices.delete_preview(ID),
    lambda a2e: a2e.avatar_videos.start(anchor_id=ID, anchor_type=0, audio_url=URL),
    lambda a2e: a2e.avatars.list(),
    lambda a2e: a2e.avatars.add_from_picture(ID),
    lambda a2e: a2e.avatars.custom.add(name="Ada"),
    lambda a2e: a2e.avatars.custom.list(),
    lambda a2e: a2e.avatars.custom.delete(ID),
    lambda a2e: a2e.avatars.custom.tags(),
    lambda a2e: a2e.avatars.custom.update(ID, name="Ada"),
    lambda a2e: a2e.avatars.twins.start(name="Ada", gender="female", video_url=URL),
    lambda a2e: a2e.avatars.twins.ongoing(),
    lambda a2e: a2e.avatars.twins.all(),
    lambda a2e: a2e.avatars.twins.continue_training(ID),
    lambda a2e: a2e.avatars.twins.improve_eye_contact(ID),
    lambda a2e: a2e.avatars.twins.retry(ID),
    lambda a2e: a2e.avatars.twins.train(name="Ada"),
    lambda a2e: a2e.avatars.twins.upload(url=URL),
    lambda a2e: a2e.avatars.twins.upload_status(),
    lambda a2e: a2e.backgrounds.all(),
    lambda a2e: a2e.backgrounds.list(),
    lambda a2e: a2e.backgrounds.random(),
    lambda a2e: a2e.backgrounds.add(image_url=URL),
    lambda a2e: a2e.backgrounds.delete(ID),
    lambda a2e: a2e.face_swap.start(face_url=URL, video_url=URL),
    lambda a2e: a2e.face_swap.ongoing(),
    lambda a2e: a2e.face_swap.previews.start(face_url=URL, video_url=URL),
    lambda a2e: a2e.face_swap.images.add(face_url=URL),
    lambda a2e: a2e.face_swap.images.list(),
    lambda a2e: a2e.face_swap.images.delete(ID),
    lambda a2e: a2e.dubbing.start(source_url=URL, target_lang="en"),
    lambda a2e: a2e.dubbing.ongoing(),
    lambda a2e: a2e.caption_removal.start(source_url=URL),
    lambda a2e: a2e.caption_removal.ongoing(),
    lambda a2e: a2e.caption_removal.retry(ID),
    lambda a2e: a2e.account.history(),
    lambda a2e: a2e.account.quote("talkingPhoto/start", {}),
    lambda a2e: a2e.upload(quick.PNG),
]
CALLS = [
    *OTHERS,
    *(call for name in [*RESOURCES, *MINIMAL] for call in calls_of_tasks(name)),
    *(call for key in MINIMAL for call in start_of(key)),
]


@pytest.mark.filterwarnings("ignore::a2e_async.UnpublishedEndpointWarning")
async def test_every_operation_is_sent(sandbox: Sandbox) -> None:
    """An A2E that has no operation at all gets a request for each one of the specification, fallbacks included."""
    sent: set[str] = set()

    def answer(request: web.Request) -> web.Response:
        sent.add(f"{request.method} {request.path.replace(ID, '{id}')}")
        # A rename reads the old name first.
        is_detail = request.method == "GET" and request.path.endswith(ID)
        if is_detail:
            return web.json_response({"code": 0, "data": {"_id": ID}})
        return web.Response(status=404, text="<html>Cannot find it</html>", content_type="text/html")

    async with make_client(sandbox, start=StartPolicy(mark_names=False)) as a2e:
        with sandbox.override("*", "/api/v1/", answer):
            for call in CALLS:
                with contextlib.suppress(A2EError):
                    result = call(a2e)
                    await (anext(result, None) if isinstance(result, AsyncIterator) else result)
    assert OPERATIONS - sent == set()

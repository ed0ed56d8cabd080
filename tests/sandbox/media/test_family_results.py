"""What finished tasks of the families hold with real rendering: opened with av and Pillow."""

from __future__ import annotations

import io
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import av
import pytest
from PIL import Image
from sandbox_requests import wait_for_end

from a2e_async.sandbox.media.renderer import tiny

if TYPE_CHECKING:
    from sandbox_requests import Call, Response, ServeInput

    from a2e_async.sandbox import Sandbox
    from a2e_async.sandbox.state import Task

API: Final = "/api/v1"
VIDEO: Final = resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()


async def finished(call: Call, sandbox: Sandbox, path: str, **body: Any) -> Task:
    """Start a task and wait for its end."""
    answer = await call(sandbox, "POST", f"{API}/{path}", body)
    assert answer.status == 200, answer.body
    task = sandbox.tasks[(answer.data[0] if isinstance(answer.data, list) else answer.data)["_id"]]
    return await wait_for_end(task)


async def result(call: Call, sandbox: Sandbox, task: Task) -> Response:
    """Download the result of a task that ended well."""
    assert task.succeeded, task.failed_message
    return await call(sandbox, "GET", task.result_url)


def streams(content: bytes) -> dict[str, float]:
    """Tell the kinds of the streams of a video, and how long each is in seconds."""
    with av.open(io.BytesIO(content)) as film:
        return {one.type: float(one.duration * one.time_base) for one in film.streams if one.duration and one.time_base}


async def test_a_talking_photo_is_a_film_of_its_picture(
    rendering: Sandbox, call: Call, serve_input: ServeInput, picture: bytes
) -> None:
    """As long as was asked for."""
    fields = {
        "name": "Ada",
        "image_url": serve_input(picture),
        "prompt": "zoom in",
        "negative_prompt": "x",
        "duration": 1,
    }
    answer = await result(call, rendering, await finished(call, rendering, "talkingPhoto/start", **fields))
    assert (answer.headers["Content-Type"], streams(answer.content)) == ("video/mp4", {"video": 1.0})


async def test_a_video_of_words_alone_is_a_film(rendering: Sandbox, call: Call) -> None:
    """A family that needs no image gets one painted."""
    fields = {"model": "wan3.0-video", "input": {"prompt": "a lighthouse"}, "parameters": {"duration": 3}}
    answer = await result(call, rendering, await finished(call, rendering, "userWan30/start", **fields))
    assert streams(answer.content) == {"video": 3.0}


@pytest.mark.parametrize(
    ("path", "fields", "size"),
    [
        ("userKlingImage/start", {"name": "a", "prompt": "a lighthouse", "aspect_ratio": "16:9"}, (1280, 720)),
        ("userQwen2Image/start", {"name": "a", "prompt": "a lighthouse", "size": "880*1328"}, (880, 1328)),
        ("userText2Image/start", {"prompt": "a lighthouse", "width": 640, "height": 480}, (640, 480)),
        ("userText2Image/start", {"prompt": "a lighthouse", "width": 99999, "height": 1}, (2048, 64)),
    ],
)
async def test_a_picture_has_the_size_that_was_asked_for(
    rendering: Sandbox, call: Call, path: str, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    """A PNG that can be opened, within bounds of ours."""
    answer = await result(call, rendering, await finished(call, rendering, path, **fields))
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (answer.headers["Content-Type"], image.format, image.size) == ("image/png", "PNG", size)


async def test_other_words_make_another_picture(rendering: Sandbox, call: Call) -> None:
    """The prompt decides."""
    contents = set()
    for prompt in ("a lighthouse", "a balloon"):
        task = await finished(call, rendering, "userText2Image/start", prompt=prompt, width=128, height=128)
        contents.add((await result(call, rendering, task)).content)
    assert len(contents) == 2


async def test_captions_are_removed_from_the_video_that_was_sent(
    rendering: Sandbox, call: Call, serve_input: ServeInput
) -> None:
    """The same streams in an MP4."""
    source = serve_input(VIDEO, "video/mp4")
    task = await finished(call, rendering, "userCaptionRemoval/start", name="Ada", source_url=source)
    answer = await result(call, rendering, task)
    assert (answer.headers["Content-Type"], streams(answer.content)) == ("video/mp4", streams(VIDEO))


async def test_a_picture_is_no_video_to_remove_captions_from(
    rendering: Sandbox, call: Call, serve_input: ServeInput, picture: bytes
) -> None:
    """The task fails and says why."""
    task = await finished(call, rendering, "userCaptionRemoval/start", name="Ada", source_url=serve_input(picture))
    assert (task.failed, task.failed_code) == (True, "video_invalid")


async def test_a_face_can_be_swapped_in_a_picture(
    rendering: Sandbox, call: Call, serve_input: ServeInput, picture: bytes
) -> None:
    """What comes back is an image then, not a video."""
    fields = {"name": "Ada", "face_url": serve_input(picture), "video_url": serve_input(picture), "model_version": "v2"}
    answer = await result(call, rendering, await finished(call, rendering, "userFaceSwapTask/add", **fields))
    assert (answer.headers["Content-Type"], answer.content) == ("image/png", picture)


async def test_a_broken_picture_fails_a_swap(rendering: Sandbox, call: Call, serve_input: ServeInput) -> None:
    """It is looked at, although it is returned as it is."""
    fields = {"name": "Ada", "face_url": serve_input(b"x"), "video_url": serve_input(b"x")}
    task = await finished(call, rendering, "userFaceSwapTask/add", **fields)
    assert task.failed_code == "image_invalid"


@pytest.mark.parametrize("kind", ["video", "image"])
async def test_a_twin_has_a_preview_of_either(
    rendering: Sandbox, call: Call, serve_input: ServeInput, picture: bytes, kind: str
) -> None:
    """A video comes back as it is, an image as a video."""
    url = serve_input(VIDEO, "video/mp4") if kind == "video" else serve_input(picture)
    fields = {"name": "Ada", "gender": "female", f"{kind}_url": url}
    answer = await result(call, rendering, await finished(call, rendering, "userVideoTwin/startTraining", **fields))
    assert streams(answer.content) == (streams(VIDEO) if kind == "video" else {"video": 5.0})


@pytest.mark.parametrize("own", [True, False])
async def test_an_avatar_video_has_the_given_sound(
    rendering: Sandbox, call: Call, serve_input: ServeInput, picture: bytes, *, own: bool
) -> None:
    """Video and sound are as long as the sound that was sent; with an avatar of an image, and with A2E's own."""
    sound, content_type = tiny("audio")
    anchor = "64a0000000000000000000a1"
    if own:
        fields = {"name": "Ada", "gender": "female", "image_url": serve_input(picture)}
        anchor = (await finished(call, rendering, "userVideoTwin/startTraining", **fields)).anchor_id
    fields = {"title": "Ada", "anchor_id": anchor, "audioSrc": serve_input(sound, content_type)}
    answer = await result(
        call, rendering, await finished(call, rendering, "video/generate", **fields, anchor_type=int(own))
    )
    found = streams(answer.content)
    assert set(found) == {"video", "audio"}
    assert found == pytest.approx(dict.fromkeys(found, streams(sound)["audio"]), abs=0.15)


async def test_sound_that_is_none_fails_an_avatar_video(
    rendering: Sandbox, call: Call, serve_input: ServeInput, picture: bytes
) -> None:
    """The server's Content-Type decides; the text stands in `msg`."""
    fields = {
        "title": "Ada",
        "anchor_id": "64a0000000000000000000a1",
        "anchor_type": 0,
        "audioSrc": serve_input(picture),
    }
    task = await finished(call, rendering, "video/generate", **fields)
    assert (task.status, task.failed_code) == ("fail", "audio_invalid")
    assert task.record()["msg"] == task.failed_message != ""


async def test_an_input_that_cannot_be_fetched_fails_the_task(
    rendering: Sandbox, call: Call, serve_input: ServeInput
) -> None:
    """A redirect is not followed."""
    source = serve_input(status=302, Location="https://example.com")
    task = await finished(call, rendering, "userUpscale/start", source_url=source)
    assert (task.failed, "HTTP 302" in task.failed_message) == (True, True)

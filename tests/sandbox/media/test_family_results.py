"""Results of the families with real rendering, opened with av and Pillow."""

from __future__ import annotations

import io
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import av
import pytest
from PIL import Image
from sandbox_requests import wait_for_end

from a2e_async.sandbox.media.renderer import tiny_file

if TYPE_CHECKING:
    from sandbox_requests import Call, Response, ServeInput

    from a2e_async.sandbox import Sandbox
    from a2e_async.sandbox.state import Task

API: Final = "/api/v1"
VIDEO: Final = resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()


async def run_task(call: Call, sandbox: Sandbox, path: str, **body: Any) -> Task:
    """Start a task and wait for its end."""
    answer = await call(sandbox, "POST", f"{API}/{path}", body)
    assert answer.status == 200, answer.body
    task = sandbox.tasks[(answer.data[0] if isinstance(answer.data, list) else answer.data)["_id"]]
    return await wait_for_end(task)


async def result(call: Call, sandbox: Sandbox, task: Task) -> Response:
    """Download the result of a task that succeeded."""
    assert task.succeeded, task.failed_message
    return await call(sandbox, "GET", task.result_url)


def streams(content: bytes) -> dict[str, float]:
    """Return the types of the streams of a video, and their lengths in seconds."""
    with av.open(io.BytesIO(content)) as container:
        return {
            one.type: float(one.duration * one.time_base) for one in container.streams if one.duration and one.time_base
        }


async def test_talking_photo_is_a_video_of_its_image(
    rendering: Sandbox, call: Call, serve_input: ServeInput, image: bytes
) -> None:
    """It has the requested length."""
    fields = {
        "name": "Ada",
        "image_url": serve_input(image),
        "prompt": "zoom in",
        "negative_prompt": "x",
        "duration": 1,
    }
    answer = await result(call, rendering, await run_task(call, rendering, "talkingPhoto/start", **fields))
    assert (answer.headers["Content-Type"], streams(answer.content)) == ("video/mp4", {"video": 1.0})


async def test_video_of_a_text(rendering: Sandbox, call: Call) -> None:
    """A family that needs no image gets a rendered one."""
    fields = {"model": "wan3.0-video", "input": {"prompt": "a lighthouse"}, "parameters": {"duration": 3}}
    answer = await result(call, rendering, await run_task(call, rendering, "userWan30/start", **fields))
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
async def test_image_has_the_requested_size(
    rendering: Sandbox, call: Call, path: str, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    """It is a PNG within our limits of size."""
    answer = await result(call, rendering, await run_task(call, rendering, path, **fields))
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (answer.headers["Content-Type"], image.format, image.size) == ("image/png", "PNG", size)


async def test_other_prompt_gives_another_image(rendering: Sandbox, call: Call) -> None:
    """The image depends on the prompt."""
    contents = set()
    for prompt in ("a lighthouse", "a balloon"):
        task = await run_task(call, rendering, "userText2Image/start", prompt=prompt, width=128, height=128)
        contents.add((await result(call, rendering, task)).content)
    assert len(contents) == 2


async def test_caption_removal_copies_the_video(rendering: Sandbox, call: Call, serve_input: ServeInput) -> None:
    """The result has the same streams in an MP4."""
    source = serve_input(VIDEO, "video/mp4")
    task = await run_task(call, rendering, "userCaptionRemoval/start", name="Ada", source_url=source)
    answer = await result(call, rendering, task)
    assert (answer.headers["Content-Type"], streams(answer.content)) == ("video/mp4", streams(VIDEO))


async def test_caption_removal_of_an_image_fails(
    rendering: Sandbox, call: Call, serve_input: ServeInput, image: bytes
) -> None:
    """The record names the reason."""
    task = await run_task(call, rendering, "userCaptionRemoval/start", name="Ada", source_url=serve_input(image))
    assert (task.failed, task.failed_code) == (True, "video_invalid")


async def test_face_swap_in_an_image(rendering: Sandbox, call: Call, serve_input: ServeInput, image: bytes) -> None:
    """The result is an image, not a video."""
    fields = {"name": "Ada", "face_url": serve_input(image), "video_url": serve_input(image), "model_version": "v2"}
    answer = await result(call, rendering, await run_task(call, rendering, "userFaceSwapTask/add", **fields))
    assert (answer.headers["Content-Type"], answer.content) == ("image/png", image)


async def test_face_swap_with_a_broken_image_fails(rendering: Sandbox, call: Call, serve_input: ServeInput) -> None:
    """The image is decoded, although it is returned unchanged."""
    fields = {"name": "Ada", "face_url": serve_input(b"x"), "video_url": serve_input(b"x")}
    task = await run_task(call, rendering, "userFaceSwapTask/add", **fields)
    assert task.failed_code == "image_invalid"


@pytest.mark.parametrize("kind", ["video", "image"])
async def test_preview_of_a_twin(
    rendering: Sandbox, call: Call, serve_input: ServeInput, image: bytes, kind: str
) -> None:
    """The preview of a video is a copy of it, the preview of an image is a video."""
    url = serve_input(VIDEO, "video/mp4") if kind == "video" else serve_input(image)
    fields = {"name": "Ada", "gender": "female", f"{kind}_url": url}
    answer = await result(call, rendering, await run_task(call, rendering, "userVideoTwin/startTraining", **fields))
    assert streams(answer.content) == (streams(VIDEO) if kind == "video" else {"video": 5.0})


@pytest.mark.parametrize("own", [True, False])
async def test_avatar_video_has_the_given_audio(
    rendering: Sandbox, call: Call, serve_input: ServeInput, image: bytes, *, own: bool
) -> None:
    """Video and audio are as long as the audio of the input, with an avatar of an image and with A2E's own."""
    audio, content_type = tiny_file("audio")
    anchor = "64a0000000000000000000a1"
    if own:
        fields = {"name": "Ada", "gender": "female", "image_url": serve_input(image)}
        anchor = (await run_task(call, rendering, "userVideoTwin/startTraining", **fields)).anchor_id
    fields = {"title": "Ada", "anchor_id": anchor, "audioSrc": serve_input(audio, content_type)}
    answer = await result(
        call, rendering, await run_task(call, rendering, "video/generate", **fields, anchor_type=int(own))
    )
    found = streams(answer.content)
    assert set(found) == {"video", "audio"}
    assert found == pytest.approx(dict.fromkeys(found, streams(audio)["audio"]), abs=0.15)


async def test_avatar_video_without_audio_fails(
    rendering: Sandbox, call: Call, serve_input: ServeInput, image: bytes
) -> None:
    """The Content-Type of the server decides; the message is in `msg`."""
    fields = {
        "title": "Ada",
        "anchor_id": "64a0000000000000000000a1",
        "anchor_type": 0,
        "audioSrc": serve_input(image),
    }
    task = await run_task(call, rendering, "video/generate", **fields)
    assert (task.status, task.failed_code) == ("fail", "audio_invalid")
    assert task.record()["msg"] == task.failed_message != ""


async def test_task_with_an_unavailable_input_fails(rendering: Sandbox, call: Call, serve_input: ServeInput) -> None:
    """A redirect is not followed."""
    source = serve_input(status=302, Location="https://example.com")
    task = await run_task(call, rendering, "userUpscale/start", source_url=source)
    assert (task.failed, "HTTP 302" in task.failed_message) == (True, True)

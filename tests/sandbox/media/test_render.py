"""Results are real videos of the image that was sent."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.media.video import RenderingStopped, VideoSpec, camera_move_for, decode, make_labels, render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox_requests import Call, FinishedTask, ServeInput, Start

PRESIGN = "/api/v1/r2/upload-presigned-url"


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(image: Image.Image, at: tuple[int, int]) -> tuple[int, ...]:
    """Return one pixel of an image with several channels."""
    value = image.getpixel(at)
    assert isinstance(value, tuple)
    return value


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the average difference of two images, from 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def key_frames(tmp_path: Path, *, first: bytes, last: bytes | None = None) -> list[Image.Image]:
    """Render a video and return the first, the middle and the last frame."""
    path = tmp_path / "video.mp4"
    render(VideoSpec(first=first, last=last, prompt="zoom in", seconds=5), path, threading.Event())
    with av.open(str(path)) as container:
        decoded: Iterator[Any] = container.decode(video=0)  # some releases of av do not annotate to_image
        frames: list[Image.Image] = [frame.to_image() for frame in decoded]
    return [frames[0], frames[len(frames) // 2], frames[-1]]


def test_result_plays_in_browsers(tmp_path: Path, image: bytes) -> None:
    """It is H.264, yuv420p, 1280x720, 24 frames a second, of the requested length, and its index comes first."""
    path = tmp_path / "video.mp4"
    render(VideoSpec(first=image, prompt="", seconds=1), path, threading.Event())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.codec_context.pix_fmt, stream.width, stream.height) == ("yuv420p", 1280, 720)
        assert container.duration == av.time_base
        assert stream.average_rate == stream.frames == 24
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


async def test_result_has_the_requested_length(
    rendering: Sandbox, finished_task: FinishedTask, call: Call, serve_input: ServeInput, image: bytes
) -> None:
    """A start sets the length of its video, which can be downloaded."""
    task = await finished_task(rendering, image_url=serve_input(image), video_time=10)
    content = (await call(rendering, "GET", task.result_url)).content
    with av.open(io.BytesIO(content), "r") as container:
        assert container.duration == 10 * av.time_base


async def test_uploaded_image_can_be_used(
    rendering: Sandbox, finished_task: FinishedTask, call: Call, image: bytes
) -> None:
    """The cdnUrl of an upload is a valid input, and is read without a request."""
    data = (await call(rendering, "POST", PRESIGN, {"key": "ä b.png", "contentType": "image/png"})).data
    await call(rendering, "PUT", data["uploadUrl"], data=image, headers={"Content-Type": "image/png"})
    assert (await finished_task(rendering, image_url=data["cdnUrl"])).status == "completed"
    assert all(not request.path.startswith("/cdn") for request in rendering.requests)


async def test_requests_are_answered_during_rendering(
    *,
    sandbox: Sandbox,
    rendering: Sandbox,
    start: Start,
    serve_input: ServeInput,
    image: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The video is not rendered in the thread of the event loop."""
    loop, begun, answered = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def wait_and_render(spec: VideoSpec, path: Path, stop: threading.Event) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert answered.wait(20), "no request was answered meanwhile"
        render(spec, path, stop)

    monkeypatch.setattr("a2e_async.sandbox.media.video.render", wait_and_render)
    task = rendering.tasks[(await start(rendering, image_url=serve_input(image))).data["_id"]]
    await begun.wait()
    assert (await start(sandbox)).status == 200
    answered.set()
    await asyncio.sleep(1)  # virtual time stands still while the thread works
    assert task.succeeded, task.failed_message


async def test_closing_stops_rendering(
    start: Start, serve_input: ServeInput, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing does not wait for unfinished videos, and leaves no thread of ours behind."""
    loop, begun, ends = asyncio.get_running_loop(), asyncio.Event(), list[str]()

    def watch(spec: VideoSpec, path: Path, stop: threading.Event) -> None:
        loop.call_soon_threadsafe(begun.set)
        try:
            render(spec, path, stop)
        except RenderingStopped:
            ends.append("stopped")
        else:
            ends.append("whole")

    monkeypatch.setattr("a2e_async.sandbox.media.video.render", watch)
    monkeypatch.setattr("a2e_async.sandbox.media.video.FRAMES_PER_SECOND", 1000)  # minutes of work
    async with Sandbox(speed=1000) as sandbox:
        for _ in range(3):
            await start(sandbox, image_url=serve_input(image), video_time=20)
        await begun.wait()
    assert set(ends) == {"stopped"}
    assert not any(thread.name.startswith("a2e-sandbox") for thread in threading.enumerate())


@pytest.mark.usefixtures("few_frames")
def test_image_is_visible_and_moves(tmp_path: Path, image: bytes) -> None:
    """The first frame has the image in its true colours, the last one has moved."""
    first, _, last = key_frames(tmp_path, first=image)
    cropped = decode(image).resize((1280, 720), box=(0, 30, 960, 570))
    assert difference(first, cropped) < 4
    assert difference(first, last) > 4


@pytest.mark.usefixtures("few_frames")
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_portrait_gives_a_portrait(tmp_path: Path, orientation: int) -> None:
    """Upright images give 720x1280. Exif turns no image, so that a photo shows whether it depends on that."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for size, expected in (((400, 600), (720, 1280)), ((600, 400), (1280, 720))):
        image = encode(Image.new("RGB", size, (200, 30, 30)), "JPEG", exif=exif)
        first, *_ = key_frames(tmp_path, first=image)
        assert first.size == expected


@pytest.mark.usefixtures("few_frames")
def test_every_frame_has_the_mark(few_frames: None, tmp_path: Path) -> None:
    """A small mark at the lower right says that the video comes from a sandbox; the rest is the image."""
    grey = Image.new("RGB", (1280, 720), (128, 128, 128))
    for frame in key_frames(tmp_path, first=encode(grey)):
        changes = ImageChops.difference(frame, grey).convert("L").point(lambda value: 255 * (value > 30))
        left, upper, right, lower = changes.getbbox() or (0, 0, 0, 0)
        assert left > 1100
        assert upper > 640
        assert (right < 1280, lower < 720) == (True, True)


@pytest.mark.parametrize("show_prompt", [False, True])
async def test_prompt_can_be_drawn(
    few_frames: None, finished_task: FinishedTask, call: Call, serve_input: ServeInput, *, show_prompt: bool
) -> None:
    """With the option the videos show their prompt, with any characters and any length."""
    image = encode(Image.new("RGB", (720, 1280), (128, 128, 128)))
    async with Sandbox(speed=1000, show_prompt=show_prompt) as sandbox:
        task = await finished_task(sandbox, "the sun rises 日\n" * 60, image_url=serve_input(image))
        content = (await call(sandbox, "GET", task.result_url)).content
    with av.open(io.BytesIO(content), "r") as container:
        frame: Image.Image = next(container.decode(video=0)).to_image()  # type: ignore[no-untyped-call]  # av's
    levels = frame.crop((0, 0, 720, 300)).convert("L").histogram()
    assert (sum(levels[:90]) > 0, sum(levels[200:]) > 0) == (show_prompt, show_prompt)


def test_a_small_image_has_labels(tmp_path: Path) -> None:
    """Labels fit, or are left out: a frame of any size can be made."""
    for size in ((2, 2), (20, 60), (64, 36), (3000, 20)):
        for label in make_labels(size, "a long prompt " * 20):
            assert label.corner[0] + label.image.width <= size[0]
            assert label.corner[1] + label.image.height <= size[1]


def test_first_and_last_image_are_cross_faded(few_frames: None, tmp_path: Path) -> None:
    """An FLF2V video begins with the first image, ends with the last, and mixes them in between."""
    red, blue = (encode(Image.new("RGB", (640, 360), colour)) for colour in ((220, 20, 20), (20, 20, 220)))
    seen = [pixel(frame, (640, 360)) for frame in key_frames(tmp_path, first=red, last=blue)]
    assert (seen[0][0] > 200, seen[0][2] < 40) == (True, True)
    assert all(80 < value < 160 for value in (seen[1][0], seen[1][2]))
    assert (seen[2][2] > 200, seen[2][0] < 40) == (True, True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_becomes_opaque_rgb(mode: str) -> None:
    """All modes of images decode; mid-grey stays mid-grey."""
    kind = "TIFF" if mode == "CMYK" else "PNG"
    image = Image.new("I;16", (8, 8), 128 * 256) if mode == "I;16" else Image.new("L", (8, 8), 128).convert(mode)
    decoded = decode(encode(image, kind))
    assert decoded.mode == "RGB"
    if mode != "1":
        assert all(abs(value - 128) <= 2 for value in pixel(decoded, (4, 4)))


def test_transparency_becomes_grey() -> None:
    """Transparent pixels become light grey, of any colour."""
    assert decode(encode(Image.new("RGBA", (8, 8), (255, 0, 0, 0)))).getpixel((4, 4)) == (224, 224, 224)


def test_animation_is_its_first_frame() -> None:
    """Only the first frame of a GIF is used."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((0, 200, 0), (200, 0, 0))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((4, 4)) == (0, 200, 0)


@pytest.mark.usefixtures("few_frames")
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_any_shape_covers_the_frame(tmp_path: Path, size: tuple[int, int]) -> None:
    """Even a line of pixels fills the frame, without borders."""
    _, middle, _ = key_frames(tmp_path, first=encode(Image.new("RGB", size, (0, 180, 0))))
    assert all(pixel(middle, corner)[1] > 150 for corner in ((1, 1), (middle.width - 2, middle.height - 2)))


def test_rendering_can_be_stopped(tmp_path: Path, image: bytes) -> None:
    """When the event is set, the next frame is not rendered."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(RenderingStopped):
        render(VideoSpec(first=image, prompt="", seconds=5), tmp_path / "video.mp4", stop)


@pytest.mark.parametrize(
    ("prompt", "grows", "right", "down"),
    [
        ("Slowly zoom in", -1, 0, 0),
        ("the camera pulls back", 1, 0, 0),
        ("pan left", 0, -1, 0),
        ("pan to the right", 0, 1, 0),
        ("tilt up", 0, 0, -1),
        ("look down", 0, 0, 1),
        ("zoom in to the left", -1, -1, 0),
    ],
)
def test_prompt_moves_the_camera(prompt: str, grows: int, right: int, down: int) -> None:
    """A move that the prompt names is made: the view shrinks or grows, and its middle moves in that direction."""
    start, end = camera_move_for(prompt).box(0), camera_move_for(prompt).box(1)

    def sign(value: float) -> int:
        return 0 if abs(value) < 1e-9 else 1 if value > 0 else -1

    assert sign((end[2] - end[0]) - (start[2] - start[0])) == grows
    assert sign((end[0] + end[2]) - (start[0] + start[2])) == right
    assert sign((end[1] + end[3]) - (start[1] + start[3])) == down


def test_other_prompts_choose_a_move_by_hash() -> None:
    """A prompt always gives the same move, prompts differ, and all views are inside of the canvas."""
    moves = [camera_move_for(f"prompt {number}") for number in range(60)]
    assert moves == [camera_move_for(f"prompt {number}") for number in range(60)]
    assert len({(move.start, move.end) for move in moves}) > 6
    for move in moves:
        for step in range(25):
            left, top, right, bottom = move.box(step / 24)
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1

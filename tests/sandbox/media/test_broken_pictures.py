"""Inputs that are of no use make a task fail instead of hanging."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientTimeout, web
from PIL import Image

from a2e_async.sandbox.media import storage

if TYPE_CHECKING:
    from sandbox_requests import FinishedTask, ServeInput

    from a2e_async.sandbox import Sandbox


def claiming(size: tuple[int, int]) -> bytes:
    """Make a small PNG whose header claims to have a size."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", *size)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


async def test_a_missing_picture_fails_the_task(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput
) -> None:
    """A 404 behind the link: failed, with a code and a text that names it."""
    task = await finished_task(rendering, image_url=serve_input(status=404))
    assert (task.status, task.failed_code) == ("failed", "image_unreachable")
    assert "404" in task.failed_message


async def test_a_redirect_fails_the_task(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, picture: bytes
) -> None:
    """No redirect is followed, not even to a good image."""
    good = serve_input(picture)
    task = await finished_task(rendering, image_url=serve_input(status=301, Location=good))
    assert (task.failed_code, "301" in task.failed_message) == ("image_unreachable", True)


async def test_a_dead_host_fails_the_task(
    rendering: Sandbox, finished_task: FinishedTask, unused_tcp_port: int
) -> None:
    """Nobody listens: failed."""
    task = await finished_task(rendering, image_url=f"http://127.0.0.1:{unused_tcp_port}/a.png")
    assert task.failed_code == "image_unreachable"


async def test_a_slow_host_fails_the_task(
    rendering: Sandbox, finished_task: FinishedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not answer in time: failed."""
    monkeypatch.setattr(storage, "_TIMEOUT", ClientTimeout(total=0.05))

    async def sleep(_: web.Request) -> None:
        await asyncio.sleep(0.3)

    with rendering.override("GET", "/slow", sleep):
        task = await finished_task(rendering, image_url=f"{rendering.url}/slow")
    assert (task.failed_code, "timeout" in task.failed_message) == ("image_unreachable", True)


async def test_the_type_is_what_the_server_says(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, picture: bytes
) -> None:
    """A good image under another type is none, whatever its extension."""
    task = await finished_task(rendering, image_url=serve_input(picture, "application/octet-stream"))
    assert (task.failed_code, "octet-stream" in task.failed_message) == ("image_invalid", True)


async def test_too_many_bytes_fail_the_task(
    rendering: Sandbox,
    finished_task: FinishedTask,
    serve_input: ServeInput,
    picture: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the limit nothing more is read."""
    monkeypatch.setattr(storage, "_LARGEST", 100)
    assert (await finished_task(rendering, image_url=serve_input(picture))).failed_code == "image_too_large"


@pytest.mark.parametrize("cut", [0, 20, 2000])
async def test_a_broken_picture_fails_the_task(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, picture: bytes, cut: int
) -> None:
    """Empty, without data, or cut in the middle: failed."""
    assert (await finished_task(rendering, image_url=serve_input(picture[:cut]))).failed_code == "image_invalid"


async def test_text_that_calls_itself_a_picture_fails_the_task(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput
) -> None:
    """The content has to decode as well."""
    task = await finished_task(
        rendering, image_url=serve_input(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")
    )
    assert task.failed_code == "image_invalid"


@pytest.mark.parametrize("size", [(8000, 7000), (10_000, 9_500), (16_000, 16_000)])
async def test_a_decompression_bomb_fails_the_task(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, size: tuple[int, int]
) -> None:
    """A small file with millions of pixels is not unpacked, by our limit or by either of Pillow's."""
    task = await finished_task(rendering, image_url=serve_input(claiming(size)))
    assert task.failed_code == "image_too_large"


async def test_a_broken_last_picture_fails_the_task(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, picture: bytes
) -> None:
    """The last frame is as necessary as the first."""
    task = await finished_task(
        rendering, image_url=serve_input(picture), model_type="FLF2V", end_image_url=serve_input(b"x")
    )
    assert task.failed_code == "image_invalid"


async def test_a_picture_not_yet_at_our_cdn_fails_the_task(rendering: Sandbox, finished_task: FinishedTask) -> None:
    """An object that was never uploaded is as missing as on any other host."""
    task = await finished_task(rendering, image_url=f"{rendering.url}/cdn/3days-apac/nothing.png")
    assert task.failed_code == "image_unreachable"


async def test_the_storage_url_is_no_input(rendering: Sandbox, finished_task: FinishedTask) -> None:
    """The raw storage link does not work."""
    task = await finished_task(rendering, image_url=f"{rendering.url}/storage/3days-apac/a.png")
    assert (task.failed_code, "403" in task.failed_message) == ("image_unreachable", True)


async def test_an_unexpected_error_fails_the_task(
    *,
    rendering: Sandbox,
    finished_task: FinishedTask,
    serve_input: ServeInput,
    picture: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever breaks inside is logged, and the task fails instead of hanging."""

    def explode(*_: object) -> None:
        message = "codec"
        raise RuntimeError(message)

    monkeypatch.setattr("a2e_async.sandbox.media.video.render", explode)
    task = await finished_task(rendering, image_url=serve_input(picture))
    assert (task.status, task.failed_code) == ("failed", "generation_error")
    assert task.id in caplog.text

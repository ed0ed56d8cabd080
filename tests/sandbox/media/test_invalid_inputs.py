"""Inputs that cannot be used make a task fail."""

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


def png_with_size(size: tuple[int, int]) -> bytes:
    """Return a small PNG whose header has another size."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", *size)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


async def test_missing_image(rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput) -> None:
    """After a 404 the task fails, with a code and a message that names the status."""
    task = await finished_task(rendering, image_url=serve_input(status=404))
    assert (task.status, task.failed_code) == ("failed", "image_unreachable")
    assert "404" in task.failed_message


async def test_redirect(rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, image: bytes) -> None:
    """No redirect is followed, not even to a valid image."""
    good = serve_input(image)
    task = await finished_task(rendering, image_url=serve_input(status=301, Location=good))
    assert (task.failed_code, "301" in task.failed_message) == ("image_unreachable", True)


async def test_refused_connection(rendering: Sandbox, finished_task: FinishedTask, unused_tcp_port: int) -> None:
    """The task fails."""
    task = await finished_task(rendering, image_url=f"http://127.0.0.1:{unused_tcp_port}/a.png")
    assert task.failed_code == "image_unreachable"


async def test_timeout(rendering: Sandbox, finished_task: FinishedTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a server does not answer in time, the task fails."""
    monkeypatch.setattr(storage, "_TIMEOUT", ClientTimeout(total=0.05))

    async def sleep(_: web.Request) -> None:
        await asyncio.sleep(0.3)

    with rendering.override("GET", "/slow", sleep):
        task = await finished_task(rendering, image_url=f"{rendering.url}/slow")
    assert (task.failed_code, "timeout" in task.failed_message) == ("image_unreachable", True)


async def test_content_type_decides(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, image: bytes
) -> None:
    """A valid image with another content type is not accepted, even with the extension of an image."""
    task = await finished_task(rendering, image_url=serve_input(image, "application/octet-stream"))
    assert (task.failed_code, "octet-stream" in task.failed_message) == ("image_invalid", True)


async def test_too_large_input(
    rendering: Sandbox,
    finished_task: FinishedTask,
    serve_input: ServeInput,
    image: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the limit no more bytes are read."""
    monkeypatch.setattr(storage, "_LARGEST", 100)
    assert (await finished_task(rendering, image_url=serve_input(image))).failed_code == "image_too_large"


@pytest.mark.parametrize("cut", [0, 20, 2000])
async def test_broken_image(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, image: bytes, cut: int
) -> None:
    """An image that is empty, without data, or cut makes the task fail."""
    assert (await finished_task(rendering, image_url=serve_input(image[:cut]))).failed_code == "image_invalid"


async def test_text_as_an_image(rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput) -> None:
    """The content must decode as well."""
    task = await finished_task(
        rendering, image_url=serve_input(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")
    )
    assert task.failed_code == "image_invalid"


@pytest.mark.parametrize("size", [(8000, 7000), (10_000, 9_500), (16_000, 16_000), (50_000, 50_000)])
async def test_decompression_bomb(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, size: tuple[int, int]
) -> None:
    """A small file with millions of pixels is not decoded, by our limit and by both of Pillow's."""
    task = await finished_task(rendering, image_url=serve_input(png_with_size(size)))
    assert task.failed_code == "image_too_large"


async def test_broken_last_image(
    rendering: Sandbox, finished_task: FinishedTask, serve_input: ServeInput, image: bytes
) -> None:
    """The last image must be valid as well."""
    task = await finished_task(
        rendering, image_url=serve_input(image), model_type="FLF2V", end_image_url=serve_input(b"x")
    )
    assert task.failed_code == "image_invalid"


async def test_image_missing_at_the_cdn(rendering: Sandbox, finished_task: FinishedTask) -> None:
    """An object that was never uploaded is not found."""
    task = await finished_task(rendering, image_url=f"{rendering.url}/cdn/3days-apac/nothing.png")
    assert task.failed_code == "image_unreachable"


async def test_storage_url_is_rejected(rendering: Sandbox, finished_task: FinishedTask) -> None:
    """The URL of the storage without a signature cannot be an input."""
    task = await finished_task(rendering, image_url=f"{rendering.url}/storage/3days-apac/a.png")
    assert (task.failed_code, "403" in task.failed_message) == ("image_unreachable", True)


async def test_unexpected_error(
    *,
    rendering: Sandbox,
    finished_task: FinishedTask,
    serve_input: ServeInput,
    image: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of the renderer is logged, and the task fails."""

    def explode(*_: object) -> None:
        message = "codec"
        raise RuntimeError(message)

    monkeypatch.setattr("a2e_async.sandbox.media.video.render", explode)
    task = await finished_task(rendering, image_url=serve_input(image))
    assert (task.status, task.failed_code) == ("failed", "generation_error")
    assert task.id in caplog.text

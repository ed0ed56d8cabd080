"""Renderers of results: `TinyRenderer` returns constant files, `VideoRenderer` renders real ones in worker threads."""

import asyncio
import io
import math
import os
import struct
import threading
import wave
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, ParamSpec, Protocol, TypeAlias

from attrs import define, field, frozen

from a2e_async.sandbox.media.storage import Fetched, InputFetcher, Storage
from a2e_async.sandbox.state import SandboxError
from a2e_async.sandbox.tasks.starts import Start

Media: TypeAlias = Literal["video", "audio", "image"]

_RATE: Final = 8000  # samples a second
_SECONDS: Final = 0.5
_SIDE: Final = 64  # pixels


@cache
def tiny_file(media: Media) -> tuple[bytes, str]:
    """Return the content and the content type of a tiny file."""
    if media == "video":
        return resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes(), "video/mp4"
    return (_tone(), "audio/wav") if media == "audio" else (_gradient(), "image/png")


def _tone() -> bytes:
    """Return half a second of a quiet tone, as WAV."""
    samples = (int(6000 * math.sin(2 * math.pi * 440 * sample / _RATE)) for sample in range(int(_RATE * _SECONDS)))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, _RATE, 0, "NONE", "not compressed"))
        writer.writeframes(b"".join(struct.pack("<h", value) for value in samples))
    return file.getvalue()


def _gradient() -> bytes:
    """Return a small square of colours, as PNG."""
    rows = [bytes([0, *(value for x in range(_SIDE) for value in (4 * x, 4 * y, 128))]) for y in range(_SIDE)]
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"".join(rows), 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


P = ParamSpec("P")

_SUFFIXES: Final = {"video/mp4": ".mp4", "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

# Some families allow longer videos and larger images, but a demo should not take as long.
_MAX_SECONDS: Final = 20
_MAX_SIDE: Final = 2048  # pixels

# The fields of inputs in all families, the first image first.
_FIRST: Final = (
    "image_url", "first_frame_url", "image_urls", "imageUrls", "image_list", "reference_image_urls", "reference_urls",
)  # fmt: skip
_LAST: Final = ("end_image_url", "last_frame_url")
_SOURCE: Final = ("video_url", "source_url", "target_image_url")
_AUDIO: Final = ("audioSrc", "custom_voice")


@frozen
class RenderedFile:
    """File of one result."""

    path: Path
    content_type: str

    @property
    def suffix(self) -> str:
        """The suffix of its name at the CDN."""
        return _SUFFIXES.get(self.content_type, "")


class Renderer(Protocol):
    """Renderer of results."""

    async def render(self, start: Start) -> list[RenderedFile]:
        """Render all results of one task; may raise `ImageError`."""
        ...

    async def render_speech(self, text: str, rate: float) -> Path:
        """Render speech: an MP3, or a WAV of the `TinyRenderer`."""
        ...

    async def render_image(self, text: str, size: tuple[int, int]) -> Path:
        """Render an image of a text, as PNG."""
        ...

    async def aclose(self) -> None:
        """Stop rendering."""
        ...


@define
class TinyRenderer:
    """Renderer with constant results, which does not read the inputs."""

    storage: Storage
    _files: dict[Media, RenderedFile] = field(factory=dict, init=False)

    async def render(self, start: Start) -> list[RenderedFile]:
        """Return tiny files."""
        output = start.family.output
        if output == "nothing":
            return []
        return [self._file("image" if output == "image" else "video")] * start.results

    async def render_speech(self, text: str, rate: float) -> Path:  # noqa: ARG002  (the same for every text)
        """Return the tiny audio file."""
        return self._file("audio").path

    async def render_image(self, text: str, size: tuple[int, int]) -> Path:  # noqa: ARG002  (the same for every text)
        """Return the tiny image."""
        return self._file("image").path

    async def aclose(self) -> None:
        """Do nothing: no thread runs."""

    def _file(self, media: Media) -> RenderedFile:
        if media not in self._files or not self._files[media].path.exists():  # the storage removes the oldest files
            body, content_type = tiny_file(media)
            path = self.storage.new_file()
            path.write_bytes(body)
            self._files[media] = RenderedFile(path, content_type)
        return self._files[media]


@define
class VideoRenderer:
    """Renderer of real results in worker threads."""

    storage: Storage
    fetcher: InputFetcher
    show_prompt: bool = field(default=False, kw_only=True)
    _stop: threading.Event = field(factory=threading.Event, init=False)
    _pool: ThreadPoolExecutor = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start the pool, with one thread less than there are cores: the event loop needs one."""
        workers = max(1, (os.cpu_count() or 1) - 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="a2e-sandbox")

    async def render(self, start: Start) -> list[RenderedFile]:
        """Fetch the inputs and render all results of one task."""
        async with self.fetcher.slots:
            return await self._render(start)

    async def _render(self, start: Start) -> list[RenderedFile]:
        match start.family.output:
            case "nothing":
                return []
            case "image":
                text = start.prompt or start.name or start.family.label
                texts = [text, *(f"{text} ({number})" for number in range(2, start.results + 1))]
                size = _image_size(start)
                return [RenderedFile(await self.render_image(one, size), "image/png") for one in texts]
            case "speech":
                return [await self._render_talking_video(start)]
            case "animated_image":
                return [await self._animate(start)]
        return [await self._copy_input(start) if start.urls(*_SOURCE) else await self._animate(start)]

    async def render_speech(self, text: str, rate: float) -> Path:
        """Render speech in a worker thread."""
        from a2e_async.sandbox.media.remux import render_speech  # noqa: PLC0415  (needs the extra)

        path = self.storage.new_file()
        await self._run(render_speech, text, rate, path, self._stop)
        return path

    async def render_image(self, text: str, size: tuple[int, int]) -> Path:
        """Render an image in a worker thread."""
        from a2e_async.sandbox.media.video import render_image  # noqa: PLC0415  (needs the extra)

        path = self.storage.new_file()
        await self._run(render_image, text, size, path)
        return path

    async def aclose(self) -> None:
        """Stop the threads at their next frame, and wait for them without blocking the event loop."""
        self._stop.set()
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def _animate(self, start: Start) -> RenderedFile:
        """Move a camera over the first image, or over a rendered one if the family needs no image."""
        from a2e_async.sandbox.media.video import VideoSpec, render  # noqa: PLC0415  (needs the extra)

        # The model type GENERAL has no last image (reference 9.1).
        urls = [*start.urls(*_FIRST)[:1], *(start.urls(*_LAST) if start.model_type != "GENERAL" else [])]
        images = [await self.fetcher.fetch_image(url) for url in urls]
        if not images:
            rendered = await self.render_image(start.prompt or start.family.label, (1280, 720))
            images = [await asyncio.to_thread(rendered.read_bytes)]
        path = self.storage.new_file()
        seconds = min(start.video_time, _MAX_SECONDS)
        spec = VideoSpec(
            first=images[0],
            last=([*images, None])[1],
            prompt=start.prompt,
            seconds=seconds,
            caption=start.prompt if self.show_prompt else "",
        )
        await self._run(render, spec, path, self._stop)
        return RenderedFile(path, "video/mp4")

    async def _render_talking_video(self, start: Start) -> RenderedFile:
        """Render a video of an avatar with the audio of the input."""
        from a2e_async.sandbox.media.remux import render_talking_video  # noqa: PLC0415  (needs the extra)

        audio = await self.fetcher.fetch_media(start.urls(*_AUDIO)[0], "audio")
        image = await self.fetcher.fetch_image(start.portrait) if start.portrait else None
        path = self.storage.new_file()
        await self._run(render_talking_video, image, audio, path, self._stop)
        return RenderedFile(path, "video/mp4")

    async def _copy_input(self, start: Start) -> RenderedFile:
        """Return the video of the input as MP4, or its image in families that accept both."""
        from a2e_async.sandbox.media.remux import remux  # noqa: PLC0415  (needs the extra)

        url = start.urls(*_SOURCE)[0]
        source = await self.fetcher.fetch(url)
        if start.family.output == "input_media" and source.content_type.startswith("image/"):
            return await self._copy_image(source)
        body = await self.fetcher.fetch_media(url, "video")
        path = self.storage.new_file()
        await self._run(remux, body, path, self._stop)
        return RenderedFile(path, "video/mp4")

    async def _copy_image(self, source: Fetched) -> RenderedFile:
        from a2e_async.sandbox.media.video import decode  # noqa: PLC0415  (needs the extra)

        await asyncio.to_thread(decode, source.body)  # raises an error if the image is broken
        path = self.storage.new_file()
        await asyncio.to_thread(path.write_bytes, source.body)
        return RenderedFile(path, source.content_type)

    async def _run(self, work: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function in a worker thread. If the caller is cancelled it goes on, and `aclose` waits for it."""
        await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))


# The sizes are ours: A2E publishes only the ratios.
_RATIOS: Final = {"16:9": (1280, 720), "9:16": (720, 1280), "3:4": (768, 1024), "4:3": (1024, 768),
                  "2:3": (683, 1024), "3:2": (1024, 683), "21:9": (1512, 648)}  # fmt: skip


def _image_size(start: Start) -> tuple[int, int]:
    """Return the size of an image."""
    sent = start.sent
    width, _, height = str(sent.get("size", "")).partition("*")
    if width.isdecimal() and height.isdecimal():
        return _side(width), _side(height)
    if sent.get("aspect_ratio") in _RATIOS:
        return _RATIOS[sent["aspect_ratio"]]
    wide, high = (int(sent.get(name, 1024)) for name in ("width", "height"))
    return min(max(wide, 64), _MAX_SIDE), min(max(high, 64), _MAX_SIDE)


def _side(digits: str) -> int:
    return min(max(int(digits[:9]), 1), _MAX_SIDE)


def check_extra() -> None:
    """Raise an error if the packages for rendering are not installed."""
    try:
        import a2e_async.sandbox.media.video  # noqa: F401, PLC0415  (needs the extra)
    except ImportError as error:
        message = (
            'rendering real videos needs more packages: pip install "a2e-async[sandbox]"'
            ' (or choose render="tiny", which needs none)'
        )
        raise SandboxError(message) from error

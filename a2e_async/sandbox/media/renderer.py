"""Where results are made: `TinyStudio` hands out constant ones, `FilmStudio` makes real ones in worker threads."""

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

from a2e_async.sandbox.media.storage import Fetched, Fetcher, Storage
from a2e_async.sandbox.state import SandboxError
from a2e_async.sandbox.tasks.starts import Order

_RATE: Final = 8000  # samples a second
_SECONDS: Final = 0.5
_SIDE: Final = 64  # pixels


@cache
def tiny(kind: Literal["video", "audio", "picture"]) -> tuple[bytes, str]:
    """Return the bytes of a result and its content type."""
    if kind == "video":
        return resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes(), "video/mp4"
    return (_tone(), "audio/wav") if kind == "audio" else (_gradient(), "image/png")


def _tone() -> bytes:
    """Make half a second of a quiet tone, as WAV."""
    wave_of = (int(6000 * math.sin(2 * math.pi * 440 * sample / _RATE)) for sample in range(int(_RATE * _SECONDS)))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, _RATE, 0, "NONE", "not compressed"))
        writer.writeframes(b"".join(struct.pack("<h", value) for value in wave_of))
    return file.getvalue()


def _gradient() -> bytes:
    """Make a small square of colours, as PNG."""
    rows = [bytes([0, *(value for x in range(_SIDE) for value in (4 * x, 4 * y, 128))]) for y in range(_SIDE)]
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"".join(rows), 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


P = ParamSpec("P")
Kind: TypeAlias = Literal["video", "audio", "picture"]

_SUFFIXES: Final = {"video/mp4": ".mp4", "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

# The longest video, in seconds: some families allow more, but a demo should not take as long.
_LONGEST: Final = 20
_LARGEST: Final = 2048

# Where families put their inputs, the first one first.
_FIRST: Final = (
    "image_url", "first_frame_url", "image_urls", "imageUrls", "image_list", "reference_image_urls", "reference_urls",
)  # fmt: skip
_LAST: Final = ("end_image_url", "last_frame_url")
_SOURCE: Final = ("video_url", "source_url", "target_image_url")
_AUDIO: Final = ("audioSrc", "custom_voice")


@frozen
class Made:
    """One finished result."""

    path: Path
    content_type: str

    @property
    def suffix(self) -> str:
        """How its name ends."""
        return _SUFFIXES.get(self.content_type, "")


class Studio(Protocol):
    """Makes results."""

    async def make(self, order: Order) -> list[Made]:
        """Make everything that a task of this order results in; may raise `PictureError`."""
        ...

    async def speak(self, text: str, rate: float) -> Path:
        """Speak a text: an MP3, or a WAV if the studio is tiny."""
        ...

    async def paint(self, text: str, size: tuple[int, int]) -> Path:
        """Paint an image of a text: a PNG."""
        ...

    async def aclose(self) -> None:
        """Stop all work."""
        ...


@define
class TinyStudio:
    """Constant results for everybody; the inputs are not even looked at."""

    storage: Storage
    _made: dict[Kind, Made] = field(factory=dict, init=False)

    async def make(self, order: Order) -> list[Made]:
        """Return the shipped results, each written to the disk once."""
        makes = order.family.makes
        if makes == "nothing":
            return []
        return [self._constant("picture" if makes == "picture" else "video")] * order.pieces

    async def speak(self, text: str, rate: float) -> Path:  # noqa: ARG002  (the same for every text)
        """Return the shipped sound."""
        return self._constant("audio").path

    async def paint(self, text: str, size: tuple[int, int]) -> Path:  # noqa: ARG002  (the same for every text)
        """Return the shipped image."""
        return self._constant("picture").path

    async def aclose(self) -> None:
        """Nothing runs here."""

    def _constant(self, kind: Kind) -> Made:
        if kind not in self._made:
            body, content_type = tiny(kind)
            path = self.storage.new_file()
            path.write_bytes(body)
            self._made[kind] = Made(path, content_type)
        return self._made[kind]


@define
class FilmStudio:
    """Works with at most one thread less than there are cores, so that the event loop keeps one."""

    storage: Storage
    fetcher: Fetcher
    _stop: threading.Event = field(factory=threading.Event, init=False)
    _pool: ThreadPoolExecutor = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Bound the pool."""
        workers = max(1, (os.cpu_count() or 1) - 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="a2e-sandbox")

    async def make(self, order: Order) -> list[Made]:
        """Fetch the inputs and do the work."""
        match order.family.makes:
            case "nothing":
                return []
            case "picture":
                names = range(1, order.pieces + 1)
                what = order.prompt or order.name or order.family.what
                texts = [what if number == 1 else f"{what} ({number})" for number in names]
                return [Made(await self.paint(text, _size(order)), "image/png") for text in texts]
            case "speech":
                return [await self._speaking(order)]
            case "film":
                return [await self._film(order)]
        return [await self._film(order) if not order.links(*_SOURCE) else await self._copied(order)]

    async def speak(self, text: str, rate: float) -> Path:
        """Speak in a worker thread."""
        from a2e_async.sandbox.media.remux import render_speech  # noqa: PLC0415  (needs the extra)

        path = self.storage.new_file()
        await self._work(render_speech, text, rate, path, self._stop)
        return path

    async def paint(self, text: str, size: tuple[int, int]) -> Path:
        """Paint in a worker thread."""
        from a2e_async.sandbox.media.video import paint  # noqa: PLC0415  (needs the extra)

        path = self.storage.new_file()
        await self._work(paint, text, size, path)
        return path

    async def aclose(self) -> None:
        """Ask the threads to stop at their next frame and wait for them without blocking the loop."""
        self._stop.set()
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def _film(self, order: Order) -> Made:
        """Move a camera over the first image, or over one that is painted where the family needs none."""
        from a2e_async.sandbox.media.video import Film, render  # noqa: PLC0415  (needs the extra)

        pictures = [*order.links(*_FIRST)[:1], *(order.links(*_LAST) if order.model_type != "GENERAL" else [])]
        scenes = [await self.fetcher.picture(url) for url in pictures]
        if not scenes:
            painted = await self.paint(order.prompt or order.family.what, (1280, 720))
            scenes = [await asyncio.to_thread(painted.read_bytes)]
        path = self.storage.new_file()
        seconds = min(order.video_time, _LONGEST)
        film = Film(first=scenes[0], last=([*scenes, None])[1], prompt=order.prompt, seconds=seconds)
        await self._work(render, film, path, self._stop)
        return Made(path, "video/mp4")

    async def _speaking(self, order: Order) -> Made:
        """Let an avatar say what was recorded."""
        from a2e_async.sandbox.media.remux import with_sound  # noqa: PLC0415  (needs the extra)

        audio = await self.fetcher.media(order.links(*_AUDIO)[0], "audio")
        picture = await self.fetcher.picture(order.portrait) if order.portrait else None
        path = self.storage.new_file()
        await self._work(with_sound, picture, audio, path, self._stop)
        return Made(path, "video/mp4")

    async def _copied(self, order: Order) -> Made:
        """Return what was sent, as an MP4; some families take images too, and return those."""
        from a2e_async.sandbox.media.remux import remux  # noqa: PLC0415  (needs the extra)

        url = order.links(*_SOURCE)[0]
        source = await self.fetcher.fetch(url)
        if order.family.makes == "either" and source.content_type.startswith("image/"):
            return await self._same_picture(source)
        body = await self.fetcher.media(url, "video")
        path = self.storage.new_file()
        await self._work(remux, body, path, self._stop)
        return Made(path, "video/mp4")

    async def _same_picture(self, source: Fetched) -> Made:
        from a2e_async.sandbox.media.video import decode  # noqa: PLC0415  (needs the extra)

        await asyncio.to_thread(decode, source.body)  # refuses what is broken
        path = self.storage.new_file()
        await asyncio.to_thread(path.write_bytes, source.body)
        return Made(path, source.content_type)

    async def _work(self, work: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do something in a worker thread. It goes on if the caller is cancelled; `aclose` waits for it."""
        await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))


_RATIOS: Final = {"16:9": (1280, 720), "9:16": (720, 1280), "3:4": (768, 1024), "4:3": (1024, 768),
                  "2:3": (683, 1024), "3:2": (1024, 683), "21:9": (1512, 648)}  # fmt: skip


def _size(order: Order) -> tuple[int, int]:
    """Read how large an image shall be; the sizes behind the ratios are ours."""
    sent = order.sent
    width, _, height = str(sent.get("size", "")).partition("*")
    if width.isdecimal() and height.isdecimal():
        return int(width), int(height)
    if sent.get("aspect_ratio") in _RATIOS:
        return _RATIOS[sent["aspect_ratio"]]
    wide, high = (int(sent.get(name, 1024)) for name in ("width", "height"))
    return min(max(wide, 64), _LARGEST), min(max(high, 64), _LARGEST)


def check_extra() -> None:
    """Refuse early, with the command that helps, when rendering is not installed."""
    try:
        import a2e_async.sandbox.media.video  # noqa: F401, PLC0415  (needs the extra)
    except ImportError as error:
        message = (
            'rendering real videos needs more packages: pip install "a2e-async[sandbox]"'
            ' (or choose render="tiny", which needs none)'
        )
        raise SandboxError(message) from error

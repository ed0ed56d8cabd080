"""Inputs as programs have them: open files of all kinds, encoded texts, and formats that A2E does not accept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import tempfile
from typing import IO, TYPE_CHECKING, Any

import PIL.Image
import pytest
import quick
import whole_files

from a2e_async import InvalidRequestError, Job
from a2e_async.files.local_files import LocalFile, open_file, open_image

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

JPEG = whole_files.IMAGES["jpeg"]
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
AVIF = b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(200)


class Upload:
    """File with the methods of FastAPI's ``UploadFile`` and of the files of aiofiles."""

    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)

    async def read(self, size: int = -1) -> bytes:
        """Read."""
        await asyncio.sleep(0)
        return self.file.read(size)

    async def seek(self, offset: int) -> int:
        """Seek."""
        await asyncio.sleep(0)
        return self.file.seek(offset)


class Stream:
    """Stream with the method of aiohttp's ``StreamReader``, which cannot be rewound."""

    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)

    async def read(self) -> bytes:
        """Read."""
        return self.file.read()


class Delegating:
    """File whose `read` is no coroutine function, but returns an awaitable."""

    def __init__(self, content: bytes) -> None:
        self._upload = Upload(content)

    def read(self) -> Any:
        """Return an awaitable."""
        return self._upload.read()


async def content_of(file: Any) -> bytes | pathlib.Path:
    """Return what is read of an input."""
    opened = await open_image("image", file)
    assert isinstance(opened, LocalFile)
    return opened.content


# open files


@pytest.mark.parametrize("kind", [Upload, Stream, Delegating, io.BytesIO])
async def test_open_file(kind: Any) -> None:
    """An open file is read, also if its `read` is a coroutine."""
    assert await content_of(kind(JPEG)) == JPEG


async def test_async_file_starts_a_video(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An async file works in a start and in a batch."""
    await a2e.image_to_video.start(image=Upload(quick.PNG), **quick.PROMPTS)
    job = Job(key="ada", image=Upload(quick.PNG), **quick.PROMPTS)
    async for result in a2e.image_to_video.batch([job]):
        assert result.key == "ada"
    assert len(sandbox.tasks) == 2


async def test_async_file_that_fails() -> None:
    """Any error that an async file raises becomes an InvalidRequestError that names the parameter."""

    class Broken:
        async def read(self) -> bytes:
            raise RuntimeError

    with pytest.raises(InvalidRequestError, match="end_image cannot be read: RuntimeError"):
        await open_image("end_image", Broken())


@pytest.mark.parametrize("kind", [Upload, io.BytesIO])
@pytest.mark.parametrize("position", [3, len(JPEG)])
async def test_file_that_was_read_is_rewound(kind: Any, position: int) -> None:
    """A file that was read before, to its end or a few bytes, is read from its beginning."""
    file = kind(JPEG)
    await file.read(position) if kind is Upload else file.read(position)
    assert await content_of(file) == JPEG


async def test_image_behind_something_else() -> None:
    """A file that stands at the beginning of an image is read from there."""
    file = io.BytesIO(b"header" + JPEG)
    file.seek(6)
    assert await content_of(file) == JPEG


async def test_one_file_as_both_images(a2e: A2EClient, sandbox: Sandbox) -> None:
    """One open file works as the first and the last image."""
    file = io.BytesIO(quick.PNG)
    await a2e.image_to_video.start(image=file, end_image=file, **quick.PROMPTS)
    assert len(sandbox.tasks) == 1


@pytest.mark.parametrize("kind", [Upload, io.BytesIO])
async def test_one_file_for_many_jobs(kind: Any) -> None:
    """One open file can be read by many jobs at the same time."""
    file = kind(JPEG * 50)
    assert await asyncio.gather(*(content_of(file) for _ in range(50))) == [JPEG * 50] * 50


async def test_stream_at_its_end(tmp_path: pathlib.Path) -> None:
    """A stream or pipe at its end cannot be rewound, and the error says so."""
    stream, (read_end, write_end) = Stream(JPEG), os.pipe()
    await stream.read()
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        for file in (stream, pipe):
            with pytest.raises(InvalidRequestError, match="image is at its end and cannot be rewound: open it again"):
                await content_of(file)
    with pytest.raises(InvalidRequestError, match="image is empty"):
        await content_of(io.BytesIO())
    assert not list(tmp_path.iterdir())


async def test_file_of_text() -> None:
    """A file opened in text mode is rejected with the mode that is needed."""
    upload: Any = Upload(b"")
    upload.file = io.StringIO("text")
    for file in (io.StringIO("text"), upload):
        with pytest.raises(InvalidRequestError, match="opened in binary mode"):
            await content_of(file)


# encoded texts

BIG = quick.PNG[:8] + quick.png_chunk(b"IHDR", os.urandom(300_000))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"data:image/png;base64,{base64.b64encode(BIG).decode()}", "a data: URL"),
        (f"DATA:,{'x' * 300_000}", "a data: URL"),
        (base64.b64encode(BIG).decode(), "base64 text"),
        (base64.b64encode(JPEG).decode(), "base64 text"),
        (base64.urlsafe_b64encode(JPEG).decode().rstrip("="), "base64 text"),
        (base64.encodebytes(BIG).decode(), "base64 text"),
        (str(base64.b64encode(BIG)), "base64 text"),
        (base64.b64encode(HEIC).decode(), "base64 text"),
    ],
    ids=["data URL", "data URL of text", "png", "jpeg", "url-safe", "lines", "str of bytes", "heic"],
)
@pytest.mark.parametrize("kind", [str, str.encode, "file"], ids=["text", "bytes", "file"])
async def test_encoded_image(kind: Any, text: str, what: str, tmp_path: pathlib.Path) -> None:
    """An encoded image is named as such, and not more than a few characters of it are shown."""
    given: Any = kind(text) if callable(kind) else tmp_path / "image.txt"
    if kind == "file":
        given.write_text(text)
    with pytest.raises(InvalidRequestError, match=r"base64\.b64decode") as caught:
        await content_of(given)
    message = str(caught.value).replace(str(tmp_path), "")
    assert what in message
    assert len(message) < 250
    assert text[:81] not in message


async def test_encoded_image_in_a_batch(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An encoded image reaches neither the journal nor A2E."""
    text = f"data:image/png;base64,{base64.b64encode(BIG).decode()}"
    jobs: list[Any] = [Job(key="a", image=text, **quick.PROMPTS), {"image": text, **quick.PROMPTS}]
    for _ in range(2):
        async for result in a2e.image_to_video.batch(jobs, journal=tmp_path / "j.sqlite"):
            assert result.error is not None
            assert len(result.error.message) < 250
            assert len(result.key) < 80
    stored = [path.read_bytes() for path in tmp_path.iterdir()]
    assert not any(part in content for content in stored for part in (text[22:62].encode(), text[-40:].encode()))
    assert not sandbox.tasks


@pytest.mark.parametrize("name", ["x" * 300, "images/" + "y" * 5000, "iVBORw0KGgo", "/9j/4AAQ", "base64.png"])
async def test_name_that_is_no_encoded_image(name: str) -> None:
    """Names of missing files are not taken for encoded images; of a very long one only the beginning is shown."""
    with pytest.raises(InvalidRequestError, match="cannot be read") as caught:
        await content_of(name)
    assert len(str(caught.value)) < 300


# formats


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (HEIC, "it is HEIC, which is not supported: convert it to JPEG, for example with `sips"),
        (HEIC.replace(b"ftypheic", b"ftyphevc"), "it is HEIC"),
        (AVIF, "it is AVIF, which is not supported: convert it to JPEG"),
        (b"II*\0" + bytes(100), "it is TIFF, which is not supported: save it as JPEG or PNG first"),
        (b'<?xml version="1.0"?><svg width="1">', "it is SVG"),
        (b"%PDF-1.7" + bytes(100), "it is PDF"),
        (whole_files.OTHERS["mp4"], "is not an image (PNG, JPEG, WebP, GIF or BMP): it is a video"),
        (b"a text", "is not an image (PNG, JPEG, WebP, GIF or BMP)"),
    ],
)
async def test_other_format(content: bytes, text: str, tmp_path: pathlib.Path) -> None:
    """A format that is not supported is named, with what to do."""
    path = tmp_path / "IMG_0001.jpg"
    path.write_bytes(content)
    for given in (content, path, io.BytesIO(content), Upload(content)):
        with pytest.raises(InvalidRequestError) as caught:
            await open_image("image", given)
        assert text in str(caught.value)
        assert not str(caught.value).endswith(":")


async def test_audio_instead_of_a_video() -> None:
    """A file of another medium is named."""
    with pytest.raises(InvalidRequestError, match=r"it is an audio file$"):
        await open_file("video", quick.WAV, "video")


# names, and images of Pillow


class Named(Upload):
    """Upload of a form: its `name` is that of the field."""

    name, filename = "upload", "C:\\photos\\Ada Lovelace.jpg"


class Attachment(Stream):
    """Attachment of a chat, as Discord's: neither a seek nor a position."""

    filename = "ada.lovelace.jpg"


class Unnamed(Upload):
    """Upload of a form without a file name."""

    name, filename = "upload", None


def spooled() -> IO[bytes]:
    """Return a temporary file in memory, at its end, as a form parser leaves it."""
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115  the test closes it
    file.write(JPEG)
    return file


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _: Named(JPEG), "Ada Lovelace"),
        (lambda _: Attachment(JPEG), "ada.lovelace"),
        (lambda _: Unnamed(JPEG), "Image to Video"),
        (lambda _: spooled(), "Image to Video"),
        (lambda folder: (folder / "garden.jpg").open("rb"), "garden"),
    ],
)
async def test_name_of_an_open_file(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, make: Callable[[pathlib.Path], Any], name: str
) -> None:
    """A task is named after its file, also if that one was uploaded to a form or is open."""
    (tmp_path / "garden.jpg").write_bytes(JPEG)
    file = make(tmp_path)
    with contextlib.closing(file) if hasattr(file, "close") else contextlib.nullcontext():
        task = await a2e.image_to_video.start(image=file, **quick.PROMPTS)
    assert task.record.name.partition(" [")[0] == name


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "F"])
async def test_image_of_pillow(mode: str) -> None:
    """An image of Pillow becomes a PNG with the same pixels, and without an Exif block."""
    image = PIL.Image.new("RGB", (40, 30), (200, 30, 60)).convert(mode)
    image.getexif()[0x0112] = 6
    content = await content_of(image)
    assert isinstance(content, bytes)
    assert b"eXIf" not in content
    with PIL.Image.open(io.BytesIO(content)) as after:
        assert after.format == "PNG"
        assert after.convert("RGB").tobytes() == image.convert("RGB").tobytes()


async def test_image_of_pillow_keeps_its_name(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An image that Pillow has opened gives its name to the task; another one does not, and is not written to."""
    PIL.Image.new("RGB", (40, 30)).save(tmp_path / "ada.bmp")
    with PIL.Image.open(tmp_path / "ada.bmp") as image:
        named = await a2e.image_to_video.start(image=image, **quick.PROMPTS)
        other = await a2e.image_to_video.start(image=image.copy(), end_image=image, **quick.PROMPTS)
    assert named.record.name.startswith("ada [")
    assert other.record.name.startswith("ada [")


@pytest.mark.parametrize("error", [OSError, ValueError("Operation on closed image")])
async def test_image_of_pillow_that_cannot_be_saved(error: Exception) -> None:
    """Something that cannot be saved as PNG, such as a closed image, is an error before anything is sent."""

    class Broken:
        def save(self, fp: Any, kind: str, /) -> None:
            raise error

        def convert(self, mode: str) -> Broken:
            return self

    with pytest.raises(InvalidRequestError, match="image cannot be saved as PNG"):
        await content_of(Broken())

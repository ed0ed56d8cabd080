"""Local files: checked before anything is sent or paid."""

import asyncio
import contextlib
import contextvars
import inspect
import io
import os
import pathlib
import stat
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import IO, Annotated, Any, Literal, Protocol, TypeAlias

import attrs

from a2e_async._aio import finish
from a2e_async._protocol.validation import raise_invalid
from a2e_async._values import Value
from a2e_async.errors import TransferError
from a2e_async.files import media_types, partial_file
from a2e_async.files.completeness import find_damage
from a2e_async.models.schemas import AsJson


class AsyncFile(Protocol):
    """Open file whose ``read`` is a coroutine: an ``UploadFile`` of FastAPI, a file of aiofiles or anyio."""

    async def read(self) -> bytes:
        """Return the rest of its bytes."""
        ...


class PillowImage(Protocol):
    """Image in memory that can save itself: a ``PIL.Image.Image``."""

    def save(self, fp: Any, kind: str, /) -> None:  # noqa: ANN401  as in Pillow
        """Write the image to a file object."""
        ...

    def convert(self, mode: str) -> "PillowImage":
        """Return the image in another mode, such as ``"RGB"``."""
        ...


Media: TypeAlias = Annotated[
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | AsyncFile, AsJson("text")
]
"""A local image, video or audio file: a path, its bytes, or a file opened in binary mode, also an async one."""

Image: TypeAlias = Annotated[
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | AsyncFile | PillowImage, AsJson("text")
]
"""A local image, given in the same ways, or as an image of Pillow, which is uploaded as PNG."""


class AsyncWritableFile(Protocol):
    """Open file whose ``write`` is a coroutine: a file of aiofiles or anyio."""

    async def write(self, data: bytes, /) -> object:
        """Write bytes."""
        ...


WritableFile: TypeAlias = IO[bytes] | AsyncWritableFile
"""A file opened for writing in binary mode, also an async one."""

IfExists: TypeAlias = Literal["error", "keep", "overwrite"]
"""What a download does if its file exists: raise an `InvalidRequestError`, keep the file, or replace it."""

_FORMATS = {
    "image": "an image (PNG, JPEG, WebP, GIF or BMP)",
    "video": "a video (MP4, MOV, WebM, MKV or AVI)",
    "audio": "an audio file (MP3, WAV, M4A, OGG or FLAC)",
}
_MAX_SHOWN = 255  # characters of a path in a message; a longer text is no path, but can be a private photo
_MAX_SHOWN_DATA = 40  # characters of a photo that was given as a text
_PATIENCE = 0.02  # seconds for which one thread inspects files; it needs 0.00001 for each that is in the page cache

# One for each open file that is being read, since the jobs of a batch can share a file.
_LOCKS: weakref.WeakValueDictionary[tuple[int, int], asyncio.Lock] = weakref.WeakValueDictionary()

# Path, size and type of a file, and what is wrong with it; or only the text why it could not be read.
Inspection: TypeAlias = tuple[pathlib.Path, int, media_types.MediaType | None, str] | str

# Inspections that were made before, by path; see `use_inspections`.
_MADE: contextvars.ContextVar[Mapping[str, Inspection]] = contextvars.ContextVar("a2e_inspections")


@attrs.frozen(eq=False, repr=False)
class LocalFile(Value):
    """Local file of a media type that was checked.

    Attributes:
        media_type: What it is.
        size: Bytes.
        content: Its bytes, or the path to read them from.
        name: Its path or file name, as far as it is known.
    """

    media_type: media_types.MediaType
    size: int
    content: bytes | pathlib.Path = attrs.field(repr=False)
    name: str = attrs.field(default="", repr=False)


async def open_image(name: str, image: Image) -> LocalFile:
    """Check a local image; see `open_file`."""
    return await open_file(name, image, "image")


async def open_file(name: str, file: Image, *media: media_types.Medium) -> LocalFile:
    """Check a local file: its type, from its first bytes, and that it has its end.

    Args:
        name: The name of the parameter, for the error.
        file: A path, bytes, an image of Pillow, or a file opened in binary mode. It is read to its end; if that gives
            no file of a known type, from its beginning.
        media: The media that are allowed.

    Raises:
        InvalidRequestError: The file is missing, empty, unreadable, of another type, damaged or cut short.
    """
    content: bytes | pathlib.Path
    path = _name_of(file)
    if isinstance(file, str | os.PathLike):
        label = f"{name} {_shorten(path, _MAX_SHOWN)!r}"
        made = _MADE.get({})
        found = made[path] if path in made else await asyncio.to_thread(_inspect_path, path)
        if isinstance(found, str):
            if encoding := media_types.find_encoding(path.encode(errors="replace")):
                label = f"{name} {_shorten(path, _MAX_SHOWN_DATA)!r}"
                raise_invalid(f"{label} is {encoding}, not a path: {media_types.DECODE_HINT}")
            raise_invalid(f"{label} cannot be read: {found}")
        content, size, media_type, problem = found
    else:
        if isinstance(file, bytes | bytearray | memoryview):
            content = bytes(file)
        elif hasattr(file, "save") and not hasattr(file, "read"):
            content = await asyncio.to_thread(_encode, name, file)
        else:
            content = await _read_all(name, file)  # type: ignore[arg-type]  # the rest, or a wrong type
        label, size = name, len(content)
        media_type, problem = await asyncio.to_thread(_inspect, io.BytesIO(content), size)
    if not size:
        raise_invalid(f"{label} is empty")
    if media_type is None or media_type.medium not in media:
        reason = problem if media_type is None else f"it is {_FORMATS[media_type.medium].partition(' (')[0]}"
        formats = " or ".join(_FORMATS[medium] for medium in media)
        raise_invalid(f"{label} is not {formats}{reason and ': '}{reason or ''}")
    if problem:  # A2E would take it, charge for the task, and fail
        raise_invalid(f"{label} {problem}. Download or save it again")
    return LocalFile(media_type, size, content, path)


def _name_of(file: object) -> str:
    """Return the path or the file name of a local file; empty if it has none."""
    if isinstance(file, str | os.PathLike):
        return os.fspath(file)
    # where an upload of a framework has a `filename`, its `name` is that of the field in the form
    found = getattr(file, "filename" if hasattr(file, "filename") else "name", None)
    return found if isinstance(found, str) else ""


def _encode(name: str, image: PillowImage) -> bytes:
    """Return an image of Pillow as PNG: its pixels as they are, without an Exif block."""
    try:
        return _to_png(image)
    except Exception:  # noqa: BLE001, S110  PNG has no CMYK, for example
        pass
    try:
        return _to_png(image.convert("RGB"))
    except Exception as error:  # noqa: BLE001  of the caller's object
        raise_invalid(f"{name} cannot be saved as PNG: {partial_file.os_error_text(error)}")


def _to_png(image: PillowImage) -> bytes:
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:_MAX_SHOWN_DATA]}…"


async def inspect_paths(paths: Collection[str]) -> dict[str, Inspection]:
    """Inspect local files, for `use_inspections`: all in one thread, or the rest in several if the disk is slow."""
    made = await asyncio.to_thread(_inspect_some, paths) if paths else {}
    rest = [path for path in paths if path not in made]
    found = await asyncio.gather(*(asyncio.to_thread(_inspect_path, path) for path in rest))
    return made | dict(zip(rest, found, strict=True))


def _inspect_some(paths: Collection[str]) -> dict[str, Inspection]:
    made, end = dict[str, Inspection](), time.monotonic() + _PATIENCE
    for path in paths:
        made[path] = _inspect_path(path)
        if time.monotonic() > end:
            break
    return made


@contextlib.contextmanager
def use_inspections(made: Mapping[str, Inspection]) -> Iterator[None]:
    """Let `open_file` take these inspections instead of one more for each file, in a thread of its own."""
    token = _MADE.set(made)
    try:
        yield
    finally:
        _MADE.reset(token)


def _inspect_path(name: str) -> Inspection:
    path = pathlib.Path(name)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block until another program writes to it
            return "not a regular file"
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return path, size, *_inspect(file, size)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        return partial_file.os_error_text(error)


def _inspect(file: IO[bytes], size: int) -> tuple[media_types.MediaType | None, str]:
    """Return the type of a file, and what is wrong with it; empty if it is complete, or nothing is known of it."""
    head = file.read(media_types.HEAD)
    media_type = media_types.detect(head)
    if media_type is None:
        return None, media_types.describe_unsupported(head)
    return media_type, find_damage(media_type, file, size) or ""


async def _read_all(name: str, file: IO[bytes] | AsyncFile) -> bytes:
    """Read an open file to its end."""
    if not callable(getattr(file, "read", None)):
        raise_invalid(f"{name} must be a path, bytes or a binary file, not {type(file).__name__}")
    key = id(asyncio.get_running_loop()), id(file)
    async with _LOCKS.setdefault(key, asyncio.Lock()):
        try:
            content = await _call(file.read)
        except Exception as error:  # noqa: BLE001  of the caller's object
            raise_invalid(f"{name} cannot be read: {partial_file.os_error_text(error)}")
        if not isinstance(content, bytes | bytearray):
            raise_invalid(f"{name} must be a file opened in binary mode ('rb')")
        if media_types.detect(bytes(content[: media_types.HEAD])) is None:
            # It was read before: to its end, as the image of another job or of `end_image`, or its first bytes only.
            try:
                await _call(file.seek, 0)  # type: ignore[union-attr]  # without it, an AttributeError
                content = await _call(file.read)
            except Exception:  # noqa: BLE001  likewise: a pipe, a response
                if not content:
                    raise_invalid(f"{name} is at its end and cannot be rewound: open it again, or pass its bytes")
    return bytes(content)


async def _call(function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401  of the caller's object
    """Call a method of an open file: a coroutine here, a blocking one in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    result = await asyncio.to_thread(function, *args)
    return await result if inspect.isawaitable(result) else result


async def has_content_of(path: pathlib.Path, download: Callable[[pathlib.Path], Awaitable[object]]) -> bool:
    """Return whether an existing file has the content that a download gives.

    Args:
        path: The file.
        download: Downloads to a path that is given.

    Raises:
        A2EError: The download failed.
    """
    copy = partial_file.temporary_path(path)
    try:
        if not await asyncio.to_thread(path.is_file):
            return False
        await download(copy)
        return await asyncio.to_thread(partial_file.is_same, copy, path)
    finally:
        await finish(asyncio.to_thread(partial_file.remove, copy))


async def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> pathlib.Path:
    """Check the path of a file that will be written, and make its folders.

    Raises:
        InvalidRequestError: It is a folder, or exists and must not be replaced.
        TransferError: The disk failed.
    """
    if not isinstance(path, str | os.PathLike):
        raise_invalid(f"path must be a str or a path, not {type(path).__name__}")
    target = pathlib.Path(path)
    await asyncio.to_thread(partial_file.prepare_target, target, overwrite=overwrite)
    return target


async def write_to(file: Any, chunk: bytes) -> None:  # noqa: ANN401  any object with `write`
    """Write a chunk to an open file.

    Raises:
        InvalidRequestError: It is not one that is open for writing bytes.
        TransferError: The disk failed.
    """
    rest = memoryview(chunk)
    while rest:
        try:
            written = await _call(file.write, rest if len(rest) < len(chunk) else chunk)
        except (TypeError, AttributeError, io.UnsupportedOperation) as error:
            raise_invalid(f"path must be a path or a file opened for writing bytes ('wb'): {error}")
        except Exception as error:
            msg = f"The file object that was passed cannot be written: {partial_file.os_error_text(error)}"
            raise TransferError(msg) from error
        # an unbuffered file can write a part; None is what a socket or an object of the caller can return
        rest = rest[written if isinstance(written, int) and written > 0 else len(rest) :]

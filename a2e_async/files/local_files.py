"""Local files: checked before anything is sent or paid."""

import asyncio
import os
import pathlib
from typing import BinaryIO, TypeAlias

import attrs

from a2e_async._protocol.validation import raise_invalid
from a2e_async.files import media_types, partial_file

Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A local image (a path, its bytes, or a file opened for reading in binary mode)."""

Media: TypeAlias = Image
"""A local image, video or audio file, given in the same ways."""

_FORMATS = {
    "image": "an image (PNG, JPEG, WebP, GIF or BMP)",
    "video": "a video (MP4, MOV, WebM, MKV or AVI)",
    "audio": "an audio file (MP3, WAV, M4A, OGG or FLAC)",
}


@attrs.frozen
class LocalFile:
    """Local file of a media type that was checked.

    Attributes:
        media_type: What it is.
        size: Bytes.
        content: Its bytes, or the path to read them from.
    """

    media_type: media_types.MediaType
    size: int
    content: bytes | pathlib.Path = attrs.field(repr=False)


async def open_image(name: str, image: Image) -> LocalFile:
    """Check a local image; see `open_file`."""
    return await open_file(name, image, "image")


async def open_file(name: str, file: Media, *media: media_types.Medium) -> LocalFile:
    """Check a local file. A path is not read yet, but for its first bytes.

    Args:
        name: The name of the parameter, for the error.
        file: A path, bytes, or a file opened in binary mode, which is read to its end.
        media: The media that are allowed.

    Raises:
        InvalidRequestError: The file is missing, empty, unreadable, or of another type.
    """
    content: bytes | pathlib.Path
    if isinstance(file, str | os.PathLike):
        content = pathlib.Path(file)
        label = f"{name} {str(content)!r}"
        try:
            size, head = await asyncio.to_thread(_read_head, content)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise_invalid(f"{label} cannot be read: {partial_file.os_error_text(error)}")
    else:
        content = bytes(file if isinstance(file, bytes | bytearray | memoryview) else await _read_all(name, file))
        label, size, head = name, len(content), content[: media_types.HEAD]
    if not size:
        raise_invalid(f"{label} is empty")
    media_type = media_types.detect(head)
    if media_type is None or media_type.medium not in media:
        raise_invalid(f"{label} is not {' or '.join(_FORMATS[medium] for medium in media)}")
    return LocalFile(media_type, size, content)


def _read_head(path: pathlib.Path) -> tuple[int, bytes]:
    if path.exists() and not path.is_file():  # opening a pipe would block until another program writes to it
        msg = "not a regular file"
        raise ValueError(msg)
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size, file.read(media_types.HEAD)


async def _read_all(name: str, file: BinaryIO) -> bytes | bytearray:
    if not hasattr(file, "read"):
        raise_invalid(f"{name} must be a path, bytes or a binary file, not {type(file).__name__}")
    try:
        content = await asyncio.to_thread(file.read)
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        raise_invalid(f"{name} cannot be read: {partial_file.os_error_text(error)}")
    if not isinstance(content, bytes | bytearray):
        raise_invalid(f"{name} must be a file opened in binary mode ('rb')")
    return content


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

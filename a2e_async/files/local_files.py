"""Files of this machine: looked at before anything is sent or paid."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import Sequence
from typing import BinaryIO, TypeAlias

import attrs

from a2e_async._protocol.validation import refuse
from a2e_async.files import media_types, partial_file

__all__ = ["Image", "LocalFile", "Media", "check_target", "open_file", "open_picture"]

Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A local image (a path, its bytes, or a file opened for reading in binary mode)."""

Media: TypeAlias = Image
"""A local image, video or sound, given in the same ways."""

_TAKEN = {
    "image": "image (PNG, JPEG, WebP, GIF or BMP)",
    "video": "video (MP4, MOV, WebM, MKV or AVI)",
    "audio": "sound (MP3, WAV, M4A, OGG or FLAC)",
}


@attrs.frozen
class LocalFile:
    """A local file that was found to be what it should. `content` is its bytes, or the path to read them from."""

    kind: media_types.Kind
    size: int
    content: bytes | pathlib.Path = attrs.field(repr=False)


async def open_picture(name: str, image: Image) -> LocalFile:
    """Look at a local image before anything is sent or paid; see `open_file`."""
    return await open_file(name, image, "image")


async def open_file(name: str, file: Media, *media: media_types.Medium) -> LocalFile:
    """Look at a local file before anything is sent or paid.

    Args:
        name: The parameter's name, for the error.
        file: A path, bytes, or a file opened in binary mode, which is read to its end.
        media: What it may be.

    Raises:
        InvalidRequestError: It is missing, empty, unreadable, or something else.
    """
    if isinstance(file, str | os.PathLike):
        path = pathlib.Path(file)
        try:
            size, head = await asyncio.to_thread(_look, path)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            refuse(f"{name} {str(path)!r} cannot be read: {partial_file.reason(error)}")
        return _judge(f"{name} {str(path)!r}", head, size, path, media)
    content = file if isinstance(file, bytes | bytearray | memoryview) else await _read_all(name, file)
    content = bytes(content)
    return _judge(name, content[: media_types.HEAD], len(content), content, media)


def _look(path: pathlib.Path) -> tuple[int, bytes]:
    if path.exists() and not path.is_file():  # opening a pipe would wait for its other end
        msg = "it is no regular file"
        raise ValueError(msg)
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size, file.read(media_types.HEAD)


async def _read_all(name: str, file: BinaryIO) -> bytes:
    if not hasattr(file, "read"):
        refuse(f"{name} must be a path, bytes or a binary file, not {type(file).__name__}")
    try:
        content = await asyncio.to_thread(file.read)
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        refuse(f"{name} cannot be read: {partial_file.reason(error)}")
    if not isinstance(content, bytes | bytearray):
        refuse(f"{name} must be a file opened in binary mode ('rb')")
    return bytes(content)


def _judge(
    what: str, head: bytes, size: int, content: bytes | pathlib.Path, media: Sequence[media_types.Medium]
) -> LocalFile:
    if not size:
        refuse(f"{what} is empty")
    kind = media_types.kind_of(head)
    if kind is None or kind.medium not in media:
        refuse(f"{what} is no {' or '.join(_TAKEN[medium] for medium in media)}")
    return LocalFile(kind, size, content)


async def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> pathlib.Path:
    """Look at a file that is to be written, and make its folders.

    Raises:
        InvalidRequestError: It is a folder, or exists and is not to be replaced.
        TransferError: The disk refuses.
    """
    if not isinstance(path, str | os.PathLike):
        refuse(f"path must be a str or a path, not {type(path).__name__}")
    target = pathlib.Path(path)
    await asyncio.to_thread(partial_file.prepare, target, overwrite=overwrite)
    return target

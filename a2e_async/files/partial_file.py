"""The file that a download arrives in: written by threads, one step at a time, and gone unless it is whole.

Each step is small enough for a thread, each failure of the disk an error of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import IO, ParamSpec, Self

import attrs

from a2e_async._aio import begin, outlast, result
from a2e_async._protocol.validation import refuse
from a2e_async.errors import InvalidRequestError, TransferError

__all__ = [
    "Part",
    "append",
    "discard",
    "disk_errors",
    "finish",
    "open_part",
    "open_picture",
    "place",
    "prepare",
    "reason",
    "truncate",
]


def reason(error: Exception) -> str:
    """Return what the operating system says, without the path that the message names anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextlib.contextmanager
def disk_errors(path: pathlib.Path) -> Iterator[None]:
    """Turn trouble with the disk into a `TransferError`."""
    try:
        yield
    except InvalidRequestError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte or half a surrogate pair in the path
        msg = f"{str(path)!r}: {reason(error)}"
        raise TransferError(msg) from error


def prepare(target: pathlib.Path, *, overwrite: bool) -> None:
    """Make the folders of a file that is to be written, and see that nothing is in its way."""
    with disk_errors(target):
        if not target.name or target.is_dir():
            refuse(f"{str(target)!r} is a folder: give the name of a file")
        if target.exists() and not overwrite:
            refuse(f"{str(target)!r} exists: pass overwrite=True, or choose another name")
        target.parent.mkdir(parents=True, exist_ok=True)


def place(target: pathlib.Path) -> pathlib.Path:
    """Return the one name of a file, by whatever folders it is called."""
    with disk_errors(target):
        return target.parent.resolve() / target.name


def open_part(part: pathlib.Path) -> IO[bytes]:
    """Open a file that nobody takes for the finished one."""
    with disk_errors(part):
        return part.open("wb")


def append(file: IO[bytes], pieces: list[bytes]) -> None:
    """Write some pieces."""
    with disk_errors(pathlib.Path(file.name)):
        file.writelines(pieces)


def truncate(file: IO[bytes]) -> None:
    """Begin anew."""
    with disk_errors(pathlib.Path(file.name)):
        file.seek(0)
        file.truncate()


def finish(file: IO[bytes], target: pathlib.Path, *, size: int, overwrite: bool) -> None:
    """Close a file of so many bytes and give it its name, unless another file has taken that meanwhile."""
    part = pathlib.Path(file.name)
    with disk_errors(part):
        file.flush()
        there = os.fstat(file.fileno()).st_size
        file.close()  # which can fail too: some disks notice only now that they are full
    if there != size:
        msg = f"{str(part)!r} has {there} bytes instead of {size}: does another program write to it?"
        raise TransferError(msg)
    with disk_errors(target):
        if not overwrite and target.exists():
            refuse(f"{str(target)!r} was made by somebody else meanwhile: pass overwrite=True, or choose another name")
        part.replace(target)


def discard(file: IO[bytes]) -> None:
    """Close and remove what is left of a download."""
    with contextlib.suppress(OSError, ValueError):
        file.close()  # which writes what is left, and can fail; it is closed in any case
    with contextlib.suppress(OSError, ValueError):
        pathlib.Path(file.name).unlink(missing_ok=True)


def open_picture(path: pathlib.Path, size: int) -> IO[bytes]:
    """Open an image that was looked at before."""
    with disk_errors(path):
        file = path.open("rb")
    if os.fstat(file.fileno()).st_size != size:
        file.close()
        msg = f"{str(path)!r} has changed since it was checked"
        raise TransferError(msg)
    return file


P = ParamSpec("P")

_WORTH_IT = 1024 * 1024
"""Bytes that are worth a visit to a thread."""

_LIMIT = 2 * 1024 * 1024
"""Bytes that may gather while the disk is busy."""

_KEPT = 8 * 1024 * 1024
"""Bytes of freed memory that are worth keeping: more than is ever gathered and written at a time."""


@attrs.define(eq=False)
class Part:
    """A file under a name that nobody takes for the finished one. Use it with ``async with``.

    While one piece is being written the next ones are gathered, so that disk and network work at the same time.
    """

    path: pathlib.Path
    _file: IO[bytes] | None = attrs.field(default=None, init=False)
    _pieces: list[bytes] = attrs.field(factory=list, init=False, repr=False)
    _gathered: int = attrs.field(default=0, init=False)
    _step: asyncio.Future[None] | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Self:
        """Begin; nothing is opened before there is something to write."""
        # glibc hands freed pieces back to the kernel, which clears each page anew for the next ones: a third of the
        # speed. Whoever frees a large block once is taken for somebody who will need as much again.
        bytes(_KEPT)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove the file, unless it has another name by now. Nothing is left, however often this is cancelled."""
        try:
            if self._step is not None:
                await outlast(self._step)
        finally:
            if self._file is not None:
                await outlast(begin(discard, self._file))

    async def add(self, piece: bytes) -> None:
        """Take what comes next.

        Raises:
            TransferError: The disk refuses, now or what was added before.
        """
        self._pieces.append(piece)
        self._gathered += len(piece)
        idle = self._step is None or self._step.done()
        if self._gathered >= (_WORTH_IT if idle else _LIMIT):
            await self._do(self._write, self._taken())

    async def empty(self) -> None:
        """Forget everything that was added."""
        self._taken()
        if self._step is not None:
            await self._do(self._truncate)

    async def become(self, target: pathlib.Path, *, size: int, overwrite: bool) -> None:
        """Write what is left, see that all of it is there, and give the file its name.

        Args:
            target: The name.
            size: Bytes that there must be.
            overwrite: Replace a file of this name.

        Raises:
            InvalidRequestError: A file of this name has appeared, and is not to be replaced.
            TransferError: The disk refuses.
        """
        await self._do(self._finish, self._taken(), target, size=size, overwrite=overwrite)
        await self._end()

    def _taken(self) -> list[bytes]:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        return pieces

    async def _do(self, step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin a step when the one before is done."""
        await self._end()
        self._step = begin(step, *args, **kwargs)

    async def _end(self) -> None:
        if self._step is not None:
            await result(self._step)

    # what threads do

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._file = open_part(self.path)
        return self._file

    def _write(self, pieces: list[bytes]) -> None:
        append(self._open(), pieces)

    def _truncate(self) -> None:
        truncate(self._open())

    def _finish(self, pieces: list[bytes], target: pathlib.Path, *, size: int, overwrite: bool) -> None:
        self._write(pieces)
        finish(self._open(), target, size=size, overwrite=overwrite)
        self._file = None

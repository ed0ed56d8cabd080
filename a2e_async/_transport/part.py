"""The file that a download arrives in: written by threads, one step at a time, and gone unless it is whole."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, ParamSpec, Self

import attrs

from a2e_async._transport import disk
from a2e_async._transport.threads import begin, outlast, result

if TYPE_CHECKING:
    import asyncio
    import pathlib
    from collections.abc import Callable

__all__ = ["Part"]

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
                await outlast(begin(disk.discard, self._file))

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
            self._file = disk.open_part(self.path)
        return self._file

    def _write(self, pieces: list[bytes]) -> None:
        disk.append(self._open(), pieces)

    def _truncate(self) -> None:
        disk.truncate(self._open())

    def _finish(self, pieces: list[bytes], target: pathlib.Path, *, size: int, overwrite: bool) -> None:
        self._write(pieces)
        disk.finish(self._open(), target, size=size, overwrite=overwrite)
        self._file = None

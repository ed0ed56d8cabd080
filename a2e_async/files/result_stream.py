"""Result that is read while it arrives, and the part of it that a visitor of a web application asks for."""

# How it works: a task of its own downloads and writes to a `Pipe`; the reader takes the chunks from there. At most one
# chunk waits in it, so a slow reader makes the download wait. The reader gets its `ResultStream` when the first bytes
# have shown that this is a result, so that an error comes before a web application begins its response.

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Protocol, Self

import attrs

from a2e_async._protocol.validation import raise_invalid
from a2e_async._values import Value
from a2e_async.errors import ConfigurationError
from a2e_async.files.download_state import DownloadState
from a2e_async.files.media_types import HEAD, content_type_of

_RANGE = r"(?i)\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*"


@attrs.frozen(eq=False, repr=False)
class ByteRange(Value):
    """Range of bytes in a request, such as ``bytes=0-499``.

    Attributes:
        first: The first byte; None means that `last` counts from the end.
        last: The last byte, or None for all to the end.
    """

    first: int | None
    last: int | None

    @classmethod
    def parse(cls, header: str | None) -> Self | None:
        """Return the range of a header, or None for the whole: no range, several ones, or one that is not valid.

        A server ignores what it does not support (RFC 9110, 14.2).
        """
        if header is not None and not isinstance(header, str):
            raise_invalid(f"byte_range must be a str such as 'bytes=0-499', not {type(header).__name__}")
        found = re.fullmatch(_RANGE, header or "")
        if found is None:
            return None
        first, last = (int(number) if number else None for number in found.groups())
        is_valid = last is not None if first is None else last is None or first <= last
        return cls(first, last) if is_valid else None

    @property
    def is_whole(self) -> bool:
        """Whether it is ``bytes=0-``, with which browsers begin."""
        return self.first == 0 and self.last is None

    def within(self, total: int) -> tuple[int, int] | None:
        """Return the first byte and the one after the last, or None if the range begins after the end."""
        if self.first is None:
            return (max(0, total - self.last), total) if self.last else None
        end = total if self.last is None else min(self.last + 1, total)
        return (self.first, end) if self.first < total else None


class _Source(Protocol):
    ended: asyncio.Event

    async def read(self) -> bytes: ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResultStream:
    """Bytes of a result, while they arrive. Read them once, with ``async for``.

    Attributes:
        size: The number of bytes that it has, or None if A2E's storage does not say. With a range, those of the range.
        content_type: Such as ``video/mp4``. It comes from the first bytes, not from the storage.
        status: The status of a response to a visitor: 200 for the whole, 206 for a range, 416 for one after the end.
        headers: The headers of such a response: the type, the length, the range, ``ETag`` and ``Last-Modified``. They
            do not contain the link.
    """

    size: int | None
    content_type: str
    status: int
    headers: dict[str, str]
    _pipe: _Source = attrs.field(alias="pipe")

    def __repr__(self) -> str:
        """Return size and type."""
        return f"<{type(self).__name__} {self.content_type}, {self.size} bytes>"

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return this stream: it is read once."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk.

        Raises:
            TransferError: The connection broke too often, or the storage sent something else. What was read is not
                the whole result.
            ClientClosedError: The client was closed, or ended its waits.
            ConfigurationError: The ``async with`` of the stream has ended.
        """
        return await self._pipe.read()

    async def wait_until_ended(self) -> None:
        """Wait until the client ends this stream (`A2EClient.end_waits`), which also ends a response to a slow visitor.

        The integrations use this.
        """
        await self._pipe.ended.wait()


class Pipe:
    """Connection between a download and the reader of its bytes.

    Attributes:
        state: The state of the download.
        opened: The stream, as soon as the first bytes are known, or the error of the download.
        ended: Set when the client ends the stream.
    """

    def __init__(self, state: DownloadState, byte_range: ByteRange | None, if_range: str | None) -> None:
        """Nothing is opened yet."""
        self.state, self._range, self._if_range = state, byte_range, if_range
        self.opened: asyncio.Future[ResultStream] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self._held: list[bytes] = []
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)  # None is the end
        self._error: Exception | None = None
        self._is_closed = False

    # for the download

    def choose_part(self) -> bool:
        """Continue with the requested part of a file whose first bytes have come. Return whether it has any bytes."""
        state = self.state
        if self._range is None or not state.sends_ranges or state.total is None or not self._is_same_version:
            self._range, state.end = None, None
            state.forget()
            return True
        part = self._range.within(state.total)
        if part is not None:
            state.pin(*part)
        return part is not None

    async def truncate(self) -> None:
        """Forget what was not passed on: the file starts again."""
        self._held.clear()

    async def write(self, chunk: bytes) -> None:
        """Pass on a chunk, as soon as the type of the result is known, and wait for the reader."""
        self._held.append(chunk)
        if self.state.is_pinned or self.state.received >= HEAD:
            await self._pass_on()

    async def finish(self) -> None:
        """Pass on the rest, and the end."""
        await self._pass_on()
        await self._chunks.put(None)

    async def fail(self, error: Exception) -> None:
        """Pass on an error."""
        if not self.opened.done():
            self.opened.set_exception(error)
        elif not self.ended.is_set():
            self._error = error
            await self._chunks.put(None)

    async def _pass_on(self) -> None:
        self.state.is_pinned = True
        if not self.opened.done():
            self.opened.set_result(self._to_stream())
        held, self._held = self._held, []
        for chunk in held:
            await self._chunks.put(chunk)

    def _to_stream(self) -> ResultStream:
        """Return the stream, with the headers of a response."""
        state, total, status, size = self.state, self.state.total, 200, self.state.total
        content_type = content_type_of(state.head)
        headers = {"Content-Type": content_type, "X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes"}
        headers |= {name: value for name, value in (("ETag", state.etag), ("Last-Modified", state.modified)) if value}
        if self._range is not None and total is not None and self._is_same_version:
            part = self._range.within(total)
            first, end = part or (0, 0)
            status, size = (416, 0) if part is None else (206, end - first)
            headers["Content-Range"] = f"bytes */{total}" if part is None else f"bytes {first}-{end - 1}/{total}"
        if size is not None:
            headers["Content-Length"] = str(size)
        return ResultStream(size=size, content_type=content_type, status=status, headers=headers, pipe=self)

    @property
    def _is_same_version(self) -> bool:
        # a weak ETag never matches (RFC 9110, 13.1.5); a date is one only if it is exactly that of the storage
        known = {self.state.modified, self.state.etag if self.state.etag.startswith('"') else ""} - {""}
        return self._if_range is None or self._if_range in known

    # for the reader

    def end(self, error: Exception) -> None:
        """End the stream at once, whether or not its reader takes the next chunk."""
        if not self.opened.done():
            self.opened.set_exception(error)
        self._error = error
        self.ended.set()
        self._drop_chunks()

    def discard(self) -> None:
        """Forget the stream and its error: nothing reads it any more."""
        if not self.opened.cancel() and not self.opened.cancelled():
            self.opened.exception()  # marks it as retrieved, or asyncio would log it
        # the error holds frames by its traceback, and those hold the pipe: it must not hold the error
        self.opened, self._error = self.opened.get_loop().create_future(), None
        self.opened.cancel()
        self._is_closed = True
        self._drop_chunks()

    def _drop_chunks(self) -> None:
        while not self._chunks.empty():
            self._chunks.get_nowait()
        self._chunks.put_nowait(None)

    async def read(self) -> bytes:
        """Return the next chunk, or raise the error of the download, or `StopAsyncIteration` at its end."""
        chunk = await self._chunks.get()
        if self._is_closed:
            self._chunks.put_nowait(None)  # for a next call
            msg = "The stream is closed: read it inside of its `async with`"
            raise ConfigurationError(msg)
        if chunk is None or self.ended.is_set():
            if self._chunks.empty():
                self._chunks.put_nowait(None)  # for a next call
            if self._error is not None:
                raise self._error
            raise StopAsyncIteration
        return chunk

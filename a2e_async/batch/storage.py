"""Folder of a batch's videos: starts wait while nothing can be stored there."""

# How it works:
#
# * Before the first start, a file is written to the folder, and the free space of its disk is read. If that fails, the
#   batch stops: nothing was paid yet.
# * Later, a full disk, an exhausted quota, or a folder that cannot be written any more, would fail every download.
#   After the first such failure, no job is started. The download is tried again after 5 seconds, then after longer
#   pauses, up to 5 minutes. When it succeeds, the batch continues.
# * Several downloads can fail at the same time. They try again one after the other, in their order.
# * A folder that can be written is not the reason. Then the failure belongs to one job, such as that of a file which
#   another program has locked.

import asyncio
import contextlib
import errno
import logging
import pathlib
from collections.abc import Awaitable, Callable

import attrs

from a2e_async.batch.circuit_breaker import FIRST_DELAY, MAX_DELAY, CircuitBreaker, TrippedError
from a2e_async.batch.rules import prevents_storing
from a2e_async.errors import TransferError
from a2e_async.files.partial_file import check_folder, os_error_text

_LOGGER = logging.getLogger("a2e_async")

# Bytes that a video may need. A2E has published no limit; most videos are smaller.
_VIDEO_SIZE = 10_000_000


@attrs.define(eq=False)
class StorageGuard:
    """Guard of the folder that the videos of a batch are written to.

    Attributes:
        breaker: The circuit breaker of the starts, which is stopped if nothing can be stored from the beginning.
        folder: The folder, None if nothing is downloaded.
        max_running: Videos that can be on their way at the same time.
        reason: Why nothing can be stored at the moment, or an empty text.
    """

    breaker: CircuitBreaker
    folder: pathlib.Path | None
    max_running: int
    reason: str = ""
    _is_checked: bool = False
    _check_lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    # the download that is tried again holds the lock
    _retry_lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _retrying: int = 0
    _delay: float = FIRST_DELAY
    _resumed: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def prepare(self) -> None:
        """Check the folder once, before the first start. If it cannot be used, stop the batch."""
        if self.folder is None or self._is_checked:
            return
        async with self._check_lock:
            if not self._is_checked:
                try:
                    await asyncio.to_thread(check_folder, self.folder, self.max_running * _VIDEO_SIZE)
                except TransferError as error:
                    self.breaker.stop(error)
                self._is_checked = True

    async def wait(self) -> None:
        """Wait before a start while nothing can be stored, unless the batch stops."""
        while self.reason and self.breaker.stopped is None:
            await self._wait(FIRST_DELAY)

    def check(self) -> None:
        """Check right before a start that videos can be stored.

        Raises:
            TrippedError: They cannot, so that the job has to `wait` again.
        """
        if self.reason:
            raise TrippedError

    async def store(self, download: Callable[[], Awaitable[pathlib.Path]]) -> pathlib.Path:
        """Download a video. While nothing can be stored, pause the batch, and try again.

        Raises:
            TransferError: It failed for another reason, or the batch stops instead of waiting.
            A2EError: As `download`.
        """
        try:
            return await self._try(download)
        except _NotStoredError:
            pass
        self._retrying += 1
        try:
            async with self._retry_lock:
                while True:
                    if self.reason:
                        await self._wait(self._delay)
                    with contextlib.suppress(_NotStoredError):
                        return await self._try(download)
                    self._delay = min(self._delay * 2, MAX_DELAY)
        finally:
            self._retrying -= 1
            if not self._retrying:  # also if it has failed for another reason: no other download would end the pause
                self._resume()

    async def _try(self, download: Callable[[], Awaitable[pathlib.Path]]) -> pathlib.Path:
        try:
            path = await download()
        except TransferError as error:
            if not await self._prevents_all(error):
                raise
            if self.breaker.stops or self.breaker.stopped is not None:
                self.breaker.stop(error)
                raise
            self._pause(error)
            raise _NotStoredError from error
        self._resume()
        return path

    async def _prevents_all(self, error: TransferError) -> bool:
        """Return whether no other video could be stored either."""
        if self.folder is None or not prevents_storing(error):
            return False
        if getattr(error.__cause__, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
            return True  # a full disk can still have room for the test of the folder
        try:
            await asyncio.to_thread(check_folder, self.folder, 0)
        except TransferError:
            return True
        return False

    def _pause(self, error: TransferError) -> None:
        if not self.reason:
            text = os_error_text(error.__cause__ if isinstance(error.__cause__, OSError) else error)
            self.reason = f"nothing can be stored in {str(self.folder)!r}: {text}"
            self._delay = FIRST_DELAY
            self._resumed.clear()
            _LOGGER.warning("The batch is paused: %s", self.reason)

    def _resume(self) -> None:
        if self.reason:
            self.reason = ""
            self._resumed.set()
            _LOGGER.warning("The batch continues")

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._resumed.wait()


class _NotStoredError(Exception):
    """Signal that a download has to be tried again. It never leaves `StorageGuard`."""

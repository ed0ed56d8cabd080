"""Keeps a batch from starting while nothing can be started, and finds out when it can again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import attrs

__all__ = ["Gate"]

_LOGGER = logging.getLogger("a2e_async")

_FIRST = 5.0
_LONGEST = 300.0


@attrs.define(eq=False)
class Gate:
    """Open, or closed for a reason. While it is closed, one scout at a time goes ahead, after growing pauses.

    Attributes:
        reason: Why it is closed, empty while it is open.
        passed: How often somebody got what he came for.
        wanting: How many want to get through, wherever they are.
    """

    reason: str = ""
    passed: int = 0
    wanting: int = 0
    _pause: float = 0.0
    _line: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)
    _ended: bool = False
    _doubted: int = -1

    @contextlib.contextmanager
    def wanted(self) -> Iterator[None]:
        """Count one who wants to get through."""
        self.wanting += 1
        try:
            yield
        finally:
            self.wanting -= 1

    async def admit(self) -> bool:
        """Wait until the gate is open, or until it is our turn to find out; return whether we are the scout.

        A scout has to `step_back` at the end, whatever has become of him. Then he stands at the end of the line.
        """
        if not self.reason or self._ended:
            return False
        await self._line.acquire()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._news.wait()
        except BaseException:
            self._line.release()
            raise
        if self.reason and not self._ended:
            return True
        self._line.release()
        return False

    def step_back(self) -> None:
        """Let somebody else be the scout."""
        self._line.release()

    def close(self, reason: str, *, scout: bool) -> None:
        """Nothing can be started at the moment. What the scout says makes the pauses longer."""
        if not self.reason:
            self._pause = _FIRST
            self._news.clear()
            _LOGGER.warning("The batch is paused: %s", reason)
        elif scout:
            self._pause = min(self._pause * 2, _LONGEST)
        self.reason = reason
        if self._ended:
            self._news.set()

    def open(self) -> None:
        """Somebody has got what he came for."""
        self.passed += 1
        if self.reason:
            _LOGGER.warning("The batch goes on")
            self.reason = ""
            self._news.set()

    def doubt(self) -> bool:
        """Nobody knows whether somebody got through; return whether that is so for the second time in a row."""
        again, self._doubted = self._doubted == self.passed, self.passed
        return again

    def end(self) -> None:
        """Let all go on at once, for ever: nothing is started any more, as they will find out."""
        self._ended = True
        self._news.set()

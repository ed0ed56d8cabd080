"""An event loop whose clock jumps to the next timer, so that hours of waiting take no time."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class JumpingLoop(asyncio.SelectorEventLoop):
    """Does what is ready; when nothing is, it is at once the time of the next timer. For code without sockets."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        """Return the seconds since the loop was made, as far as it has jumped."""
        return self._now

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]  # of the standard library's loop
            self._jump()
        super()._run_once()  # type: ignore[misc]

    def _jump(self) -> None:
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():  # as the loop itself does it, but before looking at the clock
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heapq.heappop(timers)._scheduled = False
        if timers:
            self._now = max(self._now, timers[0].when())


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop whose clock begins at 0 and jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)

"""Sees something through to its end, also if whoever awaits it is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

__all__ = ["SeenThrough"]

T = TypeVar("T")


class SeenThrough(Generic[T]):
    """A coroutine in a task of its own. Awaited, it lets a cancellation wait until the task is done.

    A task that is to be cancelled asks what it awaits to be cancelled. This one says no, and asyncio then delivers the
    cancellation as soon as the wait is over. `asyncio.shield` would deliver it at once, and let go of the answer.

    Attributes:
        task: Where the coroutine runs. Its own time-outs work as ever.
        unbegun: It was cancelled before it took its first step, and will never take it.
    """

    __slots__ = ("_asyncio_future_blocking", "_coroutine", "add_done_callback", "get_loop", "task", "unbegun")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        """Begin at once. Needs a running event loop."""
        loop = asyncio.get_running_loop()
        self._coroutine, self.unbegun = coroutine, False
        self.task = asyncio.Task(coroutine, loop=loop, name="a2e-start")
        # who ends a loop (asyncio.run) cancels all tasks that are known: the one that awaits us, but not this one
        asyncio.tasks._unregister_task(self.task)  # noqa: SLF001  documented, "Extending asyncio"
        # what a task asks of a future that it awaits (PEP 3156)
        self._asyncio_future_blocking = False
        self.add_done_callback, self.get_loop = self.task.add_done_callback, self.task.get_loop

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the task, and return its result or raise its error."""
        if not self.task.done():
            self._asyncio_future_blocking = True
            yield self
        return self.task.result()

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002  asyncio's signature
        """Say no, unless nothing has happened yet."""
        self.unbegun = self.unbegun or inspect.getcoroutinestate(self._coroutine) == inspect.CORO_CREATED
        return self.unbegun and self.task.cancel()

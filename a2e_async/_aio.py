"""Work that is finished in spite of a cancellation: in a thread, or in a task of its own.

A thread cannot be stopped, so it is seen through, whoever is cancelled.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["SeenThrough", "begin", "outlast", "result"]

P = ParamSpec("P")
T = TypeVar("T")


def begin(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Let a thread of the event loop call a function. Await `result` or `outlast`, not what this returns."""
    return asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args, **kwargs))


async def result(work: asyncio.Future[T]) -> T:
    """Wait for the work and return its result. A cancellation ends the wait at once, and not the work."""
    if not work.done():
        await asyncio.wait([work])
    return work.result()


async def outlast(work: asyncio.Future[Any]) -> None:
    """Wait for the end of the work, be it good or bad. Cancellations, any number of them, have to wait too."""
    cancelled = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if not work.cancelled():
        work.exception()  # asked for, so that asyncio does not complain that nobody did
    if cancelled is not None:
        raise cancelled


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

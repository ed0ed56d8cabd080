"""Work that a cancellation must not stop halfway: a function in a thread, or a coroutine in a task of its own."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Call a function in a thread of the event loop, and return the future of its result.

    A thread cannot be stopped, and a cancelled future would lose its result. So await `result_of` or
    `wait_uncancellable`, not the future itself.
    """
    return asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args, **kwargs))


async def result_of(work: asyncio.Future[T]) -> T:
    """Wait for the work and return its result. A cancellation ends the wait at once, but not the work."""
    if not work.done():
        await asyncio.wait([work])  # does not pass the cancellation on, unlike `await work`
    return work.result()


async def wait_uncancellable(work: asyncio.Future[Any]) -> None:
    """Wait until the work has ended, well or badly. Cancellations meanwhile are raised afterwards, as one."""
    cancelled = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if not work.cancelled():
        work.exception()  # marks it as retrieved, or asyncio would log "exception was never retrieved"
    if cancelled is not None:
        raise cancelled


class uncancellable(Generic[T]):  # noqa: N801  used like a function: `await uncancellable(coroutine)`
    """Awaitable that runs a coroutine in a task of its own and delays a cancellation until that task is done.

    `asyncio.shield` would deliver the cancellation at once, and the result would be lost.

    Attributes:
        task: The task that runs the coroutine. Time-outs inside of the coroutine work as usual.
        never_started: It was cancelled before its first step, and will not run.
    """

    __slots__ = ("_asyncio_future_blocking", "_coroutine", "add_done_callback", "get_loop", "never_started", "task")

    # `Task.cancel` first calls `cancel` of the object that the task awaits. `cancel` below returns False, so asyncio
    # sets the task's "must cancel" flag and raises CancelledError in it as soon as the wait is over.

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        """Start the task. Needs a running event loop."""
        loop = asyncio.get_running_loop()
        self._coroutine, self.never_started = coroutine, False
        self.task = asyncio.Task(coroutine, loop=loop, name="a2e-start")
        # asyncio.run cancels all registered tasks at its end: the awaiting task must be among them, but not this one
        asyncio.tasks._unregister_task(self.task)  # noqa: SLF001  documented, "Extending asyncio"
        # the attributes that a task needs of an awaited future (PEP 3156)
        self._asyncio_future_blocking = False
        self.add_done_callback, self.get_loop = self.task.add_done_callback, self.task.get_loop

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the task, and return its result or raise its error."""
        if not self.task.done():
            self._asyncio_future_blocking = True
            yield self
        return self.task.result()

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002  asyncio's signature
        """Return False, which delays the cancellation, unless the coroutine has not taken its first step yet."""
        self.never_started = self.never_started or inspect.getcoroutinestate(self._coroutine) == inspect.CORO_CREATED
        return self.never_started and self.task.cancel()

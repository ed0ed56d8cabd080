"""Work that a cancellation must not stop halfway: a coroutine in a task of its own, or a function in a thread."""

# How it works: `finish` runs the work in a task of its own, and the caller waits for that task.
#
# 1. The first cancellation of the caller does not end the wait. What is under way is logged at once. The caller gets
#    its CancelledError when the work has ended.
# 2. The second cancellation ends the wait at once, and the work goes on in the background; `wait_for_background` waits
#    for it. anyio (Starlette, FastAPI) repeats a cancellation in every step of the event loop until the caller ends, so
#    a wait that refused each of them would keep a core busy.
# 3. ``asyncio.run`` cancels all tasks at its end, and some programs cancel them by themselves. The task of the work
#    ignores that. Only a time-out inside of the work can cancel it.
# 4. The work can outlive its caller, and a connection that it opens outlives both. So it runs in an empty context
#    (`contextvars`): that of the caller, such as a web request with its user, would live on as long.

import asyncio
import contextvars
import functools
import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_LOGGER = logging.getLogger("a2e_async")


class _Work(asyncio.Task[T]):
    """Task that only its own time-outs can cancel, in an empty context.

    Attributes:
        what: Its name for the log, or empty.
        is_closing: It waits for the other work itself, so `wait_for_background` must not wait for it.
    """

    def __init__(self, work: Coroutine[Any, Any, T], what: str = "", *, is_closing: bool = False) -> None:
        """Run a coroutine in the running event loop."""
        super().__init__(work, loop=asyncio.get_running_loop(), name="a2e-finish", context=contextvars.Context())
        self.what, self.is_closing = what, is_closing
        if what:
            _NAMED.add(self)

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ANN401  asyncio's signature
        """Cancel the task if a time-out asks for it."""
        try:
            # A time-out is a callback of the running event loop; everything else that cancels is a task, or runs after
            # the event loop (the end of `asyncio.run`).
            is_timeout = asyncio.current_task() is None
        except RuntimeError:
            is_timeout = False
        return is_timeout and super().cancel(msg)


# Work whose caller was cancelled, in any event loop. An event loop has only weak references to its tasks.
_BACKGROUND: set[_Work[Any]] = set()

# Work with a name, such as the start of a task.
_NAMED: weakref.WeakSet[_Work[Any]] = weakref.WeakSet()


_UNBEGUN = (None, None)  # the outcome of work that did not begin: this very object


async def finish(
    work: Coroutine[Any, Any, T],
    what: str = "",
    *,
    seconds: float = 0.0,
    on_late: Callable[[T | BaseException, asyncio.CancelledError], None] | None = None,
    on_unbegun: Callable[[], None] | None = None,
    is_closing: bool = False,
) -> T:
    """Run a coroutine to its end, in spite of a cancellation, and return its result.

    Args:
        work: The coroutine. Without `on_unbegun` it begins in any case, also in a task that is cancelled already.
        what: Its name for the log, with a marker or an id. Empty for work that takes milliseconds: no log line.
        seconds: How long it can take, for the log.
        on_late: Called with the result or the error of the work, and the first CancelledError, if the caller was
            cancelled. In the case of a single cancellation it is called before the caller continues.
        on_unbegun: Called instead of the work if the caller was cancelled before the work could begin.
        is_closing: The work closes something, and calls `wait_for_background` before.

    Raises:
        CancelledError: The caller was cancelled. The work has ended, or goes on after a second cancellation.
    """
    # a cancellation of the caller cancels this future, and not the work
    ended = asyncio.get_running_loop().create_future()
    task = _Work(_outcome(work, ended, on_unbegun), what, is_closing=is_closing)
    try:
        await ended
    except asyncio.CancelledError as cancelled:
        if task.done() and not task.cancelled() and task.result() is _UNBEGUN:
            raise
        _BACKGROUND.add(task)
        task.add_done_callback(functools.partial(_on_late_end, on_late, cancelled))
        if what and not task.done():
            _LOGGER.warning("Cancelled while %s is under way: it is finished first, in %g s at most", what, seconds)
        await asyncio.wait([task])
        raise
    result, error = task.result()
    if error is not None:
        try:
            raise error
        finally:
            del error, task  # the error holds this frame by its traceback, and the frame must not hold the error
    return cast("T", result)


async def _outcome(
    work: Coroutine[Any, Any, T], ended: asyncio.Future[None], on_unbegun: Callable[[], None] | None
) -> tuple[T | None, BaseException | None]:
    # The task of the work begins in the next turn of the event loop, and the caller may be cancelled until then.
    if on_unbegun is not None and ended.cancelled():
        work.close()
        on_unbegun()
        return _UNBEGUN
    # A task that ends with an error is reported by `asyncio.run`, if that has to wait for it at its end.
    try:
        return await work, None
    except Exception as error:  # noqa: BLE001  it is raised where the result is taken
        return None, error
    finally:
        if not ended.done():
            ended.set_result(None)


def _on_late_end(
    on_late: Callable[[T | BaseException, asyncio.CancelledError], None] | None,
    cancelled: asyncio.CancelledError,
    task: asyncio.Task[tuple[T | None, BaseException | None]],
) -> None:
    _BACKGROUND.discard(task)
    result, error = (None, asyncio.CancelledError()) if task.cancelled() else task.result()
    if on_late is not None:
        on_late(cast("T", result) if error is None else error, cancelled)


def finish_in_background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run a coroutine to its end without waiting for it; it must not raise. Returns its task."""
    task = _Work(work)
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)
    return task


async def wait_for_background() -> None:
    """Wait until all work of this event loop that was left in the background has ended."""
    loop = asyncio.get_running_loop()
    while tasks := [task for task in _BACKGROUND.copy() if task.get_loop() is loop and not task.is_closing]:
        await asyncio.wait(tasks)


def under_way() -> list[str]:
    """Return the names of the work that has not ended, in any event loop, also in one that was interrupted."""
    return [work.what for work in _NAMED if not work.done()]


def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Call a function in a thread of the event loop, and return the future of its result.

    A thread cannot be stopped, and a cancelled future would lose its result. So await the future in `asyncio.shield`
    or in `finish`.
    """
    return asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args, **kwargs))

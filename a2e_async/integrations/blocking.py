"""A client for code without asyncio: Flask, Django under WSGI, Celery, scripts and notebooks."""

# How it works: one background thread runs an event loop (anyio's `BlockingPortal`), and in it the client lives. Each
# call is sent to that loop, and its thread waits for the result. So the calls of all threads share the connections, the
# polls and the limits of one client. The thread starts with the first call of a process: a server that forks its
# workers after it has imported the application (gunicorn) gets one thread in each worker.
#
# The end: `close` sets an event, by which the thread closes the client. Until that is done, the portal takes calls,
# which then raise a `ClientClosedError`. Only after it the portal and the loop end.

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import os
import signal
import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast, overload

import attrs

from a2e_async.client import A2EClient
from a2e_async.errors import ClientClosedError, ConfigurationError, InvalidRequestError, MissingExtraError
from a2e_async.integrations.lifespan import before_signals

try:
    import anyio
    import anyio.from_thread
except ImportError as error:
    _MESSAGE = 'a2e_async.integrations.blocking needs anyio: pip install "a2e-async[blocking]"'
    raise MissingExtraError(_MESSAGE) from error

__all__ = ["BlockingClient"]

P = ParamSpec("P")
T = TypeVar("T")

_END = object()


@attrs.frozen(eq=False)
class _Running:
    """What runs in the thread."""

    portal: anyio.from_thread.BlockingPortal
    loop: asyncio.AbstractEventLoop
    closing: asyncio.Event
    closed: concurrent.futures.Future[None] = attrs.field(factory=concurrent.futures.Future)

    def close(self) -> None:
        """Let the thread close the client, and wait until it has."""
        self.loop.call_soon_threadsafe(self.closing.set)
        self.closed.result()


class BlockingClient:
    """Runs the coroutines of a client in a background thread, from any number of other threads.

    Example::

        blocking = BlockingClient()
        a2e = blocking.a2e
        task = blocking.call(a2e.image_to_video.start, image="ada.png", prompt="…", negative_prompt="…")
        record = blocking.call(task.wait_until_done)

    The thread starts with the first call, or with `start`. It ends with the process, or with `close`, which a ``with``
    block calls.

    Attributes:
        a2e: The client. Its methods are called through `call` and `iterate` only; those that are no coroutines, such as
            ``task(id)``, can be called directly.
    """

    def __init__(self, a2e: A2EClient | None = None, *others: AbstractAsyncContextManager[Any]) -> None:
        """Nothing is opened or sent.

        Args:
            a2e: The client; by default ``A2EClient()``.
            others: What is opened after the client, in its thread, and closed before it, such as a `Supervisor`.

        Raises:
            ConfigurationError: As `A2EClient`.
        """
        self.a2e = A2EClient() if a2e is None else a2e
        self._others = others
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._signals = contextlib.ExitStack()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __repr__(self) -> str:
        """Return the client."""
        return f"<{type(self).__name__} of {self.a2e!r}>"

    def __enter__(self) -> Self:
        """Return this object; the thread starts with the first call."""
        self._closed = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client, and end the thread."""
        self.close()

    def start(self) -> None:
        """Start the thread now, and open the client in it. Otherwise the first call does that.

        In the main thread this also makes SIGTERM end all waits (`A2EClient.end_waits`), before the handler of the
        server: open streams and waiting requests end, and do not hold it. A second call does no harm.

        Raises:
            ClientClosedError: The client is closed.
            Exception: What the opening of the others raises, such as `open_ids` of a supervisor.
        """
        self._start()

    @overload
    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...

    def call(self, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call a function in the thread of the client, and return its result. Costs what the function costs.

        It is an async function, or one that must be called in that thread, such as ``supervisor.watch``.

        Ctrl-C ends the call as a cancellation would: a start that is under way goes on, and its id is logged.

        Args:
            function: Such as ``blocking.a2e.image_to_video.start``, ``task.wait_until_done``, or one of your own that
                uses the client.
            args: Its arguments.
            kwargs: Its arguments by name.

        Raises:
            ConfigurationError: It was called in the thread of the client, which it would block for ever.
            ClientClosedError: The client is closed.
            Exception: What the function raises.
        """
        if not callable(function):
            msg = "pass the function and its arguments: call(task.wait_until_done), not call(task.wait_until_done())"
            raise InvalidRequestError(msg)
        future = self._start().portal.start_task_soon(functools.partial(function, *args, **kwargs))
        try:
            return future.result()
        finally:
            future.cancel()  # if it has not ended: Ctrl-C

    def iterate(self, items: AsyncIterable[T]) -> Iterator[T]:
        """Iterate over an async iterable in the thread of the client, such as ``task.updates()``.

        Args:
            items: The async iterable. It is closed at the end, also if the loop is left early.

        Raises:
            Exception: What the iteration raises.
        """
        iterator = aiter(items)

        async def following() -> object:
            return await anext(iterator, _END)

        try:
            while (item := self.call(following)) is not _END:
                yield cast("T", item)
        finally:
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                with contextlib.suppress(ClientClosedError):
                    self.call(aclose)

    def close(self) -> None:
        """Close the client, and end its thread. Calls in other threads raise a `ClientClosedError`; tasks go on at A2E.

        Closing twice does no harm.
        """
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            self._closed = True
            running, self._running = self._running, None
        if running is not None and self._thread is not None:
            atexit.unregister(self._close_at_exit)
            if threading.current_thread() is threading.main_thread():
                self._signals.close()
            try:
                running.close()
            finally:
                running.portal.call(running.portal.stop)
                self._thread.join()

    def _close_at_exit(self) -> None:
        """Close the client when the program ends. The thread is left to the interpreter."""
        # From Python 3.12 on, no thread can be started now, and an event loop needs one for its own end.
        if self._running is not None and self._pid == os.getpid():
            self._running.close()

    def _start(self) -> _Running:
        """Return what runs in the thread, and start the thread if needed."""
        if self._pid != os.getpid():  # the thread belongs to the parent process
            self._reset()
        if threading.current_thread() is self._thread:
            msg = "call() was used in the thread of the client: use `await` there"
            raise ConfigurationError(msg)
        with self._lock:
            if self._closed:
                msg = "The blocking client is closed: use `with`, or make another one"
                raise ClientClosedError(msg)
            if self._running is None:
                started: concurrent.futures.Future[_Running] = concurrent.futures.Future()
                # a daemon: the process must not wait for it at its end
                self._thread = threading.Thread(target=self._run, args=(started,), name="a2e-blocking", daemon=True)
                self._thread.start()
                self._running = started.result()
                atexit.register(self._close_at_exit)
                # Ctrl-C is left alone: it ends one call of a script or a notebook, and the client goes on
                hook = before_signals(self._end_waits, self._running.loop, signal.SIGTERM)
                self._signals.enter_context(hook)
            return self._running

    def _end_waits(self) -> None:
        self._ending = asyncio.create_task(self.a2e.end_waits(), name="a2e-end-waits")

    def _run(self, started: concurrent.futures.Future[_Running]) -> None:
        async def serve() -> None:
            async with anyio.from_thread.BlockingPortal() as portal:
                running = _Running(portal, asyncio.get_running_loop(), asyncio.Event())
                try:
                    async with contextlib.AsyncExitStack() as stack:
                        for each in (self.a2e, *self._others):
                            await stack.enter_async_context(each)
                        started.set_result(running)
                        await running.closing.wait()
                except BaseException as error:  # noqa: BLE001  it is raised in the thread of the caller
                    if not started.done():
                        started.set_exception(error)
                        return
                    running.closed.set_exception(error)
                else:
                    running.closed.set_result(None)
                await portal.sleep_until_stopped()

        try:
            anyio.run(serve)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

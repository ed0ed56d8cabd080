"""A client for code without asyncio: Flask, Django under WSGI, Celery, scripts and notebooks."""

# How it works: one background thread runs an event loop (anyio's `BlockingPortal`), and in it the client lives. Each
# call is sent to that loop, and its thread waits for the result. So the calls of all threads share the connections, the
# polls and the limits of one client. The thread starts with the first call of a process: a server that forks its
# workers after it has imported the application (gunicorn) gets one thread in each worker.

import atexit
import concurrent.futures
import contextlib
import functools
import os
import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, cast

from a2e_async.client import A2EClient
from a2e_async.errors import ClientClosedError, ConfigurationError, InvalidRequestError, MissingExtraError

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


class BlockingClient:
    """Runs the coroutines of a client in a background thread, from any number of other threads.

    Example::

        blocking = BlockingClient()
        a2e = blocking.a2e
        task = blocking.call(a2e.image_to_video.start, image="ada.png", prompt="…", negative_prompt="…")
        record = blocking.call(task.wait_until_done)

    The thread starts with the first call and ends with the process, or with `close`, which a ``with`` block calls.

    Attributes:
        a2e: The client. Its methods are called through `call` and `iterate` only; those that are no coroutines, such as
            ``task(id)``, can be called directly.
    """

    def __init__(self, a2e: A2EClient | None = None) -> None:
        """Nothing is opened or sent.

        Args:
            a2e: The client; by default ``A2EClient()``.

        Raises:
            ConfigurationError: As `A2EClient`.
        """
        self.a2e = A2EClient() if a2e is None else a2e
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._portal: anyio.from_thread.BlockingPortal | None = None
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

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an async function in the thread of the client, and return its result. Costs what the function costs.

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
        future = self._start().start_task_soon(functools.partial(function, *args, **kwargs))
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
            portal, self._portal = self._portal, None
        if portal is not None and self._thread is not None:
            atexit.unregister(self._close_at_exit)
            portal.call(self.a2e.aclose)  # the calls of other threads end by this
            portal.call(portal.stop)
            self._thread.join()

    def _close_at_exit(self) -> None:
        """Close the client when the program ends. The thread is left to the interpreter."""
        # From Python 3.12 on, no thread can be started now, and an event loop needs one for its own end.
        if self._portal is not None and self._pid == os.getpid():
            self._portal.call(self.a2e.aclose)

    def _start(self) -> anyio.from_thread.BlockingPortal:
        """Return the portal into the thread, and start the thread if needed."""
        if self._pid != os.getpid():  # the thread belongs to the parent process
            self._reset()
        if threading.current_thread() is self._thread:
            msg = "call() was used in the thread of the client: use `await` there"
            raise ConfigurationError(msg)
        with self._lock:
            if self._closed:
                msg = "The blocking client is closed: use `with`, or make another one"
                raise ClientClosedError(msg)
            if self._portal is None:
                started: concurrent.futures.Future[anyio.from_thread.BlockingPortal] = concurrent.futures.Future()
                # a daemon: the process must not wait for it at its end
                self._thread = threading.Thread(target=self._run, args=(started,), name="a2e-blocking", daemon=True)
                self._thread.start()
                self._portal = started.result()
                atexit.register(self._close_at_exit)
            return self._portal

    def _run(self, started: concurrent.futures.Future[anyio.from_thread.BlockingPortal]) -> None:
        async def serve() -> None:
            async with self.a2e, anyio.from_thread.BlockingPortal() as portal:
                started.set_result(portal)
                await portal.sleep_until_stopped()

        try:
            anyio.run(serve)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

"""The life of a client in an application: opened and closed with it, its waits ended when the server begins to stop."""

# How it works: a web server that gets SIGTERM or Ctrl-C first waits for its open responses, and then ends the lifespan
# of the application. A response that waits for a task, such as a stream, would hold the server for minutes. So the
# waits end at the signal: each raises a `ClientClosedError`, by which streams, supervisors and background tasks end.
#
# The handler of the signal stays the server's: ours only comes before it. A program without such a handler dies at once
# by SIGTERM, and then there is nothing to end.

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any

from a2e_async.client import A2EClient

__all__ = ["serving"]

_SERVER_INTERVAL = 0.25  # seconds between two looks at a server that stops without a signal


@contextlib.asynccontextmanager
async def serving(a2e: A2EClient, *others: AbstractAsyncContextManager[Any]) -> AsyncIterator[A2EClient]:
    """Open a client for the life of an application, and close it at the end.

    At SIGTERM or Ctrl-C it ends all waits first (`A2EClient.end_waits`), so that open streams and background tasks do
    not hold the server. That needs the main thread and a server that handles these signals, as uvicorn, hypercorn,
    gunicorn and aiohttp do.

    Args:
        a2e: The client.
        others: What is opened after the client and closed before it, such as a `Supervisor`.
    """
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(a2e)
        ending: set[asyncio.Task[None]] = set()

        def stop() -> None:
            if not ending:
                ending.add(asyncio.create_task(a2e.end_waits(), name="a2e-end-waits"))

        await stack.enter_async_context(_watch_server(stop))
        stack.enter_context(before_signals(stop, asyncio.get_running_loop(), signal.SIGINT, signal.SIGTERM))
        for other in others:
            await stack.enter_async_context(other)
        try:
            yield a2e
        finally:
            await asyncio.gather(*ending)


@contextlib.contextmanager
def before_signals(stop: Callable[[], None], loop: asyncio.AbstractEventLoop, *numbers: int) -> Iterator[None]:
    """Call a function in an event loop, of any thread, at signals, before their handlers."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there only
        yield
        return
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop)
        handlers[number](number, frame)

    for number in numbers:
        handler = signal.getsignal(number)
        if callable(handler):
            handlers[number] = handler
            signal.signal(number, handle)
    try:
        yield
    finally:
        for handled, handler in handlers.items():
            if signal.getsignal(handled) is handle:
                signal.signal(handled, handler)


@contextlib.asynccontextmanager
async def _watch_server(stop: Callable[[], None]) -> AsyncIterator[None]:
    """Call a function as soon as uvicorn stops without a signal, such as after ``--limit-max-requests``."""
    server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not hasattr(server, "should_exit"):
        yield
        return

    async def watch() -> None:
        while not server.should_exit:  # noqa: ASYNC110  uvicorn has no event
            await asyncio.sleep(_SERVER_INTERVAL)
        stop()

    watching = asyncio.create_task(watch(), name="a2e-watch-server")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])

"""A server in a process of its own, with a pipe for its measurements."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

__all__ = ["Host", "Server", "hosted"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# Connections that may wait to be accepted: a client that opens a thousand at once must not fail because of the server.
_BACKLOG = 4096


class Server(Protocol[R_co]):
    """A server. It is made in the other process."""

    def app(self) -> web.Application:
        """Return the application that answers requests."""

    def report(self) -> R_co:
        """Return the measurements so far, in a form that can be pickled."""


@attrs.frozen
class Host(Generic[R]):
    """The running server, as seen by the process that has started it."""

    url: str
    _pipe: Connection

    def report(self) -> R:
        """Return the measurements so far."""
        self._pipe.send("report")
        report: R = self._pipe.recv()
        return report


@contextlib.contextmanager
def hosted(make_server: Callable[[], Server[R]]) -> Iterator[Host[R]]:
    """Run a server during the block. The function that makes it must be picklable."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make_server), daemon=True)
    process.start()
    there.close()  # so that the end of that process is an EOFError here
    try:
        yield Host(f"http://127.0.0.1:{here.recv()}", here)
    finally:
        here.close()
        process.join(5)
        process.terminate()
        process.join()


def _serve(pipe: Connection, make_server: Callable[[], Server[object]]) -> None:
    """Serve until the other end of the pipe is closed."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serving(pipe, make_server()))


async def _serving(pipe: Connection, server: Server[object]) -> None:
    runner = web.AppRunner(server.app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=_BACKLOG)
    await site.start()
    pipe.send(runner.addresses[0][1])
    while await asyncio.to_thread(_has_request, pipe):
        pipe.send(server.report())
    await runner.cleanup()


def _has_request(pipe: Connection) -> bool:
    try:
        pipe.recv()
    except EOFError:
        return False
    return True

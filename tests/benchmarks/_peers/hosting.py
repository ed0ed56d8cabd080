"""A server in a process of its own, and the pipe through which it tells what has happened."""

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

__all__ = ["Desk", "Host", "hosted"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_BACKLOG = 4096
"""Connections that may wait to be accepted: a client that opens a thousand at once must not stumble over ours."""


class Desk(Protocol[R_co]):
    """What the other process does. It is made there."""

    def app(self) -> web.Application:
        """Return what answers requests."""

    def report(self) -> R_co:
        """Return what has happened so far, to be pickled."""


@attrs.frozen
class Host(Generic[R]):
    """The running server, seen from the process that has started it."""

    url: str
    _pipe: Connection

    def report(self) -> R:
        """Return what has happened so far."""
        self._pipe.send("report")
        report: R = self._pipe.recv()
        return report


@contextlib.contextmanager
def hosted(make_desk: Callable[[], Desk[R]]) -> Iterator[Host[R]]:
    """Run a server as long as the block lasts; what makes its desk must be picklable."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make_desk), daemon=True)
    process.start()
    there.close()  # so that the end of that process is an EOFError here
    try:
        yield Host(f"http://127.0.0.1:{here.recv()}", here)
    finally:
        here.close()
        process.join(5)
        process.terminate()
        process.join()


def _serve(pipe: Connection, make_desk: Callable[[], Desk[object]]) -> None:
    """Serve until the other end of the pipe is gone, however that came about."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serving(pipe, make_desk()))


async def _serving(pipe: Connection, desk: Desk[object]) -> None:
    runner = web.AppRunner(desk.app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=_BACKLOG)
    await site.start()
    pipe.send(runner.addresses[0][1])
    while await asyncio.to_thread(_is_asked, pipe):
        pipe.send(desk.report())
    await runner.cleanup()


def _is_asked(pipe: Connection) -> bool:
    try:
        pipe.recv()
    except EOFError:
        return False
    return True

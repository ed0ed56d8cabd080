"""Sandbox in a process of its own, with a pipe for its report."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

__all__ = ["Report", "Server", "start_server"]

_TOKEN = "sk_bench"
_SPEED = 20.0
"""A task takes 1.1 to 2.1 s, so that most are done at their first poll."""


@attrs.frozen
class Report:
    """Report of the sandbox: the starts that it has charged, and the seconds of CPU that it has used."""

    charged: int
    cpu: float


@attrs.frozen
class Server:
    """Running sandbox, seen from the process that has started it."""

    url: str
    token: str
    _pipe: Connection

    def report(self) -> Report:
        """Return the report so far."""
        self._pipe.send("report")
        report: Report = self._pipe.recv()
        return report


@contextlib.contextmanager
def start_server() -> Iterator[Server]:
    """Run a sandbox until the block ends."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()  # then the end of that process is an EOFError here
    try:
        yield Server(here.recv(), _TOKEN, here)
    finally:
        here.close()
        process.join(30)
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_reports(pipe))


async def _serve_reports(pipe: Connection) -> None:
    from a2e_async.sandbox import Sandbox

    async with Sandbox(token=_TOKEN, speed=_SPEED, render="tiny", seed=1, coins=10**9) as sandbox:
        pipe.send(sandbox.url)
        began = time.process_time()
        while await asyncio.to_thread(_receive_request, pipe):
            pipe.send(Report(len(sandbox.tasks), time.process_time() - began))


def _receive_request(pipe: Connection) -> bool:
    try:
        pipe.recv()
    except EOFError:
        return False
    return True

"""Measurement of one run: a client in a process of its own, and the sandbox in another one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import pathlib
import resource
import sys
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .plan import Plan
    from .server import Server

__all__ = ["Trial", "attempt"]


@attrs.frozen(kw_only=True)
class Trial:
    """Numbers of one run.

    Attributes:
        plan: The jobs.
        done: Jobs that have succeeded.
        started: Starts that were charged in this run.
        took: Seconds.
        cpu: Seconds of CPU of the client, all of its threads, without its imports.
        peak: The most memory of the client, in bytes.
        server_cpu: Seconds of CPU of the sandbox.
    """

    plan: Plan
    done: int
    started: int = 0
    took: float
    cpu: float
    peak: int
    server_cpu: float = 0.0


def attempt(plan: Plan, server: Server) -> Trial:
    """Run a plan once.

    Raises:
        EOFError: The client has failed, and printed the reason.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    before = server.report()
    client = context.Process(target=_measure, args=(there, plan, server.url, server.token), daemon=True)
    client.start()
    there.close()  # then the end of that process is an EOFError here
    try:
        trial: Trial = here.recv()
    finally:
        client.join(30)
        client.terminate()
        client.join()
    after = server.report()
    return attrs.evolve(trial, started=after.charged - before.charged, server_cpu=after.cpu - before.cpu)


def _measure(pipe: Connection, plan: Plan, url: str, token: str) -> None:
    """Run a plan in this process, and send its numbers."""
    client = importlib.import_module(f".{plan.client}", __package__)
    loop_factory = importlib.import_module("uvloop").new_event_loop if plan.uvloop else None
    began, cpu = time.monotonic(), _cpu()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        done = runner.run(client.run(plan, url, token))
    trial = Trial(plan=plan, done=done, took=time.monotonic() - began, cpu=_cpu() - cpu, peak=_peak())
    pipe.send(trial)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak() -> int:
    """Return the peak memory of this process, in bytes."""
    with contextlib.suppress(OSError):  # on Linux a child process inherits ru_maxrss, but not VmHWM
        for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

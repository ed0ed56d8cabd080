"""Measures one run: a client in a process of its own, and the sandbox in another one."""

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

    from .house import House
    from .plan import Plan

__all__ = ["Trial", "attempt"]


@attrs.frozen(kw_only=True)
class Trial:
    """What one run has taken.

    Attributes:
        plan: What was to be done.
        done: Jobs that have ended well.
        started: Starts that were charged in this run.
        took: Seconds.
        cpu: Seconds of CPU of the client, all of its threads, without its imports.
        peak: The most memory of the client, in bytes.
        server_cpu: Seconds of CPU of the sandbox.
    """

    plan: Plan
    done: int
    bought: int = 0
    took: float
    cpu: float
    peak: int
    server_cpu: float = 0.0


def attempt(plan: Plan, house: House) -> Trial:
    """Run it once.

    Raises:
        EOFError: The client has failed, and said why.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    before = house.report()
    client = context.Process(target=_measure, args=(there, plan, house.url, house.token), daemon=True)
    client.start()
    there.close()  # so that the end of that process is an EOFError here
    try:
        trial: Trial = here.recv()
    finally:
        client.join(30)
        client.terminate()
        client.join()
    after = house.report()
    return attrs.evolve(trial, bought=after.charged - before.charged, server_cpu=after.cpu - before.cpu)


def _measure(pipe: Connection, plan: Plan, url: str, token: str) -> None:
    """Run a plan in this process, and tell what it has taken."""
    client = importlib.import_module(f".{plan.kind}", __package__)
    began, cpu = time.monotonic(), _cpu()
    done = asyncio.run(client.run(plan, url, token))
    trial = Trial(plan=plan, done=done, took=time.monotonic() - began, cpu=_cpu() - cpu, peak=_peak())
    pipe.send(trial)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak() -> int:
    """Return the most memory that this process ever had, in bytes."""
    with contextlib.suppress(OSError):  # Linux passes ru_maxrss on to whom one starts, and VmHWM not
        for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

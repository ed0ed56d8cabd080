"""Ctrl-C: the first one lets the batch end itself, the second one leaves at once. Both say how to go on."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from a2e_async.batch import JournalReader
from a2e_async.cli.batch_words import several
from a2e_async.errors import JournalError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Coroutine

__all__ = ["left_alive", "run_interruptible"]

_INTERRUPTED = 130


def run_interruptible(work: Coroutine[Any, Any, int], explain: Callable[[], None]) -> int:
    """Run until the end, or until Ctrl-C; return the exit code.

    Args:
        work: What to do. Ctrl-C cancels it.
        explain: Says how to go on, after Ctrl-C.
    """
    ended = False

    async def main() -> int:
        nonlocal ended
        try:
            return await work
        finally:
            ended = True

    runner = asyncio.Runner()
    try:
        return runner.run(main())
    except KeyboardInterrupt:
        try:
            explain()
        finally:
            if not ended:
                _leave()
        return _INTERRUPTED
    finally:
        runner.close()


def _leave() -> None:
    """End the process without waiting for threads and answers: the journal is as safe as in a crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


def left_alive(journal: pathlib.Path) -> str:
    """Say how many tasks go on at A2E."""
    try:
        counts = asyncio.run(_counts(journal))
    except JournalError as error:
        return str(error)
    running, unknown = counts.get("running", 0), counts.get("sending", 0) + counts.get("uncertain", 0)
    alive = {0: "no task goes on at A2E", 1: "1 task goes on at A2E"}.get(running, f"{running} tasks go on at A2E")
    if unknown:
        alive += f"; whether A2E has accepted {several(unknown, 'start')}, the next run finds out"
    return alive


async def _counts(journal: pathlib.Path) -> dict[Any, int]:
    async with JournalReader.open(journal) as reader:
        return {**await reader.counts()}

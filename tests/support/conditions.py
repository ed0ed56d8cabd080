"""Waiting for conditions that have no event."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["block_until", "wait_until"]


async def wait_until(condition: Callable[[], object], *, seconds: float = 10.0, interval: float = 0.005) -> None:
    """Wait until a condition is true; fail after some seconds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(interval)


def block_until(condition: Callable[[], object]) -> None:
    """Block the thread until a condition of a process is true, in real time; fail after 30 seconds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

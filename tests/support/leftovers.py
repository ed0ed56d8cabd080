"""What a test leaves behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["threads_left"]

_PATIENCE = 10.0
"""Seconds for a thread that has done its work and is about to end: on a busy machine that takes its time."""


def threads_left(before: Collection[threading.Thread]) -> list[threading.Thread]:
    """Return the threads that run on and were not there before."""
    left = []
    for thread in set(threading.enumerate()).difference(before):
        if thread.name.startswith("asyncio_"):
            continue  # of asyncio's default executor, which ends with its loop: pytest-asyncio closes that last
        thread.join(_PATIENCE)
        if thread.is_alive():
            left.append(thread)
    return left

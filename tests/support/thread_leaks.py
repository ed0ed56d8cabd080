"""Check for threads that a test leaves running."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["leaked_threads"]

_JOIN_TIMEOUT = 10.0
"""Seconds for a thread that is about to end: on a busy machine this can take long."""


def leaked_threads(before: Collection[threading.Thread]) -> list[threading.Thread]:
    """Return the threads that still run and are not in `before`."""
    leaked = []
    for thread in set(threading.enumerate()).difference(before):
        if thread.name.startswith("asyncio_"):
            continue  # of asyncio's default executor, which ends with its loop: pytest-asyncio closes that last
        thread.join(_JOIN_TIMEOUT)
        if thread.is_alive():
            leaked.append(thread)
    return leaked

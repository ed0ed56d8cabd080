"""Readings of the clocks of a test on virtual time."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

from a2e_async.testing.clock import VirtualEventLoop

__all__ = ["now", "utc_now"]


def now() -> float:
    """Return the seconds since the test began, to the microsecond."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualEventLoop)
    return round(loop.clock.elapsed, 6)


def utc_now() -> dt.datetime:
    """Return the virtual time of day."""
    return dt.datetime.fromtimestamp(time.time(), dt.UTC)

"""An A2E that is out of reach, and how long each waiter puts up with it.

One timer serves all waiters, and gives up few of them at a time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

import attrs

from a2e_async._polling.queue import Waiter
from a2e_async.errors import OutageError

__all__ = ["Outage"]

_AT_A_TIME = 100
"""Waiters given up in one go, so that very many of them do not hold up the event loop."""


@attrs.define(eq=False, repr=False)
class Outage:
    """The outage of now, if there is one. Belongs to one event loop.

    Attributes:
        since: When it began, or None.
    """

    since: float | None = None
    _waiters: list[tuple[float, int, str, Waiter]] = attrs.field(factory=list)
    _gone: int = 0
    _order: itertools.count[int] = attrs.field(factory=itertools.count)
    _alarm: asyncio.TimerHandle | None = None
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)

    def begin(self) -> None:
        """Take note that A2E was out of reach just now."""
        if self.since is None:
            self.since = self._loop.time()

    def end(self) -> None:
        """Take note that A2E is there."""
        self.since = None

    def try_patience(self, task_id: str, waiter: Waiter) -> None:
        """Give a waiter up when its budget is used up, if the outage lasts until then. Asking twice does no harm."""
        if self.since is None or waiter.outage_budget is None or waiter.is_impatient or waiter.done.done():
            return
        waiter.is_impatient = True
        ends = max(self.since, waiter.began) + waiter.outage_budget
        heapq.heappush(self._waiters, (ends, next(self._order), task_id, waiter))
        if self._waiters[0][3] is waiter:
            self._arm()

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter that waits no longer, at the latest when as many have gone as have stayed."""
        if waiter.is_impatient:
            waiter.is_impatient, self._gone = False, self._gone + 1
            if self._gone * 2 > len(self._waiters):
                self._waiters = [entry for entry in self._waiters if entry[3].is_impatient]
                heapq.heapify(self._waiters)
                self._gone = 0
                self._arm()

    def stop(self) -> None:
        """Forget everybody, since nobody waits any more, and who will look finds out anew whether A2E is there."""
        self.since = None
        self._waiters.clear()
        self._gone = 0
        self._disarm()

    def _arm(self) -> None:
        self._disarm()
        if self._waiters:
            self._alarm = self._loop.call_at(self._waiters[0][0], self._ring)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        """Give up those whose time is over; those who were counted in an earlier outage are counted anew."""
        self._alarm, now = None, self._loop.time()
        for _ in range(_AT_A_TIME):
            if not self._waiters or self._waiters[0][0] > now:
                break
            _, _, task_id, waiter = heapq.heappop(self._waiters)
            if not waiter.is_impatient:
                self._gone -= 1
                continue
            waiter.is_impatient = False
            if self.since is None or now < max(self.since, waiter.began) + (waiter.outage_budget or 0.0):
                self.try_patience(task_id, waiter)
            else:
                waiter.fail(OutageError(task_id=task_id))
        self._arm()

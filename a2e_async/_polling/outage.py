"""The current outage of A2E, and the waits whose outage budgets it uses up.

One timer serves all waits. The heap of end times keeps cancelled entries until there are too many of them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

import attrs

from a2e_async._polling.queue import Waiter
from a2e_async.errors import OutageError

_CHUNK = 100  # waits ended in one pass of the event loop, so that very many of them do not block it


@attrs.define(eq=False, repr=False)
class Outage:
    """State of an outage. Belongs to one event loop.

    Attributes:
        since: Start of the outage, or None if there is none.
    """

    since: float | None = None
    _heap: list[tuple[float, int, str, Waiter]] = attrs.field(factory=list)
    _cancelled: int = 0
    _order: itertools.count[int] = attrs.field(factory=itertools.count)  # waits cannot be compared
    _timer: asyncio.TimerHandle | None = None
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)

    def begin(self) -> None:
        """Record that A2E could not be reached."""
        if self.since is None:
            self.since = self._loop.time()

    def end(self) -> None:
        """Record that A2E has answered."""
        # The timers stay: to cancel very many after each short outage costs more than a check when they fire.

        self.since = None

    def start_timer(self, task_id: str, waiter: Waiter) -> None:
        """Start the timer of a wait that ends with its budget, if there is an outage and no timer yet."""
        if self.since is None or waiter.outage_budget is None or waiter.has_timer or waiter.done.done():
            return
        waiter.has_timer = True
        ends = max(self.since, waiter.began) + waiter.outage_budget
        heapq.heappush(self._heap, (ends, next(self._order), task_id, waiter))
        if self._heap[0][3] is waiter:
            self._arm()

    def cancel_timer(self, waiter: Waiter) -> None:
        """Cancel the timer of a wait."""
        if waiter.has_timer:
            waiter.has_timer, self._cancelled = False, self._cancelled + 1
            # Removing one entry costs a pass over the heap. It is done once for half of the entries.
            if self._cancelled * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[3].has_timer]
                heapq.heapify(self._heap)
                self._cancelled = 0
                self._arm()

    def reset(self) -> None:
        """Drop all timers and the outage itself, since no task is polled any more."""
        self.since = None
        self._heap.clear()
        self._cancelled = 0
        self._disarm()

    def _arm(self) -> None:
        self._disarm()
        if self._heap:
            self._timer = self._loop.call_at(self._heap[0][0], self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        """End the waits whose budget is used up."""
        self._timer, now = None, self._loop.time()
        for _ in range(_CHUNK):
            if not self._heap or self._heap[0][0] > now:
                break
            _, _, task_id, waiter = heapq.heappop(self._heap)
            if not waiter.has_timer:
                self._cancelled -= 1
                continue
            waiter.has_timer = False
            # The timer may be from an earlier outage. Then the budget counts from the start of this one.
            if self.since is None or now < max(self.since, waiter.began) + (waiter.outage_budget or 0.0):
                self.start_timer(task_id, waiter)
            else:
                waiter.fail(OutageError(task_id=task_id))
        self._arm()

"""Poll queue of one family: the tasks that are waited for, their waits, and when each task is polled next.

`_polling/poller.py` moves the tasks through the queue.
"""

from __future__ import annotations

import asyncio
import collections
import copy
import itertools
from collections.abc import Callable
from typing import Any

import attrs

from a2e_async._polling.fetcher import StatusFetcher
from a2e_async.errors import A2EError


@attrs.define(eq=False, repr=False)
class Waiter:
    """One wait for a task.

    Attributes:
        on_record: Called with every record.
        on_error: Called with the error of every failed poll, whether or not it ends the wait.
        outage_budget: Seconds for which A2E may be unreachable before the wait ends; None for no limit.
        at_once: Poll at once, instead of after `PollPolicy.initial`.
        seen: A2E has returned a record of the task before.
        has_webhook: A webhook reports the end of the task.
        began: Start of the wait, by the event loop's clock.
        has_timer: `Outage` has a timer for the budget of this wait.
        done: Future of the last record, or of the error that ends the wait.
    """

    on_record: Callable[[Any], None]
    on_error: Callable[[A2EError], None]
    outage_budget: float | None = None
    at_once: bool = False
    seen: bool = False
    has_webhook: bool = False
    began: float = attrs.field(factory=lambda: asyncio.get_running_loop().time())
    has_timer: bool = False
    done: asyncio.Future[Any] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: A2EError) -> None:
        """End the wait with an error."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # marks it as retrieved: asyncio warns about an error if the wait was cancelled


@attrs.define(eq=False, repr=False)
class Watch:
    """A task that is waited for. It is either in a slot of the queue, or in a request in flight.

    Attributes:
        task_id: The task.
        queue: The queue of its family.
        began: Start of the first wait, from which the poll intervals count.
        has_webhook: A webhook reports the end of the task.
        seen: A2E has returned a record.
        is_expedited: Poll again at once after the request in flight.
        last_error: Class of the error of the last poll; None after a record.
        waiters: The waits for this task.
        slot: The tasks of one tick, or the urgent ones, among which this task is.
        tick: The tick of the slot.
        request: The request in flight.
    """

    task_id: str
    queue: FamilyQueue
    began: float
    has_webhook: bool = False
    seen: bool = False
    is_expedited: bool = False
    last_error: type[A2EError] | None = None
    waiters: list[Waiter] = attrs.field(factory=list)
    slot: dict[str, Watch] | None = None
    tick: int = 0
    request: PollRequest | None = None

    def unschedule(self) -> None:
        """Remove the task from its slot."""
        slot, self.slot = self.slot, None
        if slot is not None:
            slot.pop(self.task_id, None)
            # The slot of a tick is removed when it gets empty, so that the timer does not fire for it. The same tick
            # can have a newer slot: only this one may go.
            if not slot and self.queue.slots.get(self.tick) is slot:
                del self.queue.slots[self.tick]

    def fail(self, error: A2EError) -> None:
        """End all waits for the task with an error."""
        for waiter in self.waiters:
            # A copy for each wait, since raising an error writes the traceback into it.
            mine = copy.copy(error)
            mine.__cause__, mine.task_id = error.__cause__, self.task_id
            waiter.fail(mine)


@attrs.define(eq=False, repr=False)
class FamilyQueue:
    """Poll queue of one family.

    Attributes:
        fetcher: Fetches the records.
        watches: All tasks by id, which is unique within a family.
        slots: The tasks of each tick that is still to come. Dictionaries, since any task can leave at any time.
        urgent: Tasks to poll before all others.
        due: The slots of past ticks, the oldest first.
    """

    fetcher: StatusFetcher[Any]
    watches: dict[str, Watch] = attrs.field(factory=dict)
    slots: dict[int, dict[str, Watch]] = attrs.field(factory=dict)
    urgent: dict[str, Watch] = attrs.field(factory=dict)
    due: collections.deque[dict[str, Watch]] = attrs.field(factory=collections.deque)

    def collect_due(self, tick: int | None) -> None:
        """Make the tasks due whose tick is not later than this one; None for all."""
        for coming in sorted(self.slots):
            if tick is None or coming <= tick:
                self.due.append(self.slots.pop(coming))

    def pop_batch(self) -> list[Watch]:
        """Remove and return the tasks of the next request; none if no task is due."""
        while self.due and not self.due[0]:  # all tasks of this slot have left
            self.due.popleft()
        slots = (self.urgent, *self.due)
        if not any(slots):
            return []
        # Urgent tasks come first. The fetcher fills the batch with tasks that became due later.
        batch = [self.watches[id] for id in self.fetcher.next_batch(itertools.chain.from_iterable(slots))]
        for watch in batch:
            watch.unschedule()
        return batch


@attrs.define(eq=False, repr=False)
class PollRequest:
    """A request in flight.

    Attributes:
        sent: When it was sent, by the event loop's clock.
        pending: Its tasks without a result so far.
        task: The asyncio task that runs it.
    """

    sent: float
    pending: dict[str, Watch]
    task: asyncio.Task[None] | None = None

"""What the poller keeps: the waits, their tasks, the queue of each family, and the requests in flight."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable
from typing import Any

import attrs

from a2e_async._polling.durations import Durations
from a2e_async._polling.fetcher import StatusFetcher
from a2e_async._polling.schedule import BATCH_SIZE
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskStatus


@attrs.define(eq=False, repr=False)
class Waiter:
    """One wait for a task. A subclass can look at the results of the polls.

    Attributes:
        outage_budget: Seconds for which A2E may be unreachable before the wait ends; None for no limit.
        deadline: End of the wait's timeout, by the event loop's clock; None for no limit. Waits with the same one share
            a timer.
        at_once: Poll at once, instead of after `PollPolicy.initial`.
        seen: A2E has returned a record of the task before.
        wants_changes: It needs each change of the record, and not only the end.
        has_webhook: A webhook reports the end of the task.
        began: Start of the wait, by the event loop's clock.
        watch: Its task; None before and after the subscription.
        last_chance_at: When the timer fired much too late; None if it has not. The wait ends with the first poll that
            is sent after this time.
        done: Future of the last record, or of the error that ends the wait.
    """

    outage_budget: float | None = None
    deadline: float | None = None
    at_once: bool = False
    seen: bool = False
    wants_changes: bool = False
    has_webhook: bool = False
    began: float = attrs.field(factory=lambda: asyncio.get_running_loop().time())
    watch: Watch | None = None
    last_chance_at: float | None = None
    done: asyncio.Future[Any] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())

    def on_record(self, record: Any) -> Any:  # noqa: ANN401  the record of the family
        """Take a record, and return the one to keep, such as an equal one that there is already."""
        return record

    def on_error(self, error: A2EError) -> None:
        """Take the error of a failed poll, whether or not it ends the wait."""

    @property
    def outcome(self) -> str:
        """The status of the finished task, or the class of the error that has ended the wait."""
        if not self.done.done():
            return "left"  # such as a loop over the updates
        if self.done.cancelled():
            return "CancelledError"
        error = self.done.exception()
        return str(self.done.result().status) if error is None else type(error).__name__

    def unsubscribe(self) -> None:
        """Stop polling for the wait. Every wait must call it, whether or not it has a result; again does no harm."""
        if self.watch is not None:
            self.watch.queue.unsubscribe(self, self.watch)
            self.watch = None

    def fail(self, error: A2EError) -> None:
        """End the wait with an error."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # marks it as retrieved: asyncio warns about an error if the wait was cancelled


@attrs.define(eq=False, repr=False)
class Watch:
    """A task that is waited for. It is either scheduled, or in a request in flight.

    Attributes:
        task_id: The task.
        queue: The queue of its family.
        began: Start of the first wait, from which the poll intervals count.
        has_webhook: A webhook reports the end of the task.
        seen: A2E has returned a record.
        status: Status of the last record; None before the first one.
        word: Its raw word.
        is_expedited: Poll again at once after the request in flight.
        last_error: Class of the error of the last poll; None after a record.
        waiters: The waits for this task.
        at: The tick for which it is scheduled, -inf for at once; None if it is not scheduled.
        request: The request in flight.
        polled_at: When the poll was sent that has brought the last record, by the event loop's clock.
        record: That record; None before the first one, and after a change of the task.
        early: From when on it wants a place in a request.
        usual: When it is due, if it is in flight earlier than that.
        is_likely: It was likely to end before the next usual poll.
        turns: See `Plan.turns`.
        durations: When tasks like this one end; None before the first record.
        born: When A2E has accepted the task, by the event loop's clock.
    """

    task_id: str
    queue: FamilyQueue
    began: float
    has_webhook: bool = False
    seen: bool = False
    status: TaskStatus | None = None
    word: str = ""
    is_expedited: bool = False
    last_error: type[A2EError] | None = None
    waiters: list[Waiter] = attrs.field(factory=list)
    at: float | None = None
    request: PollRequest | None = None
    polled_at: float = 0.0
    record: Any = None
    early: float | None = None
    usual: float | None = None
    is_likely: bool = False
    turns: int = 0
    durations: Durations | None = None
    born: float = 0.0

    def fail(self, error: A2EError) -> None:
        """End all waits for the task with an error."""
        for waiter in self.waiters:
            # A copy for each wait, since raising an error writes the traceback into it.
            mine = copy.copy(error)
            mine.__cause__, mine.task_id = error.__cause__, self.task_id
            waiter.fail(mine)


class FamilyQueue:
    """Poll queue of one family.

    Attributes:
        fetcher: Fetches the records.
        unsubscribe: Ends a subscription; for `Waiter.unsubscribe`.
        watches: All tasks by id, which is unique within a family.
        ended: The last records of the tasks that have ended lately, each with its `Watch.polled_at`.
        family: Its key.
        kinds: The kinds by the price of the tasks. A record does not name its model, nor the length of its
            video; but the price is that of both.
        slots: The ids of the tasks that are scheduled for each tick. Dictionaries, since any task can leave at any time
            and the first come first; and of ids, since the garbage collector would walk through the tasks of each new
            slot.
        early: Those of the tasks that want a place in a request from a tick on. They are in `slots` as well.
        due: How many tasks were due at the last tick.
        skipped: Tick -> polls that are left out then.
        saved: Requests that may be sent for tasks which are not due yet.
    """

    def __init__(self, fetcher: StatusFetcher, family: str, unsubscribe: Callable[[Waiter, Watch], None]) -> None:
        self.fetcher, self.family, self.unsubscribe = fetcher, family, unsubscribe
        self.watches: dict[str, Watch] = {}
        self.slots: dict[float, dict[str, None]] = {}
        self.early: dict[float, dict[str, None]] = {}
        self.due = 0
        self.skipped: dict[float, int] = {}
        self.saved = 0.0
        self.ended: dict[str, tuple[float, Any]] = {}
        self.kinds: dict[float | None, Durations] = {}

    def on_tick(self, now: float) -> None:
        """Count what is due, and the requests that are saved by the polls that are left out."""
        self.due = sum(len(slot) for at, slot in self.slots.items() if at <= now)
        skipped = sum([self.skipped.pop(at) for at in [*self.skipped] if at <= now])
        if skipped:
            self.saved += math.ceil((self.due + skipped) / BATCH_SIZE) - math.ceil(self.due / BATCH_SIZE)


@attrs.define(eq=False, repr=False)
class PollRequest:
    """A request in flight.

    Attributes:
        queue: The queue of its family.
        ids: Its tasks.
        sent: When it was sent, by the event loop's clock.
        pending: Its tasks without a result so far that are still waited for.
        task: The asyncio task that runs it. It returns the tasks without a result that have to be polled again at once.
    """

    queue: FamilyQueue
    ids: list[str]
    sent: float
    pending: dict[str, Watch]
    task: asyncio.Task[list[str]] | None = None

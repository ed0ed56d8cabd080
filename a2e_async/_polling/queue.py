"""What the poller keeps: the waits, their tasks, the queue of each family, and the requests in flight."""

from __future__ import annotations

import asyncio
import copy
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
        deadline: End of the wait's timeout, by the event loop's clock; None for no limit.
        at_once: Poll at once, instead of after `PollPolicy.initial`.
        seen: A2E has returned a record of the task before.
        has_webhook: A webhook reports the end of the task.
        began: Start of the wait, by the event loop's clock.
        timer: The timer of the deadline.
        last_chance_at: When the timer fired much too late; None if it has not. The wait ends with the first poll that
            is sent after this time.
        done: Future of the last record, or of the error that ends the wait.
    """

    on_record: Callable[[Any], None]
    on_error: Callable[[A2EError], None]
    outage_budget: float | None = None
    deadline: float | None = None
    at_once: bool = False
    seen: bool = False
    has_webhook: bool = False
    began: float = attrs.field(factory=lambda: asyncio.get_running_loop().time())
    timer: asyncio.TimerHandle | None = None
    last_chance_at: float | None = None
    done: asyncio.Future[Any] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())

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
        is_expedited: Poll again at once after the request in flight.
        last_error: Class of the error of the last poll; None after a record.
        waiters: The waits for this task.
        at: The tick for which it is scheduled, -inf for at once; None if it is not scheduled.
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
    at: float | None = None
    request: PollRequest | None = None

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
        slots: The scheduled tasks of each tick. Dictionaries, since any task can leave at any time.
    """

    fetcher: StatusFetcher
    watches: dict[str, Watch] = attrs.field(factory=dict)
    slots: dict[float, dict[str, Watch]] = attrs.field(factory=dict)


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

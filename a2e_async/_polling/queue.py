"""Who waits for which task, and where each task stands in line. `_polling/poller.py` moves them."""

from __future__ import annotations

import asyncio
import collections
import copy
import itertools
from collections.abc import Callable
from typing import Any

import attrs

from a2e_async._polling.fetcher import Inquiry
from a2e_async.errors import A2EError

__all__ = ["Kind", "Question", "Waiter", "Watch", "fail", "leave_place"]


@attrs.define(eq=False, repr=False)
class Waiter:
    """Somebody who waits for a task.

    Attributes:
        on_record: Hears of every record.
        on_trouble: Hears of all trouble, be it the end of the wait or not.
        outage_budget: Seconds for which A2E may be out of reach before this wait is given up; None for ever.
        at_once: Ask without waiting first.
        seen: A2E has shown the task before.
        hooked: A webhook will tell when the task ends.
        done: Becomes the last record, or the error that ends the wait.
    """

    on_record: Callable[[Any], None]
    on_trouble: Callable[[A2EError], None]
    outage_budget: float | None = None
    at_once: bool = False
    seen: bool = False
    hooked: bool = False
    began: float = attrs.field(factory=lambda: asyncio.get_running_loop().time())
    is_impatient: bool = False
    done: asyncio.Future[Any] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: A2EError) -> None:
        """End the wait with an error."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever does not look any more has left, which is no mistake


@attrs.define(eq=False, repr=False)
class Watch:
    """A task that is waited for: due at some tick (`place`), or being asked about (`question`)."""

    task_id: str
    kind: Kind
    began: float
    hooked: bool = False
    seen: bool = False
    hasten: bool = False
    last: type[A2EError] | None = None
    waiters: list[Waiter] = attrs.field(factory=list)
    place: dict[str, Watch] | None = None
    tick: int = 0
    question: Question | None = None


@attrs.define(eq=False, repr=False)
class Kind:
    """The tasks of one kind; ids are unique within it. `due` are those of the ticks that have come, in their order."""

    inquiry: Inquiry[Any]
    watches: dict[str, Watch] = attrs.field(factory=dict)
    schedule: dict[int, dict[str, Watch]] = attrs.field(factory=dict)
    urgent: dict[str, Watch] = attrs.field(factory=dict)
    due: collections.deque[dict[str, Watch]] = attrs.field(factory=collections.deque)

    def fall_due(self, tick: int | None) -> None:
        """Let those be due whose tick has come; None for all."""
        for coming in sorted(self.schedule):
            if tick is None or coming <= tick:
                self.due.append(self.schedule.pop(coming))

    def take(self) -> list[Watch]:
        """Take those out of line who share the next question; none if nobody is due."""
        while self.due and not self.due[0]:
            self.due.popleft()
        places = (self.urgent, *self.due)
        if not any(places):
            return []
        chosen = [self.watches[task_id] for task_id in self.inquiry.choose(itertools.chain.from_iterable(places))]
        for watch in chosen:
            leave_place(watch)
        return chosen


@attrs.define(eq=False, repr=False)
class Question:
    """A question under way. `about` are the tasks of which nothing was heard yet."""

    asked: float
    about: dict[str, Watch]
    task: asyncio.Task[None] | None = None


def leave_place(watch: Watch) -> None:
    """Take a task out of line."""
    place, watch.place = watch.place, None
    if place is not None:
        place.pop(watch.task_id, None)
        if not place and watch.kind.schedule.get(watch.tick) is place:
            del watch.kind.schedule[watch.tick]


def fail(watch: Watch, error: A2EError) -> None:
    """End the waits for a task, each with an error of its own, since every raise writes into it."""
    for waiter in watch.waiters:
        mine = copy.copy(error)
        mine.__cause__, mine.task_id = error.__cause__, watch.task_id
        waiter.fail(mine)

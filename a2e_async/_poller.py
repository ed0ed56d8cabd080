"""One loop asks about every task that is waited for; many waiters share each answer. Nobody else polls.

What an answer means and when to ask again is decided by `_protocol/polling.py`. A waiter can time out or be cancelled
at any moment: it just leaves, and when the last one of a task has left, the task is no longer asked about.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import heapq
import itertools
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from a2e_async._protocol.polling import is_outage, next_look, verdict
from a2e_async.errors import A2EError, ClientClosedError, OutageError
from a2e_async.models.common import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from a2e_async.config import PollPolicy

__all__ = ["Poller", "Waiter"]

R = TypeVar("R", bound=TaskRecord)


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits for a task.

    Attributes:
        on_record: Hears of every record.
        on_trouble: Hears of all trouble, be it the end of the wait or not.
        outage_budget: Seconds for which A2E may be out of reach before this wait is given up; None for ever.
        at_once: Ask without waiting first.
        seen: A2E has shown the task before.
    """

    on_record: Callable[[Any], None]
    on_trouble: Callable[[A2EError], None]
    outage_budget: float | None = None
    at_once: bool = False
    seen: bool = False
    began: float = attrs.field(factory=lambda: asyncio.get_running_loop().time())
    alarm: asyncio.TimerHandle | None = None
    done: asyncio.Future[Any] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())


@attrs.define(eq=False)
class _Watch:
    """A task that is waited for."""

    task_id: str
    ask: Callable[[str], Awaitable[TaskRecord]]
    began: float
    seen: bool = False
    last: type[A2EError] | None = None
    waiters: set[Waiter] = attrs.field(factory=set)
    question: asyncio.Task[None] | None = None


@attrs.define(eq=False)
class Poller:
    """The only one who asks how tasks are doing. Belongs to one event loop."""

    policy: PollPolicy
    _watches: dict[tuple[str, str], _Watch] = attrs.field(factory=dict)
    _schedule: list[tuple[float, int, _Watch]] = attrs.field(factory=list)
    _order: itertools.count[int] = attrs.field(factory=itertools.count)
    _asking: set[asyncio.Task[None]] = attrs.field(factory=set)
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)
    _loop: asyncio.Task[None] | None = None
    _out_since: float | None = None

    async def wait(self, family: str, task_id: str, ask: Callable[[str], Awaitable[R]], waiter: Waiter) -> R:
        """Wait until a task is final and return its last record, be it a success or a failure.

        Args:
            family: What kind of task it is; ids are unique within it.
            task_id: The task's id.
            ask: Reads its record from A2E.
            waiter: Who waits.

        Raises:
            OutageError: A2E was out of reach for longer than the waiter's budget.
            A2EError: A2E's answer says that waiting longer makes no sense, or the client was closed.
        """
        watch = self._watches.get((family, task_id))
        if watch is None:
            now = asyncio.get_running_loop().time()
            watch = self._watches[family, task_id] = _Watch(task_id, ask, began=now)
            self._put(watch, now if waiter.at_once else now + self.policy.initial)
        watch.waiters.add(waiter)
        watch.seen = watch.seen or waiter.seen
        if self._out_since is not None:
            self._lose_patience(watch, waiter, self._out_since)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run(), name="a2e-poller")
        try:
            result: R = await waiter.done
        finally:
            watch.waiters.discard(waiter)
            if waiter.alarm is not None:
                waiter.alarm.cancel()
            if not watch.waiters and self._watches.get((family, task_id)) is watch:
                self._forget(family, watch)
        return result

    async def aclose(self) -> None:
        """Wake everybody who waits, and stop."""
        for watch in self._watches.values():
            for waiter in watch.waiters:
                if not waiter.done.done():
                    msg = "The client was closed while this task was waited for; it goes on: pick it up with task(id)"
                    waiter.done.set_exception(ClientClosedError(msg, task_id=watch.task_id))
        self._watches.clear()
        mine = [*self._asking, *([self._loop] if self._loop is not None else [])]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    def _put(self, watch: _Watch, due: float) -> None:
        heapq.heappush(self._schedule, (due, next(self._order), watch))
        self._news.set()

    def _forget(self, family: str, watch: _Watch) -> None:
        del self._watches[family, watch.task_id]
        if watch.question is not None:
            watch.question.cancel()
        self._news.set()

    async def _run(self) -> None:
        while self._watches:
            self._news.clear()
            pause = self._ask_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
        self._schedule.clear()

    def _ask_due(self) -> float | None:
        """Begin the questions that are due; return the seconds until the next one, None if only news can tell."""
        now = asyncio.get_running_loop().time()
        while self._schedule and len(self._asking) < self.policy.max_at_once:
            due, _, watch = self._schedule[0]
            if not watch.waiters:
                heapq.heappop(self._schedule)
                continue
            if due > now:
                return due - now
            heapq.heappop(self._schedule)
            question = asyncio.create_task(self._ask(watch), name=f"a2e-ask-{watch.task_id}")
            watch.question = question
            self._asking.add(question)
            question.add_done_callback(self._answered)
        return None

    def _answered(self, question: asyncio.Task[None]) -> None:
        self._asking.discard(question)
        self._news.set()

    async def _ask(self, watch: _Watch) -> None:
        clock = asyncio.get_running_loop().time
        trouble: A2EError | None = None
        try:
            record = await watch.ask(watch.task_id)
        except A2EError as error:
            trouble = error
        except Exception as error:  # noqa: BLE001  a bug of ours must not leave anybody waiting for ever
            _fail(watch, error)
        else:
            self._out_since = watch.last = None
            _tell(watch, record)
        finally:  # also if a foreign cancellation took the question away
            watch.question = None
            self._put(watch, next_look(self.policy, began=watch.began, now=clock(), trouble=trouble))
        if trouble is not None:
            self._meet(watch, trouble)

    def _meet(self, watch: _Watch, trouble: A2EError) -> None:
        """Judge trouble with a question: it ends the waits, uses up their patience, or only delays them."""
        now = asyncio.get_running_loop().time()
        repeated, watch.last = type(trouble) is watch.last, type(trouble)
        end = verdict(trouble, self.policy, began=watch.began, now=now, seen=watch.seen, repeated=repeated)
        if end is not None:
            _fail(watch, end)
        elif not is_outage(trouble):
            self._out_since = None  # A2E is there, even if it has nothing good to say
        elif self._out_since is None:
            self._out_since = now
        for waiter in watch.waiters:
            waiter.on_trouble(trouble)
            if self._out_since is not None and waiter.alarm is None:
                self._lose_patience(watch, waiter, self._out_since)

    def _lose_patience(self, watch: _Watch, waiter: Waiter, out_since: float) -> None:
        """Give a wait up if its budget is used up, else look again when it could be."""
        waiter.alarm = None
        if waiter.outage_budget is None or waiter.done.done():
            return
        loop = asyncio.get_running_loop()
        ends = max(out_since, waiter.began) + waiter.outage_budget
        if loop.time() >= ends:
            waiter.done.set_exception(OutageError(task_id=watch.task_id))
        else:
            waiter.alarm = loop.call_at(ends, self._ring, watch, waiter)

    def _ring(self, watch: _Watch, waiter: Waiter) -> None:
        waiter.alarm = None
        if self._out_since is not None:  # it may have been another outage that set the alarm
            self._lose_patience(watch, waiter, self._out_since)


def _tell(watch: _Watch, record: TaskRecord) -> None:
    watch.seen = True
    for waiter in watch.waiters:
        waiter.on_record(record)
        if record.status.is_final and not waiter.done.done():
            waiter.done.set_result(record)


def _fail(watch: _Watch, error: Exception) -> None:
    for waiter in watch.waiters:
        if not waiter.done.done():
            waiter.done.set_exception(_own(error))


def _own(error: Exception) -> Exception:
    """Copy an exception for one waiter, since every raise writes into it. Those of others may not be copyable."""
    try:
        mine = copy.copy(error)
    except Exception:  # noqa: BLE001  whatever a foreign class does when it is copied
        return error
    mine.__cause__ = error.__cause__
    return mine

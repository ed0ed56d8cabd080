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

from a2e_async._protocol.polling import ends_wait, next_look
from a2e_async.errors import A2EError, ClientClosedError, NetworkError
from a2e_async.models.common import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from a2e_async.config import PollPolicy

__all__ = ["Poller", "Waiter"]

R = TypeVar("R", bound=TaskRecord)


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits for a task, and wants to hear of every answer meanwhile; `at_once` does not wait to ask."""

    on_record: Callable[[Any], None]
    on_trouble: Callable[[A2EError], None]
    at_once: bool = False
    done: asyncio.Future[Any] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())


@attrs.define(eq=False)
class _Watch:
    """A task that is waited for."""

    task_id: str
    ask: Callable[[str], Awaitable[TaskRecord]]
    began: float
    seen: bool = False
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

    async def wait(self, family: str, task_id: str, ask: Callable[[str], Awaitable[R]], waiter: Waiter) -> R:
        """Wait until a task is final and return its last record, be it a success or a failure.

        Args:
            family: What kind of task it is; ids are unique within it.
            task_id: The task's id.
            ask: Reads its record from A2E.
            waiter: Hears of every record, and of all trouble that does not end the wait.

        Raises:
            A2EError: A2E's answer says that waiting longer makes no sense, or the client was closed.
        """
        watch = self._watches.get((family, task_id))
        if watch is None:
            now = asyncio.get_running_loop().time()
            watch = self._watches[family, task_id] = _Watch(task_id, ask, began=now)
            self._put(watch, now if waiter.at_once else now + self.policy.initial)
        watch.waiters.add(waiter)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run(), name="a2e-poller")
        try:
            result: R = await waiter.done
        finally:
            watch.waiters.discard(waiter)
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
            async with asyncio.timeout(self.policy.answer_within):
                record = await watch.ask(watch.task_id)
        except TimeoutError:
            msg = f"A2E did not answer within {self.policy.answer_within:g} s"
            trouble = NetworkError(msg, task_id=watch.task_id)
        except A2EError as error:
            trouble = error
        except Exception as error:  # noqa: BLE001  a bug of ours must not leave anybody waiting for ever
            _fail(watch, error)
        else:
            _tell(watch, record)
        finally:  # also if a foreign cancellation took the question away
            watch.question = None
            self._put(watch, next_look(self.policy, began=watch.began, now=clock(), trouble=trouble))
        if trouble is not None:
            if ends_wait(trouble, self.policy, began=watch.began, now=clock(), seen=watch.seen):
                _fail(watch, trouble)
            for waiter in watch.waiters:
                waiter.on_trouble(trouble)


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

"""The shared schedule: which tasks are waited for, by whom, and when they are asked about. Nobody else polls.

Many waiters share each answer, and tasks that are due together share each question. A waiter can time out or be
cancelled at any moment: it just leaves, and when the last one of a task has left, the task is no longer asked about.
When to ask, and what an answer means for a wait, is decided by `_polling/schedule.py`; `_polling/fetcher.py` asks.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import logging
import math
import random
from collections.abc import Callable
from typing import Any

import attrs

from a2e_async._polling.fetcher import Answer, Inquiry, Questions
from a2e_async._polling.outage import Outage
from a2e_async._polling.queue import Kind, Question, Waiter, Watch, fail, leave_place
from a2e_async._polling.schedule import Ticks, is_outage, next_look, verdict
from a2e_async.config import PollPolicy
from a2e_async.errors import A2EError, ClientClosedError
from a2e_async.models.common import TaskRecord

__all__ = ["Poller"]

_LOGGER = logging.getLogger("a2e_async")

_AT_A_TIME = 100
"""Tasks whose waiters are woken in one go, so that closing with very many of them does not hold up the event loop."""

_ALL_AGAIN = 1.0
"""Seconds between two times that all tasks are hastened."""


@attrs.define(eq=False, repr=False)
class Poller:
    """The only one who asks how tasks are doing. Belongs to one event loop."""

    policy: PollPolicy
    _kinds: dict[str, Kind] = attrs.field(factory=dict)
    _turns: collections.deque[Kind] = attrs.field(factory=collections.deque)
    _ticks: Ticks | None = None
    _alarm: asyncio.TimerHandle | None = None
    _alarm_at: int = 0
    _pump: asyncio.Handle | None = None
    _asking: dict[asyncio.Task[None], Question] = attrs.field(factory=dict)
    _all_hastened_at: float = -math.inf
    _all_again: asyncio.TimerHandle | None = None
    _outage: Outage = attrs.field(factory=Outage)
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)

    def join(
        self, family: str, task_id: str, questions: Callable[[], Questions[Any]], waiter: Waiter
    ) -> Callable[[], None]:
        """Let somebody wait for a task; `waiter.done` becomes its last record, be it a success or a failure.

        Args:
            family: What kind of task it is; ids are unique within it.
            task_id: The task's id.
            questions: Makes the questions that tasks of its kind can be asked; is called once.
            waiter: Who waits.

        Returns:
            What the waiter has to call when it waits no longer, however that came about.
        """
        kind = self._kinds.get(family)
        if kind is None:
            kind = self._kinds[family] = Kind(Inquiry(questions()))
            self._turns.append(kind)
        watch = kind.watches.get(task_id)
        if watch is None:
            watch = self._watch(kind, task_id, waiter)
        elif waiter.at_once or (watch.hooked and not waiter.hooked):  # who came knows less, be it of a webhook
            watch.hooked = watch.hooked and waiter.hooked
            self._hasten(watch)
        watch.waiters.append(waiter)
        watch.seen = watch.seen or waiter.seen
        self._outage.try_patience(task_id, waiter)
        return functools.partial(self._leave, watch, waiter)

    def _watch(self, kind: Kind, task_id: str, waiter: Waiter) -> Watch:
        now = self._loop.time()
        if self._ticks is None:
            self._ticks = Ticks.of(self.policy, now=now, chance=random.random())  # noqa: S311  no secret
        watch = kind.watches[task_id] = Watch(task_id, kind, now, waiter.hooked)
        if waiter.at_once:
            self._hasten(watch)
        else:
            self._put(watch, self._ticks.first(now + self.policy.initial))
        return watch

    def _leave(self, watch: Watch, waiter: Waiter) -> None:
        self._outage.leave(waiter)
        if waiter in watch.waiters:
            watch.waiters.remove(waiter)
        if not watch.waiters:
            self._drop(watch)

    def is_awaited(self, task_id: str | None) -> bool:
        """Tell whether anybody waits for a task with this id, None for any task at all. Any thread may ask."""
        kinds = [*self._kinds.values()]
        return any(bool(kind.watches) if task_id is None else task_id in kind.watches for kind in kinds)

    def nudge(self, task_id: str | None = None) -> None:
        """Ask now about the tasks with an id, None for all that are waited for."""
        if task_id is None:
            self._hasten_all()
            return
        for kind in self._kinds.values():
            watch = kind.watches.get(task_id)
            if watch is not None:
                watch.began, watch.hooked = self._loop.time(), False  # if it is not finished, it will be very soon
                self._hasten(watch)

    async def aclose(self) -> None:
        """Wake everybody who waits, and stop."""
        self._stop()
        asking = [*self._asking]
        for task in asking:
            task.cancel()
        watches = [watch for kind in self._kinds.values() for watch in kind.watches.values()]
        self._kinds.clear()
        self._turns.clear()
        msg = "The client was closed while this task was waited for; it goes on: pick it up with task(id)"
        try:
            while watches:
                fail(watches.pop(), ClientClosedError(msg))
                if len(watches) % _AT_A_TIME == 0:
                    await asyncio.sleep(0)
            await asyncio.gather(*asking, return_exceptions=True)
        finally:  # also if closing is cancelled: nobody may be left waiting
            while watches:
                fail(watches.pop(), ClientClosedError(msg))

    # the schedule

    def _put(self, watch: Watch, tick: int) -> None:
        watch.place, watch.tick = watch.kind.schedule.setdefault(tick, {}), tick
        watch.place[watch.task_id] = watch
        if self._alarm is None or tick < self._alarm_at:
            self._arm(tick)

    def _hasten(self, watch: Watch) -> None:
        if watch.question is not None:
            watch.hasten = True
        elif watch.place is not watch.kind.urgent:
            leave_place(watch)
            watch.place = watch.kind.urgent
            watch.place[watch.task_id] = watch
            self._soon()

    def _hasten_all(self) -> None:
        """Let all be due, but not more often than every second: then those who come in between share one time."""
        if self._all_again is not None:
            return
        now = self._loop.time()
        if now < self._all_hastened_at + _ALL_AGAIN:
            self._all_again = self._loop.call_at(self._all_hastened_at + _ALL_AGAIN, self._hasten_all_again)
            return
        self._all_hastened_at = now
        for kind in self._kinds.values():
            kind.fall_due(None)
        for question in self._asking.values():
            for watch in question.about.values():
                watch.hasten = True
        self._soon()

    def _hasten_all_again(self) -> None:
        self._all_again, self._all_hastened_at = None, -math.inf
        self._hasten_all()

    def _arm(self, tick: int) -> None:
        assert self._ticks is not None  # noqa: S101  for mypy: it begins with the first watch
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = self._loop.call_at(self._ticks.at(tick), self._tick), tick

    def _tick(self) -> None:
        """Let those be due whose tick has come, and come again at the next one that is anybody's."""
        assert self._ticks is not None  # noqa: S101  as above
        self._alarm = None
        now = max(self._ticks.last(self._loop.time()), self._alarm_at)
        for kind in self._kinds.values():
            kind.fall_due(now)
        coming = [tick for kind in self._kinds.values() for tick in kind.schedule]
        if coming:
            self._arm(min(coming))
        self._ask_due()

    def _soon(self) -> None:
        """Ask in a moment, so that whoever comes until then shares the question."""
        if self._pump is None:
            self._pump = self._loop.call_soon(self._ask_due)

    def _ask_due(self) -> None:
        """Begin the questions that are due, as many as may be under way; the families take turns."""
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        idle = 0
        while idle < len(self._turns) and len(self._asking) < self.policy.max_at_once:
            kind = self._turns[0]
            self._turns.rotate(-1)
            watches = kind.take()
            idle = 0 if watches else idle + 1
            if watches:
                self._ask(kind, watches)

    def _drop(self, watch: Watch) -> None:
        """Stop asking about a task. Doing it twice does no harm."""
        kind = watch.kind
        if kind.watches.get(watch.task_id) is not watch:
            return
        del kind.watches[watch.task_id]
        leave_place(watch)
        kind.inquiry.forget(watch.task_id)
        question, watch.question = watch.question, None
        if question is not None:
            question.about.pop(watch.task_id, None)
            if not question.about and question.task is not None:
                question.task.cancel()
        if not any(kind.watches for kind in self._kinds.values()):
            self._stop()

    def _stop(self) -> None:
        """Let the beat end; the next waiter begins another one."""
        self._outage.stop()
        for handle in (self._alarm, self._pump, self._all_again):
            if handle is not None:
                handle.cancel()
        self._alarm = self._pump = self._all_again = self._ticks = None
        for kind in self._kinds.values():
            kind.schedule.clear()
            kind.due.clear()

    # asking

    def _ask(self, kind: Kind, watches: list[Watch]) -> None:
        question = Question(self._loop.time(), {watch.task_id: watch for watch in watches})
        for watch in watches:
            watch.question = question
        question.task = asyncio.create_task(self._inquire(kind, question), name="a2e-ask")
        self._asking[question.task] = question
        question.task.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        question = self._asking.pop(task)
        for task_id in [*question.about]:  # somebody has taken the question away, perhaps before it began
            self._hear(question, task_id, None)
        self._soon()

    async def _inquire(self, kind: Kind, question: Question) -> None:
        ids = [*question.about]
        try:
            hear = functools.partial(self._hear, question)
            for task_id in await kind.inquiry.ask(ids, hear, waiting=len(kind.watches)):
                if task_id in question.about:
                    question.about[task_id].hasten = True
        except Exception as error:  # noqa: BLE001  a bug of ours must not leave anybody waiting for ever
            for watch in [*question.about.values()]:
                self._fail(watch, error)
        finally:
            for task_id in ids:
                if task_id not in kind.watches:
                    kind.inquiry.forget(task_id)

    def _hear(self, question: Question, task_id: str, answer: Answer) -> None:
        """Take in what was heard of a task, and put it in its place again if somebody waits on."""
        watch = question.about.pop(task_id, None)
        if watch is None:
            return  # nobody waits any longer
        watch.question = None
        trouble = answer if isinstance(answer, A2EError) else None
        try:
            self._tell(watch, answer)
        except Exception as error:  # noqa: BLE001  as above
            self._fail(watch, error)
        if watch.kind.watches.get(task_id) is not watch or self._ticks is None:
            return
        if watch.hasten:
            watch.hasten = False
            self._hasten(watch)
            return
        now, asked = self._loop.time(), question.asked
        began, hooked = watch.began, watch.hooked
        self._put(
            watch,
            next_look(self.policy, self._ticks, began=began, asked=asked, now=now, hooked=hooked, trouble=trouble),
        )

    def _tell(self, watch: Watch, answer: Answer) -> None:
        """Tell the waiters of a task what was heard of it."""
        if isinstance(answer, A2EError):
            self._meet(watch, answer)
        elif answer is not None:
            self._outage.end()
            watch.last = None
            self._show(watch, answer)

    def _fail(self, watch: Watch, bug: Exception) -> None:
        """End the waits for a task with an error of ours."""
        _LOGGER.error("Asking about task %s broke: %s", watch.task_id, type(bug).__name__)  # its text may quote
        msg = f"Asking about the task broke ({type(bug).__name__}); it goes on: wait_until_done() waits again"
        error = A2EError(msg)
        error.__cause__ = bug
        fail(watch, error)
        self._drop(watch)

    def _show(self, watch: Watch, record: TaskRecord) -> None:
        watch.seen = True
        for waiter in watch.waiters:
            waiter.on_record(record)
            if record.status.is_final and not waiter.done.done():
                waiter.done.set_result(record)
        if record.status.is_final:
            self._drop(watch)

    def _meet(self, watch: Watch, trouble: A2EError) -> None:
        """Judge trouble with a question: it ends the waits, uses up their patience, or only delays them."""
        now = self._loop.time()
        repeated, watch.last = type(trouble) is watch.last, type(trouble)
        end = verdict(trouble, self.policy, began=watch.began, now=now, seen=watch.seen, repeated=repeated)
        if end is None and is_outage(trouble):
            self._outage.begin()
        elif end is None:
            self._outage.end()  # A2E is there, even if it has nothing good to say
        for waiter in watch.waiters:
            waiter.on_trouble(trouble)
            self._outage.try_patience(watch.task_id, waiter)
        if end is not None:
            fail(watch, end)
            self._drop(watch)

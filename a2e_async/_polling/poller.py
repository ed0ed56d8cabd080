"""Poller of one client: one schedule for all waits for tasks of all families. Nothing else polls."""

# How it works:
#
# - A task that is waited for has one `Watch`, with a `Waiter` for each wait. All waits for a task share its polls.
# - A watch is scheduled for a tick, or in a request in flight. One timer fires at the next tick with tasks. The due
#   tasks of a family are then sent in batches of up to 100. Free places in a batch are for tasks that are likely to
#   have ended. The families take turns, and `PollPolicy.max_concurrent` limits the requests in flight.
# - Each result is delivered to all waits of its task. A final record ends them; after any other result `planner.py`
#   plans the next poll. `schedule.fatal_error` decides which errors end a wait. Other errors begin an outage, which
#   ends with the next response of A2E. During an outage the timer fires at every tick, and ends the waits whose budget
#   is used up.
# - The process can stand still: suspended, stopped by Ctrl-Z or a debugger, or with a blocked event loop. Then a timer
#   fires much too late. Nothing is given up before A2E has been polled once more: a wait whose timeout is over gets one
#   more poll, and an outage lasts no longer because of a standstill.
# - `poll_now` schedules a task at once. If it is in flight, it is polled once more, since the response may be older
#   than the call.
# - A wait can end at any moment, by a timeout or a cancellation. It then calls `Waiter.unsubscribe`. With the
#   last wait of a task its polling ends, and with the last task of a request the request is cancelled.
# - A bug of this package in one task ends the waits of that task with an error. No wait hangs.
# - The polls serve all waits, and outlive each of them. So the timers, and all that they start, run in an empty context
#   (`contextvars`): the context of the first wait, such as a web request with its user, would live on in them.

import asyncio
import collections
import contextvars
import functools
import itertools
import logging
import math
import random
from collections.abc import Callable, Iterator
from logging import DEBUG, INFO
from typing import Any

from a2e_async._observer import Observer, reason_of
from a2e_async._polling.durations import Durations
from a2e_async._polling.fetcher import PollResult, StatusFetcher, StatusReader
from a2e_async._polling.planner import learn, plan_poll, wake_quiet
from a2e_async._polling.queue import FamilyQueue, PollRequest, Waiter, Watch
from a2e_async._polling.schedule import BATCH_SIZE, TickGrid, fatal_error, is_budget_spent
from a2e_async._protocol.failures import failure_of
from a2e_async.config import PollPolicy
from a2e_async.errors import (
    A2EError,
    ClientClosedError,
    OutageError,
    WaitTimeoutError,
    private_texts,
    redact,
)
from a2e_async.events import (
    CoinsSpent,
    OutageBegan,
    OutageEnded,
    TaskChanged,
    TaskFinished,
    TasksPolled,
    WaitBegan,
    WaitEnded,
)
from a2e_async.models.common import TaskRecord

_LOGGER = logging.getLogger("a2e_async")

_CHUNK = 100  # waits ended in one pass of the event loop, so that very many do not block it

# Tasks that are scheduled to be polled at once in one pass, for the same reason: as many as fill some requests.
_MAX_EXPEDITED = 5 * BATCH_SIZE

_POLL_ALL_INTERVAL = 1.0  # seconds between two polls of all tasks at once

_LATE = 1.0  # seconds; a timer that fires later than that shows that the process has stood still

_STOPPING = "The application stops, and its client has ended all waits"

_MAX_ENDED = 256  # final records of a family that are kept for `Poller.record_of`: a page may ask again after the end

_MIN_EARLY = 50  # tasks that are likely to have ended, for which a saved request is worth sending

_AT_ONCE = -math.inf  # the slot of tasks that are polled before all others


class Poller:
    """Poller of one client. Belongs to one event loop."""

    def __init__(self, policy: PollPolicy, observer: Observer | None = None) -> None:
        self.policy = policy
        self.observer = Observer() if observer is None else observer
        self._queues: dict[str, FamilyQueue] = {}
        self._rotation: collections.deque[FamilyQueue] = collections.deque()
        self._ticks: TickGrid | None = None
        self._reached = -math.inf  # the tasks of slots up to this time are due
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Handle | None = None
        self._requests: dict[asyncio.Task[list[str]], PollRequest] = {}
        self._all_polled_at = -math.inf
        self._poll_all_timer: asyncio.TimerHandle | None = None
        self._outage_since: float | None = None
        self._stood_still_until = -math.inf
        self._is_polled_since = True  # a poll has ended that was sent after `_stood_still_until`
        self._budgets: collections.Counter[float] = collections.Counter()  # outage budgets -> waits
        self._deadlines: dict[float, tuple[asyncio.TimerHandle, dict[Waiter, None]]] = {}
        self._has_ended = False  # the application stops: no wait begins any more
        self._context = contextvars.Context()
        self._loop = asyncio.get_running_loop()

    def subscribe(
        self, family: str, task_id: str, reader: Callable[[], StatusReader], waiter: Waiter
    ) -> Callable[[], None]:
        """Start polling for a wait. `waiter.done` gets the final record of the task, or an error.

        Args:
            family: The family's key; ids are unique within it.
            task_id: The task's id.
            reader: Makes the reader of the family. Called for the first task of the family only.
            waiter: The wait.

        Returns:
            `Waiter.unsubscribe`, which the wait must call.

        Raises:
            ClientClosedError: The waits have ended, since the application stops.
        """
        if self._has_ended:
            msg = f"{_STOPPING}. The task goes on at A2E: pick it up with task(id)"
            raise ClientClosedError(msg, task_id=task_id)
        queue = self._queues.get(family)
        if queue is None:
            queue = self._queues[family] = FamilyQueue(StatusFetcher(reader()), family, self._unsubscribe)
            self._rotation.append(queue)
        now, watch = self._loop.time(), queue.watches.get(task_id)
        if self._ticks is None:
            self._ticks = TickGrid.of(self.policy, now=now, chance=random.random())  # noqa: S311  no secret
        # Case 1: the first wait for the task.
        if watch is None:
            watch = queue.watches[task_id] = Watch(task_id, queue, now, waiter.has_webhook)
            if waiter.at_once:
                self._expedite(watch)
            else:
                self._schedule(watch, self._ticks.next(now + self.policy.initial))
        # Case 2: the new wait must not wait for the next scheduled poll, either because the task may be finished
        # already, or because this handle has no webhook and the schedule relies on one, or leaves out polls.
        elif waiter.at_once or (watch.has_webhook and not waiter.has_webhook) or (waiter.wants_changes and watch.turns):
            watch.has_webhook = watch.has_webhook and waiter.has_webhook
            self._expedite(watch)
        # Case 3 (no branch): the new wait shares the polls that are scheduled.
        watch.waiters.append(waiter)
        waiter.watch = watch
        if waiter.deadline is not None:
            self._start_deadline(waiter, waiter.deadline)
        if waiter.outage_budget is not None:
            self._budgets[waiter.outage_budget] += 1
        watch.seen = watch.seen or waiter.seen
        self.observer.counts["waits"] += 1
        self.observer.counts["waits_begun"] += 1
        if self.observer.is_enabled(DEBUG):
            self.observer.publish(WaitBegan(task_id=task_id, family=family))
        return waiter.unsubscribe

    def _unsubscribe(self, waiter: Waiter, watch: Watch) -> None:
        """End a subscription, and the polling of the task if it was the last one."""
        self._stop_deadline(waiter)
        if waiter in watch.waiters:
            watch.waiters.remove(waiter)
            if waiter.outage_budget is not None:
                self._budgets[waiter.outage_budget] -= 1
                if not self._budgets[waiter.outage_budget]:
                    del self._budgets[waiter.outage_budget]
            self.observer.counts["waits"] -= 1
            if self.observer.is_enabled(DEBUG):
                ended: dict[str, Any] = {"outcome": waiter.outcome, "seconds": self._loop.time() - waiter.began}
                self.observer.publish(WaitEnded(task_id=watch.task_id, family=watch.queue.family, **ended))
        if not watch.waiters:
            self._drop(watch)

    def has_waiters(self, task_id: str | None) -> bool:
        """Return whether the task is waited for; None for any task. Can be called from any thread."""
        queues = [*self._queues.values()]  # the event loop may add a family meanwhile
        return any(bool(queue.watches) if task_id is None else task_id in queue.watches for queue in queues)

    def record_of(self, family: str, task_id: str, max_age: float) -> Any:  # noqa: ANN401  the record of the family
        """Return the last record of a task that is waited for, or that has ended lately; None if it is too old.

        Args:
            family: The family's key.
            task_id: The task's id.
            max_age: Seconds since the poll was sent that has brought the record, at most.
        """
        queue = self._queues.get(family)
        watch = None if queue is None else queue.watches.get(task_id)
        polled = None if watch is None or watch.record is None else (watch.polled_at, watch.record)
        if polled is None and queue is not None:
            polled = queue.ended.get(task_id)
        return polled[1] if polled is not None and self._loop.time() - polled[0] <= max_age else None

    def forget(self, family: str, task_id: str) -> None:
        """Forget the record of a task that is changed or deleted."""
        queue = self._queues.get(family)
        if queue is not None:
            queue.ended.pop(task_id, None)
        if queue is not None and task_id in queue.watches:
            queue.watches[task_id].record = None

    def poll_now(self, task_id: str | None = None) -> None:
        """Poll the tasks with this id at once; None for all tasks."""
        if task_id is None:
            self._poll_all()
            return
        for queue in self._queues.values():
            watch = queue.watches.get(task_id)
            if watch is not None:
                # The intervals start again from the shortest one, and the webhook has come: if the record is not final
                # yet, it will be very soon.
                watch.began, watch.has_webhook = self._loop.time(), False
                self._expedite(watch)

    async def end_all_waits(self) -> None:
        """End all waits with a `ClientClosedError`, also those that begin later, and stop polling."""
        self._has_ended = True
        await self.aclose(_STOPPING)

    async def aclose(self, reason: str = "The client was closed during the wait") -> None:
        """End all waits with a `ClientClosedError`, and stop polling."""
        self._stop()
        tasks = [*self._requests]
        for task in tasks:
            task.cancel()
        watches = [watch for queue in self._queues.values() for watch in queue.watches.values()]
        self._queues.clear()
        self._rotation.clear()
        msg = f"{reason}. The task goes on at A2E: pick it up with task(id)"
        try:
            while watches:
                watches.pop().fail(ClientClosedError(msg))
                if len(watches) % _CHUNK == 0:
                    await asyncio.sleep(0)
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # also if closing is cancelled: no wait may hang
            while watches:
                watches.pop().fail(ClientClosedError(msg))

    # The schedule

    def _schedule(self, watch: Watch, at: float | None, early: float | None = None) -> None:
        """Move a task to the slot of a tick, perhaps with an earlier one; None takes it out of the schedule."""
        queue = watch.queue
        for slots, slot in ((queue.slots, watch.at), (queue.early, watch.early)):
            if slot is not None:
                del slots[slot][watch.task_id]
                if not slots[slot]:  # else the timer would fire for an empty slot
                    del slots[slot]
        watch.at, watch.early = at, early
        for slots, slot in ((queue.slots, at), (queue.early, early)):
            if slot is not None:
                slots.setdefault(slot, {})[watch.task_id] = None
                if slot != _AT_ONCE:
                    self._start_timer(slot)

    def _expedite(self, watch: Watch) -> None:
        """Poll a task at once. If it is in a request, the response may be older than the reason to poll at once."""
        if watch.durations is not None:
            watch.durations.quiet.pop(watch.task_id, None)
        watch.usual = None
        if watch.request is not None:
            watch.is_expedited = True
        elif watch.at != _AT_ONCE:
            self._schedule(watch, _AT_ONCE)
            # Sent in the next pass of the event loop: waits that begin in this one share the request.
            self._send_soon()

    def _wake_quiet(self, queue: FamilyQueue, durations: Durations) -> None:
        """Poll the quiet tasks as if they had not been quiet: at once if they have left out a poll."""
        for watch, usual, is_late in wake_quiet(queue, durations, self._loop.time()):
            if is_late:
                self._expedite(watch)
                watch.usual = usual
            else:
                self._schedule(watch, usual)

    def _send_soon(self) -> None:
        if self._sending is None:
            self._sending = self._loop.call_soon(self._send_due, context=self._context)

    def _poll_all(self) -> None:
        """Poll all tasks, at most once a second: calls in between share one poll at the end of the second."""
        if self._poll_all_timer is not None:
            return
        now, next_at = self._loop.time(), self._all_polled_at + _POLL_ALL_INTERVAL
        if now < next_at:
            self._poll_all_timer = self._loop.call_at(next_at, self._poll_all_again, context=self._context)
            return
        self._all_polled_at = now
        self._expedite_all(iter([watch for queue in self._queues.values() for watch in queue.watches.values()]))

    def _expedite_all(self, watches: Iterator[Watch]) -> None:
        for number, watch in enumerate(watches, 1):
            if watch.queue.watches.get(watch.task_id) is watch:  # else all its waits have ended meanwhile
                self._expedite(watch)
            if number == _MAX_EXPEDITED:
                self._loop.call_soon(self._expedite_all, watches, context=self._context)
                break

    def _poll_all_again(self) -> None:
        self._poll_all_timer, self._all_polled_at = None, -math.inf
        self._poll_all()

    def _start_timer(self, at: float) -> None:
        """Let the timer fire at this time, if it does not fire earlier."""
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._on_timer, at, context=self._context)

    def _on_timer(self, at: float) -> None:
        """Send what is due, and start the timer of the next tick with tasks, or during an outage of the next tick."""
        now = self._loop.time()
        if now - at > _LATE:
            self._on_standstill(at, now)
        # A timer may fire a clock resolution early, by which the tick would not be reached yet.
        self._timer, self._reached = None, max(at, now)
        coming = []
        for queue in self._queues.values():
            coming += [at for at in (*queue.slots, *queue.early) if at > self._reached]
            queue.on_tick(self._reached)
        if self._outage_since is not None:
            coming.append(self._end_waits(self._outage_since))
        if coming:
            self._start_timer(min(coming))
        self._send_due()

    def _on_standstill(self, since: float, until: float) -> None:
        """Take the time in which the process stood still out of the outage budgets."""
        self._stood_still_until, self._is_polled_since = until, False
        if self._outage_since is not None:
            self._outage_since += until - since
        for queue in self._queues.values():
            for watch in queue.watches.values():
                for waiter in watch.waiters:
                    if waiter.began <= since:
                        waiter.began += until - since

    def _start_deadline(self, waiter: Waiter, at: float) -> None:
        waiter.deadline = at
        if at not in self._deadlines:
            self._deadlines[at] = self._loop.call_at(at, self._on_deadline, at, context=self._context), {}
        self._deadlines[at][1][waiter] = None

    def _stop_deadline(self, waiter: Waiter) -> None:
        if waiter.deadline in self._deadlines:
            timer, waiters = self._deadlines[waiter.deadline]
            waiters.pop(waiter, None)
            if not waiters:
                timer.cancel()
                del self._deadlines[waiter.deadline]

    def _on_deadline(self, at: float, fired: float | None = None) -> None:
        """End the waits whose timeout is over. If the timer fired much too late, poll their tasks once more before."""
        fired = self._loop.time() if fired is None else fired
        waiters = self._deadlines[at][1] if at in self._deadlines else {}
        for waiter in [*itertools.islice(waiters, _CHUNK)]:
            self._stop_deadline(waiter)
            assert waiter.watch is not None  # noqa: S101  for mypy: a wait that has ended has no deadline
            if fired - at <= _LATE or waiter.last_chance_at is not None:
                waiter.fail(WaitTimeoutError(task_id=waiter.watch.task_id))
            elif not waiter.done.done():
                waiter.last_chance_at = fired
                self._start_deadline(waiter, fired + self.policy.poll_timeout)
                self._expedite(waiter.watch)
        if at in self._deadlines:
            self._loop.call_soon(self._on_deadline, at, fired, context=self._context)

    def _end_waits(self, since: float) -> float:
        """End the waits whose outage budget is used up, and return when to look again."""
        assert self._ticks is not None  # noqa: S101  for mypy: the first watch has made it
        now = self._reached
        if not self._is_polled_since or now < since + min(self._budgets, default=math.inf):
            return now + self._ticks.length
        spent = (
            (watch, waiter)
            for queue in self._queues.values()
            for watch in queue.watches.values()
            for waiter in watch.waiters
            if not waiter.done.done()
            and is_budget_spent(waiter.outage_budget, since=since, began=waiter.began, now=now)
        )
        ended = 0
        for watch, waiter in itertools.islice(spent, _CHUNK):
            waiter.fail(OutageError(task_id=watch.task_id))
            ended += 1
        return now if ended == _CHUNK else now + self._ticks.length

    def _send_due(self) -> None:
        """Send the requests that are due, as many as are allowed in flight; the families take turns."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        idle = 0  # families in a row without a due task
        while idle < len(self._rotation) and len(self._requests) < self.policy.max_concurrent:
            queue = self._rotation[0]
            self._rotation.rotate(-1)
            ticks = sorted(at for at in queue.slots if at <= self._reached)
            due = [queue.slots[at] for at in ticks]
            early = [queue.early[at] for at in sorted(queue.early) if at <= self._reached]
            wanted = sum(map(len, early))
            if not due and not (wanted >= _MIN_EARLY and queue.saved >= math.ceil(wanted / BATCH_SIZE)):
                idle += 1
                continue
            idle = 0
            if not due:
                queue.saved -= 1.0
            # The oldest tasks come first. The fetcher fills the batch with tasks that became due later.
            watches = (queue.watches[task_id] for task_id in itertools.chain.from_iterable(early))
            likely = (watch.task_id for watch in watches if watch.at is not None and watch.at > self._reached)
            ids = queue.fetcher.next_batch(itertools.chain(itertools.chain.from_iterable(due), likely))
            request = PollRequest(queue, ids, self._loop.time(), {task_id: queue.watches[task_id] for task_id in ids})
            for watch in request.pending.values():
                if watch.at != _AT_ONCE:
                    watch.usual = watch.at if watch.at is not None and watch.at > self._reached else None
                if watch.turns and watch.durations is not None:
                    watch.durations.quiet.pop(watch.task_id, None)
                self._schedule(watch, None)
                watch.request = request
            on_result = functools.partial(self._on_result, request)
            self.observer.counts["polls"] += 1
            if self.observer.is_enabled(DEBUG):
                lag = 0.0 if not due or ticks[0] == _AT_ONCE else max(0.0, request.sent - ticks[0])
                self.observer.publish(TasksPolled(family=queue.family, count=len(ids), lag=lag))
            fetching = queue.fetcher.fetch(ids, on_result, waiting=len(queue.watches))
            request.task = asyncio.create_task(fetching, name="a2e-poll")
            self._requests[request.task] = request
            request.task.add_done_callback(self._on_request_done)

    def _drop(self, watch: Watch) -> None:
        """Stop polling a task. Calling it again does no harm."""
        queue = watch.queue
        if queue.watches.get(watch.task_id) is not watch:
            return
        del queue.watches[watch.task_id]
        self._schedule(watch, None)
        if watch.durations is not None:
            watch.durations.leave()
            if watch.durations.quiet.pop(watch.task_id, None) is not None:
                queue.skipped.clear()  # it would have no polls either by the usual schedule
        queue.fetcher.forget(watch.task_id)
        request, watch.request = watch.request, None
        if request is not None:
            request.pending.pop(watch.task_id, None)
            if not request.pending and request.task is not None:
                request.task.cancel()
        if not queue.watches:
            queue.saved = 0.0  # what these tasks have saved is not for those of another hour
        if not any(queue.watches for queue in self._queues.values()):
            self._stop()

    def _stop(self) -> None:
        """Stop all timers. The next wait starts a new grid."""
        for handle in (self._timer, self._sending, self._poll_all_timer):
            if handle is not None:
                handle.cancel()
        self._timer = self._sending = self._poll_all_timer = self._ticks = self._outage_since = None

    # Requests and their results

    def _on_request_done(self, task: asyncio.Task[list[str]]) -> None:
        request = self._requests.pop(task)
        bug = None if task.cancelled() else task.exception()
        for task_id, watch in [*request.pending.items()]:
            # Case 1: a bug of this package must not let a wait hang.
            if bug is not None:
                self._on_bug(watch, bug)
            # Case 2: the task has no result. It goes another way; or the request was cancelled from outside, perhaps
            # before it began.
            else:
                watch.is_expedited = watch.is_expedited or (not task.cancelled() and task_id in task.result())
                self._on_result(request, task_id, None)
        # `_drop` has done this already; but the fetcher may have counted a miss of such a task since.
        for task_id in request.ids:
            if task_id not in request.queue.watches:
                request.queue.fetcher.forget(task_id)
        if len(self._requests) == self.policy.max_concurrent - 1:  # another one may have waited for the end of this one
            self._send_soon()

    def _on_result(self, request: PollRequest, task_id: str, result: PollResult) -> None:
        """Deliver the result of a task to its waits, and schedule its next poll if it is still waited for."""
        watch = request.pending.pop(task_id, None)
        # Case 1: all waits for the task have ended since the request was sent.
        if watch is None:
            return
        watch.request, error = None, None
        if result is not None and request.sent >= self._stood_still_until:
            self._is_polled_since = True
        try:
            if isinstance(result, A2EError):
                error = result
                self._on_error(watch, error)
            elif result is not None:
                if self._outage_since is not None:
                    self._end_outage()
                watch.last_error, watch.seen = None, True
                self._on_record(watch, request.sent, result)
        except Exception as bug:  # noqa: BLE001  a bug of this package must not let a wait hang
            self._on_bug(watch, bug)
        # Case 2: the result has ended all waits for the task.
        if watch.queue.watches.get(task_id) is not watch or self._ticks is None:
            return
        # Case 3: `poll_now`, a new wait or the fetcher wants the task polled again at once.
        if watch.is_expedited:
            watch.is_expedited = False
            self._expedite(watch)
            return
        # Case 4: the task is polled again by the policy, or by the durations.
        sent, now = request.sent, self._loop.time()
        self._schedule(watch, *plan_poll(watch, self.policy, self._ticks, sent=sent, now=now, result=result))

    def _on_record(self, watch: Watch, sent: float, record: TaskRecord) -> None:
        """Tell the waits of a task its record. They end if it is final, or if it was their last chance."""
        is_final, kept = record.status.is_final, record
        observer = self.observer
        if is_final:
            observer.counts[record.status.value] += 1
        if record.status is not watch.status or record.current_status != watch.word:
            watch.status, watch.word = record.status, record.current_status
            if observer.unpriced or observer.is_enabled(INFO if is_final else DEBUG):
                self._report(watch, record)
        for waiter in watch.waiters:
            kept = waiter.on_record(record)
            if is_final and not waiter.done.done():
                waiter.done.set_result(record)
            elif waiter.last_chance_at is not None and sent >= waiter.last_chance_at:
                waiter.fail(WaitTimeoutError(task_id=watch.task_id))
        if is_final and (durations := learn(watch, self.policy, sent)) is not None:
            self._wake_quiet(watch.queue, durations)
        watch.polled_at, watch.record = sent, kept
        if is_final:
            ended = watch.queue.ended
            ended[watch.task_id] = (sent, kept)
            if len(ended) > _MAX_ENDED:
                del ended[next(iter(ended))]
            self._drop(watch)

    def _on_error(self, watch: Watch, error: A2EError) -> None:
        """End the waits of a task if the error is fatal; otherwise their outage budgets may run."""
        now = self._loop.time()
        repeated, watch.last_error = type(error) is watch.last_error, type(error)
        fatal = fatal_error(error, self.policy, began=watch.began, now=now, seen=watch.seen, repeated=repeated)
        for waiter in watch.waiters:
            waiter.on_error(error)
        # Case 1: no later poll can succeed.
        if fatal is not None:
            watch.fail(fatal)
            self._drop(watch)
        # Case 2: A2E has answered, although with an error.
        elif not failure_of(error).outage:
            if self._outage_since is not None:
                self._end_outage()
        # Case 3: an outage begins, or goes on.
        elif self._outage_since is None and self._ticks is not None:
            self._outage_since = now
            self._start_timer(now + self._ticks.length)
            self.observer.counts["outages"] += 1
            if self.observer.is_enabled(INFO):
                self.observer.publish(OutageBegan(reason=reason_of(error)))

    def _end_outage(self) -> None:
        assert self._outage_since is not None  # noqa: S101  for mypy
        seconds, self._outage_since = self._loop.time() - self._outage_since, None
        if self.observer.is_enabled(INFO):
            self.observer.publish(OutageEnded(seconds=seconds))

    def _report(self, watch: Watch, record: TaskRecord) -> None:
        """Report a changed record, and the price of a task whose start has not told it."""
        observer = self.observer
        task: dict[str, Any] = {"task_id": watch.task_id, "family": watch.queue.family}
        if record.coins is not None and (watch.queue.family, watch.task_id) in observer.unpriced:
            observer.unpriced.discard((watch.queue.family, watch.task_id))
            observer.counts["coins"] += record.coins
            if observer.is_enabled(DEBUG):
                observer.publish(CoinsSpent(**task, coins=record.coins))
        private = private_texts(record.to_dict(links=True))
        changed = {**task, "status": record.status, "current_status": redact(record.current_status, private)}
        if not record.status.is_final:
            observer.publish(TaskChanged(**changed))
        else:
            code = redact(record.failed_code, private)
            observer.publish(TaskFinished(**changed, coins=record.coins, failed_code=code))

    def _on_bug(self, watch: Watch, bug: BaseException) -> None:
        """End the waits of a task after a bug of this package."""
        # Only the class is logged: the text of the exception may quote a prompt.
        _LOGGER.error("Polling task %s failed because of a bug in a2e_async: %s", watch.task_id, type(bug).__name__)
        msg = (
            f"Polling the task failed because of a bug in a2e_async ({type(bug).__name__}). The task goes on at A2E: "
            "wait_until_done() waits again"
        )
        error = A2EError(msg)
        error.__cause__ = bug
        watch.fail(error)
        self._drop(watch)

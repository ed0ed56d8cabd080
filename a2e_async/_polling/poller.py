"""Poller of one client: one schedule for all waits for tasks of all families. Nothing else polls."""

# How it works:
#
# - A task that is waited for has one `Watch`, with a `Waiter` for each wait. All waits for a task share its polls.
# - A watch is scheduled for a tick, or in a request in flight. One timer fires at the next tick with tasks. The due
#   tasks of a family are then sent in batches of up to 100. The families take turns, and `PollPolicy.max_concurrent`
#   limits the requests in flight.
# - Each result is delivered to all waits of its task. A final record ends them; after any other result the task is
#   scheduled again. `schedule.fatal_error` decides which errors end a wait. Other errors begin an outage, which ends
#   with the next response of A2E. During an outage the timer fires at every tick, and ends the waits whose budget is
#   used up.
# - The process can stand still: suspended, stopped by Ctrl-Z or a debugger, or with a blocked event loop. Then a timer
#   fires much too late. Nothing is given up before A2E has been polled once more: a wait whose timeout is over gets one
#   more poll, and an outage lasts no longer because of a standstill.
# - `poll_now` schedules a task at once. If it is in flight, it is polled once more, since the response may be older
#   than the call.
# - A wait can end at any moment, by a timeout or a cancellation. It then calls the function that `subscribe`
#   returned. With the last wait of a task its polling ends, and with the last task of a request the request is
#   cancelled.
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
from collections.abc import Callable

import attrs

from a2e_async._polling.fetcher import PollResult, StatusFetcher, StatusReader
from a2e_async._polling.queue import FamilyQueue, PollRequest, Waiter, Watch
from a2e_async._polling.schedule import TickGrid, fatal_error, is_budget_spent, next_poll
from a2e_async._protocol.failures import failure_of
from a2e_async.config import PollPolicy
from a2e_async.errors import A2EError, ClientClosedError, OutageError, WaitTimeoutError
from a2e_async.models.common import TaskRecord

_LOGGER = logging.getLogger("a2e_async")

_CHUNK = 100  # waits ended in one pass of the event loop, so that very many do not block it

_POLL_ALL_INTERVAL = 1.0  # seconds between two polls of all tasks at once

_LATE = 1.0  # seconds; a timer that fires later than that shows that the process has stood still

_STOPPING = "The application stops, and its client has ended all waits"

_AT_ONCE = -math.inf  # the slot of tasks that are polled before all others


@attrs.define(eq=False, repr=False)
class Poller:
    """Poller of one client. Belongs to one event loop."""

    policy: PollPolicy
    _queues: dict[str, FamilyQueue] = attrs.field(factory=dict)
    _rotation: collections.deque[FamilyQueue] = attrs.field(factory=collections.deque)
    _ticks: TickGrid | None = None
    _reached: float = -math.inf  # the tasks of slots up to this time are due
    _timer: asyncio.TimerHandle | None = None
    _sending: asyncio.Handle | None = None
    _requests: dict[asyncio.Task[list[str]], PollRequest] = attrs.field(factory=dict)
    _all_polled_at: float = -math.inf
    _poll_all_timer: asyncio.TimerHandle | None = None
    _outage_since: float | None = None
    _stood_still_until: float = -math.inf
    _is_polled_since: bool = True  # a poll has ended that was sent after `_stood_still_until`
    _has_ended: bool = False  # the application stops: no wait begins any more
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)

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
            A function that ends the subscription. The wait must call it, whether or not it has a result.

        Raises:
            ClientClosedError: The waits have ended, since the application stops.
        """
        if self._has_ended:
            msg = f"{_STOPPING}. The task goes on at A2E: pick it up with task(id)"
            raise ClientClosedError(msg, task_id=task_id)
        queue = self._queues.get(family)
        if queue is None:
            queue = self._queues[family] = FamilyQueue(StatusFetcher(reader()))
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
        # already, or because this handle has no webhook and the schedule relies on one.
        elif waiter.at_once or (watch.has_webhook and not waiter.has_webhook):
            watch.has_webhook = watch.has_webhook and waiter.has_webhook
            self._expedite(watch)
        # Case 3 (no branch): the new wait shares the polls that are scheduled.
        watch.waiters.append(waiter)
        if waiter.deadline is not None:
            self._start_deadline(watch, waiter, waiter.deadline)
        watch.seen = watch.seen or waiter.seen
        return functools.partial(self._unsubscribe, watch, waiter)

    def _unsubscribe(self, watch: Watch, waiter: Waiter) -> None:
        """End a subscription, and the polling of the task if it was the last one. Calling it again does no harm."""
        if waiter.timer is not None:
            waiter.timer.cancel()
        if waiter in watch.waiters:
            watch.waiters.remove(waiter)
        if not watch.waiters:
            self._drop(watch)

    def has_waiters(self, task_id: str | None) -> bool:
        """Return whether the task is waited for; None for any task. Can be called from any thread."""
        queues = [*self._queues.values()]  # the event loop may add a family meanwhile
        return any(bool(queue.watches) if task_id is None else task_id in queue.watches for queue in queues)

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

    def _schedule(self, watch: Watch, at: float | None) -> None:
        """Move a task to the slot of a tick; None takes it out of the schedule."""
        slots = watch.queue.slots
        if watch.at is not None:
            del slots[watch.at][watch.task_id]
            if not slots[watch.at]:  # else the timer would fire for an empty slot
                del slots[watch.at]
        watch.at = at
        if at is not None:
            slots.setdefault(at, {})[watch.task_id] = watch
            if at != _AT_ONCE:
                self._start_timer(at)

    def _expedite(self, watch: Watch) -> None:
        """Poll a task at once. If it is in a request, the response may be older than the reason to poll at once."""
        if watch.request is not None:
            watch.is_expedited = True
        elif watch.at != _AT_ONCE:
            self._schedule(watch, _AT_ONCE)
            # Sent in the next pass of the event loop: waits that begin in this one share the request.
            self._send_soon()

    def _send_soon(self) -> None:
        if self._sending is None:
            self._sending = self._loop.call_soon(self._send_due, context=contextvars.Context())

    def _poll_all(self) -> None:
        """Poll all tasks, at most once a second: calls in between share one poll at the end of the second."""
        if self._poll_all_timer is not None:
            return
        now, next_at = self._loop.time(), self._all_polled_at + _POLL_ALL_INTERVAL
        if now < next_at:
            self._poll_all_timer = self._loop.call_at(next_at, self._poll_all_again, context=contextvars.Context())
            return
        self._all_polled_at = now
        for queue in self._queues.values():
            for watch in queue.watches.values():
                self._expedite(watch)

    def _poll_all_again(self) -> None:
        self._poll_all_timer, self._all_polled_at = None, -math.inf
        self._poll_all()

    def _start_timer(self, at: float) -> None:
        """Let the timer fire at this time, if it does not fire earlier."""
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._on_timer, at, context=contextvars.Context())

    def _on_timer(self, at: float) -> None:
        """Send what is due, and start the timer of the next tick with tasks, or during an outage of the next tick."""
        now = self._loop.time()
        if now - at > _LATE:
            self._on_standstill(at, now)
        # A timer may fire a clock resolution early, by which the tick would not be reached yet.
        self._timer, self._reached = None, max(at, now)
        coming = [at for queue in self._queues.values() for at in queue.slots if at > self._reached]
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

    def _start_deadline(self, watch: Watch, waiter: Waiter, at: float) -> None:
        waiter.timer = self._loop.call_at(at, self._on_deadline, watch, waiter, at, context=contextvars.Context())

    def _on_deadline(self, watch: Watch, waiter: Waiter, at: float) -> None:
        """End a wait whose timeout is over. If the timer fires much too late, poll its task once more before."""
        now = self._loop.time()
        if now - at <= _LATE or waiter.last_chance_at is not None:
            waiter.fail(WaitTimeoutError(task_id=watch.task_id))
        elif not waiter.done.done():
            waiter.last_chance_at = now
            self._start_deadline(watch, waiter, now + self.policy.poll_timeout)
            self._expedite(watch)

    def _end_waits(self, since: float) -> float:
        """End the waits whose outage budget is used up, and return when to look again."""
        assert self._ticks is not None  # noqa: S101  for mypy: the first watch has made it
        now = self._reached
        if not self._is_polled_since:
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
            due = [queue.slots[at] for at in sorted(queue.slots) if at <= self._reached]
            if not due:
                idle += 1
                continue
            idle = 0
            # The oldest tasks come first. The fetcher fills the batch with tasks that became due later.
            ids = queue.fetcher.next_batch(itertools.chain.from_iterable(due))
            request = PollRequest(queue, ids, self._loop.time(), {task_id: queue.watches[task_id] for task_id in ids})
            for watch in request.pending.values():
                self._schedule(watch, None)
                watch.request = request
            on_result = functools.partial(self._on_result, request)
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
        queue.fetcher.forget(watch.task_id)
        request, watch.request = watch.request, None
        if request is not None:
            request.pending.pop(watch.task_id, None)
            if not request.pending and request.task is not None:
                request.task.cancel()
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
                self._outage_since, watch.last_error, watch.seen = None, None, True
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
        # Case 4: the task is polled again by the policy.
        began, sent, now = watch.began, request.sent, self._loop.time()
        has_webhook = watch.has_webhook
        at = next_poll(self.policy, self._ticks, began=began, sent=sent, now=now, has_webhook=has_webhook, error=error)
        self._schedule(watch, at)

    def _on_record(self, watch: Watch, sent: float, record: TaskRecord) -> None:
        """Tell the waits of a task its record. They end if it is final, or if it was their last chance."""
        is_final = record.status.is_final
        for waiter in watch.waiters:
            waiter.on_record(record)
            if is_final and not waiter.done.done():
                waiter.done.set_result(record)
            elif waiter.last_chance_at is not None and sent >= waiter.last_chance_at:
                waiter.fail(WaitTimeoutError(task_id=watch.task_id))
        if is_final:
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
            self._outage_since = None
        # Case 3: an outage begins, or goes on.
        elif self._outage_since is None and self._ticks is not None:
            self._outage_since = now
            self._start_timer(now + self._ticks.length)

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

"""Poller of one client: one schedule for all waits for tasks of all families. Nothing else polls.

How it works:

- A task that is waited for has one `Watch`, with a `Waiter` for each wait. All waits for a task share its polls.
- A watch is scheduled for a tick, due, urgent, or in a request in flight. One timer fires at the next tick with tasks.
  The due tasks of a family are then sent in batches of up to 100. The families take turns, and
  `PollPolicy.max_concurrent` limits the requests in flight.
- Each result is delivered to all waits of its task. A final record ends them; after any other result the task is
  scheduled again. `schedule.fatal_error` decides which errors end a wait; other errors only use up its outage budget.
- `poll_now` makes a task urgent. If it is in flight, it is polled once more, since the response may be older than the
  call.
- A wait can end at any moment, by a timeout or a cancellation. It then calls the function that `subscribe` returned.
  With the last wait of a task its polling ends, and with the last task of a request the request is cancelled.
- A bug of this package in one task ends the waits of that task with an error. No wait hangs.
"""

import asyncio
import collections
import functools
import logging
import math
import random
from collections.abc import Callable
from typing import Any

import attrs

from a2e_async._polling.fetcher import PollResult, StatusApi, StatusFetcher
from a2e_async._polling.outage import Outage
from a2e_async._polling.queue import FamilyQueue, PollRequest, Waiter, Watch
from a2e_async._polling.schedule import TickGrid, fatal_error, is_outage, next_poll
from a2e_async.config import PollPolicy
from a2e_async.errors import A2EError, ClientClosedError

_LOGGER = logging.getLogger("a2e_async")

_CHUNK = 100  # tasks whose waits `aclose` ends in one pass of the event loop, so that very many do not block it

_POLL_ALL_INTERVAL = 1.0  # seconds between two polls of all tasks at once


@attrs.define(eq=False, repr=False)
class Poller:
    """Poller of one client. Belongs to one event loop."""

    policy: PollPolicy
    _queues: dict[str, FamilyQueue] = attrs.field(factory=dict)
    _rotation: collections.deque[FamilyQueue] = attrs.field(factory=collections.deque)
    _ticks: TickGrid | None = None
    _timer: asyncio.TimerHandle | None = None
    _timer_tick: int = 0
    _sending: asyncio.Handle | None = None
    _requests: dict[asyncio.Task[None], PollRequest] = attrs.field(factory=dict)
    _all_polled_at: float = -math.inf
    _poll_all_timer: asyncio.TimerHandle | None = None
    _outage: Outage = attrs.field(factory=Outage)
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)

    def subscribe(
        self, family: str, task_id: str, status_api: Callable[[], StatusApi[Any]], waiter: Waiter
    ) -> Callable[[], None]:
        """Start polling for a wait. `waiter.done` gets the final record of the task, or an error.

        Args:
            family: The family's key; ids are unique within it.
            task_id: The task's id.
            status_api: Makes the operations of the family. Called for the first task of the family only.
            waiter: The wait.

        Returns:
            A function that ends the subscription. The wait must call it, whether or not it has a result.
        """
        queue = self._queues.get(family)
        if queue is None:
            queue = self._queues[family] = FamilyQueue(StatusFetcher(status_api()))
            self._rotation.append(queue)
        watch = queue.watches.get(task_id)
        # Case 1: the first wait for the task.
        if watch is None:
            watch = self._add_watch(queue, task_id, waiter)
        # Case 2: the new wait must not wait for the next scheduled poll, either because the task may be finished
        # already, or because this handle has no webhook and the schedule relies on one.
        elif waiter.at_once or (watch.has_webhook and not waiter.has_webhook):
            watch.has_webhook = watch.has_webhook and waiter.has_webhook
            self._expedite(watch)
        # Case 3 (no branch): the new wait shares the polls that are scheduled.
        watch.waiters.append(waiter)
        watch.seen = watch.seen or waiter.seen
        self._outage.start_timer(task_id, waiter)
        return functools.partial(self.unsubscribe, watch, waiter)

    def _add_watch(self, queue: FamilyQueue, task_id: str, waiter: Waiter) -> Watch:
        now = self._loop.time()
        if self._ticks is None:
            self._ticks = TickGrid.of(self.policy, now=now, chance=random.random())  # noqa: S311  no secret
        watch = queue.watches[task_id] = Watch(task_id, queue, now, waiter.has_webhook)
        if waiter.at_once:
            self._expedite(watch)
        else:
            self._schedule(watch, self._ticks.first(now + self.policy.initial))
        return watch

    def unsubscribe(self, watch: Watch, waiter: Waiter) -> None:
        """End a subscription, and the polling of the task if it was the last one. Calling it again does no harm."""
        self._outage.cancel_timer(waiter)
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

    async def aclose(self) -> None:
        """End all waits with a `ClientClosedError`, and stop polling."""
        self._stop()
        tasks = [*self._requests]
        for task in tasks:
            task.cancel()
        watches = [watch for queue in self._queues.values() for watch in queue.watches.values()]
        self._queues.clear()
        self._rotation.clear()
        msg = "The client was closed during the wait. The task goes on at A2E: pick it up with task(id)"
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

    def _schedule(self, watch: Watch, tick: int) -> None:
        watch.slot, watch.tick = watch.queue.slots.setdefault(tick, {}), tick
        watch.slot[watch.task_id] = watch
        if self._timer is None or tick < self._timer_tick:
            self._start_timer(tick)

    def _expedite(self, watch: Watch) -> None:
        if watch.request is not None:
            # The request in flight may have been answered before the reason to poll at once existed.
            watch.is_expedited = True
        elif watch.slot is not watch.queue.urgent:
            watch.unschedule()
            watch.slot = watch.queue.urgent
            watch.slot[watch.task_id] = watch
            self._send_soon()

    def _poll_all(self) -> None:
        """Make all tasks due, at most once a second: calls in between share one poll at the end of the second."""
        if self._poll_all_timer is not None:
            return
        now = self._loop.time()
        if now < self._all_polled_at + _POLL_ALL_INTERVAL:
            self._poll_all_timer = self._loop.call_at(self._all_polled_at + _POLL_ALL_INTERVAL, self._poll_all_again)
            return
        self._all_polled_at = now
        for queue in self._queues.values():
            queue.collect_due(None)
        for request in self._requests.values():
            for watch in request.pending.values():
                watch.is_expedited = True
        self._send_soon()

    def _poll_all_again(self) -> None:
        self._poll_all_timer, self._all_polled_at = None, -math.inf
        self._poll_all()

    def _start_timer(self, tick: int) -> None:
        assert self._ticks is not None  # noqa: S101  for mypy: the first watch has made it
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_tick = self._loop.call_at(self._ticks.at(tick), self._on_timer), tick

    def _on_timer(self) -> None:
        """Send what is due, and start the timer of the next tick with tasks."""
        assert self._ticks is not None  # noqa: S101  as above
        self._timer = None
        # A timer may fire a clock resolution early, by which the tick would not be reached yet.
        now = max(self._ticks.last(self._loop.time()), self._timer_tick)
        for queue in self._queues.values():
            queue.collect_due(now)
        coming = [tick for queue in self._queues.values() for tick in queue.slots]
        if coming:
            self._start_timer(min(coming))
        self._send_due()

    def _send_soon(self) -> None:
        """Send what is due in the next pass of the event loop: waits that begin in this one share the request."""
        if self._sending is None:
            self._sending = self._loop.call_soon(self._send_due)

    def _send_due(self) -> None:
        """Send the requests that are due, as many as are allowed in flight; the families take turns."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        idle = 0  # families in a row without a due task
        while idle < len(self._rotation) and len(self._requests) < self.policy.max_concurrent:
            queue = self._rotation[0]
            self._rotation.rotate(-1)
            watches = queue.pop_batch()
            idle = 0 if watches else idle + 1
            if watches:
                self._send(queue, watches)

    def _drop(self, watch: Watch) -> None:
        """Stop polling a task. Calling it again does no harm."""
        queue = watch.queue
        if queue.watches.get(watch.task_id) is not watch:
            return
        del queue.watches[watch.task_id]
        watch.unschedule()
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
        self._outage.reset()
        for handle in (self._timer, self._sending, self._poll_all_timer):
            if handle is not None:
                handle.cancel()
        self._timer = self._sending = self._poll_all_timer = self._ticks = None
        for queue in self._queues.values():
            queue.slots.clear()
            queue.due.clear()

    # Requests and their results

    def _send(self, queue: FamilyQueue, watches: list[Watch]) -> None:
        request = PollRequest(self._loop.time(), {watch.task_id: watch for watch in watches})
        for watch in watches:
            watch.request = request
        request.task = asyncio.create_task(self._fetch(queue, request), name="a2e-poll")
        self._requests[request.task] = request
        request.task.add_done_callback(self._on_request_done)

    def _on_request_done(self, task: asyncio.Task[None]) -> None:
        request = self._requests.pop(task)
        # Tasks without a result are scheduled again: they go another way, or the request was cancelled from outside,
        # perhaps before it began.
        for task_id in [*request.pending]:
            self._on_result(request, task_id, None)
        self._send_soon()

    async def _fetch(self, queue: FamilyQueue, request: PollRequest) -> None:
        ids = [*request.pending]
        try:
            on_result = functools.partial(self._on_result, request)
            for task_id in await queue.fetcher.fetch(ids, on_result, waiting=len(queue.watches)):
                if task_id in request.pending:
                    request.pending[task_id].is_expedited = True
        except Exception as error:  # noqa: BLE001  a bug of this package must not let a wait hang
            for watch in [*request.pending.values()]:
                self._on_bug(watch, error)
        finally:
            # `_drop` has done this already; but the fetcher may have counted a miss of such a task since.
            for task_id in ids:
                if task_id not in queue.watches:
                    queue.fetcher.forget(task_id)

    def _on_result(self, request: PollRequest, task_id: str, result: PollResult) -> None:
        """Deliver the result of a task, and schedule its next poll if it is still waited for."""
        watch = request.pending.pop(task_id, None)
        # Case 1: all waits for the task have ended since the request was sent.
        if watch is None:
            return
        watch.request = None
        try:
            self._deliver(watch, result)
        except Exception as error:  # noqa: BLE001  as above
            self._on_bug(watch, error)
        # Case 2: the result has ended all waits for the task.
        if watch.queue.watches.get(task_id) is not watch or self._ticks is None:
            return
        # Case 3: `poll_now`, a new wait or the fetcher wants the task polled again at once.
        if watch.is_expedited:
            watch.is_expedited = False
            self._expedite(watch)
            return
        # Case 4: the task is polled again by the policy.
        tick = next_poll(
            self.policy,
            self._ticks,
            began=watch.began,
            sent=request.sent,
            now=self._loop.time(),
            has_webhook=watch.has_webhook,
            error=result if isinstance(result, A2EError) else None,
        )
        self._schedule(watch, tick)

    def _deliver(self, watch: Watch, result: PollResult) -> None:
        """Pass a result to the waits of a task."""
        if isinstance(result, A2EError):
            self._on_error(watch, result)
        elif result is not None:
            self._outage.end()
            watch.last_error, watch.seen = None, True
            for waiter in watch.waiters:
                waiter.on_record(result)
                if result.status.is_final and not waiter.done.done():
                    waiter.done.set_result(result)
            if result.status.is_final:
                self._drop(watch)

    def _on_error(self, watch: Watch, error: A2EError) -> None:
        """End the waits of a task if the error is fatal; otherwise their outage budgets may run."""
        now = self._loop.time()
        repeated, watch.last_error = type(error) is watch.last_error, type(error)
        fatal = fatal_error(error, self.policy, began=watch.began, now=now, seen=watch.seen, repeated=repeated)
        if fatal is None and is_outage(error):
            self._outage.begin()
        elif fatal is None:
            self._outage.end()  # A2E has answered, although with an error
        for waiter in watch.waiters:
            waiter.on_error(error)
            self._outage.start_timer(watch.task_id, waiter)
        if fatal is not None:
            watch.fail(fatal)
            self._drop(watch)

    def _on_bug(self, watch: Watch, bug: Exception) -> None:
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

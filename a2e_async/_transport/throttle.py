"""Limits how many requests of one client run at once, and how fast they start; pauses them when A2E asks."""

# How it works:
#
# A2E publishes no limits, so the client learns them as TCP does (AIMD: additive increase, multiplicative decrease).
# `Throttle` is the arithmetic, without any I/O:
#
# 1. A throttled answer (429, or any ``Retry-After``) pauses the whole client. The pause is as long as A2E asks, or
#    doubles each time if A2E does not say. It doubles as well if A2E rejects the next request although it came no
#    earlier than asked: a ``Retry-After`` of 0 would use up all retries at once. The number in flight is halved.
# 2. A 429 also teaches a rate: a bit less than A2E accepted in the second before. No request starts faster than that.
# 3. Each accepted request raises the number in flight and the learned rate a little. After a minute without a
#    throttled answer, the learned rate is forgotten.
#
# `ThrottledTransport` applies it. A request that may not start yet waits in one of two queues, paid or free. The
# queues take turns: a thousand starts must not delay the polls of the tasks, nor the polls the starts.
#
# "Busy" says something about one operation only: "hosts are occupied" (1001) is about the machines for streaming, and
# all other operations go on (reference 14b). So it pauses this operation, by a `Throttle` of its own. That one is
# forgotten when A2E accepts a request of the operation again.

import asyncio
import collections
import copy
import math
import random
from logging import DEBUG, INFO
from typing import Any, Protocol

from a2e_async._observer import Observer, reason_of
from a2e_async._protocol.failures import StartOutcome, failure_of, is_throttled
from a2e_async._protocol.messages import Envelope, Limits, Request, Response
from a2e_async._protocol.responses import decode
from a2e_async._protocol.server_clock import ServerClock
from a2e_async.config import Pacing
from a2e_async.errors import A2EError, BusyError, ClientClosedError, RateLimitError, private_texts, redact_error
from a2e_async.events import RequestAnswered, RequestFailed, RequestSent, Throttled

_RATE_DECREASE = 0.8  # of the rate that was accepted: the learned rate after a 429
_MAX_RATE_INCREASE = 0.05  # requests a second by which one accepted request raises the learned rate, at most
_MIN_RATE = 1.0  # requests a second; no lower rate is learned, since the pauses that A2E asks for do the rest
_MIN_SAMPLE = 5  # requests accepted in a second that are enough to measure a rate
_REPEATED_WITHIN = 10.0  # seconds; a second 429 within them teaches a rate, even from a smaller sample
_FORGET_AFTER = 60.0  # seconds without a throttled answer after which the learned rate is forgotten
_MAX_RETRY_AFTER = 86400.0  # seconds; an absurd header must not stop the client forever
_MAX_JITTER = 0.1  # of a pause, added at random, so that many clients do not come back at the same moment


class Throttle:
    """Limits of one client: when the next request may start. All times are seconds on one clock.

    Attributes:
        policy: The limits that the user set.
        in_flight: Requests in flight; the caller of `try_begin` takes one off when it ends.
        allowed_in_flight: How many may be in flight now, from 1 to `Pacing.max_in_flight`.
        learned_rate: Requests a second that A2E seems to allow; None after a minute without a throttled answer.
        paused_until: No request starts before this time.
    """

    def __init__(self, policy: Pacing) -> None:
        """Start with the limits that the user set."""
        self.policy = policy
        self.in_flight = 0
        self.allowed_in_flight: float = policy.max_in_flight
        self.learned_rate: float | None = None
        self.paused_until = -math.inf
        self._next_start = -math.inf
        self._decreased_at = -math.inf
        self._consecutive = 0  # throttled answers without an accepted request in between
        self._window = -math.inf  # start of the current window of one second
        self._accepted = 0  # requests accepted in the current window
        self._accepted_before = 0  # and in the window before

    def try_begin(self, now: float) -> float | None:
        """Record the start of a request if it may start now, and return 0.

        Otherwise return the seconds until a request may start, or None if one in flight has to end first.
        """
        if self.in_flight + 1 > self.allowed_in_flight:
            return None
        if (delay := max(self.paused_until, self._next_start) - now) > 0.0:
            return delay
        self.in_flight += 1
        # With a rate limit, starts are evenly spaced, without bursts to catch up.
        rate = self.policy.per_second
        if self.learned_rate is not None:
            rate = self.learned_rate if rate is None else min(rate, self.learned_rate)
        if rate is not None:
            self._next_start = max(now, self._next_start) + 1.0 / rate
        return 0.0

    def on_accepted(self, now: float, began: float) -> None:
        """Record that a request was accepted, and raise the limits a little.

        Args:
            now: When the answer came.
            began: When the request started.
        """
        if now - self._window >= 1.0:
            self._accepted_before = self._accepted if now - self._window < 2.0 else 0
            self._window, self._accepted = now, 0
        self._accepted += 1
        # a request that started before the decrease proves nothing about the limits after it
        if self._consecutive and began > self._decreased_at:
            self._consecutive = 0
        if self.allowed_in_flight < self.policy.max_in_flight or self.learned_rate is not None:
            self._increase(now, began)

    def pause(self, error: A2EError, now: float, *, began: float, jitter: float) -> None:
        """Pause all requests after a throttled answer (see `is_throttled`), and lower the limits.

        Args:
            error: The answer.
            now: When it came.
            began: When its request started.
            jitter: Random, uniform from 0 to 1: how much of the possible jitter is added to the pause.
        """
        # Requests that were in flight together are throttled together: that counts as one decrease, hence `began`. A
        # request of the very moment of the decrease belongs to them, since the clock is coarse.
        if began > self._decreased_at:
            self._decrease(now, learn=isinstance(error, RateLimitError))
        # reference 1.5: 2 to 30 s; the exponent is bounded, as 2.0 ** 1100 is an OverflowError
        repeated = self._consecutive - (1 if error.retry_after is None else 2)
        doubled = min(self.policy.max_pause, self.policy.pause * 2.0 ** min(max(0, repeated), 64))
        if error.retry_after is None:
            seconds = float(doubled)
        else:
            seconds = max(min(error.retry_after, _MAX_RETRY_AFTER), doubled if repeated >= 0 else 0.0)
        self.paused_until = max(self.paused_until, now + seconds * (1.0 + _MAX_JITTER * jitter))

    def _decrease(self, now: float, *, learn: bool) -> None:
        is_repeated = now - self._decreased_at < _REPEATED_WITHIN
        self._decreased_at = now
        self._consecutive += 1
        self.allowed_in_flight = max(1.0, self.allowed_in_flight / 2)
        # the current window has only just begun, so the one before may be the better measure
        age = now - self._window
        rate = max(self._accepted if age < 2.0 else 0, self._accepted_before if age < 1.0 else 0)
        if learn and (rate >= _MIN_SAMPLE or is_repeated):
            measured = rate if self.learned_rate is None else min(rate, self.learned_rate)
            self.learned_rate = max(_MIN_RATE, _RATE_DECREASE * measured)

    def _increase(self, now: float, began: float) -> None:
        if began <= self._decreased_at:
            return
        # one more in flight per full round of requests, as in TCP
        raised = self.allowed_in_flight + 1.0 / self.allowed_in_flight
        self.allowed_in_flight = min(float(self.policy.max_in_flight), raised)
        if self.learned_rate is not None:  # at 20 a second and above: about one more a second, every second
            self.learned_rate += min(1.0 / self.learned_rate, _MAX_RATE_INCREASE)
            if now - self._decreased_at > _FORGET_AFTER:
                self.learned_rate = None


_Waiter = asyncio.Future  # of None: done when the request has its slot


class Transport(Protocol):
    """Sender of single requests: the interface between the throttle and the HTTP library."""

    async def send(self, request: Request) -> Response:
        """Send a request once."""
        ...


class ThrottledTransport:
    """Sender that waits for a slot, sends once and decodes the answer. It is inside of the retries: each try waits.

    Attributes:
        inner: Sends the request.
        throttle: The limits.
        max_wait: Seconds. If A2E pauses the client for longer, all waiting requests fail with a `RateLimitError`.
        server_clock: A2E's clock.
        operations: Operation -> its own limits, while A2E says that it is busy.
        token: The token, which no error may quote.
        observer: Receives each request and each pause.
    """

    def __init__(
        self,
        inner: Transport,
        throttle: Throttle,
        max_wait: float,
        *,
        token: str = "",
        observer: Observer | None = None,
    ) -> None:
        self.inner, self.throttle, self.max_wait, self.token = inner, throttle, max_wait, token
        self.server_clock = ServerClock()
        self.operations: dict[str, Throttle] = {}
        self.observer = Observer() if observer is None else observer
        self._loop = asyncio.get_running_loop()
        self._paid_waiters: collections.deque[_Waiter[None]] = collections.deque()
        self._free_waiters: collections.deque[_Waiter[None]] = collections.deque()
        self._paid_is_next = True
        self._timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()  # ends the pauses of operations

    async def acquire(self, request: Request) -> None:
        """Wait for the end of a pause of the operation, and for a slot if none is free. `send` must begin next.

        Raises:
            RateLimitError: A2E pauses the client for longer than `max_wait`, or the limits of the request do not allow
                it to wait; nothing was sent. Likewise `BusyError`.
            ClientClosedError: The client was closed; nothing was sent.
        """
        limits = request.limits
        while self.operations and (delay := self._operation_delay(request.operation)) > 0.0:
            if limits is not None:
                limits.check_wait(delay, BusyError)
            await asyncio.wait([self._closed], timeout=delay)
        if self._closed.done():
            raise _closed()
        # A request must not overtake those that wait already.
        has_waiters = self._paid_waiters or self._free_waiters
        if not has_waiters and self.throttle.try_begin(self._loop.time()) == 0.0:
            if limits is not None:
                limits.on_turn()
            return
        if limits is not None:
            limits.check_wait(max(0.0, self.throttle.paused_until - self._loop.time()), RateLimitError)
        self._check_pause()
        waiter: _Waiter[None] = self._loop.create_future()
        (self._paid_waiters if request.paid else self._free_waiters).append(waiter)
        self._wake_waiters()
        try:
            await waiter
        except asyncio.CancelledError:
            # the slot was given in the same moment as the cancellation, and will not be used
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release()
            raise
        if limits is not None:
            limits.on_turn()

    def check_pause(self, operation: str, limits: Limits) -> None:
        """Check that a call may wait for the end of the pauses, if there are any."""
        left = self.throttle.paused_until - self._loop.time()
        if left > 0.0:
            limits.check_wait(left, RateLimitError)
        if (delay := self._operation_delay(operation)) > 0.0:
            limits.check_wait(delay, BusyError)

    def release(self) -> None:
        """Release a slot: a request has ended, or will not begin."""
        self.throttle.in_flight -= 1
        if self._paid_waiters or self._free_waiters:
            self._wake_waiters()

    async def send(self, request: Request, *, acquired: bool = False) -> Envelope:
        """Send a request, decode the answer, and release the slot.

        Args:
            request: The request.
            acquired: The slot is acquired already; else wait for one first.

        Raises:
            APIError: A2E answered with an error.
            NetworkError: There is no complete answer.
            UnexpectedResponseError: The answer is not one of A2E's.
        """
        if not acquired:
            await self.acquire(request)
        clock, throttle, observer = self._loop.time, self.throttle, self.observer
        observer.counts["requests"] += 1
        if observer.is_enabled(DEBUG):
            observer.publish(RequestSent(operation=request.operation, method=request.method, path=request.path))
        began = clock()
        try:
            response = await self.inner.send(request)
            envelope, ended = decode(response, request.operation), clock()
            throttle.on_accepted(ended, began)
            if self.operations:
                self._on_operation_accepted(request.operation, began)
            self.server_clock.observe(response.headers, monotonic=ended, wall=response.received_at)
        except (A2EError, asyncio.CancelledError) as error:
            self._on_error(request, error, began)
            raise
        else:
            if observer.is_enabled(DEBUG):
                self._report(request, began, envelope)
            return envelope
        finally:
            self.release()

    def close(self) -> None:
        """Fail all waiting requests with a `ClientClosedError`."""
        if not self._closed.done() and not self._loop.is_closed():
            self._closed.set_result(None)
        self._cancel_timer()
        self._fail_waiters(_closed())

    def _on_error(self, request: Request, error: A2EError | asyncio.CancelledError, began: float) -> None:
        """Report the failure of a request, and pause if A2E asks for it."""
        if isinstance(error, A2EError):
            redact_error(error, [*private_texts(request.json), self.token])
        if self.observer.is_enabled(DEBUG):
            self._report(request, began, error)
        if isinstance(error, asyncio.CancelledError):
            return
        throttle, now = self.throttle, self._loop.time()
        if is_throttled(error):
            throttle.pause(error, now, began=began, jitter=random.random())  # noqa: S311  no secret
            self._report_pause(error, throttle, "")
        elif failure_of(error).throttled == "operation":
            operation = self.operations.setdefault(request.operation, Throttle(throttle.policy))
            operation.pause(error, now, began=began, jitter=random.random())  # noqa: S311  no secret
            self._report_pause(error, operation, request.operation)
        elif failure_of(error).outcome is StartOutcome.REJECTED:
            throttle.on_accepted(now, began)  # rejected for its content, but not for its rate
            self._on_operation_accepted(request.operation, began)
        if request.limits is not None:
            pause = max(throttle.paused_until - now, self._operation_delay(request.operation), 0.0)
            request.limits.on_error(error, pause)

    def _report(self, request: Request, began: float, end: Envelope | A2EError | asyncio.CancelledError) -> None:
        """Report the end of a request."""
        sent: dict[str, Any] = {"operation": request.operation, "method": request.method, "path": request.path}
        seconds, status = self._loop.time() - began, getattr(end, "status", 0)
        error = type(end).__name__ if isinstance(end, BaseException) else ""
        event: RequestAnswered | RequestFailed = RequestFailed(**sent, seconds=seconds, error=error)
        if status:  # else there is no complete answer
            size, trace_id = len(getattr(end, "body", b"")), getattr(end, "trace_id", "")
            event = RequestAnswered(**sent, seconds=seconds, error=error, status=status, size=size, trace_id=trace_id)
        self.observer.publish(event)

    def _report_pause(self, error: A2EError, throttle: Throttle, operation: str) -> None:
        self.observer.counts["throttled"] += 1
        if self.observer.is_enabled(INFO):
            seconds = max(0.0, throttle.paused_until - self._loop.time())
            self.observer.publish(Throttled(operation=operation, seconds=seconds, reason=reason_of(error)))

    def _wake_waiters(self) -> None:
        """Give slots to the next waiters; if it is too early for that, set a timer."""
        self._cancel_timer()
        try:
            self._check_pause()
        except RateLimitError as error:
            self._fail_waiters(error)
        while self._paid_waiters or self._free_waiters:
            first, second = self._paid_waiters, self._free_waiters
            queue = (first or second) if self._paid_is_next else (second or first)
            if queue[0].done():  # a cancelled waiter stays in the queue until its turn
                queue.popleft()
                continue
            delay = self.throttle.try_begin(self._loop.time())
            if delay is None:
                return  # the end of a request comes here again
            if delay > 0.0:
                self._timer = self._loop.call_later(delay, self._wake_waiters)
                return
            queue.popleft().set_result(None)
            self._paid_is_next = not self._paid_is_next

    def _operation_delay(self, name: str) -> float:
        operation = self.operations.get(name)
        if operation is None or self._closed.done():
            return 0.0
        return operation.paused_until - self._loop.time()

    def _on_operation_accepted(self, name: str, began: float) -> None:
        operation = self.operations.get(name)
        if operation is not None and began >= operation.paused_until:
            del self.operations[name]

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_pause(self) -> None:
        left = self.throttle.paused_until - self._loop.time()
        if left > self.max_wait:
            msg = f"Nothing was sent: A2E has asked this client to pause for {left:.0f} s more. Try again after that"
            raise RateLimitError(msg, status=429, retry_after=left)

    def _fail_waiters(self, error: A2EError) -> None:
        for waiter in (*self._paid_waiters, *self._free_waiters):
            if not waiter.done() and not self._loop.is_closed():  # a closed loop cannot run the callbacks
                waiter.set_exception(copy.copy(error))  # a copy each: a raised exception collects tracebacks
        self._paid_waiters.clear()
        self._free_waiters.clear()


def _closed() -> ClientClosedError:
    return ClientClosedError("Nothing was sent: the client was closed. Use `async with`, or make another client")

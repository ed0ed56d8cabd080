"""Rules of polling: when a task is due, what an error means, and whether a family's batch operation can be used.

All waits of a client share one grid of ticks. Tasks that are due at the same tick are polled with the same request.
"""

from __future__ import annotations

import enum
import math

import attrs

from a2e_async._protocol.failures import is_throttled, is_transient
from a2e_async.config import PollPolicy
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    PlanError,
    TaskNotFoundError,
    UnexpectedResponseError,
)

# Ids in one batchDetail: no maximum is stated for image to video, 200 for other families (reference 9.5).
BATCH_SIZE = 100

_MAX_TICK = 1.0  # seconds

# A fraction of a tick. A poll that starts this much late still counts from its tick. Otherwise each poll would start
# one tick later than the policy says, since a timer never fires early.
_LATE = 0.1

_ROUNDING = 1e-6  # a fraction of a tick, for the rounding errors of floating-point numbers

_MAX_RETRY_AFTER = 86400.0  # seconds: a wrong header must not end the polling

_BATCH_PAUSE = 60.0  # seconds without the batch operation, the first time; it doubles
_MAX_BATCH_PAUSE = 3600.0

_REDUCED_FOR = 600.0  # seconds after a refused size, until batches of full size are tried again

_SUSPECT_AFTER = 3  # batches in a row without a record, after which the operation itself may be at fault

# Errors that any later request would raise as well.
_PERMANENT = (AuthenticationError, ClientClosedError, ConfigurationError, InvalidRequestError)

_BOM = b"\xef\xbb\xbf"


# When to poll


@attrs.frozen
class TickGrid:
    """The moments at which a client polls.

    Attributes:
        length: Seconds from one tick to the next.
        phase: The time of tick 0, by the event loop's clock.
    """

    length: float
    phase: float = 0.0

    @classmethod
    def of(cls, policy: PollPolicy, *, now: float, chance: float) -> TickGrid:
        """Make a grid.

        Args:
            policy: A tick is half of its shortest interval, and at most a second.
            now: The event loop's clock.
            chance: A random number from 0 to 1 that shifts the grid, so that many clients do not poll at the same time.
        """
        length = min(_MAX_TICK, min(seconds for _, seconds in policy.steps) / 2)
        return cls(length, now - chance * length)

    def at(self, tick: int) -> float:
        """Return the time of a tick."""
        return self.phase + tick * self.length

    def last(self, now: float) -> int:
        """Return the last tick at or before a time."""
        return math.floor((now - self.phase) / self.length + _ROUNDING)

    def first(self, when: float, *, late: float = _ROUNDING) -> int:
        """Return the first tick at or after a time, or the tick that was at most `late` (in ticks) before it."""
        return math.ceil((when - self.phase) / self.length - late)


def next_poll(
    policy: PollPolicy,
    ticks: TickGrid,
    *,
    began: float,
    sent: float,
    now: float,
    has_webhook: bool = False,
    error: A2EError | None = None,
) -> int:
    """Return the tick of the next poll of a task.

    Args:
        policy: The intervals.
        ticks: The grid.
        began: Start of the wait.
        sent: Time of the poll. After an error, the interval counts from the failure instead.
        now: Time of the result.
        has_webhook: A webhook reports the end, so that polls are only a backstop.
        error: The error of the poll. A ``Retry-After`` that came with it is never shortened.
    """
    age, seconds = sent - began, policy.steps[0][1]
    for from_age, interval in policy.steps:
        if age >= from_age:
            seconds = interval
    if has_webhook:
        seconds = max(seconds, policy.backstop)
    base = sent if error is None else now
    due = ticks.first(base, late=_LATE) + math.ceil(seconds / ticks.length - _ROUNDING)
    retry_after = error.retry_after if isinstance(error, APIError) else None
    return max(due, ticks.first(now + min(retry_after or 0.0, _MAX_RETRY_AFTER)))


# What an error of a batch means


class BatchFailure(enum.Enum):
    """Reason why a request for several tasks failed."""

    REJECTED = enum.auto()  # too many ids, or one bad id: send fewer
    UNSUPPORTED = enum.auto()  # the operation does not exist, or not for this account: use another one
    THROTTLED = enum.auto()  # too many requests
    TRANSIENT = enum.auto()
    PERMANENT = enum.auto()  # no later request would succeed


def classify(error: A2EError) -> BatchFailure:
    """Return why a request for several tasks failed."""
    if isinstance(error, _PERMANENT):
        return BatchFailure.PERMANENT
    status = error.status if isinstance(error, APIError | UnexpectedResponseError) else 0
    if is_throttled(error):
        return BatchFailure.THROTTLED
    if status in {404, 405, 410}:
        return BatchFailure.UNSUPPORTED
    if isinstance(error, BadRequestError) or status in {413, 414}:
        return BatchFailure.REJECTED
    # An HTML page with a status below 500 is the answer of a web server that has no such path.
    is_page = isinstance(error, UnexpectedResponseError) and error.body.removeprefix(_BOM).lstrip()[:1] == b"<"
    if is_page and status < 500:
        return BatchFailure.UNSUPPORTED
    return BatchFailure.TRANSIENT if is_transient(error) else BatchFailure.UNSUPPORTED


@attrs.define
class BatchSupport:
    """State of the batch operation of one family: a circuit breaker, and the size that A2E accepts.

    Closed: batches are sent. Tripped: the family does without batches for a while. Half open, when that time
    is over: one batch at a time is sent; a record in its response closes the breaker again.

    Attributes:
        size: Ids in one batch, at most.
        misses: Batches in a row without a record.
        is_half_open: The breaker was tripped, and no batch has returned a record since.
    """

    size: int = BATCH_SIZE
    misses: int = 0
    is_half_open: bool = False
    _is_trying: bool = False
    _open_until: float = -math.inf
    _pause: float = _BATCH_PAUSE
    _full_size_at: float = math.inf

    def is_available(self, now: float) -> bool:
        """Return whether a batch may be sent."""
        if now >= self._full_size_at:
            self.size, self._full_size_at = BATCH_SIZE, math.inf
        return now >= self._open_until and not self._is_trying

    def on_request(self) -> None:
        """Record the start of a request."""
        self._is_trying = self.is_half_open

    def on_end(self) -> None:
        """Record the end of a request, with or without a response."""
        self._is_trying = False

    def on_hit(self) -> None:
        """Record a response with a record of at least one task."""
        self.misses, self._pause, self.is_half_open = 0, _BATCH_PAUSE, False

    def on_miss(self) -> None:
        """Record an error, or a response without a record of any task."""
        self.misses += 1

    @property
    def is_suspect(self) -> bool:
        """Whether the operation itself may be at fault, since no task had a result for some time."""
        return self.is_half_open or self.misses >= _SUSPECT_AFTER

    def trip(self, now: float) -> None:
        """Stop sending batches for a while, each time for longer."""
        # Several batches can fail side by side: only the first of them lengthens the pause.
        if now >= self._open_until:
            self._open_until, self._pause = now + self._pause, min(self._pause * 2, _MAX_BATCH_PAUSE)
        self.misses, self.is_half_open = 0, True

    def shrink(self, size: int, now: float) -> None:
        """Send at most this number of ids for a while."""
        self.size, self._full_size_at = min(self.size, size), now + _REDUCED_FOR


# What an error of one task means


def fatal_error(
    error: A2EError, policy: PollPolicy, *, began: float, now: float, seen: bool, repeated: bool
) -> A2EError | None:
    """Return the error that ends a wait, or None if the wait of a paid task goes on.

    Args:
        error: The error of a poll.
        policy: See `PollPolicy.invisible_for`.
        began: Start of the wait, in seconds.
        now: The time, by the same clock.
        seen: A2E has returned a record of the task before.
        repeated: The poll before failed with the same class of error.
    """
    # A fresh task can be invisible for a while (reference 1.7), and a gateway can answer 404 or 400 once: such an error
    # must come twice, and for a task that was never seen also late enough.
    if isinstance(error, NotFoundError):
        if not repeated or not (seen or now - began >= policy.invisible_for):
            return None
        not_found = TaskNotFoundError(
            error.message, status=error.status, code=error.code, trace_id=error.trace_id, task_id=error.task_id
        )
        not_found.__cause__ = error
        return not_found
    if isinstance(error, BadRequestError):
        return error if repeated else None
    return error if isinstance(error, (*_PERMANENT, PlanError)) else None


def is_outage(error: A2EError) -> bool:
    """Return whether an error means that A2E cannot be reached, so that it uses up the outage budget."""
    # A page or a redirect does not come from A2E, but from something in front of it.
    return is_transient(error) or isinstance(error, UnexpectedResponseError)

"""Rules of polling: when a task is due, what an error means, and what happens to the tasks of a batch that failed."""

# How it works:
#
# - All waits of a client share one grid of ticks. Tasks that are due at the same tick are polled with the same
#   request.
# - `next_poll` is the usual schedule of a task; `_polling/durations.py` may change it. `fatal_error` and
#   `is_budget_spent` end its wait.
# - `classify` says why a request for several tasks failed. `after_batch`, `after_retry` and `after_others` then
#   choose the next `Step`, and number their cases. `_polling/fetcher.py` takes the steps.
# - `BatchSupport` remembers whether batches work, and of what size. `Bisection` finds out why one was rejected.

from __future__ import annotations

import enum
import math
from typing import NamedTuple

from a2e_async._protocol.failures import failure_of, is_throttled
from a2e_async.config import PollPolicy
from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    BadRequestError,
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
LATE = 0.1

_ROUNDING = 1e-6  # a fraction of a tick, for the rounding errors of floating-point numbers

_MAX_RETRY_AFTER = 86400.0  # seconds: a wrong header must not end the polling

_BATCH_PAUSE = 60.0  # seconds without the batch operation, the first time; it doubles
_MAX_BATCH_PAUSE = 3600.0

_REDUCED_FOR = 600.0  # seconds after a rejected size, until batches of full size are tried again

_SUSPECT_AFTER = 3  # batches in a row without a record, after which the operation itself may be at fault

# The weight of a throttled request, compared with a miss: tasks are hardly ever the cause of it.
_THROTTLED_WEIGHT = 0.3

# Parts rejected in a row, after which bisecting costs more than single requests: neither the size nor a few ids are the
# cause. One bad id of a hundred costs seven rejections.
_HOPELESS_AFTER = 10

_BOM = b"\xef\xbb\xbf"


# When to poll


class TickGrid(NamedTuple):
    """The moments at which a client polls.

    Attributes:
        length: Seconds from one tick to the next.
        phase: The time of a tick, by the event loop's clock.
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

    def next(self, when: float, *, late: float = _ROUNDING) -> float:
        """Return the first tick at or after a time, or the tick that was at most `late` (in ticks) before it."""
        # Computed from the phase each time, so that equal ticks are equal numbers.
        return self.phase + math.ceil((when - self.phase) / self.length - late) * self.length


def next_poll(
    policy: PollPolicy,
    ticks: TickGrid,
    *,
    began: float,
    sent: float,
    now: float,
    has_webhook: bool = False,
    error: A2EError | None = None,
) -> float:
    """Return the time of the next poll of a task, which is a tick.

    Args:
        policy: The intervals.
        ticks: The grid.
        began: Start of the wait.
        sent: Time of the poll. After an error, the interval counts from the failure instead.
        now: Time of the result.
        has_webhook: A webhook reports the end, so that polls are only a backstop.
        error: The error of the poll. The next poll is not earlier than its ``Retry-After``, up to `_MAX_RETRY_AFTER`.
    """
    age, seconds = sent - began, policy.steps[0][1]
    for from_age, interval in policy.steps:
        if age >= from_age:
            seconds = interval
    if has_webhook:
        seconds = max(seconds, policy.backstop)
    retry_after = 0.0 if error is None else error.retry_after or 0.0
    due = ticks.next(sent if error is None else now, late=LATE) + seconds
    return ticks.next(max(due, now + min(retry_after, _MAX_RETRY_AFTER)))


def count_polls(policy: PollPolicy, age: float) -> int:
    """Return how many polls of a task the policy has until an age, in seconds since the start of the wait."""
    ends = [*(from_age for from_age, _ in policy.steps[1:]), math.inf]
    return int(
        sum(max(0.0, min(age, end) - begin) / seconds for (begin, seconds), end in zip(policy.steps, ends, strict=True))
    )


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
    ends = failure_of(error).ends_wait
    # Case 1: the error may pass, or says nothing about the task. A gateway can answer 400, 401 or 404 once: such an
    # error must come twice.
    if not ends or (ends == "repeated" and not repeated):
        return None
    # Case 2: no later poll can change it.
    if not isinstance(error, NotFoundError):
        return error
    # Case 3: a fresh task can be invisible for a while (reference 1.7).
    if not seen and now - began < policy.invisible_for:
        return None
    # Case 4: the task is gone.
    not_found = TaskNotFoundError(
        error.message, status=error.status, code=error.code, trace_id=error.trace_id, task_id=error.task_id
    )
    not_found.__cause__ = error
    return not_found


def is_budget_spent(budget: float | None, *, since: float, began: float, now: float) -> bool:
    """Return whether an outage has used up the budget of a wait: in seconds since the later one of their starts."""
    return budget is not None and now >= max(since, began) + budget


# What an error of a request for several tasks means


class BatchFailure(enum.Enum):
    """Reason why a request for several tasks failed."""

    REJECTED = enum.auto()  # too many ids, or one bad id: send fewer
    UNSUPPORTED = enum.auto()  # the operation does not exist, or not for this account: use another one
    THROTTLED = enum.auto()  # too many requests
    TRANSIENT = enum.auto()
    PERMANENT = enum.auto()  # no later request would succeed


def classify(error: A2EError) -> BatchFailure:
    """Return why a request for several tasks failed."""
    failure = failure_of(error)
    # The plan may lack only the operation for several tasks. A wrong token is wrong for every operation.
    if isinstance(error, AuthenticationError) or (failure.ends_wait == "always" and not isinstance(error, PlanError)):
        return BatchFailure.PERMANENT
    if failure.throttled or is_throttled(error):
        return BatchFailure.THROTTLED
    status = getattr(error, "status", 0)
    if status in {404, 405, 410}:
        return BatchFailure.UNSUPPORTED
    if isinstance(error, BadRequestError) or status in {413, 414}:
        return BatchFailure.REJECTED
    # An HTML page with a status below 500 is the answer of a web server that has no such path.
    is_page = isinstance(error, UnexpectedResponseError) and error.body.removeprefix(_BOM).lstrip()[:1] == b"<"
    if is_page and status < 500:
        return BatchFailure.UNSUPPORTED
    return BatchFailure.TRANSIENT if failure.transient else BatchFailure.UNSUPPORTED


class Step(enum.Enum):
    """What the fetcher does with tasks whose request failed."""

    FAIL = enum.auto()  # their polls fail with the error; they are polled again by the schedule
    BISECT = enum.auto()  # smaller and smaller parts are sent
    PROBE = enum.auto()  # one task is fetched alone, to tell a fault of the operation from one of A2E
    SWITCH = enum.auto()  # batches are not sent for a while; the tasks are read together by another operation
    SINGLE = enum.auto()  # each task is fetched alone


def miss_weight(failure: BatchFailure, *, is_half_open: bool) -> float:
    """Return how much an error of a batch counts as a miss of each of its tasks."""
    if failure is BatchFailure.THROTTLED:
        return _THROTTLED_WEIGHT
    # The trial of a half-open operation says something about the operation, and nothing about its tasks.
    return 1.0 if failure is BatchFailure.TRANSIENT and not is_half_open else 0.0


def after_batch(failure: BatchFailure, *, is_half_open: bool, is_suspect: bool, often: bool) -> Step:
    """Return the step after a batch failed; `often` means that a task of it has missed many times."""
    # Case 1: no later request would succeed.
    if failure is BatchFailure.PERMANENT:
        return Step.FAIL
    # Case 2: A2E has no batchDetail for this account, or the single trial after a pause failed again.
    if failure is BatchFailure.UNSUPPORTED or (failure is BatchFailure.TRANSIENT and is_half_open):
        return Step.SWITCH
    # Case 3: A2E rejected the number of ids, or one of the ids.
    if failure is BatchFailure.REJECTED:
        return Step.BISECT
    # Case 4: a first or second error of these tasks.
    if not often:
        return Step.FAIL
    # Case 5: this batch fails again and again. If others work, some of its tasks are the cause.
    return Step.PROBE if is_suspect else Step.BISECT


def after_retry(first: BatchFailure, again: BatchFailure) -> Step:
    """Return the step after a probe succeeded, and the batch failed once more."""
    # Case 1: a new reason, which says nothing about batchDetail.
    if again in {BatchFailure.THROTTLED, BatchFailure.PERMANENT} and again is not first:
        return Step.FAIL
    # Case 2: A2E works, and batchDetail does not.
    return Step.SWITCH


def after_others(failure: BatchFailure, *, often: bool, instead: Step) -> Step:
    """Return the step after a bisection, or a pass over the list, has left tasks without a result.

    Args:
        failure: The reason of the last error.
        often: A task has missed many times.
        instead: How to read the tasks in another way.
    """
    # Case 1: the operation is gone, or rejects everything.
    if failure in {BatchFailure.UNSUPPORTED, BatchFailure.REJECTED}:
        return instead
    # Case 2: the error keeps coming.
    if failure is BatchFailure.TRANSIENT and often:
        return Step.PROBE
    # Case 3: a first error, or no request would succeed now.
    return Step.FAIL


class BatchSupport:
    """State of the batch operation of one family: a circuit breaker, and the size that A2E accepts.

    Closed: batches are sent. Tripped: the family does without batches for a while. Half open, when that time
    is over: one batch at a time is sent; a record in its response closes the breaker again.

    Attributes:
        size: Ids in one batch, at most.
        misses: Batches in a row without a record.
        is_half_open: The breaker was tripped, and no batch has returned a record since. Before the end of that time,
            `is_available` is False as well.
    """

    def __init__(self) -> None:
        self.size = BATCH_SIZE
        self.misses = 0
        self.is_half_open = self._is_trying = False
        self._open_until = -math.inf
        self._pause = _BATCH_PAUSE
        self._full_size_at = math.inf

    @property
    def is_suspect(self) -> bool:
        """Whether the operation itself may be at fault, since no task had a result for some time."""
        return self.is_half_open or self.misses >= _SUSPECT_AFTER

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

    def trip(self, now: float) -> None:
        """Stop sending batches for a while, each time for longer."""
        # Several batches can fail side by side: only the first of them lengthens the pause.
        if now >= self._open_until:
            self._open_until, self._pause = now + self._pause, min(self._pause * 2, _MAX_BATCH_PAUSE)
        self.misses, self.is_half_open = 0, True

    def shrink(self, size: int, now: float) -> None:
        """Send at most this number of ids for a while."""
        self.size, self._full_size_at = min(self.size, size), now + _REDUCED_FOR


class Bisection:
    """Bisection of one rejected batch. Each part is accepted or rejected as a whole; a rejected part is halved.

    Attributes:
        max_size: Ids in a part, at most. A larger part is halved without a request.
        parts: Parts without a result. The last one is sent next: from left to right, depth first.
        rejected: Parts of several ids that were rejected.
        bad_ids: Ids that are rejected even alone.
        rejections: Parts rejected in a row.
    """

    def __init__(self, ids: list[str], max_size: int) -> None:
        """Start with a batch of at least two ids that was just rejected."""
        self.max_size = max_size
        self.parts = [ids]
        self.rejected: list[list[str]] = []
        self.bad_ids: list[str] = []
        self.rejections = 0
        self._halve()
        self.rejected.append(ids)

    @property
    def is_hopeless(self) -> bool:
        """Whether so many parts in a row were rejected that bisecting is given up."""
        return self.rejections >= _HOPELESS_AFTER

    @property
    def remaining(self) -> list[str]:
        """The ids without a result. Bad ids are among them only if the bisection is hopeless."""
        rest = [task_id for part in reversed(self.parts) for task_id in part]
        # If everything is rejected, an id that was rejected alone need not be bad.
        return [*self.bad_ids, *rest] if self.is_hopeless else rest

    @property
    def accepted_size(self) -> int | None:
        """A size that is accepted, if the size was rejected at all; else None."""
        # If all ids of a rejected part were accepted later, in smaller parts, its size was the cause.
        unclear = {*self.bad_ids, *self.remaining}
        return min(((len(ids) + 1) // 2 for ids in self.rejected if unclear.isdisjoint(ids)), default=None)

    def next_part(self) -> list[str]:
        """Return the next part to send; empty at the end, or if it is hopeless."""
        while self.parts and len(self.parts[-1]) > self.max_size:
            self._halve()
        return self.parts[-1] if self.parts and not self.is_hopeless else []

    def accept(self) -> None:
        """Record that the part was accepted."""
        self.rejections = 0
        self.parts.pop()

    def reject(self) -> None:
        """Record that the part was rejected."""
        self.rejections += 1
        if len(self.parts[-1]) > 1:
            self.rejected.append(self.parts[-1])
            self._halve()
        else:
            self.bad_ids += self.parts.pop()

    def _halve(self) -> None:
        ids = self.parts.pop()
        middle = (len(ids) + 1) // 2
        self.parts += [ids[middle:], ids[:middle]]

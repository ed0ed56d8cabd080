"""Which tasks are due, and what an answer about them means. `_polling/poller.py` asks, by way of `_polling/fetcher.py`.

All waits of a client share one beat: a task is due at a tick and never between two, so that tasks that are due together
are asked about together.
"""

from __future__ import annotations

import enum
import math

import attrs

from a2e_async._protocol.failures import is_passing, turns_away
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

__all__ = ["BATCH", "Meaning", "Route", "Ticks", "is_outage", "meaning", "next_look", "verdict"]

BATCH = 100
"""Ids in one batchDetail: no maximum is stated for image to video, 200 for others (reference 9.5)."""

_LONGEST_TICK = 1.0
"""Seconds."""

_LATE = 0.1
"""Of a tick; a question that is so much late still counts as asked at its tick."""

_SLACK = 1e-6
"""Of a tick; what floating-point numbers may be wrong."""

_BOM = b"\xef\xbb\xbf"

_LONGEST_PAUSE = 86400.0
"""Seconds; an odd header must not end the looking for ever."""

_AGAIN = 60.0
"""Seconds until asking about several at once is tried again, the first time; it doubles."""

_LONGEST_AGAIN = 3600.0

_LARGER_AGAIN = 600.0
"""Seconds until full batches are tried again after A2E has refused their size."""

_ENOUGH = 3
"""Batches in a row that told nothing, after which one wonders whether they ever will."""

_NO_USE = (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
)
"""What will not be otherwise the next time, whatever is asked."""


# when


@attrs.frozen
class Ticks:
    """The beat of one client's questions.

    Attributes:
        length: Seconds from one tick to the next.
        phase: When tick 0 was, by the event loop's clock.
    """

    length: float
    phase: float = 0.0

    @classmethod
    def of(cls, policy: PollPolicy, *, now: float, chance: float) -> Ticks:
        """Begin a beat.

        Args:
            policy: Half of its shortest interval is a tick, but a second at most.
            now: The event loop's clock.
            chance: Evenly random, from 0 to 1: when the beat falls, so that many clients do not ask in step.
        """
        length = min(_LONGEST_TICK, min(seconds for _, seconds in policy.steps) / 2)
        return cls(length, now - chance * length)

    def at(self, tick: int) -> float:
        """Return when a tick is."""
        return self.phase + tick * self.length

    def last(self, now: float) -> int:
        """Return the last tick at or before a moment."""
        return math.floor((now - self.phase) / self.length + _SLACK)

    def first(self, when: float, *, late: float = _SLACK) -> int:
        """Return the first tick at or after a moment, which may be late by a part of a tick."""
        return math.ceil((when - self.phase) / self.length - late)


def next_look(
    policy: PollPolicy,
    ticks: Ticks,
    *,
    began: float,
    asked: float,
    now: float,
    hooked: bool = False,
    trouble: A2EError | None = None,
) -> int:
    """Return the tick at which to look at a task again.

    Args:
        policy: How often to look.
        ticks: The beat.
        began: When the wait began.
        asked: When the task was asked about; after trouble the interval counts from the failure.
        now: When the answer came, or the trouble.
        hooked: A webhook will tell of the end, so that looking is a backstop only.
        trouble: What came instead of an answer. A ``Retry-After`` that came with it is never shortened.
    """
    seconds = _interval(policy, asked - began)
    if hooked:
        seconds = max(seconds, policy.backstop)
    base = asked if trouble is None else now
    due = ticks.first(base, late=_LATE) + math.ceil(seconds / ticks.length - _SLACK)
    wanted = trouble.retry_after if isinstance(trouble, APIError) else None
    return max(due, ticks.first(now + min(wanted or 0.0, _LONGEST_PAUSE)))


def _interval(policy: PollPolicy, age: float) -> float:
    interval = policy.steps[0][1]
    for from_age, seconds in policy.steps:
        if age >= from_age:
            interval = seconds
    return interval


# how


class Meaning(enum.Enum):
    """What it means that a question about several tasks was not answered."""

    TOO_MANY = enum.auto()
    """A2E does not like so many ids, or one of them: ask about fewer."""
    NO_SUCH = enum.auto()
    """The operation is not there, or not for us: ask another way."""
    LATER = enum.auto()
    """A2E wants to be asked less often."""
    TROUBLE = enum.auto()
    """It will pass."""
    NO_USE = enum.auto()
    """No question will be answered any more."""


def meaning(error: A2EError) -> Meaning:
    """Judge why a question about several tasks was not answered."""
    if isinstance(error, _NO_USE):
        return Meaning.NO_USE
    status = error.status if isinstance(error, APIError | UnexpectedResponseError) else 0
    if turns_away(error):
        return Meaning.LATER
    if status in {404, 405, 410}:
        return Meaning.NO_SUCH
    if isinstance(error, BadRequestError) or status in {413, 414}:
        return Meaning.TOO_MANY
    if isinstance(error, UnexpectedResponseError) and status < 500 and _is_page(error):
        return Meaning.NO_SUCH
    return Meaning.TROUBLE if is_passing(error) else Meaning.NO_SUCH


def _is_page(error: UnexpectedResponseError) -> bool:
    return error.body.removeprefix(_BOM).lstrip()[:1] == b"<"


@attrs.define
class Route:
    """Whether a family can be asked about several tasks at once, and about how many, as far as A2E has shown.

    Attributes:
        size: How many ids one question may hold.
        useless: Questions in a row that told nothing.
        is_on_trial: It was given up, and has not helped since.
    """

    size: int = BATCH
    useless: int = 0
    is_on_trial: bool = False
    _is_tried: bool = False
    _closed_until: float = -math.inf
    _pause: float = _AGAIN
    _larger_at: float = math.inf

    def is_open(self, now: float) -> bool:
        """Tell whether to ask about several at once. While on trial, one question at a time does."""
        if now >= self._larger_at:
            self.size, self._larger_at = BATCH, math.inf
        return now >= self._closed_until and not self._is_tried

    def begin(self) -> None:
        """Take note of a question that begins."""
        self._is_tried = self.is_on_trial

    def end(self) -> None:
        """Take note of a question that ends, however that came about."""
        self._is_tried = False

    def helped(self) -> None:
        """Take note of an answer that told of at least one task."""
        self.useless, self._pause, self.is_on_trial = 0, _AGAIN, False

    def let_down(self) -> None:
        """Take note of a question that told of no task."""
        self.useless += 1

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing was heard of any task for so long that the operation itself may be at fault."""
        return self.is_on_trial or self.useless >= _ENOUGH

    def close(self, now: float) -> None:
        """Ask another way for a while, each time longer."""
        if now >= self._closed_until:
            self._closed_until, self._pause = now + self._pause, min(self._pause * 2, _LONGEST_AGAIN)
        self.useless, self.is_on_trial = 0, True

    def shrink(self, size: int, now: float) -> None:
        """Ask about no more than so many at once for a while."""
        self.size, self._larger_at = min(self.size, size), now + _LARGER_AGAIN


# what an answer about one task means


def verdict(
    error: A2EError, policy: PollPolicy, *, began: float, now: float, seen: bool, repeated: bool
) -> A2EError | None:
    """Return the error that ends a wait, or None for trouble that a paid job must outlive.

    "No such task" is not believed at first: a fresh task can be invisible (reference 1.7). Nor are a 404 or a 400 that
    come only once: a gateway can have said so.

    Args:
        error: What asking about the task raised.
        policy: See `PollPolicy.invisible_for`.
        began: When the wait began.
        now: Seconds on the same clock.
        seen: Whether A2E has ever shown the task.
        repeated: Whether the answer before was of the same kind.
    """
    if isinstance(error, NotFoundError):
        believed = repeated and (seen or now - began >= policy.invisible_for)
        return _not_found(error) if believed else None
    if isinstance(error, BadRequestError):
        return error if repeated else None
    return error if isinstance(error, (*_NO_USE, PlanError)) else None


def is_outage(error: A2EError) -> bool:
    """Tell whether an error means that A2E cannot be reached, so that the patience with an outage runs out.

    Whatever it is that answered with a page or a redirect, it was not A2E.
    """
    return is_passing(error) or isinstance(error, UnexpectedResponseError)


def _not_found(error: NotFoundError) -> TaskNotFoundError:
    mine = TaskNotFoundError(
        error.message, status=error.status, code=error.code, trace_id=error.trace_id, task_id=error.task_id
    )
    mine.__cause__ = error
    return mine

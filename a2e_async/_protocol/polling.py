"""Which tasks are due, and what an answer about one means. `_poller.py` asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2e_async._protocol.retry import is_passing
from a2e_async.errors import (
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

if TYPE_CHECKING:
    from a2e_async.config import PollPolicy
    from a2e_async.errors import A2EError

__all__ = ["is_outage", "next_look", "verdict"]

_FINAL = (
    AuthenticationError,
    PlanError,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
)
"""What will not be otherwise the next time."""


def next_look(policy: PollPolicy, *, began: float, now: float, trouble: A2EError | None = None) -> float:
    """Return when to look again at a task that is waited for since `began`, all on one clock.

    A ``Retry-After`` that came with `trouble` is never shortened.
    """
    age = now - began
    interval = policy.steps[0][1]
    for from_age, seconds in policy.steps:
        if age >= from_age:
            interval = seconds
    asked = trouble.retry_after if isinstance(trouble, APIError) else None
    return now + max(interval, asked or 0.0)


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
    return error if isinstance(error, _FINAL) else None


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

"""Which tasks are due, and what an answer about one means. `_poller.py` asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2e_async._protocol.retry import is_passing
from a2e_async.errors import APIError, NotFoundError

if TYPE_CHECKING:
    from a2e_async.config import PollPolicy
    from a2e_async.errors import A2EError

__all__ = ["ends_wait", "next_look"]


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


def ends_wait(error: A2EError, policy: PollPolicy, *, began: float, now: float, seen: bool) -> bool:
    """Tell whether an error ends a wait, or is trouble that a paid job must outlive.

    "No such task" is not believed at first: a fresh task can be invisible (reference 1.7).

    Args:
        error: What asking about the task raised.
        policy: See `PollPolicy.invisible_for`.
        began: When the wait began.
        now: Seconds on the same clock.
        seen: Whether A2E has ever shown the task.
    """
    if isinstance(error, NotFoundError):
        return seen or now - began >= policy.invisible_for
    if type(error) is APIError and error.status < 400:
        return False  # "Request failed" (E2), or another word that nobody knows: no verdict on the task
    return not is_passing(error)

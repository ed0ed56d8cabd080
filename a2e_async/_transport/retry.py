"""Whether to try something again, and after how long; and the loop that does. The only file that knows backoff.

backoff 2.2.1 measures with the wall clock, shortens what a server asked for, and logs exception texts. So it is left
to do what it does well, the loop around the sleeping: when, how long and how often come from `Attempts`, by way of
`backoff.runtime`, without jitter, limits or logger of its own.
"""

from __future__ import annotations

import asyncio
import random
import warnings
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import backoff

from a2e_async._protocol.failures import TURNED_AWAY, is_passing
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._transport.throttle import PacedApi
from a2e_async.config import RetryPolicy
from a2e_async.errors import (
    A2EError,
    APIError,
)

__all__ = ["Api", "Attempts", "Retry"]


@attrs.define
class Attempts:
    """The tries of one thing.

    Attributes:
        policy: How often, and for how long.
        worth_it: Tells whether an error is worth another try.
        began: When the first try failed; the time before was no trouble, however long it was.
        failed: How many tries have failed.
    """

    policy: RetryPolicy
    worth_it: Callable[[A2EError], bool]
    began: float
    failed: int = 0

    def after(self, error: A2EError, *, now: float, chance: float) -> float | None:
        """Return how many seconds to wait before the next try, or None if there shall be none.

        Args:
            error: Why the try failed.
            now: Seconds on the clock that also gave `began`.
            chance: Evenly random, from 0 to 1: full jitter.
        """
        self.failed += 1
        if not self.worth_it(error) or self.failed >= self.policy.max_attempts:
            return None
        asked = error.retry_after if isinstance(error, APIError) else None
        pause = chance * self._longest() if asked is None else asked
        # whoever was turned away stands in line with all the others; how long that takes is not A2E's trouble
        spent = 0.0 if isinstance(error, TURNED_AWAY) else now - self.began
        return pause if spent + pause <= self.policy.max_time else None

    def _longest(self) -> float:
        # the exponent is bounded, since 2.0 ** 1100 is an OverflowError
        return min(self.policy.max_delay, self.policy.base * 2.0 ** min(self.failed - 1, 64))


T = TypeVar("T")


class _AgainError(Exception):
    """Tells backoff to sleep for `pause` seconds and to try again."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause


async def _attempt(attempts: Attempts, operation: Callable[[], Awaitable[T]], failed: list[A2EError]) -> T:
    """Judge the failure that brought us here, if there is one, else try."""
    try:
        if failed:
            raise failed.pop()
        return await operation()
    except A2EError as error:
        now = asyncio.get_running_loop().time()
        pause = attempts.after(error, now=now, chance=random.random())  # noqa: S311  a pause is no secret
        if pause is None:
            raise
    # raised outside of the handler, so that the final error does not drag all the earlier ones along
    raise _AgainError(pause)


with warnings.catch_warnings():
    # it asks asyncio.iscoroutinefunction, deprecated in 3.14; decorating once keeps that to this line
    warnings.simplefilter("ignore", DeprecationWarning)
    _repeated = backoff.on_exception(
        backoff.runtime, _AgainError, value=lambda again: again.pause, jitter=None, logger=None
    )(_attempt)


@attrs.frozen
class Retry:
    """Repeats an operation that does no harm when it is repeated."""

    policy: RetryPolicy

    async def run(self, operation: Callable[[], Awaitable[T]], worth_it: Callable[[A2EError], bool] = is_passing) -> T:
        """Await `operation` until it works or its error is not worth another try; that error is raised.

        Args:
            operation: What to try.
            worth_it: Which errors are worth another try.
        """
        try:
            return await operation()  # nearly always enough, so backoff's bookkeeping is left for the rest
        except A2EError as error:
            first = error
        return await self.go_on(first, operation, worth_it)

    async def go_on(
        self, first: A2EError, operation: Callable[[], Awaitable[T]], worth_it: Callable[[A2EError], bool] = is_passing
    ) -> T:
        """Do as `run` does, after a try that has failed with `first`."""
        attempts = Attempts(self.policy, worth_it, began=asyncio.get_running_loop().time())
        return await _repeated(attempts, operation, [first])


@attrs.frozen
class Api:
    """Request in, unwrapped answer out; what is repeatable is repeated, and nothing else ever is."""

    paced: PacedApi
    retry: Retry

    def send(self, request: Request) -> Awaitable[Envelope]:
        """Send a request and decode the answer, when awaited.

        Raises:
            APIError: A2E says that something is wrong.
            NetworkError: There is no whole answer.
            UnexpectedResponseError: The answer is none of A2E's.
        """
        if request.repeatable and not request.paid:
            return self.retry.run(lambda: self.paced.send(request))
        return self.paced.send(request)

"""Whether to send again and when, and the loop that does it. The only module that imports backoff.

backoff 2.2.1 measures time with the wall clock, shortens a ``Retry-After`` and logs exception texts. So it runs only
the loop around the sleep: `RetryState` decides about each try, through `backoff.runtime`, without jitter and logger.
"""

import asyncio
import random
import warnings
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import backoff

from a2e_async._protocol.failures import THROTTLING_ERRORS, is_transient
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._transport.throttle import ThrottledTransport
from a2e_async.config import RetryPolicy
from a2e_async.errors import A2EError, APIError


@attrs.define
class RetryState:
    """Failed tries of one operation.

    Attributes:
        policy: How often to try, and for how long.
        is_retryable: Tells whether an error is worth another try.
        began: When the first try failed, in seconds on the loop's clock. The time of the first try does not count.
        failed: How many tries have failed.
    """

    policy: RetryPolicy
    is_retryable: Callable[[A2EError], bool]
    began: float
    failed: int = 0

    def next_delay(self, error: A2EError, *, now: float, jitter: float) -> float | None:
        """Return the seconds to wait before the next try, or None if there is no next try.

        Args:
            error: The error of the try that just failed.
            now: Seconds on the clock that also gave `began`.
            jitter: Random, uniform from 0 to 1. It scales the whole delay (full jitter).
        """
        self.failed += 1
        if not self.is_retryable(error) or self.failed >= self.policy.max_attempts:
            return None
        delay = error.retry_after if isinstance(error, APIError) else None
        if delay is None:  # the exponent is bounded, since 2.0 ** 1100 is an OverflowError
            delay = jitter * min(self.policy.max_delay, self.policy.base * 2.0 ** min(self.failed - 1, 64))
        # After a throttled answer the request waits in the queue of the throttle. The time in that queue is no outage,
        # so it does not count against max_time.
        spent = 0.0 if isinstance(error, THROTTLING_ERRORS) else now - self.began
        return delay if spent + delay <= self.policy.max_time else None


T = TypeVar("T")


class _RetryError(Exception):
    """Signal to backoff: sleep for `delay` seconds, then try again."""

    def __init__(self, delay: float) -> None:
        super().__init__()
        self.delay = delay


async def _attempt(state: RetryState, operation: Callable[[], Awaitable[T]], first: list[A2EError]) -> T:
    """Try once. The first call handles the error in `first` instead, which was raised before the loop began."""
    try:
        if first:
            raise first.pop()
        return await operation()
    except A2EError as error:
        now = asyncio.get_running_loop().time()
        delay = state.next_delay(error, now=now, jitter=random.random())  # noqa: S311  a delay is no secret
        if delay is None:
            raise
    # raised outside of the handler: inside, the final error would show all earlier errors as its context
    raise _RetryError(delay)


with warnings.catch_warnings():
    # backoff calls asyncio.iscoroutinefunction, deprecated in Python 3.14. Decorated once, it warns only here
    warnings.simplefilter("ignore", DeprecationWarning)
    _retried = backoff.on_exception(
        backoff.runtime, _RetryError, value=lambda retry: retry.delay, jitter=None, logger=None
    )(_attempt)


@attrs.frozen
class Retry:
    """Retry loop for operations that may be repeated without harm."""

    policy: RetryPolicy

    async def run(
        self, operation: Callable[[], Awaitable[T]], is_retryable: Callable[[A2EError], bool] = is_transient
    ) -> T:
        """Await `operation` until it succeeds, and return its result.

        Args:
            operation: Called for each try.
            is_retryable: Tells whether an error is worth another try.

        Raises:
            A2EError: The last error, if it is not retryable or the policy allows no further try.
        """
        try:
            return await operation()  # nearly always enough: backoff's bookkeeping is only for the rest
        except A2EError as error:
            first = error
        return await self.run_after(first, operation, is_retryable)

    async def run_after(
        self,
        first: A2EError,
        operation: Callable[[], Awaitable[T]],
        is_retryable: Callable[[A2EError], bool] = is_transient,
    ) -> T:
        """Continue like `run` after a first try that the caller made, and that failed with `first`."""
        state = RetryState(self.policy, is_retryable, began=asyncio.get_running_loop().time())
        return await _retried(state, operation, [first])


@attrs.frozen
class RetryingTransport:
    """Sender that retries repeatable requests, and sends all others once."""

    throttled: ThrottledTransport
    retry: Retry

    def send(self, request: Request) -> Awaitable[Envelope]:
        """Send a request and decode the answer, when awaited.

        Raises:
            APIError: A2E answered with an error.
            NetworkError: There is no complete answer.
            UnexpectedResponseError: The answer is not one of A2E's.
        """
        # a paid request is never repeated here: the submitter decides that, with more knowledge
        if request.repeatable and not request.paid:
            return self.retry.run(lambda: self.throttled.send(request))
        return self.throttled.send(request)

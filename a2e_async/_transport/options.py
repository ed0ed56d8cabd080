"""Options of single calls (`A2EClient.with_options`): their time, their retries, and whether they wait for capacity."""

# How it works: a view of a client has an `ApiTransport` of its own, with these options, but the throttle of its client.
# Each call has a `CallLimits`, which its requests carry to the throttle:
#
# 1. The time-out covers the whole call: its turn in the throttle, all tries, and the pauses between them.
# 2. It does not cut a paid request that has got its turn. A2E goes on with a start whose sender is gone, so a cut would
#    only make its outcome unknown.
# 3. A call that must not wait for capacity fails when it has no turn at once, and after "busy" and 429.
# 4. Its error is the one that tells most: no turn, else that of the last try, else that there was no answer.

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Self

import attrs

from a2e_async._protocol.failures import is_held_back
from a2e_async._values import Value
from a2e_async.config import RetryPolicy
from a2e_async.errors import A2EError, APIError, NetworkError, RateLimitError

_RETRY_AFTER = 1.0  # seconds, if a request in flight has to end first: the least that the HTTP header can say


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallOptions(Value):
    """Options of a view of a client.

    Attributes:
        timeout: Seconds for one call of A2E's API, or None for no limit but those of `Config`.
        retry: The retries.
        wait_for_capacity: Whether to wait while A2E is busy, or the throttle holds requests back.
    """

    timeout: float | None = None
    retry: RetryPolicy
    wait_for_capacity: bool = True


class CallLimits:
    """Limits of one call, and how far it is.

    Attributes:
        options: The options.
        what: Its name for an error, such as ``"GET /api/v1/user/remainingCoins"``.
        is_paid: Whether it can cost coins.
        is_queued: It waits for its turn.
        last_error: The error of the last try.
        expected_wait: Seconds that the throttle expected it to wait for its turn.
    """

    def __init__(self, options: CallOptions, what: str, *, is_paid: bool) -> None:
        """Start the time-out."""
        self.options, self.what, self.is_paid = options, what, is_paid
        self.is_queued = self._applies = False
        self.last_error: A2EError | None = None
        self.expected_wait = 0.0
        self._timeout = asyncio.timeout(options.timeout)
        self._end = self._timeout.when()

    @contextlib.asynccontextmanager
    async def apply(self) -> AsyncIterator[Self]:
        """Apply the limits to a block.

        Raises:
            RateLimitError: The call got no turn in time.
            A2EError: The error of the last try.
            NetworkError: There was no answer in time.
        """
        try:
            async with self._timeout:
                self._applies = True
                yield self
        except TimeoutError:
            if not self._timeout.expired():
                raise
        else:
            return
        finally:
            self._applies = False  # a paid request can outlive a caller that is cancelled
            error, self.last_error = self.last_error, None  # its traceback holds this object
        try:
            raise self._no_turn() if self.is_queued else error or self._no_answer()
        finally:
            del error

    def check_wait(self, seconds: float, error_type: type[APIError]) -> None:
        """Check that the call may wait for its turn.

        Args:
            seconds: How long at least; 0 if that is unknown.
            error_type: The error if it may not.
        """
        self.is_queued, self.expected_wait = True, seconds
        is_late = self._end is not None and asyncio.get_running_loop().time() + seconds > self._end
        if is_late or not self.options.wait_for_capacity:
            raise self._no_turn(error_type)

    def on_turn(self) -> None:
        """Record that the request goes out now."""
        self.is_queued = False
        self._reschedule(None)

    def on_error(self, error: A2EError, pause: float) -> None:
        """Record the error of a try, after which the throttle pauses for some seconds."""
        self.last_error = error if self._applies else None
        if not self.options.wait_for_capacity and error.retry_after is None and is_held_back(error):
            error.retry_after = pause
        self._reschedule(self._end)

    def _reschedule(self, end: float | None) -> None:
        if self.is_paid and self._applies and not self._timeout.expired():
            self._timeout.reschedule(end)

    def _no_turn(self, error_type: type[APIError] = RateLimitError) -> APIError:
        seconds = self.expected_wait or _RETRY_AFTER
        why = "A2E is busy, or the client has reached its limits (Config.pacing)"
        msg = f"{self.what} was not sent: {why}. Try again in {seconds:.1f} s"
        return error_type(msg, status=429 if error_type is RateLimitError else 0, retry_after=seconds)

    def _no_answer(self) -> NetworkError:
        msg = f"A2E did not answer {self.what} within {self.options.timeout:g} s (with_options(timeout=...))"
        return NetworkError(msg, request_sent=not self.is_paid)

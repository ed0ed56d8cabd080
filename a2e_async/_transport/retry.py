"""Whether a request is sent again, and when. The only module that imports backoff."""

# How it works: `Retry.wrap` is `backoff.on_exception` with the rules of this package. A failed try is the last one
#
# 1. if the same request would fail again: `Failure.transient` says so, for a paid request `Failure.may_send_again`;
# 2. after `RetryPolicy.max_attempts` tries;
# 3. if the next one would begin later than `RetryPolicy.max_time` seconds after the first failure.
#
# backoff 2.2.1 measures with the wall clock, its jitter shortens a ``Retry-After``, and it logs the texts of
# exceptions. So clock and jitter are in `Retry.delays`, and backoff gets no `max_time`, no jitter and no logger.

import asyncio
import random
import warnings
from collections.abc import Callable, Coroutine, Generator
from logging import INFO
from typing import Any, ParamSpec, TypeVar

import attrs
import backoff

from a2e_async._observer import Observer, reason_of
from a2e_async._protocol.failures import failure_of, is_held_back
from a2e_async.config import RetryPolicy
from a2e_async.errors import A2EError
from a2e_async.events import RequestRetried

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen(eq=False, repr=False)
class Retry:
    """Retries by one policy.

    Attributes:
        policy: How often to try, and for how long.
        jitter: Returns a random number from 0 to 1, which scales a whole delay (full jitter).
        observer: Receives each retry.
        ends_if_held_back: Never try again after "busy", 429 or any ``Retry-After``.
    """

    policy: RetryPolicy
    jitter: Callable[[], float] = random.random
    observer: Observer = attrs.field(factory=Observer)
    ends_if_held_back: bool = False

    def wrap(
        self,
        function: Callable[P, Coroutine[Any, Any, T]],
        describe: Callable[..., str] = lambda *_, **__: "",
        *,
        paid: bool = False,
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return a function that calls `function` until it succeeds, and raises the last error if no try is left.

        Args:
            function: The asynchronous function.
            describe: Returns what a call of the function does, for the event of a retry.
            paid: Each call can cost coins: try again only if A2E certainly did not accept the one before.
        """

        def report(details: Any) -> None:  # noqa: ANN401  backoff's details
            self.observer.counts["retries"] += 1
            if self.observer.is_enabled(INFO):
                operation, reason = describe(*details["args"], **details["kwargs"]), reason_of(details["exception"])
                event = RequestRetried(
                    operation=operation, attempt=details["tries"], pause=details["wait"], reason=reason
                )
                self.observer.publish(event)

        with warnings.catch_warnings():
            # backoff calls asyncio.iscoroutinefunction, deprecated in Python 3.14. So wrap once, not for each call.
            warnings.simplefilter("ignore", DeprecationWarning)
            return backoff.on_exception(
                self.delays,
                A2EError,
                max_tries=self.policy.max_attempts,
                giveup=self._giveup(_is_final_if_paid if paid else _is_final),
                on_backoff=report,
                jitter=None,
                logger=None,
            )(function)

    def _giveup(self, is_final: Callable[[Exception], bool]) -> Callable[[Exception], bool]:
        return (lambda error: is_held_back(error) or is_final(error)) if self.ends_if_held_back else is_final

    def delays(self) -> Generator[float, Any, None]:
        """Yield the seconds before each next try; raise the error that was sent if the next try would be too late."""
        error: A2EError = yield 0.0  # backoff begins with a `send(None)`
        clock, policy, limit = asyncio.get_running_loop().time, self.policy, self.policy.base
        began = clock()
        while True:
            delay = error.retry_after
            if delay is None:
                delay = self.jitter() * min(policy.max_delay, limit)
            # After a throttled answer the request waits in the queue of the throttle. The time in that queue is no
            # outage, so it does not count against max_time.
            spent = 0.0 if failure_of(error).throttled else clock() - began
            if spent + delay > policy.max_time:
                raise error
            error = yield delay
            limit *= 2.0


def _is_final(error: Exception) -> bool:
    return not failure_of(error).transient


def _is_final_if_paid(error: Exception) -> bool:
    return not failure_of(error).may_send_again

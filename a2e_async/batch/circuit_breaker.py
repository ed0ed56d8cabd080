"""Circuit breaker of a batch: pauses all starts while A2E rejects them, and finds out when it accepts them again."""

# How it works:
#
# * The breaker is *closed* in normal operation: every job attempts its start at once.
# * A rejection that concerns all jobs (no credits, A2E busy or out of reach) *trips* the breaker, and all jobs wait.
#   Starts that were already being sent may still succeed. They say nothing about the present, so they do not close
#   the breaker.
# * After a delay of 5 seconds one job makes an attempt: the *probe*. The others keep waiting in their queue.
# * If the probe fails in the same way, the delay doubles, up to 300 seconds, and the next job in the queue becomes
#   the probe.
# * If the probe succeeds, it *resets* the breaker, and all waiting jobs attempt their starts at once.
# * If the probe fails for a reason of its own job, that says nothing about A2E. The next job probes after the same
#   delay.
# * If the batch *stops* starting for good, or at the first such rejection with ``on_shortage="stop"``, all waiting
#   jobs are released. Each of them notices and is skipped, and the next run with the same journal starts it.
#
# So when credits run out, one rejected start pauses the batch. Then it sends one start at a time, which A2E rejects
# without a charge, until the account has been topped up; then all jobs continue. `call` has the cases.

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from a2e_async.batch import rules
from a2e_async.errors import A2EError, SubmissionUncertainError

T = TypeVar("T")

_LOGGER = logging.getLogger("a2e_async")

_FIRST_DELAY = 5.0
_MAX_DELAY = 300.0


class StoppedError(Exception):
    """Signal that the batch starts nothing more. It never leaves the batch; its `reason` does, in a `JobResult`."""

    def __init__(self, reason: A2EError) -> None:
        super().__init__()
        self.reason = reason


class TrippedError(Exception):
    """Signal that the breaker was tripped before an attempt could send its start. It never leaves `call`."""


@attrs.define(eq=False, repr=False)
class CircuitBreaker:
    """Circuit breaker for the starts of one batch: closed, tripped for a reason, or stopped for good.

    Attributes:
        stops: Whether a failure that would trip the breaker stops the batch instead.
        reason: Why it is tripped, empty while it is closed.
        stopped: Why no job is started any more, or None.
    """

    stops: bool = False
    reason: str = ""
    stopped: A2EError | None = None
    _delay: float = 0.0
    # the probe holds the lock, the queue of the lock is the queue of the waiting jobs
    _probe_lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    # set by a reset or a stop, which end the wait for the delay
    _released: asyncio.Event = attrs.field(factory=asyncio.Event)
    # jobs inside of `call`, waiting or not
    _attempting: int = 0
    _successes: int = 0
    # `_successes` at the last unknown outcome, so that two in a row are noticed
    _uncertain_at: int = -1

    async def call(self, attempt: Callable[[bool], Awaitable[T]], *, costs: bool = True) -> T:
        """Attempt something until it succeeds or fails for good, and let the whole batch pause in between.

        Args:
            attempt: Is told whether it is the probe. Before it sends a start, it calls `check`.
            costs: Whether the attempt is a start, which waits while the breaker is tripped. Any other attempt, such as
                a read of A2E's list, is made at once, and waits as a probe only to be repeated.

        Raises:
            StoppedError: The batch starts nothing more.
            A2EError: The attempt has failed for good.
        """
        failures, successes, must_wait = 0, self._successes, costs
        self._attempting += 1
        try:
            while True:
                probe = must_wait and await self.probe()
                must_wait = True
                try:
                    result = await attempt(probe)
                # Case 1: the breaker was tripped while this job waited for a slot. Wait here.
                except TrippedError:
                    continue
                # Case 2: the outcome stays unknown. One such start can be bad luck. Two in a row mean an outage, in
                # which every further start would cost coins and end the same way: pause. This job is not repeated.
                except SubmissionUncertainError as error:
                    if costs:
                        if self._uncertain_at == self._successes:
                            self.trip(error, probe=probe)
                        self._uncertain_at = self._successes
                    raise
                except A2EError as error:
                    # Failures while other jobs succeed, or while there is no other job, may be this job's own fault.
                    failures += self._successes != successes or self._attempting == 1
                    successes = self._successes
                    self._raise_or_pause(error, failures, probe=probe)
                # Case 3: success. That of a probe closes the breaker. Another one may be older than the reason of a
                # pause, so it does not.
                else:
                    self._successes += 1
                    if probe:
                        self.reset()
                    return result
                finally:
                    if probe:
                        self.end_probe()
        finally:
            self._attempting -= 1

    def _raise_or_pause(self, error: A2EError, failures: int, *, probe: bool) -> None:
        """Raise an error that ends the attempts of a job. Return after a pause has begun, to try again."""
        # Case 4: no start can succeed any more, such as with a wrong token. The batch stops.
        if rules.stops_batch(error):
            self.stop(error)
            raise StoppedError(error) from error
        # Case 5: the error concerns this job only, such as a rejected image; or it would concern all jobs, but only
        # this one keeps failing. The others continue.
        if not rules.pauses_batch(error) or not rules.may_retry(error, failures):
            raise error
        # Case 6: it concerns all jobs: no credits, A2E busy or out of reach. Pause the batch and try again, or stop it
        # if the caller chose that.
        self.trip(error, probe=probe)
        if self.stopped is not None:
            raise StoppedError(self.stopped) from error

    def check(self, *, probe: bool = True) -> None:
        """Check that a job may be started now.

        Args:
            probe: Whether it may be started although the breaker is tripped.

        Raises:
            StoppedError: The batch starts nothing more.
            TrippedError: The breaker is tripped.
        """
        if self.stopped is not None:
            raise StoppedError(self.stopped)
        if self.reason and not probe:
            raise TrippedError

    async def probe(self) -> bool:
        """Wait until the breaker is closed or it is this job's turn to probe; return whether the job is the probe.

        A probe has to call `end_probe` after its attempt, in any case. The job is then the last one in the queue.
        """
        # Case 1: closed, or stopped. The job goes on, and finds out by itself if the batch has stopped.
        if not self.reason or self.stopped is not None:
            return False
        # Case 2: tripped. The first job in the queue holds the lock and waits for the delay. A reset ends its wait.
        await self._probe_lock.acquire()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._delay):
                    await self._released.wait()
        except BaseException:
            self._probe_lock.release()
            raise
        # Case 2a: still tripped after the delay. The job is the probe and keeps the lock.
        if self.reason and self.stopped is None:
            return True
        # Case 2b: reset or stopped meanwhile. The next job in the queue notices the same at once.
        self._probe_lock.release()
        return False

    def end_probe(self) -> None:
        """Let the next waiting job become the probe."""
        self._probe_lock.release()

    def trip(self, error: A2EError, *, probe: bool) -> None:
        """Pause all starts, or stop the batch if the caller chose that.

        Args:
            error: The reason, for `Progress.paused` and the log.
            probe: Whether the probe has failed, which doubles the delay.
        """
        if self.stops:
            self.stop(error)
        if self.stopped is not None:
            return
        if not self.reason:
            self._delay = _FIRST_DELAY
            self._released.clear()
            _LOGGER.warning("The batch is paused: %s", error)
        # Only a probe tells that the pause was too short. Starts sent before the pause all fail in the same moment.
        elif probe:
            self._delay = min(self._delay * 2, _MAX_DELAY)
        # The batch itself looks for a task of unknown outcome: the advice to do so is left out.
        self.reason = error.message if isinstance(error, SubmissionUncertainError) else str(error)

    def reset(self) -> None:
        """Close the breaker, after the success of a probe."""
        if self.reason:
            _LOGGER.warning("The batch continues")
            self.reason = ""
            self._released.set()

    def stop(self, reason: A2EError) -> None:
        """Start nothing more, and release all waiting jobs. The first reason counts."""
        self.stopped = self.stopped or reason
        self._released.set()

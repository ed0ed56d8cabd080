"""Circuit breaker of a batch: pauses all starts while A2E rejects them, and finds out when it accepts them again."""

# How it works:
#
# * The breaker is *closed* in normal operation: every job attempts its start at once.
# * A rejection that concerns all jobs (no credits, A2E busy or out of reach) *trips* the breaker, and all jobs wait.
#   So does any other rejection that comes five times in a row, the same each time, with nothing accepted in between.
#   Starts that were already being sent may still succeed. They say nothing about the present, so they do not close
#   the breaker.
# * After a delay of 5 seconds one job makes an attempt: the *probe*. The others keep waiting in their queue.
# * If the probe fails in the same way, the delay doubles, up to 300 seconds, and the next job in the queue becomes
#   the probe.
# * If the probe succeeds, it *resets* the breaker, and all waiting jobs attempt their starts at once.
# * If the probe fails for a reason of its own job, that says nothing about A2E. The next job probes after the same
#   delay.
# * If the batch *stops* starting for good, or at the first such rejection with ``on_shortage="stop"``, all waiting
#   jobs are released. Each of them notices and is skipped, and the next run with the same journal starts it. It stops
#   if the plan does not allow the start, if the token is wrong (which is believed the second time), and if the same
#   rejection of unknown meaning still comes after the longest delay.
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
from a2e_async.errors import A2EError, SubmissionUncertainError, UnexpectedResponseError

T = TypeVar("T")

_LOGGER = logging.getLogger("a2e_async")

FIRST_DELAY = 5.0
MAX_DELAY = 300.0

_MAX_SAME_REFUSALS = 5  # in a row


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
        unreadable: Set when the batch has stopped because A2E's answers to starts cannot be read. Looking for their
            tasks is no use then.
    """

    stops: bool = False
    reason: str = ""
    stopped: A2EError | None = None
    unreadable: asyncio.Event = attrs.field(factory=asyncio.Event)
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
    # what A2E has answered to the last rejected starts, and how often in a row
    _refusal: tuple[object, ...] | None = None
    _refusals: int = 0
    # whether the breaker was tripped by an error that is believed the second time
    _is_suspect: bool = False

    async def call(self, attempt: Callable[[bool], Awaitable[T]], *, costs: bool = True, is_needed: bool = True) -> T:
        """Attempt something until it succeeds or fails for good, and let the whole batch pause in between.

        Args:
            attempt: Is told whether it is the probe. Before it sends a start, it calls `check`.
            costs: Whether the attempt is a start, which waits while the breaker is tripped. Any other attempt, such as
                a read of A2E's list, is made at once, and waits as a probe only to be repeated.
            is_needed: Whether no start can be sent until it succeeds, so that a failure of A2E pauses the batch.

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
                        self._on_uncertain(error, probe=probe)
                    raise
                except A2EError as error:
                    # Failures while other jobs succeed, or while there is no other job, may be this job's own fault.
                    failures += self._successes != successes or self._attempting == 1
                    successes = self._successes
                    pauses = rules.pauses_batch(error, is_needed=is_needed) and rules.may_retry(error, failures)
                    self._raise_or_pause(error, pauses=pauses, probe=probe, costs=costs)
                # Case 3: success. That of a probe closes the breaker. Another one may be older than the reason of a
                # pause, so it does not.
                else:
                    self._successes += 1
                    if costs:
                        self._refusal = None
                    if probe:
                        self.reset()
                    return result
                finally:
                    if probe:
                        self.end_probe()
        finally:
            self._attempting -= 1

    def _on_uncertain(self, error: SubmissionUncertainError, *, probe: bool) -> None:
        """Pause after a second start in a row with an unknown outcome, or stop if the next one would end so as well."""
        is_second, self._uncertain_at, self._refusal = self._uncertain_at == self._successes, self._successes, None
        if not is_second:
            return
        if not rules.is_unreadable(error):
            self.trip(error, probe=probe)
            return
        msg = (
            "Nothing more is started: A2E answers starts in a form that is not known, without the id of the task. Each "
            f"may cost coins. {error.message}"
        )
        self.unreadable.set()
        self.stop(UnexpectedResponseError(msg))

    def _raise_or_pause(self, error: A2EError, *, pauses: bool, probe: bool, costs: bool) -> None:
        """Raise an error that ends the attempts of a job. Return after a pause has begun, to try again."""
        # Case 4: no start can succeed any more. The batch stops; but a 401 can come from a gateway, so that a probe has
        # to get it again.
        if rules.stops_batch(error):
            if not rules.must_repeat(error) or (probe and self._is_suspect):
                self.stop(error)
                raise StoppedError(error) from error
            self._is_suspect = True
            self._pause(error, probe=probe)
            return
        # Case 5: the error concerns this job only, such as a rejected image; or it would concern all jobs, but only
        # this one keeps failing. The others continue, unless A2E has given several of them the same answer.
        if not pauses:
            if costs:
                self._count_refusal(error, probe=probe)
            raise error
        # Case 6: it concerns all jobs: no credits, A2E busy or out of reach. Pause the batch and try again, or stop it
        # if the caller chose that.
        self.trip(error, probe=probe)
        if self.stopped is not None:
            raise StoppedError(self.stopped) from error

    def _count_refusal(self, error: A2EError, *, probe: bool) -> None:
        """Trip the breaker if A2E rejects one job after the other with the same answer, of any meaning."""
        refusal = rules.refusal_of(error)
        self._refusals = self._refusals + 1 if refusal == self._refusal else 1
        self._refusal = refusal
        if refusal is None or self._refusals < _MAX_SAME_REFUSALS:
            return
        # The longest delay has not helped. Each further probe would fail one more job.
        if probe and self._delay >= MAX_DELAY:
            self.stop(error)
        else:
            self.trip(error, probe=probe)

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
        self._pause(error, probe=probe)

    def _pause(self, error: A2EError, *, probe: bool) -> None:
        if self.stopped is not None:
            return
        if not self.reason:
            self._delay = FIRST_DELAY
            self._released.clear()
            _LOGGER.warning("The batch is paused: %s", error)
        # Only a probe tells that the pause was too short. Starts sent before the pause all fail in the same moment.
        elif probe:
            self._delay = min(self._delay * 2, MAX_DELAY)
        # The batch itself looks for a task of unknown outcome: the advice to do so is left out.
        self.reason = error.message if isinstance(error, SubmissionUncertainError) else str(error)

    def reset(self) -> None:
        """Close the breaker, after the success of a probe."""
        if self.reason:
            _LOGGER.warning("The batch continues")
            self.reason, self._is_suspect = "", False
            self._released.set()

    def stop(self, reason: A2EError) -> None:
        """Start nothing more, and release all waiting jobs. The first reason counts."""
        self.stopped = self.stopped or reason
        self._released.set()

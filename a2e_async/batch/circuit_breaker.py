"""Circuit breaker of a batch: pauses all starts while A2E rejects them, and finds out when it accepts them again.

How it works:

* The breaker is *closed* in normal operation: every job attempts its start at once.
* A rejection that concerns all jobs (no credits, A2E busy or out of reach) *trips* the breaker, and all jobs wait.
  Starts that were already being sent may still succeed. They say nothing about the present, so they do not close the
  breaker.
* After a delay of 5 seconds one job makes an attempt: the *probe*. The others keep waiting in their queue.
* If the probe fails in the same way, the delay doubles, up to 300 seconds, and the next job in the queue becomes the
  probe.
* If the probe succeeds, it *resets* the breaker, and all waiting jobs attempt their starts at once.
* If the probe fails for a reason of its own job, that says nothing about A2E. The next job probes after the same delay.
* If the batch *stops* starting for good, `stop` releases all waiting jobs. Each of them notices and is skipped.

So when credits run out, one rejected start pauses the batch. Then it sends one start at a time, which A2E rejects
without a charge, until the account has been topped up; then all jobs continue. The caller of the breaker,
`submission.py`, decides which errors trip it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import attrs

_LOGGER = logging.getLogger("a2e_async")

_FIRST_DELAY = 5.0
_MAX_DELAY = 300.0


@attrs.define(eq=False)
class CircuitBreaker:
    """Circuit breaker for the starts of one batch: closed, or tripped for a reason.

    Attributes:
        reason: Why it is tripped, empty while it is closed.
        successes: How many attempts have succeeded.
        attempting: How many jobs are inside of `attempt`, waiting or not.
    """

    reason: str = ""
    successes: int = 0
    attempting: int = 0
    _delay: float = 0.0
    # the probe holds the lock, the queue of the lock is the queue of the waiting jobs
    _probe_lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    # set by a reset or a stop, which end the wait for the delay
    _released: asyncio.Event = attrs.field(factory=asyncio.Event)
    _stopped: bool = False
    # `successes` at the last unknown outcome, so that two in a row are noticed
    _uncertain_at: int = -1

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Count a job that attempts something, until it has succeeded or given up."""
        self.attempting += 1
        try:
            yield
        finally:
            self.attempting -= 1

    async def probe(self) -> bool:
        """Wait until the breaker is closed or it is this job's turn to probe; return whether the job is the probe.

        A probe has to call `end_probe` after its attempt, in any case. The job is then the last one in the queue.
        """
        # Case 1: closed, or stopped. The job goes on, and finds out by itself if the batch has stopped.
        if not self.reason or self._stopped:
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
        if self.reason and not self._stopped:
            return True
        # Case 2b: reset or stopped meanwhile. The next job in the queue notices the same at once.
        self._probe_lock.release()
        return False

    def end_probe(self) -> None:
        """Let the next waiting job become the probe."""
        self._probe_lock.release()

    def trip(self, reason: str, *, probe: bool) -> None:
        """Pause all starts.

        Args:
            reason: The text of the error, for `Progress.paused` and the log.
            probe: Whether the probe has failed, which doubles the delay.
        """
        if not self.reason:
            self._delay = _FIRST_DELAY
            self._released.clear()
            _LOGGER.warning("The batch is paused: %s", reason)
        # Only a probe tells that the pause was too short. Starts sent before the pause all fail in the same moment.
        elif probe:
            self._delay = min(self._delay * 2, _MAX_DELAY)
        self.reason = reason
        if self._stopped:
            self._released.set()

    def reset(self) -> None:
        """Close the breaker after the success of a probe, or count the success if it is closed."""
        self.successes += 1
        if self.reason:
            _LOGGER.warning("The batch continues")
            self.reason = ""
            self._released.set()

    def record_uncertain(self) -> bool:
        """Record a start whose outcome stays unknown; return whether it is the second in a row without a success."""
        again, self._uncertain_at = self._uncertain_at == self.successes, self.successes
        return again

    def stop(self) -> None:
        """Release all waiting jobs, forever: the batch starts nothing more, and each job notices that by itself."""
        self._stopped = True
        self._released.set()

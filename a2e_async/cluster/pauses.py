"""Circuit breaker of a whole cluster: one worker learns that A2E rejects starts, and all of them wait."""

# How it works: it is the breaker of a batch (`batch/circuit_breaker.py`), whose state is in the database. The copy of
# this process follows the `Account`. Three things differ.
#
# * One job of the whole cluster probes, and the delay between two probes is that of the cluster.
# * Where a batch stops for good, such as for a plan that does not allow the start, a cluster is *held*: its jobs wait,
#   and nothing is lost, until `Cluster.resume`.
# * A closed client is a matter of one process.

import asyncio
from collections.abc import Coroutine
from typing import Any

import attrs

from a2e_async.batch import circuit_breaker
from a2e_async.batch.circuit_breaker import CircuitBreaker
from a2e_async.cluster.account import Account
from a2e_async.errors import A2EError, ClientClosedError, SubmissionUncertainError


@attrs.define(eq=False, repr=False)
class ClusterBreaker(CircuitBreaker):
    """Circuit breaker of one worker, which follows the state of the cluster.

    Attributes:
        account: The state of the cluster.
        stop_reason: The last error for which the cluster was held.
    """

    account: Account = attrs.field(kw_only=True)
    stop_reason: A2EError | None = None
    _background: set[asyncio.Task[None]] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        """Follow the account."""
        self.account.on_change.append(self.follow)
        self.follow()

    def follow(self) -> None:
        """Take over the state of the cluster."""
        account = self.account
        if account.pause_kind:
            if not self.reason:
                self._released.clear()
            self.reason = account.pause_reason or "paused"
        elif self.reason:
            self.reason, self._is_suspect = "", False
            self._released.set()

    async def probe(self) -> bool:
        """Wait until the breaker is closed, or it is the turn of this job to probe for the whole cluster."""
        while self.reason:
            await self._probe_lock.acquire()
            is_probe = False
            try:
                while self.reason and not is_probe:
                    is_probe = self.account.pause_kind == "breaker" and await self.account.claim_probe()
                    if not is_probe:
                        await self.account.wait(min(1.0, circuit_breaker.FIRST_DELAY / 2))
            finally:
                if not is_probe:
                    self._probe_lock.release()
            if is_probe:
                return True
        return False

    def end_probe(self) -> None:
        """Let the next waiting job become the probe, after the delay."""
        super().end_probe()
        if self.reason:
            self._soon(self.account.end_probe())

    async def wait_until_released(self) -> None:
        """Wait until the cluster is not paused."""
        while self.reason:
            await self.account.wait(1.0)

    def _pause(self, error: A2EError, *, probe: bool) -> None:
        reason = error.message if isinstance(error, SubmissionUncertainError) else str(error)
        if not self.reason:
            self._released.clear()
        self.reason = reason
        first, max_delay = circuit_breaker.FIRST_DELAY, circuit_breaker.MAX_DELAY
        self._soon(self.account.trip(reason, probe=probe, first=first, max_delay=max_delay))

    def reset(self) -> None:
        """Close the breaker of the whole cluster, after the success of a probe."""
        if self.reason:
            self._soon(self.account.resume("breaker"))

    def stop(self, reason: A2EError) -> None:
        """Hold the whole cluster. A client that is closed ends only its own worker."""
        self.stop_reason = reason
        if not isinstance(reason, ClientClosedError):
            if not self.reason:
                self._released.clear()
            self.reason = str(reason)
            self._soon(self.account.hold(str(reason)))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="a2e-cluster-pause")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self, seconds: float) -> None:
        """Write what is pending, for that many seconds at most."""
        pending = [*self._background]
        if pending:
            _, late = await asyncio.wait(pending, timeout=seconds)
            for task in late:
                task.cancel()

"""Signs of life of a worker of a cluster, and its care for the jobs of workers that have died."""

import asyncio
import collections
import json
from collections.abc import Callable, Collection
from typing import Protocol

import attrs

from a2e_async.cluster.account import Account
from a2e_async.cluster.database import Database
from a2e_async.cluster.journal import PostgresJournal
from a2e_async.cluster.queue import Queue
from a2e_async.config import Pacing

_SHOW = """WITH mine AS (
    INSERT INTO a2e_workers (name, waits, stall_timeout) VALUES (%s, %s::json, %s)
    ON CONFLICT (name) DO UPDATE
        SET waits = excluded.waits, seen_at = excluded.seen_at, stall_timeout = excluded.stall_timeout
) SELECT count(*) FROM a2e_workers
    WHERE name <> %s AND seen_at > now() - make_interval(secs => stall_timeout)"""


class Throttle(Protocol):
    """The throttle of a client."""

    policy: Pacing


@attrs.define(kw_only=True, eq=False, repr=False)
class Heartbeat:
    """What a worker does every few seconds.

    Attributes:
        name: The name of the worker.
        interval: Seconds between two beats.
        stall_timeout: Seconds without a beat after which a worker counts as dead.
        database: Of the cluster. So are `queue` and `account`.
        queue: As before.
        account: As before.
        journal: Has the claims of the worker.
        throttle: Of its client.
        jobs: The keys of the jobs under way.
        stage_of: Returns the stage of a job; empty if it has none yet.
    """

    name: str
    interval: float
    stall_timeout: float
    database: Database
    queue: Queue
    account: Account
    journal: PostgresJournal
    throttle: Throttle
    jobs: Collection[str]
    stage_of: Callable[[str], str]
    _unknown: set[int] = attrs.field(factory=set, init=False)
    _own_rate: float | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Remember the rate of the client."""
        self._own_rate = self.throttle.policy.per_second

    async def run(self) -> None:
        """Say what this worker does, and look after the jobs of workers that have died, until this is cancelled."""
        try:
            while True:
                await self._show()
                await self.journal.find_lost()
                ended_at, now = self.database.outage.ended_at, asyncio.get_running_loop().time()
                # after an outage, the heartbeats of all workers are late
                if ended_at is None or now - ended_at > self.stall_timeout:
                    await self.queue.take_over(self.stall_timeout)
                await self._requeue_unknown()
                await self.queue.restore()
                await asyncio.sleep(self.interval)
        finally:
            self._set_rate(self._own_rate)

    async def _show(self) -> None:
        stages = collections.Counter(self.stage_of(key) or "checking" for key in [*self.jobs])
        values = self.name, json.dumps(stages), self.stall_timeout, self.name
        rows = await self.database.execute(_SHOW, *values, is_patient=True)
        self._share_rate(rows[0][0] + 1)

    def _share_rate(self, workers: int) -> None:
        """Take this worker's part of the rate that the cluster may use."""
        total = self.account.per_second
        rates = [rate for rate in (self._own_rate, None if total is None else total / workers) if rate is not None]
        self._set_rate(min(rates, default=None))

    def _set_rate(self, rate: float | None) -> None:
        if self.throttle.policy.per_second != rate:
            self.throttle.policy = attrs.evolve(self.throttle.policy, per_second=rate)

    async def _requeue_unknown(self) -> None:
        """Give back jobs that the queue has given to this worker in an answer that was lost."""
        own = await self.queue.own_jobs()
        unknown = {number for number, key in own.items() if key not in self.jobs}
        for number in unknown & self._unknown:  # twice: the first time, it may just be on its way
            await self.queue.requeue(number)
        self._unknown = unknown

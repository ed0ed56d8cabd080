"""What all workers of a cluster share about the account: limits, pauses, prices. The row of `a2e_account`."""

# How it works: every worker has a copy of the row, which it reads again after each notification, and now and then in
# case one was missed. What must not happen twice at the same moment, such as taking one of the last places, is decided
# in a transaction that locks the row.

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

from a2e_async.cluster.database import Database
from a2e_async.errors import ClusterError

_LOGGER = logging.getLogger("a2e_async")

CHANNEL = "a2e_account"

PauseKind: TypeAlias = Literal["", "breaker", "held"]
"""``"breaker"``: one job after the other probes whether the pause can end. ``"held"``: until `Cluster.resume`."""

_COLUMNS = "id, base_url, max_running, max_coins, per_second, pause_kind, pause_reason"

_TRIP = """UPDATE a2e_account SET
        pause_kind = 'breaker', pause_reason = %(reason)s,
        pause_delay = CASE WHEN pause_kind = '' THEN %(first)s
            WHEN %(probe)s THEN least(2 * pause_delay, %(max)s) ELSE pause_delay END,
        probe_at = CASE WHEN pause_kind = '' THEN now() + make_interval(secs => %(first)s)
            WHEN %(probe)s THEN now() + make_interval(secs => least(2 * pause_delay, %(max)s)) ELSE probe_at END
    WHERE pause_kind <> 'held'"""

_HOLD = "UPDATE a2e_account SET pause_kind = 'held', pause_reason = %s WHERE pause_kind <> 'held'"

_RESUME = "UPDATE a2e_account SET pause_kind = '', pause_reason = '' WHERE pause_kind = ANY(%s)"

# The one probe of the whole cluster. If its worker dies, the next one comes after some minutes.
_PROBE = """UPDATE a2e_account SET probe_at = now() + make_interval(secs => pause_delay + %s)
    WHERE pause_kind = 'breaker' AND probe_at <= now() RETURNING 1"""

_END_PROBE = """UPDATE a2e_account SET probe_at = now() + make_interval(secs => pause_delay)
    WHERE pause_kind = 'breaker'"""

_PROBE_TIME = 150.0  # seconds that a probe may take: an upload, and a start


@attrs.define(eq=False, repr=False)
class Account:
    """Copy of the row, for one process.

    Attributes:
        database: Where the row is.
        refresh_interval: Seconds between two reads that no notification has asked for.
        id: Random name of the cluster, a part of the markers.
        max_running: Tasks at A2E at the same time, None for no limit.
        max_coins: Coins that all jobs may cost, None for no limit.
        per_second: Requests a second of all workers together, None for no limit.
        pause_kind: Whether nothing is started at the moment.
        pause_reason: Why.
        on_change: Called after each read.
    """

    database: Database
    refresh_interval: float = 2.0
    id: str = ""
    base_url: str | None = None
    max_running: int | None = None
    max_coins: float | None = None
    per_second: float | None = None
    pause_kind: PauseKind = ""
    pause_reason: str = ""
    on_change: list[Callable[[], None]] = attrs.field(factory=list)
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    _writes: int = 0  # pauses that are not written yet: what is read until then is older

    async def refresh(self) -> None:
        """Read the row.

        Raises:
            ClusterError: The database cannot be used.
        """
        rows = await self.database.execute(f"SELECT {_COLUMNS} FROM a2e_account", is_patient=True)  # noqa: S608  names of ours
        id_, base_url, max_running, max_coins, per_second, kind, reason = rows[0]
        self.id, self.base_url = id_, base_url
        self.max_running, self.max_coins, self.per_second = max_running, max_coins, per_second
        if not self._writes:
            self.pause_kind, self.pause_reason = kind, reason
        self.notify()

    def notify(self) -> None:
        """Wake all that wait for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for function in self.on_change:
            function()

    async def wait(self, seconds: float) -> None:
        """Wait for a change, for that many seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def watch(self) -> None:
        """Read the row from time to time, since a notification can be missed. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(self.refresh_interval)
            await self.refresh()

    async def on_notification(self, payload: str) -> None:
        """Follow a notification of `CHANNEL`; or an empty one, after which others may have been missed."""
        if payload == "room":
            self.notify()
        else:
            await self.refresh()

    async def set_limits(self, **limits: float | None) -> None:
        """Write limits, by the names of their columns."""
        names = [f"{name} = %s" for name in limits]
        query = f"UPDATE a2e_account SET {', '.join(names)}"  # noqa: S608  names of ours
        await self.database.execute(query, *limits.values())

    async def claim_base_url(self, base_url: str) -> None:
        """Check that the tasks of this cluster are at this A2E, or remember that they are.

        Raises:
            ClusterError: They are at another one.
        """
        query = "UPDATE a2e_account SET base_url = coalesce(base_url, %s) RETURNING base_url"
        rows = await self.database.execute(query, base_url)
        if rows[0][0] != base_url:
            msg = (
                f"The tasks of this cluster are at {rows[0][0]}, and this worker would use {base_url}: use another "
                "database for another A2E"
            )
            raise ClusterError(msg)

    # pauses

    async def trip(self, reason: str, *, probe: bool, first: float, max_delay: float) -> None:
        """Pause the whole cluster, until a probe succeeds; a failed `probe` makes the pause longer."""
        values = {"reason": reason, "probe": probe, "first": first, "max": max_delay}
        await self._write_pause("breaker", reason, lambda connection: connection.execute(_TRIP, values))

    async def hold(self, reason: str) -> None:
        """Pause the whole cluster, until `Cluster.resume`. The first reason counts."""
        await self._write_pause("held", reason, lambda connection: connection.execute(_HOLD, (reason,)))

    async def resume(self, *kinds: PauseKind) -> None:
        """End a pause of these kinds."""
        await self.database.execute(_RESUME, [*kinds], is_patient=True)
        await self.refresh()

    async def claim_probe(self) -> bool:
        """Return whether this process is the one to probe now."""
        return bool(await self.database.execute(_PROBE, _PROBE_TIME, is_patient=True))

    async def end_probe(self) -> None:
        """Let the next probe come after the same delay."""
        await self.database.execute(_END_PROBE, is_patient=True)

    async def _write_pause(self, kind: PauseKind, reason: str, operation: Callable[..., Any]) -> None:
        if self.pause_kind != "held":
            self.pause_kind, self.pause_reason = kind, reason
        self._writes += 1
        try:
            await self.database.run(operation, is_patient=True)
        finally:
            self._writes -= 1
        await self.refresh()

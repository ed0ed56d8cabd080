"""Journal of a cluster: the rows of `a2e_jobs` that a worker has claimed, written only while it holds the claim."""

# How it works:
#
# * A worker *claims* a job when it begins: the row gets the next number as its `fence`. Each later write of this worker
#   names that number, and changes nothing if another worker has claimed the job since then. So a worker that was
#   stopped, or cut off from the network, cannot write any more once its job was given away. It notices that before a
#   start is sent, since each start is written first (`Journal.max_lateness`).
# * As in the journal of a batch, `write_soon` puts an entry into a group, and one statement writes the group. The
#   writer waits while the server is away: jobs go on, and those that have to write wait.
# * The identity of a job, its request and its name, is written when it is queued and never after that.

import asyncio
import contextlib
import contextvars
import json
import math
import time
from collections.abc import Callable
from typing import Any

import attrs

from a2e_async.batch.journal import Journal
from a2e_async.batch.journal_rows import COLUMNS, from_values, to_values
from a2e_async.batch.rules import JournalEntry
from a2e_async.cluster.database import Database
from a2e_async.errors import ClusterError, JournalError

# Columns of an entry that a worker writes.
_WRITTEN = tuple(name for name in COLUMNS if name not in {"key", "request", "target", "path", "created_at"})

_TYPES = {
    **dict.fromkeys(_WRITTEN, "text"),
    **dict.fromkeys(("coins", "quoted", "sent_at", "accepted_at", "finished_at"), "double precision"),
    "starts": "integer",
}

_JSON = frozenset({"record", "error"})

# JSON is a text inside of the JSON of the whole group: it can hold what no column of texts can, such as a NUL.
_SET = ", ".join(f"{name} = new.{name}{'::json' if name in _JSON else ''}" for name in _WRITTEN)
_FIELDS = ", ".join(f"{name} {_TYPES[name]}" for name in _WRITTEN)

_WRITE = f"""UPDATE a2e_jobs AS old SET {_SET}, slot = new.slot, reserved = new.reserved::json, output = new.output,
        setbacks = new.setbacks, ended = new.ended, worker = CASE WHEN new.freed THEN NULL ELSE old.worker END
    FROM json_to_recordset(%s::json) AS new(key text, fence bigint, slot boolean, reserved text, output text,
        setbacks integer, ended boolean, freed boolean, {_FIELDS})
    WHERE old.key = new.key AND old.fence = new.fence RETURNING old.key"""  # noqa: S608  names of ours

_CLAIM = """UPDATE a2e_jobs SET fence = fence + 1, worker = %s, tries = tries + 1, reserved = NULL,
        slot = slot AND state IN ('sending', 'running', 'uncertain')
    WHERE key = %s AND NOT ended RETURNING fence, name, links, slot, output, setbacks, retry_failed"""

_ENTRY = ", ".join({"target": "NULL", "path": "NULL"}.get(name, name) for name in COLUMNS)
_LOAD = f"SELECT {_ENTRY} FROM a2e_jobs WHERE key = %s"  # noqa: S608  names of ours


class ClaimLostError(JournalError):
    """Signal that another worker has the job now. It never leaves a worker."""


@attrs.define(eq=False, repr=False)
class Claim:
    """Claim of this worker on one job.

    Attributes:
        key: The job.
        fence: The number of the claim.
        name: The name of its file.
        links: Images that were uploaded when the job was queued: ``{"image": link, ...}``.
        slot: Whether the job counts for `max_running`.
        output: Where its result is.
        setbacks: How often the job went back to the queue since it could not go on.
        retry_failed: How many starts `Cluster.retry` has allowed after failed ones.
        reserved: The coins that are reserved for its start, as JSON, or None.
        ended: Whether nothing is left to do.
        freed: Whether the worker gives the job back.
        entry: The entry as it was last written or read.
        is_lost: Whether another worker has claimed the job.
    """

    key: str
    fence: int
    name: str
    links: dict[str, str]
    slot: bool
    output: str | None
    setbacks: int
    retry_failed: int
    reserved: dict[str, Any] | None = None
    ended: bool = False
    freed: bool = False
    entry: JournalEntry | None = None
    is_lost: bool = False


current_claim: contextvars.ContextVar[Claim] = contextvars.ContextVar("current_claim")
"""The claim of the job that the running task of asyncio works on."""


@attrs.define(eq=False, repr=False)
class _Group:
    """Rows that one statement writes."""

    rows: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    done: asyncio.Event = attrs.field(factory=asyncio.Event)
    error: JournalError | None = None


@attrs.define(eq=False, repr=False)
class PostgresJournal(Journal):
    """Journal of one worker. Run `write_groups` in a task, and `close` it at the end.

    Attributes:
        worker: The name of the worker.
        on_lost: Called with the key of a job that another worker has claimed.
        may_lack_starts: Whether the database is a restored backup, so that A2E may have tasks that it does not know.
        claims: The jobs that this worker holds.
    """

    database: Database
    worker: str
    on_lost: Callable[[str], None]
    may_lack_starts: bool = False
    claims: dict[str, Claim] = attrs.field(factory=dict, init=False)
    _group: _Group = attrs.field(factory=_Group, init=False)
    _groups: dict[str, _Group] = attrs.field(factory=dict, init=False)  # the last one of each job
    _last_group: _Group | None = attrs.field(default=None, init=False)  # for `flush`
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        """Load each entry, and check each claim right before its start is sent."""
        self.is_new = False
        self.max_lateness = -math.inf

    async def claim(self, key: str) -> Claim | None:
        """Claim a job for this worker; return None if there is no such job, or nothing is left to do.

        Raises:
            ClusterError: The database cannot be used.
        """
        rows = await self.database.execute(_CLAIM, self.worker, key, is_patient=True)
        if not rows:
            return None
        claim = self.claims[key] = Claim(key, *rows[0])
        return claim

    async def load(self, key: str) -> JournalEntry | None:
        """Return the entry of a job that is claimed."""
        claim = self.check_held(key)
        rows = await self._patient(_LOAD, key)
        if not rows:
            return None
        entry = from_values(
            [None if name in {"target", "path"} else value for name, value in zip(COLUMNS, rows[0], strict=True)]
        )
        # an image that was uploaded when the job was queued is a link for its worker
        entry.request = entry.request | {field: {"url": link} for field, link in claim.links.items()}
        claim.entry = entry
        return entry

    def write_soon(self, entry: JournalEntry) -> None:
        """Write an entry, as it is now, with the next group."""
        claim = self._held(entry.key)
        if claim is not None:
            claim.entry = entry
            self._add(claim)

    def update(self, claim: Claim) -> None:
        """Write what else is known about a job, with the next group."""
        if claim.entry is not None and not claim.is_lost and self.claims.get(claim.key) is claim:
            self._add(claim)

    def _add(self, claim: Claim) -> None:
        assert claim.entry is not None  # noqa: S101  for mypy
        values = dict(zip(COLUMNS, to_values(claim.entry), strict=True))
        row = {name: _clean(values[name]) for name in _WRITTEN} | {
            "key": claim.key,
            "fence": claim.fence,
            "slot": claim.slot,
            "reserved": None if claim.reserved is None else json.dumps(claim.reserved),
            "output": claim.output,
            "setbacks": claim.setbacks,
            "ended": claim.ended,
            "freed": claim.freed,
        }
        self._group.rows[claim.key] = row
        self._groups[claim.key] = self._last_group = self._group
        self._wake.set()

    async def save(self, entry: JournalEntry) -> None:
        """Write an entry, and return when it is durable.

        Raises:
            ClaimLostError: Another worker has the job.
            JournalError: It could not be written.
        """
        self.check_held(entry.key)
        self.write_soon(entry)
        await self.flush_job(entry.key)

    async def flush_job(self, key: str) -> None:
        """Return when all that was written about a job is durable. Raises as `save`."""
        group = self._groups.get(key)
        if group is not None:
            await group.done.wait()
            if group.error is not None:
                raise group.error
        self.check_held(key)

    async def flush(self) -> None:
        """Return when all that was written so far is durable."""
        group = self._last_group
        if group is not None:
            await group.done.wait()
            if group.error is not None:
                raise group.error

    async def load_link(self, digest: str, since: float) -> str | None:
        """Return the link of an image that a worker has uploaded since a time (seconds since the epoch), or None."""
        query = "SELECT link FROM a2e_uploads WHERE digest = %s AND uploaded_at >= %s"
        rows = await self._patient(query, digest, since)
        return str(rows[0][0]) if rows else None

    def write_link_soon(self, digest: str, link: str) -> None:
        """Remember the link of an uploaded image. If it cannot be written, another worker uploads the image again."""
        task = asyncio.get_running_loop().create_task(write_link(self.database, digest, link), name="a2e-cluster-link")
        _LINKS.add(task)
        task.add_done_callback(_LINKS.discard)

    def release(self, claim: Claim) -> None:
        """Forget a claim of this process."""
        if self.claims.get(claim.key) is claim:
            del self.claims[claim.key]
            self._groups.pop(claim.key, None)

    async def find_lost(self) -> None:
        """Notice which jobs other workers have claimed."""
        if not self.claims:
            return
        fences = {key: claim.fence for key, claim in self.claims.items()}
        rows = await self._patient("SELECT key, fence FROM a2e_jobs WHERE key = ANY(%s)", [*fences])
        for key, fence in rows:
            if fence != fences[key]:
                self._lose(key, fences[key])

    async def write_groups(self) -> None:
        """Write one group after the other, until this is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._group.rows:
                await self._write_group()

    async def close(self, seconds: float) -> None:
        """Write what is pending, for that many seconds at most."""
        with contextlib.suppress(TimeoutError, JournalError):
            async with asyncio.timeout(seconds):
                while self._group.rows:
                    await self._write_group()
        self._group.error = JournalError("The worker has ended")
        self._group.done.set()
        for task in [*_LINKS]:
            task.cancel()

    async def _write_group(self) -> None:
        group, self._group = self._group, _Group()
        try:
            await self._write_rows(group)
        except JournalError as error:
            group.error = error
        except asyncio.CancelledError:  # `close` writes it, below newer rows
            self._group.rows = group.rows | self._group.rows
            for key in group.rows:
                self._groups[key] = self._group
            group.error = JournalError("The worker has ended")
            raise
        finally:
            group.done.set()

    async def _write_rows(self, group: _Group) -> None:
        rows = await self._patient(_WRITE, json.dumps([*group.rows.values()]))
        written = {key for (key,) in rows}
        for key, row in group.rows.items():
            if key not in written:
                self._lose(key, row["fence"])

    def check_held(self, key: str) -> Claim:
        """Return the claim on a job.

        Raises:
            ClaimLostError: Another worker has the job.
        """
        claim = self._held(key)
        if claim is None:
            msg = f"Another worker has the job {key!r} now"
            raise ClaimLostError(msg)
        return claim

    def _held(self, key: str) -> Claim | None:
        """Return the claim of the running task, unless the job has another one by now, here or in another worker."""
        claim = current_claim.get(None)
        return claim if claim is not None and claim is self.claims.get(key) and not claim.is_lost else None

    def _lose(self, key: str, fence: int) -> None:
        claim = self.claims.get(key)
        if claim is not None and claim.fence == fence and not claim.is_lost:
            claim.is_lost = True
            self.on_lost(key)

    async def _patient(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return await self.database.execute(query, *values, is_patient=True)
        except ClusterError as error:
            raise JournalError(error.message) from error


_LINKS: set[asyncio.Task[None]] = set()


async def write_link(database: Database, digest: str, link: str) -> None:
    """Remember the link of an uploaded image."""
    with contextlib.suppress(ClusterError):
        await database.execute(
            "INSERT INTO a2e_uploads VALUES (%s, %s, %s) ON CONFLICT (digest) DO UPDATE "
            "SET link = excluded.link, uploaded_at = excluded.uploaded_at",
            digest,
            link,
            time.time(),
        )


def _clean(value: Any) -> Any:  # noqa: ANN401  the type depends on the column
    """Return a value that a column of PostgreSQL can hold."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value.replace("\0", "") if isinstance(value, str) else value

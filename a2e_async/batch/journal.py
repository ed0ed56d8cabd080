"""Journal of a batch in an SQLite file: one entry for each job, so that a crash loses nothing that was paid."""

# How it works:
#
# * `write_soon` puts an entry into the pending group and returns at once. `save` also waits until the entry is on the
#   disk.
# * One writer task commits the group, some milliseconds after its first entry or after the last commit. So many jobs
#   share one commit, which is what a journal costs most. One call of a thread writes and commits.
# * An entry in the group is a copy of its values. Of several copies of one entry, the last one counts.
# * After a commit has failed, nothing more is written, and every `save` raises. What was committed before stays
#   intact.

import asyncio
import pathlib
import secrets
import sqlite3
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import aiosqlite
import attrs

from a2e_async._aio import finish
from a2e_async._submission.markers import marker_in
from a2e_async.batch.journal_file import (
    CHECKPOINT_AT_ONCE,
    JournalInfo,
    connect_async,
    open_database,
    raise_journal_error,
)
from a2e_async.batch.journal_lock import JournalLock
from a2e_async.batch.journal_rows import COLUMNS, from_values, is_intact, raise_damaged, to_values
from a2e_async.batch.rules import JournalEntry
from a2e_async.errors import JournalError

# Seconds for which a group is filled before its commit. A commit costs more CPU than all that is written in it.
_GROUP_DELAY = 0.02

_LOAD = f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE key = ?"  # noqa: S608  names of ours

_WRITE = (
    f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608  names of ours
    f"ON CONFLICT(key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS[1:])}"
)


@attrs.define(eq=False, repr=False)
class Journal:
    """Journal of a batch without a file. It stores nothing; `SqliteJournal` does.

    Attributes:
        id: Random name, another one in each journal.
        is_new: Whether this run has created it. Otherwise it may be an older copy, which lacks some starts.
        spent: Coins that earlier runs have spent, or may have spent.
        is_unclear: Whether they have spent more, since nothing has told the price of a start.
        max_lateness: Seconds by which the journal's time of a start may be too early.
        others_lateness: Seconds after that time in which another process, which had the job before, can still send it.
    """

    id: str = attrs.field(factory=lambda: secrets.token_hex(8), init=False)
    is_new: bool = attrs.field(default=True, init=False)
    spent: float = attrs.field(default=0.0, init=False)
    is_unclear: bool = attrs.field(default=False, init=False)
    max_lateness: float = attrs.field(default=10.0, init=False)
    others_lateness: float = attrs.field(default=0.0, init=False)

    @property
    def may_lack_starts(self) -> bool:
        """Whether A2E may have tasks of starts that the journal does not know."""
        return not self.is_new

    async def load(self, key: str) -> JournalEntry | None:
        """Return the entry of a job, None if there is none.

        Raises:
            DamagedEntryError: The entry is damaged. The other entries can be used.
            JournalError: The journal cannot be read.
        """

    def write_soon(self, entry: JournalEntry) -> None:
        """Add an entry, as it is now, to the next commit."""

    async def save(self, entry: JournalEntry) -> None:
        """Write an entry, and return when it is on the disk.

        Raises:
            JournalError: It could not be written.
        """

    async def flush(self) -> None:
        """Return when all that was written so far is on the disk.

        Raises:
            JournalError: It could not be written.
        """

    async def load_targets(self) -> Iterable[tuple[str, str]]:
        """Return the key and the file of each job that has one.

        Raises:
            JournalError: The journal cannot be read.
        """
        return ()

    async def load_link(self, digest: str, since: float) -> str | None:
        """Return the link of an image that was uploaded since a time (seconds since the epoch), or None."""

    def write_link_soon(self, digest: str, link: str) -> None:
        """Add the link of an uploaded image to the next commit."""

    async def __aenter__(self) -> Self:
        """Open the journal.

        Raises:
            JournalError: It cannot be used.
        """
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write what is pending, and close the journal."""


@attrs.define(eq=False, repr=False)
class _CommitGroup:
    """Entries and links that share one commit."""

    entries: dict[str, tuple[Any, ...]] = attrs.field(factory=dict)
    links: list[tuple[str, str, float]] = attrs.field(factory=list)
    done: asyncio.Event = attrs.field(factory=asyncio.Event)
    error: JournalError | None = None


@attrs.define(eq=False, repr=False)
class SqliteJournal(Journal):
    """Journal in a file. Use it with ``async with``."""

    path: pathlib.Path
    base_url: str
    id: str = attrs.field(init=False)
    spent: float = attrs.field(init=False)
    _lock: JournalLock | None = attrs.field(default=None, init=False)
    _connection: aiosqlite.Connection | None = attrs.field(default=None, init=False)
    _group: _CommitGroup = attrs.field(factory=_CommitGroup, init=False)
    # the group of the last entry, for `flush`
    _last_group: _CommitGroup | None = attrs.field(default=None, init=False)
    # the group that is being committed, for `_write`
    _committing: _CommitGroup = attrs.field(factory=_CommitGroup, init=False)
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _closed: JournalError | None = attrs.field(default=None, init=False)
    _failure: JournalError | None = attrs.field(default=None, init=False)
    _writer: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Self:
        """Lock and check the file, or create it."""
        try:
            await finish(self._open())
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write what is pending, and close the file."""
        self._closing = True
        self._wake.set()
        await finish(self._finish())
        if self._failure is not None and error is None:
            raise self._failure

    async def _open(self) -> None:
        try:
            with raise_journal_error(self.path):
                info = await asyncio.to_thread(self._open_file)
                self.id, self.spent, self.is_unclear = info.id, info.spent, info.is_unclear
                self._connection = await connect_async(self.path.absolute(), self._lock, self._write)
                await self._connection.execute("PRAGMA synchronous = FULL")  # durable also when the power fails
                await self._connection.execute(CHECKPOINT_AT_ONCE)
            if not self._closing:
                self._writer = asyncio.create_task(self._write_groups(), name="a2e-journal")
        finally:
            if self._writer is None:
                await self._close()

    def _open_file(self) -> JournalInfo:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = JournalLock(self.path)
        self.is_new = not self.path.stat().st_size
        return open_database(self.path, self.base_url)

    async def _finish(self) -> None:
        if self._writer is None:
            return  # `_open` has failed, or goes on after two cancellations; in both cases it closes the file
        try:
            await asyncio.wait({self._writer})
            await self._write_pending()  # the end of an event loop cancels the writer, but must not lose its group
        finally:
            await self._close()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                with raise_journal_error(self.path):
                    await connection.close()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    async def load(self, key: str) -> JournalEntry | None:
        """Return the entry of a job, None if there is none."""
        with raise_journal_error(self.path):
            found = await self._query(_LOAD, key)
            if found is None:
                return None
            entry = from_values(found)
            # without them the task cannot be found, and must not be started again
            if entry.state in {"running", "succeeded"} and not entry.task_id:
                raise_damaged(key, "task_id")
            if entry.state in {"sending", "uncertain"} and not marker_in(f"[a2e:{entry.marker}]"):
                raise_damaged(key, "marker")
            return entry

    async def load_targets(self) -> Iterable[tuple[str, str]]:
        """Return the key and the file of each job that has one."""
        with raise_journal_error(self.path):
            if self._connection is None:
                return ()
            found = await self._connection.execute_fetchall("SELECT key, target FROM jobs WHERE target IS NOT NULL")
        return ((str(key), str(target)) for key, target in found)

    async def load_link(self, digest: str, since: float) -> str | None:
        """Return the link of an image that was uploaded since a time (seconds since the epoch), or None."""
        with raise_journal_error(self.path):
            found = await self._query("SELECT link FROM uploads WHERE digest = ? AND uploaded_at >= ?", digest, since)
        # a damaged one costs another upload
        return str(found[0]) if found is not None and isinstance(found[0], str) and is_intact(found[0]) else None

    async def _query(self, query: str, *values: object) -> sqlite3.Row | None:
        if self._connection is None:
            msg = "The journal is closed"
            raise JournalError(msg)
        return next(iter(await self._connection.execute_fetchall(query, values)), None)

    def write_soon(self, entry: JournalEntry) -> None:
        """Add an entry, as it is now, to the next commit."""
        self._group.entries[entry.key] = to_values(entry)
        self._last_group = self._group
        self._wake.set()

    def write_link_soon(self, digest: str, link: str) -> None:
        """Add the link of an uploaded image to the next commit."""
        self._group.links.append((digest, link, time.time()))
        self._wake.set()

    async def save(self, entry: JournalEntry) -> None:
        """Write an entry, and return when it is on the disk."""
        error = self._failure or self._closed
        if error is not None:
            raise error
        self.write_soon(entry)
        await self.flush()

    async def flush(self) -> None:
        """Return when all that was written so far is on the disk."""
        group = self._last_group
        if group is not None:
            await group.done.wait()
            if group.error is not None:
                raise group.error

    async def _write_groups(self) -> None:
        """Commit one group after the other, until the journal is closing."""
        try:
            while not self._closing:
                await self._wake.wait()
                if not self._closing:
                    await asyncio.sleep(_GROUP_DELAY)
                    self._wake.clear()
                    await self._write_group()
            await self._write_pending()
        finally:
            # Possibly the end of the event loop has cancelled this task: then `_finish` writes what is pending, and a
            # `save` must not wait for it.
            self._closed = self._group.error = JournalError(f"The journal {str(self.path)!r} is closed")
            self._group.done.set()

    async def _write_pending(self) -> None:
        while self._group.entries or self._group.links:
            await self._write_group()

    async def _write_group(self) -> None:
        group, self._group = self._group, _CommitGroup()
        try:
            await self._commit(group)
        except JournalError as error:
            self._failure = group.error = error
        # Cancelled in the middle: unknown whether it was written. `_finish` writes it again, below newer copies.
        except asyncio.CancelledError:
            self._group.entries = group.entries | self._group.entries
            self._group.links = group.links + self._group.links
            group.error = JournalError(f"The journal {str(self.path)!r} is closed")
            raise
        finally:
            group.done.set()

    async def _commit(self, group: _CommitGroup) -> None:
        if self._failure is not None or self._connection is None:
            # after a failed commit the file is consistent, and a later commit without the failed one would not be
            raise self._failure or JournalError(f"The journal {str(self.path)!r} is not open")
        self._committing = group
        with raise_journal_error(self.path):
            await self._connection.commit()

    def _write(self, connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)", self._committing.links)
        connection.executemany(_WRITE, self._committing.entries.values())

"""Journal of a batch in an SQLite file: one entry for each job, so that a crash loses nothing that was paid.

How it works:

* `write_soon` puts an entry into the pending group and returns at once. `save` also waits until the entry is on the
  disk.
* One writer task commits the group, some milliseconds after its first entry. So many jobs share one commit, which is
  what a journal costs most.
* An entry in the group is a copy of its values. Of several copies of one entry, the last one counts.
* After a commit has failed, nothing more is written, and every `save` raises. What was committed before stays intact.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import pathlib
import sqlite3
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import aiosqlite
import attrs

from a2e_async.batch.journal_file import JournalLock, Metadata, check_file, open_database, raise_journal_error
from a2e_async.batch.rules import COLUMNS, JournalEntry, from_values, to_values
from a2e_async.errors import JournalError

# Rows in one statement: older releases of SQLite allow at most 999 values.
_ROWS_PER_STATEMENT = 60

# Seconds for which a group is filled before its commit. A commit costs more CPU than all that is written in it.
_GROUP_DELAY = 0.02

_LOAD = f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE key = ?"  # noqa: S608  names of ours


@attrs.define(eq=False)
class _CommitGroup:
    """Entries and links that share one commit."""

    entries: dict[str, tuple[Any, ...]] = attrs.field(factory=dict)
    links: list[tuple[str, str, float]] = attrs.field(factory=list)
    done: asyncio.Event = attrs.field(factory=asyncio.Event)
    error: JournalError | None = None


def _committed_group() -> _CommitGroup:
    group = _CommitGroup()
    group.done.set()
    return group


@attrs.define(eq=False)
class SqliteJournal:
    """Journal in a file. Use it with ``async with``."""

    path: pathlib.Path
    base_url: str
    _metadata: Metadata | None = attrs.field(default=None, init=False)
    _lock: JournalLock | None = attrs.field(default=None, init=False)
    _connection: aiosqlite.Connection | None = attrs.field(default=None, init=False)
    _group: _CommitGroup = attrs.field(factory=_CommitGroup, init=False)
    # the group of the last entry, for `flush`
    _last_group: _CommitGroup = attrs.field(factory=_committed_group, init=False)
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _closed: JournalError | None = attrs.field(default=None, init=False)
    _failure: JournalError | None = attrs.field(default=None, init=False)
    _writer: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    @property
    def id(self) -> str:
        """Random name, another one in each journal."""
        return self._opened.id

    @property
    def spent(self) -> float:
        """Coins that earlier runs have spent, or may have spent."""
        return self._opened.spent

    @property
    def _opened(self) -> Metadata:
        if self._metadata is None:
            msg = "The journal is not open"
            raise JournalError(msg)
        return self._metadata

    async def __aenter__(self) -> Self:
        """Lock and check the file, or create it.

        Raises:
            JournalError: It cannot be used.
        """
        try:
            await _wait_to_end(asyncio.create_task(self._open()))
        except BaseException:
            await self._close()
            raise
        self._writer = asyncio.create_task(self._write_groups(), name="a2e-journal")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write what is pending, and close the file."""
        self._closing = True
        self._wake.set()
        await _wait_to_end(asyncio.create_task(self._finish()))
        if self._failure is not None and error is None:
            raise self._failure

    async def _open(self) -> None:
        await asyncio.to_thread(self._open_file)
        with raise_journal_error(self.path):
            self._connection = await aiosqlite.connect(self.path.resolve(), isolation_level=None)
            await self._connection.execute("PRAGMA synchronous = FULL")  # durable also when the power fails

    def _open_file(self) -> None:
        with raise_journal_error(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_file(self.path)
            self._lock = JournalLock(self.path)
            self._metadata = open_database(self.path, self.base_url)

    async def _finish(self) -> None:
        try:
            if self._writer is not None:
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
        # a new journal has no entries of earlier runs, and the keys of this run are unique: skip the query
        if not self._opened.has_entries:
            return None
        with raise_journal_error(self.path):
            found = await self._query(_LOAD, key)
            return None if found is None else from_values(found)

    def write_soon(self, entry: JournalEntry) -> None:
        """Add an entry, as it is now, to the next commit."""
        self._group.entries[entry.key] = to_values(entry)
        self._last_group = self._group
        self._wake.set()

    async def save(self, entry: JournalEntry) -> None:
        """Write an entry, and return when it is on the disk.

        Raises:
            JournalError: It could not be written.
        """
        error = self._failure or self._closed
        if error is not None:
            raise error
        self.write_soon(entry)
        await self.flush()

    async def flush(self) -> None:
        """Return when all that was written so far is on the disk.

        Raises:
            JournalError: It could not be written.
        """
        group = self._last_group
        await group.done.wait()
        if group.error is not None:
            raise group.error

    async def load_link(self, digest: str, since: float) -> str | None:
        """Return the link of an image that was uploaded since a time (seconds since the epoch), or None."""
        if not self._opened.has_links:  # the links of this run are in the `UploadCache`
            return None
        with raise_journal_error(self.path):
            found = await self._query("SELECT link FROM uploads WHERE digest = ? AND uploaded_at >= ?", digest, since)
        return None if found is None else str(found[0])

    def write_link_soon(self, digest: str, link: str) -> None:
        """Add the link of an uploaded image to the next commit."""
        self._group.links.append((digest, link, time.time()))
        self._wake.set()

    async def _query(self, query: str, *values: object) -> sqlite3.Row | None:
        if self._connection is None:
            msg = "The journal is closed"
            raise JournalError(msg)
        return next(iter(await self._connection.execute_fetchall(query, values)), None)

    async def _write_groups(self) -> None:
        """Commit one group after the other, until the journal is closing."""
        try:
            while not self._closing:
                await self._wake.wait()
                if not self._closing:
                    await asyncio.sleep(_GROUP_DELAY)
                self._wake.clear()
                await self._write_pending()
        finally:
            # Possibly the end of the event loop has cancelled this task: then `_finish` writes what is pending, and a
            # `save` must not wait for it.
            self._closed = self._group.error = JournalError(f"The journal {str(self.path)!r} is closed")
            self._group.done.set()

    async def _write_pending(self) -> None:
        while self._group.entries or self._group.links:
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
        entries, links = [*group.entries.values()], group.links
        with raise_journal_error(self.path):
            # each statement is a commit of its own, and a visit to the thread of the connection
            for chunk in _chunks(links):
                await self._connection.execute(_links_statement(len(chunk)), [*itertools.chain(*chunk)])
            for chunk in _chunks(entries):
                await self._connection.execute(_entries_statement(len(chunk)), [*itertools.chain(*chunk)])


@functools.cache
def _entries_statement(count: int) -> str:
    """Return the statement that writes this many entries, all of them or none."""
    updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
    values = _placeholders(len(COLUMNS), count)
    return f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES {values} ON CONFLICT(key) DO UPDATE SET {updates}"  # noqa: S608  names of ours


@functools.cache
def _links_statement(count: int) -> str:
    """Return the statement that writes this many links."""
    return f"INSERT OR REPLACE INTO uploads VALUES {_placeholders(3, count)}"  # noqa: S608  question marks


def _placeholders(width: int, count: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * count)


def _chunks(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        yield rows[start : start + _ROWS_PER_STATEMENT]


async def _wait_to_end(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended, and raise its error. A cancellation meanwhile is raised afterwards.

    The task locks, opens or closes the file, which must not stop halfway. An error of the file is more urgent than the
    cancellation, unlike in `_aio.wait_uncancellable`.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    await task
    if cancelled is not None:
        raise cancelled

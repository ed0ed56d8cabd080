"""The journal of a batch: one row for each job, so that a crash costs nothing.

What is to be started is written down before it is, and A2E's id right after. All that is written meanwhile shares one
commit, so that many jobs cost few visits to the disk.
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

from a2e_async.batch.journal_file import Facts, Lock, check_is_ours, database_errors, open_database
from a2e_async.batch.rules import COLUMNS, Row, to_row, to_values
from a2e_async.errors import JournalError

__all__ = ["SqliteJournal"]

_AT_ONCE = 60
"""Rows in one statement: older releases of SQLite take no more than 999 values."""

_GATHERED = 0.02
"""Seconds for which writes are gathered: a visit to the disk costs more CPU than all that is written."""

_LOAD = f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE key = ?"  # noqa: S608  ours


@attrs.define(eq=False)
class _Group:
    """What shares the next commit."""

    rows: dict[str, tuple[Any, ...]] = attrs.field(factory=dict)
    links: list[tuple[str, str, float]] = attrs.field(factory=list)
    done: asyncio.Event = attrs.field(factory=asyncio.Event)
    error: JournalError | None = None


def _nothing() -> _Group:
    group = _Group()
    group.done.set()
    return group


@attrs.define(eq=False)
class SqliteJournal:
    """A journal in a file. Use it with ``async with``."""

    path: pathlib.Path
    base_url: str
    _facts: Facts | None = attrs.field(default=None, init=False)
    _lock: Lock | None = attrs.field(default=None, init=False)
    _connection: aiosqlite.Connection | None = attrs.field(default=None, init=False)
    _group: _Group = attrs.field(factory=_Group, init=False)
    _noted: _Group = attrs.field(factory=_nothing, init=False)
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _closed: JournalError | None = attrs.field(default=None, init=False)
    _broken: JournalError | None = attrs.field(default=None, init=False)
    _writer: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    @property
    def id(self) -> str:
        """Random; another one in each journal."""
        return self._opened.id

    @property
    def spent(self) -> float:
        """Coins that earlier runs have spent, or may have."""
        return self._opened.spent

    @property
    def _opened(self) -> Facts:
        if self._facts is None:
            msg = "The journal is not open"
            raise JournalError(msg)
        return self._facts

    async def __aenter__(self) -> Self:
        """Lock and check the file, making it if there is none.

        Raises:
            JournalError: It cannot be used.
        """
        try:
            await _seen_through(asyncio.create_task(self._begin()))
        except BaseException:
            await self._close()
            raise
        self._writer = asyncio.create_task(self._write_on(), name="a2e-journal")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write down what is left, and close the file."""
        self._closing = True
        self._wake.set()
        await _seen_through(asyncio.create_task(self._finish()))
        if self._broken is not None and error is None:
            raise self._broken

    async def _begin(self) -> None:
        await asyncio.to_thread(self._open)
        with database_errors(self.path):
            self._connection = await aiosqlite.connect(self.path.resolve(), isolation_level=None)
            await self._connection.execute("PRAGMA synchronous = FULL")  # durable, also when the power fails

    def _open(self) -> None:
        with database_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_is_ours(self.path)
            self._lock = Lock(self.path)
            self._facts = open_database(self.path, self.base_url)

    async def _finish(self) -> None:
        try:
            if self._writer is not None:
                await asyncio.wait({self._writer})
            await self._write()  # whoever ends an event loop cancels the writer, and not what was noted
        finally:
            await self._close()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                with database_errors(self.path):
                    await connection.close()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    async def load(self, key: str) -> Row | None:
        """Return what is known of a job."""
        if not self._opened.has_rows:  # what this run adds is its own
            return None
        with database_errors(self.path):
            found = await self._fetch(_LOAD, key)
            return None if found is None else to_row(found)

    def note(self, row: Row) -> None:
        """Write a row down soon."""
        self._group.rows[row.key] = to_values(row)
        self._noted = self._group
        self._wake.set()

    async def save(self, row: Row) -> None:
        """Write a row down, and return when it is safe."""
        error = self._broken or self._closed
        if error is not None:
            raise error
        self.note(row)
        await self.flush()

    async def flush(self) -> None:
        """Return when all that was noted is safe."""
        group = self._noted
        await group.done.wait()
        if group.error is not None:
            raise group.error

    async def link(self, digest: str, since: float) -> str | None:
        """Return the link of an image that was uploaded since then."""
        if not self._opened.has_links:  # what this run uploads is remembered elsewhere
            return None
        with database_errors(self.path):
            found = await self._fetch("SELECT link FROM uploads WHERE digest = ? AND uploaded_at >= ?", digest, since)
        return None if found is None else str(found[0])

    def keep_link(self, digest: str, link: str) -> None:
        """Write down soon where an image was uploaded to."""
        self._group.links.append((digest, link, time.time()))
        self._wake.set()

    async def _fetch(self, query: str, *values: object) -> sqlite3.Row | None:
        if self._connection is None:
            msg = "The journal is closed"
            raise JournalError(msg)
        return next(iter(await self._connection.execute_fetchall(query, values)), None)

    async def _write_on(self) -> None:
        try:
            while not self._closing:
                await self._wake.wait()
                if not self._closing:
                    await asyncio.sleep(_GATHERED)
                self._wake.clear()
                await self._write()
        finally:  # possibly because the event loop ends: what was noted is written by closing, and nobody waits for it
            self._closed = self._group.error = JournalError(f"The journal {str(self.path)!r} is closed")
            self._group.done.set()

    async def _write(self) -> None:
        while self._group.rows or self._group.links:
            group, self._group = self._group, _Group()
            try:
                await self._commit(group)
            except JournalError as error:
                self._broken = group.error = error
            except asyncio.CancelledError:  # nobody knows whether it was written: closing writes it again
                self._group.rows = group.rows | self._group.rows
                self._group.links = group.links + self._group.links
                group.error = JournalError(f"The journal {str(self.path)!r} is closed")
                raise
            finally:
                group.done.set()

    async def _commit(self, group: _Group) -> None:
        if self._broken is not None or self._connection is None:
            # what was written before is whole; what comes after would not be
            raise self._broken or JournalError(f"The journal {str(self.path)!r} is not open")
        rows, links = [*group.rows.values()], group.links
        with database_errors(self.path):
            # a statement is a visit to the connection's thread and a commit
            for portion in _portions(links):
                await self._connection.execute(_keep(len(portion)), [*itertools.chain(*portion)])
            for portion in _portions(rows):
                await self._connection.execute(_save(len(portion)), [*itertools.chain(*portion)])


@functools.cache
def _save(count: int) -> str:
    """Return the statement that writes so many rows, all of them or none."""
    news = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
    marks = _marks(len(COLUMNS), count)
    return f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES {marks} ON CONFLICT(key) DO UPDATE SET {news}"  # noqa: S608  names of ours


@functools.cache
def _keep(count: int) -> str:
    """Return the statement that writes so many links."""
    return f"INSERT OR REPLACE INTO uploads VALUES {_marks(3, count)}"  # noqa: S608  question marks


def _marks(width: int, count: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * count)


def _portions(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


async def _seen_through(task: asyncio.Task[None]) -> None:
    """Wait until a task is done, also if that is cancelled meanwhile: it holds the file."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    await task
    if cancelled is not None:
        raise cancelled

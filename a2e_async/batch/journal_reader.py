"""Reader of a journal, for `a2e batch status` and `export`, and for programs of users."""

import asyncio
import contextlib
import os
import pathlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Self

import aiosqlite
import attrs

from a2e_async._protocol.validation import raise_invalid
from a2e_async.batch.journal_file import PRUNED_COINS, JournalInfo, connect_async, raise_journal_error, read_info
from a2e_async.batch.journal_lock import JournalLock
from a2e_async.batch.journal_rows import from_values
from a2e_async.batch.rules import EntryState, JournalEntry

# States of entries whose task, if any, is not needed any more. Removing others could pay a start twice.
_FINISHED = frozenset({"new", "failed", "succeeded"})


@attrs.define(eq=False, repr=False)
class JournalReader:
    """Reader of a journal, which works also while a batch writes to it. Made by `open`."""

    info: JournalInfo
    _connection: aiosqlite.Connection = attrs.field(repr=False)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: str | os.PathLike[str]) -> AsyncIterator[Self]:
        """Open a journal for reading, as an asynchronous context manager.

        Raises:
            JournalError: The file does not exist, is another kind of file, is damaged, or comes from a newer release.
        """
        file = pathlib.Path(path)
        with raise_journal_error(file):
            info = await asyncio.to_thread(read_info, file)
            connection = await connect_async(info.path)
        try:
            yield cls(info, connection)
        finally:
            await connection.close()

    async def counts(self) -> dict[EntryState, int]:
        """Return the number of entries of each state."""
        with raise_journal_error(self.info.path):
            found = await self._connection.execute_fetchall("SELECT state, COUNT(*) FROM jobs GROUP BY state")
        return {state: count for state, count in found}  # noqa: C416  SQLite's rows are not pairs for mypy

    async def coins(self) -> float:
        """Return the coins that were spent, as far as their cost is known."""
        with raise_journal_error(self.info.path):
            ((coins,),) = await self._connection.execute_fetchall(
                f"SELECT TOTAL(coins) + {PRUNED_COINS} FROM jobs"  # noqa: S608  names of ours
            )
        return float(coins)

    async def entries(self, states: Iterable[EntryState] | None = None) -> AsyncIterator[JournalEntry]:
        """Yield the entries in the order in which they were first written.

        Args:
            states: Only entries of these states, None for all.
        """
        selected: Sequence[EntryState] | None = None if states is None else [*states]
        # all columns by their order: an older version of the schema has other names, and a reader does not migrate it
        query, last = "SELECT rowid, * FROM jobs WHERE rowid > ?", 0
        if selected is not None:
            query += f" AND state IN ({', '.join('?' * len(selected))})"
        with raise_journal_error(self.info.path):
            while found := list(
                await self._connection.execute_fetchall(f"{query} ORDER BY rowid LIMIT 500", [last, *(selected or [])])
            ):
                for row in found:
                    yield from_values(row[1:])
                last = found[-1][0]

    async def prune(self, *, states: Iterable[EntryState] = ("succeeded",), older_than: float | None = None) -> int:
        """Remove entries of finished jobs, and links of uploads that are too old; return the number of entries.

        A job without an entry is a new job: the same input starts it again, which costs coins. The cost of removed
        entries still counts for `max_coins`. The journal gets another id, so that later starts have other markers.

        Args:
            states: Only entries of these states.
            older_than: Only entries that finished more than this many seconds ago, None for all.

        Raises:
            InvalidRequestError: One of the states is not that of a finished job.
            JournalError: A batch has the journal open.
        """
        selected, until = [*states], time.time() - (older_than or 0)
        if not {*selected} <= _FINISHED:
            raise_invalid(
                f"only entries with state {', '.join(sorted(_FINISHED))} can be removed: the others are paid, or may be"
            )
        with raise_journal_error(self.info.path):
            lock = await asyncio.to_thread(JournalLock, self.info.path)
            try:
                which = f"state IN ({', '.join('?' * len(selected))}) AND COALESCE(finished_at, created_at) <= ?"
                spent = f"SELECT 'pruned_coins', TOTAL(coins) + {PRUNED_COINS} FROM jobs WHERE {which}"  # noqa: S608  names of ours
                await self._connection.execute(f"INSERT OR REPLACE INTO about {spent}", [*selected, until])
                deleted = await self._connection.execute(f"DELETE FROM jobs WHERE {which}", [*selected, until])  # noqa: S608  names of ours
                # The key of a removed entry may name another job later, which must not adopt the task of this one.
                if deleted.rowcount:
                    await self._connection.execute(
                        "INSERT OR REPLACE INTO about VALUES ('id', ?)", [secrets.token_hex(8)]
                    )
                await self._connection.execute("DELETE FROM uploads WHERE uploaded_at < ?", [time.time() - 3 * 86400])
                await self._connection.commit()
                await self._connection.execute("VACUUM")
            finally:
                lock.release()
        return deleted.rowcount

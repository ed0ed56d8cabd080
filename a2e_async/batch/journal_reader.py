"""Reads a journal: for `a2e batch status` and `export`, and for programs of yours."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import pathlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Self

import aiosqlite
import attrs

from a2e_async._protocol.validation import refuse
from a2e_async.batch.journal_file import PRUNED, Lock, database_errors, holder_of, look_at
from a2e_async.batch.rules import COLUMNS, Row, RowState, to_row

__all__ = ["JournalInfo", "JournalReader"]

_FINISHED = frozenset({"new", "failed", "succeeded"})
"""States of rows that have nothing at A2E that is still of use."""


@attrs.frozen(kw_only=True)
class JournalInfo:
    """What a journal says about itself.

    Attributes:
        path: The file.
        schema: Version of its schema.
        created_at: When it was made (UTC).
        base_url: The A2E that its tasks are at.
        holder: The process that holds it at the moment, empty if none does.
    """

    path: pathlib.Path
    schema: int
    created_at: dt.datetime
    base_url: str
    holder: str


@attrs.define(eq=False)
class JournalReader:
    """Reads a journal, also while a batch writes it. Made by `open`."""

    info: JournalInfo
    _connection: aiosqlite.Connection = attrs.field(repr=False)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: str | os.PathLike[str]) -> AsyncIterator[Self]:
        """Open a journal for reading, as an asynchronous context manager.

        Raises:
            JournalError: There is none, it is something else, damaged, or from a newer release.
        """
        file = pathlib.Path(path)
        with database_errors(file):
            facts, holder, place = await asyncio.to_thread(lambda: (look_at(file), holder_of(file), file.resolve()))
            connection = await aiosqlite.connect(place)
        try:
            yield cls(
                JournalInfo(
                    path=file,
                    schema=facts.schema,
                    created_at=dt.datetime.fromtimestamp(facts.created_at, dt.UTC),
                    base_url=facts.base_url,
                    holder=holder,
                ),
                connection,
            )
        finally:
            await connection.close()

    async def counts(self) -> dict[RowState, int]:
        """Count the rows of each state."""
        with database_errors(self.info.path):
            found = await self._connection.execute_fetchall("SELECT state, COUNT(*) FROM jobs GROUP BY state")
        return {state: count for state, count in found}  # noqa: C416  they are rows of SQLite

    async def coins(self) -> float:
        """Return the coins that were spent, as far as that is known."""
        with database_errors(self.info.path):
            ((coins,),) = await self._connection.execute_fetchall(
                f"SELECT TOTAL(coins) + {PRUNED} FROM jobs"  # noqa: S608  ours
            )
        return float(coins)

    async def rows(self, states: Iterable[RowState] | None = None) -> AsyncIterator[Row]:
        """Go through the rows in the order in which they were first written.

        Args:
            states: Only rows of these states, None for all.
        """
        wanted: Sequence[RowState] | None = None if states is None else [*states]
        query, last = f"SELECT rowid, {', '.join(COLUMNS)} FROM jobs WHERE rowid > ?", 0  # noqa: S608  ours
        if wanted is not None:
            query += f" AND state IN ({', '.join('?' * len(wanted))})"
        with database_errors(self.info.path):
            while found := list(
                await self._connection.execute_fetchall(f"{query} ORDER BY rowid LIMIT 500", [last, *(wanted or [])])
            ):
                for row in found:
                    yield to_row(row[1:])
                last = found[-1][0]

    async def prune(self, *, states: Iterable[RowState] = ("succeeded",), older_than: float | None = None) -> int:
        """Remove rows that are finished, and the uploads that are too old to be used; return how many rows.

        A job whose row is gone is a new job: the same input starts it again. What it has cost still counts.

        Args:
            states: Which rows.
            older_than: Seconds since they were finished, None for all.

        Raises:
            InvalidRequestError: One of the states is not a finished one.
            JournalError: A batch holds the journal.
        """
        wanted, until = [*states], time.time() - (older_than or 0)
        if not {*wanted} <= _FINISHED:
            refuse(f"only rows that are {', '.join(sorted(_FINISHED))} can be removed: the others are paid, or may be")
        with database_errors(self.info.path):
            lock = await asyncio.to_thread(Lock, self.info.path)
            try:
                which = f"state IN ({', '.join('?' * len(wanted))}) AND COALESCE(finished_at, created_at) <= ?"
                spent = f"SELECT 'pruned_coins', TOTAL(coins) + {PRUNED} FROM jobs WHERE {which}"  # noqa: S608  ours
                await self._connection.execute(f"INSERT OR REPLACE INTO about {spent}", [*wanted, until])
                done = await self._connection.execute(f"DELETE FROM jobs WHERE {which}", [*wanted, until])  # noqa: S608  ours
                await self._connection.execute("DELETE FROM uploads WHERE uploaded_at < ?", [time.time() - 3 * 86400])
                await self._connection.commit()
                await self._connection.execute("VACUUM")
            finally:
                lock.release()
        return done.rowcount

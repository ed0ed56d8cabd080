"""Spending limit for starts that a language model asks for, in a file that several processes can share."""

# How it works: each start is an entry before it is sent, with the price that is expected. The rules are those of a
# batch (`batch/rules.Budget`), applied to all entries at once:
#
# - A cost that A2E has named counts, and is the price of the next starts of the same kind.
# - A start whose price is not known yet goes alone: nothing else is started until A2E has named its cost. So the limit
#   is passed by that one start at most, however wrong the quote is.
# - If its task has ended and its cost is still unknown, it is unknown what is left, and nothing more is started.
#
# The check and the new entry are one transaction. So the limit also holds for several programs with one file.

import sqlite3
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import attrs

from a2e_async._submission.keys import SQLiteKeyStore
from a2e_async.batch.rules import Budget, Reservation
from a2e_async.errors import BudgetError
from a2e_async.models.common import TaskRecord, TaskStatus

T = TypeVar("T")

_TABLE = """
CREATE TABLE IF NOT EXISTS spendings (
    key TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,      -- starts with the same text cost the same
    request TEXT NOT NULL,   -- a hash of the options, none of which is stored
    sent_at REAL NOT NULL,   -- seconds since the epoch, by A2E's clock
    quote REAL,              -- coins that were expected
    coins REAL,              -- coins that A2E has named, NULL as long as it has not
    task_id TEXT,            -- NULL as long as the outcome of the start is not known
    has_ended INTEGER NOT NULL
)
"""


@attrs.frozen(kw_only=True)
class Spending:
    """One start: an entry before it is sent. The fields are the columns of the table, in its order."""

    key: str
    kind: str
    request: str
    sent_at: float
    quote: float | None = None
    coins: float | None = None
    task_id: str | None = None
    has_ended: bool = attrs.field(default=False, converter=bool)

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will become known about its cost."""
        return self.coins is not None or self.has_ended

    def after(self, record: TaskRecord) -> "Spending":
        """Return the entry after A2E has shown its task."""
        coins, named = self.coins, record.coins
        # 0 may stand for "not yet". A task that has become cheaper, such as by a refund, counts as it was.
        if named is not None and named > (coins or 0):
            coins = named
        elif coins is None and named == 0 and record.status.is_final:
            is_free = self.quote == 0 or record.status is TaskStatus.FAILED
            coins = 0 if is_free else None
        return attrs.evolve(self, task_id=record.id, coins=coins, has_ended=self.has_ended or record.status.is_final)


Entries = dict[str, Spending]


def _prices(entries: Iterable[Spending]) -> dict[str, float]:
    """Return the latest price that A2E has named for each kind."""
    ordered = sorted(entries, key=lambda entry: entry.sent_at)
    return {entry.kind: entry.coins or 0 for entry in ordered if entry.coins or (entry.coins == 0 == entry.quote)}


def budget_of(entries: Collection[Spending], limit: float, *, kind: str = "", quote: float | None = None) -> Budget:
    """Return the budget with all entries counted, for a start of a kind with a quote."""
    prices = _prices(entries)
    # A2E has raised its price since: the start finds out the new one.
    if quote is not None and quote > prices.get(kind, quote):
        del prices[kind]
    budget = Budget(limit)
    for known, coins in prices.items():
        budget.learn_price(known, coins)
    budget.learn_quote(kind, quote)
    for entry in entries:
        if entry.coins is not None:
            budget.spend(entry.coins)
        elif entry.kind in prices:
            budget.spend(max(prices[entry.kind], entry.quote or 0))
        elif entry.has_ended:
            budget.spend(entry.quote)
            budget.is_unclear = True
        else:
            budget.restore(Reservation(entry.kind, entry.quote, alone=True))
    return budget


def committed(entries: Collection[Spending], limit: float) -> float:
    """Return the coins that were spent, or may have been."""
    prices = _prices(entries)
    alone = (entry.quote or 0 for entry in entries if not entry.is_settled and entry.kind not in prices)
    return budget_of(entries, limit).spent + sum(alone)


class SpendingLedger(SQLiteKeyStore):
    """Entries of all starts, in memory or in an SQLite file, which can be that of a key store as well."""

    def __init__(self, limit: float, path: Any = None) -> None:  # noqa: ANN401  a path, or None
        """Remember the limit in coins and the path; the file is opened at the first use."""
        super().__init__(path or "")
        self.limit = limit
        self._in_memory: Entries | None = {} if path is None else None

    async def entries(self) -> Entries:
        """Return all entries by their keys."""
        return await self._change(lambda entries: entries.copy())

    async def reserve(self, new: Spending) -> None:
        """Write the entry of a start that will be sent, if it stays within the limit beside all others.

        Raises:
            BudgetError: It does not, or another program sends a start with this key. Nothing was written.
            KeyStoreError: The file cannot be used.
        """

        def write(entries: Entries) -> None:
            if new.key in entries:
                msg = "Not started: another program starts the same video. Try again in a minute, which costs nothing"
                raise BudgetError(msg)
            budget = budget_of(entries.values(), self.limit, kind=new.kind, quote=new.quote)
            if not budget.fits(new.kind):
                raise BudgetError(self._refusal(entries.values(), budget, new.kind))
            entries[new.key] = new

        await self._change(write)

    async def remove(self, key: str) -> None:
        """Remove the entry of a start that A2E has certainly not accepted."""
        await self._change(lambda entries: entries.pop(key, None))

    async def record(self, record: TaskRecord, key: str | None = None) -> None:
        """Write what A2E has shown about a task: that of a key, or the one with the record's id, if there is any."""

        def write(entries: Entries) -> None:
            for entry in [*entries.values()]:
                if entry.key == key or entry.task_id == record.id:
                    entries[entry.key] = entry.after(record)

        await self._change(write)

    def _refusal(self, entries: Collection[Spending], budget: Budget, kind: str) -> str:
        for entry in entries:
            if not entry.is_settled and budget.has_reservations:
                if entry.task_id is None:
                    return f"Not started: the outcome of the start with idempotency_key {entry.key!r} is not known yet"
                return f"Not started: A2E has not named the cost of task {entry.task_id} yet. Wait for that task first"
        if budget.is_unclear:
            return (
                f"Not started: A2E has not told what a task has cost, so it is unknown what is left of {self.limit:g} "
                "coins. The operator of this server has to choose a new limit and a new journal"
            )
        price = budget.price(kind)
        costs = "its price is unknown" if price is None else f"it would cost {price:g}"
        return f"Not started: {budget.spent:g} of at most {self.limit:g} coins are spent, and {costs}"

    async def _change(self, function: Callable[[Entries], T]) -> T:
        """Change the entries in one transaction, and return the result of the function."""
        if self._in_memory is not None:
            return function(self._in_memory)

        def transact(connection: sqlite3.Connection) -> T:
            connection.execute(_TABLE)
            columns = [field.name for field in attrs.fields(Spending)]
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM spendings")  # noqa: S608  names of ours
            before = {row[0]: Spending(**dict(zip(columns, row, strict=True))) for row in rows}
            after = before.copy()
            result = function(after)
            connection.executemany("DELETE FROM spendings WHERE key = ?", [(key,) for key in before.keys() - after])
            changed = [attrs.astuple(entry) for key, entry in after.items() if before.get(key) != entry]
            connection.executemany("INSERT OR REPLACE INTO spendings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", changed)
            return result

        return await self._run(transact)

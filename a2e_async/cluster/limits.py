"""Limits of a whole cluster: running tasks and coins, counted in the database."""

# How it works:
#
# * Each decision that takes something from all workers is one transaction that locks the row of `a2e_account`: it
#   counts the rows of `a2e_jobs`, so that nothing has to be corrected after the death of a worker.
# * `max_coins` follows the rules of a batch, by the same code: the transaction makes a `Budget` of what the rows say,
#   asks it, and writes the answer to the row of the job. Without a limit, nothing is asked.
# * Without room, a job waits for a notification that there is some, or a second.

import asyncio
import contextlib
import json
from collections.abc import Hashable
from typing import Any

import attrs
import psycopg

from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.jobs import PreparedStart
from a2e_async.batch.rules import Budget, Reservation
from a2e_async.cluster.account import Account
from a2e_async.cluster.journal import Claim, PostgresJournal, current_claim

_LOCK = "SELECT 1 FROM a2e_account FOR UPDATE"

# The job may have got its place in a transaction whose answer was lost.
_TAKE_SLOT = """UPDATE a2e_jobs SET slot = true
    WHERE key = %s AND fence = %s AND (slot OR (SELECT count(*) FROM a2e_jobs WHERE slot) < %s) RETURNING 1"""

# A start whose outcome is unknown counts with its expected price, unless its reservation does.
_SPENT = """SELECT coalesce(sum(coins), 0)
        + coalesce(sum(quoted) FILTER (WHERE reserved IS NULL AND state IN ('sending', 'uncertain')), 0),
        coalesce(bool_or(coins IS NULL AND state IN ('succeeded', 'failed')), false)
    FROM a2e_jobs"""


@attrs.define(eq=False, repr=False)
class ClusterSlots:
    """Places for tasks at A2E, of all workers together; used as the semaphore of a batch, by the job of the task."""

    account: Account
    journal: PostgresJournal
    _queue: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    def locked(self) -> bool:
        """Return whether a job may have to wait."""
        return self.account.max_running is not None and not current_claim.get().slot

    async def acquire(self) -> None:
        """Wait for a place for the job, unless it has one.

        Raises:
            JournalError: The database cannot be used, or another worker has the job.
        """
        claim = current_claim.get()
        if not self.locked():
            return
        async with self._queue:  # one job of each worker asks at a time
            while not claim.slot and (limit := self.account.max_running) is not None:
                if await self._try(claim, limit):
                    claim.slot = True
                    return
                self.journal.check_held(claim.key)
                await self.account.wait(1.0)

    async def _try(self, claim: Claim, limit: int) -> bool:
        async def operation(connection: psycopg.AsyncConnection[Any]) -> bool:
            await connection.execute(_LOCK)
            cursor = await connection.execute(_TAKE_SLOT, (claim.key, claim.fence, limit))
            return await cursor.fetchone() is not None

        return await self.account.database.run(operation, is_patient=True)

    def release(self) -> None:
        """Give the place back, with the next write. Doing so twice does no harm."""
        claim = current_claim.get()
        if claim.slot:
            claim.slot = False
            self.journal.update(claim)


@attrs.define(eq=False, repr=False)
class _ClaimedReservation(Reservation):
    """Coins that are reserved for the start of one claimed job."""

    claim: Claim | None = None


@attrs.define(eq=False, repr=False)
class ClusterBudget(BudgetGuard):
    """Guard of the coins of all workers, used by the tasks of the jobs.

    Attributes:
        account: Has the limit.
        journal: Writes the reservations.
    """

    account: Account = attrs.field(kw_only=True)
    journal: PostgresJournal = attrs.field(kw_only=True)

    def turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Let all jobs be checked at the same time: there is no order among the workers."""
        return contextlib.nullcontext()

    async def reserve(self, start: PreparedStart) -> Reservation:
        """Reserve the price of a start, as `BudgetGuard.reserve`."""
        claim = current_claim.get()
        reservation = _ClaimedReservation(start.price_key, self.budget.price(start.price_key), claim=claim)
        if self.account.max_coins is None:
            return reservation
        async with self._turn:
            await self._learn_quote(start)
            await self._decide(reservation, is_sending=False)
        return reservation

    async def send(self, reservation: Reservation) -> None:
        """Check the price again right before a start is sent, and mark it as being sent; as `BudgetGuard.send`."""
        if self.account.max_coins is None:
            return
        if reservation.alone and not self.budget.names_coins:
            reservation.funds = await self.api.funds()
        await self._decide(reservation, is_sending=True)

    def reject(self, reservation: Reservation) -> None:
        """Record that A2E has rejected a start, which may be sent again."""
        reservation.sending = False
        self._write(reservation)

    def count(self, reservation: Reservation, coins: float | None) -> None:
        """Record that a start was accepted, or may have been. Its coins are in the row of the job."""
        del coins
        reservation.coins, reservation.sending, reservation.counted = 0, False, True
        if reservation.alone:
            self._write(reservation)
        else:
            self.release(reservation)

    def release(self, reservation: Reservation, *, accepted: bool = True) -> None:
        """Free what is reserved for a start that has ended. Releasing twice does no harm."""
        del accepted  # what a start of unknown price has cost is unknown in its row as well
        claim = reservation.claim if isinstance(reservation, _ClaimedReservation) else None
        if claim is not None and claim.reserved is not None:
            claim.reserved = None
            self.journal.update(claim)

    def adjust(self, coins: float) -> None:
        """Do nothing: the coins are in the row of the job."""

    async def learn_price(self, reservation: Reservation, named: float | None, *, ended: bool) -> float | None:
        """Find out the true price of a start, for all workers; as `BudgetGuard.learn_price`."""
        price = await super().learn_price(reservation, named, ended=ended)
        if self.account.max_coins is not None:
            if price is not None:
                await self.account.database.execute(
                    "INSERT INTO a2e_prices VALUES (%s, %s) "
                    "ON CONFLICT (price_key) DO UPDATE SET coins = excluded.coins",
                    _text(reservation.price_key),
                    price,
                    is_patient=True,
                )
            if self.budget.names_coins:
                query = "UPDATE a2e_account SET names_coins = true WHERE NOT names_coins"
                await self.account.database.execute(query, is_patient=True)
        return price

    async def _decide(self, reservation: Reservation, *, is_sending: bool) -> None:
        """Reserve coins, or mark them as being spent, as soon as that fits.

        Raises:
            BudgetError: It does not fit, and nothing that is reserved can become free.
        """
        claim = current_claim.get()

        async def operation(connection: psycopg.AsyncConnection[Any]) -> bool | None:
            await connection.execute(_LOCK)
            budget, own = await self._load(connection, reservation.price_key, claim)
            price_key = _text(reservation.price_key)
            if is_sending:
                if not budget.may_send(own or Reservation(price_key, None)):
                    return budget.has_sending
                reservation.coins, reservation.sending = budget.price(price_key), True
            else:
                if not budget.fits(price_key):
                    return budget.has_reservations
                reserved = budget.reserve(price_key)
                reservation.coins, reservation.alone = reserved.coins, reserved.alone
            claim.reserved = _to_json(reservation)
            await connection.execute(
                "UPDATE a2e_jobs SET reserved = %s::json WHERE key = %s AND fence = %s",
                (json.dumps(claim.reserved), claim.key, claim.fence),
            )
            return None

        while self.account.max_coins is not None:
            may_wait = await self.account.database.run(operation, is_patient=True)
            if may_wait is None:
                return
            self.journal.check_held(claim.key)
            if not may_wait:
                raise self._refusal(reservation.price_key)
            await self.account.wait(1.0)

    async def _load(
        self, connection: psycopg.AsyncConnection[Any], price_key: Hashable, claim: Claim
    ) -> tuple[Budget, Reservation | None]:
        """Return the budget of the cluster at this moment, and what the job has reserved in it."""
        cursor = await connection.execute("SELECT max_coins, names_coins FROM a2e_account")
        limit, names_coins = (await cursor.fetchall())[0]
        cursor = await connection.execute(_SPENT)
        spent, is_unclear = (await cursor.fetchall())[0]
        budget = Budget(limit, spent, is_unclear, names_coins)
        cursor = await connection.execute("SELECT price_key, coins FROM a2e_prices")
        for text, coins in await cursor.fetchall():
            budget.learn_price(text, coins)
        budget.learn_quote(_text(price_key), self.budget.price(price_key))
        own = None
        cursor = await connection.execute("SELECT key, reserved FROM a2e_jobs WHERE reserved IS NOT NULL")
        for key, stored in await cursor.fetchall():
            other = Reservation(**stored)
            if key == claim.key:
                own = other
            else:
                budget.restore(other)
        # for the message of a refusal
        self.budget.limit, self.budget.spent, self.budget.is_unclear = limit, spent, is_unclear
        return budget, own

    def _write(self, reservation: Reservation) -> None:
        claim = reservation.claim if isinstance(reservation, _ClaimedReservation) else None
        if claim is not None and claim.reserved is not None:
            claim.reserved = _to_json(reservation)
            self.journal.update(claim)


def _text(price_key: Hashable) -> str:
    return json.dumps(price_key)


def _to_json(reservation: Reservation) -> dict[str, Any]:
    fields = ("coins", "alone", "sending", "counted")
    return {"price_key": _text(reservation.price_key)} | {name: getattr(reservation, name) for name in fields}

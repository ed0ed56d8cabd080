"""Budget of a batch: coins are reserved before a start is sent, so that many jobs at once stay within `max_coins`."""

# How it works:
#
# * The true price of a start is what A2E's answer or the finished record names. Before that, A2E's quote is expected.
# * The first start of a kind (a price key) goes *alone*: nothing else is reserved until its true price is known. So the
#   limit is passed by that one start at most, however wrong the quote is.
# * If the answer names no coins, the price is measured: what the history of the account shows, or a fall of the balance
#   by exactly the quote. Else the start stays alone until its task has ended. If its price is unknown even then, it is
#   unknown what is left, and nothing more is started.
# * A job *reserves* its price before its images are uploaded, in its `turn`: the coins go to the first jobs of the
#   input, however long the look at an image takes, and there is one quote for each price key. If the price does not
#   fit beside all other reservations, the job waits, since a start under way may be rejected or cost less. If no
#   reservation is left to wait for, it is refused.
# * The price is checked again when the start is *sent*, against the starts that are being sent. By then it may have
#   changed.
# * When A2E has accepted the start, the reserved coins become spent coins (`count`).

import asyncio
import contextlib
from collections.abc import Hashable
from typing import Any

import attrs

from a2e_async.batch.jobs import BatchApi, Funds, PreparedStart
from a2e_async.batch.rules import Budget, Reservation, measured_price
from a2e_async.errors import A2EError, BudgetError


@attrs.define(eq=False, repr=False)
class BudgetGuard:
    """Guard of the budget of one batch: lets jobs wait until their price fits, or refuses them."""

    api: BatchApi[Any]
    budget: Budget
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    _quoted: set[Hashable] = attrs.field(factory=set)

    def turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Return the turn of a job to be checked and to `reserve`: with a limit, one job after the other."""
        return contextlib.nullcontext() if self.budget.limit is None else self._turn

    async def reserve(self, start: PreparedStart) -> Reservation:
        """Reserve the price of a start in the job's `turn`, so that no image is uploaded that cannot be paid for.

        Raises:
            BudgetError: It would exceed the limit.
        """
        budget, price_key = self.budget, start.price_key
        # Case 1: no limit. No quote is needed.
        if budget.limit is None:
            return budget.reserve(price_key)
        await self._learn_quote(start)
        # Case 2: it does not fit now, or another start goes alone. Wait until a reservation changes.
        # Case 3: it does not fit, and no reservation can become free. Refuse.
        while not budget.fits(price_key):
            if not budget.has_reservations:
                raise self._refusal(price_key)
            await self._changed.wait()
        # Case 4: it fits.
        return budget.reserve(price_key)

    async def send(self, reservation: Reservation) -> None:
        """Check the price again right before a start is sent, and mark it as being sent.

        Raises:
            BudgetError: Its price has risen since it was reserved, and would exceed the limit.
        """
        budget = self.budget
        # Only now: the uploads before may have cost coins as well.
        if reservation.alone and not budget.names_coins:
            reservation.funds = await self.api.funds()
        while not budget.may_send(reservation):
            if not budget.has_sending:
                raise self._refusal(reservation.price_key)
            await self._changed.wait()
        budget.send(reservation)

    def reject(self, reservation: Reservation) -> None:
        """Record that A2E has rejected a start, which may be sent again."""
        self.budget.reject(reservation)
        self._notify()

    def count(self, reservation: Reservation, coins: float | None) -> None:
        """Turn reserved coins into spent coins, since a start was accepted, or may have been.

        Args:
            reservation: The coins. If the start goes alone, they keep their place until `release`.
            coins: The cost as far as it is known or expected, None if it is unknown.
        """
        self.budget.count(reservation, coins)
        self._notify()

    async def learn_price(self, reservation: Reservation, named: float | None, *, ended: bool) -> float | None:
        """Find out the true price of a start that was accepted, and return it, None if it is not known.

        Args:
            reservation: Its coins.
            named: The coins in its record, None if there are none.
            ended: Whether its task has ended, so that A2E will not name the price later.
        """
        budget = self.budget
        # Case 1: the record names it. 0 may stand for "not yet": a later record, or the account, has to confirm it.
        price = named or None
        budget.names_coins = budget.names_coins or (price is not None and not ended)
        # Case 2: it does not. Ask what the start has changed in the account.
        if price is None and reservation.alone and reservation.funds != Funds():
            price = measured_price(reservation.funds, await self.api.funds(), budget.price(reservation.price_key))
        # Case 3: two sources say that starts of this kind are free.
        if price is None and named == 0 and ended and budget.price(reservation.price_key) == 0:
            price = 0
        if price is not None:
            budget.learn_price(reservation.price_key, price)
        return price

    def release(self, reservation: Reservation, *, accepted: bool = True) -> None:
        """Free what is reserved for a start that has ended, or was not `accepted`. Releasing twice does no harm."""
        reservation.counted = reservation.counted and accepted
        self.budget.release(reservation)
        self._notify()

    def adjust(self, coins: float) -> None:
        """Correct the spent coins, after A2E has told the real cost of a start; negative if it cost less."""
        self.budget.spend(coins)
        self._notify()

    async def _learn_quote(self, start: PreparedStart) -> None:
        """Ask A2E for a quote, once for each price key."""
        if self.budget.price(start.price_key) is None and start.price_key not in self._quoted:
            self._quoted.add(start.price_key)
            with contextlib.suppress(A2EError):
                self.budget.learn_quote(start.price_key, await self.api.quote(start))

    def _notify(self) -> None:
        # a new event for each change, so that all that wait now check again, and later ones wait for the next change
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _refusal(self, price_key: Hashable) -> BudgetError:
        price = self.budget.price(price_key)
        costs = "its price is unknown" if price is None else f"it would cost {price:g}"
        if self.budget.is_unclear:
            costs = "A2E has not told what a start has cost: start the other jobs without max_coins"
        return BudgetError(
            f"Not started: {self.budget.spent:g} of max_coins={self.budget.limit:g} are spent, and {costs}"
        )

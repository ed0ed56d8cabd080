"""Budget of a batch: coins are reserved before a start is sent, so that many jobs at once stay within `max_coins`."""

# How it works:
#
# * The price of a start is A2E's quote, or what the last start with the same price key has cost.
# * A job *reserves* its price before its images are uploaded. If the price does not fit beside all other
#   reservations, the job waits, since a start under way may be rejected or cost less. If no reservation is left to
#   wait for, it is refused.
# * If no price is known, one job starts to find it out. All others wait for its answer.
# * The price is checked again when the start is *sent*, against the starts that are being sent. By then it may have
#   changed.
# * When the answer arrives, the reservation becomes spent coins (`charge`).

import asyncio
import contextlib
from collections.abc import Hashable
from typing import Any

import attrs

from a2e_async.batch.jobs import BatchApi, PreparedStart
from a2e_async.batch.rules import Budget, Reservation
from a2e_async.errors import A2EError, BudgetError


@attrs.define(eq=False, repr=False)
class BudgetGuard:
    """Guard of the budget of one batch: lets jobs wait until their price fits, or refuses them."""

    api: BatchApi[Any]
    budget: Budget
    _reserve_lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    _quoted: set[Hashable] = attrs.field(factory=set)

    async def reserve(self, start: PreparedStart) -> Reservation:
        """Reserve the price of a start, so that no image is uploaded for a start that cannot be paid.

        Raises:
            BudgetError: It would exceed the limit.
        """
        budget, price_key = self.budget, start.price_key
        # Case 1: no limit. No quote is needed.
        if budget.limit is None:
            return budget.reserve(price_key)
        # The lock keeps the order of the jobs, and one quote for each price key.
        async with self._reserve_lock:
            await self._learn_quote(start)
            # Case 2: a start of unknown price is under way, or the price does not fit. Wait until a reservation
            # changes.
            # Case 3: the price does not fit, and no reservation can become free. Refuse.
            while budget.has_unpriced or not budget.fits(price_key):
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
        while not self.budget.may_send(reservation):
            if not self.budget.has_sending:
                raise self._refusal(reservation.price_key)
            await self._changed.wait()
        self.budget.send(reservation)

    def reject(self, reservation: Reservation) -> None:
        """Record that A2E has rejected a start, which may be sent again."""
        self.budget.reject(reservation)
        self._notify()

    def charge(self, reservation: Reservation, coins: float | None) -> None:
        """Turn reserved coins into spent coins; 0 if nothing was started, None if the cost is unknown."""
        self.budget.release(reservation)
        self.budget.spend(coins)
        if coins:
            self.budget.learn_price(reservation.price_key, coins)
        self._notify()

    def adjust(self, coins: float) -> None:
        """Correct the spent coins, after A2E has told the real cost of a start; negative if it cost less."""
        self.budget.spend(coins)
        self._notify()

    async def _learn_quote(self, start: PreparedStart) -> None:
        """Ask A2E for a quote, once for each price key. Without one, the first start reveals the price."""
        if self.budget.price(start.price_key) is None and start.price_key not in self._quoted:
            self._quoted.add(start.price_key)
            with contextlib.suppress(A2EError):
                self.budget.learn_price(start.price_key, await self.api.quote(start))

    def _notify(self) -> None:
        # a new event for each change, so that all that wait now check again, and later ones wait for the next change
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _refusal(self, price_key: Hashable) -> BudgetError:
        price = self.budget.price(price_key)
        costs = "its price is unknown" if price is None else f"it would cost {price:g}"
        return BudgetError(
            f"Not started: {self.budget.spent:g} of max_coins={self.budget.limit:g} are spent, and {costs}"
        )

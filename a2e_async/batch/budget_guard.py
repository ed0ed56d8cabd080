"""Sets coins aside before they are spent. `batch/budget.py` counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Hashable

import attrs

from a2e_async.batch.budget import Budget, Reservation
from a2e_async.batch.jobs import Desk, Purchase
from a2e_async.errors import A2EError, BudgetError

__all__ = ["Purse"]


@attrs.define(eq=False)
class Purse:
    """The coins of a batch, for all of its jobs."""

    desk: Desk
    budget: Budget
    _one_by_one: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    _asked: set[Hashable] = attrs.field(factory=set)

    async def reserve(self, purchase: Purchase) -> Reservation:
        """Set the price of a start aside, so that nothing is uploaded that cannot be started.

        While a start is under way whose price nobody knows, all others wait for what it teaches.

        Raises:
            BudgetError: It would pass the limit.
        """
        budget, kind = self.budget, purchase.kind
        if budget.limit is None:
            return budget.reserve(kind)
        async with self._one_by_one:
            await self._ask(purchase)
            while budget.is_exploring or not budget.fits(kind):
                if budget.is_idle:
                    raise self._refusal(kind)
                await self._change()  # what is under way can cost less than was set aside, or nothing
            return budget.reserve(kind)

    async def send(self, reservation: Reservation) -> None:
        """See that a start may be sent, which can spend what was set aside: by now more may be known of its price.

        Raises:
            BudgetError: It would pass the limit after all.
        """
        while not self.budget.may_send(reservation):
            if not self.budget.is_sending:
                raise self._refusal(reservation.kind)
            await self._change()
        self.budget.send(reservation)

    def give_back(self, reservation: Reservation) -> None:
        """A start was turned away."""
        self.budget.turn_away(reservation)
        self._tell()

    def settle(self, reservation: Reservation, coins: float | None) -> None:
        """Turn what was set aside into what was spent; 0 coins if nothing was started."""
        self.budget.release(reservation)
        self.budget.spend(coins)
        if coins:
            self.budget.learn(reservation.kind, coins)
        self._tell()

    def correct(self, coins: float) -> None:
        """Count coins of which an earlier run did not know what became of them; negative if they were not spent."""
        self.budget.spend(coins)
        self._tell()

    async def _ask(self, purchase: Purchase) -> None:
        """Ask A2E for a price, once for each kind. It is worth a try."""
        if self.budget.price(purchase.kind) is None and purchase.kind not in self._asked:
            self._asked.add(purchase.kind)
            with contextlib.suppress(A2EError):
                self.budget.learn(purchase.kind, await self.desk.quote(purchase))

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _change(self) -> None:
        await self._changed.wait()

    def _refusal(self, kind: Hashable) -> BudgetError:
        price = self.budget.price(kind)
        costs = "its price is not known" if price is None else f"it would cost {price:g}"
        return BudgetError(
            f"Not started: {self.budget.spent:g} of max_coins={self.budget.limit:g} are spent, and {costs}"
        )

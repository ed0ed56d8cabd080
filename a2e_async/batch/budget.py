"""Budget of a batch: coins are reserved before a start is sent, so that many jobs at once stay within `max_coins`.

How it works:

* The price of a start is A2E's quote, or what the last start with the same price key has cost.
* A job *reserves* its price before its images are uploaded. If the price does not fit beside all other reservations,
  the job waits, since a start under way may be rejected or cost less. If no reservation is left to wait for, it is
  refused.
* If no price is known, one job starts to find it out. All others wait for its answer.
* The price is checked again when the start is *sent*, against the starts that are being sent. By then it may have
  changed.
* When the answer arrives, the reservation becomes spent coins (`charge`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Hashable
from typing import Any

import attrs

from a2e_async.batch.jobs import BatchApi, PreparedStart
from a2e_async.errors import A2EError, BudgetError


@attrs.define(eq=False)
class Reservation:
    """Coins reserved for one start.

    Attributes:
        price_key: What decides the price.
        coins: The price, None if it is unknown.
        sending: Whether the start is being sent, so that the coins may be spent at any moment.
    """

    price_key: Hashable
    coins: float | None
    sending: bool = False


@attrs.define(eq=False)
class Budget:
    """Coins of one batch: spent, reserved, left. It only counts, and never waits.

    Attributes:
        limit: Coins that may be spent, None for no limit.
        spent: Coins that were spent, earlier runs included.
    """

    limit: float | None
    spent: float = 0
    _prices: dict[Hashable, float] = attrs.field(factory=dict)
    _reserved: set[Reservation] = attrs.field(factory=set)
    _sending: set[Reservation] = attrs.field(factory=set)
    _unpriced: set[Reservation] = attrs.field(factory=set)
    # sums of the sets above: a batch can have thousands of reservations
    _reserved_coins: float = 0
    _sending_coins: float = 0

    def price(self, price_key: Hashable) -> float | None:
        """Return the expected cost of a start, None if it is unknown."""
        return self._prices.get(price_key)

    def learn_price(self, price_key: Hashable, coins: float | None) -> None:
        """Remember the price of a quote or of an answer; None is ignored."""
        if coins is not None:
            self._prices[price_key] = coins

    @property
    def has_reservations(self) -> bool:
        """Whether coins are reserved, some of which may become free again."""
        return bool(self._reserved)

    @property
    def has_sending(self) -> bool:
        """Whether a start is being sent."""
        return bool(self._sending)

    @property
    def has_unpriced(self) -> bool:
        """Whether a start of unknown price is under way."""
        return bool(self._unpriced)

    def fits(self, price_key: Hashable) -> bool:
        """Return whether a start stays within the limit, beside all reservations.

        One of unknown price fits as long as anything is left, because only a start can reveal the price.
        """
        return self._is_within_limit(price_key, self._reserved_coins)

    def reserve(self, price_key: Hashable) -> Reservation:
        """Reserve the price of a start."""
        reservation = Reservation(price_key, self._prices.get(price_key))
        if self.limit is not None:
            self._add(reservation)
        return reservation

    def may_send(self, reservation: Reservation) -> bool:
        """Return whether a start stays within the limit at its present price, beside all starts being sent."""
        return self._is_within_limit(reservation.price_key, self._sending_coins)

    def send(self, reservation: Reservation) -> None:
        """Mark a start as being sent, at its present price."""
        if reservation in self._reserved:
            self._remove(reservation)
            reservation.coins, reservation.sending = self._prices.get(reservation.price_key), True
            self._add(reservation)

    def reject(self, reservation: Reservation) -> None:
        """Mark a start as rejected. It keeps its reservation, since it may be sent again."""
        if reservation in self._reserved:
            self._remove(reservation)
            reservation.sending = False
            self._add(reservation)

    def release(self, reservation: Reservation) -> None:
        """Free the reserved coins. Releasing twice does no harm."""
        if reservation in self._reserved:
            self._remove(reservation)

    def spend(self, coins: float | None) -> None:
        """Add coins to those that were spent; None is ignored."""
        self.spent += coins or 0

    def _add(self, reservation: Reservation) -> None:
        self._reserved.add(reservation)
        self._reserved_coins += reservation.coins or 0
        if reservation.coins is None:
            self._unpriced.add(reservation)
        if reservation.sending:
            self._sending.add(reservation)
            self._sending_coins += reservation.coins or 0

    def _remove(self, reservation: Reservation) -> None:
        self._reserved.remove(reservation)
        self._unpriced.discard(reservation)
        self._reserved_coins -= reservation.coins or 0
        if reservation.sending:
            self._sending.remove(reservation)
            self._sending_coins -= reservation.coins or 0

    def _is_within_limit(self, price_key: Hashable, reserved: float) -> bool:
        if self.limit is None:
            return True
        price, left = self._prices.get(price_key), self.limit - self.spent - reserved
        return left > 0 if price is None else price <= left


@attrs.define(eq=False)
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

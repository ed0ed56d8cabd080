"""What a batch may still spend. A price is A2E's quote, or what the last start of its kind has cost."""

from __future__ import annotations

from collections.abc import Hashable

import attrs

__all__ = ["Budget", "Reservation"]


@attrs.define(eq=False)
class Reservation:
    """Coins that were set aside for one start.

    Attributes:
        kind: What decides the price.
        coins: The price, None if nobody knows it.
        sending: Whether the start is being sent, so that they can be spent at any moment.
    """

    kind: Hashable
    coins: float | None
    sending: bool = False


@attrs.define(eq=False)
class Budget:
    """Coins of a batch.

    Attributes:
        limit: Coins that may be spent, None for no limit.
        spent: Coins that were spent, earlier runs included.
    """

    limit: float | None
    spent: float = 0
    _prices: dict[Hashable, float] = attrs.field(factory=dict)
    _reserved: set[Reservation] = attrs.field(factory=set)
    _sending: set[Reservation] = attrs.field(factory=set)
    _exploring: set[Reservation] = attrs.field(factory=set)
    _reserved_coins: float = 0
    _sending_coins: float = 0

    def price(self, kind: Hashable) -> float | None:
        """Return what a start of this kind is expected to cost, None if nobody knows."""
        return self._prices.get(kind)

    def learn(self, kind: Hashable, coins: float | None) -> None:
        """Take note of a quote or of an answer; None says nothing."""
        if coins is not None:
            self._prices[kind] = coins

    @property
    def is_idle(self) -> bool:
        """Whether nothing is set aside, so that nothing will come back."""
        return not self._reserved

    @property
    def is_sending(self) -> bool:
        """Whether something is being sent."""
        return bool(self._sending)

    @property
    def is_exploring(self) -> bool:
        """Whether a start is under way whose price nobody knows."""
        return bool(self._exploring)

    def fits(self, kind: Hashable) -> bool:
        """Tell whether a start of this kind stays within the limit, beside all for which coins were set aside.

        One whose price nobody knows fits as long as anything is left: somebody has to find out.
        """
        return self._is_within(kind, self._reserved_coins)

    def reserve(self, kind: Hashable) -> Reservation:
        """Set the price of a start aside."""
        reservation = Reservation(kind, self._prices.get(kind))
        if self.limit is not None:
            self._put(reservation)
        return reservation

    def may_send(self, reservation: Reservation) -> bool:
        """Tell whether a start may be sent now, beside all that are being sent, since its price can have changed."""
        return self._is_within(reservation.kind, self._sending_coins)

    def send(self, reservation: Reservation) -> None:
        """Note that a start is being sent, at the price that is known now."""
        if reservation in self._reserved:
            self._take(reservation)
            reservation.coins, reservation.sending = self._prices.get(reservation.kind), True
            self._put(reservation)

    def turn_away(self, reservation: Reservation) -> None:
        """Note that a start was not accepted, and may be sent again."""
        if reservation in self._reserved:
            self._take(reservation)
            reservation.sending = False
            self._put(reservation)

    def release(self, reservation: Reservation) -> None:
        """Give back what was set aside."""
        if reservation in self._reserved:
            self._take(reservation)

    def spend(self, coins: float | None) -> None:
        """Count what A2E has charged."""
        self.spent += coins or 0

    def _put(self, reservation: Reservation) -> None:
        self._reserved.add(reservation)
        self._reserved_coins += reservation.coins or 0
        if reservation.coins is None:
            self._exploring.add(reservation)
        if reservation.sending:
            self._sending.add(reservation)
            self._sending_coins += reservation.coins or 0

    def _take(self, reservation: Reservation) -> None:
        self._reserved.remove(reservation)
        self._exploring.discard(reservation)
        self._reserved_coins -= reservation.coins or 0
        if reservation.sending:
            self._sending.remove(reservation)
            self._sending_coins -= reservation.coins or 0

    def _is_within(self, kind: Hashable, taken: float) -> bool:
        if self.limit is None:
            return True
        price, left = self._prices.get(kind), self.limit - self.spent - taken
        return left > 0 if price is None else price <= left

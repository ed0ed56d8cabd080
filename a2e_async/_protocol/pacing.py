"""How many requests at once, how fast, and how long to hold all of them back. `_transport/pacing.py` waits.

A2E publishes no limits, so the throttle learns them as TCP does (AIMD): whoever is turned away makes everybody wait as
long as A2E asks, and halves the number under way; every request that is accepted afterwards gives a little back. Who is
turned away for asking too often also teaches a rate: a bit less than what A2E accepted in the second before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from a2e_async.errors import APIError, BusyError, RateLimitError

if TYPE_CHECKING:
    from a2e_async.config import Pacing
    from a2e_async.errors import A2EError

__all__ = ["Throttle", "turns_away"]

_LESS = 0.8
"""Of the rate that was accepted, what is tried after being turned away."""

_MORE = 0.05
"""Requests a second by which an accepted request raises a learned rate, at most."""

_SLOWEST = 1.0
"""Requests a second: no lower rate is learned. The pauses that A2E asks for take care of the rest."""

_ENOUGH = 5
"""Requests accepted in a second, which make a rate."""

_SOON = 10.0
"""Seconds within which being turned away twice means that even few requests were too many."""

_FORGET = 60.0
"""Seconds without being turned away after which a learned rate is forgotten."""

_LONGEST = 86400.0
"""Seconds; an odd header must not switch the client off for ever."""

_JITTER = 0.1
"""At most so much of a pause is added to it by chance, so that many clients do not come back at once."""


def turns_away(error: A2EError) -> bool:
    """Tell whether an answer asks the whole client to slow down: 429, "busy", or any ``Retry-After``."""
    return isinstance(error, RateLimitError | BusyError) or (
        isinstance(error, APIError) and error.retry_after is not None
    )


@attrs.define
class Throttle:
    """Decides when the next request may begin. All times are seconds on one clock.

    Attributes:
        policy: What the user allows at most.
        in_flight: Requests under way; whoever ends takes one off.
        at_once: How many are allowed under way now, from 1 to `Pacing.max_in_flight`.
        learned: Requests a second that A2E seems to allow; None if it never complained of late.
        held_until: Nothing may begin before.
    """

    policy: Pacing
    in_flight: int = 0
    at_once: float = attrs.field(init=False)
    learned: float | None = None
    held_until: float = -math.inf
    _next: float = -math.inf
    _eased_at: float = -math.inf
    _in_a_row: int = 0
    _second: float = -math.inf
    _accepted: int = 0
    _accepted_before: int = 0

    def __attrs_post_init__(self) -> None:
        """Begin with what the user allows."""
        self.at_once = self.policy.max_in_flight

    def delay(self, now: float) -> float | None:
        """Return the seconds until the next request may begin, None if first one that is under way must end."""
        if self.in_flight + 1 > self.at_once:
            return None
        return max(0.0, self.held_until - now, self._next - now)

    def begin(self, now: float) -> None:
        """Take note of a request that begins: one in a regular beat, and never a burst to catch up."""
        self.in_flight += 1
        rate = self.policy.per_second
        if self.learned is not None:
            rate = self.learned if rate is None else min(rate, self.learned)
        if rate is not None:
            self._next = max(now, self._next) + 1.0 / rate

    def accepted(self, now: float, began: float) -> None:
        """Take note of a good answer at `now` to a request of `began`: allow a little more again."""
        if now - self._second >= 1.0:
            self._accepted_before = self._accepted if now - self._second < 2.0 else 0
            self._second, self._accepted = now, 0
        self._accepted += 1
        if self._in_a_row and began > self._eased_at:
            self._in_a_row = 0
        if self.at_once < self.policy.max_in_flight or self.learned is not None:
            self._recover(now, began)

    def turned_away(self, error: A2EError, now: float, *, began: float, chance: float) -> None:
        """Take note of an answer for which `turns_away` holds: hold everybody back and allow less.

        Args:
            error: The answer.
            now: When it came.
            began: When its request began. Requests that were under way together are turned away together, which
                counts once.
            chance: Evenly random, from 0 to 1.
        """
        if began > self._eased_at:  # at the same time: the clock is coarse, and they were under way together
            self._ease(now, learn=isinstance(error, RateLimitError))
        asked = error.retry_after if isinstance(error, APIError) else None
        pause = self._pause() if asked is None else min(asked, _LONGEST)
        self.held_until = max(self.held_until, now + pause * (1.0 + _JITTER * chance))

    def _ease(self, now: float, *, learn: bool) -> None:
        again = now - self._eased_at < _SOON
        self._eased_at = now
        self._in_a_row += 1
        self.at_once = max(1.0, self.at_once / 2)
        age = now - self._second
        rate = max(self._accepted if age < 2.0 else 0, self._accepted_before if age < 1.0 else 0)
        if learn and (rate >= _ENOUGH or again):  # few requests teach nothing, unless they are turned away again
            self.learned = max(_SLOWEST, _LESS * (rate if self.learned is None else min(rate, self.learned)))

    def _recover(self, now: float, began: float) -> None:
        if began <= self._eased_at:
            return
        self.at_once = min(float(self.policy.max_in_flight), self.at_once + 1.0 / self.at_once)
        if self.learned is not None:  # at 20 a second and above, about one more a second every second
            self.learned += min(1.0 / self.learned, _MORE)
            if now - self._eased_at > _FORGET:
                self.learned = None

    def _pause(self) -> float:
        """Return how long to hold back if A2E does not say (reference 1.5: 2 to 30 s)."""
        return float(min(self.policy.max_hold_back, self.policy.hold_back * 2.0 ** min(max(0, self._in_a_row - 1), 64)))

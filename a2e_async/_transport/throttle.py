"""How many requests at once, how fast, and how long to hold all of them back; and waits for a place.

`Throttle` decides, `PacedApi` waits, for the whole client, and tells it what A2E said. Paid and free requests wait in
two lines that take turns, so that a thousand starts do not hold up the question how one of them is doing, nor the other
way round.

A2E publishes no limits, so the throttle learns them as TCP does (AIMD): whoever is turned away makes everybody wait as
long as A2E asks, and halves the number under way; every request that is accepted afterwards gives a little back. Who is
turned away for asking too often also teaches a rate: a bit less than what A2E accepted in the second before.
"""

from __future__ import annotations

import asyncio
import collections
import copy
import math
import random
from typing import Protocol

import attrs

from a2e_async._protocol.decoding import decode
from a2e_async._protocol.failures import turns_away
from a2e_async._protocol.messages import Envelope, Request, Response
from a2e_async.config import Pacing
from a2e_async.errors import A2EError, APIError, ClientClosedError, RateLimitError

__all__ = ["PacedApi", "Throttle", "Transport"]

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


_Place = asyncio.Future  # of None: it is done when the request may begin


class Transport(Protocol):
    """The plug: a request goes in, an answer comes out."""

    async def send(self, request: Request) -> Response:
        """Send a request once."""
        ...


@attrs.define(eq=False, repr=False)  # what asyncio logs of a slow callback must not be the whole line
class PacedApi:
    """Request in, unwrapped answer out, once there is a place. Sits inside of the retries, so that every try pays.

    Attributes:
        inner: Sends.
        throttle: Decides who may begin when.
        patience: Seconds; if A2E wants us to wait longer, nobody waits, and everybody gets a `RateLimitError`.
    """

    inner: Transport
    throttle: Throttle
    patience: float
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    _paid: collections.deque[_Place[None]] = attrs.field(factory=collections.deque)
    _free: collections.deque[_Place[None]] = attrs.field(factory=collections.deque)
    _paid_is_next: bool = False
    _timer: asyncio.TimerHandle | None = None
    _closed: bool = False

    async def send(self, request: Request) -> Envelope:
        """Wait for a place, then send and decode; see `exchange`."""
        if not self.take_place():
            await self.wait_for_place(paid=request.paid)
        return await self.exchange(request)

    def take_place(self) -> bool:
        """Take a place if there is one at once, which is nearly always so.

        It is for `exchange`, which gives it back at its end; who does not come to that has to `give_back`.
        """
        if self._paid or self._free or self._closed or self.throttle.delay(now := self._loop.time()) != 0.0:
            return False
        self.throttle.begin(now)
        return True

    async def wait_for_place(self, *, paid: bool) -> None:
        """Wait in line for a place.

        Raises:
            RateLimitError: A2E wants to be left alone for longer than our patience; nothing was sent.
            ClientClosedError: The client was closed meanwhile.
        """
        if self._closed:
            raise _closed()
        self._check_patience()
        place: _Place[None] = self._loop.create_future()
        (self._paid if paid else self._free).append(place)
        self._advance()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.give_back()  # got the place in the same moment, and has no use for it
            raise

    async def exchange(self, request: Request) -> Envelope:
        """Send a request, decode the answer, and give the place back.

        Raises:
            APIError: A2E says that something is wrong.
            NetworkError: There is no whole answer.
            UnexpectedResponseError: The answer is none of A2E's.
        """
        clock, throttle = self._loop.time, self.throttle
        began = clock()
        try:
            envelope = decode(await self.inner.send(request))
        except A2EError as error:
            if turns_away(error):
                throttle.turned_away(error, clock(), began=began, chance=random.random())  # noqa: S311  no secret
            elif isinstance(error, APIError) and error.status < 500:
                throttle.accepted(clock(), began)  # A2E did deal with it
            raise
        else:
            throttle.accepted(clock(), began)
            return envelope
        finally:
            self.give_back()

    def give_back(self) -> None:
        """Give a place back."""
        self.throttle.in_flight -= 1
        if self._paid or self._free:
            self._advance()

    def close(self) -> None:
        """Send away whoever waits in line."""
        self._closed = True
        self._disarm()
        self._send_away(_closed())

    def _advance(self) -> None:
        """Give places to those who come next; if it is too early for that, come back later."""
        self._disarm()
        try:
            self._check_patience()
        except RateLimitError as error:
            self._send_away(error)
        while self._paid or self._free:
            now = self._loop.time()
            delay = self.throttle.delay(now)
            if delay is None:
                return  # whoever ends comes here again
            if delay > 0.0:
                self._timer = self._loop.call_later(delay, self._advance)
                return
            place = self._next()
            if not place.done():
                self.throttle.begin(now)
                place.set_result(None)

    def _next(self) -> _Place[None]:
        self._paid_is_next = not self._paid_is_next
        first, second = (self._paid, self._free) if self._paid_is_next else (self._free, self._paid)
        return (first or second).popleft()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_patience(self) -> None:
        left = self.throttle.held_until - self._loop.time()
        if left > self.patience:
            msg = f"A2E has asked this client to wait, {left:.0f} s more; nothing was sent"
            raise RateLimitError(msg, status=429, retry_after=left)

    def _send_away(self, error: A2EError) -> None:
        for place in (*self._paid, *self._free):
            if not place.done() and not self._loop.is_closed():  # in a closed loop nobody can be woken any more
                place.set_exception(copy.copy(error))
        self._paid.clear()
        self._free.clear()


def _closed() -> ClientClosedError:
    return ClientClosedError("The client was closed meanwhile; nothing was sent")

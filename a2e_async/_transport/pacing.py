"""Waits for a place as `_protocol/pacing.py` decides, for the whole client, and tells it what A2E said.

Paid and free requests wait in two lines that take turns, so that a thousand starts do not hold up the question how one
of them is doing, nor the other way round.
"""

from __future__ import annotations

import asyncio
import collections
import copy
import random
from typing import TYPE_CHECKING, Protocol

import attrs

from a2e_async._protocol.decoding import decode
from a2e_async._protocol.pacing import Throttle, turns_away
from a2e_async.errors import A2EError, APIError, ClientClosedError, RateLimitError

if TYPE_CHECKING:
    from a2e_async._protocol.messages import Envelope, Request, Response

__all__ = ["PacedApi", "Transport"]

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

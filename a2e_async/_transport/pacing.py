"""Waits for a place: so many requests at once, so many in a second, for the whole client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import attrs

from a2e_async._protocol.pacing import Beat

if TYPE_CHECKING:
    from a2e_async._protocol.messages import Request, Response
    from a2e_async.config import Pacing

__all__ = ["PacedTransport", "Transport"]


class Transport(Protocol):
    """The plug: a request goes in, an answer comes out."""

    async def send(self, request: Request) -> Response:
        """Send a request once."""
        ...


@attrs.define
class PacedTransport:
    """Holds requests back. Sits inside of the retries, so that every attempt pays."""

    inner: Transport
    policy: Pacing
    _slots: asyncio.Semaphore = attrs.field(init=False)
    _beat: Beat | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the places."""
        self._slots = asyncio.Semaphore(self.policy.max_in_flight)
        self._beat = None if self.policy.per_second is None else Beat(self.policy.per_second)

    async def send(self, request: Request) -> Response:
        """Wait for a place, then send."""
        await self._slots.acquire()  # `async with` would make three coroutines of this one
        try:
            if self._beat is not None:
                await asyncio.sleep(self._beat.take(asyncio.get_running_loop().time()))
            return await self.inner.send(request)
        finally:
            self._slots.release()

"""An aiohttp session for one event loop: made when first needed, closed by who made it."""

from __future__ import annotations

import contextlib

import aiohttp
import attrs

from a2e_async.errors import ClientClosedError

__all__ = ["OwnedSession"]


@attrs.define
class OwnedSession:
    """A session of ours, or one that was lent to us and stays open.

    No cookies are kept: an API client has no use for them, and a CDN's cookie must not travel on.
    """

    lent: aiohttp.ClientSession | None = None
    _own: aiohttp.ClientSession | None = None
    _closed: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether there is a session of ours to be closed."""
        return self._own is not None

    def get(self) -> aiohttp.ClientSession:
        """Return the session, making one if none was lent. Needs a running event loop.

        Raises:
            ClientClosedError: It was closed, by us or by who lent it.
        """
        if self._closed or (self.lent is not None and self.lent.closed):
            msg = "The client was closed meanwhile, or the session that it was given"
            raise ClientClosedError(msg)
        if self.lent is not None:
            return self.lent
        if self._own is None:
            self._own = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._own

    async def aclose(self) -> None:
        """Close the session if it is ours. Cancelled in between, it can be closed again."""
        self._closed = True
        if self._own is not None:
            await self._own.close()
            self._own = None

    def abandon(self) -> None:
        """Let go of the session where nothing can be awaited. Its connections close by themselves, if the loop runs."""
        self._closed = True
        session, self._own = self._own, None
        if session is None:
            return
        closing = session.close()
        with contextlib.suppress(StopIteration, RuntimeError):
            closing.send(None)  # the first step closes; the rest would only wait for it
        closing.close()

"""An aiohttp session for one event loop: made when first needed, closed by who made it."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import aiohttp
import attrs

from a2e_async.errors import ClientClosedError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OwnedSession", "check_verifies"]


def check_verifies(session: aiohttp.ClientSession) -> None:
    """Refuse a session that would send the token to whoever answers: it was made for something else.

    Raises:
        ConfigurationError: The session's connector does not verify TLS certificates.
    """
    choice = getattr(session.connector, "_ssl", True)  # there is no public way to ask
    if choice is False or (isinstance(choice, ssl.SSLContext) and choice.verify_mode is ssl.CERT_NONE):
        msg = "The session does not verify TLS certificates (ssl=False), so the token could go to anybody: lend another"
        raise ConfigurationError(msg)


@attrs.define
class OwnedSession:
    """A session of ours, or one that was lent to us and stays open.

    No cookies are kept: an API client has no use for them, and a CDN's cookie must not travel on.
    """

    lent: aiohttp.ClientSession | None = None
    _own: aiohttp.ClientSession | None = None
    _closed: bool = False
    _headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)

    @property
    def is_open(self) -> bool:
        """Tell whether there is a session of ours to be closed."""
        return self._own is not None

    def carry(self, headers: Mapping[str, str]) -> bool:
        """Let every request of a session of ours have these headers; return False if the session was lent."""
        if self.lent is None:
            self._headers = headers
        return self.lent is None

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
            self._own = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers=self._headers)
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

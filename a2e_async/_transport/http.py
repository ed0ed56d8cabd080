"""The session of one event loop, and the one place where the token meets the network.

Sends one request and reads one answer.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Mapping

import aiohttp
import attrs
from yarl import URL

from a2e_async._protocol.messages import Request, Response
from a2e_async._protocol.settings import Secret, Settings
from a2e_async._transport.exceptions import foreign_errors
from a2e_async.errors import ClientClosedError, ConfigurationError, InvalidRequestError, UnexpectedResponseError

__all__ = ["HttpTransport", "OwnedSession", "check_verifies"]


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


@attrs.define
class HttpTransport:
    """The API side of aiohttp: bearer token, JSON, no redirects, bounded time and size."""

    settings: Settings
    session: OwnedSession
    _timeout: aiohttp.ClientTimeout = attrs.field(init=False)
    _headers: dict[str, str] | None = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Prepare what every request needs."""
        config = self.settings.config
        self._timeout = aiohttp.ClientTimeout(total=config.request_timeout, connect=config.connect_timeout)
        # a session that was lent can be used for other hosts: there the token is a header of each request
        headers = {"Authorization": Secret(f"Bearer {self.settings.token}"), "Accept": "application/json"}
        self._headers = None if self.session.carry(headers) else headers

    async def send(self, request: Request) -> Response:
        """Send a request once.

        Raises:
            InvalidRequestError: The body is no JSON.
            NetworkError: There is no whole answer.
            UnexpectedResponseError: The answer is larger than `Config.max_response_bytes`.
        """
        sent = None if request.json is None else _encode(request)
        with foreign_errors(request.method, request.path):
            async with self.session.get().request(
                request.method,
                URL(self.settings.base_url + request.path, encoded=True),
                params=request.params,
                data=sent,
                headers=self._headers,
                timeout=self._timeout if request.within is None else self._bounded(request.within),
                allow_redirects=False,
                raise_for_status=False,  # a lent session may say otherwise, and would lose A2E's words
            ) as answer:
                body = await self._read(answer)
                return Response(status=answer.status, headers=answer.headers, body=body, received_at=time.time())

    def _bounded(self, within: float) -> aiohttp.ClientTimeout:
        config = self.settings.config
        return aiohttp.ClientTimeout(total=min(within, config.request_timeout), connect=config.connect_timeout)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        limit = self.settings.config.max_response_bytes
        length = answer.headers.get("Content-Length")
        if length is not None and int(length) <= limit and "Content-Encoding" not in answer.headers:
            return await answer.read()  # it cannot become more than it says
        chunks: list[bytes] = []
        size = 0
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            chunks.append(chunk)
            if size > limit:
                answer.close()
                msg = f"A2E's answer is larger than max_response_bytes ({limit} bytes)"
                raise UnexpectedResponseError(msg, status=answer.status, body=chunks[0][:1024])
        return b"".join(chunks)


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _encode(request: Request) -> aiohttp.BytesPayload:
    try:
        return aiohttp.BytesPayload(_JSON.encode(request.json).encode(), content_type="application/json")
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"The body is no JSON: {error}"
        raise InvalidRequestError(msg) from error

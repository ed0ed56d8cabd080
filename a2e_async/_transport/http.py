"""HTTP with aiohttp: sends one request and reads one answer. The only module that sends the token."""

import contextlib
import json
import ssl
import time

import aiohttp
import attrs
from yarl import URL

from a2e_async._protocol.messages import Request, Response
from a2e_async._protocol.settings import Secret, Settings
from a2e_async._transport.exceptions import REQUEST_ERRORS, raise_network_error
from a2e_async.errors import ClientClosedError, ConfigurationError, InvalidRequestError, UnexpectedResponseError


def check_verifies(session: aiohttp.ClientSession) -> None:
    """Reject a session that does not verify TLS certificates: it would send the token to any host that answers.

    Raises:
        ConfigurationError: The session's connector does not verify TLS certificates.
    """
    choice = getattr(session.connector, "_ssl", True)  # there is no public way to read it
    if choice is False or (isinstance(choice, ssl.SSLContext) and choice.verify_mode is ssl.CERT_NONE):
        msg = "The session does not verify TLS certificates (ssl=False), so the token is not safe: pass another session"
        raise ConfigurationError(msg)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


@attrs.define(eq=False, repr=False)
class OwnedSession:
    """Session of aiohttp that is made when it is first needed, or an external one, which is never closed.

    Attributes:
        external: The session that the user passed, or None.
    """

    external: aiohttp.ClientSession | None = None
    _own: aiohttp.ClientSession | None = None
    _closed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether there is a session of ours to close."""
        return self._own is not None

    def get(self) -> aiohttp.ClientSession:
        """Return the session, and make it if there is none. Needs a running event loop.

        Raises:
            ClientClosedError: The client or the external session was closed.
        """
        if self._closed or (self.external is not None and self.external.closed):
            msg = "The client or the session that it was given was closed: make another client"
            raise ClientClosedError(msg)
        if self.external is not None:
            return self.external
        if self._own is None:
            # no cookies: an API client has no use for them, and a CDN's cookie must not be sent on
            self._own = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._own

    async def aclose(self) -> None:
        """Close the session if it is ours. After a cancellation it can be closed again."""
        self._closed = True
        if self._own is not None:
            await self._own.close()
            self._own = None

    def close_sync(self) -> None:
        """Close the session where nothing can be awaited. Its connections close later, if the event loop runs."""
        self._closed = True
        session, self._own = self._own, None
        if session is None:
            return
        closing = session.close()
        with contextlib.suppress(StopIteration, RuntimeError):
            closing.send(None)  # the first step closes; the next steps would only wait for the connections
        closing.close()


@attrs.define(eq=False, repr=False)
class HttpTransport:
    """Sender of API requests: bearer token, JSON, no redirects, limited time and size."""

    settings: Settings
    session: OwnedSession
    _timeout: aiohttp.ClientTimeout = attrs.field(init=False)
    _headers: dict[str, str] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Build the headers and the default time-out once, for all requests."""
        config = self.settings.config
        self._timeout = aiohttp.ClientTimeout(total=config.request_timeout, connect=config.connect_timeout)
        # An external session may send to other hosts too. So the token is not stored in a session.
        self._headers = {"Authorization": Secret(f"Bearer {self.settings.token}"), "Accept": "application/json"}

    async def send(self, request: Request) -> Response:
        """Send a request once.

        Raises:
            InvalidRequestError: The body is not valid JSON.
            NetworkError: There is no complete answer.
            UnexpectedResponseError: The answer is larger than `Config.max_response_bytes`.
        """
        body = None
        if request.json is not None:
            try:
                text = _ENCODER.encode(request.json)
            except (TypeError, ValueError, RecursionError) as error:
                msg = f"The body of {request.method} {request.path} is not valid JSON: {error}"
                raise InvalidRequestError(msg) from error
            body = aiohttp.BytesPayload(text.encode(), content_type="application/json")
        timeout = self._timeout
        if request.timeout is not None and request.timeout < self.settings.config.request_timeout:
            timeout = aiohttp.ClientTimeout(total=request.timeout, connect=timeout.connect)
        try:
            async with self.session.get().request(
                request.method,
                URL(self.settings.base_url + request.path, encoded=True),
                params=request.params,
                data=body,
                headers=self._headers,
                timeout=timeout,
                allow_redirects=False,
                raise_for_status=False,  # an external session may raise, which would lose the body of A2E's error
            ) as response:
                limit, length = self.settings.config.max_response_bytes, response.headers.get("Content-Length")
                # Without a content encoding the body cannot be longer than it says.
                is_small = length is not None and int(length) <= limit and "Content-Encoding" not in response.headers
                content = await (response.read() if is_small else _read_up_to(limit, response))
                return Response(status=response.status, headers=response.headers, body=content, received_at=time.time())
        except REQUEST_ERRORS as error:
            raise_network_error(error, f"{request.method} {request.path}")


async def _read_up_to(limit: int, response: aiohttp.ClientResponse) -> bytes:
    # Counts the decompressed bytes: a small compressed body can become a very large one.
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        chunks.append(chunk)
        if size > limit:
            response.close()
            msg = f"A2E's answer is larger than Config.max_response_bytes ({limit:,} bytes)"
            raise UnexpectedResponseError(msg, status=response.status, body=chunks[0][:1024])
    return b"".join(chunks)

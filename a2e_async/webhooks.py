"""Receiver of A2E's webhooks, for an aiohttp application or as an ASGI app. Each webhook makes the client poll at once.

A webhook only triggers a poll: its content is never trusted. `_protocol/webhook.py` has the rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

import aiohttp.web
import attrs

from a2e_async import _learning
from a2e_async._protocol import webhook
from a2e_async._protocol.settings import Secret
from a2e_async._protocol.validation import raise_invalid
from a2e_async.client import A2EClient

__all__ = ["WebhookReceiver"]

_LOGGER = logging.getLogger("a2e_async")

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]

_BODY_TIMEOUT = 10.0  # seconds


class WebhookReceiver:
    """Receives A2E's webhooks about finished tasks, so that waits end without waiting for the next scheduled poll.

    A webhook only triggers a poll: the record always comes from A2E. Waits still poll from time to time, since A2E
    sends a webhook only once.

    Pass the receiver to a start: ``start(..., webhook=receiver)``.
    """

    def __init__(self, a2e: A2EClient, *, url: str | None = None, token: str | None = None) -> None:
        """Check the URL and the token. Nothing is opened or sent.

        Args:
            a2e: The client that polls.
            url: The public URL of this receiver: https (http on this machine), at most 2048 characters.
            token: Secret that A2E sends back, by which a webhook is genuine: ASCII, at most 256 characters. The default
                is random and changes with a restart. The webhooks of older tasks are then rejected, and the scheduled
                polls find their ends. A fixed token from your settings avoids that. Several processes that receive
                webhooks at `url` need the same token.

        Raises:
            InvalidRequestError: A2E would reject the URL or the token.
        """
        self._a2e = a2e
        token = secrets.token_urlsafe(32) if token is None else token
        token = Secret(token) if isinstance(token, str) else token  # a traceback would show it
        webhook.check_receiver(url, token)
        self._url, self._token = url, token
        self._seen = webhook.RecentBodies()

    def __repr__(self) -> str:
        """Return the client, without the URL and the token."""
        return f"<{type(self).__name__} of {self._a2e!r}>"

    @property
    def url(self) -> str | None:
        """The public URL of this receiver."""
        return self._url

    @property
    def token(self) -> str:
        """The secret by which a webhook is genuine."""
        return self._token

    @property
    def asgi(self) -> Callable[..., Any]:  # Starlette's add_route takes ASGI apps, but its annotation does not say so
        """The receiver as an ASGI app, for FastAPI, Starlette, or a server of its own."""
        return _Asgi(self._receive)

    def routes(self, path: str) -> list[aiohttp.web.RouteDef]:
        """Return the receiver as routes of an aiohttp application.

        Args:
            path: The path of `url`, or the path to which a proxy maps it.
        """
        from aiohttp import web  # noqa: PLC0415  10 ms, which only a server of aiohttp needs to spend

        async def receive(request: web.Request) -> web.Response:
            async def read() -> bytes:
                try:
                    return await request.content.readany()
                except web.RequestPayloadError as error:
                    raise ConnectionError from error

            headers = request.headers
            received = _Request(request.method, headers.get(webhook.AUTH_HEADER), headers.get("Content-Length"), read)
            return web.Response(status=await self._receive(received) or 400)

        return [web.post(path, receive)]

    async def receive(self, method: str, headers: Mapping[str, str], body: bytes) -> int:
        """Handle a webhook that any server has received, and return the HTTP status of the response. Free.

        ``asgi`` and ``routes`` do that by themselves. This is for views of Django, Flask, Quart and others.

        Args:
            method: The HTTP method.
            headers: The headers; the case of their names does not matter.
            body: The body. Limit its size before: more than 64 KiB is no webhook.

        Returns:
            The status for the response, which has no body. It is 204, or rejects the request with 401, 405 or 413.

        Raises:
            InvalidRequestError: The body is not bytes.
        """
        if not isinstance(body, bytes | bytearray | memoryview):
            raise_invalid(f"body must be the bytes of the request, not {type(body).__name__}")
        fields = {name.lower(): value for name, value in headers.items()}
        chunks = [body]

        async def read() -> bytes:
            return chunks.pop() if chunks else b""

        token, length = fields.get(webhook.AUTH_HEADER.lower()), fields.get("content-length")
        return await self._receive(_Request(method.upper(), token, length, read)) or 400

    async def _receive(self, request: _Request) -> int | None:
        """Handle a webhook, and return the status of the response; None if the connection broke."""
        rejection = webhook.rejection_status(request.method, request.token, self._token, request.length)
        if rejection is not None:
            _LOGGER.debug("A webhook was rejected with HTTP %d", rejection)
            return rejection
        try:
            async with asyncio.timeout(_BODY_TIMEOUT):
                body = await request.body()
        except TimeoutError:
            return 408
        except OSError:
            return None
        if body is None:
            return 413
        self._poll(body)
        return 204

    def _poll(self, body: bytes) -> None:
        """Poll the tasks that a genuine body mentions, or all tasks if it mentions no id."""
        if body in self._seen:
            return
        _learning.note("webhook", "POST", content=body)  # A2E does not publish what it sends
        found = webhook.find_ids(body)
        polled = [text for text in found.texts if self._a2e.poll_now(text)]
        if polled:
            # A body without a known task is not added: a webhook can come before the wait for its task begins.
            self._seen.add(body)
            _LOGGER.debug("A webhook mentions task %s", ", ".join(polled))
        elif not found.has_id:
            self._a2e.poll_now()


@attrs.frozen
class _Request:
    """A request, independent of the server.

    Attributes:
        method: The HTTP method.
        token: The header with the token.
        length: The header ``Content-Length``.
        read: Returns the next bytes of the body, or b"" at its end.
    """

    method: str
    token: str | None = attrs.field(repr=False)
    length: str | None
    read: Callable[[], Awaitable[bytes]] = attrs.field(repr=False)

    async def body(self) -> bytes | None:
        """Read the whole body; None if it is too long."""
        body = bytearray()
        while chunk := await self.read():
            body += chunk
            if len(body) > webhook.MAX_BODY_SIZE:
                return None
        return bytes(body)


@attrs.frozen
class _Asgi:
    """The receiver as an ASGI app (asgi.readthedocs.io).

    It is an object, since Starlette takes a function or a method for an endpoint with a `Request` parameter.
    """

    _receive: Callable[[_Request], Awaitable[int | None]] = attrs.field(repr=False)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        scope_type = scope["type"]
        if scope_type == "http":
            await self._respond(scope, receive, send)
        elif scope_type == "lifespan":
            event = ""
            while event != "lifespan.shutdown":
                event = (await receive())["type"]
                await send({"type": f"{event}.complete"})
        elif scope_type == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # policy violation (RFC 6455, 7.4.1)
        else:
            msg = f"This app does not support the ASGI scope {scope_type!r}"
            raise NotImplementedError(msg)

    async def _respond(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        headers = {name.lower(): value.decode("utf-8", "surrogateescape") for name, value in scope["headers"]}
        token, length = headers.get(webhook.AUTH_HEADER.lower().encode()), headers.get(b"content-length")
        status = await self._receive(_Request(scope["method"], token, length, _AsgiBody(receive).read))
        if status is None:
            return
        fields = [] if status == 204 else [(b"content-length", b"0")]
        fields += [(b"allow", b"POST")] if status == 405 else []
        # ASGI lets a server raise OSError here if the client has disconnected.
        with contextlib.suppress(OSError):
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": b""})


@attrs.define(eq=False, repr=False)
class _AsgiBody:
    """The body of an ASGI request."""

    _receive: _Receive
    _more: bool = True

    async def read(self) -> bytes:
        """Return the next bytes, or b"" at the end."""
        chunk = b""
        while self._more and not chunk:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            chunk, self._more = message.get("body", b""), message.get("more_body", False)
        return chunk

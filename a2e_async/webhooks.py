"""Receives A2E's webhooks, in an aiohttp application or as an ASGI app, and has the poller ask A2E sooner.

The law: a webhook only nudges. Nothing in it is believed, so a forged one can cost one read, never a false result.
`_protocol/webhook.py` decides what it is worth.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import aiohttp.web
import attrs

from a2e_async._protocol import webhook
from a2e_async._protocol.settings import Secret
from a2e_async.client import A2EClient

__all__ = ["WebhookReceiver"]

_LOGGER = logging.getLogger("a2e_async")

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]

_PATIENCE = 10.0
"""Seconds for a body to come."""


class WebhookReceiver:
    """Hears from A2E that a task has ended, so that whoever waits for it need not wait for the next question.

    A webhook only hastens a question: the answer is always read from A2E. Waits go on asking now and then, since A2E
    tries to send a webhook only once.

    Pass it to a start: ``start(..., webhook=receiver)``.
    """

    def __init__(self, a2e: A2EClient, *, url: str | None = None, token: str | None = None) -> None:
        """Check the address; nothing is opened or sent.

        Args:
            a2e: The client whose waits are hastened.
            url: Where A2E reaches this receiver from outside: https (http on this machine), at most 2048 characters.
            token: What A2E sends back to show that a webhook is genuine: ASCII, at most 256 characters. Default: a
                random one. After a restart it is another one, so that the webhooks of older tasks are refused and
                their ends are found by asking; give a fixed one from your settings to avoid that, and the same one to
                each process that hears webhooks at `url`.

        Raises:
            InvalidRequestError: A2E would not take the URL or the token.
        """
        self._a2e = a2e
        token = secrets.token_urlsafe(32) if token is None else token
        token = Secret(token) if isinstance(token, str) else token  # a traceback would show it
        webhook.check_address(url, token)
        self._url, self._token = url, token
        self._seen = webhook.Seen()

    def __repr__(self) -> str:
        """Show whose waits it hastens; neither the address nor the token."""
        return f"<{type(self).__name__} of {self._a2e!r}>"

    @property
    def url(self) -> str | None:
        """Where A2E reaches this receiver."""
        return self._url

    @property
    def token(self) -> str:
        """What makes a webhook genuine. Keep it secret."""
        return self._token

    @property
    def asgi(self) -> Callable[..., Any]:  # Starlette's add_route takes ASGI apps, but its annotation does not say so
        """The receiver as an ASGI app, for FastAPI, Starlette, or a server of its own."""
        return _Asgi(self._receive)

    def routes(self, path: str) -> list[aiohttp.web.RouteDef]:
        """Return the receiver as routes of an aiohttp application.

        Args:
            path: The path of `url`, or what a proxy makes of it.
        """
        from aiohttp import web  # noqa: PLC0415  10 ms, which only a server of aiohttp needs to spend

        async def receive(request: web.Request) -> web.Response:
            async def read() -> bytes:
                try:
                    return await request.content.readany()
                except web.RequestPayloadError as error:
                    raise ConnectionError from error

            headers = request.headers
            arrived = _Arrived(request.method, headers.get(webhook.HEADER), headers.get("Content-Length"), read)
            return web.Response(status=await self._receive(arrived) or 400)

        return [web.post(path, receive)]

    async def _receive(self, arrived: _Arrived) -> int | None:
        """Do what a webhook asks for, and return the status to answer with; None if its body broke off."""
        refused = webhook.objection(arrived.method, arrived.token, self._token, arrived.length)
        if refused is not None:
            _LOGGER.debug("A webhook was turned away with %d", refused)
            return refused
        try:
            async with asyncio.timeout(_PATIENCE):
                body = await arrived.body()
        except TimeoutError:
            return 408
        except OSError:
            return None
        if body is None:
            return 413
        self._take(body)
        return 204

    def _take(self, body: bytes) -> None:
        """Hasten the waits of the tasks that a genuine body mentions, or all of them if it mentions none."""
        if body in self._seen:
            return
        found = webhook.mentioned(body)
        hastened = [text for text in found.texts if self._a2e.nudge(text)]
        if hastened:
            self._seen.add(body)
            _LOGGER.debug("A webhook speaks of task %s", ", ".join(hastened))
        elif not found.has_id:
            self._a2e.nudge()


@attrs.frozen
class _Arrived:
    """A request, whoever received it. `read` gives the next bytes of its body, or b"" at its end."""

    method: str
    token: str | None = attrs.field(repr=False)
    length: str | None
    read: Callable[[], Awaitable[bytes]] = attrs.field(repr=False)

    async def body(self) -> bytes | None:
        """Read the whole body; None if it is too long."""
        body = bytearray()
        while chunk := await self.read():
            body += chunk
            if len(body) > webhook.LONGEST_BODY:
                return None
        return bytes(body)


@attrs.frozen
class _Asgi:
    """Speaks ASGI (asgi.readthedocs.io). An object, since Starlette takes a method for a function of a request."""

    _receive: Callable[[_Arrived], Awaitable[int | None]] = attrs.field(repr=False)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._answer(scope, receive, send)
        elif kind == "lifespan":
            while kind != "lifespan.shutdown":
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            msg = f"This app serves no {kind!r}"
            raise NotImplementedError(msg)

    async def _answer(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        headers = {name.lower(): value.decode("utf-8", "surrogateescape") for name, value in scope["headers"]}
        token, length = headers.get(webhook.HEADER.lower().encode()), headers.get(b"content-length")
        status = await self._receive(_Arrived(scope["method"], token, length, _AsgiBody(receive).read))
        if status is None:
            return
        answer = [] if status == 204 else [(b"content-length", b"0")]
        answer += [(b"allow", b"POST")] if status == 405 else []
        with contextlib.suppress(OSError):  # what ASGI prescribes to servers whose client has gone
            await send({"type": "http.response.start", "status": status, "headers": answer})
            await send({"type": "http.response.body", "body": b""})


@attrs.define
class _AsgiBody:
    """The body of a request, as ASGI brings it."""

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

"""ASGI applications without a server: a lifespan, requests whose response is read while it is sent, and websockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Exchange", "exchange", "lifespan", "open_websocket"]

_ASGI = {"version": "3.0", "spec_version": "2.3"}


@attrs.define(eq=False)
class Exchange:
    """A request or a websocket that an application handles in a task of its own.

    Attributes:
        sent: The messages of the application.
        incoming: Messages for the application.
        serving: The task of the application.
    """

    sent: list[dict[str, Any]] = attrs.field(factory=list)
    incoming: asyncio.Queue[dict[str, Any]] = attrs.field(factory=asyncio.Queue)
    serving: asyncio.Task[None] = attrs.field(init=False)

    async def send(self, message: Any) -> None:
        """Take a message of the application, and tell it the end of the exchange, as servers do: some wait for it."""
        self.sent.append(dict(message))
        kind = message["type"]
        if kind == "websocket.close" or (kind == "http.response.body" and not message.get("more_body")):
            await self.incoming.put({"type": f"{kind.partition('.')[0]}.disconnect", "code": 1000})

    @property
    def status(self) -> int:
        """The HTTP status; 0 if there is none yet."""
        return next((message["status"] for message in self.sent if "status" in message), 0)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        fields: list[tuple[bytes, bytes]] = next(
            (message["headers"] for message in self.sent if "status" in message), []
        )
        return {name.decode().lower(): value.decode() for name, value in fields}

    @property
    def body(self) -> bytes:
        """The body as far as it was sent."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The data of the server-sent events."""
        return [json.loads(line[6:]) for line in self.body.decode().splitlines() if line.startswith("data: ")]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the websocket."""
        return [json.loads(message["text"]) for message in self.sent if message["type"] == "websocket.send"]

    @property
    def close_code(self) -> int | None:
        """The code with which the application has closed the websocket."""
        return next((message["code"] for message in self.sent if message["type"] == "websocket.close"), None)

    async def disconnect(self) -> None:
        """Let the browser leave."""
        kind = "websocket" if any(message["type"].startswith("websocket") for message in self.sent) else "http"
        await self.incoming.put({"type": f"{kind}.disconnect", "code": 1001})


@contextlib.asynccontextmanager
async def exchange(
    app: Any, method: str, path: str, body: bytes = b"", *, root_path: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[Exchange]:
    """Send a request to an application; its task has ended after the block."""
    fields: dict[str, str] = {
        "host": "app.example",
        "content-length": str(len(body)),
        "content-type": "application/json",
        **(headers or {}),
    }
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": root_path + path,
        "raw_path": (root_path + path).encode(),
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in fields.items()],
    }
    async with _serving(app, scope | {"root_path": root_path}) as opened:
        await opened.incoming.put({"type": "http.request", "body": body, "more_body": False})
        yield opened


@contextlib.asynccontextmanager
async def open_websocket(app: Any, path: str) -> AsyncIterator[Exchange]:
    """Open a websocket of an application; its task has ended after the block."""
    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "ws",
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"app.example")],
        "subprotocols": [],
        "root_path": "",
    }
    async with _serving(app, scope) as opened:
        await opened.incoming.put({"type": "websocket.connect"})
        yield opened


_STATE: dict[int, dict[str, Any]] = {}


@contextlib.asynccontextmanager
async def _serving(app: Any, scope: dict[str, Any]) -> AsyncIterator[Exchange]:
    opened = Exchange()
    scope |= {"asgi": _ASGI, "server": ("app.example", 80), "extensions": {}, "state": {**_STATE.get(id(app), {})}}
    opened.serving = asyncio.create_task(app(scope, opened.incoming.get, opened.send))
    try:
        yield opened
    finally:
        if not opened.serving.done():
            await opened.disconnect()
        async with asyncio.timeout(10):
            await opened.serving


@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Start an application, and stop it at the end of the block."""
    opened = Exchange()
    scope = {"type": "lifespan", "asgi": _ASGI, "state": _STATE.setdefault(id(app), {})}
    opened.serving = asyncio.create_task(app(scope, opened.incoming.get, opened.send))

    async def step(name: str) -> None:
        await opened.incoming.put({"type": f"lifespan.{name}"})
        async with asyncio.timeout(10):
            while not any(message["type"] == f"lifespan.{name}.complete" for message in opened.sent):
                if opened.serving.done():
                    opened.serving.result()
                    raise AssertionError(opened.sent)
                await asyncio.sleep(0.01)

    try:
        await step("startup")
        yield
        await step("shutdown")
        await opened.serving
    finally:
        opened.serving.cancel()
        await asyncio.wait([opened.serving])
        del _STATE[id(app)]

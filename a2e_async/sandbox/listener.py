"""The port: opens it, closes it for a while so that connections are really refused, and opens the same one again."""

import asyncio
import contextlib
import os
import socket
from contextvars import Context, copy_context
from typing import Final

from aiohttp import web
from attrs import define, field

_BACKLOG: Final = 128


@define(kw_only=True, eq=False)
class Door:
    """Where the sandbox listens."""

    host: str
    port: int
    _server: web.Server = field(init=False)
    _listeners: list[asyncio.Server] = field(factory=list, init=False)
    _held: list[socket.socket] = field(factory=list, init=False)
    _context: Context = field(factory=copy_context, init=False)
    _guard: "asyncio.Task[None] | None" = field(default=None, init=False)
    _gone: bool = field(default=False, init=False)
    shut: bool = field(default=False, init=False)  # nobody listens at the moment

    async def open(self, server: web.Server) -> str:
        """Let `server` listen and return the base URL. May raise `OSError`."""
        self._server = server
        loop = asyncio.get_running_loop()
        self._listeners = [await loop.create_server(server, self.host, self.port, backlog=_BACKLOG)]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        port = self._listeners[0].sockets[0].getsockname()[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def shut_for(self, seconds: float) -> None:
        """Let nobody listen for a while; returns when it has begun. Only for a door that is not shut."""
        self.shut = True
        await self._stop_accepting()
        if self._gone:  # closed for good meanwhile
            return
        self._hold_ports()
        self._close_idle()
        # In the context of the opening: what the new listeners accept must not inherit that of one request.
        reopening = self._reopen_after(seconds)
        self._guard = asyncio.create_task(reopening, name="a2e-sandbox-door", context=self._context)

    async def aclose(self) -> None:
        """Stop listening for good."""
        self._gone = True
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
        await self._stop_accepting()
        for listener in self._listeners:
            listener.close()
        for held in self._held:
            held.close()

    async def _stop_accepting(self) -> None:
        """Let connections that were accepted already get their transports; then the listeners can be closed.

        Closing at once would trip an assertion in asyncio and leave open sockets to the garbage collector.
        """
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            for one in listener.sockets:
                with contextlib.suppress(NotImplementedError):  # on Windows, where nothing is read like this
                    loop.remove_reader(one.fileno())
        await asyncio.sleep(0)

    def _hold_ports(self) -> None:
        """Close, but keep the ports bound: nobody else can take them, and no caller can connect to itself."""
        addresses = [(one.family, one.getsockname()) for listener in self._listeners for one in listener.sockets]
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        for family, address in addresses:
            held = socket.socket(family, socket.SOCK_STREAM)
            self._held.append(held)
            # Connections that live on would forbid the binding. Elsewhere the option lets others take the port.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(os.name == "posix"))
            if family is socket.AF_INET6:
                held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            held.bind(address)

    def _close_idle(self) -> None:
        """Close connections that wait for a next request; aiohttp tells them apart in a private attribute only.

        A connection whose next request has just come is no longer idle: closing it would trip aiohttp 3.11.
        """
        for connection in self._server.connections:
            waiter = getattr(connection, "_waiter", None)
            if waiter is not None and not waiter.done():
                connection.force_close()

    async def _reopen_after(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(seconds)
        for held in self._held:
            listener = await loop.create_server(self._server, sock=held, backlog=_BACKLOG, start_serving=False)
            self._listeners.append(listener)  # noted before it serves: closing may come at any time
        self._held = []
        for listener in self._listeners:
            await listener.start_serving()
        self.shut = False

"""The port of the sandbox, which can be closed for a while and opened again with the same number.

How it works
------------
While the port is closed, connections must be refused as if no program ran, and the number must not be lost:

1. The servers stop accepting, and each port is bound again by a socket that does not listen. The kernel then refuses
   connections, and no other program can take the port.
2. Idle connections are closed. One that is busy answers its request with a closed connection; see `faults.middleware`.
3. After some seconds new servers listen on the bound sockets.
"""

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
class Listener:
    """Listener of one sandbox."""

    host: str
    port: int
    _server: web.Server = field(init=False)
    _servers: list[asyncio.Server] = field(factory=list, init=False)
    _placeholders: list[socket.socket] = field(factory=list, init=False)  # bound, but not listening
    _context: Context = field(factory=copy_context, init=False)
    _reopening: "asyncio.Task[None] | None" = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)
    is_paused: bool = field(default=False, init=False)  # the port is closed for a while

    async def open(self, server: web.Server) -> str:
        """Let `server` listen, and return the base URL. May raise `OSError`."""
        self._server = server
        loop = asyncio.get_running_loop()
        self._servers = [await loop.create_server(server, self.host, self.port, backlog=_BACKLOG)]
        # A client cannot connect to the address that means "all interfaces".
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        port = self._servers[0].sockets[0].getsockname()[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def pause(self, seconds: float) -> None:
        """Close the port for some seconds; return once it is closed. It must be open."""
        self.is_paused = True
        await self._stop_accepting()
        if self._closed:  # `aclose` was called meanwhile
            return
        self._bind_placeholders()
        self._close_idle()
        # In the context of `open`: connections of the new servers must not inherit the context of this request.
        reopening = self._reopen_after(seconds)
        self._reopening = asyncio.create_task(reopening, name="a2e-sandbox-listener", context=self._context)

    async def aclose(self) -> None:
        """Close the port for good."""
        self._closed = True
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
        await self._stop_accepting()
        for server in self._servers:
            server.close()
        for placeholder in self._placeholders:
            placeholder.close()

    async def _stop_accepting(self) -> None:
        """Accept no connection any more, so that the servers can be closed."""
        # Connections that were just accepted get their transports in the next turn of the event loop. Closing before
        # would trip an assertion in asyncio, and leave open sockets to the garbage collector.
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for one in server.sockets:
                with contextlib.suppress(NotImplementedError):  # the proactor loop of Windows has no readers
                    loop.remove_reader(one.fileno())
        await asyncio.sleep(0)

    def _bind_placeholders(self) -> None:
        """Close the servers, and bind their ports again without listening."""
        # A port that is free could also be chosen by the kernel for the client itself, which then connects to itself.
        addresses = [(one.family, one.getsockname()) for server in self._servers for one in server.sockets]
        for server in self._servers:
            server.close()
        self._servers = []
        for family, address in addresses:
            placeholder = socket.socket(family, socket.SOCK_STREAM)
            self._placeholders.append(placeholder)
            # On POSIX, connections that are still open forbid the binding without this option. On Windows the option
            # would let other programs take the port.
            placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(os.name == "posix"))
            if family is socket.AF_INET6:
                placeholder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            placeholder.bind(address)

    def _close_idle(self) -> None:
        """Close the connections that have no request."""
        for connection in self._server.connections:
            # Only a private attribute of aiohttp tells idle connections apart. One whose next request has just come is
            # no longer idle: closing it would trip aiohttp 3.11.
            waiter = getattr(connection, "_waiter", None)
            if waiter is not None and not waiter.done():
                connection.force_close()

    async def _reopen_after(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(seconds)
        for placeholder in self._placeholders:
            server = await loop.create_server(self._server, sock=placeholder, backlog=_BACKLOG, start_serving=False)
            self._servers.append(server)  # before it serves, since `aclose` may be called at any time
        self._placeholders = []
        for server in self._servers:
            await server.start_serving()
        self.is_paused = False

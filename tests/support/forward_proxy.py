"""A forward proxy for tests: CONNECT, and absolute URLs without TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["ForwardProxy", "forward_proxy", "pump"]


class ForwardProxy:
    """State of a running proxy.

    Attributes:
        url: Its URL.
        seen: Method and target of each request: ``"CONNECT localhost:443"``.
        login: ``"user:password"`` that it asks for; empty for none.
    """

    def __init__(self, login: str) -> None:
        self.url = ""
        self.login = login
        self.seen: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which has one request."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split("\r\n", 1)[0].split()
            self.seen.append(f"{method} {target}")
            wanted = base64.b64encode(self.login.encode()).decode()
            if self.login and f"proxy-authorization: basic {wanted}".lower() not in head.lower():
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            place, _, path = target.removeprefix("http://").partition("/")
            host, _, port = place.rpartition(":")
            up_reader, up_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(up_writer):
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    request = head.replace(target, f"/{path}", 1).replace("\r\n", "\r\nConnection: close\r\n", 1)
                    up_writer.write(request.encode("latin-1"))
                await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until the end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def forward_proxy(login: str = "") -> AsyncIterator[ForwardProxy]:
    """Run a proxy on a free port of this machine."""
    proxy, tasks = ForwardProxy(login), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await proxy.serve(reader, writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""Connections of paid requests: used again while they are surely alive, and never with something left to read."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import aiohttp.connector
import attrs
import pytest
import quick
from aiohttp import web

from a2e_async import A2EClient, StartPolicy, SubmissionUncertainError
from a2e_async._transport.http import MAX_IDLE
from a2e_async.sandbox import Sandbox

BODY = b'{"code": 0, "data": null}'
STRAY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def send_stray_answer(transport: asyncio.Transport) -> None:
    """Send an answer to no request."""
    transport.write(STRAY)


def end_connection(transport: asyncio.Transport) -> None:
    """Close the sending side of a connection."""
    transport.get_extra_info("socket").shutdown(socket.SHUT_WR)


@pytest.fixture
async def transports(sandbox: Sandbox) -> AsyncIterator[list[asyncio.Transport]]:
    """Return the connection of each start, on the side of the server."""
    found: list[Any] = []

    def record(request: web.Request) -> None:
        found.append(request.transport)

    with sandbox.override("*", "/api/v1/userImage2Video/start", record):
        yield found


async def start(client: A2EClient) -> str:
    """Start a task."""
    return (await client.image_to_video.start(image_url="https://example.com/a.png", **quick.PROMPTS)).id


async def test_next_start_has_the_same_connection(
    a2e: A2EClient, sandbox: Sandbox, transports: list[asyncio.Transport]
) -> None:
    """Starts share a connection, but not with reads, whose connections can be old."""
    reads: list[Any] = []

    def record(request: web.Request) -> None:
        reads.append(request.transport)

    with sandbox.override("GET", "/api/v1/user/remainingCoins", record):
        for _ in range(3):
            await a2e.account.balance()
            await start(a2e)
    assert len({*transports}) == len({*reads}) == 1
    assert not {*transports} & {*reads}


async def test_old_connection_is_not_used_again(
    a2e: A2EClient, transports: list[asyncio.Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host may close a connection that has been idle in the moment in which a start goes out."""
    clock = aiohttp.connector.monotonic  # type: ignore[attr-defined]  # of the module `time`
    await start(a2e)
    monkeypatch.setattr(aiohttp.connector, "monotonic", lambda: clock() + MAX_IDLE + 0.01)
    await start(a2e)
    await start(a2e)
    assert [len({*transports[:count]}) for count in (1, 2, 3)] == [1, 2, 2]


@pytest.mark.parametrize("spoil", [send_stray_answer, end_connection])
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen by the event loop", "not seen yet"])
async def test_spoiled_connection_is_not_used_again(
    a2e: A2EClient,
    sandbox: Sandbox,
    transports: list[asyncio.Transport],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[asyncio.Transport], None],
    *,
    is_seen: bool,
) -> None:
    """An answer that comes twice is not taken for that of the next start, whose outcome is known at once."""
    first = await start(a2e)
    if is_seen:
        spoil(transports[0])
        await asyncio.sleep(0.05)
    else:
        connect, calls = aiohttp.TCPConnector.connect, itertools.count()

        async def spoil_and_connect(self: aiohttp.TCPConnector, *arguments: Any) -> aiohttp.connector.Connection:
            if not next(calls):
                spoil(transports[0])
            return await connect(self, *arguments)

        monkeypatch.setattr(aiohttp.TCPConnector, "connect", spoil_and_connect)
    second = await start(a2e)
    assert first != second
    assert transports[0] is not transports[1]
    assert len(sandbox.ledger) == 2
    assert not [request for request in sandbox.requests if "allRecords" in request.path]


async def test_host_that_closes_every_new_connection(sandbox: Sandbox) -> None:
    """A new connection is not looked at: one that the host closes at once is an error, not a reason for another one."""
    config, connections = attrs.evolve(quick.CONFIG, start=StartPolicy(mark_names=False)), 0

    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with A2EClient(sandbox.token, base_url=url, config=config) as client:
            with pytest.raises(SubmissionUncertainError):
                await start(client)
    assert connections == 1

"""Answers that do not come from A2E, or that cannot be read."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from typing import TYPE_CHECKING

import pytest
import quick
from aiohttp import web

from a2e_async import A2EClient, NetworkError, SubmissionUncertainError
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY = b'{"code":0,"data":{"coins":3}}'


@contextlib.asynccontextmanager
async def client_of(encoding: str, body: bytes) -> AsyncIterator[tuple[A2EClient, list[str]]]:
    """Yield a client of a server that gives one answer to all requests, and the heads of the requests."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            head = f"Content-Type: application/json\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body)
            await writer.drain()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with A2EClient("sk_x", base_url=url, config=quick.CONFIG) as client:
            yield client, heads


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", gzip.compress(BODY)), ("deflate", zlib.compress(BODY)), ("identity", BODY), ("utf-8", BODY)],
    ids=["gzip", "deflate", "identity", "no encoding at all"],
)
async def test_encodings_that_are_asked_for(encoding: str, body: bytes) -> None:
    """Every request asks for gzip and deflate only, which Python itself can read."""
    async with client_of(encoding, body) as (client, heads):
        assert await client.request("GET", "user/remainingCoins") == {"coins": 3}
    assert "\r\nAccept-Encoding: gzip, deflate\r\n" in heads[0]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "compress", "x-unknown"])
async def test_answer_that_cannot_be_decompressed(encoding: str) -> None:
    """The error says so, and names the encoding; a start may have been accepted."""
    async with client_of(encoding, b"\xff\xfe\xfd garbage") as (client, _):
        with pytest.raises(NetworkError, match=f"cannot be decompressed .Content-Encoding: {encoding}") as caught:
            await client.request("GET", "user/remainingCoins")
        assert caught.value.request_sent
        with pytest.raises(SubmissionUncertainError, match="cannot be decompressed"):
            await client.image_to_video.start(image_url="https://example.com/a.png", **quick.PROMPTS)


@pytest.mark.parametrize("status", [403, 503, 200])
async def test_challenge_of_a_firewall(sandbox: Sandbox, a2e: A2EClient, status: int) -> None:
    """The challenge of a firewall was not passed on: a start is tried again, and the message names the firewall."""
    challenges = 2

    def challenge(_: web.Request) -> web.Response | None:
        nonlocal challenges
        challenges -= 1
        if challenges < 0:
            return None
        headers = {"cf-mitigated": "challenge", "Content-Type": "text/html"}
        return web.Response(status=status, body=b"<html>Just a moment...</html>", headers=headers)

    with sandbox.override("POST", quick.START_PATH, challenge):
        task = await a2e.image_to_video.start(image_url="https://example.com/a.png", **quick.PROMPTS)
        assert not task.adopted
        assert len(sandbox.ledger) == 1
        challenges = 100
        with pytest.raises(NetworkError, match=rf"firewall \(Cloudflare\).*HTTP {status}.*did not reach A2E") as caught:
            await a2e.image_to_video.start(image_url="https://example.com/a.png", **quick.PROMPTS)
    assert not caught.value.request_sent
    assert len(sandbox.ledger) == 1

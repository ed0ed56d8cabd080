"""Hostile responses: each raises a typed error, in bounded time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from virtual_clock import now

from a2e_async import A2EClient, A2EError, Config, NetworkError, RetryPolicy, UnexpectedResponseError
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LIMIT = 1024 * 1024
CONFIG = Config(request_timeout=1.0, connect_timeout=1.0, retry=RetryPolicy(max_attempts=1), max_response_bytes=LIMIT)


@contextlib.asynccontextmanager
async def hostile_server(respond: Callable[[asyncio.StreamWriter], object]) -> AsyncIterator[A2EClient]:
    """Open a client whose server reads a request and then does what `respond` does."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            result = respond(writer)
            if asyncio.iscoroutine(result):
                await result
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with A2EClient("sk_x", base_url=f"http://127.0.0.1:{port}", config=CONFIG) as a2e:
        yield a2e
    server.close()
    for task in handlers:
        task.cancel()
    await asyncio.gather(*handlers, return_exceptions=True)


async def request_error(respond: Callable[[asyncio.StreamWriter], object]) -> A2EError:
    """Send a request to a hostile server, and return the error, which is raised within the request timeout."""
    async with hostile_server(respond) as a2e:
        began = now()
        with pytest.raises(A2EError) as caught:
            await a2e.request("GET", "user/remainingCoins")
        assert now() - began <= CONFIG.request_timeout
    return caught.value


async def drip(writer: asyncio.StreamWriter, head: bytes, piece: bytes, pause: float) -> None:
    """Write a head, and then the same bytes repeatedly."""
    writer.write(head)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("head", "piece", "pause"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-Again: and again\r\n" * 100, 0.0, id="endless headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 4096, 0.0, id="an endless header"),
        pytest.param(b"HTTP/1.1 200 ", b"O" * 4096, 0.0, id="an endless status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X", 0.05, id="slow headers"),
        pytest.param(OK + b"Content-Length: 1000\r\n\r\n", b"x", 0.05, id="a slow body"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05, id="slow chunks"),
        pytest.param(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0.001, id="endless early hints"),
        pytest.param(b"", b"", 0.05, id="silence"),
    ],
)
async def test_endless_and_slow(head: bytes, piece: bytes, pause: float) -> None:
    """A response that never ends raises a NetworkError in time."""
    assert isinstance(await request_error(lambda writer: drip(writer, head, piece, pause)), NetworkError)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"garbage\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 999999 Huge\r\n\r\n", id="an absurd status"),
        pytest.param(OK + b"Content-Length: -1\r\n\r\n{}", id="a negative length"),
        pytest.param(OK + b"Content-Length: ten\r\n\r\n{}", id="a length in words"),
        pytest.param(OK + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}", id="two lengths"),
        pytest.param(OK + b"Content-Length: 100\r\n\r\n{}", id="less than promised"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", id="a bad chunk"),
        pytest.param(OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip!!", id="no gzip"),
        pytest.param(OK + b"X-Bad\x00Name: 1\r\n\r\n{}", id="a null byte in a header"),
    ],
)
async def test_broken(answer: bytes) -> None:
    """A response that is not HTTP raises a NetworkError with an unknown outcome."""
    error = await request_error(lambda writer: writer.write(answer))
    assert isinstance(error, NetworkError)
    assert error.request_sent


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_decompression_bomb(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """A small response that unpacks to 64 times the limit is cut off, and is never in memory as a whole."""
    bomb = compress(bytes(64 * LIMIT))
    head = OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    tracemalloc.start()
    try:
        error = await request_error(lambda writer: writer.write(head + bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, UnexpectedResponseError)
    assert "max_response_bytes" in str(error)
    assert peak < 16 * LIMIT


async def test_endless_body() -> None:
    """A body without an end is cut off at the limit."""
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    error = await request_error(lambda writer: drip(writer, head, piece, 0.0))
    assert isinstance(error, UnexpectedResponseError)
    assert len(error.body) <= 1024


@pytest.mark.parametrize("id", ["../../user/remainingCoins", "x/../../../user", "a?b=c", "a#b", "%2e%2e", "a\r\nX: y"])
async def test_an_id_cannot_reach_another_path(id: str) -> None:
    """An id with any characters stays one segment of the path of its family."""
    paths: list[str] = []

    def record(request: web.Request) -> web.Response:
        paths.append(request.raw_path)
        return web.json_response({"code": 0, "data": None})

    async with (
        Sandbox(render="tiny") as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url, config=CONFIG) as a2e,
    ):
        with sandbox.override("*", "/", record), pytest.raises(A2EError):
            await a2e.image_to_video.get(id)
    (path,) = paths
    prefix, _, tail = path.rpartition("/")
    assert prefix == "/api/v1/userImage2Video"
    assert not set(tail) & set("?#/")


async def test_redirect_names_its_target() -> None:
    """A redirect of an API call is not followed: the error names the host of its target, and nothing else of it."""
    answer = web.Response(status=302, headers={"Location": "https://elsewhere.example/login?next=secret"})
    async with (
        Sandbox(render="tiny") as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url, config=CONFIG) as a2e,
    ):
        with sandbox.override("*", "/", answer), pytest.raises(UnexpectedResponseError) as caught:
            await a2e.request("GET", "user/remainingCoins")
    assert "elsewhere.example" in str(caught.value)
    assert "secret" not in str(caught.value)

"""Results that a web application passes on to its visitors: the whole, a range, errors, and servers that stop."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import quick
import web_apps
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from asgi_server import exchange, lifespan
from conditions import wait_until
from paid_starts import make_client, start_video

from a2e_async import A2EClient, ClientClosedError, TransferError, WebhookReceiver
from a2e_async.integrations import aiohttp as integration
from a2e_async.integrations.results import ResultApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from a2e_async.sandbox import Sandbox

VIDEO = quick.MP4 + os.urandom(3_000_000)
UNKNOWN = "6927f1e7a1c5e4e0b5f0a3d2"


class Storage:
    """Storage that has ranges, calls videos web pages, and can break off."""

    def __init__(self) -> None:
        self.is_broken = False

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        begin, _, last = request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        first, end = int(begin), min(int(last or len(VIDEO) - 1) + 1, len(VIDEO))
        response = web.StreamResponse(
            status=206 if "Range" in request.headers else 200,
            headers={
                "Content-Type": "text/html",
                "Set-Cookie": "cdn=1",
                "ETag": '"v1"',
                "Content-Range": f"bytes {first}-{end - 1}/{len(VIDEO)}",
                "Content-Length": str(end - first),
            },
        )
        if self.is_broken and first:
            return web.Response(status=404)
        await response.prepare(request)
        await response.write(VIDEO[first : first + 1_000_000 if self.is_broken else end])
        if self.is_broken:
            assert request.transport is not None
            request.transport.close()
        return response


@pytest.fixture
def storage(sandbox: Sandbox) -> Iterator[Storage]:
    """Replace the storage of the sandbox."""
    with sandbox.override("GET", "/videos", storage := Storage()):
        yield storage


@pytest.fixture
def client(sandbox: Sandbox) -> A2EClient:
    """Make the client of the application, which is not open yet."""
    return make_client(sandbox)


async def finish_one(client: A2EClient, sandbox: Sandbox) -> str:
    """Return the id of a finished task whose video is at the storage."""
    task = await start_video(client, prompt="#fast")
    await task.wait_until_done(10)
    sandbox.tasks[task.id].result_url = f"{sandbox.url}/videos/private-link.mp4"
    return task.id


def check_headers(headers: Any) -> None:
    """Check that a response says what it is, and neither names the link nor passes on what the storage says."""
    assert headers["content-type"] == "video/mp4"
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private"
    assert "private-link" not in str(headers)
    assert "set-cookie" not in headers


@pytest.fixture(params=web_apps.APPS)
async def app(request: pytest.FixtureRequest, client: A2EClient) -> AsyncIterator[Any]:
    """Run the application of each framework."""
    pytest.importorskip(request.param)
    receiver = WebhookReceiver(client, url="https://app.example/hooks/a2e", token="any-long-secret")
    app = web_apps.APPS[request.param](client, receiver)
    async with lifespan(app):
        yield app


async def show(request: web.Request) -> web.StreamResponse:
    """Return the result of a task."""
    task = request.config_dict[integration.A2E].image_to_video.task(request.match_info["id"])
    return await integration.result_response(request, task, {"cache-control": "private"})


@pytest.fixture
async def http(client: A2EClient) -> AsyncIterator[TestClient[Any, Any]]:
    """Serve an application of aiohttp."""
    app = web.Application()
    integration.setup(app, client)
    app.add_routes([web.get("/{id}", show)])
    async with TestClient(TestServer(app)) as http:
        yield http


@pytest.mark.parametrize(
    ("asked", "status", "first", "end"),
    [
        ({}, 200, 0, len(VIDEO)),
        ({"Range": "bytes=0-"}, 206, 0, len(VIDEO)),
        ({"Range": "bytes=1000000-1000999"}, 206, 1_000_000, 1_001_000),
        ({"Range": "bytes=-7", "If-Range": '"v1"'}, 206, len(VIDEO) - 7, len(VIDEO)),
        ({"Range": "bytes=5-", "If-Range": '"v0"'}, 200, 0, len(VIDEO)),
        ({"Range": "bytes=9000000-"}, 416, 0, 0),
    ],
)
class TestRanges:
    """The whole and its ranges, in each framework."""

    async def test_asgi(  # noqa: PLR0917  parameters and fixtures
        self,
        app: Any,
        client: A2EClient,
        sandbox: Sandbox,
        storage: Storage,
        asked: dict[str, str],
        status: int,
        first: int,
        end: int,
    ) -> None:
        """A GET has the bytes, a HEAD the headers of the whole."""
        path = f"/videos/{await finish_one(client, sandbox)}/result"
        async with exchange(app, "GET", path, headers=asked) as answered:
            await wait_until(answered.serving.done)
        assert (answered.status, answered.body) == (status, VIDEO[first:end])
        assert answered.sent[-1].get("more_body", False) is False
        assert answered.headers["content-length"] == str(end - first)
        assert answered.headers.get("content-range", "").startswith("bytes") is (status != 200)
        check_headers(answered.headers)
        async with exchange(app, "HEAD", path, headers=asked) as answered:
            await wait_until(answered.serving.done)
        assert (answered.status, answered.body) == (200, b"")
        assert answered.headers["content-length"] == str(len(VIDEO))

    async def test_aiohttp(  # noqa: PLR0917  parameters and fixtures
        self,
        http: TestClient[Any, Any],
        client: A2EClient,
        sandbox: Sandbox,
        storage: Storage,
        asked: dict[str, str],
        status: int,
        first: int,
        end: int,
    ) -> None:
        """The same, over a socket."""
        path = f"/{await finish_one(client, sandbox)}"
        async with http.get(path, headers=asked) as response:
            assert (response.status, await response.read()) == (status, VIDEO[first:end])
            check_headers(response.headers)
        async with http.head(path, headers=asked) as response:
            assert (response.status, response.headers["Content-Length"]) == (200, str(len(VIDEO)))
        async with http.get(path) as response:  # the connection can be used again
            assert await response.read() == VIDEO


async def test_errors_before_the_first_byte(app: Any, client: A2EClient) -> None:
    """A task that is unknown, or not finished, is an error response."""
    running = await start_video(client, prompt="#stuck")
    for task_id, status in ((UNKNOWN, 404), (running.id, 409)):
        async with exchange(app, "GET", f"/videos/{task_id}/result") as answered:
            await wait_until(answered.serving.done)
        assert answered.status == status
        assert json.loads(answered.body)["task_id"] == task_id


async def test_errors_before_the_first_byte_in_aiohttp(http: TestClient[Any, Any], client: A2EClient) -> None:
    """The same in aiohttp.web."""
    running = await start_video(client, prompt="#stuck")
    for task_id, status in ((UNKNOWN, 404), (running.id, 409)):
        async with http.get(f"/{task_id}") as response:
            assert (response.status, (await response.json())["task_id"]) == (status, task_id)


async def test_storage_that_breaks_off(
    app: Any, client: A2EClient, sandbox: Sandbox, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """The response is cut short, which is logged, and no error response is mixed into the video."""
    storage.is_broken = True
    path = f"/videos/{await finish_one(client, sandbox)}/result"
    try:
        async with exchange(app, "GET", path) as answered:
            await wait_until(answered.serving.done)
    except* TransferError:  # Quart and Django pass it to the server
        pass
    assert VIDEO.startswith(answered.body)
    assert 0 < len(answered.body) < len(VIDEO)
    assert answered.sent[-1]["more_body"]
    assert "cut short" in caplog.text
    assert "private-link" not in caplog.text


async def test_storage_that_breaks_off_in_aiohttp(
    http: TestClient[Any, Any], client: A2EClient, sandbox: Sandbox, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is closed, so that the browser sees that bytes are missing."""
    storage.is_broken = True
    async with http.get(f"/{await finish_one(client, sandbox)}") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert "cut short" in caplog.text


@pytest.mark.parametrize("end", ["leave", "stop"])
async def test_visitor_without_interest(client: A2EClient, sandbox: Sandbox, storage: Storage, end: str) -> None:
    """A visitor with a paused video that leaves, or is there when the server stops, holds nothing."""
    left, blocked, sent = asyncio.Event(), asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            blocked.set()
            await asyncio.Event().wait()

    async with client:
        app = ResultApp(client.image_to_video.task(await finish_one(client, sandbox)))
        serving = asyncio.create_task(app({"type": "http", "method": "GET", "headers": []}, receive, send))
        await blocked.wait()
        if end == "leave":
            left.set()
        else:
            await client.end_waits()
        await wait_until(serving.done)
        serving.result()
    assert sent[-1]["more_body"]


@pytest.mark.parametrize("app", ["django", "quart"], indirect=True)
@pytest.mark.parametrize("end", ["leave", "stop"])
async def test_visitor_without_interest_in_a_framework(
    app: Any, client: A2EClient, sandbox: Sandbox, storage: Storage, end: str
) -> None:
    """The same where the framework sends the bytes: a server that stops cuts short what the visitor takes next."""
    blocked, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def send_slowly(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body" and message.get("body"):
                blocked.set()
                await goes_on.wait()

        await app(scope, receive, send_slowly)

    path = f"/videos/{await finish_one(client, sandbox)}/result"
    try:
        async with exchange(slow, "GET", path) as answered:
            await blocked.wait()
            if end == "leave":
                await answered.disconnect()
            else:
                await client.end_waits()
                goes_on.set()
            await wait_until(answered.serving.done)
    except* ClientClosedError:
        assert end == "stop"
    assert answered.sent[-1]["more_body"]
    await wait_until(lambda: not any(task.get_name().startswith("a2e") for task in asyncio.all_tasks()))


async def test_aiohttp_server_stops(client: A2EClient, sandbox: Sandbox, storage: Storage) -> None:
    """The server of aiohttp stops at once although a visitor takes no bytes."""
    app = web.Application()
    integration.setup(app, client)
    app.add_routes([web.get("/{id}", show)])
    loop = asyncio.get_running_loop()
    many = web.Response(body=quick.MP4 + bytes(30_000_000))
    async with TestClient(TestServer(app)) as http:
        task_id = await finish_one(client, sandbox)
        with sandbox.override("GET", "/videos", many):
            await http.get(f"/{task_id}")
            before = loop.time()
            await http.server.close()
            assert loop.time() - before < 1

"""An application of aiohttp.web: life, errors, live status and websockets."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from conditions import wait_until
from paid_starts import make_client, start_video

from a2e_async.integrations import aiohttp as integration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

Http = TestClient[Any, Any]


@pytest.fixture
def client(sandbox: Sandbox) -> A2EClient:
    """Make the client of the application, which is not open yet."""
    return make_client(sandbox)


async def show(request: web.Request) -> web.Response:
    """Return the record of a task."""
    record = await request.config_dict[integration.A2E].image_to_video.get(request.match_info["id"])
    return web.json_response(record.to_dict())


async def events(request: web.Request) -> web.StreamResponse:
    """Return the live status of a task."""
    task = request.config_dict[integration.A2E].image_to_video.task(request.match_info["id"])
    return await integration.event_stream(request, task)


async def live(request: web.Request) -> web.StreamResponse:
    """Send the live status of a task to a websocket."""
    task = request.config_dict[integration.A2E].image_to_video.task(request.match_info["id"])
    return await integration.send_updates(request, task)


@pytest.fixture
async def http(client: A2EClient) -> AsyncIterator[Http]:
    """Serve the application, whose handlers are in a sub-application."""
    videos, app = web.Application(), web.Application()
    videos.add_routes([web.get("/{id}", show), web.get("/{id}/events", events), web.get("/{id}/live", live)])
    integration.setup(app, client)
    app.add_subapp("/videos", videos)
    async with TestClient(TestServer(app)) as http:
        yield http
    assert "closed" in repr(client)


async def test_record_and_error(http: Http, client: A2EClient) -> None:
    """A record is JSON, and an error is a response with its status."""
    task = await start_video(client)
    async with http.get(f"/videos/{task.id}") as response:
        assert (await response.json())["id"] == task.id
    async with http.get("/videos/6927f1e7a1c5e4e0b5f0a3d2") as response:
        assert (response.status, (await response.json())["error"]) == (404, "NotFoundError")


async def test_events_end_with_the_task(http: Http, client: A2EClient, sandbox: Sandbox) -> None:
    """A page gets the present state and each change, and is told not to connect again."""
    task = await start_video(client, prompt="#stuck")
    async with http.get(f"/videos/{task.id}/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        await response.content.readuntil(b"data: ")
        sandbox.finish(task.id)
        text = (await response.content.read()).decode()
    last_id = next(line[4:] for line in text.splitlines() if line.startswith("id: "))
    async with http.get(f"/videos/{task.id}/events", headers={"Last-Event-ID": last_id}) as response:
        assert response.status == 204


async def test_events_end_when_the_browser_leaves(http: Http, client: A2EClient) -> None:
    """The polls end with the connection."""
    task = await start_video(client, prompt="#stuck")
    async with http.get(f"/videos/{task.id}/events") as response:
        await response.content.readuntil(b"data: ")
        assert client.poll_now(task.id)
        response.close()
    await wait_until(lambda: not client.poll_now(task.id), seconds=1)


async def test_server_stops_with_open_responses(client: A2EClient, sandbox: Sandbox) -> None:
    """The server stops at once although a stream and a websocket are open."""
    app = web.Application()
    integration.setup(app, client)
    app.add_routes([web.get("/{id}/events", events), web.get("/{id}/live", live)])
    loop = asyncio.get_running_loop()
    async with TestClient(TestServer(app)) as http:
        task = await start_video(client, prompt="#stuck")
        stream = await http.get(f"/{task.id}/events")
        await stream.content.readuntil(b"data: ")
        socket = await http.ws_connect(f"/{task.id}/live")
        await socket.receive()
        closing = asyncio.create_task(http.server.close())
        before = loop.time()
        while not (message := await socket.receive()).type.name.startswith("CLOS"):
            pass
        assert message.data == 1012
        await closing
        assert loop.time() - before < 1


@pytest.mark.parametrize("end", ["finish", "leave"])
async def test_websocket(http: Http, client: A2EClient, sandbox: Sandbox, end: str) -> None:
    """A websocket gets the state and each change, and ends with the task or with the browser."""
    task = await start_video(client, prompt="#stuck")
    async with http.ws_connect(f"/videos/{task.id}/live") as socket:
        message = await socket.receive()
        assert json.loads(message.data)["final"] is False
        if end == "finish":
            sandbox.finish(task.id)
            messages = [json.loads(message.data) async for message in socket]
            assert (messages[-1]["final"], socket.close_code) == (True, 1000)
    await wait_until(lambda: not client.poll_now(task.id), seconds=1)

"""The examples of aiohttp.web and Litestar under their servers: a video from upload to download, and a restart."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import example_apps
import pytest
from aiohttp import web
from conditions import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async.sandbox import Sandbox


@contextlib.asynccontextmanager
async def _aiohttp(names: dict[str, Any], listener: socket.socket) -> AsyncIterator[None]:
    runner = web.AppRunner(names["app"], shutdown_timeout=10)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _uvicorn(names: dict[str, Any], listener: socket.socket) -> AsyncIterator[None]:
    uvicorn = pytest.importorskip("uvicorn")
    server = uvicorn.Server(uvicorn.Config(names["app"], log_config=None))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await wait_until(lambda: server.started or serving.done())
        yield
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def serve(framework: str) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Start the server of an example; yield its names and its URL."""
    names = example_apps.load(f"{framework}_app/app.py")
    # with the protocol, asyncio sends small parts of a response at once: the clock would not wait for the kernel's delay
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = _aiohttp if framework == "aiohttp" else _uvicorn
        async with server(names, listener):
            yield names, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(params=["aiohttp", "litestar"])
def framework(request: pytest.FixtureRequest) -> str:
    """Return the name of a framework that is installed."""
    pytest.importorskip(request.param)
    return str(request.param)


async def test_a_video_from_upload_to_download(framework: str, service: Sandbox, video: bytes) -> None:
    """A visitor uploads an image, sees the changes live, and gets the whole video or a part of it; it is paid once."""
    async with serve(framework) as (names, url), aiohttp.ClientSession() as http:
        status, body = await example_apps.upload(http, url, "#stuck she smiles", key="order-17")
        assert (status, body["status"]) == (202, "queued")
        assert await example_apps.upload(http, url, "#stuck she smiles", key="order-17") == (status, body)
        one = f"{url}/videos/{body['id']}"
        events = await example_apps.read_events(http, one, lambda: service.finish(body["id"]))
        assert [event["status"] for event in events][-1] == "succeeded"
        assert len(events) > 1
        async with http.get(one) as response:
            assert (await response.json())["status"] == "succeeded"
        await example_apps.check_video(http, one, video)
        await example_apps.check_errors(http, url)
        await wait_until(lambda: not len(names["supervisor"]))
        assert await names["query"]("SELECT * FROM videos") == [(body["id"], "done")]
    assert example_apps.charges(service) == [(body["id"], 30)]


async def test_restart(framework: str, service: Sandbox, video: bytes) -> None:
    """A server that stops with an open stream stops at once; the next one continues, and pays nothing."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        async with serve(framework) as (_, url):
            ids = [(await example_apps.upload(http, url, "#stuck"))[1]["id"] for _ in range(3)]
            stream = await http.get(f"{url}/videos/{ids[0]}/events")
            await stream.content.readuntil(b"data: ")
            before = loop.time()
        assert loop.time() - before < 1
        assert b'final": true' not in await stream.read()
        service.finish(ids[0])
        service.fail(ids[1], code="nsfw")
        async with serve(framework) as (names, url):
            assert len(names["supervisor"]) > 0
            await wait_until(lambda: len(names["supervisor"]) == 1)
            states = dict(await names["query"]("SELECT * FROM videos"))
            assert states == {ids[0]: "done", ids[1]: "TaskFailedError", ids[2]: "open"}
            await example_apps.check_video(http, f"{url}/videos/{ids[0]}", video)
    if framework == "aiohttp":  # the others pass the video on
        assert [(path.stem, path.read_bytes()) for path in pathlib.Path("videos").iterdir()] == [(ids[0], video)]
    assert sorted(example_apps.charges(service)) == sorted((id, 30) for id in ids)

"""The example `fastapi_app` under uvicorn: its operations, a stop with open streams, and the demonstration."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import quick
from conditions import wait_until
from example_server import example_server

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from example_server import ExampleServer

    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.process("a web server")

STREAMS = 20


@pytest.fixture
async def server(sandbox: Sandbox, tmp_path: pathlib.Path) -> AsyncIterator[ExampleServer]:
    """Run the application."""
    context = example_server("fastapi_app", tmp_path, sandbox)
    server = await asyncio.to_thread(context.__enter__)
    try:
        yield server
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


@pytest.fixture
async def http(server: ExampleServer) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a client of the application."""
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def start(http: aiohttp.ClientSession, key: str, *, image: bytes = quick.PNG, prompt: str = "#fast") -> Any:
    """Start a video, and return the status and the JSON of the response."""
    form = aiohttp.FormData({"prompt": prompt})
    form.add_field("image", io.BytesIO(image), filename="ada.png", content_type="image/png")
    async with http.post("videos", data=form, headers={"Idempotency-Key": key} if key else {}) as response:
        return response.status, await response.json()


async def test_operations(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """A video is started once for one key, listened to until its end, shown, and sent in ranges."""
    _, first = await start(http, "a")
    assert await start(http, "a") == (202, first)
    assert len(sandbox.tasks) == 1
    path = f"videos/{first['id']}"
    events = (await (await http.get(f"{path}/events")).text()).splitlines()
    assert json.loads([line for line in events if line.startswith("data: ")][-1][6:])["status"] == "succeeded"
    shown = await (await http.get(path)).json()
    assert await (await http.get("videos")).json() == [shown]
    assert (shown["name"], shown["prompt"], shown["status"], shown["final"]) == ("ada.png", "#fast", "succeeded", True)
    async with http.get(f"{path}/result", headers={"Range": "bytes=4-7"}) as response:
        assert (response.status, await response.read()) == (206, b"ftyp")


async def test_rejections(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """Wrong files and unknown videos are explained, and a form of another site, which has no key, starts nothing."""
    status, body = await start(http, "a", image=b"no image")
    assert (status, body["detail"]) == (422, "image is not an image (PNG, JPEG, WebP, GIF or BMP)")
    assert (await start(http, ""))[0] == 422
    assert (await start(http, "a", image=quick.PNG + bytes(20 * 1024 * 1024)))[0] == 413
    sandbox.coins = 5
    assert (await start(http, "b"))[0] == 402
    assert {(await http.get(f"videos/unknown{end}")).status for end in ("", "/events", "/result")} == {404}
    assert (await http.get("app.py")).status == 404
    assert "<title>Image to video" in await (await http.get("")).text()
    assert not sandbox.tasks


async def test_stop_with_open_streams(
    http: aiohttp.ClientSession, server: ExampleServer, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """SIGTERM ends all streams and the server at once; the next start resumes all waits, and each was paid once."""
    started = await asyncio.gather(*(start(http, str(number), prompt="#stuck") for number in range(STREAMS)))
    ids = [answer["id"] for _, answer in started]
    streams = [await http.get(f"videos/{id}/events") for id in ids]
    for stream in streams:
        await stream.content.readuntil(b"data: ")
    before = time.monotonic()
    await asyncio.to_thread(server.stop)
    assert time.monotonic() - before < 3  # on a busy machine; the benchmark `web` measures it
    assert all([b'final": true' not in await stream.content.read() for stream in streams])
    await asyncio.to_thread(server.start)
    for id in ids:
        sandbox.finish(id)
    # no visitor is needed for that
    with contextlib.closing(sqlite3.connect(tmp_path / "videos.sqlite")) as database:
        open_videos = "SELECT COUNT(*) FROM videos WHERE ended IS NULL"
        await wait_until(lambda: database.execute(open_videos).fetchone() == (0,), seconds=30, interval=0.05)
    videos = await (await http.get("videos")).json()
    assert {(video["id"], video["status"]) for video in videos} == {(id, "succeeded") for id in ids}
    assert sorted(entry.task_id for entry in sandbox.ledger if entry.task_id) == sorted(ids)


async def test_demonstration(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demonstration makes a video without a token and without any other server."""
    pytest.importorskip("av")
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("SANDBOX_PORT", str(free.getsockname()[1]))
    monkeypatch.delenv("A2E_API_TOKEN", raising=False)
    with example_server("fastapi_app", tmp_path, None, "demo") as server:
        async with aiohttp.ClientSession(server.url) as http:
            assert (await start(http, "a"))[0] == 202
            (video,) = await (await http.get("videos")).json()
            assert video["name"] == "ada.png"
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]

"""Servers that get SIGTERM while browsers listen: they stop at once, and the tasks go on."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from conditions import wait_until
from paid_starts import start_video

if TYPE_CHECKING:
    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

STREAMS = 50

SECONDS = 3.0
"""The longest stop, on a busy machine. Without the end of the waits it is half an hour."""

APPS = {
    "asgi": """
from fastapi import BackgroundTasks, FastAPI, WebSocket
from a2e_async import A2EClient
from a2e_async.integrations.fastapi import A2E, a2e_lifespan, add_error_handler, event_stream, send_updates

app = FastAPI(lifespan=a2e_lifespan(A2EClient()))
add_error_handler(app)

@app.get("/{id}/events")
async def events(id: str, a2e: A2E):
    return event_stream(a2e.image_to_video.task(id))

@app.websocket("/{id}/live")
async def live(websocket: WebSocket, id: str, a2e: A2E):
    await send_updates(websocket, a2e.image_to_video.task(id))

@app.get("/{id}/background")
async def background(id: str, a2e: A2E, tasks: BackgroundTasks):
    tasks.add_task(a2e.image_to_video.task(id).wait_until_done)

@app.get("/{id}/wait")
async def wait(id: str, a2e: A2E):
    return await a2e.image_to_video.task(id).wait_until_done()
""",
    "aiohttp": """
import asyncio, sys
from aiohttp import web
from a2e_async import A2EClient
from a2e_async.integrations.aiohttp import A2E, event_stream, send_updates, setup

def task_of(request):
    return request.app[A2E].image_to_video.task(request.match_info["id"])

async def events(request):
    return await event_stream(request, task_of(request))

async def live(request):
    return await send_updates(request, task_of(request))

async def background(request):
    asyncio.create_task(task_of(request).wait_until_done()).add_done_callback(lambda task: task.exception())
    return web.Response()

async def wait(request):
    return web.json_response((await task_of(request).wait_until_done()).to_dict())

app = web.Application()
setup(app, A2EClient())
app.add_routes([web.get("/{id}/" + name, globals()[name]) for name in ("events", "live", "background", "wait")])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
""",
}

COMMANDS = {
    "uvicorn": ("asgi", ["-m", "uvicorn", "program:app", "--log-level", "error", "--port"]),
    "aiohttp": ("aiohttp", ["program.py"]),
}


@pytest.mark.realtime("a server process gets a signal")
@pytest.mark.parametrize("server", COMMANDS)
async def test_server_stops_at_once(server: str, a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """SIGTERM with open streams, websockets, waiting requests and background tasks ends the server at once."""
    pytest.importorskip(server)
    pytest.importorskip("fastapi")
    kind, arguments = COMMANDS[server]
    (tmp_path / "program.py").write_text(APPS[kind])
    task = await start_video(a2e, prompt="#stuck")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**os.environ, "A2E_API_TOKEN": sandbox.token, "A2E_BASE_URL": sandbox.url}
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, str(port), cwd=tmp_path, env=env)
    try:
        url = f"http://127.0.0.1:{port}/{task.id}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            await wait_until(lambda: _is_listening(port), seconds=30)
            # a connection of its own: uvicorn closes that of a background task that raises an error
            assert (await http.get(f"{url}/background", headers={"Connection": "close"})).status == 200
            streams = [await http.get(f"{url}/events") for _ in range(STREAMS)]
            for stream in streams:
                await stream.content.readuntil(b"data: ")
            live = await http.ws_connect(f"{url}/live")
            await live.receive()
            waiting = asyncio.create_task(http.get(f"{url}/wait"))
            await asyncio.sleep(0.3)
            before = time.monotonic()
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                await process.wait()
            assert time.monotonic() - before < SECONDS
            assert (await waiting).status == 503
            assert all([b'final": true' not in await stream.content.read() for stream in streams])
            assert (await live.receive()).type is not aiohttp.WSMsgType.TEXT
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    sandbox.finish(task.id)
    assert (await a2e.image_to_video.task(task.id).wait_until_done()).id == task.id


def _is_listening(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0

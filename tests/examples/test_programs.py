"""The examples that are programs: Flask and Django under their servers, the bot, and the notebook."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import os
import pathlib
import signal
import socket
import sqlite3
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import example_apps
import pages
import pytest
from conditions import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async.sandbox import Sandbox

pytestmark = [
    pytest.mark.process("a server or a program is the subject"),
    pytest.mark.skipif(sys.platform == "win32", reason="gunicorn, and terminals as pipes"),
]

STREAM_SECONDS = 3.0
"""The longest stop with an open stream, on a busy machine. Otherwise gunicorn waits for 30 seconds."""

one_request_each = functools.partial(aiohttp.TCPConnector, limit=0, force_close=True)
"""Connections that are closed after each response: gunicorn waits two seconds for those that are kept open."""

GTHREAD = ["-m", "gunicorn", "-k", "gthread", "--threads", "8", "--no-control-socket", "--bind"]

DJANGO_WSGI = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path
from a2e_async.integrations import server_sent_events
from a2e_async.integrations.blocking import BlockingClient

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=["a2e_async.integrations.django.A2EErrorMiddleware"],
)
blocking = BlockingClient()
videos = blocking.a2e.image_to_video


def start(request):
    image, prompt = request.FILES["image"], request.POST["prompt"]
    task = blocking.call(videos.start, image=image, prompt=prompt, negative_prompt="blurry")
    return JsonResponse({"id": task.id}, status=202)


def show(_, id):
    return JsonResponse(blocking.call(videos.get, id).to_dict())


def events(_, id):
    body = blocking.iterate(server_sent_events(videos.task(id)))
    return StreamingHttpResponse(body, content_type="text/event-stream")


urlpatterns = [path("videos", start), path("videos/<str:id>", show), path("videos/<str:id>/events", events)]
app = get_wsgi_application()
blocking.start()
"""


@contextlib.asynccontextmanager
async def program(
    *command: str, stdin: int | None = None, stdout: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python program in the folder of the test; its errors go to a file."""
    with pathlib.Path("errors.txt").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=stdin, stdout=stdout, stderr=errors
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def serving(*command: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run a server whose last argument is its port or address; yield it with its URL, and stop it with SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with program(*(part.format(port=port) for part in command)) as process:
        await wait_until(lambda: _is_listening(port) or process.returncode is not None, seconds=30, interval=0.05)
        assert process.returncode is None, pathlib.Path("errors.txt").read_text()
        yield process, f"http://127.0.0.1:{port}"
        if process.returncode is None:
            await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Send SIGTERM; the server ends soon, without an error."""
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        await process.wait()
    errors = pathlib.Path("errors.txt").read_text()
    assert time.monotonic() - before < STREAM_SECONDS
    assert "Traceback" not in errors, errors
    assert process.returncode in {0, -signal.SIGTERM}  # uvicorn raises the signal again at its end


async def stop_with_a_stream(process: asyncio.subprocess.Process, http: aiohttp.ClientSession, url: str) -> None:
    """Stop a server while a browser listens to a video: the stream ends at once, and is not the end of the video."""
    async with http.get(f"{url}/events") as stream:
        await stream.content.readuntil(b"data: ")
        await stop(process)
        assert b'final": true' not in await stream.read()


def _is_listening(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


async def check_48_requests(http: aiohttp.ClientSession, url: str, local: Sandbox) -> list[str]:
    """Send 48 starts at the same time, and 48 more requests; all are answered, and each start is charged once."""
    started = await asyncio.gather(*(example_apps.upload(http, url, "#stuck") for _ in range(48)))
    assert collections.Counter(status for status, _ in started) == {202: 48}
    ids = [body["id"] for _, body in started]

    async def show(id: str) -> int:
        async with http.get(f"{url}/videos/{id}") as response:
            assert (await response.json())["id"] == id
            return response.status

    assert collections.Counter(await asyncio.gather(*map(show, ids))) == {200: 48}
    assert sorted(example_apps.charges(local)) == sorted((id, 30) for id in ids)
    return ids


async def test_flask(local: Sandbox, video: bytes) -> None:
    """Under gunicorn's threads all requests are answered, a stream does not hold the server, and the waits continue."""
    pytest.importorskip("flask")
    pytest.importorskip("gunicorn")
    server = [*GTHREAD, "127.0.0.1:{port}", "--pythonpath", str(example_apps.EXAMPLES / "flask_app"), "app:app"]
    saved = pathlib.Path("videos")
    async with aiohttp.ClientSession(connector=one_request_each()) as http:
        async with serving(*server) as (process, url):
            ids = await check_48_requests(http, url, local)
            one = f"{url}/videos/{ids[0]}"
            events = await example_apps.read_events(http, one, lambda: pages.finish_in_background(local, ids[0]))
            assert events[-1]["status"] == "succeeded"
            await example_apps.check_video(http, one, video)
            await example_apps.check_errors(http, url)
            await stop_with_a_stream(process, http, f"{url}/videos/{ids[1]}")
        pages.finish_in_background(local, ids[1])
        async with serving(*server):
            await wait_until((saved / f"{ids[1]}.mp4").exists, seconds=30, interval=0.05)  # without a visitor
    assert {path.read_bytes() for path in saved.iterdir()} == {video}
    with contextlib.closing(sqlite3.connect("videos.sqlite")) as database:
        assert len(database.execute("SELECT * FROM videos WHERE state = 'open'").fetchall()) == 46
    assert len(example_apps.charges(local)) == 48


async def test_django_under_wsgi(local: Sandbox) -> None:
    """Under gunicorn's threads all requests are answered."""
    pytest.importorskip("django")
    pytest.importorskip("gunicorn")
    pathlib.Path("program.py").write_text(DJANGO_WSGI)
    connector = one_request_each()
    async with (
        serving(*GTHREAD, "127.0.0.1:{port}", "program:app") as (process, url),
        aiohttp.ClientSession(connector=connector) as http,
    ):
        ids = await check_48_requests(http, url, local)
        async with http.get(f"{url}/videos/{example_apps.UNKNOWN}") as response:
            assert (response.status, (await response.json())["error"]) == (404, "NotFoundError")
        await stop_with_a_stream(process, http, f"{url}/videos/{ids[0]}")


async def test_django_under_asgi(local: Sandbox, video: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor sees a video live and gets it whole; a server that stops continues with the next start."""
    pytest.importorskip("django")
    pytest.importorskip("uvicorn")
    folder = example_apps.EXAMPLES / "django_app"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    async with program(str(folder / "manage.py"), "migrate", "--verbosity", "0") as migrating:
        assert await migrating.wait() == 0, pathlib.Path("errors.txt").read_text()
    server = ["-m", "uvicorn", "asgi:application", "--log-level", "error", "--port", "{port}"]
    async with aiohttp.ClientSession() as http:
        async with serving(*server) as (process, url):
            ids = [(await example_apps.upload(http, url, "#stuck", key=str(key)))[1]["id"] for key in (1, 2, 2)]
            assert ids[1] == ids[2]
            one = f"{url}/videos/{ids[0]}"
            events = await example_apps.read_events(http, one, lambda: pages.finish_in_background(local, ids[0]))
            assert events[-1]["status"] == "succeeded"
            await example_apps.check_video(http, one, video)
            await example_apps.check_errors(http, url)
            await stop_with_a_stream(process, http, f"{url}/videos/{ids[1]}")
        pages.finish_in_background(local, ids[1])
        async with serving(*server) as (_, url):
            with contextlib.closing(sqlite3.connect("videos.sqlite")) as database:
                query = "SELECT id FROM videos_video WHERE state = 'done'"
                await wait_until(lambda: len(database.execute(query).fetchall()) == 2, seconds=30, interval=0.05)
            await example_apps.check_video(http, f"{url}/videos/{ids[1]}", video)
    assert sorted(example_apps.charges(local)) == sorted((id, 30) for id in ids[:2])


async def test_bot(local: Sandbox, video: bytes) -> None:
    """A bot answers, is killed, and sends the video of the chat after its next start."""
    bot = str(example_apps.EXAMPLES / "bot.py")
    run = functools.partial(program, bot, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    async with run() as process, asyncio.timeout(30):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"eve: she smiles\nann: ada.png #stuck she smiles\n")
        lines = sorted([(await process.stdout.readline()).decode() for _ in range(2)])
        assert lines[1] == "to eve: Sorry: image is empty \n"
        task_id = lines[0].removeprefix("to ann: Video ").split(" ")[0]
        process.kill()
        await process.wait()
    pages.finish_in_background(local, task_id)
    async with run() as process, asyncio.timeout(30):
        assert process.stdin is not None
        assert process.stdout is not None
        assert (await process.stdout.readline()).decode() == f"to ann: Here it is. {task_id}.mp4\n"
        process.stdin.close()  # the end of the input
        assert await process.wait() == 0
    assert pathlib.Path(f"{task_id}.mp4").read_bytes() == video
    assert example_apps.charges(local) == [(task_id, 30)]
    assert "Traceback" not in pathlib.Path("errors.txt").read_text()


KERNEL = """
import asyncio, pathlib, re, sys
from IPython.core.interactiveshell import InteractiveShell

async def main():  # as ipykernel does: an event loop runs already
    shell = InteractiveShell.instance()
    cells = re.split(r"^# %%.*$", pathlib.Path(sys.argv[1]).read_text(), flags=re.MULTILINE)
    page = pathlib.Path(sys.argv[2]).read_text()
    cells += re.findall(r"```python\\n(.*?)```", page, flags=re.DOTALL)
    for cell in cells:
        (await shell.run_cell_async(cell, transformed_cell=shell.transform_cell(cell))).raise_error()

asyncio.run(main())
"""


async def test_notebook(local: Sandbox, video: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook works as a script, and again in IPython without a payment; so do the cells of its page with `await`."""
    pytest.importorskip("IPython")
    notebook, page = example_apps.EXAMPLES / "notebook.py", example_apps.EXAMPLES.parent / "how-to" / "notebooks.md"
    async with program("-W", "error", str(notebook)) as process:
        assert await process.wait() == 0, pathlib.Path("errors.txt").read_text()
    assert [coins for _, coins in example_apps.charges(local)] == [30]
    monkeypatch.setenv("IPYTHONDIR", str(pathlib.Path("ipython").absolute()))
    pathlib.Path("kernel.py").write_text(KERNEL)
    async with program("kernel.py", str(notebook), str(page), stdout=asyncio.subprocess.PIPE) as process:
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode() + pathlib.Path("errors.txt").read_text()
    assert b"<IPython.core.display.Video object>" in out
    assert out.count(b"succeeded") == 2
    assert {pathlib.Path(name).read_bytes() for name in ("ada.mp4", "smile.mp4")} == {video}
    assert [coins for _, coins in example_apps.charges(local)] == [30, 30]

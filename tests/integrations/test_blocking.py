"""A client for code without asyncio: threads, Flask, forks, and programs that end without closing it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pages
import pytest
import quick
from paid_starts import make_client

from a2e_async import ClientClosedError, ConfigurationError, InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async.sandbox import Sandbox

pytest.importorskip("anyio")
from a2e_async.integrations.blocking import BlockingClient

START: dict[str, Any] = {**quick.PROMPTS, "image_url": "https://example.com/a.png"}
UNKNOWN = "6927f1e7a1c5e4e0b5f0a3d2"

pytestmark = pytest.mark.realtime("threads with an event loop of their own")


@pytest.fixture(scope="module")
def local() -> Iterator[Sandbox]:
    """Run a local A2E in a thread."""
    with pages.background_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def blocking(local: Sandbox) -> Iterator[BlockingClient]:
    """Open a blocking client."""
    with BlockingClient(make_client(local)) as blocking:
        yield blocking


def test_calls_and_iterations(blocking: BlockingClient, local: Sandbox) -> None:
    """A start, a wait, an iteration and an error come back to the calling thread, from many threads at once."""

    def make_video(_: int) -> str:
        task = blocking.call(blocking.a2e.image_to_video.start, **START)
        statuses = [update.new for update in blocking.iterate(task.updates(initial=True))]
        assert statuses[-1].is_final
        assert blocking.call(task.wait_until_done).id == task.id
        return task.id

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(make_video, range(24)))
    assert len(ids) == 24
    with pytest.raises(NotFoundError):
        blocking.call(blocking.a2e.image_to_video.get, UNKNOWN)
    with pytest.raises(InvalidRequestError, match="not call"):
        blocking.call(None)  # type: ignore[arg-type]
    listed = blocking.iterate(blocking.a2e.image_to_video.list())
    assert next(listed).id in ids
    listed.close()  # type: ignore[attr-defined]


def test_wrong_use(blocking: BlockingClient, local: Sandbox) -> None:
    """A call inside of the client's thread, after the end, and the client in another event loop are errors that help."""

    async def inside() -> None:
        blocking.call(asyncio.sleep, 0)

    with pytest.raises(ConfigurationError, match="await"):
        blocking.call(inside)
    blocking.call(blocking.a2e.image_to_video.average_processing_time)
    with pytest.raises(ConfigurationError, match=r"a2e_async\.integrations\.blocking"):
        asyncio.run(blocking.a2e.image_to_video.get(UNKNOWN))
    with BlockingClient(make_client(local)) as other:
        task = other.call(other.a2e.image_to_video.start, **{**START, "prompt": "#stuck"})
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            wait = threads.submit(other.call, task.wait_until_done)
            while not other.a2e.poll_now(task.id):
                pass
            other.close()
            with pytest.raises(ClientClosedError):
                wait.result()
        other.close()
        with pytest.raises(ClientClosedError):
            other.call(task.refresh)
    assert not [
        thread for thread in threading.enumerate() if thread.name == "a2e-blocking" and thread is not blocking._thread
    ]


def test_flask(blocking: BlockingClient, local: Sandbox) -> None:
    """Views of Flask answer with records, errors and live status."""
    flask = pytest.importorskip("flask")
    from a2e_async.integrations.flask import add_error_handler, event_stream

    app = flask.Flask("videos")
    add_error_handler(app)
    tasks = blocking.a2e.image_to_video

    @app.get("/<id>")  # type: ignore[untyped-decorator]
    def show(id: str) -> Any:
        return blocking.call(tasks.get, id).to_dict()

    @app.get("/<id>/events")  # type: ignore[untyped-decorator]
    def events(id: str) -> Any:
        return event_stream(blocking, tasks.task(id))

    task = blocking.call(tasks.start, **START)
    http = app.test_client()
    assert http.get(f"/{task.id}").json["id"] == task.id
    assert (http.get(f"/{UNKNOWN}").status_code, http.get(f"/{UNKNOWN}").json["error"]) == (404, "NotFoundError")
    text = http.get(f"/{task.id}/events").text
    assert '"final": true' in text
    last_id = next(line[4:] for line in text.splitlines() if line.startswith("id: "))
    assert http.get(f"/{task.id}/events", headers={"Last-Event-ID": last_id}).status_code == 204


@pytest.mark.parametrize("fork", [False, True])
def test_program_ends_without_closing(local: Sandbox, tmp_path: pathlib.Path, fork: bool) -> None:  # noqa: FBT001
    """A script that does not close the client ends without a warning; so do the workers of a server that forks."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os\n"
        "from a2e_async import A2EClient\n"
        "from a2e_async.integrations.blocking import BlockingClient\n"
        "blocking = BlockingClient()\n"
        "def work():\n"
        f"    task = blocking.call(blocking.a2e.image_to_video.start, **{START!r})\n"
        "    print(blocking.call(task.wait_until_done).status.value, flush=True)\n"
        + ("work()\nchild = os.fork()\nwork()\nif child: os.waitpid(child, 0)\n" if fork else "work()\n")
    )
    env = {**os.environ, "A2E_API_TOKEN": local.token, "A2E_BASE_URL": local.url}
    # Python 3.12 warns of every fork of a process with threads
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(program)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["succeeded"] * (3 if fork else 1), "", 0)


def test_ctrl_c_during_a_wait(local: Sandbox, tmp_path: pathlib.Path) -> None:
    """Ctrl-C ends a call at once."""
    program = tmp_path / "program.py"
    program.write_text(
        "from a2e_async.integrations.blocking import BlockingClient\n"
        "with BlockingClient() as blocking:\n"
        f"    task = blocking.call(blocking.a2e.image_to_video.start, **{ {**START, 'prompt': '#stuck'}!r})\n"
        "    print(task.id, flush=True)\n"
        "    try:\n"
        "        blocking.call(task.wait_until_done)\n"
        "    except KeyboardInterrupt:\n"
        "        print('stopped', flush=True)\n"
    )
    env = {**os.environ, "A2E_API_TOKEN": local.token, "A2E_BASE_URL": local.url}
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(program)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        time.sleep(0.5)  # until the wait has begun
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("stopped\n", "", 0)

"""A client for code without asyncio: threads, forks, and programs that end without closing it."""

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
from conditions import block_until
from paid_starts import make_client

from a2e_async import ClientClosedError, ConfigurationError, InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async import ImageToVideoRecord, TaskHandle
    from a2e_async.sandbox import Sandbox

pytest.importorskip("anyio")
from a2e_async.integrations import Supervisor
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
        task: TaskHandle[ImageToVideoRecord] = blocking.call(blocking.a2e.image_to_video.start, **START)
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
        blocking.call(None)  # type: ignore[call-overload]
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


def test_others_live_in_the_thread(local: Sandbox) -> None:
    """A supervisor is opened after the client and closed before it; an error of the opening is raised, and can pass."""
    saved: list[str] = []

    async def save(task: TaskHandle[ImageToVideoRecord], *_: object) -> None:
        saved.append(task.id)

    async def open_ids() -> list[str]:
        if not ids:
            msg = "no database"
            raise OSError(msg)
        return ids

    a2e, ids = make_client(local), list[str]()
    supervisor = Supervisor(a2e.image_to_video, on_success=save, on_failure=save, on_gone=save, open_ids=open_ids)
    with BlockingClient(a2e, supervisor) as blocking:
        with pytest.raises(OSError, match="no database"):
            blocking.start()
        with BlockingClient(make_client(local)) as other:
            ids.append(other.call(other.a2e.image_to_video.start, **START).id)
        blocking.start()
        block_until(lambda: saved == ids)
        stuck = blocking.call(a2e.image_to_video.start, **{**START, "prompt": "#stuck"})
        assert blocking.call(supervisor.watch, stuck) is stuck
        assert len(supervisor) == 1
    assert len(supervisor) == 0


def test_script_of_the_page(local: Sandbox, tmp_path: pathlib.Path) -> None:
    """The script of the page writes its video, and ends without a warning although it does not close the client."""
    page = pathlib.Path(__file__).parents[2] / "docs" / "how-to" / "blocking.md"
    script = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    (tmp_path / "ada.png").write_bytes(quick.PNG)
    out = _run(local, tmp_path, script)
    assert out.splitlines()[-1].startswith("succeeded")
    assert b"ftyp" in (tmp_path / "ada.mp4").read_bytes()[:12]


def test_program_that_forks(local: Sandbox, tmp_path: pathlib.Path) -> None:
    """The workers of a server that forks have a thread of their own, and end without a warning."""
    script = (
        "import os\n"
        "from a2e_async.integrations.blocking import BlockingClient\n"
        "blocking = BlockingClient()\n"
        "def work():\n"
        f"    task = blocking.call(blocking.a2e.image_to_video.start, **{START!r})\n"
        "    print(blocking.call(task.wait_until_done).status.value, flush=True)\n"
        "work()\nchild = os.fork()\nwork()\nif child: os.waitpid(child, 0)\n"
    )
    assert _run(local, tmp_path, script).split() == ["succeeded"] * 3


def _run(local: Sandbox, folder: pathlib.Path, script: str) -> str:
    """Run a script in a folder, and return its output."""
    (folder / "script.py").write_text(script)
    env = {**os.environ, "A2E_API_TOKEN": local.token, "A2E_BASE_URL": local.url}
    # Python 3.12 warns of every fork of a process with threads
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "script.py"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


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

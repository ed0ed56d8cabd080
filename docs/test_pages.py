"""Tests of the pages: every public name is described once, the generated page is current, every example works."""
# ruff: noqa: S101, S603, ASYNC240  (tests assert, run examples and touch small files)

from __future__ import annotations

import asyncio
import collections
import os
import pathlib
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
from typing import TYPE_CHECKING

import aiohttp
import cyclopts
import pages
import pytest
import uvicorn
from aiohttp.test_utils import TestServer
from conditions import wait_until

import a2e_async
from a2e_async.cli.app import app
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

DOCS = pathlib.Path(__file__).parent
EXAMPLES = DOCS / "examples"
REFERENCE = DOCS / "reference"

_OBJECT = re.compile(r"^\.\. (?:auto(?:class|exception|function|data)|py:data):: a2e_async\.(\w+)$", re.MULTILINE)


def test_every_public_name_is_documented_once() -> None:
    """The pages of the reference describe each name of `a2e_async.__all__`, and none twice."""
    described = collections.Counter(
        name for path in REFERENCE.rglob("*.md") for name in _OBJECT.findall(path.read_text(encoding="utf-8"))
    )
    assert described == collections.Counter(a2e_async.__all__)


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    """The page is the current output of ``python docs/command_line.py > docs/reference/command-line.md``."""
    written = runpy.run_path(str(DOCS / "command_line.py"))["page"]()
    assert (REFERENCE / "command-line.md").read_text(encoding="utf-8") == written


def test_all_extras_are_documented() -> None:
    """The page about the installation has all extras."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = re.findall(r"^\| (`.+?) \|", (DOCS / "installation.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for cell in table for name in re.findall(r"`(\S+?)`", cell)} == {*project["optional-dependencies"]}


def test_what_cannot_be_copied_is_marked() -> None:
    """A part of a file, and a block that no test runs, is a fragment: the page shows it without a button to copy it.

    The other blocks run alone (`pages.collect_examples`). `tests.examples` and `tests.integrations` run those of the
    pages about notebooks and about threads.
    """
    for path in [*DOCS.rglob("*.md")]:
        for fence in re.findall(r"^```.*?^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if re.search(r"^:(?:start-|end-|pyobject|lines)", fence, re.MULTILINE):
                assert ":class: fragment" in fence, (path.name, fence)
    skipped = {
        path.name
        for path in DOCS.rglob("*.md")
        if re.search(r"^% skip: next\n+```python", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert skipped == {"blocking.md", "notebooks.md"}


def test_commands_of_the_pages() -> None:
    """Each command of a page exists, and has all of its options and values. Mistakes are on a page of their own."""
    wrong = []
    for path in DOCS.rglob("*.md"):
        if path.name == "troubleshooting.md":
            continue
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for command in re.findall(r"^\$ (?:\w+=\S+ )*(?:\w+=\$\()?(a2e .+?)(?:\)?$| [|<>&#])", text, re.MULTILINE):
            words = shlex.split(command.replace("$id", "68e0f8aa11bb22cc33dd44ee"))[1:]
            if words[-1] not in {"--help", "--version"}:
                try:
                    app.parse_args(words, exit_on_error=False, print_error=False)
                except cyclopts.CycloptsError as error:
                    wrong.append((path.name, command, str(error)))
    assert wrong == []


def test_every_example_has_a_test() -> None:
    """Every example has a test in this module or in `tests/examples`."""
    modules = [pathlib.Path(__file__), *(DOCS.parent / "tests" / "examples").glob("test_*.py")]
    tests = "".join(path.read_text(encoding="utf-8") for path in modules)
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in tests] == []


@pytest.fixture
def page(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a local A2E for a program, with its URL in the environment, in a folder with media."""
    with pages.sandbox_for(request) as sandbox, pages.working_folder(tmp_path, sandbox):
        yield sandbox


@pytest.fixture
async def service(tmp_path: pathlib.Path) -> AsyncIterator[Sandbox]:
    """Run a local A2E for a web application, in the event loop of the test."""
    async with Sandbox(speed=100, render="tiny") as sandbox:
        with pages.working_folder(tmp_path, sandbox):
            yield sandbox


def run_example(patch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    """Run an example with the arguments of its docstring."""
    patch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_first_video(page: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of one video writes a video, and pays for one task and one upload."""
    before = page.coins
    run_example(monkeypatch, "first_video.py", "ada.png")
    assert b"ftyp" in pathlib.Path("ada.mp4").read_bytes()[:12]
    assert before - page.coins == 30 + 1


def test_speaking_avatar(page: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of a speaking avatar pays for a speech and a video, and writes the video."""
    before = len(page.ledger)
    run_example(monkeypatch, "speaking_avatar.py", "Hello!")
    assert b"ftyp" in pathlib.Path("welcome.mp4").read_bytes()[:12]
    assert len(page.ledger) == before + 2


@pytest.mark.usefixtures("page")
def test_cloned_voice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of a cloned voice writes an audio file, and its second run trains no other voice."""
    for _ in range(2):
        run_example(monkeypatch, "cloned_voice.py", "grace.wav", "Hello!")
    assert pathlib.Path("grace.mp3").stat().st_size
    voices = {line for line in capsys.readouterr().out.splitlines() if line.startswith("voice ")}
    assert len(voices) == 1


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("dub_a_video.py", ("video.mp4", "es"), "video.es.mp4"),
        ("remove_captions.py", ("video.mp4",), "video.clean.mp4"),
        ("swap_a_face.py", ("ada.png", "video.mp4"), "video.swapped.mp4"),
    ],
)
def test_converted_video(
    page: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str, arguments: tuple[str, ...], result: str
) -> None:
    """The examples that convert a video write the new video, and start one task."""
    before = len(page.tasks)
    run_example(monkeypatch, name, *arguments)
    assert b"ftyp" in pathlib.Path(result).read_bytes()[:12]
    assert len(page.tasks) == before + 1


@pytest.mark.usefixtures("page")
def test_many_images(capsys: pytest.CaptureFixture[str]) -> None:
    """The example of many images makes a video of each valid image, and reports the invalid one."""
    example = runpy.run_path(str(EXAMPLES / "many_images.py"))
    images = [pathlib.Path(name) for name in ("ada.png", "missing.png", "garden.jpg")]
    assert asyncio.run(example["main"](images)) == 1
    assert pathlib.Path("ada.png.mp4").stat().st_size
    assert pathlib.Path("garden.jpg.mp4").stat().st_size
    assert "missing.png: image 'missing.png' cannot be read" in capsys.readouterr().out


@pytest.mark.realtime("kills a process")
def test_overnight(page: Sandbox) -> None:
    """The overnight example resumes after it was killed, and pays once for each image."""
    folder = pathlib.Path("images")
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:03}.jpg").write_bytes(pathlib.Path("garden.jpg").read_bytes())
    command = [sys.executable, str(EXAMPLES / "overnight.py"), "images"]
    before = len(page.tasks)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as killed:
        while len(page.tasks) < before + 4 and killed.poll() is None:
            time.sleep(0.01)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert second.stdout.count(".mp4") == 12
    assert len(page.tasks) == before + 12
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert third.stdout.count("skipped") == 12
    assert len(list(pathlib.Path("videos").glob("*.mp4"))) == 12


async def test_webhook_aiohttp(service: Sandbox, listener: socket.socket) -> None:
    """The example of webhooks with aiohttp receives the webhook of its video, and downloads the video."""
    app = runpy.run_path(str(EXAMPLES / "webhook_aiohttp.py"))["app"]
    async with TestServer(app, socket_factory=lambda *_: listener):
        await _check_webhook(service)


async def test_webhook_fastapi(service: Sandbox, listener: socket.socket) -> None:
    """The example of webhooks with FastAPI receives the webhook of its video, and downloads the video."""
    app = runpy.run_path(str(EXAMPLES / "webhook_fastapi.py"))["app"]
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await _check_webhook(service)
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Open a local port for the webhooks of the examples."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("WEBHOOK_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/hooks/a2e")
        monkeypatch.setenv("WEBHOOK_TOKEN", "a-fixed-token")
        yield listener


async def _check_webhook(service: Sandbox) -> None:
    """Start a video with an example, and wait for A2E's webhook and for the file."""
    url = os.environ["WEBHOOK_URL"].replace("/hooks/a2e", "/videos")
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        async with http.post(url, data=pathlib.Path("ada.png").read_bytes()) as response:
            assert response.status == 202
            task_id = (await response.json())["id"]
        await wait_until(lambda: any(hook.task_id == task_id for hook in service.webhooks))
        assert [hook.status for hook in service.webhooks if hook.task_id == task_id] == [204]
        await wait_until(pathlib.Path("videos", f"{task_id}.mp4").exists)


def test_orders(page: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of orders starts one video in two runs, although the first response is lost."""
    main = runpy.run_path(str(EXAMPLES / "orders.py"))["main"]
    before = len(page.tasks)
    monkeypatch.setattr(page, "faults", FaultPlan(script={"start": [Fault("drop", after=True)]}))
    assert [main("17", "ada.png") for _ in range(2)] == [0, 0]
    assert b"ftyp" in pathlib.Path("order-17.mp4").read_bytes()[:12]
    assert len(page.tasks) == before + 1
    assert capsys.readouterr().out.count("was found") == 2


def test_orders_with_an_unknown_outcome(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of orders ends with 75 if the outcome of a start is unknown."""
    example = runpy.run_path(str(EXAMPLES / "orders.py"))
    error = a2e_async.SubmissionUncertainError("unknown outcome", marker="7f3k2m9q4d")

    async def uncertain(*_: object) -> None:
        raise error

    monkeypatch.setitem(example["main"].__globals__, "deliver", uncertain)
    assert example["main"]("17", "ada.png") == 75
    assert "unknown outcome" in capsys.readouterr().out

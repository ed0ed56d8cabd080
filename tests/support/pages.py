"""Examples of documentation pages as tests: a local A2E, settings in the environment, media in the folder.

The conftest of a folder with pages needs three lines::

    import pages
    page = pages.page
    pytest_collect_file = pages.collect_examples(pathlib.Path(__file__).parent, "*.md").pytest()
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.resources
import os
import pathlib
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, Literal

import pytest
import quick
from PIL import Image
from shared_loop import sandbox_in_shared_loop
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser
from thread_leaks import leaked_threads

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.media import remux, video
from a2e_async.testing import virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sybil import Example

__all__ = ["background_sandbox", "collect_examples", "page", "sandbox_for", "working_folder"]


def collect_examples(folder: pathlib.Path, *patterns: str, excludes: tuple[str, ...] = ()) -> Sybil:
    """Return a collector of every ``python`` block of the pages below a folder.

    Each block runs alone, in an empty namespace and in a folder that has only the sample files, as when a reader copies
    it. A block with the class ``fragment`` is not meant to be copied: it goes on where the block before it has ended.

    Args:
        folder: The folder of the pages.
        patterns: Patterns of file names, as for `pathlib.PurePath.match`.
        excludes: Patterns of pages to leave out.
    """
    return Sybil(
        parsers=[CodeBlockParser("python", _run), SkipParser()],
        path=str(folder.resolve()),
        patterns=patterns,
        excludes=excludes,
        fixtures=["page"],
    )


def _run(example: Example) -> None:
    if "fragment" not in example.region.lexemes.get("options", {}).get("class", ""):
        example.namespace.clear()
        os.chdir(tempfile.mkdtemp(dir=pathlib.Path.cwd().parent))  # the folder of `page`, or that of the block before
        _put_media(pathlib.Path())
    PythonEvaluator()(example)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Run a local A2E on virtual time, with its URL in the environment, in a folder with media.

    Videos that an example renders itself have two frames a second.
    """
    before = set(threading.enumerate())
    with pytest.MonkeyPatch.context() as patch:
        for module in (video, remux):
            patch.setattr(module, "FRAMES_PER_SECOND", 2)
        folder = tmp_path_factory.mktemp("page")
        with virtual_time(), sandbox_in_shared_loop() as sandbox, working_folder(folder, sandbox):
            yield sandbox
    leaked = leaked_threads(before)
    assert not leaked, leaked


def _put_media(folder: pathlib.Path) -> None:
    """Write small files with the names of the samples that the pages use."""
    Image.new("RGB", (64, 64), "teal").save(folder / "ada.png")
    Image.new("RGB", (96, 64), "olive").save(folder / "garden.jpg")
    tiny = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4")
    (folder / "video.mp4").write_bytes(tiny.read_bytes())
    (folder / "grace.wav").write_bytes(quick.silent_wav(30))


@contextlib.contextmanager
def working_folder(folder: pathlib.Path, sandbox: Sandbox) -> Iterator[None]:
    """Change to a folder with some media, with URL and token of a local A2E in the environment."""
    _put_media(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("A2E_API_KEY", raising=False)
        patch.setenv("A2E_BASE_URL", sandbox.url)
        patch.setenv("A2E_API_TOKEN", sandbox.token)
        yield


@contextlib.contextmanager
def background_sandbox(*, render: Literal["video", "tiny"] = "tiny", speed: float = 100) -> Iterator[Sandbox]:
    """Run a local A2E in a thread of its own, on real time."""
    started: concurrent.futures.Future[tuple[Sandbox, asyncio.AbstractEventLoop, asyncio.Event]]
    started = concurrent.futures.Future()

    async def serve() -> None:
        async with Sandbox(speed=speed, render=render) as sandbox:
            stop = asyncio.Event()
            started.set_result((sandbox, asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="background-sandbox")
    thread.start()
    try:
        sandbox, loop, stop = started.result()
        _LOOPS[sandbox] = loop
        try:
            yield sandbox
        finally:
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()


_LOOPS: weakref.WeakKeyDictionary[Sandbox, asyncio.AbstractEventLoop] = weakref.WeakKeyDictionary()


def finish_in_background(sandbox: Sandbox, task_id: str) -> None:
    """Let a task of a `background_sandbox` succeed: `Sandbox.finish` has to be called in its event loop."""
    _LOOPS[sandbox].call_soon_threadsafe(sandbox.finish, task_id)


@contextlib.contextmanager
def sandbox_for(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a local A2E for a test of a command: in the shared loop, or in a thread if the test needs real time."""
    is_real = any(map(request.node.get_closest_marker, ("realtime", "process")))
    with background_sandbox() if is_real else sandbox_in_shared_loop() as sandbox:
        yield sandbox

"""Runs the examples of a page as a reader would: a local A2E, settings in the environment, media in the folder.

The conftest of a folder with pages needs three lines::

    import pages
    page = pages.page
    pytest_collect_file = pages.examples(pathlib.Path(__file__).parent, "*.md").pytest()
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.resources
import threading
import wave
from typing import TYPE_CHECKING

import pytest
from leftovers import threads_left
from one_loop import sandbox_in_one_loop
from PIL import Image
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

from a2e_async.sandbox import Sandbox
from a2e_async.testing import virtual_time

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

__all__ = ["at_work", "background_sandbox", "examples", "page", "sandbox_for"]


def examples(folder: pathlib.Path, *patterns: str, excludes: tuple[str, ...] = ()) -> Sybil:
    """Return what collects every ``python`` block of the pages below a folder.

    The blocks of a page run in their order and share one namespace; all of them get the fixture `page`.

    Args:
        folder: Where the pages are.
        patterns: Names of pages, as for `pathlib.PurePath.match`.
        excludes: Names of pages to leave out.
    """
    return Sybil(
        parsers=[PythonCodeBlockParser(), SkipParser()],
        path=str(folder.resolve()),
        patterns=patterns,
        excludes=excludes,
        fixtures=["page"],
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Give the blocks of a page a local A2E on virtual time, its address in the environment, and a folder with media."""
    before = set(threading.enumerate())
    with virtual_time(), sandbox_in_one_loop() as sandbox, at_work(tmp_path_factory.mktemp("page"), sandbox):
        yield sandbox
    left = threads_left(before)
    assert not left, left


@contextlib.contextmanager
def at_work(folder: pathlib.Path, sandbox: Sandbox) -> Iterator[None]:
    """Work in a folder, which gets some media, with the address and the token of a local A2E in the environment."""
    Image.new("RGB", (64, 64), "teal").save(folder / "ada.png")
    Image.new("RGB", (96, 64), "olive").save(folder / "garden.jpg")
    video = importlib.resources.files("a2e_async.sandbox").joinpath("tiny.mp4")
    (folder / "film.mp4").write_bytes(video.read_bytes())
    write_sound(folder / "grace.wav", seconds=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("A2E_API_KEY", raising=False)
        patch.setenv("A2E_BASE_URL", sandbox.url)
        patch.setenv("A2E_API_TOKEN", sandbox.token)
        yield


def write_sound(path: pathlib.Path, *, seconds: int) -> None:
    """Write a silent WAV file."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 8000 * seconds)


@contextlib.contextmanager
def background_sandbox() -> Iterator[Sandbox]:
    """Run a local A2E in a thread of its own, so that examples can use `asyncio.run` in theirs."""
    started: concurrent.futures.Future[tuple[Sandbox, asyncio.AbstractEventLoop, asyncio.Event]]
    started = concurrent.futures.Future()

    async def serve() -> None:
        async with Sandbox(speed=100, render="tiny") as sandbox:
            stop = asyncio.Event()
            started.set_result((sandbox, asyncio.get_running_loop(), stop))
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=work, name="sandbox-of-a-page")
    thread.start()
    try:
        sandbox, loop, stop = started.result()
        try:
            yield sandbox
        finally:
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()


@contextlib.contextmanager
def sandbox_for(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a local A2E for a test of the command line: in its loop, or in a thread if the test needs real time."""
    is_real = request.node.get_closest_marker("realtime") is not None
    with background_sandbox() if is_real else sandbox_in_one_loop() as sandbox:
        yield sandbox

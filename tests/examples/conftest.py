"""A local A2E for the example applications, in the event loop of the test or in a thread, with a folder of media."""

from __future__ import annotations

import importlib.resources
import pathlib
from typing import TYPE_CHECKING

import pages
import pytest

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

VIDEO = importlib.resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()


@pytest.fixture
async def service(no_leaked_tasks: None, tmp_path: pathlib.Path) -> AsyncIterator[Sandbox]:
    """Run a local A2E in the event loop of the test."""
    async with Sandbox(speed=100, render="tiny") as sandbox:
        with pages.working_folder(tmp_path, sandbox):
            yield sandbox


@pytest.fixture
def local(tmp_path: pathlib.Path) -> Iterator[Sandbox]:
    """Run a local A2E in a thread, for programs."""
    with pages.background_sandbox() as sandbox, pages.working_folder(tmp_path, sandbox):
        yield sandbox


@pytest.fixture
def video() -> bytes:
    """Return the bytes of every video of the local A2E."""
    return VIDEO

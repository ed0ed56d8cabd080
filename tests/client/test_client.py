"""The client as an object: its resources are plain attributes, mocks know them, and nothing is imported late."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest

from a2e_async import A2EClient, ConfigurationError
from a2e_async.resources.base import Resource

RESOURCES = [name for name, value in vars(A2EClient).items() if isinstance(value, Resource)]


def test_resources_are_plain_attributes() -> None:
    """Every resource is made with the client, of the class that the annotation states, and belongs to this client."""
    first, second = A2EClient("sk_test"), A2EClient("sk_test")
    assert list(A2EClient.__annotations__) == RESOURCES
    for name in RESOURCES:
        assert type(vars(first)[name]) is inspect.get_annotations(A2EClient, eval_str=True)[name]
        assert vars(first)[name] is not vars(second)[name]


async def test_resource_of_the_class_asks_for_a_client() -> None:
    """A resource that is used without a client says how to make one."""
    with pytest.raises(ConfigurationError, match=r"A2EClient\(\)"):
        await A2EClient.image_to_video.get("67d29023dd27a536fdf6e809")


@pytest.mark.parametrize("instance", [False, True])
async def test_mock_of_the_client(*, instance: bool) -> None:
    """`create_autospec` knows the resources, their methods and the options, and rejects all others."""
    mock: Any = create_autospec(A2EClient, instance=instance)
    a2e = mock if instance else mock("sk_test")
    assert all(isinstance(getattr(a2e, name), type(getattr(A2EClient, name))) for name in RESOURCES)
    assert isinstance(a2e.image_to_video.start, AsyncMock)
    a2e.image_to_video.start.return_value = "handle"
    assert await a2e.image_to_video.start(image="ada.png", prompt="p", negative_prompt="n") == "handle"
    a2e.image_to_video.start.assert_awaited_once()
    with pytest.raises(TypeError):
        await a2e.image_to_video.start(images="ada.png")
    with pytest.raises(AttributeError):
        _ = a2e.image_to_video.stop
    with pytest.raises(AttributeError):
        _ = a2e.videos
    await a2e.face_swap.images.delete("id")


DEBUG = {"PYTHONDEVMODE", "PYTHONASYNCIODEBUG"}

_FIRST_USE = """
import asyncio, sys, threading
from a2e_async import A2EClient
from a2e_async.sandbox import Sandbox

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
box = Sandbox(render="tiny", speed=50)
asyncio.run_coroutine_threadsafe(box.start(), loop).result()

found = []

def note(event, args):
    if event in ("import", "open") and threading.current_thread() is threading.main_thread():
        found.append((event, args[0]))

async def main():
    a2e = A2EClient(box.token, base_url=box.url)
    sys.addaudithook(note)
    async with a2e:
        task = await a2e.image_to_video.start(image_url="https://example.com/a.png", prompt="#fast", negative_prompt="x")
        await task.wait_until_done(timeout=30)
        await a2e.voices.public(country="en", region="US")
        await a2e.account.balance()
        a2e.family("talkingPhoto")
    print(found)

asyncio.run(main())
"""


def test_nothing_is_imported_or_read_in_the_event_loop() -> None:
    """The first start, wait and list of a process import no module and open no file: that would stall the loop."""
    # in debug mode asyncio itself reads source files, for its tracebacks
    environment = {name: value for name, value in os.environ.items() if name not in DEBUG}
    command = [sys.executable, "-c", _FIRST_USE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.stdout == "[]\n", done.stderr

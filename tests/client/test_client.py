"""The client as an object: its resources are plain attributes, mocks know them, and nothing is imported late."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest
import quick

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
import asyncio, inspect, logging, sys, tempfile, threading, warnings
from a2e_async import A2EClient, A2EError
from a2e_async.resources.base import Resource
from a2e_async.sandbox import Sandbox

warnings.simplefilter("ignore")  # of operations that A2E has not published
logging.getLogger("a2e_async").setLevel(logging.CRITICAL)
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
box = Sandbox(render="tiny", speed=50)
asyncio.run_coroutine_threadsafe(box.start(), loop).result()
folder = tempfile.mkdtemp()
open(f"{folder}/ada.png", "wb").write(bytes.fromhex(sys.argv[1]))

found, skipped = [], []

def note(event, args):
    if event in ("import", "open") and threading.current_thread() is threading.main_thread():
        found.append((event, args[0]))

def argument(name, hint):
    if "url" in name or name in ("image", "video", "audio", "source", "face", "person", "reference_image"):
        return "https://example.com/ada.png"
    if "Iterable" in hint or "list[" in hint or "Sequence" in hint:
        return ["67d29023dd27a536fdf6e809"]
    for kind, value in (("bool", True), ("int", 5), ("float", 5.0), ("Literal", None), ("dict", {}), ("Mapping", {})):
        if kind in hint and "str" not in hint:
            return value
    return "67d29023dd27a536fdf6e809"

async def call(method):
    parameters = inspect.signature(method).parameters.values()
    links = ("image_url", "video_url", "audio_url", "source_url", "tts_id", "anchor_id")
    given = [each for each in parameters if each.default is each.empty and each.kind not in (2, 4)]
    needed = given + [each for each in parameters if each.name in links and each not in given]
    values = {each.name: argument(each.name, str(each.annotation)) for each in needed}
    try:
        async with asyncio.timeout(1):
            made = method(**values)
            if inspect.isawaitable(made):
                await made
            elif hasattr(made, "__aiter__"):
                async for _ in made:
                    break
            elif hasattr(made, "__aenter__"):
                async with made:
                    pass
    except (A2EError, TimeoutError):  # the ids are invented
        pass
    except (TypeError, ValueError):
        skipped.append(method.__qualname__)

async def main():
    a2e = A2EClient(box.token, base_url=box.url)
    resources = [each for each in vars(a2e).values() if isinstance(each, Resource)]
    methods = [getattr(each, name) for each in resources for name in dir(each) if not name.startswith("_")]
    sys.addaudithook(note)
    async with a2e:
        for resource in (a2e.voices, a2e.family("talkingPhoto")):  # a wait of a task that this process has not started
            try:
                await resource.task("67d29023dd27a536fdf6e809").wait_until_done(timeout=1)
            except A2EError:
                pass
        image = f"{folder}/ada.png"
        task = await a2e.image_to_video.start(image=image, prompt="#fast", negative_prompt="x")
        await task.wait_until_done(timeout=30)
        await task.download(f"{folder}/ada.mp4")
        jobs = [{"key": "k", "image": image, "prompt": "#fast", "negative_prompt": "x"}]
        async for result in a2e.image_to_video.batch(jobs, journal=f"{folder}/j.sqlite", out=f"{folder}/out"):
            assert result.ok, result.error
        family = a2e.family("talkingPhoto")
        methods += [getattr(family, name) for name in dir(family) if not name.startswith("_")]
        before = len(box.requests)
        for method in methods:
            if callable(method) and method.__name__ != "wait_all":
                await call(method)
    print(found)
    print(len(methods), len(box.requests) - before, skipped)

asyncio.run(main())
"""


@pytest.mark.process("imports of a new interpreter")
def test_nothing_is_imported_or_read_in_the_event_loop() -> None:
    """No method of any resource imports a module or opens a file in the event loop: that would stall it."""
    # in debug mode asyncio itself reads source files, for its tracebacks
    environment = {name: value for name, value in os.environ.items() if name not in DEBUG}
    command = [sys.executable, "-c", _FIRST_USE, quick.PNG.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110, env=environment)
    found, _, counts = done.stdout.partition("\n")
    assert found == "[]", done.stdout + done.stderr
    methods, requests, skipped = counts.split(maxsplit=2)
    assert int(methods) > 80
    assert int(requests) > 80, counts
    assert skipped.count("'") <= 8, skipped  # methods that take something else

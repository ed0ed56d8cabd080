"""Paid starts against a sandbox: how they are begun, and what A2E and the log say about them afterwards."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

import attrs
import quick
from aiohttp import web

from a2e_async import A2EClient
from a2e_async.sandbox import Weather

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from a2e_async import TaskHandle
    from a2e_async.models import ImageToVideoRecord
    from a2e_async.sandbox import Fault, Sandbox

LINK = "https://example.com/private/ada.png"
PROMPT = "a private prompt"
LIST = f"{quick.FAMILY}/allRecords"
PRESIGN = "/api/v1/r2/upload-presigned-url"

_TAG = re.compile(r"\[a2e:([0-9a-z]{10})(?:\*\d)?\]$")


def client(sandbox: Sandbox, **changes: Any) -> A2EClient:
    """Make a quick client of a sandbox; `changes` are fields of `Config`."""
    return A2EClient(sandbox.token, base_url=sandbox.url, config=attrs.evolve(quick.CONFIG, **changes))


def meets(*faults: Fault | None, **options: Any) -> Weather:
    """Make weather in which the starts meet these faults, one after the other."""
    return Weather(script={"start": faults}, **options)


async def buy(a2e: A2EClient, **options: Any) -> TaskHandle[ImageToVideoRecord]:
    """Start a video."""
    settings = {"prompt": PROMPT, "negative_prompt": "blurry"} | options
    if "image" not in settings:
        settings["image_url"] = LINK
    return await a2e.image_to_video.start(**settings)


async def begun(sandbox: Sandbox, a2e: A2EClient, **options: Any) -> asyncio.Task[TaskHandle[ImageToVideoRecord]]:
    """Start a video in the background; return once A2E has charged it."""
    before = len(sandbox.ledger)
    start = asyncio.create_task(buy(a2e, **options))
    await until(lambda: len(sandbox.ledger) > before)
    return start


async def until(true: Callable[[], object]) -> None:
    """Wait for something that the sandbox tells nobody of."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


def charged(sandbox: Sandbox) -> list[str]:
    """List the ids of the tasks that were paid for and not given back, the oldest first."""
    return [task.id for task in sandbox.tasks.values() if task.charged]


def starts(sandbox: Sandbox) -> int:
    """Count the starts that reached A2E, whether or not they were answered."""
    return seen(sandbox, quick.START)


def looks(sandbox: Sandbox) -> int:
    """Count the pages of A2E's list that were read."""
    return seen(sandbox, LIST)


def seen(sandbox: Sandbox, path: str) -> int:
    """Count the requests of a path."""
    return sum(request.path == path for request in sandbox.requests)


def marker_of(name: str) -> str:
    """Return the marker at the end of a name."""
    tag = _TAG.search(name)
    assert tag is not None, name
    return tag[1]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """List what the client has warned of."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "a2e_async" and record.levelno >= logging.WARNING
    ]


def assert_discreet(sandbox: Sandbox, text: str) -> None:
    """Fail if a text holds the token, the prompt or the link."""
    for secret in (sandbox.token, PROMPT, LINK, "example.com"):
        assert secret not in text


class EmptyAtFirst:
    """Shows an empty list a number of times, then lets the sandbox speak."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, request: web.Request) -> web.Response | None:
        """Answer a question for the list."""
        if self.left == 0 or request.path != LIST:
            return None
        self.left -= 1
        return web.json_response({"code": 0, "data": {"rows": [], "count": 0}})

"""Starts of videos against a sandbox, and checks of what A2E charged and what the client logged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING, Any

import attrs
import quick
from aiohttp import web
from conditions import wait_until

from a2e_async import A2EClient
from a2e_async.sandbox import FaultPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from a2e_async import TaskHandle
    from a2e_async.models import ImageToVideoRecord
    from a2e_async.sandbox import Fault, Sandbox

IMAGE_URL = "https://example.com/private/ada.png"
PROMPT = "a private prompt"
LIST_PATH = f"{quick.FAMILY_PATH}/allRecords"
PRESIGN_PATH = "/api/v1/r2/upload-presigned-url"

_MARKER = re.compile(r"\[a2e:([0-9a-z]{10})(?:\*\d)?\]")


def make_client(sandbox: Sandbox, **changes: Any) -> A2EClient:
    """Make a client of a sandbox with short intervals; `changes` are fields of `Config`."""
    return A2EClient(sandbox.token, base_url=sandbox.url, config=attrs.evolve(quick.CONFIG, **changes))


def faults_on_start(*faults: Fault | None, **options: Any) -> FaultPlan:
    """Make a fault plan with one fault for each start, in this order."""
    return FaultPlan(script={"start": faults}, **options)


async def start_video(a2e: A2EClient, **options: Any) -> TaskHandle[ImageToVideoRecord]:
    """Start a video."""
    settings = {"prompt": PROMPT, "negative_prompt": "blurry"} | options
    if "image" not in settings:
        settings["image_url"] = IMAGE_URL
    return await a2e.image_to_video.start(**settings)


async def start_in_background(
    sandbox: Sandbox, a2e: A2EClient, **options: Any
) -> asyncio.Task[TaskHandle[ImageToVideoRecord]]:
    """Start a video in the background; return once A2E has charged it."""
    before = len(sandbox.ledger)
    start = asyncio.create_task(start_video(a2e, **options))
    await wait_until(lambda: len(sandbox.ledger) > before)
    return start


def charged_task_ids(sandbox: Sandbox) -> list[str]:
    """List the ids of the tasks that were charged and not refunded, the oldest first."""
    return [task.id for task in sandbox.tasks.values() if task.charged]


def count_starts(sandbox: Sandbox) -> int:
    """Count the starts that reached A2E, with or without a response."""
    return count_requests(sandbox, quick.START_PATH)


def count_list_requests(sandbox: Sandbox) -> int:
    """Count the requests for a page of A2E's list."""
    return count_requests(sandbox, LIST_PATH)


def count_requests(sandbox: Sandbox, path: str | None = None, *, method: str | None = None) -> int:
    """Count the requests of a path, of a method, or of both."""
    return sum(path in {None, seen.path} and method in {None, seen.method} for seen in sandbox.requests)


@contextlib.contextmanager
def recorded_bodies(sandbox: Sandbox, path: str) -> Iterator[list[dict[str, Any]]]:
    """Record the JSON bodies of the POST requests of a path, and leave the responses to the sandbox."""
    bodies: list[dict[str, Any]] = []

    async def record(request: web.Request) -> None:
        bodies.append(await request.json())

    with sandbox.override("POST", path, record):
        yield bodies


def marker_in(name: str) -> str:
    """Return the marker in a name."""
    tag = _MARKER.search(name)
    assert tag is not None, name
    return tag[1]


def logged_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """List the warnings and errors that the client has logged."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "a2e_async" and record.levelno >= logging.WARNING
    ]


def assert_no_secrets(sandbox: Sandbox, text: str) -> None:
    """Fail if a text holds the token, the prompt or the URL of the image."""
    for secret in (sandbox.token, PROMPT, IMAGE_URL, "example.com"):
        assert secret not in text


class EmptyListFirst:
    """Override that returns an empty list for the first requests, and leaves the others to the sandbox."""

    def __init__(self, count: int) -> None:
        self._remaining = count

    def __call__(self, request: web.Request) -> web.Response | None:
        """Return an empty page, or None."""
        if self._remaining == 0 or request.path != LIST_PATH:
            return None
        self._remaining -= 1
        return web.json_response({"code": 0, "data": {"rows": [], "count": 0}})

"""The example applications of docs/examples, loaded as programs, and what a visitor sees of each of them."""

from __future__ import annotations

import asyncio
import json
import pathlib
import runpy
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox

__all__ = ["EXAMPLES", "UNKNOWN", "charges", "check_errors", "check_video", "load", "read_events", "upload"]

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"

UNKNOWN = "6927f1e7a1c5e4e0b5f0a3d2"


def load(name: str) -> dict[str, Any]:
    """Run a module of an example, as after a start of its server, and return its names."""
    return runpy.run_path(str(EXAMPLES / name))


def charges(sandbox: Sandbox) -> list[tuple[str, int]]:
    """Return the task and the coins of every charge."""
    return [(entry.task_id or "", -entry.coins) for entry in sandbox.ledger if entry.task_id and entry.coins]


async def upload(http: aiohttp.ClientSession, url: str, prompt: str, key: str = "") -> tuple[int, dict[str, Any]]:
    """Upload an image as the form of a browser does; return the status and the body."""
    form = aiohttp.FormData()
    form.add_field("image", pathlib.Path("ada.png").read_bytes(), filename="ada.png", content_type="image/png")
    form.add_field("prompt", prompt)
    headers = {"Idempotency-Key": key} if key else {}
    async with http.post(f"{url}/videos", data=form, headers=headers) as response:
        return response.status, await response.json()


async def read_events(http: aiohttp.ClientSession, url: str, on_first: Callable[[], object]) -> list[dict[str, Any]]:
    """Read the live events of a video to their end; call a function after the first one."""
    events: list[dict[str, Any]] = []
    async with http.get(f"{url}/events") as response, asyncio.timeout(30):
        assert response.headers["Content-Type"].startswith("text/event-stream")
        async for line in response.content:
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))
                if len(events) == 1:
                    on_first()
    async with http.get(f"{url}/events", headers={"Last-Event-ID": f"{events[-1]['id']} final"}) as response:
        assert response.status == 204  # else the browser would connect again
    return events


async def check_video(http: aiohttp.ClientSession, url: str, expected: bytes) -> None:
    """Check that the whole video and a range of it are served, byte for byte."""
    async with http.get(f"{url}/video") as response:
        assert (response.status, response.content_type) == (200, "video/mp4")
        assert await response.read() == expected
    async with http.get(f"{url}/video", headers={"Range": "bytes=100-299"}) as response:
        assert (response.status, await response.read()) == (206, expected[100:300])
        assert response.headers["Content-Range"] == f"bytes 100-299/{len(expected)}"


async def check_errors(http: aiohttp.ClientSession, url: str) -> None:
    """Check that errors are responses: an unknown video, and a file that is not an image."""
    for path in ("", "/video"):
        async with http.get(f"{url}/videos/{UNKNOWN}{path}") as response:
            assert (response.status, (await response.json())["error"]) == (404, "NotFoundError")
    async with http.get(f"{url}/videos/..%2Fapp.py/video") as response:
        assert response.status in {404, 422}
    form = aiohttp.FormData({"prompt": "she smiles"})
    form.add_field("image", b"no image", filename="ada.png")
    async with http.post(f"{url}/videos", data=form) as response:
        assert (response.status, (await response.json())["error"]) == (422, "InvalidRequestError")

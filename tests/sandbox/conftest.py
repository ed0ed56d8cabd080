"""Fixtures of the sandbox's tests: sandboxes, a plain HTTP client (not ours), and a server of inputs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image, ImageDraw
from sandbox_requests import Response, wait_for_end

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.media import remux, video

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from sandbox_requests import Call, FinishedTask, ServeInput, Start

    from a2e_async.sandbox.state import Task

START = "/api/v1/userImage2Video/start"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain client session."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A fast sandbox with tiny videos."""
    async with Sandbox(speed=400, render="tiny", seed=7) as sandbox:
        yield sandbox


@pytest.fixture
async def frozen_sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox in which every task stays initialized."""
    async with Sandbox(speed=0.001, render="tiny", coins=100) as sandbox:
        yield sandbox


@pytest.fixture
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render two frames a second, a twelfth of the usual number."""
    for module in (video, remux):
        monkeypatch.setattr(module, "FRAMES_PER_SECOND", 2)


@pytest.fixture
async def rendering(few_frames: None) -> AsyncIterator[Sandbox]:
    """A fast sandbox that renders, with few frames."""
    async with Sandbox(speed=1000) as sandbox:
        yield sandbox


@pytest.fixture
def call(session: aiohttp.ClientSession) -> Call:
    """Return a function that sends a request, by default with the sandbox's token."""

    async def send(
        sandbox: Sandbox,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: object = None,
    ) -> Response:
        on_api = path.startswith("/api")
        headers = dict(headers or {})
        if on_api and token != "":
            headers["Authorization"] = f"Bearer {token or sandbox.token}"
        url = sandbox.url + path if path.startswith("/") else path
        async with session.request(
            method, url, json=body, data=data, headers=headers, allow_redirects=False
        ) as response:
            return Response(response.status, response.headers, await response.read())

    return send


@pytest.fixture
def start(call: Call) -> Start:
    """Return a function that starts a video; a field that is `None` is left out."""

    async def begin(sandbox: Sandbox, prompt: str | None = "she smiles", **fields: object) -> Response:
        body = {"name": "Ada", "image_url": "https://example.com/a.png", "negative_prompt": "blurry", "prompt": prompt}
        return await call(sandbox, "POST", START, {k: v for k, v in (body | fields).items() if v is not None})

    return begin


@pytest.fixture
def finished_task(start: Start) -> FinishedTask:
    """Return a function that starts a video, waits for its end, and returns the task."""

    async def begin_and_wait(sandbox: Sandbox, prompt: str = "she smiles", **fields: object) -> Task:
        return await wait_for_end(sandbox.tasks[(await start(sandbox, prompt, **fields)).data["_id"]])

    return begin_and_wait


@pytest.fixture
def image() -> bytes:
    """A landscape image with some shapes, as PNG."""
    image = Image.radial_gradient("L").resize((960, 600))
    image = Image.merge("RGB", (image, image.rotate(180), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    ImageDraw.Draw(image).rectangle((150, 100, 350, 400), fill=(250, 200, 40), outline=(0, 0, 0), width=8)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def serve_input() -> AsyncIterator[ServeInput]:
    """Return a function that serves a response as an input, and returns its URL."""
    responses: list[Callable[[], web.Response]] = []

    async def respond(request: web.Request) -> web.Response:
        return responses[int(request.match_info["number"])]()

    application = web.Application()
    application.router.add_get("/{number}", respond)
    async with TestServer(application) as server:

        def serve(body: bytes = b"", content_type: str = "image/png", status: int = 200, **headers: str) -> str:
            responses.append(
                lambda: web.Response(body=body, status=status, headers={"Content-Type": content_type} | headers)
            )
            return str(server.make_url(f"/{len(responses) - 1}"))

        yield serve

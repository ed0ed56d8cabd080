"""What the sandbox's tests share: a sandbox, a plain HTTP caller (never our client), and a host of pictures."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image, ImageDraw
from sandbox_calls import Answer

from a2e_async.sandbox import Sandbox, remix, render

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from sandbox_calls import Call, Finished, Host, Start

    from a2e_async.sandbox.state import Task

START = "/api/v1/userImage2Video/start"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain session."""
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
    """Let films have two frames a second, which are rendered in a twelfth of the time."""
    for module in (render, remix):
        monkeypatch.setattr(module, "FRAMES_PER_SECOND", 2)


@pytest.fixture
async def rendering(few_frames: None) -> AsyncIterator[Sandbox]:
    """A fast sandbox that renders, with few frames."""
    async with Sandbox(speed=1000) as sandbox:
        yield sandbox


@pytest.fixture
def call(session: aiohttp.ClientSession) -> Call:
    """Ask a sandbox: by default with its token, and with a path of its own or a whole URL."""

    async def ask(
        sandbox: Sandbox,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: object = None,
    ) -> Answer:
        on_api = path.startswith("/api")
        headers = dict(headers or {})
        if on_api and token != "":
            headers["Authorization"] = f"Bearer {token or sandbox.token}"
        url = sandbox.url + path if path.startswith("/") else path
        async with session.request(method, url, json=body, data=data, headers=headers, allow_redirects=False) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    return ask


@pytest.fixture
def start(call: Call) -> Start:
    """Start a video; a field that is `None` is left out."""

    async def begin(sandbox: Sandbox, prompt: str | None = "she smiles", **fields: object) -> Answer:
        body = {"name": "Ada", "image_url": "https://example.com/a.png", "negative_prompt": "blurry", "prompt": prompt}
        return await call(sandbox, "POST", START, {k: v for k, v in (body | fields).items() if v is not None})

    return begin


@pytest.fixture
def finished(start: Start) -> Finished:
    """Start a video and wait for its end; return the task."""

    async def begin_and_wait(sandbox: Sandbox, prompt: str = "she smiles", **fields: object) -> Task:
        task = sandbox.tasks[(await start(sandbox, prompt, **fields)).data["_id"]]
        async with asyncio.timeout(60):
            while not task.done:
                await asyncio.sleep(0.005)
        return task

    return begin_and_wait


@pytest.fixture
def picture() -> bytes:
    """A landscape picture with something to see, as PNG."""
    image = Image.radial_gradient("L").resize((960, 600))
    image = Image.merge("RGB", (image, image.rotate(180), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    ImageDraw.Draw(image).rectangle((150, 100, 350, 400), fill=(250, 200, 40), outline=(0, 0, 0), width=8)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """A server of inputs: tell it what to answer, get the URL."""
    answers: list[Callable[[], web.Response]] = []

    async def show(request: web.Request) -> web.Response:
        return answers[int(request.match_info["number"])]()

    application = web.Application()
    application.router.add_get("/{number}", show)
    async with TestServer(application) as server:

        def serve(body: bytes = b"", content_type: str = "image/png", status: int = 200, **headers: str) -> str:
            answers.append(
                lambda: web.Response(body=body, status=status, headers={"Content-Type": content_type} | headers)
            )
            return str(server.make_url(f"/{len(answers) - 1}"))

        yield serve

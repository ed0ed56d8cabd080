"""A web service with webhooks of A2E for finished videos: ``python webhook_aiohttp.py``, see the page "Webhooks"."""

from __future__ import annotations

import asyncio
import os
import pathlib
from typing import TYPE_CHECKING

from aiohttp import web

from a2e_async import A2EClient, A2EError, WebhookReceiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async import ImageToVideoRecord, TaskHandle

VIDEOS = pathlib.Path("videos")
A2E = web.AppKey("a2e", A2EClient)
RECEIVER = web.AppKey("receiver", WebhookReceiver)
WAITS = web.AppKey("waits", set[asyncio.Task[None]])


async def start(request: web.Request) -> web.Response:
    """Start a video of the image in the body, and download it in the background."""
    task = await request.app[A2E].image_to_video.start(
        image=await request.read(),
        prompt=request.query.get("prompt", "slow zoom in"),
        negative_prompt="blurry, distorted",
        webhook=request.app[RECEIVER],
    )
    waits = request.app[WAITS]
    wait = asyncio.create_task(download(task, request.app))
    waits.add(wait)
    wait.add_done_callback(waits.discard)
    return web.json_response({"id": task.id}, status=202)


async def download(task: TaskHandle[ImageToVideoRecord], app: web.Application) -> None:
    """Wait for a video and download it; the webhook shortens the wait."""
    try:
        await task.wait_until_done()
        await task.download(VIDEOS / f"{task.id}.mp4")
    except A2EError:
        app.logger.exception("No video of task %s", task.id)


async def client(app: web.Application) -> AsyncIterator[None]:
    """Open the client when the server starts, and close it when the server stops. Tasks continue at A2E."""
    async with app[A2E]:
        yield
        waits = app[WAITS]
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def make_app() -> web.Application:
    """Return the application."""
    a2e = A2EClient()
    receiver = WebhookReceiver(
        a2e,
        url=os.environ["WEBHOOK_URL"],  # https://my.site/hooks/a2e
        token=os.environ["WEBHOOK_TOKEN"],
    )
    app = web.Application(client_max_size=20 * 1024 * 1024)
    app[A2E], app[RECEIVER] = a2e, receiver
    app[WAITS] = set()
    app.cleanup_ctx.append(client)
    app.add_routes([web.post("/videos", start), *receiver.routes("/hooks/a2e")])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8081)

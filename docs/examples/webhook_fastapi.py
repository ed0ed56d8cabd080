"""A FastAPI service with webhooks of A2E for finished videos: ``python webhook_fastapi.py``, see "Webhooks"."""

import asyncio
import logging
import os
import pathlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, TaskHandle, WebhookReceiver

VIDEOS = pathlib.Path("videos")
LOGGER = logging.getLogger(__name__)


async def download(task: TaskHandle[ImageToVideoRecord]) -> None:
    """Wait for a video and download it; the webhook shortens the wait."""
    try:
        await task.wait_until_done()
        await task.download(VIDEOS / f"{task.id}.mp4")
    except A2EError:
        LOGGER.exception("No video of task %s", task.id)


def make_app() -> FastAPI:
    """Return the application."""
    a2e = A2EClient()
    receiver = WebhookReceiver(
        a2e,
        url=os.environ["WEBHOOK_URL"],  # https://my.site/hooks/a2e
        token=os.environ["WEBHOOK_TOKEN"],
    )
    waits: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Open the client when the server starts, and close it when the server stops. Tasks continue at A2E."""
        async with a2e:
            yield
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    app = FastAPI(lifespan=lifespan)
    app.add_route("/hooks/a2e", receiver.asgi, methods=["POST"])

    @app.post("/videos", status_code=202)
    async def start(request: Request, prompt: str = "slow zoom in") -> dict[str, str]:
        """Start a video of the image in the body, and download it in the background."""
        task = await a2e.image_to_video.start(
            image=await request.body(),
            prompt=prompt,
            negative_prompt="blurry, distorted",
            webhook=receiver,
        )
        wait = asyncio.create_task(download(task))
        waits.add(wait)
        wait.add_done_callback(waits.discard)
        return {"id": task.id}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(), host="127.0.0.1", port=8081)

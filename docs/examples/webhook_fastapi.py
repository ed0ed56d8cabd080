"""A FastAPI service that hears from A2E when a video is done: ``python webhook_fastapi.py``, see page "Webhooks"."""

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


async def fetch(task: TaskHandle[ImageToVideoRecord]) -> None:
    """Wait for a video and download it; the webhook ends the wait."""
    try:
        await task.wait_until_done()
        await task.download(VIDEOS / f"{task.id}.mp4")
    except A2EError:
        LOGGER.exception("There is no video of task %s", task.id)


def make_app() -> FastAPI:
    """Put the service together."""
    a2e = A2EClient()
    receiver = WebhookReceiver(
        a2e,
        url=os.environ["WEBHOOK_URL"],  # https://my.site/hooks/a2e
        token=os.environ["WEBHOOK_TOKEN"],
    )
    waits: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Open the client when the server starts; when it stops, leave the tasks to A2E and close it."""
        async with a2e:
            yield
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    app = FastAPI(lifespan=lifespan)
    app.add_route("/hooks/a2e", receiver.asgi, methods=["POST"])

    @app.post("/videos", status_code=202)
    async def start(request: Request, prompt: str = "slow zoom in") -> dict[str, str]:
        """Start a video of the image in the body, and have it fetched when it is done."""
        task = await a2e.image_to_video.start(
            image=await request.body(),
            prompt=prompt,
            negative_prompt="blurry, distorted",
            webhook=receiver,
        )
        wait = asyncio.create_task(fetch(task))
        waits.add(wait)
        wait.add_done_callback(waits.discard)
        return {"id": task.id}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(), host="127.0.0.1", port=8081)

"""A FastAPI service with webhooks of A2E for finished videos: ``python webhook_fastapi.py``, see "Webhooks"."""

import logging
import os
import pathlib

import uvicorn
from fastapi import FastAPI, Request

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, TaskHandle, WebhookReceiver
from a2e_async.integrations import Supervisor
from a2e_async.integrations.fastapi import a2e_lifespan, add_error_handler

VIDEOS = pathlib.Path("videos")
LOGGER = logging.getLogger(__name__)


async def save(task: TaskHandle[ImageToVideoRecord]) -> None:
    """Download a finished video."""
    await task.download(VIDEOS / f"{task.id}.mp4", if_exists="overwrite")


async def fail(task: TaskHandle[ImageToVideoRecord], error: A2EError) -> None:
    """Log a failed video."""
    LOGGER.error("No video of task %s: %s", task.id, error)


a2e = A2EClient()
supervisor = Supervisor(a2e.image_to_video, on_success=save, on_failure=fail, on_gone=fail)
receiver = WebhookReceiver(
    a2e,
    url=os.environ["WEBHOOK_URL"],  # https://my.site/hooks/a2e
    token=os.environ["WEBHOOK_TOKEN"],
)
app = FastAPI(lifespan=a2e_lifespan(a2e, supervisor))
add_error_handler(app)
app.add_route("/hooks/a2e", receiver.asgi, methods=["POST"])


@app.post("/videos", status_code=202)
async def start(request: Request, prompt: str = "slow zoom in") -> dict[str, str]:
    """Start a video of the image in the body; the webhook shortens the wait for it."""
    task = await a2e.image_to_video.start(
        image=await request.body(),
        prompt=prompt,
        negative_prompt="blurry, distorted",
        webhook=receiver,
    )
    supervisor.watch(task)
    return {"id": task.id}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=8081)

"""A web service with webhooks of A2E for finished videos: ``python webhook_aiohttp.py``, see the page "Webhooks"."""

import logging
import os
import pathlib

from aiohttp import web

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, TaskHandle, WebhookReceiver
from a2e_async.integrations import Supervisor
from a2e_async.integrations.aiohttp import setup

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
app = web.Application(client_max_size=20 * 1024 * 1024)
setup(app, a2e, supervisor)
app.add_routes(receiver.routes("/hooks/a2e"))


async def start(request: web.Request) -> web.Response:
    """Start a video of the image in the body; the webhook shortens the wait for it."""
    task = await a2e.image_to_video.start(
        image=await request.read(),
        prompt=request.query.get("prompt", "slow zoom in"),
        negative_prompt="blurry, distorted",
        webhook=receiver,
    )
    supervisor.watch(task)
    return web.json_response({"id": task.id}, status=202)


app.router.add_post("/videos", start)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=8081)

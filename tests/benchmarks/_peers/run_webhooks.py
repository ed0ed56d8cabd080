"""Videos with a2e_async and webhooks; see `waiter.Sdk`."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import attrs
from aiohttp import web

from a2e_async import A2EClient
from a2e_async.webhooks import WebhookReceiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async import ImageToVideoRecord, TaskHandle


@attrs.frozen
class Services:
    """A client, and the receiver of its webhooks."""

    client: A2EClient
    receiver: WebhookReceiver


@contextlib.asynccontextmanager
async def connect(url: str, key: str) -> AsyncIterator[Services]:
    """Make a client, and an application in this process that receives its webhooks."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    host, port = listener.getsockname()
    async with A2EClient(key, base_url=url) as client:
        receiver = WebhookReceiver(client, url=f"http://{host}:{port}/hook", token="of-the-bench")
        app = web.Application()
        app.add_routes(receiver.routes("/hook"))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        yield Services(client, receiver)
        await runner.cleanup()


async def pick_up(services: Services, id: str) -> TaskHandle[ImageToVideoRecord]:
    """Start a video, since only a start can have a webhook. Its prompt tells the server which of its tasks it is."""
    prompt = f"{id}: she smiles at the camera"
    return await services.client.image_to_video.start(
        name="bench",
        image_url="https://example.com/a.png",
        prompt=prompt,
        negative_prompt="blurry",
        webhook=services.receiver,
    )


async def wait(services: Services, task: TaskHandle[ImageToVideoRecord]) -> str:
    """Wait for it, and return its link."""
    record = await task.wait_until_done(timeout=300)
    return record.result_url or ""

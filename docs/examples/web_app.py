"""A small web service that makes videos: ``python web_app.py``, then see the page "In a web service"."""

from __future__ import annotations

import asyncio
import pathlib
from collections import defaultdict
from typing import TYPE_CHECKING

from aiohttp import web

from a2e_async import (
    A2EClient,
    A2EError,
    BadRequestError,
    ContentRejectedError,
    InvalidRequestError,
    NotFoundError,
    SQLiteKeyStore,
    TaskFailedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

VIDEOS = pathlib.Path("videos")
CLIENT_ERRORS = (
    InvalidRequestError,
    BadRequestError,
    ContentRejectedError,
    TaskFailedError,
)
A2E = web.AppKey("a2e", A2EClient)
DOWNLOADS = web.AppKey("downloads", defaultdict[str, asyncio.Lock])


async def a2e_client(app: web.Application) -> AsyncIterator[None]:
    """Open one client when the server starts, and close it when the server stops."""
    # on the disk before a start is sent: no restart and no second worker pays twice for one key
    async with A2EClient(key_store=SQLiteKeyStore("keys.sqlite")) as client:
        app[A2E] = client
        yield


async def start(request: web.Request) -> web.Response:
    """Start a video of the image in the body, and return its id. One Idempotency-Key always gives the same id."""
    task = await request.app[A2E].image_to_video.start(
        image=await request.read(),
        prompt=request.query.get("prompt", "slow zoom in"),
        negative_prompt="blurry, distorted",
        idempotency_key=request.headers.get("Idempotency-Key"),
    )
    # A real service stores task.id in its database here: the task is paid.
    return web.json_response({"id": task.id, "coins": task.record.coins}, status=202)


async def status(request: web.Request) -> web.Response:
    """Return the status of a video."""
    record = await request.app[A2E].image_to_video.get(request.match_info["id"])
    body = {"id": record.id, "status": record.status, "reason": record.failed_message}
    return web.json_response(body)


async def video(request: web.Request) -> web.StreamResponse:
    """Send a local copy of the video, because A2E's links are confidential."""
    task = request.app[A2E].image_to_video.task(request.match_info["id"])
    path = VIDEOS / f"{task.id}.mp4"
    async with request.app[DOWNLOADS][task.id]:  # two clients, one download
        if not path.exists():
            await task.refresh()
            await task.download(path)
    return web.FileResponse(path)


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Convert errors to responses, without details of the account."""
    try:
        return await handler(request)
    except CLIENT_ERRORS as error:
        return web.json_response({"error": error.message}, status=400)
    except NotFoundError:
        return web.json_response({"error": "video not found"}, status=404)
    except A2EError:  # coins, plan, token, network, unknown outcome: not for clients
        request.app.logger.exception("The request to A2E failed")
        return web.json_response({"error": "no videos at the moment"}, status=503)


def make_app() -> web.Application:
    """Return the application."""
    app = web.Application(middlewares=[explain], client_max_size=20 * 1024 * 1024)
    app[DOWNLOADS] = defaultdict(asyncio.Lock)
    app.cleanup_ctx.append(a2e_client)
    app.add_routes(
        [
            web.post("/videos", start),
            web.get("/videos/{id:[0-9A-Za-z_-]+}", status),
            web.get("/videos/{id:[0-9A-Za-z_-]+}/video", video),
        ]
    )
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8081)

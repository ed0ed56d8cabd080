"""A small web service of aiohttp that makes videos: ``python app.py``, then see the page "aiohttp"."""

import pathlib

import aiosqlite
from aiohttp import web

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, SQLiteKeyStore, TaskHandle
from a2e_async.integrations import Supervisor, status_of
from a2e_async.integrations.aiohttp import event_stream, setup

VIDEOS = pathlib.Path("videos")


async def query(sql: str, *values: str) -> list[tuple[str, ...]]:
    """Run a statement in the database of the application."""
    async with aiosqlite.connect("videos.sqlite", isolation_level=None) as database:
        await database.execute("CREATE TABLE IF NOT EXISTS videos (id TEXT PRIMARY KEY, state TEXT)")
        return [tuple(row) for row in await database.execute_fetchall(sql, values)]


# The glue: what happens when a video is done, and which videos are open, also after a restart.


async def save(task: TaskHandle[ImageToVideoRecord]) -> None:
    """Keep a finished video: A2E's link works for about three days."""
    await task.download(VIDEOS / f"{task.id}.mp4", if_exists="overwrite")
    await query("UPDATE videos SET state = 'done' WHERE id = ?", task.id)


async def fail(task: TaskHandle[ImageToVideoRecord], error: A2EError) -> None:
    """Record a failed video."""
    await query("UPDATE videos SET state = ? WHERE id = ?", type(error).__name__, task.id)


async def open_ids() -> list[str]:
    """Return the ids of the tasks that had not ended."""
    return [id for (id,) in await query("SELECT id FROM videos WHERE state = 'open'")]


a2e = A2EClient(key_store=SQLiteKeyStore("keys.sqlite"))
videos = a2e.image_to_video
supervisor = Supervisor(videos, on_success=save, on_failure=fail, on_gone=fail, open_ids=open_ids)
app = web.Application(client_max_size=20 * 1024 * 1024)
setup(app, a2e, supervisor)

# The application.

routes = web.RouteTableDef()


@routes.post("/videos")
async def start(request: web.Request) -> web.Response:
    """Start a video of an uploaded image. The same Idempotency-Key never pays twice."""
    form = await request.post()
    image = form.get("image")
    task = await videos.start(
        image=image.file if isinstance(image, web.FileField) else b"",  # a text would be a path of this machine
        prompt=str(form.get("prompt", "")),
        negative_prompt="blurry, distorted",
        idempotency_key=request.headers.get("Idempotency-Key"),
    )
    await query("INSERT OR IGNORE INTO videos VALUES (?, 'open')", task.id)  # it is paid: first the database
    supervisor.watch(task)
    return web.json_response(status_of(task.record), status=202)


@routes.get("/videos/{id}")
async def show(request: web.Request) -> web.Response:
    """Return the status of a video."""
    return web.json_response(status_of(await videos.get(request.match_info["id"])))


@routes.get("/videos/{id}/events")
async def events(request: web.Request) -> web.StreamResponse:
    """Send each change of a video while it happens."""
    return await event_stream(request, videos.task(request.match_info["id"]))


@routes.get("/videos/{id}/video")
async def video(request: web.Request) -> web.StreamResponse:
    """Send the saved video, or save it now. Never the link: it needs no token."""
    task = videos.task(request.match_info["id"])
    return web.FileResponse(await task.download(VIDEOS / f"{task.id}.mp4", if_exists="keep"))


app.add_routes(routes)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=8081)

"""A small web service of Litestar that makes videos: ``uvicorn app:app``, then see the page "Litestar"."""

import dataclasses
from typing import Annotated, Any

import aiosqlite
from litestar import Litestar, Request, get, post, route
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from litestar.types import ASGIApp

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, SQLiteKeyStore, TaskHandle
from a2e_async.integrations import Supervisor, status_of
from a2e_async.integrations.litestar import A2EPlugin, event_stream, result_response


async def query(sql: str, *values: str) -> list[tuple[str, ...]]:
    """Run a statement in the database of the application."""
    async with aiosqlite.connect("videos.sqlite", isolation_level=None) as database:
        await database.execute("CREATE TABLE IF NOT EXISTS videos (id TEXT PRIMARY KEY, state TEXT)")
        return [tuple(row) for row in await database.execute_fetchall(sql, values)]


# The glue: what happens when a video is done, and which videos are open, also after a restart.


async def succeed(task: TaskHandle[ImageToVideoRecord]) -> None:
    """Note that a video is done. Here a visitor could get an e-mail."""
    await query("UPDATE videos SET state = 'done' WHERE id = ?", task.id)


async def fail(task: TaskHandle[ImageToVideoRecord], error: A2EError) -> None:
    """Record a failed video."""
    await query("UPDATE videos SET state = ? WHERE id = ?", type(error).__name__, task.id)


async def open_ids() -> list[str]:
    """Return the ids of the tasks that had not ended."""
    return [id for (id,) in await query("SELECT id FROM videos WHERE state = 'open'")]


a2e = A2EClient(key_store=SQLiteKeyStore("keys.sqlite"))
videos = a2e.image_to_video
supervisor = Supervisor(videos, on_success=succeed, on_failure=fail, on_gone=fail, open_ids=open_ids)
plugin = A2EPlugin(a2e, supervisor)

# The application.


@dataclasses.dataclass
class Order:
    """The form of a start."""

    image: UploadFile
    prompt: str


@post("/videos", status_code=202)
async def start(
    request: Request[Any, Any, Any], data: Annotated[Order, Body(media_type=RequestEncodingType.MULTI_PART)]
) -> dict[str, Any]:
    """Start a video of an uploaded image. The same Idempotency-Key never pays twice."""
    task = await videos.start(
        image=data.image,
        prompt=data.prompt,
        negative_prompt="blurry, distorted",
        idempotency_key=request.headers.get("Idempotency-Key"),
    )
    await query("INSERT OR IGNORE INTO videos VALUES (?, 'open')", task.id)  # it is paid: first the database
    supervisor.watch(task)
    return status_of(task.record)


@get("/videos/{id:str}")
async def show(id: FromPath[str]) -> dict[str, Any]:
    """Return the status of a video."""
    return status_of(await videos.get(id))


@get("/videos/{id:str}/events")
async def events(id: FromPath[str]) -> ASGIApp:
    """Send each change of a video while it happens."""
    return event_stream(videos.task(id))


@route("/videos/{id:str}/video", http_method=["GET", "HEAD"])
async def video(id: FromPath[str]) -> ASGIApp:
    """Pass on the video, and not its link, which needs no token."""
    return result_response(videos.task(id), {"Cache-Control": "private, max-age=3600"})


app = Litestar([start, show, events, video], plugins=[plugin], logging_config=None)

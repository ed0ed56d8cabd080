"""Videos of images, with a page: ``uvicorn app:app``, see the page "A web application with FastAPI"."""

import json
import os
import pathlib
import time
from typing import Annotated, Any, Self

import aiosqlite
from fastapi import FastAPI, Form, Header, HTTPException, Response, UploadFile
from fastapi.staticfiles import StaticFiles

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, SQLiteKeyStore, TaskHandle
from a2e_async.integrations import Supervisor, error_response, status_of
from a2e_async.integrations.fastapi import a2e_lifespan, add_error_handler, event_stream, result_response

MAX_IMAGE = 20 * 1024 * 1024  # bytes

_TABLE = """
CREATE TABLE IF NOT EXISTS videos (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    prompt TEXT NOT NULL,
    began REAL NOT NULL,
    ended REAL,             -- NULL: open
    status TEXT             -- JSON of the last status
)
"""


class Videos:
    """The application's database: the ids of all tasks, and how they ended."""

    def __init__(self, path: pathlib.Path) -> None:
        """Remember the path of the SQLite file."""
        self._path = path
        self._db: aiosqlite.Connection

    async def __aenter__(self) -> Self:
        """Open the file."""
        self._db = await aiosqlite.connect(self._path, isolation_level=None)  # each statement is a transaction
        self._db.row_factory = aiosqlite.Row
        await self._db.execute("PRAGMA journal_mode = WAL")
        await self._db.execute(_TABLE)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the file."""
        await self._db.close()

    async def add(self, id: str, name: str, prompt: str) -> None:
        """Store an open task. A repeated request stores it once."""
        values = (id, name, prompt, time.time())
        await self._db.execute("INSERT OR IGNORE INTO videos (id, name, prompt, began) VALUES (?, ?, ?, ?)", values)

    async def close(self, id: str, status: dict[str, Any]) -> None:
        """Store how a task ended. The first end counts."""
        values = (time.time(), json.dumps(status), id)
        await self._db.execute("UPDATE videos SET ended = ?, status = ? WHERE id = ? AND ended IS NULL", values)

    async def open_ids(self) -> list[str]:
        """Return the ids of all open tasks, the oldest first."""
        rows = await self._db.execute_fetchall("SELECT id FROM videos WHERE ended IS NULL ORDER BY began")
        return [row["id"] for row in rows]

    async def latest(self, count: int) -> list[aiosqlite.Row]:
        """Return the rows of the latest tasks, the newest first."""
        return [*await self._db.execute_fetchall("SELECT * FROM videos ORDER BY began DESC LIMIT ?", (count,))]

    async def get(self, id: str) -> aiosqlite.Row:
        """Return the row of a task; HTTP 404 if there is none."""
        rows = [*await self._db.execute_fetchall("SELECT * FROM videos WHERE id = ?", (id,))]
        if not rows:
            raise HTTPException(404, "There is no such video")
        return rows[0]


async def close(task: TaskHandle[ImageToVideoRecord], error: A2EError | None = None) -> None:
    """Store how a task ended; the supervisor calls it."""
    status = status_of(task.record) | {"final": True}
    if error is not None and not task.status.is_final:  # A2E does not know the task any more
        status |= {"status": "failed", "failed_message": error_response(error).body["detail"]}
    await videos.close(task.id, status)


def describe(video: aiosqlite.Row) -> dict[str, Any]:
    """Return what the page shows of a task. Nothing is sent to A2E: the supervisor polls."""
    seconds = (video["ended"] or time.time()) - video["began"]
    status = json.loads(video["status"]) if video["ended"] else status_of(supervisor.watch(video["id"]).record)
    return {"name": video["name"], "prompt": video["prompt"], "seconds": seconds, **status}


folder = pathlib.Path(os.environ.get("VIDEOS_FOLDER", "."))
videos = Videos(folder / "videos.sqlite")
a2e = A2EClient(key_store=SQLiteKeyStore(folder / "keys.sqlite"))
supervisor = Supervisor(a2e.image_to_video, on_success=close, on_failure=close, on_gone=close, open_ids=videos.open_ids)
app = FastAPI(lifespan=a2e_lifespan(a2e, videos, supervisor))
add_error_handler(app)


@app.post("/videos", status_code=202)
async def start(
    image: UploadFile, prompt: Annotated[str, Form()], idempotency_key: Annotated[str, Header()]
) -> dict[str, str]:
    """Start a video. One Idempotency-Key always gives the same id, so that a page can safely send it again.

    The header is required. So pages of other sites cannot start videos: a browser lets them send no such header.
    """
    if (image.size or 0) > MAX_IMAGE:
        raise HTTPException(413, f"The image is larger than {MAX_IMAGE // 1024 // 1024} MB")
    name = image.filename or "image"
    task = await a2e.image_to_video.start(image=image, name=name, prompt=prompt, idempotency_key=idempotency_key)
    await videos.add(task.id, name, prompt)  # first the database,
    supervisor.watch(task)  # then the wait
    return {"id": task.id}


@app.get("/videos")
async def show_all() -> list[dict[str, Any]]:
    """Return the latest videos."""
    return [describe(video) for video in await videos.latest(100)]


@app.get("/videos/{id}")
async def show(id: str) -> dict[str, Any]:
    """Return one video."""
    return describe(await videos.get(id))


@app.get("/videos/{id}/events")
async def events(id: str) -> Response:
    """Send each change of a video while it is made."""
    return event_stream(a2e.image_to_video.task((await videos.get(id))["id"]))


@app.get("/videos/{id}/result")
async def video(id: str) -> Response:
    """Send the video itself, or a range of it."""
    return result_response(
        a2e.image_to_video.task((await videos.get(id))["id"]), {"Cache-Control": "private, max-age=3600"}
    )


app.mount("/", StaticFiles(directory=pathlib.Path(__file__).parent / "page", html=True))

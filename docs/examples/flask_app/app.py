"""A small web service of Flask: ``gunicorn -k gthread --threads 8 app:app``, then see the page "Flask"."""

import contextlib
import pathlib
import sqlite3
from typing import Any

from flask import Flask, Response, request, send_file

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, SQLiteKeyStore, TaskHandle
from a2e_async.integrations import Supervisor, status_of
from a2e_async.integrations.blocking import BlockingClient
from a2e_async.integrations.flask import add_error_handler, event_stream

VIDEOS = pathlib.Path("videos").absolute()


def query(sql: str, *values: str) -> list[tuple[str, ...]]:
    """Run a statement in the database of the application."""
    with contextlib.closing(sqlite3.connect("videos.sqlite", isolation_level=None)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS videos (id TEXT PRIMARY KEY, state TEXT)")
        return database.execute(sql, values).fetchall()


# The glue: async functions, which run in the thread of the client.


async def save(task: TaskHandle[ImageToVideoRecord]) -> None:
    """Keep a finished video: A2E's link works for about three days."""
    await task.download(VIDEOS / f"{task.id}.mp4", if_exists="overwrite")
    query("UPDATE videos SET state = 'done' WHERE id = ?", task.id)


async def fail(task: TaskHandle[ImageToVideoRecord], error: A2EError) -> None:
    """Record a failed video."""
    query("UPDATE videos SET state = ? WHERE id = ?", type(error).__name__, task.id)


async def open_ids() -> list[str]:
    """Return the ids of the tasks that had not ended."""
    return [id for (id,) in query("SELECT id FROM videos WHERE state = 'open'")]


a2e = A2EClient(key_store=SQLiteKeyStore("keys.sqlite"))
videos = a2e.image_to_video
supervisor = Supervisor(videos, on_success=save, on_failure=fail, on_gone=fail, open_ids=open_ids)
blocking = BlockingClient(a2e, supervisor)
app = Flask(__name__)
add_error_handler(app)

# The application.


@app.post("/videos")
def start() -> tuple[dict[str, Any], int]:
    """Start a video of an uploaded image. The same Idempotency-Key never pays twice."""
    task = blocking.call(
        videos.start,
        image=request.files["image"],
        prompt=request.form["prompt"],
        negative_prompt="blurry, distorted",
        idempotency_key=request.headers.get("Idempotency-Key"),
    )
    query("INSERT OR IGNORE INTO videos VALUES (?, 'open')", task.id)  # it is paid: first the database
    blocking.call(supervisor.watch, task)
    return status_of(task.record), 202


@app.get("/videos/<id>")
def show(id: str) -> dict[str, Any]:
    """Return the status of a video."""
    return status_of(blocking.call(videos.get, id))


@app.get("/videos/<id>/events")
def events(id: str) -> Response:
    """Send each change of a video while it happens. It needs a thread of the server."""
    return event_stream(blocking, videos.task(id))


@app.get("/videos/<id>/video")
def video(id: str) -> Response:
    """Send the saved video, or save it now. Never the link: it needs no token."""
    return send_file(blocking.call(videos.task(id).download, VIDEOS / f"{id}.mp4", if_exists="keep"))


blocking.start()  # continue with the tasks that are open, without waiting for the first visitor

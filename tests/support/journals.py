"""A journal of many jobs, and videos for their results, for tests of the gallery."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import av
from PIL import Image

from a2e_async.batch.journal_file import open_database
from a2e_async.batch.journal_rows import COLUMNS, to_values
from a2e_async.batch.rules import JournalEntry

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable

__all__ = ["write_journal", "write_video"]


def write_journal(path: pathlib.Path, jobs: Iterable[dict[str, Any]]) -> None:
    """Write a journal with entries; each has a key, and else the values of a job that succeeded."""
    usual: dict[str, Any] = {
        "state": "succeeded",
        "starts": 1,
        "marker": "a2e:x",
        "coins": 30,
        "created_at": 1e9,
        "finished_at": 2e9,
    }
    rows = [to_values(JournalEntry(**(usual | job))) for job in jobs]
    path.touch()
    open_database(path, "https://video.a2e.ai")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.executemany(f"INSERT INTO jobs VALUES ({', '.join('?' * len(COLUMNS))})", rows)


def write_video(path: pathlib.Path, image: Image.Image) -> None:
    """Write a video of one second that shows an image."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = image.width, image.height, "yuv420p"
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_image(image)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode())

"""The page of a gallery: one file with its style, its script and the data of all jobs."""

import base64
import hashlib
import html
import importlib.resources
import json
import os
import pathlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

from a2e_async.batch import JournalEntry, JournalInfo
from a2e_async.cli.batch.gallery.frames import ResultFile
from a2e_async.cli.batch.summary import without_ids
from a2e_async.errors import InvalidRequestError

_GENERATOR = '<meta name="generator" content="a2e batch report">'
_HEAD = 2000  # characters in which the generator of a page is named

# What the card shows by itself, what is too long to see, and what is confidential.
_NOT_OPTIONS = frozenset(
    {"key", "prompt", "negative_prompt", "text", "name", "webhook", "webhook_url", "webhook_token"}
)
_LONGEST = 300  # characters of the value of an option


@attrs.frozen
class Gallery:
    """What the page shows."""

    info: JournalInfo
    coins: float  # spent, also for jobs that are no longer in the journal
    entries: Sequence[JournalEntry]
    results: Mapping[str, ResultFile]
    frames: Mapping[str, pathlib.Path]

    def write(self, folder: pathlib.Path) -> pathlib.Path:
        """Write the page into a folder, and return its file. An older page is replaced once the new one is complete."""
        page, part = folder / "index.html", folder / "index.html.part"
        part.write_text(self.html(folder), "utf-8", "backslashreplace")
        part.replace(page)
        return page

    def html(self, folder: pathlib.Path) -> str:
        """Return the page, with links that are relative to its folder."""
        source = importlib.resources.files(__package__)
        style, script, page = (source.joinpath(f"page.{name}").read_text("utf-8") for name in ("css", "js", "html"))
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        parts = {
            "title": html.escape(self.info.path.name),
            "style": style.rstrip(),
            "script": script,
            "script_hash": f"sha256-{digest}",
            "data": self._data(folder),
        }
        return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)

    def _data(self, folder: pathlib.Path) -> str:
        listed = sum(entry.coins or 0 for entry in self.entries)
        about = {
            "host": urlsplit(self.info.base_url).netloc,
            "created": self.info.created_at.timestamp(),
            "written": time.time(),
            "pruned_coins": max(0.0, self.coins - listed),
        }
        data = {"about": about, "jobs": [self._job(entry, folder) for entry in self.entries]}
        # "<" could end the element of the page that has the data.
        return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")

    def _job(self, entry: JournalEntry, folder: pathlib.Path) -> dict[str, Any]:
        result, frame = self.results.get(entry.key), self.frames.get(entry.key)
        is_lost = result is None and entry.path is not None
        job = {
            "key": entry.key,
            "state": "without a file" if entry.state == "succeeded" and entry.path is None else entry.state,
            "prompt": entry.request.get("prompt") or entry.request.get("text"),
            "coins": entry.coins,
            "starts": entry.starts,
            "error": without_ids(entry.error["message"]) if entry.error else None,
            "task": entry.task_id,
            "finished": entry.finished_at,
            "options": dict(_options(entry.request)),
            "lost": is_lost or None,
            "frame": frame and link_to(frame, folder),
            "file": result and link_to(result.path, folder),
            "name": result and result.path.name,
            "kind": result and result.medium,
        }
        return {name: value for name, value in job.items() if value is not None or name == "coins"}


def _options(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the options of a job by which a person knows it, as texts."""
    for name, value in request.items():
        if name in _NOT_OPTIONS or value is None or not isinstance(value, str | int | float):
            continue
        text = str(value)
        if "://" in text:  # without the part that can be a signature
            text = text.partition("?")[0]
        yield name.replace("_", " ").capitalize(), text[:_LONGEST]


def link_to(path: pathlib.Path, folder: pathlib.Path) -> str:
    """Return the link of a page in a folder to a file."""
    try:
        relative = os.path.relpath(path.resolve(), folder.resolve())
    except ValueError:  # on Windows: on another drive
        return path.resolve().as_uri()
    return quote(os.fsencode(pathlib.PurePath(relative).as_posix()))


def check_folder(folder: pathlib.Path, *, overwrite: bool) -> None:
    """Raise an `InvalidRequestError` if a folder cannot take a gallery, and make the folder otherwise."""
    page = folder / "index.html"
    try:
        if folder.is_file():
            msg = f"{str(folder)!r} is a file: give a folder, in which the page is written"
            raise InvalidRequestError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        if page.is_file() and not overwrite and _GENERATOR not in page.read_text("utf-8", "replace")[:_HEAD]:
            msg = f"{str(page)!r} exists, and is not a gallery"
            raise InvalidRequestError(msg, advice="overwrite")
    except OSError as error:
        msg = f"cannot write to {str(folder)!r}: {error.strerror}"
        raise InvalidRequestError(msg) from error

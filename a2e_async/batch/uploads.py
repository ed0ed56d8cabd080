"""The images of a batch: what is remembered of them, and each of them uploaded once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pathlib
import time
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import attrs

from a2e_async.batch.jobs import Job
from a2e_async.batch.rules import Journal
from a2e_async.errors import InvalidRequestError
from a2e_async.files.local_files import Image, LocalFile, open_picture

__all__ = ["Links", "describe", "identity", "recall", "with_files_read"]

Described: TypeAlias = "dict[str, Any] | None"
"""``{"url": ...}``, or ``{"sha256": ..., "size": ...}`` and, for a file, ``path`` and ``mtime`` (nanoseconds)."""

_LIVES = 86400.0
"""Seconds for which an upload is used again. Links live for about 3 days, and a start has to read it for a while."""

_REMEMBERED = 10_000
"""Links kept in memory; the journal keeps them all."""


async def describe(picture: LocalFile | str | None) -> Described:
    """Return what is remembered of an image.

    Raises:
        InvalidRequestError: Its file cannot be read.
    """
    if picture is None or isinstance(picture, str):
        return picture if picture is None else {"url": picture}
    try:
        return await asyncio.to_thread(_read, picture)
    except OSError as error:
        msg = f"The image {str(picture.content)!r} cannot be read: {error.strerror or error}"
        raise InvalidRequestError(msg) from error


def _read(picture: LocalFile) -> dict[str, Any]:
    content = picture.content
    if isinstance(content, bytes):
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    with content.open("rb") as file:
        facts = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": facts.st_size, "path": str(content), "mtime": facts.st_mtime_ns}


async def recall(name: str, image: Image | None, url: str | None, old: Described) -> Described:
    """Describe the image of a job that is known. It is read only if it can have changed, and may be gone."""
    if isinstance(image, str) and "://" in image:
        url = image
    if url is not None or image is None:
        return None if url is None else {"url": url}
    if not isinstance(image, str | os.PathLike):
        return await describe(await open_picture(name, image))
    path = pathlib.Path(image)
    try:
        facts = await asyncio.to_thread(path.stat)
    except (OSError, ValueError):
        return old if old and old.get("path") == str(path) else {"path": str(path)}
    seen = {"size": facts.st_size, "path": str(path), "mtime": facts.st_mtime_ns}
    if old and all(old.get(word) == value for word, value in seen.items()):
        return old
    return await describe(await open_picture(name, image))


async def with_files_read(job: Job) -> Job:
    """Return a job whose images can be looked at several times: an open file can be read once.

    Raises:
        InvalidRequestError: What is read is no image.
    """
    read: dict[str, Any] = {
        name: (await open_picture(name, image)).content
        for name, image in (("image", job.image), ("end_image", job.end_image))
        if image is not None and not isinstance(image, str | os.PathLike | bytes | bytearray | memoryview)
    }
    return attrs.evolve(job, **read) if read else job


def identity(described: Described) -> object:
    """Return what makes an image the same one: its content or its address, not where its file lies."""
    return described and (described.get("sha256") or described)


@attrs.define(eq=False)
class Links:
    """Where images were uploaded to, by their content."""

    upload: Callable[[LocalFile], Awaitable[str]]
    journal: Journal
    slots: asyncio.Semaphore
    _known: OrderedDict[str, tuple[str, float]] = attrs.field(factory=OrderedDict)
    _locks: weakref.WeakValueDictionary[str, asyncio.Lock] = attrs.field(factory=weakref.WeakValueDictionary)

    async def link(self, picture: LocalFile, digest: str) -> str:
        """Return the link of an image, uploading it if it has none that surely lives."""
        async with self._locks.setdefault(digest, asyncio.Lock()):
            link = self._fresh(digest) or await self.journal.link(digest, time.time() - _LIVES)
            if link is None:
                async with self.slots:
                    link = await self.upload(picture)
                self.journal.keep_link(digest, link)
                self._remember(digest, link)
            return link

    def _fresh(self, digest: str) -> str | None:
        link, until = self._known.get(digest, (None, 0.0))
        return link if time.monotonic() < until else None

    def _remember(self, digest: str, link: str) -> None:
        self._known[digest] = link, time.monotonic() + _LIVES
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

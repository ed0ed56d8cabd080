"""Images of a batch: fingerprints for the journal, and one upload for each content."""

import asyncio
import hashlib
import os
import pathlib
import time
import weakref
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

from a2e_async.batch.circuit_breaker import CircuitBreaker
from a2e_async.batch.family_jobs import FamilyJob
from a2e_async.batch.jobs import JOB_FIELDS, BatchApi, Job
from a2e_async.batch.journal import Journal
from a2e_async.errors import InvalidRequestError
from a2e_async.files.local_files import Image, LocalFile, open_file, open_image
from a2e_async.files.media_types import Medium

# The fields of a job without its key and its images.
OPTIONS = tuple(field for field in JOB_FIELDS if field.removesuffix("_url") not in {"key", "image", "end_image"})

# Either {"url": ...}, or {"sha256": ..., "size": ...} and for a file also "path" and "mtime" (nanoseconds).
Fingerprint: TypeAlias = "dict[str, Any] | None"

# Seconds for which a link is used again. A2E's links live for about 3 days, and a queued task still has to read the
# image.
_LINK_LIFETIME = 86400.0

_SMALL = 64 * 1024  # bytes

# Links kept in memory. The journal keeps all of them.
_MAX_CACHED = 10_000


def fingerprint(image: LocalFile | str | None) -> Fingerprint:
    """Return the fingerprint of an image or of a link, for the journal. Blocks while it reads a file.

    Raises:
        InvalidRequestError: The file cannot be read.
    """
    if image is None or isinstance(image, str):
        return image if image is None else {"url": image}
    try:
        return _read_fingerprint(image)
    except OSError as error:
        msg = f"The image {str(image.content)!r} cannot be read: {error.strerror or error}"
        raise InvalidRequestError(msg) from error


def _read_fingerprint(image: LocalFile) -> dict[str, Any]:
    content = image.content
    if isinstance(content, bytes):
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    with content.open("rb") as file:
        stat = os.fstat(file.fileno())
        # `file_digest` has a buffer of 256 KiB, which costs more than a small file itself
        is_small = stat.st_size < _SMALL
        digest = (hashlib.sha256(file.read()) if is_small else hashlib.file_digest(file, "sha256")).hexdigest()
    return {"sha256": digest, "size": stat.st_size, "path": str(content), "mtime": stat.st_mtime_ns}


async def request_again(job: Job, old: dict[str, Any]) -> dict[str, Any]:
    """Return what the journal would have of a job, whose earlier request it has. A file that is unchanged is not read.

    Args:
        job: The job as it is given now.
        old: The request in the journal.
    """
    if isinstance(job, FamilyJob):
        found = {
            name: await fingerprint_again(name, value, None, old.get(name), "image", "video", "audio")
            for name, value in job.named_inputs().items()
        }
        return _family_request(job, found)
    image = await fingerprint_again("image", job.image, job.image_url, old.get("image"))
    end_image = await fingerprint_again("end_image", job.end_image, job.end_image_url, old.get("end_image"))
    return stored_request(job, image, end_image)


async def fingerprint_again(
    name: str, image: Image | None, url: str | None, old: Fingerprint, *media: Medium
) -> Fingerprint:
    """Return the fingerprint of an image whose earlier fingerprint is in the journal.

    Args:
        name: The parameter's name, for an error.
        image: The image as it is given now.
        url: Its link, if a link is given.
        old: The fingerprint in the journal.
        media: What the file can be; an image if nothing is given.
    """
    if isinstance(image, str) and "://" in image:
        url = image
    # Case 1: a link, or no image.
    if url is not None or image is None:
        return None if url is None else {"url": url}
    # Case 2: bytes or an open file.
    if not isinstance(image, str | os.PathLike):
        return await asyncio.to_thread(fingerprint, await open_file(name, image, *(media or ("image",))))
    path = pathlib.Path(image)
    try:
        stat = await asyncio.to_thread(path.stat)
    except (OSError, ValueError):
        # Case 3: the file is gone. A finished job does not need it any more, so the same path counts as the same image.
        return old if old and old.get("path") == str(path) else {"path": str(path)}
    # Case 4: size and time are the same. The file is not read again, which saves gigabytes in a large batch.
    seen = {"size": stat.st_size, "path": str(path), "mtime": stat.st_mtime_ns}
    if old and all(old.get(field) == value for field, value in seen.items()):
        return old
    # Case 5: possibly another content.
    return await asyncio.to_thread(fingerprint, await open_file(name, image, *(media or ("image",))))


def stored_request(job: Job, *fingerprints: Fingerprint) -> dict[str, Any]:
    """Return the options of a job with the fingerprints of its images, as the journal has them.

    Args:
        job: The job.
        fingerprints: Of the image and the last image; of a `FamilyJob`, those of its local files in any order.
    """
    if isinstance(job, FamilyJob):
        files = {found["path"]: found for found in fingerprints if found and "path" in found}
        inputs = job.named_inputs().items()
        return _family_request(job, {name: files.get(str(pathlib.Path(text)), {"url": text}) for name, text in inputs})
    image, end_image = fingerprints
    fields = {field: getattr(job, field) for field in OPTIONS} | {"image": image, "end_image": end_image}
    return {field: value for field, value in fields.items() if value is not None}


def _family_request(job: FamilyJob, inputs: dict[str, Fingerprint]) -> dict[str, Any]:
    return {"family": job.family, **{name: job.fields[name] for name in job.fields.keys() - job.inputs}, **inputs}


async def with_files_read(job: Job) -> Job:
    """Return the job with the bytes of its open files, because an open file can be read only once.

    Raises:
        InvalidRequestError: A file is not an image.
    """
    read: dict[str, Any] = {
        name: (await open_image(name, image)).content
        for name, image in (("image", job.image), ("end_image", job.end_image))
        if image is not None and not isinstance(image, str | os.PathLike | bytes | bytearray | memoryview)
    }
    return Job(**{name: getattr(job, name) for name in JOB_FIELDS} | read) if read else job


@attrs.define(eq=False, repr=False)
class UploadCache:
    """Cache of the links of uploaded images, by the SHA-256 of their content."""

    api: BatchApi[Any]
    journal: Journal
    breaker: CircuitBreaker
    slots: asyncio.Semaphore
    _links: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    # one lock for each digest, so that equal images of many jobs are uploaded once
    _locks: weakref.WeakValueDictionary[str, asyncio.Lock] = attrs.field(factory=weakref.WeakValueDictionary)

    async def get(self, image: LocalFile, digest: str, enter: Callable[[Literal["waiting", "uploading"]], None]) -> str:
        """Return the link of an image. Upload it, unless it has a link that certainly still works.

        Args:
            image: The image.
            digest: Its SHA-256.
            enter: Is told the stage that begins.

        Raises:
            StoppedError: The batch starts nothing more, so that no upload is needed.
            A2EError: The upload has failed.
        """
        async with self._locks.setdefault(digest, asyncio.Lock()):
            link, until = self._links.get(digest, (None, 0.0))
            if time.monotonic() >= until:
                # a new journal knows no other links than those of this run
                is_known = self.journal.is_new and len(self._links) < _MAX_CACHED
                link = None if is_known else await self.journal.load_link(digest, time.time() - _LINK_LIFETIME)
            if link is None:
                if self.slots.locked():
                    enter("waiting")
                async with self.slots:
                    enter("uploading")
                    self.breaker.check()
                    link = await self.api.upload(image)
                self.journal.write_link_soon(digest, link)
                self._links[digest] = link, time.monotonic() + _LINK_LIFETIME
                if len(self._links) > _MAX_CACHED:
                    del self._links[next(iter(self._links))]
            return link

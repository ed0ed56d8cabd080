"""Queueing of jobs: each is checked, compared with what the cluster knows under its key, and written with its place."""

# How it works:
#
# * The input is read in chunks, so that it can have any length. Each chunk is one transaction, which writes the rows of
#   new keys and queues them. So a job has a row if and only if it was queued.
# * A job is known by its key, and compared by its *request*: the options, and the content of the images. The same key
#   with another request is an error, and nothing of its chunk is queued.
# * A local image is either uploaded now, so that workers on other machines need no file, or its path is stored, and the
#   worker that gets the job uploads it.

import asyncio
import itertools
import json
import pathlib
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any

import attrs
import psycopg
from psycopg.rows import tuple_row

from a2e_async._protocol.validation import raise_invalid
from a2e_async.batch import rules
from a2e_async.batch.jobs import BatchApi, Job, to_job
from a2e_async.batch.uploads import Fingerprint, fingerprint, stored_request
from a2e_async.cluster.queue import Queue
from a2e_async.errors import InvalidRequestError
from a2e_async.files.local_files import LocalFile

_MAX_AT_ONCE = 8  # jobs of a chunk whose images are read, or uploaded, at the same time
_MAX_SHOWN = 5  # keys that a message names

_INSERT = """INSERT INTO a2e_jobs (key, family, name, folded_name, request, links)
    SELECT key, %s, name, folded_name, request::json, links::json FROM json_to_recordset(%s::json)
        AS new(number integer, key text, name text, folded_name text, request text, links text)
    ORDER BY number ON CONFLICT DO NOTHING RETURNING key"""


@attrs.define(eq=False, repr=False)
class NewJob:
    """Job that is to be queued.

    Attributes:
        key: The caller's name for it.
        request: Its options, and the fingerprints of its images.
        files: Its local images, by the field of the request.
        links: Where they were uploaded to.
    """

    key: str
    request: dict[str, Any]
    files: dict[str, LocalFile]
    links: dict[str, str] = attrs.field(factory=dict)


async def read_chunks(jobs: Any, size: int) -> AsyncGenerator[list[Any], None]:  # noqa: ANN401  of the caller
    """Yield the jobs of an input in lists of at most `size`."""
    if isinstance(jobs, Job | Mapping):
        jobs = [jobs]
    elif isinstance(jobs, str | bytes) or not isinstance(jobs, Iterable | AsyncIterable):
        raise_invalid("jobs must be a job, or several jobs in an iterable or an async iterable")
    if isinstance(jobs, AsyncIterable):
        chunk: list[Any] = []
        async for job in jobs:
            chunk.append(job)
            if len(chunk) == size:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
    else:
        iterator = iter(jobs)
        while chunk := list(itertools.islice(iterator, size)):
            yield chunk


async def prepare(api: BatchApi[Any], items: Iterable[Any], *, uploads: bool) -> dict[str, NewJob]:
    """Check a chunk of jobs, and return them by their keys. Sends nothing.

    Args:
        api: Of the family.
        items: Jobs or dicts.
        uploads: Whether local images will be uploaded. Otherwise each must be a path.

    Raises:
        InvalidRequestError: A job cannot work, or two with one key differ.
    """
    slots = asyncio.Semaphore(_MAX_AT_ONCE)

    async def check(item: Any) -> NewJob:  # noqa: ANN401  as above
        job = to_job(item)
        try:
            async with slots:
                return await _prepare_one(api, job, uploads=uploads)
        except InvalidRequestError as error:
            msg = f"Job {job.key!r}: {error.message}"
            raise InvalidRequestError(msg) from error

    found: dict[str, NewJob] = {}
    for job in await _all(check(item) for item in items):
        if job.key in found:
            check_same({job.key: found[job.key].request}, {job.key: job}, "the input has it twice")
        else:
            found[job.key] = job
    return found


async def _prepare_one(api: BatchApi[Any], job: Job, *, uploads: bool) -> NewJob:
    prepared = await api.prepare(job)
    first, last = (*prepared.images, None, None)[:2]
    files = {name: file for name, file in (("image", first), ("end_image", last)) if isinstance(file, LocalFile)}
    if not uploads and any(not isinstance(file.content, pathlib.Path) for file in files.values()):
        raise_invalid("its image is no file that a worker can read: pass client=, so that it is uploaded now")
    fingerprints = await asyncio.to_thread(_fingerprints, first, last)
    return NewJob(job.key, stored_request(job, *fingerprints), files)


def _fingerprints(*images: LocalFile | str | None) -> list[Fingerprint]:
    found = [fingerprint(image) for image in images]
    for each in found:
        if each and "path" in each:  # another machine, or another folder, reads it
            each["path"] = str(pathlib.Path(each["path"]).absolute())
    return found


def check_same(known: Mapping[str, dict[str, Any]], jobs: Mapping[str, NewJob], where: str) -> None:
    """Check that jobs are the same as those that are known under their keys.

    Raises:
        InvalidRequestError: One is not.
    """
    changed = {
        key: fields
        for key, request in known.items()
        if key in jobs and (fields := rules.changed_fields(request, jobs[key].request))
    }
    if changed:
        shown = "; ".join(
            f"{key!r} ({', '.join(fields)})" for key, fields in itertools.islice(changed.items(), _MAX_SHOWN)
        )
        more = f" and {len(changed) - _MAX_SHOWN} more" if len(changed) > _MAX_SHOWN else ""
        msg = f"Another input under the same key, {where}: {shown}{more}. Give each job a key of its own"
        raise InvalidRequestError(msg)


async def upload(jobs: Iterable[NewJob], get_link: Callable[[LocalFile, str], Awaitable[str]]) -> None:
    """Upload the local images of jobs, each content once."""
    slots = asyncio.Semaphore(_MAX_AT_ONCE)
    files = {job.request[field]["sha256"]: file for job in jobs for field, file in job.files.items()}

    async def upload_one(digest: str, file: LocalFile) -> tuple[str, str]:
        async with slots:
            return digest, await get_link(file, digest)

    links = dict(await _all(upload_one(digest, file) for digest, file in files.items()))
    for job in jobs:
        job.links = {field: links[job.request[field]["sha256"]] for field in job.files}


async def load_known(connection: psycopg.AsyncConnection[Any], keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the requests of the keys that the cluster knows."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT key, request FROM a2e_jobs WHERE key = ANY(%s)", ([*keys],))
        return dict(await cursor.fetchall())


async def insert(
    connection: psycopg.AsyncConnection[Any], queue: Queue, family: str, extension: str, jobs: Mapping[str, NewJob]
) -> int:
    """Write and queue the jobs that are new, in the transaction of the connection; return how many.

    Raises:
        InvalidRequestError: Another process has just queued one of the keys with another input.
    """
    added: list[str] = []
    left = {**jobs}
    while left:
        found = await _insert(connection, family, extension, left)
        added += found
        left = {key: job for key, job in left.items() if key not in {*found}}
        # Case 1: another process has queued the same key in this moment. Case 2: it has taken the name of the file.
        known = await load_known(connection, left)
        check_same(known, left, "already queued")
        left = {key: job for key, job in left.items() if key not in known}
    if added:
        order = {key: number for number, key in enumerate(jobs)}
        await queue.put(connection, sorted(added, key=order.__getitem__))
    return len(added)


async def _insert(
    connection: psycopg.AsyncConnection[Any], family: str, extension: str, jobs: Mapping[str, NewJob]
) -> list[str]:
    """Write rows, except for keys and names that others have taken; return the keys of those that were written."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        names = {key: rules.file_name(key, extension) for key in jobs}
        folded = [name.casefold() for name in names.values()]
        await cursor.execute("SELECT folded_name FROM a2e_jobs WHERE folded_name = ANY(%s)", (folded,))
        taken = {name for (name,) in await cursor.fetchall()}
        rows = []
        for number, job in enumerate(jobs.values()):
            name = names[job.key]
            if name.casefold() in taken:
                name = rules.marked_name(job.key, extension)
            taken.add(name.casefold())
            rows.append(
                {
                    "number": number,
                    "key": job.key,
                    "name": name,
                    "folded_name": name.casefold(),
                    "request": json.dumps(job.request),
                    "links": json.dumps(job.links),
                }
            )
        await cursor.execute(_INSERT, (family, json.dumps(rows)))
        return [key for (key,) in await cursor.fetchall()]


async def _all(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """Await several at the same time; the first error ends all, as itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(_as_coroutine(each)) for each in work]
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return [task.result() for task in running]


async def _as_coroutine(work: Awaitable[Any]) -> Any:  # noqa: ANN401  any result
    return await work

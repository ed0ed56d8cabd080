"""Cluster: jobs of one A2E account in one PostgreSQL database, for many workers, and for web applications."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, cast

import psycopg
from psycopg.rows import tuple_row

from a2e_async._protocol.validation import check_seconds, raise_invalid
from a2e_async.batch.jobs import BatchApi, Job
from a2e_async.client import A2EClient
from a2e_async.cluster import enqueue as queueing
from a2e_async.cluster import schema
from a2e_async.cluster.database import Database, typed_errors
from a2e_async.cluster.journal import write_link
from a2e_async.cluster.models import COLUMNS, STATE, ClusterJob, ClusterJobState, ClusterStatus, Enqueued, to_job
from a2e_async.cluster.opened import OpenCluster
from a2e_async.cluster.status import read_status
from a2e_async.config import Config
from a2e_async.errors import ConfigurationError, WaitTimeoutError
from a2e_async.files.local_files import LocalFile

__all__ = ["Cluster"]

_FAMILY = "userImage2Video"
_CHUNK = 1000
_POLL = 5.0  # seconds between two looks at a job that no notification has told of
_LINK_LIFETIME = 86400.0
_UNSET: Any = object()

# An ended job begins again. A task that has failed may be started once more, which costs coins again.
_RETRY = """UPDATE a2e_jobs
    SET fence = fence + 1, ended = false, worker = NULL, tries = 0, setbacks = 0, retry_failed = greatest(starts, 1)
    WHERE key IN (SELECT key FROM a2e_jobs WHERE ended AND (state <> 'succeeded' OR error IS NOT NULL)
        AND (%s::text[] IS NULL OR key = ANY(%s)) ORDER BY key LIMIT %s FOR UPDATE) RETURNING key"""


class Cluster:
    """Jobs in a PostgreSQL database. Use it with ``async with``, in one event loop.

    One database has the jobs of one A2E account; use other databases, or other schemas (``?options=-csearch_path%3D``
    and the name), for others. Jobs are those of a batch: the same options, keys and file names. Queueing costs nothing;
    a `Worker` starts the jobs, which costs what the starts cost.
    """

    def __init__(self, database_url: str, *, max_connections: int = 10, connect_timeout: float = 10.0) -> None:
        """Check the URL. Nothing is opened.

        Args:
            database_url: Such as ``postgresql://user:password@host:5432/database``.
            max_connections: Connections of the pool, at most. A worker needs two more.
            connect_timeout: Seconds to connect.

        Raises:
            ConfigurationError: The URL is not valid.
            InvalidRequestError: A number is not.
        """
        check_seconds("connect_timeout", connect_timeout)
        self._settings = {"max_connections": max_connections, "connect_timeout": connect_timeout}
        self._url = database_url
        self._database = self._make_database()
        self._state: OpenCluster | None = None

    def __repr__(self) -> str:
        """Show whether it is open; never the URL, which has a password."""
        return f"<{type(self).__name__} {'open' if self._state is not None else 'closed'}>"

    def _make_database(self) -> Database:
        return Database(self._url, **self._settings)  # type: ignore[arg-type]  # the types of both settings

    async def init(self) -> None:
        """Create the tables, or upgrade them. Needs no ``async with``. Twice, or at the same time twice, does no harm.

        Raises:
            ClusterError: The database cannot be used, or its tables are newer than this version.
        """
        await schema.init(self._database)

    async def __aenter__(self) -> Self:
        """Connect, and check the tables.

        Raises:
            ClusterError: The server cannot be reached, or its tables are missing, old, or not writable.
        """
        database = self._database = self._make_database()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(database)
            await schema.check(database)
            state = OpenCluster(database)
            await state.queue.open()
            await state.account.refresh()
            checker = A2EClient("sk_unused", base_url=state.account.base_url, config=Config(proxy=""))
            state.checker = await stack.enter_async_context(checker)
            stack.push_async_callback(state.close)
            state.stack = stack.pop_all()
        self._state = state
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections. Calls of `result` and `updates` have to end before."""
        state, self._state = self._open, None
        await state.stack.aclose()

    @property
    def _open(self) -> OpenCluster:
        if self._state is None:
            msg = "The cluster is not open: use `async with`"
            raise ConfigurationError(msg)
        return self._state

    # jobs

    async def enqueue(
        self,
        jobs: Job | Mapping[str, Any] | Iterable[Job | Mapping[str, Any]] | AsyncIterable[Job | Mapping[str, Any]],
        *,
        client: A2EClient | None = None,
        connection: psycopg.AsyncConnection[Any] | None = None,
        chunk: int = _CHUNK,
    ) -> Enqueued:
        """Queue jobs, unless they were queued before. Free, but see `client`.

        The input is read and written in chunks, each in one transaction. If a chunk raises an error, the chunks before
        it stay queued, and the same call again continues.

        Args:
            jobs: A `Job`, or a dict with the same fields, or many of them in an iterable or async iterable.
            client: Uploads the local images of new jobs now, which costs what A2E charges for uploads; the links work
                for about 3 days. By default the path is stored: the worker needs the file at the same place.
            connection: A connection of yours with a transaction under way: the jobs are queued if and when you commit
                it, together with what else you have written.
            chunk: Jobs in one transaction.

        Returns:
            How many are new, and how many were known.

        Raises:
            InvalidRequestError: A job cannot work, or its key is known with another input.
            ClusterError: The database cannot be used.
            TransferError: With `client`: an image could not be uploaded.
        """
        state, added, known = self._open, 0, 0
        api = self._api(client)
        async with contextlib.aclosing(queueing.read_chunks(jobs, chunk)) as chunks:
            async for items in chunks:
                found = await queueing.prepare(api, items, uploads=client is not None)

                run = state.database.run if connection is None else _on(connection)
                requests = await run(functools.partial(queueing.load_known, keys=found))
                queueing.check_same(requests, found, "already queued")
                new = {key: job for key, job in found.items() if key not in requests}
                if client is not None:
                    await queueing.upload([*new.values()], self._uploader(api))
                insert = functools.partial(queueing.insert, queue=state.queue, family=_FAMILY, jobs=new)
                count = await run(functools.partial(insert, extension=api.extension))
                added, known = added + count, known + len(items) - count
        return Enqueued(added=added, known=known)

    async def check(
        self, jobs: Job | Mapping[str, Any] | Iterable[Job | Mapping[str, Any]] | AsyncIterable[Job | Mapping[str, Any]]
    ) -> int:
        """Check jobs as `enqueue` does, without queueing them, and return how many there are. Free.

        Raises:
            InvalidRequestError: A job cannot work, or its key is known, or comes twice, with another input.
            ClusterError: The database cannot be used.
        """
        state, count = self._open, 0
        seen: dict[int, int] = {}  # hashes, so that the input can have any length
        async with contextlib.aclosing(queueing.read_chunks(jobs, _CHUNK)) as chunks:
            async for items in chunks:
                found = await queueing.prepare(self._api(None), items, uploads=True)
                requests = await state.database.run(functools.partial(queueing.load_known, keys=found))
                queueing.check_same(requests, found, "already queued")
                for job in found.values():
                    content = hash(repr(sorted(job.request.items())))
                    if seen.setdefault(hash(job.key), content) != content:
                        raise_invalid(f"The input has the key {job.key!r} twice, with different options")
                count += len(items)
        return count

    def _api(self, client: A2EClient | None) -> BatchApi[Any]:
        # the resource of the family is the only one with batches
        return (self._open.checker if client is None else client).image_to_video._batch_api()  # noqa: SLF001

    def _uploader(self, api: BatchApi[Any]) -> Any:  # noqa: ANN401  a function
        database = self._open.database

        async def get_link(file: LocalFile, digest: str) -> str:
            query = "SELECT link FROM a2e_uploads WHERE digest = %s AND uploaded_at >= %s"
            rows = await database.execute(query, digest, time.time() - _LINK_LIFETIME)
            if rows:
                return str(rows[0][0])
            link = await api.upload(file)
            await write_link(database, digest, link)
            return link

        return get_link

    async def job(self, key: str) -> ClusterJob | None:
        """Return what the cluster knows about a job, None if it does not know the key.

        Raises:
            ClusterError: The database cannot be used.
        """
        rows = await self._open.database.execute(f"SELECT {COLUMNS} FROM a2e_jobs WHERE key = %s", key)  # noqa: S608  names of ours
        return to_job(rows[0]) if rows else None

    async def jobs(self, *states: ClusterJobState) -> AsyncGenerator[ClusterJob, None]:
        """Yield all jobs in the order in which they were queued, or those in one of these states.

        They are read as needed, in one transaction: what changes in the meantime is not seen.

        Raises:
            ClusterError: The database cannot be used.
        """
        query = f"SELECT {COLUMNS} FROM a2e_jobs WHERE %s OR {STATE} = ANY(%s) ORDER BY position"  # noqa: S608  names of ours
        with typed_errors():
            # a connection of its own: the reader of a long list must not hold one of the pool
            async with (
                await self._open.database.connect() as connection,
                connection.transaction(),
                connection.cursor("a2e_jobs", row_factory=tuple_row) as cursor,
            ):
                cursor.itersize = _CHUNK
                await cursor.execute(query, (not states, [*states]))
                async for row in cursor:
                    yield to_job(row)

    async def result(self, key: str, *, timeout: float | None = None) -> ClusterJob:  # noqa: ASYNC109  as in other waits
        """Wait until a job has ended, and return it. Its `ok` and `error` say how. Free.

        Args:
            key: The job.
            timeout: Seconds to wait; None for no limit.

        Raises:
            InvalidRequestError: The cluster does not know the key.
            WaitTimeoutError: It has not ended in time. It goes on.
            ClusterError: The database cannot be used.
        """
        check_seconds("timeout", timeout)
        job: ClusterJob | None = None
        try:
            async with asyncio.timeout(timeout), contextlib.aclosing(self.updates(key)) as updates:
                async for job in updates:  # noqa: B007  the last one is returned
                    pass
        except TimeoutError as error:
            msg = f"Job {key!r} has not ended in {timeout:g} s. It goes on"
            raise WaitTimeoutError(msg, task_id=None if job is None else job.task_id) from error
        return cast("ClusterJob", job)

    async def updates(self, key: str) -> AsyncGenerator[ClusterJob, None]:
        """Yield a job now, and again when its state has changed, until it has ended. Free.

        That A2E has accepted a start, and the end, are seen at once; other states, which are short, can be missed.

        Raises:
            InvalidRequestError: The cluster does not know the key.
            ClusterError: The database cannot be used.
        """
        state, last = self._open, None
        async with state.watch(key) as changed:
            while True:
                changed.clear()
                job = await self.job(key)
                if job is None:
                    raise_invalid(f"The cluster has no job with the key {key!r}")
                if last is None or (job.state, job.task_id, job.worker is None) != last:
                    last = job.state, job.task_id, job.worker is None
                    yield job
                if job.ended:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL):
                        await changed.wait()

    async def retry(self, keys: Iterable[str] | None = None) -> int:
        """Queue jobs again that have ended without success, or whose result could not be stored; return how many.

        A task that is still open is waited for, a result is only stored, and a job whose task has failed is started
        again, which costs coins again.

        Args:
            keys: The jobs; None for all of them.

        Raises:
            ClusterError: The database cannot be used.
        """
        state, total = self._open, 0
        chosen = None if keys is None else [*keys]

        async def write(connection: psycopg.AsyncConnection[Any]) -> int:
            cursor = await connection.execute(_RETRY, (chosen, chosen, _CHUNK))
            found = [key for (key,) in await cursor.fetchall()]
            if found:
                await state.queue.put(connection, sorted(found))
            return len(found)

        while count := await state.database.run(write):
            total += count
        return total

    # the cluster

    async def pause(self, reason: str = "paused by hand") -> None:
        """Start nothing more, until `resume`. Running tasks go on, and their results are stored.

        Raises:
            ClusterError: The database cannot be used.
        """
        await self._open.account.hold(reason)

    async def resume(self) -> None:
        """End each pause: one by hand, for lack of coins, for the plan or the token, or because A2E is busy.

        Raises:
            ClusterError: The database cannot be used.
        """
        await self._open.account.resume("held", "breaker")

    async def set_limits(
        self,
        *,
        max_running: int | None = _UNSET,
        max_coins: float | None = _UNSET,
        per_second: float | None = _UNSET,
    ) -> None:
        """Set limits of the whole cluster. One that is not given stays as it is; None is no limit, as at the beginning.

        Args:
            max_running: Tasks at A2E at the same time.
            max_coins: Coins that all jobs of the cluster may cost, as `max_coins` of a batch. A job that would exceed
                them waits until there is more.
            per_second: Requests to A2E a second, which the workers share.

        Raises:
            InvalidRequestError: A limit is not valid.
            ClusterError: The database cannot be used.
        """
        if max_running not in (None, _UNSET) and (
            isinstance(max_running, bool) or not isinstance(max_running, int) or max_running < 1
        ):
            raise_invalid(f"max_running must be an integer of at least 1, or None, not {max_running!r}")
        for name, value in (("max_coins", max_coins), ("per_second", per_second)):
            if value in (None, _UNSET):
                continue
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value < float("inf")
                or (name == "per_second" and not value)
            ):
                raise_invalid(f"{name} must be a positive number, or None, not {value!r}")
        limits = {"max_running": max_running, "max_coins": max_coins, "per_second": per_second}
        if given := {name: value for name, value in limits.items() if value is not _UNSET}:
            await self._open.account.set_limits(**given)

    async def status(self) -> ClusterStatus:
        """Return what is going on. It counts all jobs, which takes about a second for a million. Free.

        Raises:
            ClusterError: The database cannot be used.
        """
        return await self._open.database.run(read_status)


def _on(connection: psycopg.AsyncConnection[Any]) -> Callable[..., Awaitable[Any]]:
    """Return a function that runs an operation on a connection of the caller, inside of its transaction."""

    async def run(operation: Callable[..., Awaitable[Any]]) -> Any:  # noqa: ANN401  its result
        with typed_errors():
            return await operation(connection)

    return run

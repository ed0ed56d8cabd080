"""Queue of a cluster: Procrastinate, so that it survives a restart of the server, and a late worker changes nothing."""

# How it works: Procrastinate queues the jobs, gives each to one worker, and knows by heartbeats which workers are
# alive. Two things are added here.
#
# * Its worker ends at the first error of a connection. So `_Connector` repeats a query until the server is back, and
#   the worker does not notice an outage. A repeated query can have been committed the first time: `Worker` gives back
#   jobs that it was given and does not know, and an end that was recorded before is ignored.
# * It does not check which worker ends a job. A worker that was stopped for a while, and whose job another one has by
#   now, would end the job of that one. So `_Manager` ends a job only for the worker that has it.

import contextlib
import datetime as dt
import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import procrastinate
import procrastinate.exceptions
import psycopg
from procrastinate import connector as procrastinate_connector
from procrastinate import jobs, manager, retry, utils
from procrastinate.psycopg_connector import PsycopgConnector
from procrastinate.worker import Worker as QueueWorker
from psycopg.rows import tuple_row

from a2e_async.cluster.database import Database, is_transient, patiently
from a2e_async.errors import ClusterError

# ruff: noqa: ANN401, S608  (the types of Procrastinate; texts of ours)

T = TypeVar("T")

Listener: TypeAlias = Callable[[str], Awaitable[None]]

QUEUE = "a2e"
TASK = "a2e_async.run_job"

_MINE = """WITH mine AS MATERIALIZED (
    SELECT id FROM procrastinate_jobs
    WHERE id = %(job_id)s AND status = 'doing' AND worker_id = %(worker_id)s
      AND attempts = coalesce(%(attempts)s, attempts) FOR UPDATE
) """

_END = f"{_MINE} SELECT procrastinate_finish_job_v1(id, %(status)s::procrastinate_job_status, %(delete_job)s) FROM mine"

_GIVE_BACK = f"""{_MINE}
    SELECT procrastinate_retry_job_v2(id, now() + make_interval(secs => %(delay)s), NULL, NULL, NULL) FROM mine"""

# Jobs of workers without a heartbeat. Two workers do this at the same time: each job is given back once.
_TAKE_OVER = """WITH stalled AS (
    SELECT job.id FROM procrastinate_jobs job
    LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
    WHERE job.status = 'doing' AND job.queue_name = %s AND job.worker_id IS DISTINCT FROM %s
      AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %s))
    ORDER BY job.id FOR UPDATE OF job SKIP LOCKED
) SELECT procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL) FROM stalled"""


# Jobs that a worker has begun, and that are not in the queue any more, such as after it was cleaned up.
_MISSING = """SELECT key FROM a2e_jobs WHERE NOT ended AND fence > 0
    AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE lock = key AND status = 'doing')
    AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE queueing_lock = key AND status = 'todo')
    LIMIT 1000"""


class AgainError(Exception):
    """Signal that a job goes back to the queue. It never leaves a worker.

    Attributes:
        delay: Seconds until it may be taken again.
    """

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self.delay = delay


class _GiveBack(retry.BaseRetryStrategy):
    """A job whose run was cut off goes back to the queue, in any case: it is never lost."""

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> retry.RetryDecision:
        del job
        delay = exception.delay if isinstance(exception, AgainError) else 0.0
        return retry.RetryDecision(retry_at=utils.utcnow() + dt.timedelta(seconds=delay))


class _Connector(PsycopgConnector):
    """Connector on the pool of a cluster that waits while the server is away.

    Attributes:
        is_closing: Whether the worker ends, and waits no more.
        listeners: Functions that get the payloads of further channels, on the connection that listens for new jobs:
            each connection that listens costs the server a transaction for each notification.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self.is_closing = False
        self.listeners: dict[str, Listener] = {}

    async def _patiently(self, query: Callable[[], Awaitable[T]]) -> T:
        async def attempt() -> T:
            try:
                return await query()
            except procrastinate.exceptions.ConnectorException as error:
                if isinstance(error.__cause__, psycopg.Error) and is_transient(error.__cause__):
                    raise error.__cause__ from None
                raise

        return await patiently(
            attempt,
            outage=self._database.outage,
            on_broken=self._database.pool.check,
            may_wait=lambda: not self.is_closing,
        )

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        try:
            await self._patiently(lambda: super(_Connector, self).execute_query_async(query, **arguments))
        except ClusterError:  # such as the end of a job: another worker takes it over
            if not self.is_closing:
                raise

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        return await self._patiently(lambda: super(_Connector, self).execute_query_one_async(query, **arguments))

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        return await self._patiently(lambda: super(_Connector, self).execute_query_all_async(query, **arguments))

    async def listen_notify(self, on_notification: procrastinate_connector.Notify, channels: Iterable[str]) -> None:
        async for channel, payload in self._database.listen(*channels, *self.listeners):
            if channel in self.listeners:
                await self.listeners[channel](payload)
            elif channel:
                await on_notification(channel=channel, payload=payload)
            else:
                for listener in self.listeners.values():
                    await listener("")


class _Manager(manager.JobManager):
    """Manager that ends jobs only for the worker that has them.

    Attributes:
        worker_id: The worker of this process, as Procrastinate numbers it.
    """

    worker_id: int | None = None

    async def register_worker(self) -> int:
        self.worker_id = await super().register_worker()
        return self.worker_id

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:  # noqa: FBT001  of Procrastinate
        # `attempts` as well: this worker can have lost the job, and have got it again
        values = {"job_id": job.id, "attempts": job.attempts, "status": status.value, "delete_job": delete_job}
        await self.connector.execute_query_async(_END, worker_id=self.worker_id, **values)

    async def retry_job(self, job: jobs.Job, retry_at: dt.datetime | None = None, *_: Any, **__: Any) -> None:
        # the times of the server count: the clock of this machine can be wrong
        delay = 0.0 if retry_at is None else max(0.0, (retry_at - utils.utcnow()).total_seconds())
        await self.requeue(job.id, job.attempts, delay)

    async def requeue(self, job_id: int | None, attempts: int | None, delay: float) -> None:
        """Put a job of this worker back into the queue, unless it has lost it."""
        values = {"job_id": job_id, "attempts": attempts, "delay": delay}
        await self.connector.execute_query_async(_GIVE_BACK, worker_id=self.worker_id, **values)


class Queue:
    """Queue of one cluster, as one process sees it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connector = _Connector(database)
        self._app = procrastinate.App(connector=self._connector)
        self._missing: set[str] = set()
        self._manager = self._app.job_manager = _Manager(self._connector)

    async def open(self) -> None:
        """Use the pool of the database, which has to be open."""
        await self._connector.open_async(self._database.pool)

    async def put(self, connection: psycopg.AsyncConnection[Any], keys: list[str]) -> None:
        """Queue jobs that are not in the queue, in the transaction of a connection."""
        query = "SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock = ANY(%s)"
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(query, (keys,))
            queued = {key for (key,) in await cursor.fetchall()}
        new = [
            jobs.Job(queue=QUEUE, lock=key, queueing_lock=key, task_name=TASK, task_kwargs={"key": key})
            for key in keys
            if key not in queued
        ]
        if new:
            await self._manager.batch_defer_jobs_async(new, connection=connection)

    def worker(
        self,
        run_job: Callable[[str], Awaitable[None]],
        *,
        concurrency: int,
        poll_interval: float,
        heartbeat: float,
        stall_timeout: float,
        hand_back_time: float,
        name: str,
        listeners: dict[str, Listener],
    ) -> QueueWorker:
        """Return a worker of Procrastinate that calls a function with the key of each job.

        Args:
            run_job: Runs a job to its end. It raises `AgainError` to give it back; any other error gives it back too.
            concurrency: Jobs at the same time.
            poll_interval: Seconds between two looks for jobs that no notification has told of.
            heartbeat: Seconds between two heartbeats.
            stall_timeout: Seconds without a heartbeat after which a worker counts as dead.
            hand_back_time: Seconds for jobs to end by themselves after a stop.
            name: Its name, for Procrastinate's log.
            listeners: Channel -> a function that gets each payload, and an empty one after each new connection.
        """
        self._connector.is_closing, self._connector.listeners = False, listeners
        self._app.tasks.pop(TASK, None)

        @self._app.task(name=TASK, queue=QUEUE, retry=_GiveBack())
        async def task(key: str) -> None:
            await run_job(key)

        del task
        return QueueWorker(
            app=self._app,
            queues=[QUEUE],
            name=name,
            concurrency=concurrency,
            fetch_job_polling_interval=poll_interval,
            abort_job_polling_interval=60.0,  # nothing here asks for it
            shutdown_graceful_timeout=hand_back_time,
            install_signal_handlers=False,
            delete_jobs="successful",
            update_heartbeat_interval=heartbeat,
            stalled_worker_timeout=max(600.0, 10 * stall_timeout),  # a worker that is only slow keeps its number
        )

    def stop_waiting(self) -> None:
        """End all calls of the worker that wait for a server that is away."""
        self._connector.is_closing = True

    async def take_over(self, stall_timeout: float) -> int:
        """Give back the jobs of workers that have died; return how many."""
        # this worker has no heartbeat either right after it was stopped for a while
        own = self._manager.worker_id
        rows = await self._database.execute(_TAKE_OVER, QUEUE, own, stall_timeout, is_patient=True)
        return len(rows)

    async def restore(self) -> None:
        """Queue jobs again that are open and not in the queue."""
        before = self._missing
        rows = await self._database.execute(_MISSING, is_patient=True)
        missing, self._missing = {key for (key,) in rows}, {key for (key,) in rows}
        for key in missing & before:  # twice: the first time, it may just be on its way
            with contextlib.suppress(procrastinate.exceptions.AlreadyEnqueued):  # by another worker
                await self._database.run(functools.partial(self.put, keys=[key]), is_patient=True)

    async def own_jobs(self) -> dict[int, str]:
        """Return the jobs that Procrastinate has given to the worker of this process: their numbers and keys."""
        rows = await self._database.execute(
            "SELECT id, args ->> 'key' FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = %s",
            self._manager.worker_id,
            is_patient=True,
        )
        return dict(rows)

    async def requeue(self, job_id: int) -> None:
        """Give back a job that this process does not know, since the answer that gave it was lost."""
        await self._manager.requeue(job_id, None, 0.0)

    async def has_open(self) -> bool:
        """Return whether a job is in the queue or under way."""
        rows = await self._database.execute(
            "SELECT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE queue_name = %s AND status IN ('todo', 'doing')) "
            "OR EXISTS (SELECT 1 FROM a2e_jobs WHERE NOT ended AND fence > 0)",
            QUEUE,
            is_patient=True,
        )
        return bool(rows[0][0])

"""One run of a worker of a cluster: it takes jobs from the queue, runs them as a batch does, and hands them back."""

# How it works:
#
# * Procrastinate gives a job to this worker, which *claims* it (`journal.py`) and runs it as a batch does: with the
#   batch's own `JobWorker`, whose journal, budget, breaker and running slots are those of the whole cluster. So a job
#   of another worker that died, or was stopped, goes on where that one was: its start is looked up at A2E, its task is
#   waited for, and nothing is paid twice. Then its result is stored.
# * A job that cannot go on goes back to the queue with a delay: its storage fails, or the outcome of its start is still
#   unknown. While the cluster is paused, or the coins are used up, its jobs wait in their workers.
# * While PostgreSQL is away, the waits for tasks go on, and everything that has to write waits.
# * At the end, no more jobs are taken, and those under way are cancelled and go back to the queue. Their tasks go on at
#   A2E, and their ids are in the database. A start that is being sent gets a few seconds for its answer; without it,
#   the next worker finds its task in A2E's list.

import asyncio
import contextlib
import copy
import logging
import time
from collections.abc import Coroutine
from typing import Any

import attrs

from a2e_async.batch.context import BatchContext, JobContext
from a2e_async.batch.jobs import BatchApi, BatchOptions, Job
from a2e_async.batch.results import JobResult, error_to_json
from a2e_async.batch.rules import Budget, JournalEntry, is_open
from a2e_async.batch.storage import StorageGuard
from a2e_async.batch.uploads import UploadCache
from a2e_async.batch.worker import JobWorker
from a2e_async.client import A2EClient
from a2e_async.cluster.account import CHANNEL, Account
from a2e_async.cluster.database import Database
from a2e_async.cluster.heartbeat import Heartbeat
from a2e_async.cluster.journal import Claim, ClaimLostError, PostgresJournal, current_claim
from a2e_async.cluster.limits import ClusterBudget, ClusterSlots
from a2e_async.cluster.pauses import ClusterBreaker
from a2e_async.cluster.queue import AgainError, Queue
from a2e_async.cluster.sinks import ResultFile, ResultSink
from a2e_async.errors import A2EError, BudgetError, ClientClosedError, ConfigurationError, JournalError, TransferError

_LOGGER = logging.getLogger("a2e_async")

_FIRST_SETBACK = 5.0  # seconds until a job that could not go on is tried again, doubled each time
_MAX_SETBACK = 300.0
_MAX_SETBACKS = 10

_CLOSING_TIME = 0.5  # seconds for each thing that is pending, after the jobs were handed back


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WorkerSettings:
    """Settings of a worker; see `Worker`."""

    name: str
    client: A2EClient
    sink: ResultSink | None
    options: BatchOptions
    concurrency: int
    heartbeat: float
    stall_timeout: float
    poll_interval: float
    hand_back_time: float
    until_idle: bool
    adopt: bool


class WorkerRun:
    """One run of a worker.

    Attributes:
        stopping: Set when the worker ends.
        jobs: The jobs under way.
    """

    def __init__(
        self, settings: WorkerSettings, database: Database, queue: Queue, account: Account, api: BatchApi[Any]
    ) -> None:
        self.settings, self.database, self.queue, self.account, self.api = settings, database, queue, account, api
        self.stopping = asyncio.Event()
        self.jobs: dict[str, asyncio.Task[None]] = {}
        self.contexts: dict[str, JobContext[Any]] = {}
        self.waits: dict[str, str] = {}  # jobs that wait for the end of a pause, or for coins
        self.journal = PostgresJournal(database, settings.name, self._on_lost, settings.adopt)
        self.breaker = ClusterBreaker(account=account)
        self.batch = self._make_batch()
        services = settings.client.image_to_video._services()  # noqa: SLF001  a worker is a part of the package
        self.journal.others_lateness = services.finder.max_lateness
        self._beats = Heartbeat(
            name=settings.name,
            interval=settings.heartbeat,
            stall_timeout=settings.stall_timeout,
            database=database,
            queue=queue,
            account=account,
            journal=self.journal,
            throttle=services.api.throttled.throttle,
            jobs=self.jobs,
            stage_of=lambda key: self.waits.get(key) or (context.stage if (context := self.contexts.get(key)) else ""),
        )

    def _make_batch(self) -> BatchContext[Any]:
        options, journal, breaker = self.settings.options, self.journal, self.breaker
        if options.resend is None:
            options = attrs.evolve(options, resend=self.api.resends)
        slots: Any = ClusterSlots(self.account, journal)
        return BatchContext(
            api=self.api,
            options=options,
            journal=journal,
            budget=ClusterBudget(self.api, Budget(None), account=self.account, journal=journal),
            breaker=breaker,
            storage=StorageGuard(breaker, None, options.max_running),
            uploads=UploadCache(self.api, journal, breaker, asyncio.Semaphore(options.max_uploads)),
            first_slots=asyncio.Semaphore(options.max_starts),
            start_slots=asyncio.Semaphore(options.max_starts),
            running_slots=slots,
            download_slots=asyncio.Semaphore(options.max_downloads),
        )

    async def prepare(self) -> None:
        """Check everything that can be checked before the first job."""
        if not self.api.marks_names:
            msg = "A cluster needs StartPolicy(mark_names=True): without markers no start can be found again"
            raise ConfigurationError(msg)
        await self.account.refresh()
        await self.account.claim_base_url(self.api.base_url)
        self.journal.id = self.account.id
        if self.settings.sink is not None:
            await self.settings.sink.check()

    async def run(self) -> None:
        """Run jobs until the end."""
        works: list[Coroutine[Any, Any, None]] = [self.journal.write_groups(), self.account.watch(), self._beats.run()]
        if self.settings.until_idle:
            works.append(self._stop_when_idle())
        helpers = {asyncio.create_task(work, name="a2e-cluster-helper") for work in works}
        running = asyncio.create_task(self._take_jobs(), name="a2e-cluster-jobs")
        stop = asyncio.create_task(self.stopping.wait(), name="a2e-cluster-stop")
        try:
            await asyncio.wait({*helpers, running, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stopping.set()
            # in a task of its own: a second cancellation of the caller must not leave jobs behind
            await asyncio.shield(asyncio.ensure_future(self._close(helpers, running)))
            stop.cancel()
        for task in (*helpers, running):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise _first(error)

    async def _take_jobs(self) -> None:
        """Run Procrastinate's worker, again if it ends by itself."""
        settings = self.settings
        while not self.stopping.is_set():
            queue_worker = self.queue.worker(
                self._run_job,
                concurrency=settings.concurrency,
                poll_interval=settings.poll_interval,
                heartbeat=settings.heartbeat,
                stall_timeout=settings.stall_timeout,
                hand_back_time=settings.hand_back_time,
                name=settings.name,
                listeners={CHANNEL: self.account.on_notification},
            )
            running = asyncio.create_task(queue_worker.run(), name="a2e-cluster-queue")  # type: ignore[no-untyped-call]
            stop = asyncio.create_task(self.stopping.wait(), name="a2e-cluster-stop")
            try:
                await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stop.cancel()
                queue_worker.stop()  # type: ignore[no-untyped-call]
                if self.stopping.is_set():
                    self._cancel_jobs()
                await asyncio.wait({running})
            error = running.exception()
            if error is not None and not self.stopping.is_set():
                _LOGGER.warning("The queue's worker ended with %s, and begins again", type(error).__name__)
                await asyncio.sleep(1.0)

    def _cancel_jobs(self) -> None:
        for task in [*self.jobs.values()]:
            task.cancel()

    async def _close(self, helpers: set[asyncio.Task[None]], running: asyncio.Task[None]) -> None:
        """Hand back all jobs, and end all tasks."""
        if self.database.outage.is_on:
            self.queue.stop_waiting()
        _, late = await asyncio.wait({running}, timeout=self.settings.hand_back_time)
        if late:
            self._cancel_jobs()  # the second time: a start that is being sent goes on without its job
            self.queue.stop_waiting()
            await asyncio.wait({running})
        for task in helpers:
            task.cancel()
        await asyncio.wait(helpers)
        await self.breaker.close(_CLOSING_TIME)
        await self.journal.close(_CLOSING_TIME)
        self.account.on_change.remove(self.breaker.follow)
        with contextlib.suppress(A2EError, TimeoutError):
            async with asyncio.timeout(_CLOSING_TIME):
                await self.database.execute("DELETE FROM a2e_workers WHERE name = %s", self.settings.name)

    async def _stop_when_idle(self) -> None:
        while self.jobs or await self.queue.has_open():  # noqa: ASYNC110  the queue is in the database
            await asyncio.sleep(min(1.0, self.settings.poll_interval))
        self.stopping.set()

    def _on_lost(self, key: str) -> None:
        """End the run of a job that another worker has taken over."""
        _LOGGER.warning("Another worker has taken over the job %r: it goes on there", key)
        if key in self.jobs:
            self.jobs[key].cancel()

    # jobs

    async def _run_job(self, key: str) -> None:
        """Run a job to its end; called by Procrastinate's worker.

        Raises:
            AgainError: It goes back to the queue.
        """
        while (earlier := self.jobs.get(key)) is not None:  # this worker lost the job, and got it again
            earlier.cancel()
            await asyncio.wait({earlier})
        work = self.jobs[key] = asyncio.create_task(self._claim_and_run(key), name="a2e-cluster-job")
        work.add_done_callback(lambda _: self._forget(key, work))
        if self.stopping.is_set():
            work.cancel()
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait({work}, timeout=_CLOSING_TIME)
            raise AgainError from None
        if work.cancelled():
            raise AgainError
        if (error := work.exception()) is not None:
            raise error from None

    def _forget(self, key: str, work: asyncio.Task[None]) -> None:
        if self.jobs.get(key) is work:
            del self.jobs[key]
            self.contexts.pop(key, None)
            self.waits.pop(key, None)

    async def _claim_and_run(self, key: str) -> None:
        claim = await self.journal.claim(key)
        if claim is None:
            return
        try:
            await self._run_claimed(claim)
        except asyncio.CancelledError:
            if not claim.is_lost:  # else it belongs to another worker, and the queue changes nothing
                raise
        finally:
            self.journal.release(claim)

    async def _run_claimed(self, claim: Claim) -> None:
        current_claim.set(claim)
        try:
            await self._get_result(claim)
        except ClaimLostError:
            return
        except asyncio.CancelledError:
            claim.freed = True
            self.journal.update(claim)
            with contextlib.suppress(JournalError):
                await self.journal.flush_job(claim.key)
            raise
        except AgainError:
            raise
        except JournalError as error:
            _LOGGER.error("The job %r goes back to the queue: %s", claim.key, error)  # noqa: TRY400  the text says all
            raise AgainError(_FIRST_SETBACK) from error
        except Exception as error:  # noqa: BLE001  a bug of ours must not lose the job
            # only the type is logged: the text may hold a prompt or a link
            _LOGGER.error("Unexpected error in a job of a cluster: %s", type(error).__name__)  # noqa: TRY400
            msg = f"Unexpected {type(error).__name__}. This is a bug of a2e-async: please report it"
            await self._set_back(claim, A2EError(msg))

    async def _get_result(self, claim: Claim) -> None:
        """Get the task of a job, and store its result."""
        while True:
            entry = await self.journal.load(claim.key)
            if entry is None:
                return
            context = self.contexts[claim.key] = JobContext(self._batch_for(claim), _to_job(entry))
            result = await JobWorker(context).run()
            if not await self._must_repeat(claim, result):
                break
        claim.entry = context.entry
        error = result.error
        if result.state in {"succeeded", "skipped"} and error is None:
            error = await self._store(claim, context)
            await self._end(claim, error)
        elif isinstance(error, ClientClosedError):
            raise AgainError(1.0)
        elif result.state == "failed" or error is None:
            await self._end(claim, error)
        else:
            await self._set_back(claim, error)

    def _batch_for(self, claim: Claim) -> BatchContext[Any]:
        options = self.batch.options
        if claim.retry_failed <= options.retry_failed:
            return self.batch
        batch = copy.copy(self.batch)
        batch.options = attrs.evolve(options, retry_failed=claim.retry_failed)
        return batch

    async def _must_repeat(self, claim: Claim, result: JobResult[Any]) -> bool:
        """Return whether a job that nothing is wrong with has to be run again, after a wait for the whole cluster."""
        error = result.error
        if error is None or isinstance(error, ClientClosedError) or result.state == "failed":
            return False
        if error is self.breaker.stop_reason:
            self.waits[claim.key] = "paused"
            await self.breaker.wait_until_released()
        elif isinstance(error, BudgetError):
            self.waits[claim.key] = "budget"
            limit, until = self.account.max_coins, time.monotonic() + 60.0  # a refund makes room as well
            while self.account.max_coins == limit and time.monotonic() < until:
                await self.account.wait(5.0)
        else:
            return False
        self.waits.pop(claim.key, None)
        return True

    async def _store(self, claim: Claim, context: JobContext[Any]) -> A2EError | None:
        """Store the result of a job, and return what went wrong."""
        sink = self.settings.sink
        if sink is None or claim.output is not None:
            return None
        if self.batch.download_slots.locked():
            context.enter("waiting")
        async with self.batch.download_slots:
            context.enter("downloading")
            try:
                file = ResultFile(key=claim.key, name=claim.name, download=context.task().download)
                claim.output = await sink.store(file)
            except TransferError as error:
                await self._set_back(claim, error)
                return error
            except ClientClosedError:
                raise AgainError(1.0) from None
            except A2EError as error:
                return error
        return None

    async def _set_back(self, claim: Claim, error: A2EError) -> None:
        """Put a job that cannot go on back into the queue, or end it if that has happened too often."""
        if claim.setbacks >= _MAX_SETBACKS:
            await self._end(claim, error)
            return
        delay = min(_FIRST_SETBACK * 2**claim.setbacks, _MAX_SETBACK)
        claim.setbacks, claim.freed = claim.setbacks + 1, True
        if claim.entry is not None:
            claim.entry.error = error_to_json(error)
            await self.journal.save(claim.entry)
        raise AgainError(delay)

    async def _end(self, claim: Claim, error: A2EError | None) -> None:
        entry = claim.entry
        if entry is None or claim.ended:
            return
        entry.error = None if error is None else error_to_json(error)
        entry.finished_at = entry.finished_at or time.time()
        claim.ended, claim.slot, claim.reserved = True, claim.slot and is_open(entry), None
        await self.journal.save(entry)


def _to_job(entry: JournalEntry) -> Job:
    """Return the job of a row: images are links, or files that this machine has as well."""
    fields: dict[str, Any] = {**entry.request}
    for name in ("image", "end_image"):
        image = fields.pop(name, None)
        if image is not None:
            is_link = "url" in image
            fields[f"{name}_url" if is_link else name] = image["url"] if is_link else image["path"]
    return Job(key=entry.key, **fields)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

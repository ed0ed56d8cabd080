"""Runner of a batch: reads the jobs as needed, and runs a bounded number of them at the same time."""

# How it works:
#
# * `Batch` is what the caller iterates over. Its iteration starts one background task, which runs `Runner.run`.
# * `Runner.run` opens the journal and reads the input. It runs each job in a task of its own, as soon as there is a
#   slot.
# * Results go through a queue to the iteration. If the caller takes them too slowly, no more jobs are read.
# * An error of one job is a result. An error of the input ends the reading, and the jobs that were read still end. An
#   error of the journal cancels everything, because without it nothing may be started.
# * If the caller leaves early, all tasks are cancelled. A start that is being sent still gets its answer into the
#   journal.

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from a2e_async._protocol.validation import raise_invalid
from a2e_async.batch import rules
from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.circuit_breaker import CircuitBreaker
from a2e_async.batch.context import BatchContext, JobContext
from a2e_async.batch.downloads import prepare_folder
from a2e_async.batch.jobs import BatchApi, BatchOptions, to_job
from a2e_async.batch.journal import Journal, SqliteJournal
from a2e_async.batch.results import ActiveJob, JobResult, JobState, Progress, make_result
from a2e_async.batch.rules import Budget, JournalEntry
from a2e_async.batch.storage import StorageGuard
from a2e_async.batch.uploads import UploadCache
from a2e_async.batch.worker import JobWorker
from a2e_async.errors import A2EError, ConfigurationError, InvalidRequestError
from a2e_async.models.common import TaskRecord

R = TypeVar("R", bound=TaskRecord)

_LOGGER = logging.getLogger("a2e_async")


@attrs.define(eq=False, repr=False)
class Runner(Generic[R]):
    """Runner of all jobs of one batch.

    Attributes:
        open_api: Returns the API for the running event loop.
        results: Gets the results with the numbers of their jobs from 1, in the order of completion.
        buffer_slots: Bounds the jobs whose results the caller has not taken yet.
    """

    open_api: Callable[[], BatchApi[R]]
    jobs: Iterable[Any] | AsyncIterable[Any]
    options: BatchOptions
    results: asyncio.Queue[tuple[int, JobResult[R]] | None]
    buffer_slots: asyncio.Semaphore
    _context: BatchContext[R] | None = None
    _active: dict[str, JobContext[R]] = attrs.field(factory=dict)
    _counts: dict[str, int] = attrs.field(init=False)
    _read: int = 0

    def __attrs_post_init__(self) -> None:
        """Prepare the counters; nothing is opened or read."""
        self._counts = dict.fromkeys(("succeeded", "failed", "uncertain", "skipped"), 0)

    def progress(self) -> Progress:
        """Return the progress at this moment."""
        batch, now = self._context, time.monotonic()
        if batch is None:
            return Progress(total=self.options.total)
        return Progress(
            total=self.options.total,
            read=self._read,
            **self._counts,
            started=batch.started,
            retried=batch.retried,
            coins=batch.budget.budget.spent,
            active=tuple(
                ActiveJob(
                    key=context.job.key,
                    stage=context.stage,
                    task_id=context.entry.task_id,
                    status="" if context.handle is None else context.handle.record.current_status,
                    seconds=now - context.stage_since,
                )
                for context in self._active.values()
            ),
            paused=batch.breaker.reason or batch.storage.reason,
            stopped=str(batch.breaker.stopped or ""),
        )

    async def run(self) -> None:
        """Run all jobs. If it is cancelled, running tasks stay alive at A2E, and starts being sent are recorded.

        Raises:
            JournalError: The journal cannot be used.
            Exception: An error of the input, after all jobs that were read have ended.
        """
        api, options = self.open_api(), self.options
        if not api.marks_names and (options.resend or options.journal is not None):
            what = "on_unknown='resend'" if options.resend else "A journal"
            msg = f"{what} needs StartPolicy(mark_names=True): without markers no start can be found again"
            raise ConfigurationError(msg)
        journal = Journal() if options.journal is None else SqliteJournal(options.journal, api.base_url)
        async with journal:
            self._context = batch = self._make_context(api, journal)
            if options.out is not None:
                await prepare_folder(batch, options.out)
            await self._run_jobs(self._context)

    async def _run_jobs(self, batch: BatchContext[R]) -> None:
        input_error: Exception | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    await self._read_jobs(batch, tasks)
                except Exception as error:  # noqa: BLE001  the jobs that were read end first
                    input_error = error
        except BaseExceptionGroup as group:  # the journal failed, which has cancelled all other jobs
            raise group.exceptions[0] from None
        if input_error is not None:
            raise input_error

    async def _read_jobs(self, batch: BatchContext[R], tasks: asyncio.TaskGroup) -> None:
        """Read a job and start its task, whenever there is a slot for one."""
        slots = asyncio.Semaphore(self.options.max_active)
        async with contextlib.aclosing(_iterate(self.jobs)) as jobs:
            async for item in jobs:
                await self.buffer_slots.acquire()
                await slots.acquire()
                self._read += 1
                task = tasks.create_task(self._run_job(batch, self._read, item), name="a2e-job")
                task.add_done_callback(lambda _: slots.release())
                await asyncio.sleep(0)  # else the first steps of thousands of jobs would hold the event loop

    async def _run_job(self, batch: BatchContext[R], number: int, item: object) -> None:
        result = await self._job_result(batch, number, item)
        _drop_tracebacks(result.error)
        self._counts[result.state] += 1
        self.results.put_nowait((number, result))

    async def _job_result(self, batch: BatchContext[R], number: int, item: object) -> JobResult[R]:
        read_at, name = time.time(), _key_of(item) or f"#{number}"
        try:
            # Case 1: the item is not a job.
            job = to_job(item)
            # Case 2: an earlier item has the same key. The result must not be taken for the one of that job.
            name = f"#{number}"
            self._check_unique(job.key, batch)
        except InvalidRequestError as error:
            return make_result(JournalEntry(key=name, created_at=read_at), "failed", error=error, read_at=read_at)
        # Case 3: a job.
        context = self._active[job.key] = JobContext(batch, job)
        worker = JobWorker(context)
        try:
            return await worker.run()
        except A2EError:
            raise
        except Exception as error:  # noqa: BLE001  a bug of ours must not end the other jobs
            # only the type is logged: the text may hold a prompt or a link
            _LOGGER.error("Unexpected error in a job of a batch: %s", type(error).__name__)  # noqa: TRY400
            msg = f"Unexpected {type(error).__name__}. This is a bug of a2e-async: please report it"
            wrapped = A2EError(msg)
            wrapped.__cause__ = error
            return await _failed(worker, wrapped)
        finally:
            del self._active[job.key]

    def _check_unique(self, key: str, batch: BatchContext[R]) -> None:
        """Refuse a key that came before. Otherwise choose the file name for it now, in the order of the input."""
        if not batch.names.add(key, batch.api.extension):
            raise_invalid(f"The key {key!r} comes twice in the input: each job needs its own key")

    def _make_context(self, api: BatchApi[R], journal: Journal) -> BatchContext[R]:
        options = self.options
        if options.resend is None:
            options = attrs.evolve(options, resend=api.resends)
        breaker = CircuitBreaker(stops=options.on_shortage == "stop")
        return BatchContext(
            api=api,
            options=options,
            journal=journal,
            budget=BudgetGuard(api, Budget(options.max_coins, journal.spent, journal.is_unclear)),
            breaker=breaker,
            storage=StorageGuard(breaker, options.out, min(options.max_running, options.total or options.max_running)),
            uploads=UploadCache(api, journal, breaker, asyncio.Semaphore(options.max_uploads)),
            first_slots=asyncio.Semaphore(options.max_starts),
            start_slots=asyncio.Semaphore(options.max_starts),
            running_slots=asyncio.Semaphore(options.max_running),
            download_slots=asyncio.Semaphore(options.max_downloads),
        )


async def _failed(worker: JobWorker[R], error: A2EError) -> JobResult[R]:
    """Return the result of a job with an unexpected error."""
    context = worker.context
    try:
        return await worker.fail(error)
    except A2EError:
        raise
    except Exception:  # noqa: BLE001  there are as many results as jobs, also if the entry cannot be used
        state: JobState = "uncertain" if rules.is_open(context.entry) else "failed"
        entry = JournalEntry(key=context.job.key, created_at=time.time(), coins=None)
        return make_result(entry, state, job=context.job, error=error, read_at=entry.created_at)


def _key_of(item: object) -> str:
    key = item.get("key") if isinstance(item, Mapping) else getattr(item, "key", None)
    return key if isinstance(key, str) else ""


def _drop_tracebacks(error: BaseException | None) -> None:
    """Remove the tracebacks of an error that is a value here: they keep all objects of the finished job alive."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


async def _iterate(jobs: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job

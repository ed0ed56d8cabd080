"""Runner of a batch: reads the jobs as needed, and runs a bounded number of them at the same time.

How it works:

* `Batch` is what the caller iterates over. Its iteration starts one background task, which runs `Runner.run`.
* `Runner.run` opens the journal and reads the input. It runs each job in a task of its own, as soon as there is a slot.
* Results go through a queue to the iteration. If the caller takes them too slowly, no more jobs are read.
* An error of one job is a result. An error of the input ends the reading, and the jobs that were read still end. An
  error of the journal cancels everything, because without it nothing may be started.
* If the caller leaves early, all tasks are cancelled. A start that is being sent still gets its answer into the
  journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pathlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from types import AsyncGeneratorType, TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import attrs

from a2e_async._protocol.validation import raise_invalid
from a2e_async.batch.budget import Budget, BudgetGuard
from a2e_async.batch.circuit_breaker import CircuitBreaker
from a2e_async.batch.context import BatchContext, BatchPolicy, JobContext
from a2e_async.batch.jobs import BatchApi, to_job
from a2e_async.batch.results import ActiveJob, JobResult, Progress
from a2e_async.batch.rules import Journal, NoJournal, file_name
from a2e_async.batch.uploads import UploadCache
from a2e_async.batch.worker import JobWorker, utc
from a2e_async.errors import A2EError, ConfigurationError, InvalidRequestError, JournalError
from a2e_async.files.local_files import LocalFile
from a2e_async.models.common import TaskRecord

R = TypeVar("R", bound=TaskRecord)

_LOGGER = logging.getLogger("a2e_async")

# Results that may wait for the caller before no more jobs are read.
_MAX_BUFFERED = 1000


@attrs.frozen(kw_only=True)
class Limits:
    """Limits of what happens at the same time; see `ImageToVideo.batch`."""

    running: int
    uploads: int
    starts: int
    downloads: int

    @property
    def active(self) -> int:
        """Jobs under way at the same time: enough to use all slots, with some that wait for the next free one."""
        return self.running + self.downloads + 2 * (self.uploads + self.starts)


@attrs.define(eq=False)
class Runner(Generic[R]):
    """Runner of all jobs of one batch.

    Attributes:
        open_api: Returns the API for the running event loop.
        results: Results with the numbers of their jobs from 1, in the order of completion; None comes last, in any
            case.
        buffer_slots: Bounds the jobs whose results the caller has not taken yet.
        task: The task that executes `run`, once the iteration has begun.
    """

    open_api: Callable[[], BatchApi[R]]
    jobs: Iterable[Any] | AsyncIterable[Any]
    policy: BatchPolicy
    limits: Limits
    journal_path: pathlib.Path | None
    max_coins: float | None
    total: int | None
    results: asyncio.Queue[tuple[int, JobResult[R]] | None] = attrs.field(factory=asyncio.Queue)
    buffer_slots: asyncio.Semaphore = attrs.field(init=False)
    task: asyncio.Task[None] | None = None
    _context: BatchContext[R] | None = None
    _active: dict[str, JobContext[R]] = attrs.field(factory=dict)
    _counts: dict[str, int] = attrs.field(init=False)
    _read: int = 0
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    _seen: set[int] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        """Prepare the counters; nothing is opened or read."""
        self.buffer_slots = asyncio.Semaphore(self.limits.active + _MAX_BUFFERED)
        self._counts = dict.fromkeys(("succeeded", "failed", "uncertain", "skipped"), 0)

    def progress(self) -> Progress:
        """Return the progress at this moment."""
        batch, now = self._context, time.monotonic()
        stopped = None if batch is None else batch.stopped
        return Progress(
            total=self.total,
            read=self._read,
            **self._counts,
            started=0 if batch is None else batch.started,
            retried=0 if batch is None else batch.retried,
            coins=0 if batch is None else batch.budget_guard.budget.spent,
            active=tuple(_active_job(context, now) for context in self._active.values()),
            paused="" if batch is None else batch.breaker.reason,
            stopped="" if stopped is None else str(stopped),
        )

    async def run(self) -> None:
        """Run all jobs. If it is cancelled, running tasks stay alive at A2E, and starts being sent are recorded.

        Raises:
            JournalError: The journal cannot be used.
            Exception: An error of the input, after all jobs that were read have ended.
        """
        try:
            api = self.open_api()
            if self.policy.resend and not api.marks_names:
                msg = "on_unknown='resend' needs StartPolicy(mark_names=True)"
                raise ConfigurationError(msg)
            async with self._open_journal(api) as journal:
                batch = self._context = self._make_context(api, journal)
                journal_failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                reading = asyncio.create_task(self._read_jobs(batch, journal_failure), name="a2e-batch-input")
                try:
                    await asyncio.wait({reading, journal_failure}, return_when=asyncio.FIRST_COMPLETED)
                    await (journal_failure if journal_failure.done() else reading)
                finally:
                    journal_failure.cancel()
                    await cancel_and_wait(reading)
                    await cancel_and_wait(*self._tasks)
        finally:
            self.results.put_nowait(None)

    async def _read_jobs(self, batch: BatchContext[R], journal_failure: asyncio.Future[None]) -> None:
        """Read a job whenever there is a slot for one, and return when all jobs have ended."""
        slots = asyncio.Semaphore(self.limits.active)
        try:
            async with contextlib.aclosing(_iterate(self.jobs)) as jobs:
                async for item in jobs:
                    await self.buffer_slots.acquire()
                    await slots.acquire()
                    self._read += 1
                    task = asyncio.create_task(self._run_job(batch, self._read, item, journal_failure), name="a2e-job")
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    task.add_done_callback(lambda _: slots.release())
        except Exception:  # an error of the input ends the reading, but not the jobs that were read
            await self._wait_for_jobs()
            raise
        await self._wait_for_jobs()

    async def _wait_for_jobs(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run_job(
        self, batch: BatchContext[R], number: int, item: object, journal_failure: asyncio.Future[None]
    ) -> None:
        try:
            result = await self._job_result(batch, number, item)
        except JournalError as error:
            if not journal_failure.done():
                journal_failure.set_exception(error)
            return
        _drop_tracebacks(result.error)
        self._counts[result.state] += 1
        self.results.put_nowait((number, result))

    async def _job_result(self, batch: BatchContext[R], number: int, item: object) -> JobResult[R]:
        read_at = time.time()
        # Case 1: the item is not a job.
        try:
            job = to_job(item)
        except InvalidRequestError as error:
            return _invalid_result(_key_of(item) or f"#{number}", error, read_at)
        # Case 2: an earlier item has the same key. The result must not be taken for the one of that job.
        try:
            self._check_unique(job.key, batch)
        except InvalidRequestError as error:
            return _invalid_result(f"#{number}", error, read_at)
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
            return await worker.fail(wrapped)
        finally:
            del self._active[job.key]

    def _check_unique(self, key: str, batch: BatchContext[R]) -> None:
        """Refuse a key that came before, or whose file would be that of another key where case does not matter."""
        # hashes instead of the names themselves: an input can have millions of jobs
        number = hash(key if self.policy.out is None else file_name(key, batch.api.extension).casefold())
        if number in self._seen:
            raise_invalid(
                f"The key {key!r} comes twice in the input, possibly in another case: each job needs its own key"
            )
        self._seen.add(number)

    def _make_context(self, api: BatchApi[R], journal: Journal) -> BatchContext[R]:
        limits = self.limits

        async def upload(image: LocalFile) -> str:
            batch.check_stopped()
            return await api.upload(image)

        batch: BatchContext[R] = BatchContext(
            api=api,
            policy=self.policy,
            journal=journal,
            budget_guard=BudgetGuard(api, Budget(self.max_coins, spent=journal.spent)),
            breaker=CircuitBreaker(),
            uploads=UploadCache(upload, journal, asyncio.Semaphore(limits.uploads)),
            start_slots=asyncio.Semaphore(limits.starts),
            running_slots=asyncio.Semaphore(limits.running),
            download_slots=asyncio.Semaphore(limits.downloads),
        )
        return batch

    def _open_journal(self, api: BatchApi[R]) -> contextlib.AbstractAsyncContextManager[Journal]:
        if self.journal_path is None:
            return NoJournal()
        if not api.marks_names:
            msg = "A journal needs StartPolicy(mark_names=True): without markers no start can be found again"
            raise ConfigurationError(msg)
        from a2e_async.batch.journal import SqliteJournal  # noqa: PLC0415  only a batch with a journal needs aiosqlite

        return SqliteJournal(self.journal_path, api.base_url)


def _key_of(item: object) -> str:
    key = item.get("key") if isinstance(item, Mapping) else getattr(item, "key", None)
    return key if isinstance(key, str) else ""


def _drop_tracebacks(error: BaseException | None) -> None:
    """Remove the tracebacks of an error that is a value here: they keep all objects of the finished job alive."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _invalid_result(key: str, error: A2EError, read_at: float) -> JobResult[Any]:
    """Return the result of an item that is not a job, or has the key of another job."""
    return JobResult(
        key=key,
        state="failed",
        coins=0,
        error=error,
        read_at=utc(read_at),
        finished_at=utc(time.time()),
    )


def _active_job(context: JobContext[Any], now: float) -> ActiveJob:
    return ActiveJob(
        key=context.job.key,
        stage=context.stage,
        task_id=context.entry.task_id,
        status="" if context.handle is None else context.handle.record.current_status,
        seconds=now - context.stage_since,
    )


async def _iterate(jobs: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until all have ended. A cancellation meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller raises it elsewhere, or does not need it
    if cancelled is not None:
        raise cancelled


@attrs.define(eq=False, repr=False)
class Batch(Generic[R]):
    """Batch of jobs that run while it is iterated over; yields a `JobResult` for each. Made by `ImageToVideo.batch`.

    It can be iterated over once. Use it with ``async with`` as well, to be sure that it has ended when the block ends.
    Whenever it ends early, nothing more is started, the answer to a start that is being sent is recorded, and running
    tasks stay alive at A2E.
    """

    _runner: Runner[R]
    _results: AsyncGeneratorType[JobResult[R], None]

    @classmethod
    def of(cls, runner: Runner[R], *, ordered: bool) -> Self:
        """Make a batch. Nothing happens before it is iterated over."""
        # The generator has no reference to the batch. So a batch that is dropped is collected, which ends the
        # generator.
        return cls(runner, cast("AsyncGeneratorType[JobResult[R], None]", _run(runner, ordered=ordered)))

    def __repr__(self) -> str:
        """Show the number of jobs that are done."""
        progress = self.progress
        total = "?" if progress.total is None else progress.total
        return f"<{type(self).__name__} {progress.done} of {total} jobs>"

    @property
    def progress(self) -> Progress:
        """The progress at this moment."""
        return self._runner.progress()

    async def __aenter__(self) -> Self:
        """Return the batch itself. Leaving the block ends the batch."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the batch."""
        await self.aclose()

    def __aiter__(self) -> Self:
        """Return the batch itself."""
        return self

    def __anext__(self) -> Awaitable[JobResult[R]]:
        """Return the next result, when awaited."""
        return self._results.__anext__()

    async def aclose(self) -> None:
        """End the batch. Its iteration ends too. Closing it twice does no harm."""
        if self._runner.task is not None:
            await cancel_and_wait(self._runner.task)
        # if another task is inside of the generator, it sees the end of the runner and ends the generator by itself
        if not self._results.ag_running:
            await self._results.aclose()


async def _run(runner: Runner[R], *, ordered: bool) -> AsyncGenerator[JobResult[R], None]:
    """Run the jobs in the background, and yield their results."""
    waiting: dict[int, JobResult[R]] = {}
    next_number = 1
    task = runner.task = asyncio.create_task(runner.run(), name="a2e-batch")
    try:
        while (item := await runner.results.get()) is not None:
            number, result = item
            if not ordered:
                runner.buffer_slots.release()
                yield result
                continue
            waiting[number] = result
            while next_number in waiting:
                runner.buffer_slots.release()
                yield waiting.pop(next_number)
                next_number += 1
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
    finally:
        await cancel_and_wait(task)

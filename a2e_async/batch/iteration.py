"""Iteration over the results of a batch, which runs in the background meanwhile."""

import asyncio
import importlib
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from types import AsyncGeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from a2e_async._aio import finish, run_in_thread
from a2e_async.batch.jobs import BatchApi, BatchOptions
from a2e_async.batch.results import JobResult, Progress
from a2e_async.models.common import TaskRecord

if TYPE_CHECKING:
    from a2e_async.batch.runner import Runner

R = TypeVar("R", bound=TaskRecord)

# Results that may wait for the caller before no more jobs are read.
_MAX_BUFFERED = 1000


class BatchRun(Generic[R]):
    """Settings and state that a batch shares with its background task.

    Attributes:
        results: Results with the numbers of their jobs; None comes last, in any case.
        buffer_slots: Bounds the jobs whose results the caller has not taken yet.
        task: The background task, once the iteration has begun.
    """

    def __init__(
        self,
        open_api: Callable[[], BatchApi[R]],
        jobs: Iterable[Any] | AsyncIterable[Any],
        options: BatchOptions,
    ) -> None:
        self.open_api, self.jobs, self.options = open_api, jobs, options
        self.results: asyncio.Queue[tuple[int, JobResult[R]] | None] = asyncio.Queue()
        self.buffer_slots = asyncio.Semaphore(options.max_active + _MAX_BUFFERED)
        self.runner: Runner[R] | None = None
        self.task: asyncio.Task[None] | None = None

    async def execute(self) -> None:
        """Run all jobs, see `Runner.run`."""
        try:
            # Programs without batches need neither SQLite nor the runner, so only a batch imports them. A running event
            # loop must not read modules from disk, hence the thread.
            module = await run_in_thread(importlib.import_module, "a2e_async.batch.runner")
            self.runner = module.Runner(self.open_api, self.jobs, self.options, self.results, self.buffer_slots)
            await self.runner.run()
        finally:
            self.results.put_nowait(None)


class Batch(Generic[R]):
    """Batch of jobs that run while it is iterated over; yields a `JobResult` for each. Made by `ImageToVideo.batch`.

    It can be iterated over once. Use it with ``async with`` as well, to be sure that it has ended when the block ends.
    Whenever it ends early, nothing more is started, the answer to a start that is being sent is recorded, and running
    tasks stay alive at A2E.
    """

    def __init__(self, run: BatchRun[R]) -> None:
        """Prepare the iteration. Nothing happens before it begins."""
        self._run = run
        # The generator has no reference to the batch. So a batch that is dropped is collected, which ends the
        # generator.
        self._results = cast("AsyncGeneratorType[JobResult[R], None]", _iterate(run))

    def __repr__(self) -> str:
        """Show the number of jobs that are done."""
        progress = self.progress
        total = "?" if progress.total is None else progress.total
        return f"<{type(self).__name__} {progress.done} of {total} jobs>"

    @property
    def progress(self) -> Progress:
        """The progress at this moment."""
        run = self._run
        return Progress(total=run.options.total) if run.runner is None else run.runner.progress()

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
        if self._run.task is not None:
            await finish(_end(self._run.task))
        # if another task is inside of the generator, it sees the end of the runner and ends the generator by itself
        if not self._results.ag_running:
            await self._results.aclose()


async def _iterate(run: BatchRun[R]) -> AsyncGenerator[JobResult[R], None]:
    """Run the jobs in the background, and yield their results."""
    waiting: dict[int, JobResult[R]] = {}
    next_number = 1
    task = run.task = asyncio.create_task(run.execute(), name="a2e-batch")
    try:
        while (item := await run.results.get()) is not None:
            number, result = item
            if not run.options.ordered:
                run.buffer_slots.release()
                yield result
                continue
            waiting[number] = result
            while next_number in waiting:
                run.buffer_slots.release()
                yield waiting.pop(next_number)
                next_number += 1
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
    finally:
        await finish(_end(task))


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task of a runner, and wait until all has ended."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # marks it as retrieved: the iteration raises it, or does not need it

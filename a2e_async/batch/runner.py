"""Reads the jobs of a batch as they are needed, and works on a bounded number of them.

`Batch` is the face of it: what is iterated over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pathlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from types import AsyncGeneratorType, TracebackType
from typing import Any, Self, cast

import attrs

from a2e_async._protocol.validation import refuse
from a2e_async.batch.budget import Budget
from a2e_async.batch.budget_guard import Purse
from a2e_async.batch.circuit_breaker import Gate
from a2e_async.batch.context import Case, Policy, Shop
from a2e_async.batch.jobs import Desk, to_job
from a2e_async.batch.journal import SqliteJournal
from a2e_async.batch.results import Doing, Outcome, Progress
from a2e_async.batch.rules import NoJournal, file_name
from a2e_async.batch.uploads import Links
from a2e_async.batch.worker import Errand, utc
from a2e_async.errors import A2EError, ConfigurationError, InvalidRequestError, JournalError
from a2e_async.files.local_files import LocalFile

__all__ = ["Batch", "Limits", "Runner", "ended"]

_LOGGER = logging.getLogger("a2e_async")

_AHEAD = 1000
"""Outcomes that may wait to be fetched before no more jobs are begun."""


@attrs.frozen(kw_only=True)
class Limits:
    """How many at once; see `ImageToVideo.batch`."""

    running: int
    uploads: int
    starts: int
    downloads: int

    @property
    def at_once(self) -> int:
        """Jobs that are under way, wherever they are: enough for every place, with others waiting behind it."""
        return self.running + self.downloads + 2 * (self.uploads + self.starts)


@attrs.define(eq=False)
class Runner:
    """Works on all jobs of a batch.

    Attributes:
        open_desk: Gives what is needed for the running event loop.
        ready: What became of the jobs, with their numbers from 1, as they end; None comes last, whatever happens.
        task: What does it, once that has begun.
        ahead: A place for each outcome that nobody has fetched yet.
    """

    open_desk: Callable[[], Desk]
    jobs: Iterable[Any] | AsyncIterable[Any]
    policy: Policy
    limits: Limits
    journal: pathlib.Path | None
    max_coins: float | None
    total: int | None
    ready: asyncio.Queue[tuple[int, Outcome] | None] = attrs.field(factory=asyncio.Queue)
    ahead: asyncio.Semaphore = attrs.field(init=False)
    task: asyncio.Task[None] | None = None
    _shop: Shop | None = None
    _cases: dict[str, Case] = attrs.field(factory=dict)
    _counts: dict[str, int] = attrs.field(init=False)
    _read: int = 0
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    _seen: set[int] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        """Prepare; nothing is opened or read."""
        self.ahead = asyncio.Semaphore(self.limits.at_once + _AHEAD)
        self._counts = dict.fromkeys(("succeeded", "failed", "uncertain", "skipped"), 0)

    def progress(self) -> Progress:
        """Tell how it is doing at this moment."""
        shop, now = self._shop, time.monotonic()
        stopped = None if shop is None else shop.stopped
        return Progress(
            total=self.total,
            read=self._read,
            **self._counts,
            bought=0 if shop is None else shop.bought,
            retried=0 if shop is None else shop.retried,
            coins=0 if shop is None else shop.purse.budget.spent,
            doing=tuple(_doing(case, now) for case in self._cases.values()),
            paused="" if shop is None else shop.gate.reason,
            stopped="" if stopped is None else str(stopped),
        )

    async def work(self) -> None:
        """Work on all jobs. Cancelled, it leaves running tasks alive at A2E, and writes down what is being started.

        Raises:
            JournalError: The journal cannot be used.
            Exception: What the input has raised, when all that had begun is done.
        """
        try:
            desk = self.open_desk()
            if self.policy.resend and not desk.marks_names:
                msg = "on_unknown='resend' needs StartPolicy(mark_names=True)"
                raise ConfigurationError(msg)
            async with self._open_journal(desk) as journal:
                shop = self._shop = self._make_shop(desk, journal)
                broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                feeding = asyncio.create_task(self._feed(shop, broken), name="a2e-batch-input")
                try:
                    await asyncio.wait({feeding, broken}, return_when=asyncio.FIRST_COMPLETED)
                    await (broken if broken.done() else feeding)
                finally:
                    broken.cancel()
                    await ended(feeding)
                    await ended(*self._tasks)
        finally:
            self.ready.put_nowait(None)

    async def _feed(self, shop: Shop, broken: asyncio.Future[None]) -> None:
        """Begin a job whenever there is a place for one, until all have ended."""
        places = asyncio.Semaphore(self.limits.at_once)
        try:
            async with contextlib.aclosing(_each(self.jobs)) as jobs:
                async for item in jobs:
                    await self.ahead.acquire()
                    await places.acquire()
                    self._read += 1
                    task = asyncio.create_task(self._one(shop, self._read, item, broken), name="a2e-job")
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    task.add_done_callback(lambda _: places.release())
        except Exception:  # of the input: it ends the reading, not what has begun
            await self._all_done()
            raise
        await self._all_done()

    async def _all_done(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _one(self, shop: Shop, number: int, item: object, broken: asyncio.Future[None]) -> None:
        try:
            outcome = await self._outcome(shop, number, item)
        except JournalError as error:
            if not broken.done():
                broken.set_exception(error)
            return
        _let_go(outcome.error)
        self._counts[outcome.state] += 1
        self.ready.put_nowait((number, outcome))

    async def _outcome(self, shop: Shop, number: int, item: object) -> Outcome:
        began = time.time()
        try:
            job = to_job(item)
        except InvalidRequestError as error:
            return _refused(_key_of(item) or f"#{number}", error, began)
        try:
            self._check_new(job.key, shop)
        except InvalidRequestError as error:
            return _refused(f"#{number}", error, began)  # the key is the other one's
        case = self._cases[job.key] = Case(shop, job)
        errand = Errand(case)
        try:
            return await errand.run()
        except A2EError:
            raise
        except Exception as error:  # noqa: BLE001  a bug, of which the others shall know nothing
            # its type only: who knows what its text holds
            _LOGGER.error("A job of a batch has met something unexpected: %s", type(error).__name__)  # noqa: TRY400
            msg = f"Something unexpected has happened, which is a bug: {type(error).__name__}"
            wrapped = A2EError(msg)
            wrapped.__cause__ = error
            return await errand.give_up(wrapped)
        finally:
            del self._cases[job.key]

    def _check_new(self, key: str, shop: Shop) -> None:
        """Refuse a key that came before, or whose file would be another one's where case does not matter.

        Numbers are kept instead of the names, which would be longer.
        """
        number = hash(key if self.policy.out is None else file_name(key, shop.desk.extension).casefold())
        if number in self._seen:
            refuse(f"The key {key!r} comes twice in the input, possibly in other case: each job needs its own")
        self._seen.add(number)

    def _make_shop(self, desk: Desk, journal: SqliteJournal | NoJournal) -> Shop:
        limits = self.limits

        async def upload(picture: LocalFile) -> str:
            shop.check_open()
            return await desk.upload(picture)

        shop = Shop(
            desk=desk,
            policy=self.policy,
            journal=journal,
            purse=Purse(desk, Budget(self.max_coins, spent=journal.spent)),
            gate=Gate(),
            links=Links(upload, journal, asyncio.Semaphore(limits.uploads)),
            starts=asyncio.Semaphore(limits.starts),
            running=asyncio.Semaphore(limits.running),
            downloads=asyncio.Semaphore(limits.downloads),
        )
        return shop

    def _open_journal(self, desk: Desk) -> SqliteJournal | NoJournal:
        if self.journal is None:
            return NoJournal()
        if not desk.marks_names:
            msg = "A journal needs StartPolicy(mark_names=True): without a marker no start can be found again"
            raise ConfigurationError(msg)
        from a2e_async.batch.journal import SqliteJournal  # noqa: PLC0415  aiosqlite is for those who keep one

        return SqliteJournal(self.journal, desk.base_url)


def _key_of(item: object) -> str:
    key = item.get("key") if isinstance(item, Mapping) else getattr(item, "key", None)
    return key if isinstance(key, str) else ""


def _let_go(error: BaseException | None) -> None:
    """Take the tracebacks off an error that is a value here: they hold on to everything that was under way."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _refused(key: str, error: A2EError, began: float) -> Outcome:
    """Return the outcome of something that is no job, or no new one."""
    return Outcome(
        key=key,
        state="failed",
        coins=0,
        error=error,
        read_at=utc(began),
        finished_at=utc(time.time()),
    )


def _doing(case: Case, now: float) -> Doing:
    return Doing(
        key=case.job.key,
        stage=case.stage,
        task_id=case.row.task_id,
        status="" if case.handle is None else case.handle.record.current_status,
        seconds=now - case.since,
    )


async def _each(jobs: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended. Cancelled itself, it waits on, and says so afterwards."""
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
            task.exception()  # it is told elsewhere, or is about what is being ended
    if cancelled is not None:
        raise cancelled


@attrs.define(eq=False, repr=False)
class Batch:
    """Jobs that are worked on while somebody iterates; yields an `Outcome` for each. Made by `ImageToVideo.batch`.

    It can be gone through once. To be sure that nothing is left behind when the loop is left early, use it with
    ``async with`` as well. However it ends early: nothing new is started, what is being started gets its answer written
    down, and tasks that are running are left alive at A2E.
    """

    _runner: Runner
    _outcomes: AsyncGeneratorType[Outcome, None]

    @classmethod
    def of(cls, runner: Runner, *, ordered: bool) -> Self:
        """Make a batch; nothing happens before it is iterated over."""
        outcomes = cast("AsyncGeneratorType[Outcome, None]", _run(runner, ordered=ordered))
        return cls(runner, outcomes)  # which knows nothing of the batch: who drops that ends it

    def __repr__(self) -> str:
        """Show how far it is."""
        progress = self.progress
        total = "?" if progress.total is None else progress.total
        return f"<{type(self).__name__} {progress.done} of {total} jobs>"

    @property
    def progress(self) -> Progress:
        """Tell how it is doing at this moment."""
        return self._runner.progress()

    async def __aenter__(self) -> Self:
        """Do nothing; leaving it ends the batch."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the batch."""
        await self.aclose()

    def __aiter__(self) -> Self:
        """Return the batch itself."""
        return self

    def __anext__(self) -> Awaitable[Outcome]:
        """Return the next outcome, when awaited."""
        return self._outcomes.__anext__()

    async def aclose(self) -> None:
        """End the batch; whoever goes through it then comes to its end. Ending it twice does no harm."""
        if self._runner.task is not None:
            await ended(self._runner.task)
        if not self._outcomes.ag_running:  # else another task waits for an outcome, and ends the generator by that
            await self._outcomes.aclose()


async def _run(runner: Runner, *, ordered: bool) -> AsyncGenerator[Outcome, None]:
    """Work in the background, and yield what comes of it."""
    waiting: dict[int, Outcome] = {}
    turn = 1
    work = runner.task = asyncio.create_task(runner.work(), name="a2e-batch")
    try:
        while (item := await runner.ready.get()) is not None:
            number, outcome = item
            if not ordered:
                runner.ahead.release()
                yield outcome
                continue
            waiting[number] = outcome
            while turn in waiting:
                runner.ahead.release()
                yield waiting.pop(turn)
                turn += 1
        await asyncio.wait({work})
        if not work.cancelled():
            work.result()
    finally:
        await ended(work)

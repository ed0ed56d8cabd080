"""The handle of an asynchronous job, the same for every family of A2E; and what became of many of them."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import pathlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

import attrs

from a2e_async._polling.queue import Waiter
from a2e_async._polling.updates import Changes, OnUpdate, Patience, Reporter, withdraw
from a2e_async.errors import (
    A2EError,
    InvalidRequestError,
    OutageError,
    TaskFailedError,
    TransferError,
    WaitTimeoutError,
)
from a2e_async.models.common import TaskRecord, TaskStatus, TaskUpdate

__all__ = ["CancelPolicy", "Operations", "Outcome", "TaskHandle", "outcomes"]

R = TypeVar("R", bound=TaskRecord)

CancelPolicy: TypeAlias = Literal["detach", "delete"]
"""What cancelling a wait means for the task."""

_E = TypeVar("_E", WaitTimeoutError, OutageError)


@attrs.define(kw_only=True, eq=False)  # one is made for each handle, and frozen costs more to make
class Operations(Generic[R]):
    """What a family can do with a task by its id. Handed to the handle by the resource."""

    get: Callable[[str], Awaitable[R]]
    delete: Callable[[str], Awaitable[None]]
    join: Callable[[str, Waiter], Callable[[], None]]
    download: Callable[[str, str | os.PathLike[str], bool], Awaitable[pathlib.Path]]


@attrs.define(eq=False)
class TaskHandle(Generic[R]):
    """A paid job at A2E. It goes on whether or not anybody waits, and its `id` is all that is needed to find it again.

    Attributes:
        id: A2E's id of the task.
        adopted: The task was found in A2E's list by its marker or its idempotency key, instead of being started now.
    """

    id: str
    _known: R | Callable[[], R] = attrs.field(repr=False)
    _operations: Operations[R] = attrs.field(repr=False)
    adopted: bool = attrs.field(default=False, kw_only=True)
    _hooked: bool = attrs.field(default=False, kw_only=True, repr=False)
    _trouble: A2EError | None = attrs.field(default=None, init=False, repr=False)
    _shown: bool = attrs.field(default=False, init=False, repr=False)
    _seen_at: float = attrs.field(factory=lambda: time.monotonic(), init=False, repr=False)  # noqa: PLW0108  tests replace it in `time`

    def __repr__(self) -> str:
        """Show the id and where the task stands."""
        return f"<{type(self).__name__} {self.id} {self.record.current_status or self.status}>"

    @property
    def record(self) -> R:
        """What A2E said about the task the last time; renewed by `refresh` and while it is waited for."""
        known = self._known
        if not isinstance(known, TaskRecord):  # who starts thousands needs their ids only
            known = self._known = known()
        return known

    @property
    def status(self) -> TaskStatus:
        """Where the task stood when A2E was last asked."""
        return self.record.status

    async def refresh(self) -> R:
        """Ask A2E now, and return the record. Free.

        Raises:
            NotFoundError: A2E does not know the task, or does not show it yet.
            A2EError: As for any request.
        """
        self._saw(await self._operations.get(self.id))
        return self.record

    async def wait_until_done(
        self,
        timeout: float | None = 1800.0,  # noqa: ASYNC109  the promised word, with an error of its own
        *,
        outage_budget: float | None = 600.0,
        raise_on_failure: bool = True,
        cancel_policy: CancelPolicy = "detach",
        on_update: OnUpdate[R] | None = None,
    ) -> R:
        """Wait until the job has succeeded or failed, and return its last record. Free.

        Trouble with the network or with A2E does not end the wait, as long as `outage_budget` lasts; an answer that
        says that waiting is senseless does. Any number of waits on one task share the same questions, and up to 100
        tasks share one request.

        Args:
            timeout: Seconds from now for the job, the request under way included; None waits for ever.
            outage_budget: Seconds for which A2E may be out of reach at a stretch; any good answer begins anew. None
                has no limit but `timeout`.
            raise_on_failure: False returns the record of a failed job instead of raising.
            cancel_policy: What cancelling the wait means for the task. ``"detach"``: nothing, it goes on.
                ``"delete"``: it is deleted if A2E has not begun it yet, which gives the coins back. That takes up to
                10 seconds; then the cancellation goes on its way.
            on_update: Is called with a `TaskUpdate` for each change, as `updates` yields them; it may be asynchronous.
                What it raises is logged and does not end the wait. The wait returns when all changes were told, but
                not later than `timeout` says. If the wait ends with an error, what was not told yet is not told.

        Raises:
            TaskFailedError: A2E says that the job failed.
            InvalidRequestError: An argument cannot be used.
            WaitTimeoutError: The time is over; the task goes on, and waiting again is possible.
            OutageError: A2E was out of reach for too long; the task goes on, and waiting again is possible.
            AuthenticationError: The token is not accepted (any more).
            TaskNotFoundError: A2E does not know the task any more, or has not shown it for a minute.
            ClientClosedError: The client was closed meanwhile.
        """
        patience = self._patience(timeout, outage_budget)
        if cancel_policy not in get_args(CancelPolicy):
            msg = f"cancel_policy must be 'detach' or 'delete', not {cancel_policy!r}"
            raise InvalidRequestError(msg, task_id=self.id)
        if on_update is not None and not callable(on_update):
            msg = f"on_update must be a function of a TaskUpdate, not {type(on_update).__name__}"
            raise InvalidRequestError(msg, task_id=self.id)
        if on_update is not None or not self.status.is_final:
            try:
                await (self._wait(patience) if on_update is None else self._wait_and_tell(patience, on_update))
            except asyncio.CancelledError:
                if cancel_policy == "delete":
                    await withdraw(self.id, self._operations.get, self._operations.delete)
                raise
        if self.status is TaskStatus.FAILED and raise_on_failure:
            raise self._failed()
        return self.record

    async def updates(
        self,
        timeout: float | None = 1800.0,  # noqa: ASYNC109  as in `wait_until_done`
        *,
        outage_budget: float | None = 600.0,
    ) -> AsyncGenerator[TaskUpdate[R], None]:
        """Yield each change of the task, and end after the final one, be it a success or a failure. Free.

        A change is a new status, a new word of A2E, or more progress. What is known when the iteration begins is no
        change, except that a task that is final already yields one. All who wait for the task share the same
        questions, and a reader that is slow misses nothing.

        Args:
            timeout: As in `wait_until_done`.
            outage_budget: As in `wait_until_done`.

        Raises:
            A2EError: As in `wait_until_done`, but for `TaskFailedError`.
        """
        patience = self._patience(timeout, outage_budget)
        news: collections.deque[TaskUpdate[R]] = collections.deque()
        wake = asyncio.Event()

        def tell(update: TaskUpdate[R]) -> None:
            news.append(update)
            wake.set()

        with self._told(patience, tell) as done:
            done.add_done_callback(lambda _: wake.set())
            while news or not done.done():
                if news:
                    yield news.popleft()
                else:
                    wake.clear()
                    await self._within(patience, wake.wait())
            await self._within(patience, done)

    async def _wait(self, patience: Patience) -> None:
        waiter = self._waiter(patience, self._saw)
        leave = self._operations.join(self.id, waiter)
        try:
            await self._within(patience, waiter.done)
        finally:
            leave()
            del waiter, leave  # an error would hold on to this frame, and this frame to the error

    async def _wait_and_tell(self, patience: Patience, on_update: OnUpdate[R]) -> None:
        reporter = Reporter(on_update)
        try:
            with self._told(patience, reporter.tell) as done:
                await self._within(patience, done)
            await reporter.finish(patience.left())
        finally:
            reporter.stop()

    @contextlib.contextmanager
    def _told(self, patience: Patience, tell: Callable[[TaskUpdate[R]], None]) -> Iterator[asyncio.Future[R]]:
        """Wait among all the others; `tell` hears of each change."""
        changes: Changes[R] = Changes()

        def hear(record: R) -> None:
            self._saw(record)
            update = changes.of(record)
            if update is not None:
                tell(update)

        waiter = self._waiter(patience, hear)
        if self.status.is_final:
            hear(self.record)
            waiter.done.set_result(self.record)
            yield waiter.done
            return
        changes.begin(self.record)
        leave = self._operations.join(self.id, waiter)
        try:
            yield waiter.done
        finally:
            leave()

    def _waiter(self, patience: Patience, on_record: Callable[[R], None]) -> Waiter:
        return Waiter(
            on_record=on_record,
            on_trouble=self._met,
            outage_budget=patience.outage_budget,
            at_once=not self.record.current_status,  # picked up by its id, it may be finished for long
            seen=self._shown,
            hooked=self._hooked,
        )

    async def _within(self, patience: Patience, what: Awaitable[object]) -> None:
        """Await something, and explain if it takes too long."""
        scope = asyncio.timeout_at(patience.deadline)
        try:
            async with scope:
                await what
        except TimeoutError:
            if not scope.expired():
                raise
            raise self._alive(WaitTimeoutError, f"is not finished after {patience.timeout:g} s") from self._trouble
        except OutageError:
            budget = f"could not be asked about for {patience.outage_budget:g} s"
            raise self._alive(OutageError, budget) from self._trouble
        finally:
            del scope, what  # as above

    async def download(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> pathlib.Path:
        """Download the result to a file and return its path. Free; links live for about 3 days.

        If the link has expired (403, 404, 410), A2E is asked once whether there is another one.

        Args:
            path: The file to write. Missing folders are made; until it is whole it is called ``<path>.part``.
            overwrite: Replace an existing file.

        Raises:
            InvalidRequestError: The task is not finished, or the file exists.
            TaskFailedError: The job failed, so there is nothing to download.
            TransferError: The download did not work; the task is not affected, and trying again is possible.
        """
        if self.status is TaskStatus.FAILED:
            raise self._failed()
        if self.status is not TaskStatus.SUCCEEDED:
            msg = "The task is not finished: await wait_until_done() first"
            raise InvalidRequestError(msg, task_id=self.id)
        if not self.record.result_url:
            msg = "A2E gave no link to the result: refresh() may bring one"
            raise TransferError(msg, task_id=self.id)
        link = self.record.result_url
        try:
            return await self._download(link, path, overwrite=overwrite)
        except TransferError as error:
            if error.status not in {403, 404, 410}:
                raise
            with contextlib.suppress(A2EError):  # the error of the download says more
                await self.refresh()
            if self.record.result_url in {"", link}:
                raise
        return await self._download(self.record.result_url, path, overwrite=overwrite)

    async def _download(self, link: str, path: str | os.PathLike[str], *, overwrite: bool) -> pathlib.Path:
        try:
            return await self._operations.download(link, path, overwrite)
        except A2EError as error:
            error.task_id = self.id
            raise

    async def delete(self) -> None:
        """Delete the record of the task at A2E. This cannot be undone.

        The record is the only way to the result: of a task that was paid for, download the result first. A2E deletes a
        task that is initialized, and refunds it, or one that is final. Free.

        Raises:
            BadRequestError: The task is under way.
            A2EError: As for any request.
        """
        await self._operations.delete(self.id)

    def _saw(self, record: R) -> None:
        known = self.record
        if known == record and known.extra == record.extra:
            pass  # keep what is old: replacing very many records all the time is work for the garbage collector
        elif record.status.is_final or not known.status.is_final:  # an answer that was overtaken does not count
            self._known = record
        self._trouble = None
        self._shown, self._seen_at = True, time.monotonic()

    def _patience(self, timeout: float | None, outage_budget: float | None) -> Patience:
        try:
            return Patience(timeout, outage_budget)
        except InvalidRequestError as error:
            error.task_id = self.id
            raise

    def _met(self, error: A2EError) -> None:
        self._trouble = error

    def _failed(self) -> TaskFailedError:
        record = self.record
        reason = record.failed_message or record.failed_code or record.current_status or "no reason given"
        return TaskFailedError(
            f"Task {self.id} failed: {reason}",
            task_id=self.id,
            failed_code=record.failed_code,
            failed_message=record.failed_message,
            coins=record.coins,
            trace_id=record.trace_id,
            record=record,
        )

    def _alive(self, kind: type[_E], what: str) -> _E:
        """Build the error of a wait that ended before its task did."""
        word, age = self.record.current_status, time.monotonic() - self._seen_at
        seen = f"last seen {word!r} {age:.0f} s ago" if word else "never seen"
        trouble = f"; the last question failed: {self._trouble}" if self._trouble else ""
        return kind(
            f"Task {self.id} {what} ({seen}){trouble}. It goes on and is paid: "
            f"wait_until_done() waits again, also in another process by task({self.id!r})",
            task_id=self.id,
            handle=self,
            record=self.record,
            coins=self.record.coins,
        )


_AT_A_TIME = 100
"""Waits begun in one go, so that very many do not hold up the event loop."""


@attrs.frozen(kw_only=True)
class Outcome(Generic[R]):
    """How one wait ended.

    Attributes:
        handle: The task.
        error: Why there is no result: a `TaskFailedError`, a `WaitError`, or what else `TaskHandle.wait_until_done`
            raises; None if the task has succeeded.
    """

    handle: TaskHandle[R]
    error: A2EError | None = None

    @property
    def id(self) -> str:
        """A2E's id of the task."""
        return self.handle.id

    @property
    def record(self) -> R:
        """What A2E said about the task, the last time that it was asked."""
        return self.handle.record

    @property
    def ok(self) -> bool:
        """Whether the task has succeeded."""
        return self.error is None


async def outcomes(
    handles: Sequence[TaskHandle[R]],
    *,
    timeout: float | None,  # noqa: ASYNC109  as in `TaskHandle.wait_until_done`
    outage_budget: float | None,
) -> AsyncGenerator[Outcome[R], None]:
    """Wait for all of these tasks, and yield what became of each as it ends."""

    async def wait(handle: TaskHandle[R]) -> Outcome[R]:
        try:
            await handle.wait_until_done(timeout, outage_budget=outage_budget)
        except A2EError as error:
            return Outcome(handle=handle, error=error)
        return Outcome(handle=handle)

    ended: asyncio.Queue[asyncio.Task[Outcome[R]]] = asyncio.Queue()
    waits: set[asyncio.Task[Outcome[R]]] = set()
    try:
        for number, handle in enumerate(handles, 1):
            waits.add(task := asyncio.create_task(wait(handle), name=f"a2e-wait-{handle.id}"))
            task.add_done_callback(ended.put_nowait)
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        for _ in handles:
            task = await ended.get()
            waits.discard(task)
            yield task.result()
    finally:
        await _cancel([*waits])


async def _cancel(waits: list[asyncio.Task[Any]]) -> None:
    """End waits, a few at a time; all at once if this is cancelled."""
    rest = [*waits]
    try:
        while rest:
            rest.pop().cancel()
            if len(rest) % _AT_A_TIME == 0:
                await asyncio.sleep(0)
    finally:
        for task in rest:
            task.cancel()
    await asyncio.gather(*(task for task in waits if not task.done()), return_exceptions=True)

"""The handle of an asynchronous task, the same for every family; and waiting for many of them."""

import asyncio
import contextlib
import contextvars
import os
import pathlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, get_args, overload

import attrs

from a2e_async._polling.queue import Waiter
from a2e_async._polling.updates import Deadline, OnUpdate, UpdateDispatcher, change_of, delete_if_queued
from a2e_async._values import Value
from a2e_async.errors import (
    A2EError,
    InvalidRequestError,
    OutageError,
    TaskFailedError,
    TaskNotFinishedError,
    TransferError,
    WaitTimeoutError,
    private_texts,
    redact,
)
from a2e_async.files.local_files import IfExists, WritableFile
from a2e_async.files.result_stream import ResultStream
from a2e_async.models.common import TaskRecord, TaskStatus, TaskUpdate
from a2e_async.models.schemas import handle_schema

__all__ = ["CancelPolicy", "TaskHandle", "WaitResult", "wait_results"]

R = TypeVar("R", bound=TaskRecord)
F = TypeVar("F", bound=WritableFile)
R_co = TypeVar("R_co", bound=TaskRecord, covariant=True)

CancelPolicy: TypeAlias = Literal["detach", "delete"]
"""What the cancellation of a wait means for the task."""

_E = TypeVar("_E", WaitTimeoutError, OutageError)

_CHUNK = 100  # waits started or cancelled in one pass of the event loop, so that very many do not block it


class _TaskResource(Protocol[R_co]):
    """What a handle needs of the `TaskResource` that has made it."""

    async def get(self, id: str) -> R_co: ...

    async def delete(self, id: str) -> None: ...

    def _subscribe(self, task_id: str, waiter: Waiter) -> Callable[[], None]: ...

    async def _download(
        self,
        task_id: str,
        get_link: Callable[[str], Awaitable[str]],
        path: str | os.PathLike[str] | F,
        *,
        if_exists: IfExists,
    ) -> pathlib.Path | F: ...

    def _stream(
        self, get_link: Callable[[str], Awaitable[str]], *, byte_range: str | None, if_range: str | None
    ) -> AbstractAsyncContextManager[ResultStream]: ...


@attrs.define(eq=False, repr=False)
class TaskHandle(Generic[R]):
    """Handle of a paid task at A2E. The task runs with or without a wait, and its `id` is enough to find it again.

    Attributes:
        id: A2E's id of the task.
        adopted: The task was found in A2E's list by its marker or its idempotency key, and was not started now.
    """

    id: str
    _record: R | Callable[[], R] = attrs.field(repr=False)
    _resource: _TaskResource[R] = attrs.field(repr=False)
    adopted: bool = attrs.field(default=False, kw_only=True)
    _has_webhook: bool = attrs.field(default=False, kw_only=True, repr=False)
    _has_record: bool = attrs.field(default=True, kw_only=True, repr=False)  # more than the id
    _last_error: A2EError | None = attrs.field(default=None, init=False, repr=False)
    _is_seen: bool = attrs.field(default=False, init=False, repr=False)
    _seen_at: float = attrs.field(factory=lambda: time.monotonic(), init=False, repr=False)  # noqa: PLW0108  tests replace it in `time`

    def __repr__(self) -> str:
        """Return the id and the status."""
        return f"<{type(self).__name__} {self.id} {self.record.current_status or self.status}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: Any) -> Any:  # noqa: ANN401  pydantic's types
        """Let pydantic, FastAPI and MCP servers return a handle: its JSON is that of its record, without links."""
        return handle_schema(cls, lambda handle: handle.record.to_dict())

    @property
    def record(self) -> R:
        """The last record of the task that A2E sent. `refresh` and every wait update it."""
        record = self._record
        if not isinstance(record, TaskRecord):
            # Decoded on first use: a program that starts thousands of tasks may need only their ids.
            record = self._record = record()
        return record

    @property
    def status(self) -> TaskStatus:
        """The status of the last record."""
        return self.record.status

    async def refresh(self) -> R:
        """Poll the task once, and return its record. Free.

        Raises:
            NotFoundError: A2E does not know the task, or does not show it yet.
            A2EError: As for any request.
        """
        self._on_record(await self._resource.get(self.id))
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
        """Wait until the task has succeeded or failed, and return its last record. Free.

        A network error or an error of A2E does not end the wait while the `outage_budget` lasts. An error that no later
        poll can change ends it. All waits for one task share its polls, and up to 100 tasks share one request.

        Args:
            timeout: Seconds from now for the task, including the request in flight; None waits forever. If the process
                stood still meanwhile (suspended, stopped, a blocked event loop), the task is polled once more.
            outage_budget: Seconds in a row for which A2E may be unreachable; every response of A2E resets it. None has
                no limit but `timeout`.
            raise_on_failure: False returns the record of a failed task instead of raising.
            cancel_policy: What the cancellation of the wait means for the task. ``"detach"``: the task goes on.
                ``"delete"``: A2E deletes the task if it is still queued, and refunds its coins. The cancellation then
                takes up to 10 seconds.
            on_update: Called with a `TaskUpdate` for each change, as `updates` yields them; it may be asynchronous. An
                error that it raises is logged and does not end the wait. The wait returns after the last call, but not
                later than `timeout`. If the wait ends with an error, changes in the queue are dropped.

        Raises:
            TaskFailedError: A2E says that the task failed.
            InvalidRequestError: An argument cannot be used.
            WaitTimeoutError: The timeout is over. The task goes on, and can be waited for again.
            OutageError: The outage budget is used up. The task goes on, and can be waited for again.
            AuthenticationError: A2E does not accept the token, or no longer.
            TaskNotFoundError: A2E no longer knows the task, or has not shown it for a minute.
            ClientClosedError: The client was closed during the wait.
        """
        deadline = self._deadline(timeout, outage_budget)
        if cancel_policy not in get_args(CancelPolicy):
            msg = f"cancel_policy must be 'detach' or 'delete', not {cancel_policy!r}"
            raise InvalidRequestError(msg, task_id=self.id)
        if on_update is not None and not callable(on_update):
            msg = f"on_update must be a function of a TaskUpdate, not {type(on_update).__name__}"
            raise InvalidRequestError(msg, task_id=self.id)
        dispatcher = None if on_update is None else UpdateDispatcher(on_update)
        try:
            waiter = self._subscribe(deadline, None if dispatcher is None else dispatcher.dispatch)
            try:
                await self._await(waiter, deadline)
            finally:
                waiter.unsubscribe()
                # An error holds this frame by its traceback. The frame must not hold the error, or only the garbage
                # collector frees both.
                del waiter
            if dispatcher is not None:
                await dispatcher.finish(deadline.remaining())
        except asyncio.CancelledError:
            if cancel_policy == "delete":
                await delete_if_queued(self.id, self._resource.get, self._resource.delete)
            raise
        finally:
            if dispatcher is not None:
                dispatcher.cancel()
        if self.status is TaskStatus.FAILED and raise_on_failure:
            raise self._failure()
        return self.record

    async def updates(
        self,
        timeout: float | None = 1800.0,  # noqa: ASYNC109  as in `wait_until_done`
        *,
        outage_budget: float | None = 600.0,
        initial: bool = False,
    ) -> AsyncGenerator[TaskUpdate[R], None]:
        """Yield each change of the task, and end after the final one, a success or a failure. Free.

        A change is a new status, a new raw word of A2E, or more progress. The record at the start of the iteration is
        not a change; but a task that is final already yields one. All waits for the task share its polls, and a slow
        reader misses no change.

        Args:
            timeout: As in `wait_until_done`.
            outage_budget: As in `wait_until_done`.
            initial: Begin with the present state, such as for a page that shows the task. It is the record of the
                handle; a handle that was made from an id polls first.

        Raises:
            A2EError: As in `wait_until_done`, but for `TaskFailedError`.
        """
        deadline = self._deadline(timeout, outage_budget)
        updates: asyncio.Queue[TaskUpdate[R] | None] = asyncio.Queue()  # None is the end
        waiter = self._subscribe(deadline, updates.put_nowait, initial=initial)
        try:
            waiter.done.add_done_callback(lambda _: updates.put_nowait(None))
            while (update := await updates.get()) is not None:
                yield update
            await self._await(waiter, deadline)
        finally:
            waiter.unsubscribe()
            del waiter  # as in `wait_until_done`

    def _subscribe(
        self, deadline: Deadline, on_change: Callable[[TaskUpdate[R]], None] | None, *, initial: bool = False
    ) -> "_HandleWaiter[R]":
        """Subscribe to the polls of the task, and call a function for each change."""
        # A handle without a word of A2E was made from an id, and its task may be finished already.
        is_new = not (self._has_record and self.record.current_status)
        is_final = self._has_record and self.status.is_final
        waiter = _HandleWaiter(
            handle=self,
            on_change=on_change,
            last=None if on_change is None or is_new or is_final else self.record,
            outage_budget=deadline.outage_budget,
            deadline=deadline.at,
            at_once=is_new,
            seen=self._is_seen,
            wants_changes=on_change is not None,
            has_webhook=self._has_webhook,
        )
        if is_final:
            waiter.on_record(self.record)
            waiter.done.set_result(self.record)
            return waiter
        self._resource._subscribe(self.id, waiter)  # noqa: SLF001  not for users
        present = change_of(None, self.record) if initial and not is_new else None
        if on_change is not None and present is not None:
            on_change(present)
        return waiter

    async def _await(self, waiter: "_HandleWaiter[R]", deadline: Deadline) -> None:
        """Wait for the end of a subscription.

        Raises:
            WaitTimeoutError: The timeout is over.
            OutageError: The outage budget is used up.
        """
        try:
            await waiter.done
        except (WaitTimeoutError, OutageError) as error:
            raise self._explain(error, deadline) from self._last_error
        finally:
            del waiter  # as in `wait_until_done`

    @overload
    async def download(
        self, path: str | os.PathLike[str], *, if_exists: IfExists = "error", overwrite: bool = False
    ) -> pathlib.Path: ...

    @overload
    async def download(self, path: F) -> F: ...

    async def download(
        self, path: str | os.PathLike[str] | F, *, if_exists: IfExists = "error", overwrite: bool = False
    ) -> pathlib.Path | F:
        """Download the result to a file, and return its path. Free; links are valid for about 3 days.

        The task is polled once if its last record is not that of a finished task, such as that of a handle made from an
        id; and once for a new link if the link has expired (403, 404, 410). Downloads of the task to one path, through
        one client, share one transfer.

        Args:
            path: The file to write. Missing folders are made. Until it is complete it has a random name in the same
                folder. Its extension says what is expected: ``ada.mp4`` is stored only if it is a video. Or a file that
                is open for writing bytes, also an async one: it gets the bytes as they arrive, and is returned. If the
                download fails, it has the first part of them.
            if_exists: What to do about an existing file: ``"error"``; ``"overwrite"`` replaces it; ``"keep"`` returns
                its path and sends nothing.
            overwrite: Short for ``if_exists="overwrite"``.

        Raises:
            TaskNotFinishedError: The task is not finished.
            InvalidRequestError: The file exists, `path` is a folder, or a download of another result writes to it.
            TaskFailedError: The task failed, so that there is no result.
            TransferError: The download failed. The task is not affected, and the download can be tried again.
        """
        try:
            rule: IfExists = "overwrite" if overwrite else if_exists
            return await self._resource._download(self.id, self._link, path, if_exists=rule)  # noqa: SLF001  not for users
        except A2EError as error:
            error.task_id = self.id
            raise

    @contextlib.asynccontextmanager
    async def stream(
        self, *, byte_range: str | None = None, if_range: str | None = None
    ) -> AsyncGenerator[ResultStream, None]:
        """Open the result for reading while it arrives: ``async with task.stream() as stream``. Free.

        ``async for chunk in stream`` yields bytes. `ResultStream.size` and `ResultStream.content_type` are known before
        the first chunk. A lost connection is resumed. The reader may take its time; streams are not counted by
        `Config.max_downloads`. The task is polled as in `download`.

        Args:
            byte_range: The header ``Range`` of a visitor, such as ``"bytes=0-499"``. Only these bytes are requested. As
                a web server does, the whole is sent if there are several ranges, or if the header is not valid.
            if_range: The header ``If-Range`` of a visitor: the whole is sent if the result is another one.

        Raises:
            TaskNotFinishedError: The task is not finished.
            TaskFailedError: The task failed, so that there is no result.
            TransferError: The download failed, now or during the iteration.
            ClientClosedError: The client was closed, or ended its waits (`A2EClient.end_waits`).
        """
        try:
            opening = self._resource._stream(self._link, byte_range=byte_range, if_range=if_range)  # noqa: SLF001  not for users
            async with opening as stream:
                yield stream
        except A2EError as error:
            error.task_id = error.task_id or self.id
            raise

    async def _link(self, expired: str) -> str:
        """Return the link to the result; an empty text if there is no other one than that which has expired."""
        if expired:
            with contextlib.suppress(A2EError):  # the error of the download says more
                await self.refresh()
            return self.record.result_url
        if self.status is not TaskStatus.FAILED and not (self.status.is_final and self.record.result_url):
            await self.refresh()
        if self.status is TaskStatus.FAILED:
            raise self._failure()
        if self.status is not TaskStatus.SUCCEEDED:
            msg = "The task is not finished"
            raise TaskNotFinishedError(msg, task_id=self.id, advice="wait")
        if not self.record.result_url:
            msg = "A2E's record of the task has no link to the result"
            raise TransferError(msg, task_id=self.id)
        return self.record.result_url

    async def delete(self) -> None:
        """Delete the record of the task at A2E. This cannot be undone. Free.

        Only the record has the link to the result: download the result of a paid task first. A2E deletes a queued task
        and refunds its coins, or a finished task. It does not delete a running one.

        Raises:
            BadRequestError: The task is running.
            A2EError: As for any request.
        """
        await self._resource.delete(self.id)

    def _on_record(self, record: R) -> R:
        last = self.record
        if last == record and last.extra == record.extra:
            record = last  # the old object stays: replacing very many equal records is work for the garbage collector
        elif record.status.is_final or not last.status.is_final:  # a response that came late must not undo the end
            self._record = record
        self._last_error = None
        self._is_seen = self._has_record = True
        self._seen_at = time.monotonic()
        return record

    def _on_error(self, error: A2EError) -> None:
        self._last_error = error

    def _deadline(self, timeout: float | None, outage_budget: float | None) -> Deadline:
        try:
            return Deadline(timeout, outage_budget)
        except InvalidRequestError as error:
            error.task_id = self.id
            raise

    def _failure(self) -> TaskFailedError:
        record = self.record
        reason = record.failed_message or record.failed_code or record.current_status or "no reason given"
        private = [text for text in private_texts(record.to_dict(links=True)) if text != reason]
        return TaskFailedError(
            f"Task {self.id} failed: {redact(reason, private)}",
            task_id=self.id,
            failed_code=record.failed_code,
            failed_message=record.failed_message,
            coins=record.coins,
            trace_id=record.trace_id,
            record=record,
        )

    def _to_result(self, error: BaseException | None, deadline: Deadline) -> "WaitResult[R]":
        """Return the result of a wait that has ended, perhaps with an error."""
        if isinstance(error, A2EError):
            return WaitResult(handle=self, error=self._explain(error, deadline))
        return WaitResult(handle=self, error=self._failure() if self.status is TaskStatus.FAILED else None)

    def _explain(self, error: A2EError, deadline: Deadline) -> A2EError:
        """Return the error that has ended a wait; instead of that of a time limit, one that says what is known."""
        if isinstance(error, WaitTimeoutError):
            explained: A2EError = self._wait_error(WaitTimeoutError, f"is not finished after {deadline.timeout:g} s")
        elif isinstance(error, OutageError):
            explained = self._wait_error(OutageError, f"could not be polled for {deadline.outage_budget:g} s")
        else:
            return error
        explained.__cause__ = self._last_error
        return explained

    def _wait_error(self, error_type: type[_E], problem: str) -> _E:
        """Return the error of a wait that ended before its task."""
        word, age = self.record.current_status, time.monotonic() - self._seen_at
        state = repr(word) if word else "without a status word"
        is_known = bool(word) or self._is_seen
        seen = f"last seen {state} {age:.0f} s ago" if is_known else "never seen"
        rest = "The task goes on at A2E and is paid" if is_known else "If A2E has such a task, it goes on and is paid"
        cause = f"; the last poll failed: {self._last_error}" if self._last_error else ""
        return error_type(
            f"Task {self.id} {problem} ({seen}){cause}. {rest}",
            task_id=self.id,
            handle=self,
            record=self.record,
            coins=self.record.coins,
        )


@attrs.define(kw_only=True, eq=False, repr=False)
class _HandleWaiter(Waiter, Generic[R]):
    """The wait of a handle.

    Attributes:
        handle: Is told all results of the polls.
        on_change: Called for each change; None if only the end matters.
        last: The record of the last change.
    """

    handle: TaskHandle[R]
    on_change: Callable[[TaskUpdate[R]], None] | None = None
    last: R | None = None

    def on_record(self, record: R) -> R:
        kept = self.handle._on_record(record)  # noqa: SLF001  a part of the handle
        if self.on_change is not None:
            update, self.last = change_of(self.last, record), record
            if update is not None:
                self.on_change(update)
        return kept

    def on_error(self, error: A2EError) -> None:
        self.handle._on_error(error)  # noqa: SLF001  as above


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WaitResult(Value, Generic[R]):
    """Result of one wait.

    Attributes:
        handle: The task.
        error: The reason why there is no result: a `TaskFailedError`, a `WaitError`, or another error of
            `TaskHandle.wait_until_done`. None if the task has succeeded.
    """

    handle: TaskHandle[R]
    error: A2EError | None = None

    @property
    def id(self) -> str:
        """A2E's id of the task."""
        return self.handle.id

    @property
    def record(self) -> R:
        """The last record of the task that A2E sent."""
        return self.handle.record

    @property
    def ok(self) -> bool:
        """Whether the task has succeeded."""
        return self.error is None


async def wait_results(
    handles: Sequence[TaskHandle[R]],
    *,
    timeout: float | None,  # noqa: ASYNC109  as in `TaskHandle.wait_until_done`
    outage_budget: float | None,
) -> AsyncGenerator[WaitResult[R], None]:
    """Wait for several tasks, and yield the result of each wait as it ends."""
    # One deadline, function and context for all of them, and no asyncio task: 100,000 waits are possible.
    deadline, context = Deadline(timeout, outage_budget), contextvars.copy_context()
    waits: dict[asyncio.Future[R], _HandleWaiter[R]] = {}
    ended: asyncio.Queue[tuple[TaskHandle[R], BaseException | None]] = asyncio.Queue()

    def end(done: asyncio.Future[R]) -> None:
        waiter = waits.pop(done, None)
        if waiter is not None:  # else the loop over the results was left
            waiter.unsubscribe()
            ended.put_nowait((waiter.handle, done.exception()))

    try:
        for number, handle in enumerate(handles, 1):
            try:
                waiter = handle._subscribe(deadline, None)  # noqa: SLF001  a part of the handle
            except A2EError as refusal:
                ended.put_nowait((handle, refusal))
            else:
                waits[waiter.done] = waiter
                waiter.done.add_done_callback(end, context=context)
            if number % _CHUNK == 0:
                await asyncio.sleep(0)
        for _ in handles:
            handle, error = await ended.get()
            yield handle._to_result(error, deadline)  # noqa: SLF001  as above
    finally:
        await _unsubscribe(waits)


async def _unsubscribe(waits: dict[asyncio.Future[R], _HandleWaiter[R]]) -> None:
    """End waits in chunks; all at once if this function is cancelled itself."""
    try:
        while waits:
            waits.popitem()[1].unsubscribe()
            if len(waits) % _CHUNK == 0:
                await asyncio.sleep(0)
    finally:
        while waits:
            waits.popitem()[1].unsubscribe()

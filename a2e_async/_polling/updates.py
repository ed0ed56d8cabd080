"""Parts of the waits of a `TaskHandle`: the deadline, the detection of changes, their delivery, and a deletion."""

import asyncio
import datetime as dt
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

import attrs

from a2e_async._protocol.statuses import is_queued
from a2e_async._protocol.validation import check_seconds
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord, TaskStatus, TaskUpdate

R = TypeVar("R", bound=TaskRecord)

OnUpdate: TypeAlias = Callable[[TaskUpdate[R]], object]
"""A function that is called with each change of a task. It may be asynchronous."""

_LOGGER = logging.getLogger("a2e_async")

_DELETE_TIMEOUT = 10.0  # seconds


@attrs.define(eq=False, repr=False)
class Deadline:
    """Time limits of one wait, which starts now.

    Attributes:
        timeout: Seconds for the job; None for no limit.
        outage_budget: Seconds for which A2E may be unreachable; None for no limit.
        at: End of the timeout by the event loop's clock; None for no limit.

    Raises:
        InvalidRequestError: One of them is not a number of seconds.
    """

    timeout: float | None
    outage_budget: float | None
    at: float | None = None

    def __attrs_post_init__(self) -> None:
        """Check the numbers, and start."""
        check_seconds("timeout", self.timeout)
        check_seconds("outage_budget", self.outage_budget)
        if self.timeout is not None:
            self.at = asyncio.get_running_loop().time() + self.timeout

    def remaining(self) -> float | None:
        """Return the remaining seconds; None for no limit."""
        return None if self.at is None else max(0.0, self.at - asyncio.get_running_loop().time())


@attrs.define(eq=False, repr=False)
class ChangeDetector(Generic[R]):
    """Compares each record of a task with the one before: its status, A2E's raw word, and its progress."""

    _last: tuple[TaskStatus, str, float | None] | None = None

    def start(self, record: R) -> None:
        """Set the record from which changes count."""
        # The handle of a task that was picked up by its id has no raw word: then the first record is a change.
        if record.current_status:
            self._last = (record.status, record.current_status, record.progress)

    def update(self, record: R) -> TaskUpdate[R] | None:
        """Return the change that a record brings; None if it brings none."""
        last, self._last = self._last, (record.status, record.current_status, record.progress)
        if self._last == last:
            return None
        return TaskUpdate(
            task_id=record.id,
            old=None if last is None else last[0],
            new=record.status,
            current_status=record.current_status,
            progress=record.progress,
            seen_at=dt.datetime.fromtimestamp(time.time(), dt.UTC),
            record=record,
        )


@attrs.define(eq=False, repr=False)
class UpdateDispatcher(Generic[R]):
    """Calls a function of the user for one change after the other.

    It runs in an asyncio task of its own, so that a slow function delays no other wait.
    """

    on_update: OnUpdate[R]
    _updates: asyncio.Queue[TaskUpdate[R] | None] = attrs.field(factory=asyncio.Queue)  # None ends the task
    _task: asyncio.Task[None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start. Needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name="a2e-on-update")

    def dispatch(self, update: TaskUpdate[R]) -> None:
        """Add a change to the queue."""
        self._updates.put_nowait(update)

    async def finish(self, timeout: float | None) -> None:  # noqa: ASYNC109  it ends without an error
        """Wait until the function was called for all changes; after the timeout it is cancelled."""
        self._updates.put_nowait(None)
        _, late = await asyncio.wait({self._task}, timeout=timeout)
        if late:
            _LOGGER.warning("on_update was still running at the timeout of the wait, and is cancelled")

    def cancel(self) -> None:
        """Cancel the call in progress, and drop the changes in the queue."""
        self._task.cancel()

    async def _run(self) -> None:
        while (update := await self._updates.get()) is not None:
            try:
                result = self.on_update(update)
                if inspect.isawaitable(result):
                    await result
            except (Exception, asyncio.CancelledError):
                # A CancelledError can come from the function itself: only a cancellation of this task ends it.
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                _LOGGER.exception("on_update raised an error for task %s; the wait goes on", update.task_id)


async def delete_if_queued(
    task_id: str, get: Callable[[str], Awaitable[TaskRecord]], delete: Callable[[str], Awaitable[None]]
) -> None:
    """Delete a task whose wait was cancelled if A2E has not begun it yet. Takes 10 seconds at most, and logs errors."""

    async def read_and_delete() -> None:
        try:
            # A2E also deletes a finished task, and with it a result that was paid for. So the status is read first.
            if is_queued(await get(task_id)):
                await delete(task_id)
                _LOGGER.info("The wait for task %s was cancelled; the task was still queued, and is deleted", task_id)
        except A2EError as error:
            _LOGGER.warning("The wait for task %s was cancelled; the task could not be deleted: %s", task_id, error)

    # A task of its own, so that the time is bounded even if a request ends late after its cancellation.
    deletion = asyncio.create_task(read_and_delete())
    try:
        _, late = await asyncio.wait({deletion}, timeout=_DELETE_TIMEOUT)
    finally:
        deletion.cancel()
    if late:
        _LOGGER.warning("The wait for task %s was cancelled; it is unknown whether the task was deleted", task_id)

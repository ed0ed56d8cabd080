"""Parts of the waits of a `TaskHandle`: the deadline, the changes, their delivery, and a deletion."""

import asyncio
import datetime as dt
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

from a2e_async._aio import finish_in_background
from a2e_async._protocol.families import is_queued
from a2e_async._protocol.validation import check_seconds
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord, TaskUpdate

R = TypeVar("R", bound=TaskRecord)

OnUpdate: TypeAlias = Callable[[TaskUpdate[R]], object]
"""A function that is called with each change of a task. It may be asynchronous."""

_LOGGER = logging.getLogger("a2e_async")

_DELETE_TIMEOUT = 10.0  # seconds


class Deadline:
    """Time limits of one wait, which starts now.

    Attributes:
        timeout: Seconds for the job; None for no limit.
        outage_budget: Seconds for which A2E may be unreachable; None for no limit.
        at: End of the timeout by the event loop's clock; None for no limit.

    Raises:
        InvalidRequestError: One of them is not a number of seconds.
    """

    def __init__(self, timeout: float | None, outage_budget: float | None) -> None:
        """Check the numbers, and start."""
        check_seconds("timeout", timeout)
        check_seconds("outage_budget", outage_budget)
        self.timeout, self.outage_budget = timeout, outage_budget
        self.at = None if timeout is None else asyncio.get_running_loop().time() + timeout

    def remaining(self) -> float | None:
        """Return the remaining seconds; None for no limit."""
        return None if self.at is None else max(0.0, self.at - asyncio.get_running_loop().time())


def change_of(last: R | None, record: R) -> TaskUpdate[R] | None:
    """Return the change from one record to the next: a new status, raw word or progress; None if there is none."""
    if last is not None and _shown(last) == _shown(record):
        return None
    return TaskUpdate(
        task_id=record.id,
        old=None if last is None else last.status,
        new=record.status,
        current_status=record.current_status,
        progress=record.progress,
        seen_at=dt.datetime.fromtimestamp(time.time(), dt.UTC),
        record=record,
    )


def _shown(record: TaskRecord) -> tuple[object, ...]:
    return record.status, record.current_status, record.progress


class UpdateDispatcher(Generic[R]):
    """Calls a function of the user for one change after the other.

    It runs in an asyncio task of its own, so that a slow function delays no other wait.
    """

    def __init__(self, on_update: OnUpdate[R]) -> None:
        """Start. Needs a running event loop."""
        self.on_update = on_update
        self._updates: asyncio.Queue[TaskUpdate[R] | None] = asyncio.Queue()  # None ends the task
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
            async with asyncio.timeout(_DELETE_TIMEOUT):
                # A2E also deletes a finished task, and with it a result that was paid for. So read the status first.
                if not is_queued(await get(task_id)):
                    _LOGGER.info("The wait for task %s was cancelled; it has begun, so it is not deleted", task_id)
                    return
                await delete(task_id)
            _LOGGER.info("The wait for task %s was cancelled; the task was still queued, and is deleted", task_id)
        except (TimeoutError, asyncio.CancelledError):  # a signal handler can cancel all tasks, also this one
            _LOGGER.warning("The wait for task %s was cancelled; it is unknown whether the task was deleted", task_id)
        except A2EError as error:
            _LOGGER.warning("The wait for task %s was cancelled; the task could not be deleted: %s", task_id, error)

    msg = "The wait for task %s was cancelled: the task is deleted if it is still queued, within %g s"
    _LOGGER.info(msg, task_id, _DELETE_TIMEOUT)
    # A second cancellation ends the wait, and not the deletion.
    await asyncio.wait([finish_in_background(read_and_delete())])

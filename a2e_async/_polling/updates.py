"""What the waits of a handle are made of: patience, changes and who hears of them, and giving up a task."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

import attrs

from a2e_async._protocol.statuses import is_unbegun
from a2e_async._protocol.validation import check_seconds
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord, TaskStatus, TaskUpdate

__all__ = ["Changes", "OnUpdate", "Patience", "Reporter", "withdraw"]

R = TypeVar("R", bound=TaskRecord)

OnUpdate: TypeAlias = Callable[[TaskUpdate[R]], object]
"""A function that is called with each change of a task; what it returns is awaited if it can be."""

_LOGGER = logging.getLogger("a2e_async")

_WITHDRAWAL = 10.0
"""Seconds that a cancelled wait may spend on deleting its task."""


@attrs.define(eq=False, repr=False)
class Patience:
    """How long somebody waits, from now on: for the job, and for an A2E that is out of reach.

    Raises:
        InvalidRequestError: One of them is no number of seconds.
    """

    timeout: float | None
    outage_budget: float | None
    deadline: float | None = None

    def __attrs_post_init__(self) -> None:
        """Check, and look at the event loop's clock."""
        check_seconds("timeout", self.timeout)
        check_seconds("outage_budget", self.outage_budget)
        if self.timeout is not None:
            self.deadline = asyncio.get_running_loop().time() + self.timeout

    def left(self) -> float | None:
        """Return the seconds that are left, None for ever."""
        return None if self.deadline is None else max(0.0, self.deadline - asyncio.get_running_loop().time())


@attrs.define(eq=False, repr=False)
class Changes(Generic[R]):
    """Tells which records of a task are a change: of the status, of A2E's word, or of the progress."""

    _known: tuple[TaskStatus, str, float | None] | None = None

    def begin(self, record: R) -> None:
        """Take this as known, unless A2E has said nothing yet."""
        if record.current_status:
            self._known = _gist(record)

    def of(self, record: R) -> TaskUpdate[R] | None:
        """Return what this record changes, None if nothing."""
        before, self._known = self._known, _gist(record)
        if self._known == before:
            return None
        return TaskUpdate(
            task_id=record.id,
            old=None if before is None else before[0],
            new=record.status,
            current_status=record.current_status,
            progress=record.progress,
            seen_at=dt.datetime.fromtimestamp(time.time(), dt.UTC),
            record=record,
        )


def _gist(record: TaskRecord) -> tuple[TaskStatus, str, float | None]:
    return record.status, record.current_status, record.progress


@attrs.define(eq=False, repr=False)
class Reporter(Generic[R]):
    """Calls a function of the user for one change after the other, in a task of its own: it holds up nobody else."""

    on_update: OnUpdate[R]
    _updates: asyncio.Queue[TaskUpdate[R] | None] = attrs.field(factory=asyncio.Queue)
    _task: asyncio.Task[None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin. Needs a running event loop."""
        self._task = asyncio.create_task(self._report(), name="a2e-on-update")

    def tell(self, update: TaskUpdate[R]) -> None:
        """Report a change when all the earlier ones are reported."""
        self._updates.put_nowait(update)

    async def finish(self, within: float | None) -> None:
        """Wait until everything is reported, but not for longer than so many seconds."""
        self._updates.put_nowait(None)
        _, late = await asyncio.wait({self._task}, timeout=within)
        if late:
            _LOGGER.warning("on_update was still at work when the time of the wait was over, and was cancelled")

    def stop(self) -> None:
        """Report nothing more."""
        self._task.cancel()

    async def _report(self) -> None:
        while (update := await self._updates.get()) is not None:
            try:
                answer = self.on_update(update)
                if inspect.isawaitable(answer):
                    await answer
            except (Exception, asyncio.CancelledError):
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                _LOGGER.exception("on_update raised about task %s; the wait goes on", update.task_id)


async def withdraw(
    task_id: str, get: Callable[[str], Awaitable[TaskRecord]], delete: Callable[[str], Awaitable[None]]
) -> None:
    """Delete a task if nobody has begun it, whatever happens meanwhile, and in bounded time."""
    deleting = asyncio.create_task(_delete_unbegun(task_id, get, delete))
    try:
        _, late = await asyncio.wait({deleting}, timeout=_WITHDRAWAL)
    finally:
        deleting.cancel()
    if late:
        _LOGGER.warning("The wait for task %s was cancelled; whether it could be deleted is not known", task_id)


async def _delete_unbegun(
    task_id: str, get: Callable[[str], Awaitable[TaskRecord]], delete: Callable[[str], Awaitable[None]]
) -> None:
    try:
        # asked first, since A2E would also delete a finished task, and with it what was paid
        if is_unbegun(await get(task_id)):
            await delete(task_id)
            _LOGGER.info("Task %s was deleted before A2E had begun it, since its wait was cancelled", task_id)
    except A2EError as error:
        _LOGGER.warning("The wait for task %s was cancelled, and it could not be deleted: %s", task_id, error)

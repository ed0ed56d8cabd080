"""What became of many tasks: values in the order of completion, so that one failure does not hide the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from a2e_async.tasks import TaskHandle

__all__ = ["Outcome", "outcomes"]

R = TypeVar("R", bound=TaskRecord)

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

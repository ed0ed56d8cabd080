"""The face of a batch: what is iterated over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, cast

import attrs

from a2e_async.batch.runner import Runner, ended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable
    from types import AsyncGeneratorType, TracebackType

    from a2e_async.batch.outcome import Outcome, Progress

__all__ = ["Batch"]


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

"""One video on the command line: start, wait and download, with the state that a display shows."""

import asyncio
import pathlib
import time
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Literal

import attrs

from a2e_async import ImageToVideoRecord, TaskHandle
from a2e_async.errors import A2EError


def _now() -> float:
    return time.monotonic()  # tests replace it in `time`


@attrs.define(eq=False)
class Conversion:
    """One video and its state. Times are seconds of the monotonic clock."""

    key: str  # the name of the image, or the id of the task
    target: pathlib.Path | None = None  # None to only wait
    handle: TaskHandle[ImageToVideoRecord] | None = None  # None until A2E has accepted the start
    stage: Literal["uploading", "running", "downloading", "done", "failed"] = "uploading"
    error: A2EError | None = None
    started_at: float = attrs.field(factory=_now)
    ended_at: float | None = None

    @property
    def status(self) -> str:
        """A2E's status word while the task runs, else empty."""
        return self.handle.record.current_status if self.handle is not None and self.stage == "running" else ""

    @property
    def seconds(self) -> float:
        """Seconds since the beginning, until the end."""
        return (self.ended_at or _now()) - self.started_at

    @property
    def task_id(self) -> str | None:
        """The id of the task, unless it is the key."""
        return None if self.handle is None or self.handle.id == self.key else self.handle.id

    @property
    def coins(self) -> float | None:
        """Coins that the task cost, None if unknown."""
        return None if self.handle is None else self.handle.record.coins

    async def run(
        self, start: Awaitable[TaskHandle[ImageToVideoRecord]] | None = None, *, wait_timeout: float, overwrite: bool
    ) -> None:
        """Wait for the start, if there is no task yet, and for the task, and download the video.

        An error is stored in `error` and not raised, so that it ends this conversion only.
        """
        self.started_at = _now()
        try:
            if start is not None:
                self.handle = await start
            assert self.handle is not None, "there is a start or a task"  # noqa: S101  for mypy
            self.stage = "running"
            await self.handle.wait_until_done(wait_timeout)
            if self.target is not None:
                self.stage = "downloading"
                await self.handle.download(self.target, if_exists="overwrite" if overwrite else "error")
            self.stage = "done"
        except A2EError as error:
            self.error, self.stage = error, "failed"
        finally:
            # Also after a cancellation (Ctrl-C): the stage then shows how far the conversion got.
            self.ended_at = _now()


async def run_all(coroutines: Iterable[Coroutine[None, None, None]]) -> None:
    """Run coroutines at the same time, until all have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # the others are of the same kind: the output cannot be written

"""One task on the command line: start, wait and download, with the state that a display shows."""

import asyncio
import os
import pathlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Literal, Protocol

import attrs

from a2e_async import TaskHandle
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord


def _now() -> float:
    return time.monotonic()  # tests replace it in `time`


class _Downloader(Protocol):
    """A client, as far as the download of one link is concerned."""

    async def download(self, url: str, path: pathlib.Path, *, overwrite: bool = False) -> object: ...


@attrs.define(eq=False)
class Conversion:
    """One task and its state, from an input to the files of its results. Times are seconds of the monotonic clock."""

    key: str  # the name of the image, or the id of the task
    target: pathlib.Path | None = None  # None to only wait, and while `choose_target` has not chosen it
    handle: TaskHandle[Any] | None = None  # None until A2E has accepted the start
    stage: Literal["uploading", "running", "downloading", "done", "failed"] = "uploading"
    error: A2EError | None = None
    started_at: float = attrs.field(factory=_now)
    ended_at: float | None = None
    choose_target: Callable[[TaskRecord], pathlib.Path] | None = None  # for a result whose type is not known before
    more_paths: list[pathlib.Path] = attrs.field(factory=list)  # of a task with several results, without the first one

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
        self,
        start: Awaitable[TaskHandle[Any]] | None = None,
        *,
        wait_timeout: float,
        overwrite: bool,
        downloader: _Downloader | None = None,
    ) -> None:
        """Wait for the start, if there is no task yet, and for the task, and download the result.

        An error is stored in `error` and not raised, so that it ends this conversion only.

        Args:
            start: The start.
            wait_timeout: Seconds to wait for the task at most.
            overwrite: Whether to replace existing files.
            downloader: The client, for a task with several results; None downloads the first one only.
        """
        self.started_at = _now()
        try:
            if start is not None:
                self.handle = await start
            assert self.handle is not None, "there is a start or a task"  # noqa: S101  for mypy
            self.stage = "running"
            record = await self.handle.wait_until_done(wait_timeout)
            if self.choose_target is not None:
                self.target = self.choose_target(record)
            if self.target is not None:
                self.stage = "downloading"
                await self.handle.download(self.target, if_exists="overwrite" if overwrite else "error")
                if downloader is not None:
                    await self._download_others(record, self.target, downloader, overwrite=overwrite)
            self.stage = "done"
        except A2EError as error:
            self.error, self.stage = error, "failed"
        finally:
            # Also after a cancellation (Ctrl-C): the stage then shows how far the conversion got.
            self.ended_at = _now()

    async def _download_others(
        self, record: TaskRecord, first: pathlib.Path, downloader: _Downloader, *, overwrite: bool
    ) -> None:
        links = getattr(record, "result_urls", ())[1:]  # of the families that make images
        for number, link in enumerate(links, 2):
            path = unused_path(first.with_stem(f"{first.stem}-{number}"), overwrite=overwrite)
            await downloader.download(link, path, overwrite=overwrite)
            self.more_paths.append(path)


def unused_path(path: pathlib.Path, taken: Iterable[pathlib.Path] = (), *, overwrite: bool = False) -> pathlib.Path:
    """Return a path, with a number if there is such a file, or if it is taken: ``ada-2.mp4``.

    Args:
        path: The path.
        taken: Paths that will be written.
        overwrite: Whether the path itself may be an existing file.
    """
    number, chosen, used = 1, path, {*taken}
    while chosen in used or (not overwrite and os.path.lexists(chosen)):
        number += 1
        chosen = path.with_stem(f"{path.stem}-{number}")
    return chosen


async def run_all(coroutines: Iterable[Coroutine[None, None, None]]) -> None:
    """Run coroutines at the same time, until all have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # the others are of the same kind: the output cannot be written

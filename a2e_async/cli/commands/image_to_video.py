"""``a2e image-to-video``: `run` and `start`, which cost coins, and `wait`. The free ones are in `tasks.py`."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Annotated

import attrs
import cyclopts
from cyclopts import Parameter
from rich.console import Console

from a2e_async.cli.commands.tasks import Ids, delete, download, file_of, find, get, list_tasks
from a2e_async.cli.flow import Clip, make_clip
from a2e_async.cli.messages import complain, said
from a2e_async.cli.options import AS_USUAL, DEFAULT, FLAG, Connection, LocalFile, Start
from a2e_async.cli.output import Printer, coins_text, print_json, record_json, show_result, watch
from a2e_async.errors import A2EError
from a2e_async.files.local_files import check_target

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from a2e_async import A2EClient, ImageToVideoRecord, Outcome, TaskHandle

__all__ = ["app", "run", "start", "wait"]


def start(image: LocalFile, /, *, options: Start = AS_USUAL, connection: Connection = DEFAULT) -> int:
    """Start a video and print the task's id at once. This costs coins.

    Try:

        a2e image-to-video start ada.png --prompt "she smiles at the camera"
        id=$(a2e image-to-video start ada.png --prompt "she waves" --idempotency-key order-17)

    A local image is uploaded first. The price is printed on stderr, so that the id is all that a script reads.

    Args:
        image: The image, a path or a link (PNG, JPEG, WebP, GIF, BMP).
        options: What to make.
        connection: Shared.
    """
    words = options.of(image)

    async def flow() -> TaskHandle[ImageToVideoRecord]:
        async with connection.client() as a2e:
            return await a2e.image_to_video.start(**words)

    task = asyncio.run(flow())
    if connection.json:
        print_json(record_json(task.record))
    else:
        print(task.id, flush=True)
        print(f"a2e: {_price(task)}; wait for it with: a2e image-to-video wait {task.id}", file=sys.stderr)
    return 0


def _price(task: TaskHandle[ImageToVideoRecord]) -> str:
    if task.adopted:
        return "found again, and nothing was bought"
    coins = coins_text(task.record.coins)
    return f"started for {coins} coins" if coins else "started"


def run(
    image: LocalFile,
    /,
    *,
    out: Annotated[pathlib.Path, Parameter(name=["--out", "-o"])],
    timeout: float = 1800.0,
    overwrite: Annotated[bool, FLAG] = False,
    options: Start = AS_USUAL,
    connection: Connection = DEFAULT,
) -> int:
    """Start a video, wait for it and download it. This costs coins.

    Try:

        a2e image-to-video run ada.png --prompt "she smiles" --out ada.mp4

    A local image is uploaded first. That the video's file does not exist yet is checked before anything is paid. If
    the wait ends early, by --timeout or by Ctrl-C, the task goes on at A2E, and its id is printed.

    Args:
        image: The image, a path or a link (PNG, JPEG, WebP, GIF, BMP).
        out: The video file to write.
        timeout: Seconds to wait at most.
        overwrite: Replace an existing file.
        options: What to make.
        connection: Shared.
    """
    clip, words = Clip(image, out), options.of(image)

    async def flow() -> None:
        async with connection.client() as a2e:
            await check_target(out, overwrite=overwrite)  # before anything is paid
            work = make_clip(a2e, clip, words, patience=timeout, overwrite=overwrite)
            await watch(Console(stderr=True), [clip], work)

    try:
        asyncio.run(flow())
    except KeyboardInterrupt:
        if clip.handle is None:
            raise
        how = f"wait on with a2e image-to-video wait {clip.handle.id}"
        return complain(f"interrupted; the task goes on at A2E and is paid: {how}", 130)
    if clip.error is not None:
        raise clip.error
    _show(clip, as_json=connection.json)
    return 0


def _show(clip: Clip, *, as_json: bool) -> None:
    if as_json and clip.handle is not None:
        print_json(record_json(clip.handle.record) | {"path": str(clip.target)})
    elif sys.stdout.isatty():
        show_result(Console(), [clip], [None])
    else:
        print(clip.target)


@attrs.define(eq=False)
class _Awaited:
    """A task that is waited for, as the screen shows it. Times are seconds of the monotonic clock."""

    handle: TaskHandle[ImageToVideoRecord]
    ok: bool | None = None
    began: float = attrs.field(factory=lambda: time.monotonic())  # noqa: PLW0108  tests replace it in `time`
    ended: float | None = None

    @property
    def name(self) -> str:
        return self.handle.id

    @property
    def state(self) -> str:
        return self.handle.record.current_status or "asking"

    @property
    def elapsed(self) -> float:
        return (self.ended or time.monotonic()) - self.began


def wait(
    *ids: Ids,
    timeout: float = 1800.0,
    download_to: pathlib.Path | None = None,
    overwrite: Annotated[bool, FLAG] = False,
    connection: Connection = DEFAULT,
) -> int:
    """Wait until tasks have ended. Free.

    Try:

        a2e image-to-video wait 67d29023dd27a536fdf6e809 --download-to videos

    All tasks are waited for together. A line is printed for each as it ends, and each change is shown on stderr. The
    exit code is 1 if a task failed, or is not finished in time; it goes on at A2E then, and can be waited for again.

    Args:
        ids: The id of a task, as `start` prints it.
        timeout: Seconds to wait at most.
        download_to: A folder for the videos, which are called after the ids.
        overwrite: Replace existing files.
        connection: Shared.
    """
    waiting = _Wait(timeout, download_to, overwrite, Printer(connection.json))

    async def flow() -> None:
        async with connection.client() as a2e:
            await waiting.run(a2e, list(dict.fromkeys(ids)))

    try:
        asyncio.run(flow())
    except KeyboardInterrupt:
        how = f"wait on with a2e image-to-video wait {' '.join(waiting.left or ids)}"
        return complain(f"interrupted; at A2E everything goes on: {how}", 130)
    return waiting.code


@attrs.define(eq=False)
class _Wait:
    """One wait, and what is known of its end.

    Attributes:
        code: The exit code so far.
        left: The ids of the tasks that have not ended.
    """

    timeout: float
    folder: pathlib.Path | None
    overwrite: bool
    printer: Printer
    code: int = 0
    left: dict[str, _Awaited] = attrs.field(factory=dict)

    async def run(self, a2e: A2EClient, ids: list[str]) -> None:
        """Wait for all of them."""
        self.left = {task_id: _Awaited(a2e.image_to_video.task(task_id)) for task_id in ids}
        for task_id in ids:
            if self.folder is not None:
                await check_target(self.folder / file_of(task_id), overwrite=self.overwrite)
        tasks = [*self.left.values()]
        handles = [task.handle for task in tasks]
        await watch(Console(stderr=True), tasks, self._meet(a2e.image_to_video.wait_all(handles, timeout=self.timeout)))

    async def _meet(self, outcomes: AsyncGenerator[Outcome[ImageToVideoRecord], None]) -> None:
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                await self._end(outcome)

    async def _end(self, outcome: Outcome[ImageToVideoRecord]) -> None:
        path, error = None, outcome.error
        if error is None and self.folder is not None:
            try:
                path = await outcome.handle.download(self.folder / file_of(outcome.id), overwrite=self.overwrite)
            except A2EError as trouble:
                error = trouble
        task = self.left.pop(outcome.id)
        task.ok, task.ended = error is None, time.monotonic()
        problem = {"error": None if error is None else said(str(error))} if self.printer.as_json else {}
        self.printer.show(outcome.record, **problem, path=None if path is None else str(path))
        if error is not None:
            self.code = max(self.code, complain(error))


app = cyclopts.App(
    name="image-to-video",
    help="Turn images into videos at A2E, and look after the tasks.",
    group_parameters="Options",
)
for command in (run, start, wait, get, find, download, delete):
    app.command(command)
app.command(list_tasks, name="list")

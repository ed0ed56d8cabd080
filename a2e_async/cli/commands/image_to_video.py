"""``a2e image-to-video``: `run` and `start`, which cost coins, and `wait`. The other commands are in `tasks.py`."""

import asyncio
import contextlib
import pathlib
import sys
import time
from collections.abc import AsyncGenerator
from typing import Annotated

import attrs
import cyclopts
from cyclopts import Parameter
from rich.console import Console

from a2e_async import A2EClient, ImageToVideoRecord, TaskHandle, WaitResult
from a2e_async.cli.commands.tasks import Ids, delete, download, find, get, list_tasks, video_name
from a2e_async.cli.conversion import Conversion, make_video
from a2e_async.cli.messages import print_error, to_cli_text
from a2e_async.cli.options import DEFAULT_CONNECTION, DEFAULT_START, FLAG, Connection, PathOrLink, StartArguments
from a2e_async.cli.output import Printer, coins_text, print_json, record_json, show_conversions, show_progress
from a2e_async.errors import A2EError
from a2e_async.files.local_files import check_target


def start(
    image: PathOrLink, /, *, options: StartArguments = DEFAULT_START, connection: Connection = DEFAULT_CONNECTION
) -> int:
    """Start a video and print the task's id at once. This costs coins.

    Try:

        a2e image-to-video start ada.png --prompt "she smiles at the camera"
        id=$(a2e image-to-video start ada.png --prompt "she waves" --idempotency-key order-17)

    A local image is uploaded first. The price is printed on stderr, so that a script reads only the id.

    Args:
        image: The image, a path or a link (PNG, JPEG, WebP, GIF, BMP).
        options: The options of the video.
        connection: The shared options.
    """
    start_options = options.to_options(image)

    async def submit() -> TaskHandle[ImageToVideoRecord]:
        async with connection.client() as a2e:
            return await a2e.image_to_video.start(**start_options)

    task = asyncio.run(submit())
    if connection.json:
        print_json(record_json(task.record))
    else:
        print(task.id, flush=True)
        print(f"a2e: {_price(task)}; wait for it with: a2e image-to-video wait {task.id}", file=sys.stderr)
    return 0


def _price(task: TaskHandle[ImageToVideoRecord]) -> str:
    if task.adopted:
        return "adopted an existing task; nothing was started"
    coins = coins_text(task.record.coins)
    return f"started for {coins} coins" if coins else "started"


def run(
    image: PathOrLink,
    /,
    *,
    out: Annotated[pathlib.Path, Parameter(name=["--out", "-o"])],
    timeout: float = 1800.0,
    overwrite: Annotated[bool, FLAG] = False,
    options: StartArguments = DEFAULT_START,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Start a video, wait for it and download it. This costs coins.

    Try:

        a2e image-to-video run ada.png --prompt "she smiles" --out ada.mp4

    A local image is uploaded first. If the video file already exists, the command fails before the start. If the wait
    ends early, by --timeout or by Ctrl-C, the task continues at A2E, and its id is printed.

    Args:
        image: The image, a path or a link (PNG, JPEG, WebP, GIF, BMP).
        out: The video file to write.
        timeout: Seconds to wait at most.
        overwrite: Replace an existing file.
        options: The options of the video.
        connection: The shared options.
    """
    conversion, start_options = Conversion(image, out), options.to_options(image)

    async def convert() -> None:
        async with connection.client() as a2e:
            await check_target(out, overwrite=overwrite)  # before the start, which costs coins
            work = make_video(a2e, conversion, start_options, wait_timeout=timeout, overwrite=overwrite)
            await show_progress(Console(stderr=True), [conversion], work)

    try:
        asyncio.run(convert())
    except KeyboardInterrupt:
        if conversion.handle is None:
            raise
        command = f"a2e image-to-video wait {conversion.handle.id}"
        return print_error(f"interrupted; the task continues at A2E and is paid. Resume the wait with {command}", 130)
    if conversion.error is not None:
        raise conversion.error
    _print_video(conversion, as_json=connection.json)
    return 0


def _print_video(conversion: Conversion, *, as_json: bool) -> None:
    if as_json and conversion.handle is not None:
        print_json(record_json(conversion.handle.record) | {"path": str(conversion.target)})
    elif sys.stdout.isatty():
        show_conversions(Console(), [conversion], [None])
    else:
        print(conversion.target)


@attrs.define(eq=False)
class _WaitItem:
    """Task of a wait, as the display shows it. Times are seconds of the monotonic clock."""

    handle: TaskHandle[ImageToVideoRecord]
    ok: bool | None = None
    started_at: float = attrs.field(factory=lambda: time.monotonic())  # noqa: PLW0108  tests replace it in `time`
    ended_at: float | None = None

    @property
    def name(self) -> str:
        return self.handle.id

    @property
    def state(self) -> str:
        return self.handle.record.current_status or "polling"  # nothing is known before the first poll

    @property
    def elapsed(self) -> float:
        return (self.ended_at or time.monotonic()) - self.started_at


def wait(
    *ids: Ids,
    timeout: float = 1800.0,
    download_to: pathlib.Path | None = None,
    overwrite: Annotated[bool, FLAG] = False,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Wait until tasks have ended. Free.

    Try:

        a2e image-to-video wait 67d29023dd27a536fdf6e809 --download-to videos

    The command waits for all tasks at the same time. It prints one line for each task that ends, and each change of
    status on stderr. The exit code is 1 if a task failed or did not finish in time. An unfinished task continues at
    A2E; wait for it again.

    Args:
        ids: The id of a task, as `start` prints it.
        timeout: Seconds to wait at most.
        download_to: A folder for the videos, which are named after the ids.
        overwrite: Replace existing files.
        connection: The shared options.
    """
    waiting = _Wait(timeout, download_to, overwrite, Printer(connection.json))

    async def wait_for_all() -> None:
        async with connection.client() as a2e:
            await waiting.run(a2e, list(dict.fromkeys(ids)))

    try:
        asyncio.run(wait_for_all())
    except KeyboardInterrupt:
        command = f"a2e image-to-video wait {' '.join(waiting.unfinished or ids)}"
        return print_error(f"interrupted; the tasks continue at A2E. Resume the wait with {command}", 130)
    return waiting.code


@attrs.define(eq=False)
class _Wait:
    """One wait for several tasks.

    Attributes:
        timeout: Seconds to wait at most.
        folder: The folder for the videos, or None.
        overwrite: Replace existing files.
        printer: The printer of the results.
        code: The exit code so far.
        unfinished: The tasks that have not ended, by id.
    """

    timeout: float
    folder: pathlib.Path | None
    overwrite: bool
    printer: Printer
    code: int = 0
    unfinished: dict[str, _WaitItem] = attrs.field(factory=dict)

    async def run(self, a2e: A2EClient, ids: list[str]) -> None:
        """Wait for all tasks."""
        self.unfinished = {task_id: _WaitItem(a2e.image_to_video.task(task_id)) for task_id in ids}
        for task_id in ids:
            if self.folder is not None:
                await check_target(self.folder / video_name(task_id), overwrite=self.overwrite)
        items = [*self.unfinished.values()]
        results = a2e.image_to_video.wait_all([item.handle for item in items], timeout=self.timeout)
        await show_progress(Console(stderr=True), items, self._print_results(results))

    async def _print_results(self, results: AsyncGenerator[WaitResult[ImageToVideoRecord], None]) -> None:
        async with contextlib.aclosing(results):
            async for result in results:
                await self._print_result(result)

    async def _print_result(self, result: WaitResult[ImageToVideoRecord]) -> None:
        path, error = None, result.error
        if error is None and self.folder is not None:
            try:
                path = await result.handle.download(self.folder / video_name(result.id), overwrite=self.overwrite)
            except A2EError as download_error:
                error = download_error
        item = self.unfinished.pop(result.id)
        item.ok, item.ended_at = error is None, time.monotonic()
        # Only JSON has the field `error`: on stdout, a column of messages would break the scripts that read columns.
        fields = {"error": None if error is None else to_cli_text(str(error))} if self.printer.as_json else {}
        self.printer.show(result.record, **fields, path=None if path is None else str(path))
        if error is not None:
            self.code = max(self.code, print_error(error))


app = cyclopts.App(
    name="image-to-video",
    help="Turn images into videos at A2E, and manage the tasks.",
    group_parameters="Options",
)
for command in (run, start, wait, get, find, download, delete):
    app.command(command)
app.command(list_tasks, name="list")

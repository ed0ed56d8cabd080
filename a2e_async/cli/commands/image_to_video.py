"""``a2e image-to-video``: `run` and `start`, which cost coins, and the other commands, which are free."""

import asyncio
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import attrs
import cyclopts
from cyclopts import Parameter

from a2e_async import ImageToVideoRecord
from a2e_async._protocol.schema import name_from
from a2e_async.cli.conversion import Conversion, run_all
from a2e_async.cli.display import TaskDisplay, make_console
from a2e_async.cli.messages import (
    ADVICE,
    EPILOGUE,
    INTERRUPTED,
    coins_text,
    confirm,
    error_text,
    exit_code_of,
    one_line,
    print_error,
    print_interrupted,
)
from a2e_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_START,
    FLAG,
    Connection,
    Ids,
    Out,
    PathOrLink,
    StartArguments,
)
from a2e_async.cli.output import DETAILS, Printer, is_stdout, print_cells, print_json, print_videos, video_file
from a2e_async.cli.streams import OutputError
from a2e_async.errors import A2EError, NotFoundError, TaskNotFinishedError
from a2e_async.files.local_files import check_target


async def start(
    image: PathOrLink, /, *, options: StartArguments = DEFAULT_START, connection: Connection = DEFAULT_CONNECTION
) -> None:
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
    async with connection.client() as a2e:
        task = await a2e.image_to_video.start(**start_options)
    price = f" for {coins_text(task.record.coins)} coins" if task.record.coins else ""
    what = "adopted an existing task; nothing was started" if task.adopted else f"started{price}"
    note = f"{what}; wait for it with: a2e image-to-video wait {task.id}"
    try:
        if connection.json:
            print_json(task.record.to_dict(links=True))
        else:
            print_cells(task.id)
    except OutputError:
        print_error(note)  # the task is paid: its id must be somewhere
        raise
    if not connection.json:
        print_error(note)


def run(
    image: PathOrLink,
    /,
    *,
    out: Annotated[pathlib.Path, Out],
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
        out: The video file to write; - is standard output.
        timeout: Seconds to wait at most.
        overwrite: Replace an existing file.
        options: The options of the video.
        connection: The shared options.
    """
    name = name_from(image) if isinstance(image, str) and "://" in image else pathlib.Path(image).name
    conversion, start_options = Conversion(name[:80] or "image"), options.to_options(image)
    display = TaskDisplay(make_console(stderr=True), [conversion])
    paid = _PaidVideo(conversion, display, out, connection, overwrite)

    async def convert(target: pathlib.Path) -> None:
        conversion.target = target
        async with connection.client() as a2e:
            await check_target(target, overwrite=overwrite)  # before the start, which costs coins
            try:
                async with display:
                    start = a2e.image_to_video.start(**start_options)
                    await conversion.run(start, wait_timeout=timeout, overwrite=overwrite)
            except asyncio.CancelledError:
                paid.explain_interrupt()  # at once: the process can be killed while it closes its connections
                raise

    try:
        with video_file(out, as_json=connection.json) as target:
            asyncio.run(convert(target))
            if conversion.error is not None:
                return paid.explain_error(conversion.error)
            if connection.json and conversion.handle is not None:
                print_json(conversion.handle.record.to_dict(links=True) | {"path": str(out)})
            elif sys.stdout.isatty():
                print_videos([conversion], [None])
            elif target == out:  # not to standard output
                print(out)
    except KeyboardInterrupt:
        if not paid.explain_interrupt():
            raise
        return INTERRUPTED
    except OutputError:
        paid.explain_lost_output()
        raise
    return 0


@attrs.define(eq=False)
class _PaidVideo:
    """Last words of a `run` that has ended before its video is there."""

    conversion: Conversion
    display: TaskDisplay
    out: pathlib.Path
    connection: Connection
    overwrite: bool
    _is_explained: bool = attrs.field(default=False, init=False)

    def explain_interrupt(self) -> bool:
        """Print once the paid task, and the command that makes its file; return whether there is a task."""
        self.display.close()
        handle = self.conversion.handle
        if handle is not None and not self._is_explained:
            self._is_explained = True
            try:
                if self.connection.json:
                    print_json(handle.record.to_dict(links=True) | {"path": None})
            finally:  # also if the reader of the output has ended, by the same signal
                text = "the task continues at A2E and is paid. To wait for its video:"
                print_interrupted(text, self._command(handle.id))
        return handle is not None

    def explain_lost_output(self) -> None:
        """Print the command that makes the file once more, if what was paid cannot be written to standard output."""
        if self.conversion.handle is not None and not self._is_explained:
            print_error("the task is paid. To get its video:")
            print(f"  {self._command(self.conversion.handle.id)}", file=sys.stderr)

    def explain_error(self, error: A2EError) -> int:
        """Print an error, with the command that makes the file if the wait has ended early; return the exit code."""
        command = "" if self.conversion.handle is None else self._command(self.conversion.handle.id)
        wait = f"Wait for it with {command}".replace("{", "{{").replace("}", "}}")  # the texts are templates
        return print_error(one_line(error.describe({**ADVICE, "wait": wait})), exit_code_of(error))

    def _command(self, task_id: str) -> str:
        return _wait_command([task_id], self.connection, out=self.out, overwrite=self.overwrite)


def _wait_command(
    ids: Sequence[str],
    connection: Connection,
    *,
    out: pathlib.Path | None,
    download_to: pathlib.Path | None = None,
    overwrite: bool,
) -> str:
    """Return the command that waits for tasks and writes their videos."""
    end = ["--base-url", connection.base_url] if connection.base_url is not None else []
    words = ["a2e", "image-to-video", "wait", *ids]
    if out is not None and is_stdout(out):
        return f"{shlex.join([*words, *end])} && {shlex.join([*words[:2], 'download', *ids, '--out', str(out), *end])}"
    for name, path in (("--out", out), ("--download-to", download_to)):
        words += [name, str(path)] if path is not None else []
    words += ["--overwrite"] if overwrite else []
    return shlex.join([*words, *end, *(["--json"] if connection.json else [])])


def wait(
    *ids: Ids,
    timeout: float = 1800.0,
    download_to: pathlib.Path | None = None,
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Wait until tasks have ended. Free.

    Try:

        a2e image-to-video wait 67d29023dd27a536fdf6e809 --download-to videos
        a2e image-to-video wait 67d29023dd27a536fdf6e809 --out ada.mp4

    The command waits for all tasks at the same time. It prints one line for each task that ends, and each change of
    status on stderr. The exit code is 1 if a task failed or did not finish in time. An unfinished task continues at
    A2E; wait for it again.

    Args:
        ids: The id of a task, as `start` prints it.
        timeout: Seconds to wait at most.
        download_to: A folder for the videos, which are named after the ids.
        out: The file for the video, if there is one task.
        overwrite: Replace existing files.
        connection: The shared options.
    """
    if out is not None and is_stdout(out):
        return print_error("wait prints the tasks on standard output: use a2e image-to-video download for the video", 2)
    if out is not None and (len(set(ids)) > 1 or download_to is not None):
        return print_error("--out is a file for the video of one task: use --download-to for a folder", 2)
    printer, code = Printer(connection.json), 0
    tasks: list[Conversion] = []
    display = TaskDisplay(make_console(stderr=True), tasks)

    async def wait_for(task: Conversion) -> None:
        nonlocal code
        await task.run(wait_timeout=timeout, overwrite=overwrite)
        assert task.handle is not None, "`wait_for_all` sets it"  # noqa: S101  for mypy
        path = None if task.target is None or task.error is not None else str(task.target)
        # Only JSON has the field `error`: on stdout, a column of messages would break the scripts that read columns.
        fields = {"error": None if task.error is None else error_text(task.error)} if connection.json else {}
        printer.show(task.handle.record, **fields, path=path)
        if task.error is not None:
            code = max(code, print_error(task.error))

    async def wait_for_all() -> None:
        async with connection.client() as a2e:
            for task_id in dict.fromkeys(ids):
                target = out if download_to is None else download_to / video_name(task_id)
                tasks.append(Conversion(task_id, target, a2e.image_to_video.task(task_id), "running"))
                if target is not None:
                    await check_target(target, overwrite=overwrite)
            async with display:
                await run_all(map(wait_for, tasks))

    try:
        asyncio.run(wait_for_all())
    except KeyboardInterrupt:
        display.close()
        left = [task.key for task in tasks if task.stage in {"running", "downloading"}] or [*ids]
        command = _wait_command(left, connection, out=out, download_to=download_to, overwrite=overwrite)
        return print_interrupted("the tasks continue at A2E. To resume the wait:", command)
    return code


async def get(*ids: Ids, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Show tasks, with the links to their results. Free.

    Try:

        a2e image-to-video get 67d29023dd27a536fdf6e809

    Keep the links confidential: they need no token. The exit code is 1 if A2E does not show one of the tasks.

    Args:
        ids: The id of a task, as `start` prints it.
        connection: The shared options.
    """
    records: dict[str, ImageToVideoRecord | None]
    async with connection.client() as a2e:
        if len(ids) > 1:
            records = await a2e.image_to_video.get_many(ids)
        else:
            try:
                records = {ids[0]: await a2e.image_to_video.get(ids[0])}
            except NotFoundError:
                records = {ids[0]: None}
    printer, code = Printer(connection.json, DETAILS), 0
    for task_id, record in records.items():
        if record is None:
            reasons = "it is too new, was deleted, has expired, or is not yours"
            code = print_error(f"A2E does not show task {task_id}: {reasons}")
        else:
            printer.show(record)
    return code


async def list_tasks(
    *,
    limit: Annotated[int | None, Parameter(name=["--limit", "-n"])] = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    r"""List the tasks that have not expired, the newest first. Free.

    Try:

        a2e image-to-video list --limit 20
        a2e image-to-video list | awk -F'\t' '$2 == "failed" {print $1}'

    A new task can be missing for a while.

    Args:
        limit: Number of tasks to list at most. Default: all.
        connection: The shared options.
    """
    if limit is not None and limit < 1:
        return print_error(f"--limit must be at least 1, not {limit}", 2)
    printer, left = Printer(connection.json), limit
    async with connection.client() as a2e:
        async for record in a2e.image_to_video.list(page_size=min(limit or 100, 100)):
            printer.show(record)
            if left is not None and (left := left - 1) == 0:
                break
    return 0


async def find(
    marker: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, connection: Connection = DEFAULT_CONNECTION
) -> int:
    """Find a task by its marker or its idempotency key. Free.

    Try:

        a2e image-to-video find 7f3k2m9q4d
        a2e image-to-video find order-17

    Use this after a start with an unknown outcome. The exit code is 1 if A2E does not show such a task (yet).

    Args:
        marker: A marker such as 7f3k2m9q4d, a name that ends with one, or an idempotency key.
        connection: The shared options.
    """
    async with connection.client() as a2e:
        found = await a2e.image_to_video.find_all(marker)
    printer = Printer(connection.json, DETAILS)
    for task in found:
        printer.show(task.record)
    if not found:
        return print_error(f"A2E does not show a task with {marker!r}; a new task can be missing for a while")
    return 0


async def download(
    id: str,
    /,
    *,
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Download the video of a finished task, and print its path. Free.

    Try:

        a2e image-to-video download 67d29023dd27a536fdf6e809 --out ada.mp4

    Until the download is complete, the file has a random name. A2E keeps results for about 3 days.

    Args:
        id: The id of the task.
        out: The file to write; - is standard output. Default: the id with .mp4, in the current folder.
        overwrite: Replace an existing file.
        connection: The shared options.
    """
    async with connection.client() as a2e:
        task = a2e.image_to_video.task(id)
        if not (await task.refresh()).status.is_final:
            msg = f"Task {id} is not finished"
            raise TaskNotFinishedError(msg, task_id=id)
        path = out or pathlib.Path(video_name(task.id))
        with video_file(path, as_json=connection.json) as target:
            await task.download(target, if_exists="overwrite" if overwrite else "error")
    if connection.json:
        print_json(task.record.to_dict(links=True) | {"path": str(path)})
    elif target == path:  # not to standard output
        print(path)


def video_name(task_id: str) -> str:
    """Return the file name of a task's video."""
    # The id comes from the user or from A2E: a path separator in it must not lead out of the folder.
    return f"{''.join(char if char.isalnum() else '_' for char in task_id)}.mp4"


async def delete(*ids: Ids, yes: Annotated[bool, FLAG] = False, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Delete tasks and their results at A2E, and print their ids.

    Try:

        a2e image-to-video delete 67d29023dd27a536fdf6e809

    A2E refunds a task that has not begun. A running task cannot be deleted.

    Args:
        ids: The id of a task.
        yes: Skip the confirmation. Required without a terminal.
        connection: The shared options.
    """
    tasks = f"task {ids[0]}" if len(ids) == 1 else f"{len(ids)} tasks"
    if not yes and not confirm(f"Delete {tasks} at A2E, with results that are not downloaded?"):
        return print_error("nothing was deleted")
    code = 0
    async with connection.client() as a2e:
        for task_id in dict.fromkeys(ids):
            try:
                await a2e.image_to_video.delete(task_id)
            except A2EError as error:
                code = max(code, print_error(error))
                continue
            if connection.json:
                print_json({"id": task_id, "deleted": True})
            else:
                print(task_id, flush=True)
    return code


app = cyclopts.App(
    name="image-to-video",
    help="Turn images into videos at A2E, and manage the tasks.",
    help_epilogue=EPILOGUE,
    group_parameters="Options",
)
for command in (run, start, wait, get, find, download, delete):
    app.command(command)
app.command(list_tasks, name="list")

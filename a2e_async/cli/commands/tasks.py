"""``a2e image-to-video get``, ``list``, ``find``, ``download`` and ``delete``, which are free."""

import asyncio
import pathlib
import sys
from typing import Annotated

from cyclopts import Parameter

from a2e_async import A2EClient, ImageToVideoRecord, TaskHandle
from a2e_async.cli.messages import print_error
from a2e_async.cli.options import DEFAULT_CONNECTION, FLAG, Connection
from a2e_async.cli.output import DETAILS, Printer, print_json, record_json
from a2e_async.errors import A2EError, InvalidRequestError, NotFoundError, TaskError

Ids = Annotated[str, Parameter(name="ID", required=True)]


def get(*ids: Ids, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Show tasks, with the links to their results. Free.

    Try:

        a2e image-to-video get 67d29023dd27a536fdf6e809

    Keep the links confidential: they need no token. The exit code is 1 if A2E does not show one of the tasks.

    Args:
        ids: The id of a task, as `start` prints it.
        connection: The shared options.
    """

    async def fetch() -> dict[str, ImageToVideoRecord | None]:
        async with connection.client() as a2e:
            return await _fetch(a2e, ids)

    printer, code = Printer(connection.json, DETAILS), 0
    for task_id, record in asyncio.run(fetch()).items():
        if record is None:
            code = print_error(
                f"A2E does not show task {task_id}: it is too new, was deleted, has expired, or is not yours"
            )
        else:
            printer.show(record)
    return code


async def _fetch(a2e: A2EClient, ids: tuple[str, ...]) -> dict[str, ImageToVideoRecord | None]:
    if len(ids) > 1:
        return await a2e.image_to_video.get_many(ids)
    try:
        return {ids[0]: await a2e.image_to_video.get(ids[0])}
    except NotFoundError:
        return {ids[0]: None}


def list_tasks(
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

    async def print_tasks() -> None:
        printer, left = Printer(connection.json), limit
        async with connection.client() as a2e:
            async for record in a2e.image_to_video.list(page_size=min(limit or 100, 100)):
                printer.show(record)
                if left is not None and (left := left - 1) == 0:
                    break

    asyncio.run(print_tasks())
    return 0


def find(marker: str, /, *, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Find a task by its marker or its idempotency key. Free.

    Try:

        a2e image-to-video find 7f3k2m9q4d
        a2e image-to-video find order-17

    Use this after a start with an unknown outcome. The exit code is 1 if A2E does not show such a task (yet).

    Args:
        marker: A marker such as 7f3k2m9q4d, a name that ends with one, or an idempotency key.
        connection: The shared options.
    """

    async def find_all() -> list[TaskHandle[ImageToVideoRecord]]:
        async with connection.client() as a2e:
            return await a2e.image_to_video.find_all(marker)

    printer, found = Printer(connection.json, DETAILS), asyncio.run(find_all())
    for task in found:
        printer.show(task.record)
    return (
        0 if found else print_error(f"A2E does not show a task with {marker!r}; a new task can be missing for a while")
    )


def download(
    id: str,
    /,
    *,
    out: Annotated[pathlib.Path | None, Parameter(name=["--out", "-o"])] = None,
    overwrite: Annotated[bool, FLAG] = False,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Download the video of a finished task, and print its path. Free.

    Try:

        a2e image-to-video download 67d29023dd27a536fdf6e809 --out ada.mp4

    During the download, the file is called FILE.part. A2E keeps results for about 3 days.

    Args:
        id: The id of the task.
        out: The file to write. Default: the id with .mp4, in the current folder.
        overwrite: Replace an existing file.
        connection: The shared options.
    """

    async def fetch() -> tuple[ImageToVideoRecord, pathlib.Path]:
        async with connection.client() as a2e:
            task = a2e.image_to_video.task(id)
            if not (await task.refresh()).status.is_final:
                msg = f"Task {id} is not finished: wait for it with a2e image-to-video wait {id}"
                raise TaskError(msg, task_id=id)
            return task.record, await task.download(out or video_name(task.id), overwrite=overwrite)

    record, path = asyncio.run(fetch())
    if connection.json:
        print_json(record_json(record) | {"path": str(path)})
    else:
        print(path)
    return 0


def video_name(task_id: str) -> str:
    """Return the file name of a task's video."""
    # The id comes from the user or from A2E: a path separator in it must not lead out of the folder.
    return f"{''.join(char if char.isalnum() else '_' for char in task_id)}.mp4"


def delete(*ids: Ids, yes: Annotated[bool, FLAG] = False, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Delete tasks and their results at A2E, and print their ids.

    Try:

        a2e image-to-video delete 67d29023dd27a536fdf6e809

    A2E refunds a task that has not begun. A running task cannot be deleted.

    Args:
        ids: The id of a task.
        yes: Skip the confirmation. Required without a terminal.
        connection: The shared options.
    """
    if not yes and not _confirm(ids):
        return print_error("nothing was deleted")

    async def delete_all() -> int:
        code = 0
        async with connection.client() as a2e:
            for task_id in dict.fromkeys(ids):
                try:
                    await a2e.image_to_video.delete(task_id)
                except A2EError as error:
                    code = max(code, print_error(error))
                else:
                    _print_deleted(task_id, as_json=connection.json)
        return code

    return asyncio.run(delete_all())


def _confirm(ids: tuple[str, ...]) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        msg = "no terminal to confirm at: add --yes"
        raise InvalidRequestError(msg)
    tasks = f"task {ids[0]}" if len(ids) == 1 else f"{len(ids)} tasks"
    print(f"Delete {tasks} at A2E, with results that are not downloaded? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _print_deleted(task_id: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": task_id, "deleted": True})
    else:
        print(task_id, flush=True)

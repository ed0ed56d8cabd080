"""``a2e image-to-video get``, ``list``, ``find``, ``download`` and ``delete``: all of them are free."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from a2e_async.cli.messages import complain
from a2e_async.cli.options import DEFAULT, FLAG, Connection
from a2e_async.cli.output import DETAILS, Printer, print_json, record_json
from a2e_async.errors import A2EError, InvalidRequestError, NotFoundError, TaskError

if TYPE_CHECKING:
    from a2e_async import A2EClient, ImageToVideoRecord, TaskHandle

__all__ = ["Ids", "delete", "download", "find", "get", "list_tasks"]

Ids = Annotated[str, Parameter(name="ID", required=True)]


def get(*ids: Ids, connection: Connection = DEFAULT) -> int:
    """Show tasks, with the links to their results. Free.

    Try:

        a2e image-to-video get 67d29023dd27a536fdf6e809

    Links are confidential, since they need no token. The exit code is 1 if A2E does not know one of the tasks.

    Args:
        ids: The id of a task, as `start` prints it.
        connection: Shared.
    """

    async def flow() -> dict[str, ImageToVideoRecord | None]:
        async with connection.client() as a2e:
            return await _ask(a2e, ids)

    printer, code = Printer(connection.json, DETAILS), 0
    for task_id, record in asyncio.run(flow()).items():
        if record is None:
            code = complain(f"A2E shows no task {task_id}: it is too new, was deleted, has expired, or is not yours")
        else:
            printer.show(record)
    return code


async def _ask(a2e: A2EClient, ids: tuple[str, ...]) -> dict[str, ImageToVideoRecord | None]:
    if len(ids) > 1:
        return await a2e.image_to_video.get_many(ids)
    try:
        return {ids[0]: await a2e.image_to_video.get(ids[0])}
    except NotFoundError:
        return {ids[0]: None}


def list_tasks(
    *, limit: Annotated[int | None, Parameter(name=["--limit", "-n"])] = None, connection: Connection = DEFAULT
) -> int:
    r"""List the tasks that have not expired, the newest first. Free.

    Try:

        a2e image-to-video list --limit 20
        a2e image-to-video list | awk -F'\t' '$2 == "failed" {print $1}'

    A fresh task may be missing for a while.

    Args:
        limit: Tasks to list at most. Default: all.
        connection: Shared.
    """
    if limit is not None and limit < 1:
        return complain(f"--limit must be a number of tasks above 0, not {limit}", 2)

    async def flow() -> None:
        printer, left = Printer(connection.json), limit
        async with connection.client() as a2e:
            async for record in a2e.image_to_video.list(page_size=min(limit or 100, 100)):
                printer.show(record)
                if left is not None and (left := left - 1) == 0:
                    break

    asyncio.run(flow())
    return 0


def find(marker: str, /, *, connection: Connection = DEFAULT) -> int:
    """Look for a task by its marker or its idempotency key. Free.

    Try:

        a2e image-to-video find 7f3k2m9q4d
        a2e image-to-video find order-17

    This settles a start of which nobody knows whether A2E accepted it. The exit code is 1 if A2E shows no such task
    (yet).

    Args:
        marker: A marker such as 7f3k2m9q4d, a name that ends with one, or an idempotency key.
        connection: Shared.
    """

    async def flow() -> list[TaskHandle[ImageToVideoRecord]]:
        async with connection.client() as a2e:
            return await a2e.image_to_video.find_all(marker)

    printer, found = Printer(connection.json, DETAILS), asyncio.run(flow())
    for task in found:
        printer.show(task.record)
    return 0 if found else complain(f"A2E shows no task with {marker!r}; a fresh one can be missing for a while")


def download(
    id: str,
    /,
    *,
    out: Annotated[pathlib.Path | None, Parameter(name=["--out", "-o"])] = None,
    overwrite: Annotated[bool, FLAG] = False,
    connection: Connection = DEFAULT,
) -> int:
    """Download the video of a finished task, and print its path. Free.

    Try:

        a2e image-to-video download 67d29023dd27a536fdf6e809 --out ada.mp4

    Until it is whole, the file is called FILE.part. A2E keeps results for about 3 days.

    Args:
        id: The id of the task.
        out: The file to write. Default: the id with .mp4, in this folder.
        overwrite: Replace an existing file.
        connection: Shared.
    """

    async def flow() -> tuple[ImageToVideoRecord, pathlib.Path]:
        async with connection.client() as a2e:
            task = a2e.image_to_video.task(id)
            if not (await task.refresh()).status.is_final:
                msg = f"Task {id} is not finished: wait for it with a2e image-to-video wait {id}"
                raise TaskError(msg, task_id=id)
            return task.record, await task.download(out or file_of(task.id), overwrite=overwrite)

    record, path = asyncio.run(flow())
    if connection.json:
        print_json(record_json(record) | {"path": str(path)})
    else:
        print(path)
    return 0


def file_of(task_id: str) -> str:
    """Return the name of a task's video; an id is whatever A2E calls one."""
    return f"{''.join(char if char.isalnum() else '_' for char in task_id)}.mp4"


def delete(*ids: Ids, yes: Annotated[bool, FLAG] = False, connection: Connection = DEFAULT) -> int:
    """Delete tasks and their results at A2E, and print their ids.

    Try:

        a2e image-to-video delete 67d29023dd27a536fdf6e809

    A task that A2E has not begun yet is refunded. One that is under way cannot be deleted.

    Args:
        ids: The id of a task.
        yes: Do not ask. Needed where nobody can be asked.
        connection: Shared.
    """
    if not yes and not _is_sure(ids):
        return complain("nothing was deleted")

    async def flow() -> int:
        code = 0
        async with connection.client() as a2e:
            for task_id in dict.fromkeys(ids):
                try:
                    await a2e.image_to_video.delete(task_id)
                except A2EError as error:
                    code = max(code, complain(error))
                else:
                    _show_deleted(task_id, as_json=connection.json)
        return code

    return asyncio.run(flow())


def _is_sure(ids: tuple[str, ...]) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        msg = "nobody can be asked whether to delete: add --yes"
        raise InvalidRequestError(msg)
    what = f"task {ids[0]}" if len(ids) == 1 else f"{len(ids)} tasks"
    print(f"Delete {what} at A2E, with what is not downloaded yet? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _show_deleted(task_id: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": task_id, "deleted": True})
    else:
        print(task_id, flush=True)

"""``a2e image-to-video``: `run` and `start`, which cost coins, and the other commands, which are free."""

import pathlib
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from a2e_async.cli import tasks
from a2e_async.cli.families import IMAGE_TO_VIDEO_TASKS
from a2e_async.cli.messages import EPILOGUE
from a2e_async.cli.method_options import PathOrLink
from a2e_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_START,
    FLAG,
    Connection,
    Duration,
    Ids,
    Out,
    StartArguments,
)
from a2e_async.cli.tasks import DEFAULT_MAKE, MakeOptions
from a2e_async.cli.videos import make_videos, new_video

_FAMILY = IMAGE_TO_VIDEO_TASKS
Wait = Annotated[bool, FLAG]


def start(
    image: PathOrLink,
    /,
    *,
    wait: Wait = False,
    timeout: Duration = 1800.0,
    options: StartArguments = DEFAULT_START,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Start a video and print the task's id at once. This costs coins.

    Try:

        a2e image-to-video start ada.png --prompt "she smiles at the camera"
        id=$(a2e image-to-video start ada.png --prompt "a wave" --idempotency-key 17)

    A local image is uploaded first. The price is printed on stderr, so that a script reads only the id.

    Args:
        image: The image, a path or a link (PNG, JPEG, WebP, GIF, BMP).
        wait: Wait until the task has ended, and print it as `wait` does.
        timeout: With --wait, time to wait at most: seconds, or such as 30m or 1h30m.
        options: The options of the video.
        connection: The shared options.
    """
    return tasks.start(_FAMILY, new_video(image, options), connection, timeout=timeout if wait else None)


def run(
    *images: Annotated[PathOrLink, Parameter(name="IMAGE", required=True)],
    make: MakeOptions = DEFAULT_MAKE,
    options: StartArguments = DEFAULT_START,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Start videos, wait for them and download them. Each costs coins.

    Try:

        a2e image-to-video run ada.png --prompt "she smiles" --out ada.mp4
        a2e image-to-video run ada.png bob.png --prompt "a smile" --out videos

    A local image is uploaded first. If a video file already exists, the command fails before the first start. If the
    wait ends early, by --timeout or by Ctrl-C, the tasks continue at A2E, and their ids are printed. For many images,
    `a2e batch run` has a journal.

    Args:
        images: The images, paths or links (PNG, JPEG, WebP, GIF, BMP).
        make: The options of the files.
        options: The options of the video.
        connection: The shared options.
    """
    return make_videos(images, options, make, connection)


def wait(
    *ids: Ids,
    timeout: Duration = 1800.0,
    download_to: pathlib.Path | None = None,
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
    open: Annotated[bool, FLAG] = False,  # noqa: A002  the name of the option
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
        timeout: Time to wait at most: seconds, or such as 30m or 1h30m.
        download_to: A folder for the videos, which are named after the ids.
        out: The file for the video, if there is one task.
        overwrite: Replace existing files.
        open: Open the videos with the system's viewer.
        connection: The shared options.
    """
    return tasks.wait(
        _FAMILY, ids, connection, timeout=timeout, download_to=download_to, out=out, overwrite=overwrite, open=open
    )


async def get(*ids: Ids, connection: Connection = DEFAULT_CONNECTION) -> int:
    """Show tasks, with the links to their results. Free.

    Try:

        a2e image-to-video get 67d29023dd27a536fdf6e809

    Keep the links confidential: they need no token. The exit code is 1 if A2E does not show one of the tasks.

    Args:
        ids: The id of a task, as `start` prints it.
        connection: The shared options.
    """
    return await tasks.get(_FAMILY, ids, connection)


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
    return await tasks.list_tasks(_FAMILY, limit, connection)


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
    return await tasks.find(_FAMILY, marker, connection)


async def download(
    id: Ids,
    /,
    *,
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
    open: Annotated[bool, FLAG] = False,  # noqa: A002  the name of the option
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
        open: Open the video with the system's viewer.
        connection: The shared options.
    """
    await tasks.download(_FAMILY, id, connection, out=out, overwrite=overwrite, open=open)


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
    return await tasks.delete(_FAMILY, ids, connection, yes=yes)


app = cyclopts.App(
    name="image-to-video",
    help="Turn images into videos at A2E, and manage the tasks.",
    help_epilogue=EPILOGUE,
    group_parameters="Options",
)
for command in (run, start, wait, get, find, download, delete):
    app.command(command)
app.command(list_tasks, name="list")

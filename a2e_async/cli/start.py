"""``a2e image-to-video run`` and ``start``: the two commands that cost coins."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from a2e_async.cli.flow import Clip, make_clip
from a2e_async.cli.options import DEFAULT, FLAG, Connection
from a2e_async.cli.records import coins_text, print_json, record_json
from a2e_async.cli.screen import show_result, watch
from a2e_async.cli.start_options import AS_USUAL, LocalFile, Start
from a2e_async.cli.words import complain
from a2e_async.files import check_target

if TYPE_CHECKING:
    from a2e_async import ImageToVideoRecord, TaskHandle

__all__ = ["run", "start"]


def start(image: LocalFile, /, *, options: Start = AS_USUAL, connection: Connection = DEFAULT) -> int:
    """Start a video and print the task's id at once. This costs coins.

    Try:

        a2e image-to-video start ada.png --prompt "she smiles at the camera"
        id=$(a2e image-to-video start ada.png --prompt "she waves" --idempotency-key order-17)

    A local picture is uploaded first. The price is printed on stderr, so that the id is all that a script reads.

    Args:
        image: The picture, a path or a link (PNG, JPEG, WebP, GIF, BMP).
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

    A local picture is uploaded first. That the video's file does not exist yet is checked before anything is paid. If
    the wait ends early, by --timeout or by Ctrl-C, the task goes on at A2E, and its id is printed.

    Args:
        image: The picture, a path or a link (PNG, JPEG, WebP, GIF, BMP).
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

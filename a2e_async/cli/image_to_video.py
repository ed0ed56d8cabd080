"""``a2e image-to-video``: image-to-video tasks at the configured A2E."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from a2e_async import A2EClient, ImageToVideoRecord, SubmissionUncertainError, TaskHandle
from a2e_async.cli.flow import NEGATIVE_PROMPT, Clip, VideoTime, make_clip
from a2e_async.cli.screen import show_result, watch
from a2e_async.files import check_target

__all__ = ["app"]

app = cyclopts.App(name="image-to-video", help="Image to video at the configured A2E (A2E_API_TOKEN, A2E_BASE_URL).")


@app.command
def run(
    image: pathlib.Path,
    *,
    prompt: str,
    out: Annotated[pathlib.Path, Parameter(name=["--out", "-o"])],
    negative_prompt: str = NEGATIVE_PROMPT,
    video_time: VideoTime = 5,
    timeout: float = 1800.0,
    overwrite: bool = False,
) -> int:
    """Upload a picture, start a video (this costs coins), wait for it and download it.

    Try ``a2e image-to-video run ada.png --prompt "she smiles at the camera" --out ada.mp4``.

    Args:
        image: The picture (PNG, JPEG, WebP, GIF, BMP).
        prompt: What should happen.
        out: The video file to write.
        negative_prompt: What to avoid.
        video_time: Seconds of video: 5, 10, 15 or 20. The price grows with it.
        timeout: Seconds to wait at most. The task goes on afterwards, and its id is printed.
        overwrite: Replace an existing file.
    """
    clip = Clip(image, out)
    console = Console()

    async def flow() -> None:
        async with A2EClient() as a2e:
            await check_target(out, overwrite=overwrite)  # before anything is paid
            work = make_clip(
                a2e,
                clip,
                prompt=prompt,
                negative_prompt=negative_prompt,
                video_time=video_time,
                patience=timeout,
                overwrite=overwrite,
            )
            await watch(console, [clip], work)

    try:
        asyncio.run(flow())
    except KeyboardInterrupt:
        if clip.handle is not None:
            print(f"a2e: the task goes on at A2E and is paid; its id is {clip.handle.id}", file=sys.stderr)
        raise
    if clip.error is not None:
        if isinstance(clip.error, SubmissionUncertainError):
            print(f"a2e: look for it later: a2e image-to-video find {clip.error.marker}", file=sys.stderr)
        raise clip.error
    show_result(console, [clip], [None])
    return 0


@app.command
def find(marker: str) -> int:
    """Look for a task by the marker in its name, or by its idempotency key. Costs nothing.

    Prints the id, the status and the result's link of each task that carries it. If there is none (yet), the exit
    code is 1.

    Args:
        marker: Such as 7f3k2m9q4d, or a whole name, or an idempotency key.
    """

    async def flow() -> list[TaskHandle[ImageToVideoRecord]]:
        async with A2EClient() as a2e:
            return await a2e.image_to_video.find_all(marker)

    found = asyncio.run(flow())
    for task in found:
        print(task.id, task.record.current_status or task.status.value, task.record.result_url)
    if not found:
        print(f"a2e: A2E shows no task with {marker!r}; a fresh one can be missing for a while", file=sys.stderr)
    return 0 if found else 1

"""``a2e demo``: the whole flow against the sandbox in this process. Real images in, real videos out, no coins."""

from __future__ import annotations

import asyncio
import importlib.resources
import pathlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from a2e_async import A2EClient, Config, InvalidRequestError, MissingExtraError, PollPolicy, StartOptions
from a2e_async.cli.flow import NEGATIVE_PROMPT, Clip, Stage, VideoTime, make_clip
from a2e_async.cli.output import show_result, watch
from a2e_async.files.local_files import check_target, open_picture
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

__all__ = ["demo"]

_SPEED = 10.0
_POLL = PollPolicy(initial=0.2, steps=((0.0, 0.25),))  # the sandbox is ten times as fast, and this machine


def demo(
    *images: Annotated[pathlib.Path, Parameter(name="IMAGE")],
    out: Annotated[pathlib.Path, Parameter(name=["--out", "-o"])] = pathlib.Path("videos"),
    prompt: str = "slow zoom in, gentle light",
    video_time: VideoTime = 5,
) -> int:
    """Turn images into videos with a local A2E, offline and free.

    Try:

        a2e demo
        a2e demo portrait.jpg garden.png --out clips --prompt "pan to the left"

    Starts the sandbox in this process, uploads the images, starts one task each at the same time, waits, and
    downloads the videos. They are rendered from the images (slow pan and zoom), not by A2E's models.

    Args:
        images: Images (PNG, JPEG, WebP, GIF, BMP). Without any, two that come with the package.
        out: The folder for the videos. Existing videos of the same names are replaced.
        prompt: What should happen. The sandbox chooses the movement by it.
        video_time: Seconds of video: 5, 10, 15 or 20.
    """
    _check_extra()
    console = Console()
    with ExitStack() as stack:
        pictures = list(images) or [
            stack.enter_context(importlib.resources.as_file(picture)) for picture in _own_pictures()
        ]
        clips = [Clip(picture, target) for picture, target in zip(pictures, _targets(pictures, out), strict=True)]
        asyncio.run(_demo(console, clips, prompt, video_time))
        show_result(console, clips, [_length(clip) for clip in clips])
    errors = [clip.error for clip in clips if clip.error is not None]
    return 2 if any(isinstance(error, InvalidRequestError) for error in errors) else int(bool(errors))


def _check_extra() -> None:
    try:
        import av  # noqa: F401, PLC0415  an extra
        import PIL  # noqa: F401, PLC0415  an extra
    except ModuleNotFoundError as error:
        msg = 'The sandbox cannot render: pip install "a2e-async[demo]"'
        raise MissingExtraError(msg) from error


async def _demo(console: Console, clips: Sequence[Clip], prompt: str, video_time: VideoTime) -> None:
    for clip in clips:
        await open_picture("picture", clip.picture)  # all are looked at before the first one starts
        await check_target(clip.target, overwrite=True)
    async with (
        Sandbox(speed=_SPEED) as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url, config=Config(poll=_POLL)) as a2e,
    ):
        console.print(f"A local A2E runs at {sandbox.url}; its coins are play money.", highlight=False)
        options = StartOptions(prompt=prompt, negative_prompt=NEGATIVE_PROMPT, video_time=video_time)
        flows = [
            make_clip(a2e, clip, {**options, "image": clip.picture}, patience=600.0, overwrite=True) for clip in clips
        ]
        await watch(console, clips, _together(flows))


async def _together(flows: Iterable[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for flow in flows:
            group.create_task(flow)


def _own_pictures() -> list[importlib.resources.abc.Traversable]:
    folder = importlib.resources.files("a2e_async.cli.commands") / "pictures"
    return sorted((item for item in folder.iterdir() if item.name.endswith(".jpg")), key=lambda item: item.name)


def _targets(pictures: Sequence[pathlib.Path], out: pathlib.Path) -> list[pathlib.Path]:
    """Name the videos after the images; a name that is taken gets a number."""
    targets: list[pathlib.Path] = []
    for picture in pictures:
        number, target = 1, out / f"{picture.stem}.mp4"
        while target in targets:
            number += 1
            target = out / f"{picture.stem}-{number}.mp4"
        targets.append(target)
    return targets


def _length(clip: Clip) -> float | None:
    """Read the seconds of a video from its file: that it can be opened is part of the demonstration."""
    import av  # noqa: PLC0415  an extra

    if clip.stage is not Stage.DONE:
        return None
    with av.open(clip.target) as container:
        return None if container.duration is None else container.duration / 1_000_000

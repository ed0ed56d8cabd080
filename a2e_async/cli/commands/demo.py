"""``a2e demo``: real images become real videos with a sandbox in this process, without coins."""

import asyncio
import importlib.resources
import pathlib
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import ExitStack
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from a2e_async import A2EClient, Config, InvalidRequestError, MissingExtraError, PollPolicy, StartOptions
from a2e_async.cli.conversion import NEGATIVE_PROMPT, Conversion, ConversionStage, VideoTime, make_video
from a2e_async.cli.output import show_conversions, show_progress
from a2e_async.files.local_files import check_target, open_image
from a2e_async.sandbox import Sandbox

_SPEED = 10.0
_POLL = PollPolicy(initial=0.2, steps=((0.0, 0.25),))  # tasks are ten times as fast, and polls are local


def demo(
    *images: Annotated[pathlib.Path, Parameter(name="IMAGE")],
    out: Annotated[pathlib.Path, Parameter(name=["--out", "-o"])] = pathlib.Path("videos"),
    prompt: str = "slow zoom in, gentle light",
    video_time: VideoTime = 5,
) -> int:
    """Turn images into videos with a local A2E, offline and free.

    Try:

        a2e demo
        a2e demo portrait.jpg garden.png --out my-videos --prompt "pan to the left"

    The command starts the sandbox in this process and uploads the images. It starts one task per image, waits for all
    tasks at the same time and downloads the videos. The sandbox renders them from the images (slow pan and zoom); no
    models are involved.

    Args:
        images: Images (PNG, JPEG, WebP, GIF, BMP). Default: two images of the package.
        out: The folder for the videos. Existing videos of the same names are replaced.
        prompt: The text that describes the motion. The sandbox selects the camera movement by it.
        video_time: Seconds of video: 5, 10, 15 or 20.
    """
    _check_extra()
    console = Console()
    with ExitStack() as stack:
        paths = list(images) or [stack.enter_context(importlib.resources.as_file(image)) for image in _package_images()]
        conversions = [Conversion(path, target) for path, target in zip(paths, _targets(paths, out), strict=True)]
        asyncio.run(_convert(console, conversions, prompt, video_time))
        show_conversions(console, conversions, [_video_length(conversion) for conversion in conversions])
    errors = [conversion.error for conversion in conversions if conversion.error is not None]
    return 2 if any(isinstance(error, InvalidRequestError) for error in errors) else int(bool(errors))


def _check_extra() -> None:
    try:
        import av  # noqa: F401, PLC0415  an extra
        import PIL  # noqa: F401, PLC0415  an extra
    except ModuleNotFoundError as error:
        msg = 'The sandbox needs packages for rendering: pip install "a2e-async[demo]"'
        raise MissingExtraError(msg) from error


async def _convert(console: Console, conversions: Sequence[Conversion], prompt: str, video_time: VideoTime) -> None:
    for conversion in conversions:  # all files are checked before the first start
        await open_image("IMAGE", conversion.image)
        await check_target(conversion.target, overwrite=True)
    async with (
        Sandbox(speed=_SPEED) as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url, config=Config(poll=_POLL)) as a2e,
    ):
        console.print(f"A local A2E runs at {sandbox.url}; its coins are play money.", highlight=False)
        options = StartOptions(prompt=prompt, negative_prompt=NEGATIVE_PROMPT, video_time=video_time)
        videos = [
            make_video(a2e, conversion, {**options, "image": conversion.image}, wait_timeout=600.0, overwrite=True)
            for conversion in conversions
        ]
        await show_progress(console, conversions, _run_all(videos))


async def _run_all(coroutines: Iterable[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


def _package_images() -> list[importlib.resources.abc.Traversable]:
    folder = importlib.resources.files("a2e_async.cli.commands") / "images"
    return sorted((item for item in folder.iterdir() if item.name.endswith(".jpg")), key=lambda item: item.name)


def _targets(images: Sequence[pathlib.Path], out: pathlib.Path) -> list[pathlib.Path]:
    """Return the video files, named after the images; a repeated name gets a number."""
    targets: list[pathlib.Path] = []
    for image in images:
        number, target = 1, out / f"{image.stem}.mp4"
        while target in targets:
            number += 1
            target = out / f"{image.stem}-{number}.mp4"
        targets.append(target)
    return targets


def _video_length(conversion: Conversion) -> float | None:
    """Return the seconds of a finished video. Opening the file also shows that it is a valid video."""
    import av  # noqa: PLC0415  an extra

    if conversion.stage is not ConversionStage.DONE:
        return None
    with av.open(conversion.target) as container:
        return None if container.duration is None else container.duration / 1_000_000  # from microseconds

"""``a2e demo``: videos of a local A2E, without coins."""

import asyncio
import importlib.resources
import pathlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from a2e_async import A2EClient, Config, MissingExtraError, PollPolicy
from a2e_async.cli.conversion import Conversion, run_all
from a2e_async.cli.display import TaskDisplay, make_console
from a2e_async.cli.messages import exit_code_of
from a2e_async.cli.options import NEGATIVE_PROMPT, Out
from a2e_async.cli.output import print_videos
from a2e_async.files.local_files import check_target, open_image
from a2e_async.sandbox import Sandbox

_SPEED = 10.0
_POLL = PollPolicy(initial=0.2, steps=((0.0, 0.25),))  # tasks are ten times as fast, and polls are local


def demo(
    *images: Annotated[pathlib.Path, Parameter(name="IMAGE")],
    out: Annotated[pathlib.Path, Out] = pathlib.Path("videos"),
    prompt: str = "slow zoom in, gentle light",
    video_time: Literal[5, 10, 15, 20] = 5,
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
    with ExitStack() as stack:
        paths = list(images) or [stack.enter_context(importlib.resources.as_file(image)) for image in _package_images()]
        options = {"prompt": prompt, "negative_prompt": NEGATIVE_PROMPT, "video_time": video_time}
        conversions = asyncio.run(_convert(_targets(paths, out), options))
        print_videos(conversions, [_video_length(conversion) for conversion in conversions])
    return max(0 if conversion.error is None else exit_code_of(conversion.error) for conversion in conversions)


def _check_extra() -> None:
    try:
        import av  # noqa: F401, PLC0415  an extra
        import PIL  # noqa: F401, PLC0415  an extra
    except ModuleNotFoundError as error:
        msg = 'The sandbox needs packages for rendering: pip install "a2e-async[demo]"'
        raise MissingExtraError(msg) from error


async def _convert(images: Mapping[pathlib.Path, pathlib.Path], options: Mapping[str, Any]) -> list[Conversion]:
    """Make the videos of images, by their files."""
    for target, image in images.items():  # all files are checked before the first start
        await open_image("IMAGE", image)
        await check_target(target, overwrite=True)
    conversions = [Conversion(image.name, target) for target, image in images.items()]
    async with (
        Sandbox(speed=_SPEED) as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url, config=Config(poll=_POLL, proxy="")) as a2e,
    ):
        make_console().print(f"A local A2E runs at {sandbox.url}; its coins are play money.")
        async with TaskDisplay(make_console(), conversions):
            await run_all(
                each.run(a2e.image_to_video.start(image=image, **options), wait_timeout=600.0, overwrite=True)
                for each, image in zip(conversions, images.values(), strict=True)
            )
    return conversions


def _package_images() -> list[importlib.resources.abc.Traversable]:
    folder = importlib.resources.files("a2e_async.cli.commands") / "images"
    return sorted((item for item in folder.iterdir() if item.name.endswith(".jpg")), key=lambda item: item.name)


def _targets(images: Sequence[pathlib.Path], out: pathlib.Path) -> dict[pathlib.Path, pathlib.Path]:
    """Return the images by their video files, which are named after them; a repeated name gets a number."""
    targets: dict[pathlib.Path, pathlib.Path] = {}
    for image in images:
        number, target = 1, out / f"{image.stem}.mp4"
        while target in targets:
            number += 1
            target = out / f"{image.stem}-{number}.mp4"
        targets[target] = image
    return targets


def _video_length(conversion: Conversion) -> float | None:
    """Return the seconds of a finished video. Opening the file also shows that it is a valid video."""
    import av  # noqa: PLC0415  an extra

    if conversion.stage != "done" or conversion.target is None:
        return None
    with av.open(conversion.target) as container:
        return None if container.duration is None else container.duration / 1_000_000  # from microseconds

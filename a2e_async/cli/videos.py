"""Videos of images, as `a2e run` and `a2e image-to-video` start them."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from a2e_async import A2EClient, TaskHandle
from a2e_async.batch.jobs import JobOptions
from a2e_async.cli.families import IMAGE_TO_VIDEO_TASKS
from a2e_async.cli.messages import plural
from a2e_async.cli.method_options import PathOrLink
from a2e_async.cli.options import Connection, StartArguments
from a2e_async.cli.tasks import MakeOptions, NewTask, input_name, make
from a2e_async.errors import InvalidRequestError

_MAX_IMAGES = 50


def new_video(image: PathOrLink, options: StartArguments) -> NewTask:
    """Return the start of the video of an image."""
    start_options = options.to_options(image)

    async def start(a2e: A2EClient) -> Sequence[TaskHandle[Any]]:
        return [await a2e.image_to_video.start(**start_options)]

    async def check(a2e: A2EClient) -> None:
        job = {name: value for name, value in start_options.items() if name in JobOptions.__annotations__}
        await a2e.image_to_video.check({"key": "image", **job})

    return NewTask(name=input_name(image), start=start, check=check)


def make_videos(
    images: Sequence[PathOrLink], options: StartArguments, make_options: MakeOptions, connection: Connection
) -> int:
    """Make a video of each image; return the exit code."""
    if len(images) > _MAX_IMAGES:
        msg = f"{plural(len(images), 'image')} at once: use a2e batch run, which survives a crash, with their folder"
        raise InvalidRequestError(msg)
    for image in images:
        _check_word(str(image), is_only=len(images) == 1)
    return make(IMAGE_TO_VIDEO_TASKS, [new_video(image, options) for image in images], make_options, connection)


def _check_word(word: str, *, is_only: bool) -> None:
    """Check that a word is an image: most others are a part of a prompt without quotes, or a folder."""
    if not is_only and "://" not in word and not os.path.lexists(word) and not pathlib.PurePath(word).suffix:
        msg = f"unexpected word {word!r}: put the prompt in quotes, or correct the name of the image"
        raise InvalidRequestError(msg)
    if pathlib.Path(word).is_dir():
        msg = f"{word!r} is a folder: a2e batch run makes a video of each of its images"
        raise InvalidRequestError(msg)

"""One image becomes one video: the flow that the commands share, with its state for the display."""

from __future__ import annotations

import enum
import pathlib
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from a2e_async.errors import A2EError
from a2e_async.files.media_types import name_from

if TYPE_CHECKING:
    from a2e_async import A2EClient, ImageToVideoRecord, StartOptions, TaskHandle

__all__ = ["NEGATIVE_PROMPT", "Clip", "Stage", "VideoTime", "make_clip"]

VideoTime: TypeAlias = Literal[5, 10, 15, 20]
"""Seconds of video that A2E sells."""

NEGATIVE_PROMPT = "blurry, distorted, low quality"
"""What is avoided unless something else is said: A2E wants a negative prompt."""


class Stage(enum.StrEnum):
    """What is being done about a clip."""

    STARTING = "uploading"
    RUNNING = "running"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"


@attrs.define
class Clip:
    """One image, a path or a link, on its way to a video. Times are seconds of the monotonic clock."""

    picture: str | pathlib.Path
    target: pathlib.Path
    stage: Stage = Stage.STARTING
    handle: TaskHandle[ImageToVideoRecord] | None = None
    error: A2EError | None = None
    began: float = attrs.field(factory=lambda: time.monotonic())  # noqa: PLW0108  tests replace it in `time`
    ended: float | None = None

    @property
    def name(self) -> str:
        """The image's."""
        picture = str(self.picture)
        return (name_from(picture) if "://" in picture else pathlib.Path(picture).name) or "picture"

    @property
    def ok(self) -> bool | None:
        """Whether it has worked; None as long as it is not known."""
        return {Stage.DONE: True, Stage.FAILED: False}.get(self.stage)

    @property
    def state(self) -> str:
        """The stage, or A2E's own word while the task is at A2E."""
        if self.stage is Stage.RUNNING and self.handle is not None:
            return self.handle.record.current_status or self.stage.value
        return self.stage.value

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning, until the end."""
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    @property
    def coins(self) -> float | None:
        """What the task cost, if it is known."""
        return None if self.handle is None else self.handle.record.coins


async def make_clip(
    a2e: A2EClient, clip: Clip, options: StartOptions, *, patience: float, overwrite: bool = False
) -> None:
    """Upload, start, wait and download. An error is kept in ``clip.error``; it ends this clip only.

    Args:
        a2e: An open client.
        clip: What to make, and where its state is kept.
        options: What to start.
        patience: Seconds to wait at most.
        overwrite: Replace an existing video.
    """
    clip.began = time.monotonic()
    try:
        clip.handle = await a2e.image_to_video.start(**options)
        clip.stage = Stage.RUNNING
        await clip.handle.wait_until_done(patience)
        clip.stage = Stage.DOWNLOADING
        await clip.handle.download(clip.target, overwrite=overwrite)
    except A2EError as error:
        clip.error, clip.stage = error, Stage.FAILED
    else:
        clip.stage = Stage.DONE
    finally:
        clip.ended = time.monotonic()

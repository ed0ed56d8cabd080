"""Conversion of one image to one video: upload, start, wait, download, with the state that a display shows."""

import enum
import pathlib
import time
from typing import Literal, TypeAlias

import attrs

from a2e_async import A2EClient, ImageToVideoRecord, StartOptions, TaskHandle
from a2e_async.errors import A2EError
from a2e_async.files.media_types import name_from

VideoTime: TypeAlias = Literal[5, 10, 15, 20]
"""Seconds of video that A2E accepts."""

NEGATIVE_PROMPT = "blurry, distorted, low quality"
"""Default negative prompt: A2E rejects a start without one."""


class ConversionStage(enum.StrEnum):
    """Stage of a conversion."""

    STARTING = "uploading"
    RUNNING = "running"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"


@attrs.define
class Conversion:
    """One image, the video that is made of it, and the state in between.

    Attributes:
        image: A path or a link.
        target: The video file.
        stage: The current stage.
        handle: The task, None until A2E has accepted the start.
        error: The error that ended the conversion, or None.
        started_at: When it began, in seconds of the monotonic clock.
        ended_at: When it ended, in seconds of the monotonic clock, or None.
    """

    image: str | pathlib.Path
    target: pathlib.Path
    stage: ConversionStage = ConversionStage.STARTING
    handle: TaskHandle[ImageToVideoRecord] | None = None
    error: A2EError | None = None
    started_at: float = attrs.field(factory=lambda: time.monotonic())  # noqa: PLW0108  tests replace it in `time`
    ended_at: float | None = None

    @property
    def name(self) -> str:
        """The name of the image."""
        image = str(self.image)
        return (name_from(image) if "://" in image else pathlib.Path(image).name) or "image"

    @property
    def ok(self) -> bool | None:
        """Whether the conversion succeeded; None until it ends."""
        return {ConversionStage.DONE: True, ConversionStage.FAILED: False}.get(self.stage)

    @property
    def state(self) -> str:
        """The stage; while the task runs, A2E's status word."""
        if self.stage is ConversionStage.RUNNING and self.handle is not None:
            return self.handle.record.current_status or self.stage.value
        return self.stage.value

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning, until the end."""
        return (time.monotonic() if self.ended_at is None else self.ended_at) - self.started_at

    @property
    def coins(self) -> float | None:
        """Coins that the task cost, None if unknown."""
        return None if self.handle is None else self.handle.record.coins


async def make_video(
    a2e: A2EClient, conversion: Conversion, options: StartOptions, *, wait_timeout: float, overwrite: bool = False
) -> None:
    """Upload the image, start the task, wait for it and download the video.

    An error is stored in ``conversion.error`` and not raised, so that it ends this conversion only.

    Args:
        a2e: An open client.
        conversion: The image and the target; it receives the state.
        options: The options of the start.
        wait_timeout: Seconds to wait for the task at most.
        overwrite: Replace an existing video.
    """
    conversion.started_at = time.monotonic()
    try:
        conversion.handle = await a2e.image_to_video.start(**options)
        conversion.stage = ConversionStage.RUNNING
        await conversion.handle.wait_until_done(wait_timeout)
        conversion.stage = ConversionStage.DOWNLOADING
        await conversion.handle.download(conversion.target, overwrite=overwrite)
    except A2EError as error:
        conversion.error, conversion.stage = error, ConversionStage.FAILED
    else:
        conversion.stage = ConversionStage.DONE
    finally:
        # Also after a cancellation (Ctrl-C): the stage then shows how far the conversion got.
        conversion.ended_at = time.monotonic()

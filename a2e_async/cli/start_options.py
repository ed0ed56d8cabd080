"""The options of a start, which `a2e image-to-video run` and `start` share."""

from __future__ import annotations

import pathlib
from typing import Annotated, TypeAlias

import attrs
from cyclopts import Group, Parameter

from a2e_async import ModelType, ModelVersion, StartOptions
from a2e_async.cli.flow import NEGATIVE_PROMPT, VideoTime
from a2e_async.config import OnUnknown  # noqa: TC001  cyclopts reads the annotations at run time
from a2e_async.errors import InvalidRequestError

__all__ = ["AS_USUAL", "LocalFile", "Start"]

LocalFile: TypeAlias = str | pathlib.Path
"""A path or a link. What is typed stays a `str`, since that comes first; the path has shells complete it."""


@Parameter(name="*", group=Group("What to make", sort_key=1))
@attrs.frozen(kw_only=True)
class Start:
    """What is to be made.

    Attributes:
        prompt: What should happen. Needed unless --lora is given.
        negative_prompt: What to avoid.
        name: A name for the task, not unique. Default: the picture's.
        video_time: Seconds of video: 5, 10, 15 or 20. The price grows with it.
        model_version: The model. The price depends on it: a2e-v2 is dearer than the other two.
        model_type: FLF2V (first and last frame) is implied by --end-image.
        end_image: The last picture, a path or a link.
        extend_prompt: Whether A2E rewrites the prompt. Default: it does.
        skip_face_enhance: Whether to leave out the enhancement of face similarity. Default: it is done.
        lora: The id of a LoRA, whose preset replaces the prompt.
        idempotency_key: A name of yours for this job, such as order-17. If A2E has a task of this key already, that one
            is taken, and nothing is bought.
        on_unknown: What to do if nobody knows whether A2E accepted the start: tell you (raise), or send it once more.
        webhook_url: An https address that A2E calls once when the task ends.
        webhook_token: What A2E sends along in X-A2e-Webhook-Token. Other users of this machine can see it.
    """

    prompt: str | None = attrs.field(default=None, repr=False)
    negative_prompt: str = attrs.field(default=NEGATIVE_PROMPT, repr=False)
    name: str | None = None
    video_time: VideoTime = 5
    model_version: ModelVersion = "a2e"
    model_type: ModelType | None = None
    end_image: LocalFile | None = None
    extend_prompt: Annotated[bool | None, Parameter(negative="--no-extend-prompt")] = None
    skip_face_enhance: Annotated[bool | None, Parameter(negative="--no-skip-face-enhance")] = None
    lora: str | None = None
    idempotency_key: str | None = None
    on_unknown: OnUnknown | None = None
    webhook_url: str | None = attrs.field(default=None, repr=False)
    webhook_token: str | None = attrs.field(default=None, repr=False)

    def of(self, image: LocalFile) -> StartOptions:
        """Return the options of a start from a picture.

        Raises:
            InvalidRequestError: There is no prompt.
        """
        if self.prompt is None and self.lora is None:
            msg = "--prompt is needed unless --lora is given"
            raise InvalidRequestError(msg)
        options = {"image": image, **attrs.asdict(self)}
        if self.lora is not None and self.negative_prompt == NEGATIVE_PROMPT:
            options["negative_prompt"] = None  # nobody has asked for it, and the preset has one of its own
        return StartOptions(**options)  # type: ignore[typeddict-item, no-any-return]  # mypy sees no names


AS_USUAL = Start()
"""The default of the parameter: nothing is said."""

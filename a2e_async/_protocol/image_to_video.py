"""Start of an image-to-video task: its options and its schema (A2E page "Start Image-to-Video", reference 9.1).

A new option is a line of `VideoOptions`, a row of `START`, and its text in the docstring of `ImageToVideo.start`. The
jobs of a batch, the columns of a job file and the options of the command line follow from these.
"""

from collections.abc import Mapping
from typing import Any, TypedDict, get_args

from a2e_async._protocol.schema import Requirement, Schema, choice, flag, integer, link, text
from a2e_async.models.image_to_video import ModelType, ModelVersion, VideoTime


class VideoOptions(TypedDict, total=False):
    """Options of one video, but for its images."""

    prompt: str | None
    negative_prompt: str | None
    name: str | None
    model_type: ModelType | None
    model_version: ModelVersion | None
    video_time: VideoTime | None
    extend_prompt: bool | None
    skip_face_enhance: bool | None
    lora: str | None


# For options that are not given. None is not a default of A2E: for an Ultra account it chooses a model that costs more.
# A2E rejects a start without a negative prompt.
DEFAULTS: VideoOptions = {"model_version": "a2e", "negative_prompt": "blurry, distorted, low quality"}


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the defaults of those that are missing. The preset of a LoRA has a negative prompt itself."""
    given = {**DEFAULTS, **options}
    if options.get("lora") is not None and "negative_prompt" not in options:
        given["negative_prompt"] = None
    return given


_PROMPT_MESSAGE = "{} is needed unless lora is given: A2E rejects a start without it"

START = Schema(
    {
        "name": text(required=True),
        "image_url": link(required=True),
        "prompt": text(),
        "negative_prompt": text(),  # A2E's table of 2025 has another spelling (trap 1)
        "lora": text(),
        "model_type": choice(*get_args(ModelType)),
        "model_version": choice(*get_args(ModelVersion)),
        "end_image_url": link(),
        "video_time": choice(*get_args(VideoTime)),
        "extend_prompt": flag(),
        "skip_face_enhance": flag(),
        "number_of_images": choice(*range(2, 9), title="count"),  # of videos, each of which costs coins
    },
    (
        # a LoRA's preset replaces both prompts
        Requirement(when={"lora": (None,)}, one_of=("prompt",), message=_PROMPT_MESSAGE.format("prompt")),
        Requirement(
            when={"lora": (None,)}, one_of=("negative_prompt",), message=_PROMPT_MESSAGE.format("negative_prompt")
        ),
        Requirement(
            when={"model_type": ("FLF2V",)},
            one_of=("end_image_url",),
            message="model_type='FLF2V' needs the last frame: give end_image or end_image_url",
        ),
        Requirement(
            when={"model_type": ("GENERAL",)},
            none_of=("end_image_url",),
            message="model_type='GENERAL' has no last frame: leave model_type out, or use 'FLF2V'",
        ),
    ),
)

# The prompt extensions for the two model types (reference 9.9).
EXTENSION = Schema(
    {
        "reference_id": text(required=True),
        "prompt": text(required=True),
        "negative_prompt": text(required=True),
        "image_url": link(),
        "end_image_url": link(),
        "lang": text(),
        "max_length": integer(min=1),
        "template": choice("default", "cinematic"),
        "shot_count": choice(*range(1, 5)),
        "with_audio": flag(),
        "stream": flag(),
    }
)

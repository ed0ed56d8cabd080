"""A job of a batch: what a start takes, and a name for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from a2e_async._protocol.checks import check_text, refuse

if TYPE_CHECKING:
    from a2e_async.files import Image
    from a2e_async.models.image_to_video import ModelType, ModelVersion

__all__ = ["Job", "to_job"]

_LONGEST_KEY = 500


@attrs.frozen(kw_only=True)
class Job:
    """One video of a batch. All but `key` is as in `ImageToVideo.start`; None means: not set.

    Attributes:
        key: Your name for it, such as ``"order-17"``: unique in the batch, at most 500 characters. The journal knows
            the job by it, and the video is named after it.
        image: The start picture: a path, bytes, a binary file, or an http(s) URL.
        image_url: The start picture as a direct http(s) link. Give one of the two.
        prompt: What should happen.
        negative_prompt: What to avoid.
        name: A display name; by default it comes from the file's name.
        model_type: ``"GENERAL"`` or ``"FLF2V"``.
        model_version: The model, which decides the price.
        end_image: The last picture, given as `image` is.
        end_image_url: The last picture, given as `image_url` is.
        video_time: Seconds of video: 5, 10, 15 or 20. The price grows with it.
        extend_prompt: Whether A2E rewrites the prompt.
        skip_face_enhance: Whether to leave out the enhancement of face similarity.
        lora: The id of a LoRA, whose preset replaces the prompt.
    """

    key: str
    image: Image | None = attrs.field(default=None, repr=False)
    image_url: str | None = attrs.field(default=None, repr=False)
    prompt: str | None = attrs.field(default=None, repr=False)
    negative_prompt: str | None = attrs.field(default=None, repr=False)
    name: str | None = None
    model_type: ModelType | None = None
    model_version: ModelVersion | None = "a2e"
    end_image: Image | None = attrs.field(default=None, repr=False)
    end_image_url: str | None = attrs.field(default=None, repr=False)
    video_time: Literal[5, 10, 15, 20] | None = None
    extend_prompt: bool | None = None
    skip_face_enhance: bool | None = None
    lora: str | None = None


WORDS = tuple(field.name for field in attrs.fields(Job))
"""What a dict may say about a job."""


def to_job(item: object) -> Job:
    """Return a job, or make one of a dict of the same words.

    Raises:
        InvalidRequestError: It is something else, holds a word that no start knows, or has no usable key.
    """
    job = item if isinstance(item, Job) else _from_words(item)
    check_text("key", job.key)
    if len(job.key) > _LONGEST_KEY or not job.key.isprintable():
        refuse(f"key must have at most {_LONGEST_KEY} printable characters")
    return job


def _from_words(item: object) -> Job:
    if not isinstance(item, Mapping):
        refuse(f"a job must be a Job or a dict of the same words, not {type(item).__name__}")
    words: dict[Any, Any] = dict(item)
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        refuse(f"a job has no {', '.join(map(repr, unknown))}: there are {', '.join(WORDS)}")
    if "key" not in words:
        refuse("a job needs a key: your name for it, unique in the batch")
    return Job(**words)

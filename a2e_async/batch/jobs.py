"""A job of a batch: what a start takes, and a name for it; and what a batch asks of a family of tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Literal, Protocol

import attrs

from a2e_async._protocol.validation import check_text, refuse
from a2e_async.files.local_files import Image, LocalFile
from a2e_async.models.image_to_video import ModelType, ModelVersion
from a2e_async.tasks import TaskHandle

__all__ = ["Buy", "Desk", "Job", "Purchase", "to_job"]

_LONGEST_KEY = 500


@attrs.frozen(kw_only=True)
class Job:
    """One video of a batch. All but `key` is as in `ImageToVideo.start`; None means: not set.

    Attributes:
        key: Your name for it, such as ``"order-17"``: unique in the batch, at most 500 characters. The journal knows
            the job by it, and the video is named after it.
        image: The start image: a path, bytes, a binary file, or an http(s) URL.
        image_url: The start image as a direct http(s) link. Give one of the two.
        prompt: What should happen.
        negative_prompt: What to avoid.
        name: A display name; by default it comes from the file's name.
        model_type: ``"GENERAL"`` or ``"FLF2V"``.
        model_version: The model, which decides the price.
        end_image: The last image, given as `image` is.
        end_image_url: The last image, given as `image_url` is.
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


@attrs.frozen(kw_only=True)
class Purchase:
    """One start that was checked, before its images are uploaded.

    Attributes:
        make_body: Makes the body of the links of the images.
        images: Local images, links, and None for an image that is not wanted; in the order of `make_body`.
        kind: What decides the price.
    """

    make_body: Callable[..., dict[str, Any]]
    pictures: tuple[LocalFile | str | None, ...]
    kind: Hashable


@attrs.frozen(kw_only=True)
class Desk:
    """A family of tasks, as far as a batch deals with it.

    Attributes:
        base_url: Where A2E is.
        marks_names: Whether starts can be found again by their marker.
        resends: Whether a start is sent once more if nobody knows what became of it, unless the batch says otherwise.
        extension: Of the files of its results, with the dot.
        shown_after: Seconds after which A2E's list shows a task that it has accepted.
        check: Checks a job as far as that is possible without sending anything, and looks at its images.
        upload: Uploads an image and returns its link.
        quote: Asks what a start would cost. Free.
        start: Starts a task.
        settle: Looks for the task of a start that has a marker and was sent so many seconds ago.
        task: Returns the handle of a task by its id, with what A2E said about it the last time.
    """

    base_url: str
    marks_names: bool
    resends: bool
    extension: str
    shown_after: float
    check: Callable[[Job], Awaitable[Purchase]]
    upload: Callable[[LocalFile], Awaitable[str]]
    quote: Callable[[Purchase], Awaitable[float | None]]
    buy: Buy
    settle: Callable[[str, float], Awaitable[TaskHandle[Any] | None]]
    task: Callable[[str, dict[str, Any] | None], TaskHandle[Any]]


class Buy(Protocol):
    """Starts a task."""

    def __call__(
        self, body: dict[str, Any], *, marker: str, resend: bool, on_late: Callable[[TaskHandle[Any]], None]
    ) -> Awaitable[TaskHandle[Any]]:
        """Send a body with a marker in its name, and return the task.

        Args:
            body: What to send.
            marker: Empty for none.
            resend: Whether to send it once more if nobody knows what became of it.
            on_late: Is told of a task that came of it although the caller was cancelled meanwhile.
        """
        ...

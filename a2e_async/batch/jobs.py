"""Jobs of a batch, and the interface through which a batch uses the resource of a family of tasks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal, Protocol, TypeVar

import attrs

from a2e_async._protocol.validation import check_text, raise_invalid
from a2e_async.files.local_files import Image, LocalFile
from a2e_async.models.common import TaskRecord
from a2e_async.models.image_to_video import ModelType, ModelVersion
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)

_MAX_KEY_LENGTH = 500


@attrs.frozen(kw_only=True)
class Job:
    """One video of a batch. All fields but `key` are those of `ImageToVideo.start`; None means: not set.

    Attributes:
        key: Your name for the job, such as ``"order-17"``: unique in the batch, at most 500 characters. The journal
            finds the job by its key, and the file of the video is named after it.
        image: The start image: a path, bytes, a binary file, or an http(s) URL.
        image_url: The start image as a direct http(s) link. Give one of the two.
        prompt: What should happen.
        negative_prompt: What to avoid.
        name: A display name; by default the name of the image file.
        model_type: ``"GENERAL"`` or ``"FLF2V"``.
        model_version: The model, which decides the price.
        end_image: The last image, given as `image` is.
        end_image_url: The last image, given as `image_url` is.
        video_time: Seconds of video: 5, 10, 15 or 20. A longer video costs more.
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


# The keys that a dict may have which stands for a job.
JOB_FIELDS = tuple(field.name for field in attrs.fields(Job))


def to_job(item: object) -> Job:
    """Return an item of the input as a job: a `Job` itself, or a dict with its fields.

    Raises:
        InvalidRequestError: The item is something else, has an unknown field, or has no usable key.
    """
    job = item if isinstance(item, Job) else _job_from_dict(item)
    check_text("key", job.key)
    if len(job.key) > _MAX_KEY_LENGTH or not job.key.isprintable():
        raise_invalid(f"key must have at most {_MAX_KEY_LENGTH} printable characters")
    return job


def _job_from_dict(item: object) -> Job:
    if not isinstance(item, Mapping):
        raise_invalid(f"a job must be a Job or a dict with its fields, not {type(item).__name__}")
    fields: dict[Any, Any] = dict(item)
    unknown = [field for field in fields if field not in JOB_FIELDS]
    if unknown:
        raise_invalid(f"a job has no field {', '.join(map(repr, unknown))}: its fields are {', '.join(JOB_FIELDS)}")
    if "key" not in fields:
        raise_invalid("a job needs a key: your name for it, unique in the batch")
    return Job(**fields)


@attrs.frozen(kw_only=True)
class PreparedStart:
    """One start, checked, with images that are not uploaded yet.

    Attributes:
        make_body: Makes the body of the request from the links of the images.
        images: Local images and links, in the order of `make_body`; None for an image that the start does not use.
        price_key: Starts with the same value cost the same.
    """

    make_body: Callable[..., dict[str, Any]]
    images: tuple[LocalFile | str | None, ...]
    price_key: Hashable


class BatchApi(Protocol[R]):
    """What a batch needs of the resource of one family, for one event loop."""

    @property
    def base_url(self) -> str:
        """Address of A2E."""
        ...

    @property
    def marks_names(self) -> bool:
        """Whether the names of tasks get a marker, by which a start can be found again."""
        ...

    @property
    def resends(self) -> bool:
        """Whether the client sends a start again if its outcome stays unknown. The batch may choose otherwise."""
        ...

    @property
    def extension(self) -> str:
        """Extension of the files of results, with the dot."""
        ...

    @property
    def listed_after(self) -> float:
        """Seconds after which A2E's list certainly shows a task that it has accepted, if no answer was lost."""
        ...

    async def prepare(self, job: Job) -> PreparedStart:
        """Check a job and its images. Sends nothing.

        Raises:
            InvalidRequestError: The job cannot work.
        """
        ...

    async def upload(self, image: LocalFile) -> str:
        """Upload an image, and return its link."""
        ...

    async def quote(self, start: PreparedStart) -> float | None:
        """Return what a start would cost in coins, None if A2E does not tell. Free."""
        ...

    async def start(
        self, body: dict[str, Any], *, marker: str, resend: bool, on_late: Callable[[TaskHandle[R]], None]
    ) -> TaskHandle[R]:
        """Start a task. Costs coins.

        Args:
            body: The body of the request.
            marker: The marker to put into its name, empty for none.
            resend: Whether to send it again if its outcome stays unknown.
            on_late: Is called with the task if A2E accepts the start after the caller was cancelled.

        Raises:
            SubmissionUncertainError: Its outcome is unknown.
            A2EError: It was not accepted.
        """
        ...

    async def reconcile(self, marker: str, age: float) -> TaskHandle[R] | None:
        """Return the task of a start that was sent `age` seconds ago, None if A2E's list does not show it. Free."""
        ...

    def known_task(self, task_id: str, raw: dict[str, Any] | None) -> TaskHandle[R]:
        """Return the handle of a task, with the last record that A2E has sent. Sends nothing."""
        ...

"""Jobs and options of a batch, and the interface through which it uses the resource of a family of tasks."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeVar, Unpack

import attrs

from a2e_async._protocol.image_to_video import DEFAULTS, VideoOptions
from a2e_async._protocol.schema import check_text
from a2e_async._protocol.validation import list_options, raise_invalid
from a2e_async.files.local_files import Image, LocalFile
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)

_MAX_KEY_LENGTH = 500


class _Images(TypedDict, total=False):
    image: Image | None
    image_url: str | None
    end_image: Image | None
    end_image_url: str | None


class JobOptions(_Images, VideoOptions):
    """Options of one job: those of `ImageToVideo.start` that a batch does not take once for all of its starts."""


@attrs.frozen(
    init=False,
    kw_only=True,
    these={
        "key": attrs.field(),
        **{name: attrs.field(default=DEFAULTS.get(name), repr=False) for name in JobOptions.__annotations__},
    },
)
class Job:
    """One video of a batch.

    Attributes:
        key: Your name for the job, such as ``"order-17"``: unique in the batch, at most 500 characters. The journal
            finds the job by its key, and the file of the video is named after it.
        options: All others are options of `ImageToVideo.start`, by the same names and with the same defaults.
    """

    if TYPE_CHECKING:  # attrs makes the attributes, from the names above
        key: str

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401  the type of the option

    @list_options(JobOptions, **DEFAULTS)
    def __init__(self, *, key: str, **options: Unpack[JobOptions]) -> None:
        """Take the key and the options."""
        self.__attrs_init__(key=key, **options)  # type: ignore[call-arg, misc]  # mypy does not see `these`


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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BatchOptions:
    """Options of a batch; see `ImageToVideo.batch`. ``resend`` is its `on_unknown`, None for that of the client."""

    journal: pathlib.Path | None
    out: pathlib.Path | None
    overwrite: bool
    max_running: int
    max_uploads: int
    max_starts: int
    max_downloads: int
    max_coins: float | None
    retry_failed: int
    ordered: bool
    on_shortage: Literal["wait", "stop"]
    resend: bool | None
    timeout: float | None
    outage_budget: float | None
    total: int | None

    @property
    def max_active(self) -> int:
        """Jobs under way at the same time: enough to use all slots, with some that wait for the next free one."""
        return self.max_running + self.max_downloads + 2 * (self.max_uploads + self.max_starts)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PreparedStart:
    """One start, checked, whose local files are not uploaded yet.

    Attributes:
        body: The body of the request, with an invented link for each local file.
        inputs: A2E's field name of an input -> a link, a local file, a list of both, or None if it is not used.
        files: The local files among the inputs.
        price_key: Starts with the same value cost the same.
    """

    body: dict[str, Any] = attrs.field(repr=False)
    inputs: Mapping[str, LocalFile | str | list[LocalFile | str] | None] = attrs.field(repr=False)
    files: tuple[LocalFile, ...] = ()
    price_key: Hashable = None

    @property
    def images(self) -> tuple[LocalFile | str | None, ...]:
        """The inputs, one after the other, in the order of `make_body`."""
        return tuple(item for value in self.inputs.values() for item in (value if isinstance(value, list) else [value]))

    def make_body(self, *links: str | None) -> dict[str, Any]:
        """Return the body with a link for each of the `images`."""
        remaining = iter(links)
        linked = {
            name: [next(remaining) for _ in value] if isinstance(value, list) else next(remaining)
            for name, value in self.inputs.items()
        }
        return {**self.body, **{name: link for name, link in linked.items() if link is not None}}


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

"""Jobs and options of a batch, and the interface through which it uses the resource of a family of tasks."""

from __future__ import annotations

import hashlib
import math
import os
import pathlib
import re
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeVar, Unpack

import attrs

from a2e_async._protocol.image_to_video import DEFAULTS, START, VideoOptions, with_defaults
from a2e_async._protocol.schema import check_text
from a2e_async._protocol.validation import list_options, raise_invalid
from a2e_async._submission.evidence import Verdict
from a2e_async._values import Value
from a2e_async.batch.keys import automatic_key
from a2e_async.files.local_files import Image, LocalFile
from a2e_async.files.media_types import find_encoding
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
    eq=False,
    repr=False,
    these={
        "key": attrs.field(),
        **{name: attrs.field(default=DEFAULTS.get(name), repr=False) for name in JobOptions.__annotations__},
    },
)
class Job(Value):
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
        self.__attrs_init__(key=key, **with_defaults(options))  # type: ignore[call-arg]  # mypy does not see `these`


# The keys that a dict may have which stands for a job.
JOB_FIELDS = tuple(field.name for field in attrs.fields(Job))


def to_job(item: object) -> Job:
    """Return an item of the input as a job: a `Job` itself, or a dict with its fields, such as a row of a `DictReader`.

    Raises:
        InvalidRequestError: The item is something else, has an unknown field or a wrong cell, or has no usable key.
    """
    job = item if isinstance(item, Job) else _job_from_dict(item)
    check_text("key", job.key)
    if len(job.key) > _MAX_KEY_LENGTH or not job.key.isprintable():
        raise_invalid(f"key must have at most {_MAX_KEY_LENGTH} printable characters")
    return job


def _job_from_dict(item: object) -> Job:
    if not isinstance(item, Mapping):
        raise_invalid(f"a job must be a Job or a dict with its fields, not {type(item).__name__}")
    cells: dict[Any, Any] = dict(item)
    surplus = cells.pop(None, None)  # `csv.DictReader` puts the cells there that have no column
    if isinstance(surplus, list) and any(isinstance(cell, str) and cell.strip() for cell in surplus):
        # Most often a prompt with a comma. Its second half would be lost.
        raise_invalid(
            f"{len(cells) + len(surplus)} cells for {len(cells)} columns: put a text with a comma in double quotes"
        )
    columns = [column if column in JOB_FIELDS else field_name(column) for column in cells]
    unknown = [column for column, name in zip(cells, columns, strict=True) if name and name not in JOB_FIELDS]
    if unknown:
        raise_invalid(f"a job has no field {', '.join(map(repr, unknown))}: its fields are {', '.join(JOB_FIELDS)}")
    fields = parse_row(zip(columns, cells.values(), strict=True))
    if "key" not in fields:
        image = image_path(fields)
        if not image:
            raise_invalid(
                "a job needs a key: your name for it, unique in the batch; else its image must be a path or a link"
            )
        fields["key"] = automatic_key(image)
    return Job(**fields)


def image_path(fields: Mapping[str, Any]) -> str:
    """Return the path of a job's image, with ``/`` between its parts, or the link; empty if it has none."""
    for name in ("image", "image_url"):
        image = fields.get(name)
        if isinstance(image, str | os.PathLike):
            text = str(os.fspath(image))
            if find_encoding(text.encode(errors="replace")):  # by mistake the image itself, which no key must show
                return f"encoded-image-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:16]}"
            return text if "://" in text else text.replace(os.sep, "/")
    return ""


_BOMS = ("\ufeff", "\xef\xbb\xbf")  # a byte order mark that was read as text, in UTF-8 and in Latin-1


def field_name(column: object) -> str:
    """Return the field that a column of a table stands for: ``Video Time`` is ``video_time``; empty without a name."""
    name = str(column)
    for bom in _BOMS:
        name = name.removeprefix(bom)
    name = name.strip().strip('"').strip().lower().replace(" ", "_").replace("-", "_")
    return "" if re.fullmatch(r"unnamed:_\d+", name) else name  # so pandas calls a column without a name


def parse_row(cells: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a row of a table. Empty cells are not set; texts in columns of numbers and flags are parsed.

    Args:
        cells: The field of each column, empty for a column without a name, and the value of its cell.

    Raises:
        InvalidRequestError: A cell has a wrong type or no column, or two columns stand for the same field.
    """
    fields = dict[str, Any]()
    for number, (name, value) in enumerate(cells, 1):
        if _is_empty(value):
            continue
        if not name:
            # Spreadsheets save empty columns, and data frames the numbers of their rows as the first one.
            if number > 1 or not str(value).strip().isdecimal():
                raise_invalid(f"column {number} has no name: name it, or remove it")
            continue
        if name in fields:
            raise_invalid(f"column {name!r} appears twice")
        field = START.fields.get(name)
        fields[name] = field.parse(name, value) if field is not None and isinstance(value, str | float) else value
    return fields


def _is_empty(value: object) -> bool:
    """Return whether a cell is empty; in a data frame, an empty cell is NaN."""
    return (
        not value.strip()
        if isinstance(value, str)
        else value is None or (isinstance(value, float) and math.isnan(value))
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BatchOptions(Value):
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
class PreparedStart(Value):
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Funds(Value):
    """What A2E says about the coins of the account at one moment.

    Attributes:
        coins: The balance, None if it could not be read.
        spendings: The latest transactions that cost coins, as (JSON of the transaction, coins); None if they could not
            be read.
    """

    coins: float | None = None
    spendings: tuple[tuple[str, float], ...] | None = None


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
    def settle_time(self) -> float:
        """Seconds after which A2E's list certainly shows a start that it has accepted, if no answer was lost."""
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

    async def funds(self) -> Funds:
        """Return the balance of the account and its latest spendings, as far as they can be read. Free."""
        ...

    async def start(
        self,
        body: dict[str, Any],
        *,
        marker: str,
        resend: bool,
        on_post: Callable[[float], Awaitable[None]],
        on_late: Callable[[TaskHandle[R]], None],
    ) -> TaskHandle[R]:
        """Start a task. Costs coins.

        Args:
            body: The body of the request.
            marker: The marker to put into its name, empty for none.
            resend: Whether to send it again if its outcome stays unknown.
            on_post: Is called right before each request is sent, with the time as `latest_time` returns it.
            on_late: Is called with the task if A2E accepts the start after the caller was cancelled.

        Raises:
            SubmissionUncertainError: Its outcome is unknown.
            A2EError: It was not accepted.
        """
        ...

    async def latest_time(self) -> float:
        """Return the latest time that A2E's clock can show now, in seconds since the epoch. Free."""
        ...

    async def reconcile(
        self, marker: str, sent_at: float, *, waited: float, settle_time: float
    ) -> tuple[TaskHandle[R] | None, Verdict, float]:
        """Return what A2E's list tells about an earlier start: its task, whether that is certain, and its age. Free.

        Args:
            marker: The marker of the start.
            sent_at: When it was sent, by `latest_time`.
            waited: Seconds for which the batch has waited for it already.
            settle_time: Seconds after which an accepted start is certainly listed.
        """
        ...

    async def find_listed(self, marker: str, *, fresh: bool) -> TaskHandle[R] | None:
        """Return the task with a marker in A2E's list, None if there is none. Free.

        Args:
            marker: The marker.
            fresh: Whether to read the list. Otherwise only what was read of it before counts, and nothing is sent.
        """
        ...

    def known_task(self, task_id: str, raw: dict[str, Any] | None) -> TaskHandle[R]:
        """Return the handle of a task, with the last record that A2E has sent. Sends nothing."""
        ...

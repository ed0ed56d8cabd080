"""Rules of a batch, as plain functions of a journal entry: next action, scope of a failure, file name, stored form.

Two rules come first. A start is sent only if the entry certainly has no task at A2E. A task that was paid for is always
waited for.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from typing import Any, Literal, Protocol, Self, TypeAlias

import attrs

from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    BusyError,
    ClientClosedError,
    InsufficientCreditsError,
    NetworkError,
    RateLimitError,
    ServerError,
    TransferError,
)

EntryState: TypeAlias = Literal["new", "sending", "running", "succeeded", "failed", "uncertain"]
"""``sending`` until the answer to a start has arrived, ``running`` until the task has ended."""

# An accepted task is in A2E's list after this many seconds at the latest.
LISTED_AFTER = 600.0

# It stays there for at least this many seconds. Lists show tasks that have not expired; links live for about 3 days.
LISTED_UNTIL = 2.5 * 86400.0

# Errors that the same start would cause again.
_FINAL_ERRORS = frozenset({"BadRequestError", "ContentRejectedError"})

# Keys that are file names as they are.
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,98}[A-Za-z0-9_-]|[A-Za-z0-9_-]")

# Names that Windows reserves for devices, with any extension.
_DEVICE_NAME = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d) *(?:\..*)?", re.IGNORECASE)


@attrs.define(kw_only=True, eq=False)
class JournalEntry:
    """What the journal knows about one job: one row of its table `jobs`. Times are seconds since the epoch, or None.

    Attributes:
        key: The caller's name for the job.
        request: The options of the job, as JSON.
        state: One of `EntryState`.
        starts: How many starts A2E has accepted.
        marker: The marker of the last start.
        task_id: A2E's id of the last task, or None.
        coins: What the tasks of the job have cost, None if that is unknown.
        quoted: Expected cost of the start under way, None if there is no such start or its price is unknown.
        record: The last record, in A2E's form, or None.
        target: The file that the video will be written to, or None.
        path: The video's file, once it is complete, or None.
        error: ``{"type": ..., "message": ...}`` of the last error, or None.
        created_at: When the job was first read.
        sent_at: When the last start was sent.
        accepted_at: When A2E accepted the last start.
        finished_at: When the job succeeded or failed.
    """

    key: str
    request: dict[str, Any] = attrs.field(factory=dict, repr=False)
    state: EntryState = "new"
    starts: int = 0
    marker: str = ""
    task_id: str | None = None
    coins: float | None = 0
    quoted: float | None = None
    record: dict[str, Any] | None = attrs.field(default=None, repr=False)
    target: str | None = None
    path: str | None = None
    error: dict[str, str] | None = None
    created_at: float
    sent_at: float | None = None
    accepted_at: float | None = None
    finished_at: float | None = None


class Action(enum.Enum):
    """What to do next about a job."""

    START = "start a task"
    RECONCILE = "look for the task of the last start at A2E"
    WAIT = "wait for the task"
    DOWNLOAD = "download the result"
    SKIP = "nothing: the job is done"
    REPORT = "nothing: the job has failed for good"


def next_action(entry: JournalEntry, *, download: bool, retry_failed: int) -> Action:
    """Return what to do next about a job.

    Args:
        entry: The entry of the journal, or a new one.
        download: Whether the caller wants a file.
        retry_failed: How many new starts the caller allows for a job whose task failed.
    """
    match entry.state:
        case "sending" | "uncertain":
            return Action.RECONCILE
        case "running":
            return Action.WAIT
        case "succeeded":
            return Action.DOWNLOAD if download and entry.path is None else Action.SKIP
        case "new" | "failed":
            return Action.START if may_start(entry, retry_failed) else Action.REPORT


def may_start(entry: JournalEntry, retry_failed: int) -> bool:
    """Return whether to start a job that has no running task, for the first time or again."""
    if entry.starts:
        return entry.starts <= retry_failed
    return bool(retry_failed) or entry.error is None or entry.error.get("type") not in _FINAL_ERRORS


def may_restart(entry: JournalEntry, *, age: float, resend: bool) -> bool:
    """Return whether to send a new start although the outcome of the last one is unknown and A2E shows no task of it.

    Args:
        entry: The entry, whose state is ``sending`` or ``uncertain``.
        age: Seconds since its start was sent.
        resend: Whether the caller wants a new start in any case.
    """
    # Case 1: the caller prefers a possible second charge to a missing video.
    if resend:
        return True
    # Case 2: too old. An accepted task may have left A2E's list, so its absence proves nothing.
    if age >= LISTED_UNTIL:
        return False
    # Case 3: "sending" was left by a crash. The list was read just now, when it certainly shows a fresh task.
    # Case 4: "uncertain" lost its answer on the way, so A2E gets more time to list the task.
    return entry.state == "sending" or age >= LISTED_AFTER


class FailureScope(enum.Enum):
    """Extent of an error that prevented a start."""

    JOB = "this job fails, the others continue"
    PAUSE = "no job can be started at the moment"
    STOP = "no job can be started any more"


def failure_scope(error: A2EError) -> FailureScope:
    """Return whether an error concerns one job or the whole batch. Nothing was started."""
    # A wrong token stays wrong, and a closed client stays closed.
    if isinstance(error, AuthenticationError | ClientClosedError):
        return FailureScope.STOP
    if isinstance(error, InsufficientCreditsError | BusyError | RateLimitError | NetworkError):
        return FailureScope.PAUSE
    # An upload: the storage was out of reach or broken, so the other images would fail as well.
    if isinstance(error, TransferError) and isinstance(error.__cause__, NetworkError | ServerError):
        return FailureScope.PAUSE
    return FailureScope.JOB


def may_retry(error: A2EError, failures: int) -> bool:
    """Return whether to try a job again after a failure of scope ``PAUSE``.

    Args:
        error: The last error.
        failures: How often the job failed while other jobs succeeded, or while it was the only one.
    """
    # A failed upload can be the fault of its image. So it gets three tries, unless no byte of it was sent.
    cause = error.__cause__
    is_connection = not isinstance(error, TransferError) or (isinstance(cause, NetworkError) and not cause.request_sent)
    return is_connection or failures < 3


def job_key(journal_id: str, entry: JournalEntry) -> str:
    """Return the idempotency key of the next start: the same in every process, another one in each journal."""
    return f"{journal_id}/{entry.starts}/{entry.key}"


def is_bound(entry: JournalEntry) -> bool:
    """Return whether the key belongs to one request for good, because a start was or may have been accepted for it."""
    return bool(entry.starts) or entry.state not in {"new", "failed"}


def changed_fields(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """List the fields in which two requests differ."""
    return sorted(field for field in old.keys() | new.keys() if old.get(field) != new.get(field))


def file_name(key: str, extension: str) -> str:
    """Return a safe file name for a key. If the key has to be changed, a part of its hash keeps the name unique."""
    if _PLAIN_KEY.fullmatch(key) and not _DEVICE_NAME.fullmatch(key):
        return key + extension
    # no dots: Windows reads the part before the first dot as the device
    stem = re.sub(r"[^A-Za-z0-9_ -]", "_", key).strip()[:80]
    return f"{stem}~{hashlib.sha256(key.encode()).hexdigest()[:16]}{extension}"


# Columns of the table `jobs`, in its order, which is the same in all versions of the schema.
COLUMNS = (
    "key", "state", "request", "starts", "marker", "task_id", "coins", "quoted", "record", "target", "path", "error",
    "created_at", "sent_at", "accepted_at", "finished_at",
)  # fmt: skip

_JSON = frozenset({"request", "record", "error"})
_COINS = frozenset({"coins", "quoted"})


class Journal(Protocol):
    """What a batch needs of its journal."""

    @property
    def id(self) -> str:
        """Random name, another one in each journal."""
        ...

    @property
    def spent(self) -> float:
        """Coins that earlier runs have spent, or may have spent."""
        ...

    async def load(self, key: str) -> JournalEntry | None:
        """Return the entry of a job, None if there is none."""
        ...

    def write_soon(self, entry: JournalEntry) -> None:
        """Add an entry, as it is now, to the next commit."""
        ...

    async def save(self, entry: JournalEntry) -> None:
        """Write an entry, and return when it is on the disk.

        Raises:
            JournalError: It could not be written.
        """
        ...

    async def flush(self) -> None:
        """Return when all that was written so far is on the disk.

        Raises:
            JournalError: It could not be written.
        """
        ...

    async def load_link(self, digest: str, since: float) -> str | None:
        """Return the link of an image that was uploaded since a time (seconds since the epoch), or None."""
        ...

    def write_link_soon(self, digest: str, link: str) -> None:
        """Add the link of an uploaded image to the next commit."""
        ...


@attrs.define(eq=False)
class NoJournal:
    """Journal of a batch that keeps none. It stores nothing."""

    id: str = attrs.field(factory=lambda: secrets.token_hex(8))
    spent: float = 0.0

    async def load(self, key: str) -> JournalEntry | None:
        """Return None."""

    def write_soon(self, entry: JournalEntry) -> None:
        """Do nothing."""

    async def save(self, entry: JournalEntry) -> None:
        """Do nothing."""

    async def flush(self) -> None:
        """Do nothing."""

    async def load_link(self, digest: str, since: float) -> str | None:
        """Return None."""

    def write_link_soon(self, digest: str, link: str) -> None:
        """Do nothing."""

    async def __aenter__(self) -> Self:
        """Return the journal itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""


def to_values(entry: JournalEntry) -> tuple[Any, ...]:
    """Return the values of the columns, as the entry is at this moment."""
    return tuple(_to_column(name, getattr(entry, name)) for name in COLUMNS)


def _to_column(name: str, value: Any) -> Any:  # noqa: ANN401  the type depends on the column
    if value is None or name not in _JSON | _COINS:
        return value
    if name in _JSON:
        return json.dumps(value)
    try:
        return float(value)
    except OverflowError:  # A2E's JSON can hold an integer of any length, a column cannot
        return None


def from_values(values: Sequence[Any]) -> JournalEntry:
    """Make an entry of the values of the columns."""
    fields = dict(zip(COLUMNS, values, strict=True))
    return JournalEntry(
        **{name: json.loads(value) if name in _JSON and value else value for name, value in fields.items()}
    )

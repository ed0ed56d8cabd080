"""A row of a batch's journal, and what is to be done about it; what a batch asks of its journal.

The rest of `batch/` does it.

The law: a start is started only for a row that has surely no task, and what was paid for is waited for.
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

__all__ = [
    "COLUMNS",
    "Journal",
    "Next",
    "NoJournal",
    "Row",
    "RowState",
    "Trouble",
    "difference",
    "file_name",
    "is_bound",
    "job_key",
    "may_be_bought",
    "may_start",
    "may_try_again",
    "next_step",
    "to_row",
    "to_values",
    "trouble",
]

RowState: TypeAlias = Literal["new", "sending", "running", "succeeded", "failed", "uncertain"]
"""``sending`` until the answer to a start is known, ``running`` until the task has ended."""

SHOWN_AFTER = 600.0
"""Seconds after which a task that was accepted is surely in A2E's list."""

SHOWN_UNTIL = 2.5 * 86400.0
"""Seconds for which it surely stays there: lists show what has not expired, and links live for about 3 days."""

_FINAL = frozenset({"BadRequestError", "ContentRejectedError"})
"""Refusals of a start that would only come again."""

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,98}[A-Za-z0-9_-]|[A-Za-z0-9_-]")
_NO_NAME = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d) *(?:\..*)?", re.IGNORECASE)
"""What Windows takes for a device."""


@attrs.define(kw_only=True, eq=False)
class Row:
    """What a journal knows of a job. Times are seconds since the epoch, or None.

    Attributes:
        key: The caller's name for the job.
        request: What was asked for, as JSON.
        state: Where it stands.
        starts: How many starts were accepted.
        marker: That of the last start.
        task_id: A2E's id of the last task, or None.
        coins: What its tasks have cost, None if that is not known.
        quoted: Coins that the start under way is expected to cost, None if there is none or nobody knows.
        record: The last record, as A2E shows it, or None.
        target: The file that the video is going to be written to, or None.
        path: The video's file, once it is there, or None.
        error: ``{"type": ..., "message": ...}`` of the last error, or None.
        created_at: When the job was first read.
        sent_at: When its start was sent the last time.
        accepted_at: When A2E accepted it the last time.
        finished_at: When it succeeded or failed.
    """

    key: str
    request: dict[str, Any] = attrs.field(factory=dict, repr=False)
    state: RowState = "new"
    purchases: int = 0
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


class Next(enum.Enum):
    """What is to be done about a row."""

    START = "buy a task"
    SETTLE = "look whether the last start made a task"
    WAIT = "wait for the task"
    FETCH = "download the result"
    SKIP = "nothing: it is done"
    TELL = "nothing: it has failed for good"


def next_step(row: Row, *, fetch: bool, retry_failed: int) -> Next:
    """Tell what is to be done about a row.

    Args:
        row: As the journal has it, or a new one.
        fetch: Whether a file is wanted.
        retry_failed: How many new starts a job is worth whose task failed.
    """
    match row.state:
        case "sending" | "uncertain":
            return Next.SETTLE
        case "running":
            return Next.WAIT
        case "succeeded":
            return Next.FETCH if fetch and row.path is None else Next.SKIP
        case "new" | "failed":
            return Next.START if may_start(row, retry_failed) else Next.TELL


def may_start(row: Row, retry_failed: int) -> bool:
    """Tell whether a job without a running task may be started, for the first time or once more."""
    if row.purchases:
        return row.purchases <= retry_failed
    return bool(retry_failed) or row.error is None or row.error.get("type") not in _FINAL


def may_be_bought(row: Row, *, age: float, resend: bool) -> bool:
    """Tell whether a row may be started whose last start made no task that A2E shows.

    A ``sending`` row is what a crash left behind; it was just looked for, and that at a time when A2E surely shows a
    fresh task. An ``uncertain`` one has lost its answer on the way, so A2E gets more time to show the task. Neither can
    be told after the time for which lists go back.

    Args:
        row: The row.
        age: Seconds since its start was sent.
        resend: Whether the caller wants it started in any case.
    """
    return resend or (age < SHOWN_UNTIL and (row.state == "sending" or age >= SHOWN_AFTER))


class Trouble(enum.Enum):
    """What an error that kept a job from being started means for the batch."""

    JOB = "this job has failed, the others go on"
    PAUSE = "nothing can be bought at the moment"
    STOP = "nothing can be bought any more"


def trouble(error: A2EError) -> Trouble:
    """Tell whether it is the job's own trouble, or everybody's. Nothing was started."""
    if isinstance(error, AuthenticationError | ClientClosedError):
        return Trouble.STOP
    if isinstance(error, InsufficientCreditsError | BusyError | RateLimitError | NetworkError):
        return Trouble.PAUSE
    if isinstance(error, TransferError) and isinstance(error.__cause__, NetworkError | ServerError):
        return Trouble.PAUSE
    return Trouble.JOB


def may_try_again(error: A2EError, times: int) -> bool:
    """Tell whether a job is tried again that has failed so often while others got through, or while it was alone.

    An image that cannot be uploaded can be that image's fault. Nobody knows, so it gets three tries.
    """
    cause = error.__cause__
    is_line = not isinstance(error, TransferError) or (isinstance(cause, NetworkError) and not cause.request_sent)
    return is_line or times < 3


def job_key(journal_id: str, row: Row) -> str:
    """Return what the marker of a start is made of: the same in every process, another one in each journal."""
    return f"{journal_id}/{row.purchases}/{row.key}"


def is_bound(row: Row) -> bool:
    """Tell whether a key stands for one request for good, because something was or may have been started for it."""
    return bool(row.purchases) or row.state not in {"new", "failed"}


def difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """List the words in which two requests differ."""
    return sorted(word for word in old.keys() | new.keys() if old.get(word) != new.get(word))


def file_name(key: str, extension: str) -> str:
    """Return a safe file name for a key. One that had to be changed gets a part of the key's hash, to be unique."""
    if _PLAIN.fullmatch(key) and not _NO_NAME.fullmatch(key):
        return key + extension
    stem = re.sub(r"[^A-Za-z0-9_ -]", "_", key).strip()[:80]  # no dots: what stands before the first one is the device
    return f"{stem}~{hashlib.sha256(key.encode()).hexdigest()[:16]}{extension}"


COLUMNS = (
    "key", "state", "request", "purchases", "marker", "task_id", "coins", "quoted", "record", "target", "path", "error",
    "created_at", "sent_at", "accepted_at", "finished_at",
)  # fmt: skip
"""Of the table `jobs`, in its order."""

_JSON = frozenset({"request", "record", "error"})
_COINS = frozenset({"coins", "quoted"})


class Journal(Protocol):
    """What a batch asks of its journal."""

    @property
    def id(self) -> str:
        """Random; another one in each journal."""
        ...

    @property
    def spent(self) -> float:
        """Coins that earlier runs have spent, or may have."""
        ...

    async def load(self, key: str) -> Row | None:
        """Return what is known of a job."""
        ...

    def note(self, row: Row) -> None:
        """Write a row down soon."""
        ...

    async def save(self, row: Row) -> None:
        """Write a row down, and return when it is safe.

        Raises:
            JournalError: It could not be written.
        """
        ...

    async def flush(self) -> None:
        """Return when all that was noted is safe.

        Raises:
            JournalError: It could not be written.
        """
        ...

    async def link(self, digest: str, since: float) -> str | None:
        """Return the link of an image that was uploaded since then (seconds since the epoch)."""
        ...

    def keep_link(self, digest: str, link: str) -> None:
        """Write down soon where an image was uploaded to."""
        ...


@attrs.define(eq=False)
class NoJournal:
    """For a batch that keeps none: it forgets everything at its end."""

    id: str = attrs.field(factory=lambda: secrets.token_hex(8))
    spent: float = 0.0

    async def load(self, key: str) -> Row | None:
        """Know nothing."""

    def note(self, row: Row) -> None:
        """Do nothing."""

    async def save(self, row: Row) -> None:
        """Do nothing."""

    async def flush(self) -> None:
        """Do nothing."""

    async def link(self, digest: str, since: float) -> str | None:
        """Know nothing."""

    def keep_link(self, digest: str, link: str) -> None:
        """Do nothing."""

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""


def to_values(row: Row) -> tuple[Any, ...]:
    """Return what is written of a row, as it is at this moment."""
    return tuple(_written(name, getattr(row, name)) for name in COLUMNS)


def _written(name: str, value: Any) -> Any:  # noqa: ANN401  whatever a row holds
    if value is None or name not in _JSON | _COINS:
        return value
    if name in _JSON:
        return json.dumps(value)
    try:
        return float(value)
    except OverflowError:  # a price of more digits than can be counted
        return None


def to_row(values: Sequence[Any]) -> Row:
    """Read a row."""
    fields = dict(zip(COLUMNS, values, strict=True))
    return Row(**{name: json.loads(value) if name in _JSON and value else value for name, value in fields.items()})

"""Results and progress of a batch, and the stored form of errors."""

from __future__ import annotations

import datetime as dt
import pathlib
import time
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

import attrs

from a2e_async import errors
from a2e_async._values import Value
from a2e_async.batch.jobs import Job
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord

if TYPE_CHECKING:
    from a2e_async.batch.rules import JournalEntry

R = TypeVar("R", bound=TaskRecord)

JobState: TypeAlias = Literal["succeeded", "failed", "uncertain", "skipped"]
"""State of a job at the end of a run."""

Stage: TypeAlias = Literal["checking", "waiting", "uploading", "starting", "reconciling", "running", "downloading"]
"""Stage of a job under way. ``reconciling``: it is found out whether A2E has accepted the start, for some minutes."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class JobResult(Value, Generic[R]):
    """Result of one job.

    Attributes:
        key: Your name for the job; ``"#7"`` for the seventh item of the input if its key is missing, unusable or the
            key of an earlier item.
        job: The job as it was given, None if the item of the input is not a job.
        state: ``"succeeded"``: A2E made the video. ``"failed"``: A2E rejected the job or its task failed, or the job
            cannot work; see `error`. ``"uncertain"``: the outcome is still unknown, because the wait ended before the
            task, or because the answer to the start was lost and A2E's list did not tell within some minutes; the next
            run with the same journal finds out, at no cost.
            ``"skipped"``: this run did nothing, because an earlier run has finished the job (`error` is None), or
            because the job was not started (see `error`).
        record: The last record of the task, or None.
        path: The video's file, or None. If a job has succeeded and its download failed, `error` says why, and the next
            run only downloads the file.
        coins: What the job has cost, with its retries and earlier runs; None if that is unknown, 0 if nothing was
            started.
        starts: How many starts A2E has accepted for the job, in this run and earlier ones.
        error: What went wrong, or None.
        marker: The marker at the end of the task's name, for ``image_to_video.find(marker)``; empty before the first
            start, and if names are not marked.
        read_at: When the job was read from the input (UTC).
        sent_at: When the last start was sent (UTC), possibly by an earlier run, or None.
        accepted_at: When A2E accepted the last start (UTC), or None.
        finished_at: When the job ended (UTC).
    """

    key: str
    job: Job | None = attrs.field(default=None, repr=False)
    state: JobState
    record: R | None = attrs.field(default=None, repr=False)
    path: pathlib.Path | None = None
    coins: float | None = None
    starts: int = 0
    error: A2EError | None = None
    marker: str = ""
    read_at: dt.datetime = attrs.field(repr=False)
    sent_at: dt.datetime | None = attrs.field(default=None, repr=False)
    accepted_at: dt.datetime | None = attrs.field(default=None, repr=False)
    finished_at: dt.datetime = attrs.field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the job has succeeded, in this run or an earlier one, and has its file. Nothing is left to do."""
        return self.state in {"succeeded", "skipped"} and self.error is None

    @property
    def task_id(self) -> str | None:
        """A2E's id of the task, or None."""
        return None if self.record is None else self.record.id


def make_result(
    entry: JournalEntry,
    state: JobState,
    *,
    read_at: float,
    job: Job | None = None,
    record: R | None = None,
    error: A2EError | None = None,
) -> JobResult[R]:
    """Return the result of a job with this journal entry."""
    return JobResult(
        key=entry.key,
        job=job,
        state=state,
        record=record,
        path=None if entry.path is None else pathlib.Path(entry.path),
        coins=None if entry.state in {"sending", "uncertain"} else entry.coins,
        starts=entry.starts,
        error=error,
        marker=entry.marker,
        read_at=utc(read_at),
        sent_at=None if entry.sent_at is None else utc(entry.sent_at),
        accepted_at=None if entry.accepted_at is None else utc(entry.accepted_at),
        finished_at=utc(time.time() if entry.finished_at is None else entry.finished_at),
    )


def utc(seconds: float) -> dt.datetime:
    """Return seconds since the epoch as a time in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def error_to_json(error: A2EError) -> dict[str, str]:
    """Return an error as the journal has it."""
    return {"type": type(error).__name__, "message": error.message}


def error_from_json(entry: JournalEntry) -> A2EError:
    """Return the error that an earlier run has put into the journal."""
    stored = entry.error or {}
    error_type = getattr(errors, stored.get("type", ""), A2EError)
    error: A2EError = error_type(stored.get("message", "The job failed in an earlier run"))
    error.task_id = entry.task_id
    return error


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ActiveJob(Value):
    """One job under way.

    Attributes:
        key: Your name for the job.
        stage: ``"checking"``, ``"waiting"`` (for a free place), ``"uploading"``, ``"starting"``, ``"reconciling"``,
            ``"running"`` or ``"downloading"``.
        task_id: A2E's id of the task, or None before it is accepted.
        status: A2E's raw status of the task, empty before it is known.
        seconds: Seconds since the stage began.
    """

    key: str
    stage: Stage
    task_id: str | None
    status: str
    seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Progress(Value):
    """Progress of a batch at one moment.

    Attributes:
        total: Number of jobs, or None if the input has no length.
        read: Jobs that were read from the input.
        succeeded: Results with this state, yielded or ready to be yielded.
        failed: As `succeeded`.
        uncertain: As `succeeded`.
        skipped: As `succeeded`.
        started: Starts that A2E has accepted in this run.
        retried: How many of them are new starts for jobs that had failed.
        coins: What the batch has cost so far, with earlier runs of the same journal, as far as that is known.
        active: The jobs under way.
        paused: Why no job is started at the moment, empty if the batch is not paused.
        stopped: Why no job is started any more, empty if the batch has not stopped.
    """

    total: int | None
    read: int = 0
    succeeded: int = 0
    failed: int = 0
    uncertain: int = 0
    skipped: int = 0
    started: int = 0
    retried: int = 0
    coins: float = 0
    active: tuple[ActiveJob, ...] = ()
    paused: str = ""
    stopped: str = ""

    @property
    def done(self) -> int:
        """Jobs with a result."""
        return self.succeeded + self.failed + self.uncertain + self.skipped

"""What becomes of the jobs of a batch: values to be looked at and kept."""

from __future__ import annotations

import datetime as dt
import pathlib
from typing import Literal, TypeAlias

import attrs

from a2e_async.batch.jobs import Job
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord

__all__ = ["Doing", "Outcome", "Progress", "Stage", "State"]

State: TypeAlias = Literal["succeeded", "failed", "uncertain", "skipped"]
"""How a job of a batch stands when its outcome is told."""

Stage: TypeAlias = Literal["checking", "uploading", "starting", "running", "downloading"]
"""What is being done about a job that is under way."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one job.

    Attributes:
        key: Your name for the job; ``"#7"`` for the seventh item of the input if it has no usable one, or
            if another job has it.
        job: The job as it was given, None if it could not be read as one.
        state: ``"succeeded"``: A2E made the video. ``"failed"``: it said no, or the job cannot be done; `error` says
            why. ``"uncertain"``: nobody knows yet, because the answer to the start got lost or because the wait ended
            before the task did; the next run with the same journal finds out and pays nothing for that. ``"skipped"``:
            nothing was done in this run, since an earlier run has finished it (`error` is None), or since it
            was not started (`error` says why).
        record: What A2E said about the task the last time, or None.
        path: The video's file, or None. A job can have succeeded while its download did not work: then `error` says
            so, and the next run fetches only the file.
        coins: What the job has cost, its retries and earlier runs included; None if it is not known, 0 if nothing was
            started.
        starts: How many starts A2E has accepted for it, earlier runs included.
        error: What went wrong, or None.
        marker: What the task's name ends with at A2E, for ``image_to_video.find(marker)``; empty before the first
            start, and if names are not marked.
        read_at: When the job was read from the input (UTC).
        sent_at: When its start was sent the last time (UTC), possibly by an earlier run, or None.
        accepted_at: When A2E accepted it the last time (UTC), or None.
        finished_at: When its outcome was known (UTC).
    """

    key: str
    job: Job | None = attrs.field(default=None, repr=False)
    state: State
    record: TaskRecord | None = attrs.field(default=None, repr=False)
    path: pathlib.Path | None = None
    coins: float | None = None
    purchases: int = 0
    error: A2EError | None = None
    marker: str = ""
    read_at: dt.datetime = attrs.field(repr=False)
    sent_at: dt.datetime | None = attrs.field(default=None, repr=False)
    accepted_at: dt.datetime | None = attrs.field(default=None, repr=False)
    finished_at: dt.datetime = attrs.field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing is left to be done, since it has succeeded, now or in an earlier run, and has its file."""
        return self.state in {"succeeded", "skipped"} and self.error is None

    @property
    def task_id(self) -> str | None:
        """A2E's id of the task, or None."""
        return None if self.record is None else self.record.id


@attrs.frozen(kw_only=True)
class Doing:
    """One job that is under way.

    Attributes:
        key: Your name for the job.
        stage: ``"checking"``, ``"uploading"``, ``"starting"``, ``"running"`` or ``"downloading"``.
        task_id: A2E's id of the task, or None before it is accepted.
        status: A2E's raw word about the task, empty before it is known.
        seconds: Seconds since the stage began.
    """

    key: str
    stage: Stage
    task_id: str | None
    status: str
    seconds: float


@attrs.frozen(kw_only=True)
class Progress:
    """How a batch is doing at this moment.

    Attributes:
        total: Jobs in all, or None if the input does not tell.
        read: Jobs that were read from the input.
        succeeded: Outcomes of this state, told or about to be told.
        failed: As `succeeded`.
        uncertain: As `succeeded`.
        skipped: As `succeeded`.
        started: Starts that A2E has accepted in this run.
        retried: How many of them are new starts for jobs that had failed.
        coins: What the batch has cost so far, earlier runs with the same journal included, as far as it is known.
        doing: The jobs under way.
        paused: Why nothing is started at the moment, empty if nothing is in the way.
        stopped: Why nothing is started any more, empty if nothing is in the way.
    """

    total: int | None
    read: int
    succeeded: int
    failed: int
    uncertain: int
    skipped: int
    bought: int
    retried: int
    coins: float
    doing: tuple[Doing, ...]
    paused: str
    stopped: str

    @property
    def done(self) -> int:
        """Jobs whose outcome is known."""
        return self.succeeded + self.failed + self.uncertain + self.skipped

"""State of one job under way, and what all jobs of a batch share."""

from __future__ import annotations

import asyncio
import pathlib
import time
from typing import Generic, Literal, TypeVar

import attrs

from a2e_async._protocol.converter import from_record
from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.circuit_breaker import CircuitBreaker
from a2e_async.batch.jobs import BatchApi, Job
from a2e_async.batch.results import Stage
from a2e_async.batch.rules import Journal, JournalEntry
from a2e_async.batch.uploads import UploadCache
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)


class StoppedError(Exception):
    """Signal that the batch starts nothing more. It never leaves the batch; its `reason` does, in a `JobResult`."""

    def __init__(self, reason: A2EError) -> None:
        super().__init__()
        self.reason = reason


@attrs.frozen(kw_only=True)
class BatchPolicy:
    """Options of a batch that concern single jobs; see `ImageToVideo.batch`."""

    out: pathlib.Path | None = None
    overwrite: bool = False
    retry_failed: int = 0
    on_shortage: Literal["wait", "stop"] = "wait"
    resend: bool | None = None
    timeout: float | None = 1800.0
    outage_budget: float | None = 600.0


@attrs.define(eq=False, kw_only=True)
class BatchContext(Generic[R]):
    """What all jobs of a batch share.

    Attributes:
        start_slots: Bounds the starts that are being sent.
        running_slots: Bounds the tasks at A2E.
        download_slots: Bounds the downloads.
        started: Starts that A2E has accepted in this run.
        retried: How many of them were new starts for jobs that had failed.
        stopped: Why no job is started any more, or None.
    """

    api: BatchApi[R]
    policy: BatchPolicy
    journal: Journal
    budget_guard: BudgetGuard
    breaker: CircuitBreaker
    uploads: UploadCache
    start_slots: asyncio.Semaphore
    running_slots: asyncio.Semaphore
    download_slots: asyncio.Semaphore
    started: int = 0
    retried: int = 0
    stopped: A2EError | None = None

    @property
    def resends(self) -> bool:
        """Whether a start is sent again if its outcome stays unknown."""
        return self.api.resends if self.policy.resend is None else self.policy.resend

    def stop(self, reason: A2EError) -> None:
        """Start nothing more in this batch. The first reason counts."""
        self.stopped = self.stopped or reason
        self.breaker.stop()

    def check_stopped(self) -> None:
        """Check that the batch may start a job.

        Raises:
            StoppedError: It starts nothing more.
        """
        if self.stopped is not None:
            raise StoppedError(self.stopped)


@attrs.define(eq=False)
class JobContext(Generic[R]):
    """State of one job under way.

    Attributes:
        batch: What it shares with the other jobs.
        job: The job, as it was given.
        entry: Its journal entry, possibly not written yet.
        handle: Its task, if there is one.
        digests: SHA-256 of its local images, by their position in `PreparedStart.images`.
        read_at: When it was read, in seconds since the epoch.
        is_estimate: Whether `entry.coins` holds an expected price, because A2E has not told the real one yet.
        estimate: That price, if it was known.
    """

    batch: BatchContext[R]
    job: Job
    entry: JournalEntry = attrs.field(init=False)
    handle: TaskHandle[R] | None = None
    stage: Stage = "checking"
    stage_since: float = attrs.field(factory=lambda: time.monotonic())  # noqa: PLW0108  tests replace it in `time`
    digests: dict[int, str] = attrs.field(factory=dict)
    read_at: float = attrs.field(factory=lambda: time.time())  # noqa: PLW0108  tests replace it in `time`
    is_estimate: bool = False
    estimate: float | None = None

    def __attrs_post_init__(self) -> None:
        """Make a new journal entry."""
        self.entry = JournalEntry(key=self.job.key, created_at=self.read_at)

    def enter(self, stage: Stage) -> None:
        """Begin another stage."""
        self.stage, self.stage_since = stage, time.monotonic()

    def cost(self, expected: float | None) -> float | None:
        """Return what the task has cost, or the expected price if A2E has not told."""
        coins: float | None = None if self.handle is None else self.handle.record.coins
        return expected if coins is None else coins

    def record_start(self, handle: TaskHandle[R]) -> None:
        """Count a start that A2E has accepted in this run, and record its task."""
        self.batch.started += 1
        self.batch.retried += self.entry.starts > 0
        self.record_task(handle)

    def record_task(self, handle: TaskHandle[R]) -> None:
        """Put the task of the last start into the journal, with the next commit."""
        self.handle, entry = handle, self.entry
        entry.task_id, entry.state, entry.accepted_at = handle.id, "running", time.time()
        entry.starts += 1
        coins = self.estimate = self.cost(entry.quoted)
        self.is_estimate = handle.record.coins is None
        # one unknown cost makes the sum unknown
        entry.coins = None if coins is None or entry.coins is None else entry.coins + coins
        entry.quoted, entry.record = None, from_record(handle.record)
        self.batch.journal.write_soon(entry)

"""What is known of one job while it is under way, and what all jobs of a batch share."""

from __future__ import annotations

import asyncio
import pathlib
import time
from typing import Any, Literal

import attrs

from a2e_async._protocol.converter import from_record
from a2e_async.batch.budget_guard import Purse
from a2e_async.batch.circuit_breaker import Gate
from a2e_async.batch.jobs import Desk, Job
from a2e_async.batch.results import Stage
from a2e_async.batch.rules import Journal, Row
from a2e_async.batch.uploads import Links
from a2e_async.errors import A2EError
from a2e_async.tasks import TaskHandle

__all__ = ["Case", "Policy", "Shop", "StoppedError"]


class StoppedError(Exception):
    """Nothing is started any more. It never leaves the batch; its `reason` does."""

    def __init__(self, reason: A2EError) -> None:
        super().__init__()
        self.reason = reason


@attrs.frozen(kw_only=True)
class Policy:
    """What the caller of a batch wants; see `ImageToVideo.batch`."""

    out: pathlib.Path | None = None
    overwrite: bool = False
    retry_failed: int = 0
    on_shortage: Literal["wait", "stop"] = "wait"
    resend: bool | None = None
    timeout: float | None = 1800.0
    outage_budget: float | None = 600.0


@attrs.define(eq=False, kw_only=True)
class Shop:
    """What all jobs of a batch share.

    Attributes:
        starts: Places for starts that are being sent.
        running: Places for tasks that are under way.
        downloads: Places for downloads.
        started: Starts that A2E has accepted in this run.
        retried: How many of them were new starts for jobs that had failed.
        stopped: Why nothing is started any more, or None.
    """

    desk: Desk
    policy: Policy
    journal: Journal
    purse: Purse
    gate: Gate
    links: Links
    starts: asyncio.Semaphore
    running: asyncio.Semaphore
    downloads: asyncio.Semaphore
    bought: int = 0
    retried: int = 0
    stopped: A2EError | None = None

    @property
    def resends(self) -> bool:
        """Whether a start is sent once more if nobody knows what became of it."""
        return self.desk.resends if self.policy.resend is None else self.policy.resend

    def stop(self, reason: A2EError) -> None:
        """Let nothing be started any more."""
        self.stopped = self.stopped or reason
        self.gate.end()

    def check_open(self) -> None:
        """See that something may be started.

        Raises:
            StoppedError: Nothing is started any more.
        """
        if self.stopped is not None:
            raise StoppedError(self.stopped)


@attrs.define(eq=False)
class Case:
    """One job under way.

    Attributes:
        job: As it was given.
        shop: What it shares with the others.
        row: What the journal knows of it, or will.
        handle: Its task, if there is one.
        digests: The content of its local images, by their place among its images.
        read_at: When it was read, in seconds since the epoch.
        is_estimated: Whether A2E has not said yet what the task costs.
        estimate: What was counted instead, if anything.
    """

    shop: Shop
    job: Job
    row: Row = attrs.field(init=False)
    handle: TaskHandle[Any] | None = None
    stage: Stage = "checking"
    since: float = attrs.field(factory=lambda: time.monotonic())  # noqa: PLW0108  tests replace it in `time`
    digests: dict[int, str] = attrs.field(factory=dict)
    read_at: float = attrs.field(factory=lambda: time.time())  # noqa: PLW0108  tests replace it in `time`
    is_estimated: bool = False
    estimate: float | None = None

    def __attrs_post_init__(self) -> None:
        """Begin with a row that nobody has seen."""
        self.row = Row(key=self.job.key, created_at=self.read_at)

    def enter(self, stage: Stage) -> None:
        """Begin another stage."""
        self.stage, self.since = stage, time.monotonic()

    def charged(self, expected: float | None) -> float | None:
        """Return what the task has cost, or should have if A2E does not say."""
        coins: float | None = None if self.handle is None else self.handle.record.coins
        return expected if coins is None else coins

    def note_bought(self, handle: TaskHandle[Any]) -> None:
        """Count what was started in this run, and write it down soon."""
        self.shop.bought += 1
        self.shop.retried += self.row.purchases > 0
        self.note_task(handle)

    def note_task(self, handle: TaskHandle[Any]) -> None:
        """Write down soon which task the last start has made."""
        self.handle, row = handle, self.row
        row.task_id, row.state, row.accepted_at = handle.id, "running", time.time()
        row.purchases += 1
        coins = self.estimate = self.charged(row.quoted)
        self.is_estimated = handle.record.coins is None
        row.coins = None if coins is None or row.coins is None else row.coins + coins
        row.quoted, row.record = None, from_record(handle.record)
        self.shop.journal.note(row)

"""Contexts of a batch: what all jobs share, and what is known about one job, its last start and the cost of that."""

# How it works:
#
# * `JobContext` is passed around while a job runs: to its worker (`worker.py`), to the search in A2E's list
#   (`settling.py`) and to the download (`downloads.py`). All of them change its journal entry.
# * The cost of a start is an estimate at first: the quoted coins. What A2E names later, in a record of the task or in
#   the account, replaces it, in the entry and in the budget of the batch.

import asyncio
import math
import time
from typing import Generic, TypeVar

import attrs

from a2e_async._protocol.converter import from_record
from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.circuit_breaker import CircuitBreaker
from a2e_async.batch.file_names import FileNames
from a2e_async.batch.jobs import BatchApi, BatchOptions, Job
from a2e_async.batch.journal import Journal
from a2e_async.batch.results import Stage
from a2e_async.batch.rules import JournalEntry, Reservation
from a2e_async.batch.storage import StorageGuard
from a2e_async.batch.uploads import UploadCache
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)


@attrs.define(kw_only=True, eq=False, repr=False)
class BatchContext(Generic[R]):
    """What all jobs of a batch share.

    Attributes:
        first_slots: Bounds the jobs that upload files before any start is accepted: A2E may refuse the whole account,
            and charges for uploads.
        start_slots: Bounds the starts that are being sent.
        running_slots: Bounds the tasks at A2E.
        download_slots: Bounds the downloads.
        started: Starts that A2E has accepted in this run.
        retried: How many of them were new starts for jobs that had failed.
        names: The file names of the videos.
        opened_at: When the run began (`time.monotonic`).
        is_older_copy: Whether the journal has turned out to lack starts.
        list_read_at: When A2E's list was last read for such starts (`time.monotonic`).
        list_lock: Lets the others wait for the job that reads it.
    """

    api: BatchApi[R]
    options: BatchOptions
    journal: Journal
    budget: BudgetGuard
    breaker: CircuitBreaker
    storage: StorageGuard
    uploads: UploadCache
    first_slots: asyncio.Semaphore
    start_slots: asyncio.Semaphore
    running_slots: asyncio.Semaphore
    download_slots: asyncio.Semaphore
    started: int = 0
    retried: int = 0
    opened_at: float = attrs.field(init=False)
    names: FileNames = attrs.field(factory=FileNames)
    is_older_copy: bool = False
    list_read_at: float = -math.inf
    list_lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    def __attrs_post_init__(self) -> None:
        """Begin the run."""
        self.opened_at = time.monotonic()


@attrs.define(eq=False, repr=False)
class JobContext(Generic[R]):
    """What is known about one job while it runs.

    Attributes:
        batch: What the job shares with the other jobs.
        job: The job, as it was given.
        entry: Its journal entry, possibly not written yet.
        handle: Its task, if there is one.
        stage: What is being done for the job at the moment.
        stage_since: When that began (`time.monotonic`).
        read_at: When the job was read from the input.
        earlier_target: The file that an earlier run was going to write.
        was_sent: Whether the last start was sent in this run.
        reservation: The coins of the last start, until its price is known.
        counted: What `entry.coins` holds of the last start.
    """

    batch: BatchContext[R]
    job: Job
    entry: JournalEntry = attrs.field(init=False)
    handle: TaskHandle[R] | None = attrs.field(default=None, init=False)
    stage: Stage = attrs.field(default="checking", init=False)
    stage_since: float = attrs.field(init=False)
    read_at: float = attrs.field(init=False)
    earlier_target: str | None = attrs.field(default=None, init=False)
    was_sent: bool = attrs.field(default=False, init=False)
    reservation: Reservation | None = attrs.field(default=None, init=False)
    counted: float = attrs.field(default=0, init=False)
    # whether `counted` is only expected
    _is_estimate: bool = attrs.field(default=False, init=False)
    # the record that `entry.record` was made of
    _kept: R | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Make a new journal entry."""
        self.read_at, self.stage_since = time.time(), time.monotonic()
        self.entry = JournalEntry(key=self.job.key, created_at=self.read_at)

    def resume(self, entry: JournalEntry) -> None:
        """Continue with an entry of an earlier run, whose coins hold the last start."""
        self.entry, self.earlier_target = entry, entry.target
        if entry.state != "running":
            return
        record = self.batch.api.known_task(str(entry.task_id), entry.record).record
        named = record.coins if record.coins is not None and record.coins >= 0 else None
        # Case 1: the only start. Case 2: one after others, with its price.
        # Case 3: one after others, without it, so that the sum stays as it is.
        self.counted = (entry.coins or 0) if entry.starts <= 1 else math.inf if named is None else named
        self._is_estimate = entry.starts <= 1 and not named

    def enter(self, stage: Stage) -> None:
        """Begin a stage."""
        self.stage, self.stage_since = stage, time.monotonic()

    def task(self) -> TaskHandle[R]:
        """Return the handle of the task, with the record that the journal has if A2E has not been asked yet."""
        if self.handle is None:
            self.handle = self.batch.api.known_task(str(self.entry.task_id), self.entry.record)
        return self.handle

    def record_start(self, handle: TaskHandle[R]) -> None:
        """Count a start that A2E has accepted in this run, and record its task."""
        self.batch.started += 1
        self.batch.retried += self.entry.starts > 0
        self.record_task(handle)

    def record_task(self, handle: TaskHandle[R]) -> None:
        """Put the task of the last start into the journal, with the next commit."""
        self.handle, entry = handle, self.entry
        entry.task_id, entry.state, entry.accepted_at = handle.id, "running", time.time()
        # A2E's clock can be ahead, and counts whole seconds. Nothing depends on the time of an accepted start.
        if entry.sent_at is not None:
            entry.sent_at = min(entry.sent_at, entry.accepted_at)
        entry.starts += 1
        coins = self.cost(entry.quoted)
        self.counted, self._is_estimate = coins or 0, not self.named_coins()
        # one unknown cost makes the sum unknown
        entry.coins = None if coins is None or entry.coins is None else entry.coins + coins
        entry.quoted = None
        self.keep_record()
        self.batch.journal.write_soon(entry)

    def keep_record(self) -> None:
        """Put the record of the task into the journal entry, in A2E's form, if there is a journal file."""
        record = self.task().record
        if record is not self._kept and self.batch.options.journal is not None:
            self._kept, self.entry.record = record, from_record(record)

    def named_coins(self) -> float | None:
        """Return the coins in the record of the task, None if A2E has named none. A negative number is no price."""
        coins = None if self.handle is None else self.handle.record.coins
        return coins if coins is not None and coins >= 0 else None

    def cost(self, expected: float | None) -> float | None:
        """Return what the task has cost, or the expected price as long as A2E has named none, or 0."""
        named = self.named_coins()
        return named if named or expected is None else expected

    def correct_cost(self, coins: float | None) -> None:
        """Count what A2E has told about the cost of the last start later: instead of an estimate, or if it is more."""
        if coins is not None and (self._is_estimate or coins > self.counted):
            more, self.counted, self._is_estimate = coins - self.counted, coins, False
            self.entry.coins = (self.entry.coins or 0) + more
            self.batch.budget.adjust(more)

    async def learn_price(self, *, ended: bool) -> None:
        """Find out what the last start has cost, so that the next one of its kind can be sent."""
        budget, named = self.batch.budget, self.named_coins()
        if self.reservation is None:
            # a task of an earlier run, whose price was to be learned as well
            budget.budget.is_unclear |= ended and self.entry.coins is None
            return
        price = await budget.learn_price(self.reservation, named, ended=ended)
        self.correct_cost(price)
        if price is not None or ended:
            # A2E refunds a failed task by this: the next start can find out the price.
            is_refunded = named == 0 and self.entry.state == "failed"
            budget.release(self.reservation, accepted=not is_refunded)
            if price is None and self.reservation.alone and not is_refunded:
                self.entry.coins = None  # a quote that nothing has confirmed is no cost; the next run sees that too
            self.reservation = None

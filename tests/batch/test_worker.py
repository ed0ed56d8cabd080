"""Worker of one job, against an API in memory: when it reads A2E's list for an earlier start, and how often it starts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from batches import make_job
from virtual_clock import now

from a2e_async import ImageToVideoRecord, SubmissionUncertainError, TaskFailedError, TaskStatus
from a2e_async.batch import rules
from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.circuit_breaker import CircuitBreaker
from a2e_async.batch.jobs import BatchOptions, Job, PreparedStart
from a2e_async.batch.journal import Journal
from a2e_async.batch.rules import Budget, EntryState, JournalEntry
from a2e_async.batch.uploads import UploadCache, stored_request
from a2e_async.batch.worker import BatchContext, JobWorker

if TYPE_CHECKING:
    from a2e_async.batch import JobResult
    from a2e_async.batch.jobs import BatchApi

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

LISTED_AFTER = 20.0
JOB = make_job("a")
REQUEST = stored_request(JOB, {"url": JOB.image_url}, None)
PRICE = 30.0


@attrs.define
class Handle:
    """Task that ends at once."""

    id: str
    fails: bool
    coins: float | None = None

    @property
    def record(self) -> ImageToVideoRecord:
        """The record of the task."""
        status = TaskStatus.FAILED if self.fails else TaskStatus.SUCCEEDED
        return ImageToVideoRecord(id=self.id, status=status, coins=self.coins)

    async def wait_until_done(self, timeout: float | None, *, outage_budget: float | None) -> None:
        """Return, or fail."""
        if self.fails:
            msg = "no face"
            raise TaskFailedError(msg, task_id=self.id)


@attrs.define
class InMemoryApi:
    """API of a batch, in memory.

    Attributes:
        failing: How many of its tasks fail, the first ones.
        listed: Whether its list shows the earlier start, from the second reading on.
        ages: The age of each start that was looked for.
        started: The markers of all starts.
    """

    failing: int = 0
    listed: bool = False
    ages: list[float] = attrs.field(factory=list)
    started: list[str] = attrs.field(factory=list)
    marks_names: bool = True
    resends: bool = False
    extension: str = ".mp4"
    listed_after: float = LISTED_AFTER

    async def prepare(self, job: Job) -> PreparedStart:
        """Take any job."""
        return PreparedStart(body={}, inputs={"image_url": job.image_url, "end_image_url": None})

    async def start(self, body: dict[str, Any], *, marker: str, resend: bool, on_late: object) -> Handle:
        """Start a task."""
        self.started.append(marker)
        return Handle(f"t{len(self.started)}", len(self.started) <= self.failing, PRICE)

    async def reconcile(self, marker: str, age: float) -> Handle | None:
        """Look for an earlier start."""
        self.ages.append(round(age, 3))
        return Handle("earlier", fails=False) if self.listed and len(self.ages) > 1 else None

    def known_task(self, task_id: str, raw: dict[str, Any] | None) -> Handle:
        """Return a task that ended earlier."""
        return Handle(task_id, fails=True)


@attrs.define(eq=False)
class KnownEntry(Journal):
    """Journal that has one entry."""

    entry: JournalEntry | None = None

    async def load(self, key: str) -> JournalEntry | None:
        """Return the entry."""
        return self.entry


async def run(
    fake: InMemoryApi, entry: JournalEntry | None = None, **changes: Any
) -> tuple[JobResult[Any], BatchContext[Any]]:
    """Run a job, and return its result and what it shares with other jobs."""
    api, journal, breaker = cast("BatchApi[Any]", fake), KnownEntry(entry), CircuitBreaker()
    options: dict[str, Any] = dict.fromkeys(field.name for field in attrs.fields(BatchOptions))
    options |= {"retry_failed": 0, "resend": False} | changes
    batch: BatchContext[Any] = BatchContext(
        api=api,
        options=BatchOptions(**options),
        journal=journal,
        budget=BudgetGuard(api, Budget(None, spent=0 if entry is None else entry.quoted or 0)),
        breaker=breaker,
        uploads=UploadCache(api, journal, breaker, asyncio.Semaphore(1)),
        start_slots=asyncio.Semaphore(1),
        running_slots=asyncio.Semaphore(1),
        download_slots=asyncio.Semaphore(1),
    )
    result = await JobWorker(batch, JOB).run()
    assert not batch.running_slots.locked()
    assert not batch.start_slots.locked()
    return result, batch


def make_entry(state: EntryState, **changes: Any) -> JournalEntry:
    """Make the entry of an earlier run."""
    return JournalEntry(key="a", state=state, request=REQUEST, **{"marker": "7f3k2m9q4d", "created_at": 0.0, **changes})


# an earlier start


@pytest.mark.parametrize(
    ("state", "age", "ages", "starts"),
    [
        pytest.param("sending", 0.0, [0.0, LISTED_AFTER], 1, id="crashed just now"),
        pytest.param("sending", 5.0, [5.0, LISTED_AFTER], 1, id="crashed seconds ago"),
        pytest.param("sending", LISTED_AFTER - 0.5, [LISTED_AFTER - 0.5, LISTED_AFTER], 1, id="half a second left"),
        pytest.param("sending", LISTED_AFTER, [LISTED_AFTER], 1, id="crashed when A2E would have listed it"),
        pytest.param("sending", rules.LISTED_UNTIL - 1, [rules.LISTED_UNTIL - 1], 1, id="crashed days ago"),
        pytest.param("sending", rules.LISTED_UNTIL, [rules.LISTED_UNTIL], 0, id="crashed too long ago"),
        pytest.param("sending", -100.0, [0.0], 1, id="crashed in the future: the clock was set back"),
        pytest.param("uncertain", 0.0, [0.0], 0, id="lost its answer just now"),
        pytest.param("uncertain", rules.LISTED_AFTER - 1, [rules.LISTED_AFTER - 1], 0, id="lost its answer"),
        pytest.param("uncertain", rules.LISTED_AFTER, [rules.LISTED_AFTER], 1, id="lost its answer long ago"),
        pytest.param("uncertain", -100.0, [0.0], 0, id="lost its answer in the future"),
    ],
)
async def test_earlier_start_that_is_not_listed(
    state: EntryState, *, age: float, ages: list[float], starts: int
) -> None:
    """A2E's list is read at once, and after a crash again when it certainly shows the task; then it is started, or uncertain."""
    api = InMemoryApi()
    result, batch = await run(api, make_entry(state, sent_at=time.time() - age, quoted=PRICE))
    assert (api.ages, len(api.started)) == (ages, starts)
    assert now() == round(ages[-1] - ages[0], 3)
    assert batch.budget.budget.spent == PRICE  # of the earlier start, or of the new one
    if starts:
        assert (result.state, result.starts, result.coins) == ("succeeded", 1, PRICE)
    else:
        assert (result.state, result.starts, result.coins) == ("uncertain", 0, None)
        assert isinstance(result.error, SubmissionUncertainError)


async def test_earlier_start_that_is_listed_late() -> None:
    """A task that A2E's list shows only in the second reading is adopted, and not started again."""
    api = InMemoryApi(listed=True)
    result, batch = await run(api, make_entry("sending", sent_at=time.time() - 5, quoted=PRICE))
    assert (api.ages, api.started) == ([5.0, LISTED_AFTER], [])
    assert (result.state, result.task_id, result.starts, result.coins) == ("succeeded", "earlier", 1, PRICE)
    assert (batch.started, batch.budget.budget.spent) == (0, PRICE)


async def test_earlier_start_without_a_time() -> None:
    """Without the time of the start, the time at which the job was read counts."""
    api = InMemoryApi()
    await run(api, make_entry("sending", created_at=time.time() - 7))
    assert api.ages == [7.0, LISTED_AFTER]


# retries


@pytest.mark.parametrize("allowed", [0, 1, 2, 5])
async def test_starts_of_a_job_whose_tasks_fail(allowed: int) -> None:
    """A job is started once, and then `retry_failed` times; each start has its own marker, and is counted."""
    api = InMemoryApi(failing=100)
    result, batch = await run(api, retry_failed=allowed)
    assert len(set(api.started)) == len(api.started) == 1 + allowed
    assert (result.state, result.starts, result.coins) == ("failed", 1 + allowed, PRICE * (1 + allowed))
    assert (batch.started, batch.retried) == (1 + allowed, allowed)


@pytest.mark.parametrize("state", ["failed", "running"])
@pytest.mark.parametrize(("earlier", "allowed", "starts"), [(1, 0, 0), (1, 1, 1), (1, 3, 3), (3, 2, 0), (3, 3, 1)])
async def test_starts_of_earlier_runs_count(state: EntryState, earlier: int, allowed: int, starts: int) -> None:
    """`retry_failed` limits the new starts of all runs together, also if the task of an earlier run fails only now."""
    api = InMemoryApi(failing=100)
    error = {"type": "TaskFailedError", "message": "no face"}
    result, batch = await run(
        api, make_entry(state, starts=earlier, task_id="t0", coins=PRICE * earlier, error=error), retry_failed=allowed
    )
    assert (len(api.started), batch.retried) == (starts, starts)
    assert (result.state, result.starts, result.coins) == ("failed", earlier + starts, PRICE * (earlier + starts))
    assert isinstance(result.error, TaskFailedError)


@pytest.mark.parametrize(("failing", "starts"), [(0, 1), (1, 2), (3, 4)])
async def test_retries_end_with_the_first_success(failing: int, starts: int) -> None:
    """As soon as a task succeeds, nothing more is started."""
    api = InMemoryApi(failing=failing)
    result, _ = await run(api, retry_failed=3)
    assert (result.state, result.task_id, len(api.started)) == ("succeeded", f"t{starts}", starts)

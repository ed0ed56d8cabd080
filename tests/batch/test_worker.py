"""Worker of one job, against an API in memory: when it reads A2E's list for an earlier start, and how often it starts."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from batches import make_job
from virtual_clock import now

from a2e_async import ImageToVideoRecord, SubmissionUncertainError, TaskFailedError, TaskStatus
from a2e_async._protocol.server_clock import SERVER_SKEW
from a2e_async._submission.evidence import ListState, Verdict, certain_age, judge
from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.circuit_breaker import CircuitBreaker
from a2e_async.batch.context import BatchContext, JobContext
from a2e_async.batch.jobs import BatchOptions, Job, PreparedStart
from a2e_async.batch.journal import Journal
from a2e_async.batch.rules import Budget, EntryState, JournalEntry
from a2e_async.batch.storage import StorageGuard
from a2e_async.batch.uploads import UploadCache, stored_request
from a2e_async.batch.worker import JobWorker

if TYPE_CHECKING:
    from a2e_async.batch import JobResult
    from a2e_async.batch.jobs import BatchApi

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

SETTLE_TIME = 20.0
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
        newest: Age of the newest other record in its list, in seconds.
        ahead: Seconds by which this machine's clock is ahead of A2E's.
        ages: The age of the start at each reading of the list.
        started: The markers of all starts.
    """

    failing: int = 0
    listed: bool = False
    newest: float = math.inf
    ahead: float = 0.0
    ages: list[float] = attrs.field(factory=list)
    started: list[str] = attrs.field(factory=list)
    marks_names: bool = True
    resends: bool = False
    extension: str = ".mp4"
    settle_time: float = SETTLE_TIME

    async def prepare(self, job: Job) -> PreparedStart:
        """Take any job."""
        return PreparedStart(body={}, inputs={"image_url": job.image_url, "end_image_url": None})

    async def start(
        self, body: dict[str, Any], *, marker: str, resend: bool, on_post: object, on_late: object
    ) -> Handle:
        """Start a task."""
        self.started.append(marker)
        return Handle(f"t{len(self.started)}", len(self.started) <= self.failing, PRICE)

    async def latest_time(self) -> float:
        """Return the time of A2E's clock."""
        return time.time() - self.ahead

    async def find_listed(self, marker: str, *, fresh: bool) -> None:
        """Find nothing: the journals here are no older copies."""

    async def reconcile(
        self, marker: str, sent_at: float, *, waited: float, settle_time: float
    ) -> tuple[Handle | None, Verdict, float]:
        """Look for an earlier start."""
        read_at = await self.latest_time()
        self.ages.append(round(read_at - sent_at, 3))
        handle = Handle("earlier", fails=False) if self.listed and len(self.ages) > 1 else None
        state = ListState(read_at=read_at, newest=read_at - self.newest)
        times: dict[str, float] = {"sent_at": sent_at, "waited": waited}
        verdict = judge(state, found=handle is not None, **times, accept_time=10.0, settle_time=settle_time)
        return handle, verdict, certain_age(state, **times)

    def known_task(self, task_id: str, raw: dict[str, Any] | None) -> Handle:
        """Return a task that ended earlier."""
        return Handle(task_id, fails=True)


@attrs.define(eq=False)
class KnownEntry(Journal):
    """Journal that has one entry."""

    entry: JournalEntry | None = None

    def __attrs_post_init__(self) -> None:
        """Be the journal of an earlier run, if it has an entry."""
        self.is_new = self.entry is None

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
        storage=StorageGuard(breaker, None, 1),
        uploads=UploadCache(api, journal, breaker, asyncio.Semaphore(1)),
        first_slots=asyncio.Semaphore(1),
        start_slots=asyncio.Semaphore(1),
        running_slots=asyncio.Semaphore(1),
        download_slots=asyncio.Semaphore(1),
    )
    result = await JobWorker(JobContext(batch, JOB)).run()
    assert not batch.running_slots.locked()
    assert not batch.start_slots.locked()
    return result, batch


def make_entry(state: EntryState, **changes: Any) -> JournalEntry:
    """Make the entry of an earlier run."""
    return JournalEntry(key="a", state=state, request=REQUEST, **{"marker": "7f3k2m9q4d", "created_at": 0.0, **changes})


# an earlier start


SETTLED = SETTLE_TIME + SERVER_SKEW
LOST = 3 * SETTLE_TIME


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -3600.0])
@pytest.mark.parametrize(
    ("state", "age", "wait", "starts"),
    [
        pytest.param("sending", 0.0, SETTLE_TIME, 1, id="crashed just now"),
        pytest.param("sending", 5.0, SETTLE_TIME, 1, id="crashed seconds ago"),
        pytest.param("sending", SETTLED - 0.5, 0.5, 1, id="half a second left"),
        pytest.param("sending", SETTLED, 0.0, 1, id="crashed when A2E would have listed it"),
        pytest.param("sending", 2 * 86400.0, 0.0, 1, id="crashed days ago"),
        pytest.param("sending", 3 * 86400.0, 0.0, 0, id="crashed too long ago"),
        pytest.param("sending", -100.0, SETTLE_TIME, 1, id="crashed in the future"),
        pytest.param("uncertain", 0.0, LOST, 1, id="lost its answer just now"),
        pytest.param("uncertain", LOST, SERVER_SKEW, 1, id="lost its answer minutes ago"),
        pytest.param("uncertain", LOST + SERVER_SKEW, 0.0, 1, id="lost its answer long ago"),
        pytest.param("uncertain", 3 * 86400.0, 0.0, 0, id="lost its answer too long ago"),
        pytest.param("uncertain", -100.0, LOST, 1, id="lost its answer in the future"),
    ],
)
async def test_earlier_start_that_is_not_listed(
    state: EntryState, *, age: float, wait: float, starts: int, ahead: float
) -> None:
    """An earlier start is sent again when A2E must have listed it, by A2E's clock; it stays uncertain if it is too old."""
    api = InMemoryApi(ahead=ahead)
    result, batch = await run(api, make_entry(state, sent_at=await api.latest_time() - age, quoted=PRICE))
    assert (round(api.ages[-1] - api.ages[0], 3), len(api.started)) == (wait, starts)
    assert now() == round(wait, 3)
    assert batch.budget.budget.spent == PRICE  # of the earlier start, or of the new one
    if starts:
        assert (result.state, result.starts, result.coins) == ("succeeded", 1, PRICE)
    else:
        assert (result.state, result.starts, result.coins) == ("uncertain", 0, None)
        assert isinstance(result.error, SubmissionUncertainError)


async def test_earlier_start_that_is_too_old_by_one_clock() -> None:
    """If the clocks differ by days, the one by which the start is older counts: a paid task may have left the list."""
    api = InMemoryApi(ahead=86400.0)
    result, _ = await run(api, make_entry("sending", sent_at=await api.latest_time() - 2 * 86400.0, quoted=PRICE))
    assert (result.state, api.started) == ("uncertain", [])


@pytest.mark.parametrize("state", ["sending", "uncertain"])
async def test_list_with_a_newer_record(state: EntryState) -> None:
    """A record that was created after the start must have been accepted settles it at once."""
    api = InMemoryApi(newest=1.0)
    _, _ = await run(api, make_entry(state, sent_at=time.time() - 12.0 - SERVER_SKEW, quoted=PRICE))
    assert (now(), len(api.ages), len(api.started)) == (0.0, 1, 1)


async def test_earlier_start_that_is_listed_late() -> None:
    """A task that A2E's list shows only in the second reading is adopted, and not started again."""
    api = InMemoryApi(listed=True)
    result, batch = await run(api, make_entry("sending", sent_at=time.time() - 5, quoted=PRICE))
    assert (api.ages, api.started) == ([5.0, 5.0 + SETTLE_TIME], [])
    assert (result.state, result.task_id, result.starts, result.coins) == ("succeeded", "earlier", 1, PRICE)
    assert (batch.started, batch.budget.budget.spent) == (0, PRICE)


async def test_earlier_start_without_a_time() -> None:
    """Without the time of the start, the time at which the job was read counts."""
    api = InMemoryApi()
    await run(api, make_entry("sending", created_at=time.time() - 7))
    assert api.ages == [7.0, 7.0 + SETTLE_TIME]


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

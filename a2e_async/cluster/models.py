"""What a cluster tells about its jobs, its workers and itself."""

import datetime as dt
from typing import Any, Literal, TypeAlias

import attrs

from a2e_async._values import Value
from a2e_async.batch.results import error_from_json, utc
from a2e_async.batch.rules import JournalEntry
from a2e_async.errors import A2EError

ClusterJobState: TypeAlias = Literal["queued", "starting", "running", "storing", "succeeded", "failed", "uncertain"]
"""State of a job of a cluster. The last three are final, until `Cluster.retry`."""

FINAL: frozenset[ClusterJobState] = frozenset({"succeeded", "failed", "uncertain"})

STATE = """CASE
    WHEN ended AND state = 'succeeded' THEN 'succeeded'
    WHEN ended AND state IN ('new', 'failed') THEN 'failed'
    WHEN ended THEN 'uncertain'
    WHEN state = 'succeeded' THEN 'storing'
    WHEN state = 'running' THEN 'running'
    WHEN state IN ('new', 'failed') AND worker IS NULL THEN 'queued'
    ELSE 'starting'
END"""
"""The state of a row of `a2e_jobs`, in SQL."""

COLUMNS = (
    f"key, position, name, {STATE}, request, task_id, marker, coins, starts, tries, error, record, output, worker, "
    "created_at, sent_at, accepted_at, finished_at"
)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClusterJob(Value):
    """What the database knows about one job at one moment.

    Attributes:
        key: Your name for the job.
        position: Its number in the order in which jobs were queued.
        state: ``"queued"``: no worker has it. ``"starting"``: its start is being prepared, sent, or looked up at A2E.
            ``"running"``: A2E has accepted it. ``"storing"``: A2E has made the result, which is not stored yet.
            ``"succeeded"``, ``"failed"`` and ``"uncertain"`` as in `JobResult`.
        name: The name of its file.
        request: Its options. An image is ``{"url": ...}``, or ``{"sha256": ..., "path": ...}``.
        task_id: A2E's id of its last task, or None.
        marker: The marker in the name of the task, empty before the first start.
        coins: What its tasks have cost, None if that is unknown.
        starts: How many starts A2E has accepted.
        tries: How often a worker has taken it.
        error: What went wrong, or None. If a job has succeeded, its result could not be stored.
        record: The last record of the task, in A2E's form, or None. It has links that are valid for about 3 days: keep
            it out of logs.
        output: Where the result is, as `ResultSink.store` has returned it, or None.
        worker: The worker that has it, or None.
        created_at: When it was queued (UTC).
        sent_at: When the last start was sent (UTC), or None.
        accepted_at: When A2E accepted the last start (UTC), or None.
        finished_at: When its task ended (UTC), or None.
    """

    key: str
    position: int = attrs.field(repr=False)
    state: ClusterJobState
    name: str = attrs.field(repr=False)
    request: dict[str, Any] = attrs.field(repr=False)
    task_id: str | None = None
    marker: str = ""
    coins: float | None = None
    starts: int = 0
    tries: int = 0
    error: A2EError | None = None
    record: dict[str, Any] | None = attrs.field(default=None, repr=False)
    output: str | None = None
    worker: str | None = None
    created_at: dt.datetime = attrs.field(repr=False)
    sent_at: dt.datetime | None = attrs.field(default=None, repr=False)
    accepted_at: dt.datetime | None = attrs.field(default=None, repr=False)
    finished_at: dt.datetime | None = attrs.field(default=None, repr=False)

    @property
    def ended(self) -> bool:
        """Whether no worker does anything more about it."""
        return self.state in FINAL

    @property
    def ok(self) -> bool:
        """Whether it has succeeded and its result is stored. Nothing is left to do."""
        return self.state == "succeeded" and self.error is None


def to_job(row: tuple[Any, ...]) -> ClusterJob:
    """Return a row with the `COLUMNS` as a `ClusterJob`."""
    key, position, name, state, request, task_id, marker, coins, starts, tries, error, record, output, worker = row[:14]
    entry = JournalEntry(key=key, created_at=0.0, error=error, task_id=task_id)
    times = [None if seconds is None else utc(seconds) for seconds in row[14:]]
    return ClusterJob(
        key=key,
        position=position,
        state=state,
        name=name,
        request=request,
        task_id=task_id,
        marker=marker,
        coins=coins,
        starts=starts,
        tries=tries,
        error=None if error is None else error_from_json(entry),
        record=record,
        output=output,
        worker=worker,
        created_at=times[0] or utc(0.0),
        sent_at=times[1],
        accepted_at=times[2],
        finished_at=times[3],
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Enqueued(Value):
    """What `Cluster.enqueue` has done.

    Attributes:
        added: Jobs that are new.
        known: Jobs that were queued before, with the same input. They may be done by now.
    """

    added: int = 0
    known: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WorkerStatus(Value):
    """What a worker was doing when it was last seen.

    Attributes:
        name: Its name.
        jobs: Jobs that it had.
        waits: How many of them were in each stage, such as ``{"running": 17, "starting": 2}``; see `Stage`. A
            job in ``"paused"`` waits for the end of a pause, one in ``"budget"`` for more coins.
        seen_at: When that was (UTC).
        alive: Whether it was seen recently: others take over the jobs of one that was not, after its `stall_timeout`.
    """

    name: str
    jobs: int
    waits: dict[str, int]
    seen_at: dt.datetime
    alive: bool


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClusterStatus(Value):
    """A cluster at one moment.

    Attributes:
        counts: How many jobs are in each state; all states are there.
        coins: What all jobs have cost so far, as far as that is known.
        workers: The workers that were seen in the last hour.
        paused: Why nothing is started at the moment, empty if the cluster is not paused.
        max_running: See `Cluster.set_limits`.
        max_coins: As before.
        per_second: As before.
        ended_last_minute: Tasks that ended in the last minute.
        oldest_queued_at: When the oldest job in the queue was queued (UTC), or None.
    """

    counts: dict[ClusterJobState, int]
    coins: float = 0.0
    workers: tuple[WorkerStatus, ...] = ()
    paused: str = ""
    max_running: int | None = None
    max_coins: float | None = None
    per_second: float | None = None
    ended_last_minute: int = 0
    oldest_queued_at: dt.datetime | None = None

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Jobs that have ended."""
        return sum(count for state, count in self.counts.items() if state in FINAL)

    @property
    def open(self) -> int:
        """Jobs that have not ended."""
        return self.total - self.done

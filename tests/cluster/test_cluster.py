"""Tests of workers that run in the process of the test, against the sandbox and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from aiohttp import web
from batches import (
    PRICE,
    count_charges,
    count_uploads,
    finish_task,
    key_of_task,
    make_job,
    make_jobs,
    make_jobs_with_images,
    shorten_pauses,
    spent_coins,
)
from conditions import wait_until
from paid_starts import count_starts, make_client

from a2e_async import RetryPolicy
from a2e_async.batch import Job
from a2e_async.cluster import Cluster, ClusterJob, FolderSink, PostgresKeyStore, ResultFile, Worker, worker_run
from a2e_async.cluster.journal import ClaimLostError, PostgresJournal, current_claim
from a2e_async.errors import (
    BadRequestError,
    ClusterError,
    ConfigurationError,
    InvalidRequestError,
    KeyStoreError,
    TransferError,
)
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Awaitable, Callable

    from local_postgres import LocalPostgres

    from a2e_async.batch.rules import JournalEntry

pytestmark = pytest.mark.process("PostgreSQL is a process, which has no virtual time")

FAST: dict[str, Any] = {"heartbeat": 0.1, "stall_timeout": 1.0, "poll_interval": 0.1}
"""Times of workers that notice everything soon."""


@contextlib.asynccontextmanager
async def running(
    database: str, sandbox: Sandbox, folder: pathlib.Path | None = None, **options: Any
) -> AsyncIterator[Worker]:
    """Run a worker with a client and a cluster object of its own, as another process does."""
    config = {name: options.pop(name) for name in ("start", "retry") if name in options}
    sink = options.pop("sink", None if folder is None else FolderSink(folder, min_free=0))
    async with Cluster(database) as cluster, make_client(sandbox, **config) as client:
        worker = Worker(cluster, client, sink, **FAST | options)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task


async def all_results(cluster: Cluster, jobs: list[Job]) -> dict[str, ClusterJob]:
    """Wait for jobs, and return them by key."""
    return {job.key: await cluster.result(job.key, timeout=30) for job in jobs}


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until an asynchronous condition is true."""
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(0.02)


async def counts(cluster: Cluster) -> dict[str, int]:
    """Return how many jobs are in each state, without the empty ones."""
    return {str(state): count for state, count in (await cluster.status()).counts.items() if count}


# results


async def test_two_workers(cluster: Cluster, ready_database: str, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Two workers make all videos once, store each, and show what they do."""
    jobs = make_jobs(20)
    await cluster.enqueue(jobs)
    async with (
        running(ready_database, sandbox, tmp_path, name="a"),
        running(ready_database, sandbox, tmp_path, name="b"),
    ):
        results = await all_results(cluster, jobs)
        status = await cluster.status()
        assert [worker.name for worker in status.workers if worker.alive] == ["a", "b"]
    assert all(job.ok for job in results.values())
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert {job.output for job in results.values()} == {str(path) for path in tmp_path.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {f"{key}.mp4" for key in results}
    status = await cluster.status()
    assert (status.counts["succeeded"], status.done, status.total, status.coins) == (20, 20, 20, spent_coins(sandbox))
    assert (status.workers, status.ended_last_minute) == ((), 20)
    assert await cluster._open.queue.has_open() is False


async def test_updates(cluster: Cluster, ready_database: str, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The states of a job come in their order, each once, and end with its result."""
    await cluster.enqueue(make_job("ada", "#stuck"))
    async with running(ready_database, sandbox, tmp_path):
        seen = []
        async with contextlib.aclosing(cluster.updates("ada")) as updates:
            async for job in updates:
                seen.append(job.state)
                if job.state == "running":
                    await finish_task(sandbox, "ada")
    order = ["queued", "starting", "running", "storing", "succeeded"]
    assert seen == [state for state in order if state in seen]
    assert {"running", "succeeded"} <= {*seen}
    assert (job.ok, job.coins, job.starts, job.task_id) == (True, PRICE, 1, next(iter(sandbox.tasks)))
    assert job.record is not None
    assert job.record["_id"] == job.task_id
    assert job.sent_at is not None
    assert job.finished_at is not None


async def test_notifications(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """A job costs two notifications, and a worker has one connection that listens: the server wakes each of them."""
    told: list[str] = []
    async with await cluster._open.database.connect() as connection, running(ready_database, sandbox):
        await connection.execute("LISTEN a2e_jobs")
        connection.add_notify_handler(lambda notification: told.append(notification.payload))
        await cluster.enqueue(make_job("ada"))
        await until(lambda: has_counts(cluster, succeeded=1))
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        listening = await (await connection.execute(query)).fetchall()
    assert told == ["ada", "ada"]
    assert listening == [(1,)]


async def test_a_worker_that_is_gone(cluster: Cluster) -> None:
    """A worker counts as alive until others take over its jobs."""
    query = "INSERT INTO a2e_workers VALUES (%s, '{}', now() - make_interval(secs => 5), %s)"
    for name, stall_timeout in (("gone", 3.0), ("slow", 30.0)):
        await cluster._open.database.execute(query, name, stall_timeout)
    assert {worker.name: worker.alive for worker in (await cluster.status()).workers} == {"gone": False, "slow": True}


async def test_images(cluster: Cluster, ready_database: str, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Images are uploaded when they are queued, or by the worker; equal ones once. A missing file fails its job."""
    jobs = make_jobs_with_images(tmp_path, 3)
    await cluster.enqueue(
        [*jobs, Job(**attrs.asdict(jobs[0]) | {"key": "again"}), make_job("gone", image=jobs[2].image)]
    )
    async with make_client(sandbox) as client:
        uploaded = make_job("uploaded", image=quick.PNG + b"other")
        await cluster.enqueue(uploaded, client=client)
    (tmp_path / "2.png").unlink()
    async with running(ready_database, sandbox):
        results = [await cluster.result(key, timeout=20) for key in ("k0", "k1", "k2", "again", "uploaded", "gone")]
    assert [job.state for job in results] == ["succeeded"] * 2 + ["failed"] + ["succeeded"] * 2 + ["failed"]
    assert isinstance(results[-1].error, InvalidRequestError)
    assert count_uploads(sandbox) == 3


async def test_failures_and_retries(
    cluster: Cluster, ready_database: str, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """A failed task, and a rejected start, are errors; `retry` starts them once more, and a task that succeeded never."""
    await cluster.enqueue([make_job("good"), make_job("bad", "#stuck"), make_job("rejected")])

    async def reject(request: web.Request) -> web.Response | None:
        is_rejected = "of rejected" in (await request.json())["prompt"]
        return web.json_response({"code": 400, "msg": "Bad image"}, status=400) if is_rejected else None

    async with running(ready_database, sandbox, tmp_path):
        with sandbox.override("POST", quick.START_PATH, reject):
            await finish_task(sandbox, "bad", succeeded=False)
            results = [await cluster.result(key, timeout=20) for key in ("good", "bad", "rejected")]
        assert [job.state for job in results] == ["succeeded", "failed", "failed"]
        assert [job.ok for job in results] == [True, False, False]
        assert isinstance(results[2].error, BadRequestError)
        assert await cluster.retry(["good"]) == 0
        assert await cluster.retry() == 2
        await finish_task(sandbox, "bad")
        results = [await cluster.result(key, timeout=20) for key in ("good", "bad", "rejected")]
    assert all(job.ok for job in results)
    assert [job.starts for job in results] == [1, 2, 1]
    assert len(sandbox.tasks) == 4


@attrs.define
class BrokenSink:
    """Sink that fails a number of times."""

    errors: list[Exception]
    stored: list[str] = attrs.field(factory=list)

    async def check(self) -> None:
        """Do nothing."""

    async def store(self, result: ResultFile) -> str:
        """Fail, or remember the name."""
        if self.errors:
            raise self.errors.pop(0)
        self.stored.append(result.name)
        return f"memory:{result.name}"


async def test_a_storage_that_fails(
    cluster: Cluster, ready_database: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that cannot be stored is stored later, without another start; in the end the job has an error."""
    monkeypatch.setattr(worker_run, "_FIRST_SETBACK", 0.05)
    monkeypatch.setattr(worker_run, "_MAX_SETBACKS", 3)
    jobs = make_jobs(1)
    await cluster.enqueue(jobs)
    async with running(ready_database, sandbox, sink=BrokenSink([TransferError("no room")] * 5)):
        job = await cluster.result("k0", timeout=20)
        assert (job.state, job.ok, job.output) == ("succeeded", False, None)
        assert isinstance(job.error, TransferError)
        assert await cluster.retry() == 1
        job = await cluster.result("k0", timeout=20)
        assert (job.ok, job.output) == (True, "memory:k0.mp4")
    await cluster.enqueue(make_job("taken"))
    async with running(ready_database, sandbox, sink=BrokenSink([InvalidRequestError("exists")])):
        job = await cluster.result("taken", timeout=20)
    assert (job.state, job.ok) == ("succeeded", False)
    assert count_starts(sandbox) == 2


async def test_a_sink_that_cannot_be_used(cluster: Cluster, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Nothing is started if results cannot be stored, or tasks not be found again, or are at another A2E."""
    (tmp_path / "file").touch()
    await cluster.enqueue(make_jobs(1))
    async with make_client(sandbox) as client:
        with pytest.raises(TransferError):
            await Worker(cluster, client, FolderSink(tmp_path / "file", min_free=0)).run()
        async with make_client(sandbox, start=attrs.evolve(quick.CONFIG.start, mark_names=False)) as unmarked:
            with pytest.raises(ConfigurationError, match="mark_names"):
                await Worker(cluster, unmarked).run()
        await cluster._open.account.database.execute("UPDATE a2e_account SET base_url = 'https://video.a2e.ai'")
        with pytest.raises(ClusterError, match="another A2E"):
            await Worker(cluster, client).run()
    assert count_starts(sandbox) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"retry_failed": -1}, "retry_failed"),
        ({"heartbeat": 20.0}, "stall_timeout must be at least twice the heartbeat"),
        ({"on_unknown": "pay"}, "on_unknown"),
        ({"hand_back_time": -1}, "hand_back_time"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, sandbox_client: Any) -> None:
    """An option that cannot be meant is refused."""
    with pytest.raises(InvalidRequestError, match=message):
        Worker(Cluster("postgresql://localhost/a2e"), sandbox_client, **options)


@pytest.fixture
def sandbox_client() -> object:
    """Return a client that is never used."""
    return object()


# handing back and taking over


async def test_a_stop_hands_jobs_back(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """A stopped worker gives all jobs back at once, with their tasks; the next one only waits, and pays nothing."""
    jobs = [*make_jobs(4, "#stuck"), *(make_job(f"late{number}", "#stuck") for number in range(4))]
    await cluster.enqueue(jobs)
    async with running(ready_database, sandbox, concurrency=4):
        await until(lambda: is_running(cluster, 4))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    found = [job async for job in cluster.jobs()]
    assert {job.worker for job in found} == {None}
    assert [job.state for job in found] == ["running"] * 4 + ["queued"] * 4
    assert {job.task_id for job in found[:4]} == {*sandbox.tasks}
    assert (await cluster.status()).workers == ()
    async with running(ready_database, sandbox):
        for job in jobs:
            await finish_task(sandbox, job.key)
        results = await all_results(cluster, jobs)
    assert all(job.ok for job in results.values())
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert {job.coins for job in results.values()} == {PRICE}


async def is_running(cluster: Cluster, count: int) -> bool:
    """Return whether so many jobs are running."""
    return (await cluster.status()).counts["running"] == count


async def test_a_stop_during_a_start(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """A start that is not answered in time does not keep a worker from its end; the next one finds its task."""
    sandbox.faults = FaultPlan(script={"start": [Fault("delay", seconds=2.5, after=True)]})
    jobs = make_jobs(1)
    await cluster.enqueue(jobs)
    settles = attrs.evolve(quick.CONFIG.start, accept_time=0.2, list_delay=0.2)
    async with running(ready_database, sandbox, start=settles, hand_back_time=0.3) as worker:
        await wait_until(lambda: sandbox.tasks)
        began = time.monotonic()
        worker.stop()
        await wait_until(lambda: worker._run is None)
        assert time.monotonic() - began < 2
        async with running(ready_database, sandbox, start=settles):
            results = await all_results(cluster, jobs)
    assert all(job.ok for job in results.values())
    assert count_charges(sandbox) == {"k0": 1}


async def test_a_job_that_was_given_away(
    cluster: Cluster, ready_database: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was stopped before it sent a start notices that its job was given away, and sends nothing."""
    saves: list[str] = []
    real = PostgresJournal.save

    async def save(self: PostgresJournal, entry: JournalEntry) -> None:
        await real(self, entry)
        if entry.state == "sending" and not saves:  # the machine stops here, and another worker claims the job
            saves.append(self.worker)
            await self.database.execute("UPDATE a2e_jobs SET fence = fence + 1, worker = 'other'")

    monkeypatch.setattr(PostgresJournal, "save", save)
    jobs = make_jobs(1)
    await cluster.enqueue(jobs)
    settles = attrs.evolve(quick.CONFIG.start, accept_time=0.2, list_delay=0.2)
    async with running(ready_database, sandbox, start=settles):
        results = await all_results(cluster, jobs)  # its next claim finds no task in A2E's list, and starts one
    assert saves
    assert results["k0"].ok
    assert count_starts(sandbox) == 1


async def test_a_running_job_that_was_given_away(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """A worker whose job was given away ends its wait, and leaves the row to the other one."""
    await cluster.enqueue(make_jobs(1, "#stuck"))
    async with running(ready_database, sandbox) as worker:
        await until(lambda: is_running(cluster, 1))
        await cluster._open.database.execute("UPDATE a2e_jobs SET fence = fence + 1, worker = 'other'")
        await wait_until(lambda: worker._run is not None and not worker._run.jobs)
        job = await cluster.job("k0")
        assert job is not None
        assert (job.state, job.worker) == ("running", "other")


async def test_a_job_that_comes_twice(
    cluster: Cluster, ready_database: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that gets a job again while it still claims it, since the server is slow, does not run it twice."""
    real = PostgresJournal.claim

    async def claim(self: PostgresJournal, key: str) -> object:
        await asyncio.sleep(0.6)  # several heartbeats
        return await real(self, key)

    monkeypatch.setattr(PostgresJournal, "claim", claim)
    sandbox.faults = FaultPlan(chances={"start": {Fault("delay", seconds=0.4, after=True): 1.0}})
    jobs = make_jobs(3)
    await cluster.enqueue(jobs)
    async with running(ready_database, sandbox):
        results = await all_results(cluster, jobs)
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert {job.tries for job in results.values()} == {1}


async def test_only_the_last_claim_counts(cluster: Cluster) -> None:
    """A task whose job was claimed again in the same process cannot write any more, such as the intent of a start."""
    await cluster.enqueue(make_job("ada"))
    journal = PostgresJournal(cluster._open.database, "worker", lambda _: None)
    writing = asyncio.create_task(journal.write_groups())

    async def write(*, is_late: bool) -> None:
        claim = await journal.claim("ada")
        assert claim is not None
        current_claim.set(claim)
        entry = await journal.load("ada")
        assert entry is not None
        if is_late:
            await asyncio.create_task(write(is_late=False))
        entry.state = "sending" if is_late else "running"
        await journal.save(entry)

    with pytest.raises(ClaimLostError):
        await asyncio.create_task(write(is_late=True))
    writing.cancel()
    assert await counts(cluster) == {"running": 1}


async def test_jobs_whose_answer_was_lost(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """A job that the queue has given to a worker that does not know it, and one without a worker, are run."""
    jobs = make_jobs(2)
    async with running(ready_database, sandbox) as worker:
        await wait_until(lambda: worker._run is not None and worker._run.queue._manager.worker_id)
        run = worker._run
        assert run is not None
        database = cluster._open.database
        # no worker sees them in the queue before they are taken from it
        async with await database.connect() as connection, connection.transaction():
            await cluster.enqueue(jobs, connection=connection)
            await connection.execute(
                "UPDATE procrastinate_jobs SET status = 'doing', worker_id = CASE lock WHEN 'k0' THEN %s END",
                (run.queue._manager.worker_id,),
            )
        results = await all_results(cluster, jobs)
    assert all(job.ok for job in results.values())
    assert count_charges(sandbox) == {"k0": 1, "k1": 1}


async def test_a_job_that_is_not_in_the_queue(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """A job that a worker has begun is queued again if it was removed from the queue."""
    await cluster.enqueue(make_jobs(1, "#stuck"))
    async with running(ready_database, sandbox):
        await until(lambda: is_running(cluster, 1))
    await cluster._open.database.execute("DELETE FROM procrastinate_jobs")
    async with running(ready_database, sandbox):
        await finish_task(sandbox, "k0")
        assert (await cluster.result("k0", timeout=20)).ok
    assert count_charges(sandbox) == {"k0": 1}


async def test_a_restored_backup(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """After a backup was restored, tasks that the database does not know are adopted instead of started again."""
    jobs = make_jobs(3)
    await cluster.enqueue(jobs)
    async with running(ready_database, sandbox):
        await all_results(cluster, jobs)
    await cluster._open.database.execute(
        "UPDATE a2e_jobs SET ended = false, state = 'new', starts = 0, task_id = NULL, coins = 0, marker = '', record = NULL"
    )
    async with await cluster._open.database.connect() as connection:
        await cluster._open.queue.put(connection, [job.key for job in jobs])
    async with running(ready_database, sandbox, adopt=True):
        results = await all_results(cluster, jobs)
    assert all(job.ok for job in results.values())
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


# PostgreSQL away


@pytest.mark.parametrize(
    ("seconds", "times"),
    [
        (1.5, FAST | {"stall_timeout": 20.0}),  # a busy machine is late with signs of life
        pytest.param(120.0, {"heartbeat": 10.0, "stall_timeout": 30.0}, marks=pytest.mark.soak),
    ],
)
async def test_postgresql_away(
    *,
    cluster: Cluster,
    ready_database: str,
    sandbox: Sandbox,
    postgres: LocalPostgres,
    tmp_path: pathlib.Path,
    seconds: float,
    times: dict[str, Any],
) -> None:
    """While the server is away, waits go on; then everything is stored, and nothing was paid twice or given away."""
    jobs = [*make_jobs(10, "#stuck"), *(make_job(f"more{number}") for number in range(10))]
    await cluster.enqueue(jobs[:10])
    async with (
        running(ready_database, sandbox, tmp_path, **times),
        running(ready_database, sandbox, tmp_path, **times),
    ):
        await until(lambda: is_running(cluster, 10))
        await asyncio.to_thread(postgres.stop)
        try:
            for job in jobs[:5]:
                await finish_task(sandbox, job.key)
            await asyncio.sleep(seconds)
            with pytest.raises(ClusterError):
                await cluster.status()
        finally:
            await asyncio.to_thread(postgres.start)
        await until(lambda: is_reachable(cluster))
        await cluster.enqueue(jobs[10:])
        for job in jobs[5:10]:
            await finish_task(sandbox, job.key)
        results = await all_results(cluster, jobs)
    assert all(job.ok for job in results.values())
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert len([*tmp_path.iterdir()]) == 20
    assert {job.tries for job in results.values()} == {1}


async def is_reachable(cluster: Cluster) -> bool:
    """Return whether the database answers."""
    try:
        await cluster.status()
    except ClusterError:
        return False
    return True


@pytest.mark.parametrize(("state", "starts"), [("sending", 0), ("running", 1)])
async def test_a_full_disk(
    *,
    cluster: Cluster,
    ready_database: str,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    state: str,
    starts: int,
) -> None:
    """With a full disk nothing is started, and what was started waits to be written; room is all that is needed."""
    # the answer is that of a server whose disk is full; to fill one takes rights that tests do not have
    await cluster._open.database.execute(
        """CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"""
    )
    when = f"BEFORE UPDATE ON a2e_jobs FOR EACH ROW WHEN (NEW.state = '{state}')"
    await cluster._open.database.execute(f"CREATE TRIGGER full_disk {when} EXECUTE FUNCTION fill()")
    await cluster.enqueue(make_jobs(1))
    async with running(ready_database, sandbox):
        await wait_until(lambda: "disk of the server is full" in caplog.text)
        await asyncio.sleep(0.3)
        assert count_starts(sandbox) == starts
        await cluster._open.database.execute("CREATE TRIGGER no_room BEFORE INSERT ON a2e_jobs EXECUTE FUNCTION fill()")
        with pytest.raises(ClusterError, match="No space left on device: the disk of the server is full"):
            await cluster.enqueue(make_job("late"))
        await cluster._open.database.execute("DROP FUNCTION fill CASCADE")
        results = await all_results(cluster, make_jobs(1))
    assert results["k0"].ok
    assert count_charges(sandbox) == {"k0": 1}
    assert await cluster.job("late") is None


async def test_a_stop_while_postgresql_is_away(
    cluster: Cluster, ready_database: str, sandbox: Sandbox, postgres: LocalPostgres
) -> None:
    """A worker that cannot hand back its jobs ends nevertheless; the next one takes them over."""
    jobs = make_jobs(3, "#stuck")
    await cluster.enqueue(jobs)
    try:
        async with running(ready_database, sandbox, hand_back_time=0.5):
            await until(lambda: is_running(cluster, 3))
            await asyncio.to_thread(postgres.stop)
            began = time.monotonic()
        assert time.monotonic() - began < 6
    finally:
        await asyncio.to_thread(postgres.start)
    async with running(ready_database, sandbox):
        for job in jobs:
            await finish_task(sandbox, job.key)
        results = await all_results(cluster, jobs)
    assert all(job.ok for job in results.values())
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


# limits and pauses of the whole cluster


async def test_max_running(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """Two workers together have no more tasks at A2E than the limit, which can be changed."""
    jobs = make_jobs(8, "#stuck")
    await cluster.set_limits(max_running=3)
    await cluster.enqueue(jobs)
    async with running(ready_database, sandbox), running(ready_database, sandbox):
        await wait_until(lambda: len(sandbox.tasks) == 3)
        await asyncio.sleep(0.5)
        assert len(sandbox.tasks) == 3
        sandbox.finish(next(iter(sandbox.tasks)))
        await wait_until(lambda: len(sandbox.tasks) == 4)
        await cluster.set_limits(max_running=None)
        await wait_until(lambda: len(sandbox.tasks) == 8)
        for job in jobs:
            if not next(task for task in sandbox.tasks.values() if key_of_task(task) == job.key).done:
                await finish_task(sandbox, job.key)
        await all_results(cluster, jobs)
    rows = await cluster._open.database.execute("SELECT count(*) FROM a2e_jobs WHERE slot")
    assert rows == [(0,)]


async def test_max_coins(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """Two workers together spend no more than the limit; the other jobs wait until it is raised."""
    jobs = make_jobs(8)
    await cluster.set_limits(max_coins=3 * PRICE + 1)
    await cluster.enqueue(jobs)
    async with running(ready_database, sandbox), running(ready_database, sandbox):
        await until(lambda: has_counts(cluster, succeeded=3))
        await until(lambda: waits_for_budget(cluster, 5))
        assert spent_coins(sandbox) == 3 * PRICE
        assert (await cluster.status()).max_coins == 3 * PRICE + 1
        await cluster.set_limits(max_coins=5 * PRICE)
        await until(lambda: has_counts(cluster, succeeded=5))
        await cluster.set_limits(max_coins=None)
        results = await all_results(cluster, jobs)
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    rows = await cluster._open.database.execute("SELECT count(*) FROM a2e_jobs WHERE reserved IS NOT NULL")
    assert rows == [(0,)]


async def has_counts(cluster: Cluster, **expected: int) -> bool:
    """Return whether so many jobs are in these states."""
    found = await counts(cluster)
    return all(found.get(state, 0) == count for state, count in expected.items())


async def waits_for_budget(cluster: Cluster, count: int) -> bool:
    """Return whether so many jobs wait for coins."""
    return sum(worker.waits.get("budget", 0) for worker in (await cluster.status()).workers) == count


async def test_without_credits_one_worker_probes(
    cluster: Cluster, ready_database: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When coins run out, all workers pause, and one start at a time probes for the whole cluster."""
    shorten_pauses(monkeypatch, first=0.4, max_delay=0.4)
    sandbox.coins = 2 * PRICE
    jobs = make_jobs(12)
    async with running(ready_database, sandbox, max_starts=1), running(ready_database, sandbox, max_starts=1):
        await cluster.enqueue(jobs)
        await until(lambda: has_counts(cluster, succeeded=2))
        await until(lambda: is_paused(cluster))
        before = count_starts(sandbox)
        await asyncio.sleep(1.0)
        assert 1 <= count_starts(sandbox) - before <= 4  # of ten jobs on two workers
        assert "coins" in (await cluster.status()).paused
        sandbox.coins += 10 * PRICE
        results = await all_results(cluster, jobs)
    assert (await cluster.status()).paused == ""
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_busy(cluster: Cluster, ready_database: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """If A2E is busy, one worker learns it, and one start at a time probes for the whole cluster."""
    shorten_pauses(monkeypatch, first=0.4, max_delay=0.4)
    options: dict[str, Any] = {"max_starts": 1, "retry": RetryPolicy(max_attempts=1)}
    jobs = make_jobs(10)
    async with running(ready_database, sandbox, **options), running(ready_database, sandbox, **options):
        sandbox.faults = FaultPlan(chances={"start": {Fault("busy"): 1.0}})
        await cluster.enqueue(jobs)
        await until(lambda: is_paused(cluster))
        assert "occupied" in (await cluster.status()).paused
        before = count_starts(sandbox)
        await asyncio.sleep(1.0)
        assert 1 <= count_starts(sandbox) - before <= 4  # of ten jobs on two workers
        sandbox.faults = None
        results = await all_results(cluster, jobs)
    assert (await cluster.status()).paused == ""
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def is_paused(cluster: Cluster) -> bool:
    """Return whether the cluster is paused."""
    return bool((await cluster.status()).paused)


async def test_a_plan_that_does_not_allow_it(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """One start is rejected for the plan; all workers wait until `resume`, and no job is lost."""
    refusal = {"code": 403, "msg": "Free users cannot use the API, upgrade to Pro or Max"}
    jobs = make_jobs(6)
    async with running(ready_database, sandbox, max_starts=1), running(ready_database, sandbox, max_starts=1):
        with sandbox.override("POST", quick.START_PATH, web.json_response(refusal, status=403)):
            await cluster.enqueue(jobs)
            await until(lambda: is_paused(cluster))
            await asyncio.sleep(0.3)
            before = count_starts(sandbox)
            assert before <= 4  # one for each worker, and those that were on their way
            await asyncio.sleep(0.5)
            assert count_starts(sandbox) == before
            assert (await cluster.status()).counts["failed"] == 0
        await cluster.resume()
        results = await all_results(cluster, jobs)
    assert all(job.ok for job in results.values())


async def test_a_pause_by_hand(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """A pause lets running tasks end, and starts nothing more until the end of the pause."""
    await cluster.enqueue(make_jobs(1, "#stuck"))
    async with running(ready_database, sandbox):
        await until(lambda: is_running(cluster, 1))
        await cluster.pause("maintenance")
        assert (await cluster.status()).paused == "maintenance"
        await cluster.enqueue(make_job("later"))
        await finish_task(sandbox, "k0")
        assert (await cluster.result("k0", timeout=20)).ok
        await asyncio.sleep(0.3)
        assert count_starts(sandbox) == 1
        await cluster.resume()
        assert (await cluster.result("later", timeout=20)).ok


async def test_the_rate_is_shared(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """Each of the workers that are alive takes its part of the rate."""

    def rate(worker: Worker) -> float | None:
        return worker._client.image_to_video._services().api.throttled.throttle.policy.per_second

    await cluster.set_limits(per_second=30)
    async with running(ready_database, sandbox) as one:
        await wait_until(lambda: rate(one) == 30)
        async with running(ready_database, sandbox) as two:
            await wait_until(lambda: rate(one) == rate(two) == 15)
            await cluster.set_limits(per_second=None)
            await wait_until(lambda: rate(one) is rate(two) is None)


# the rest


async def test_until_idle(cluster: Cluster, sandbox: Sandbox) -> None:
    """A worker ends by itself when no job is open."""
    await cluster.enqueue(make_jobs(3))
    async with make_client(sandbox) as client:
        await asyncio.wait_for(Worker(cluster, client, until_idle=True, **FAST).run(), 20)
    assert (await cluster.status()).counts["succeeded"] == 3


async def test_odd_records(cluster: Cluster, ready_database: str, sandbox: Sandbox) -> None:
    """What A2E sends is stored, also if no column of texts can hold it."""
    odd = "\0 \ud800 😀"

    jobs = [make_job("ada", "#stuck")]
    await cluster.enqueue(jobs)
    async with running(ready_database, sandbox):
        await until(lambda: is_running(cluster, 1))
        sandbox.fail(next(iter(sandbox.tasks)), message=odd)
        job = await cluster.result("ada", timeout=20)
    assert job.state == "failed"
    assert job.record is not None
    assert json.loads(json.dumps(job.record))["failed_message"] == odd


async def test_a_key_store(ready_database: str, sandbox: Sandbox) -> None:
    """Two applications that use one idempotency key at the same moment start one task."""
    options: Any = {"image_url": "https://example.com/ada.png", **quick.PROMPTS, "idempotency_key": "order-17"}
    settles = attrs.evolve(quick.CONFIG.start, accept_time=0.2, list_delay=0.2)
    async with Cluster(ready_database) as one, Cluster(ready_database) as two:
        async with (
            make_client(sandbox, start=settles) as first,
            make_client(sandbox, start=settles) as second,
        ):
            clients = [stored(client, PostgresKeyStore(cluster)) for client, cluster in ((first, one), (second, two))]
            handles = await asyncio.gather(*(client.image_to_video.start(**options) for client in clients))
        assert len({handle.id for handle in handles}) == 1
        rows = await one._open.database.execute("SELECT task_ids FROM a2e_keys")
        assert rows == [([handles[0].id],)]
    assert len(sandbox.tasks) == 1
    with pytest.raises((KeyStoreError, ConfigurationError)):
        await PostgresKeyStore(Cluster(ready_database)).load("key")


def stored(client: Any, store: PostgresKeyStore) -> Any:
    """Give a client a store."""
    client._state._submissions.keys = store
    return client

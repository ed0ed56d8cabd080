"""Tests of queueing: what is new, known or changed, images, file names, transactions of the caller, and retries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import quick
from paid_starts import make_client
from psycopg.rows import dict_row

from a2e_async.batch import Job
from a2e_async.cluster import Cluster, Enqueued
from a2e_async.errors import ConfigurationError, InvalidRequestError, WaitTimeoutError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.process("PostgreSQL is a process, which has no virtual time")


def make_job(key: str = "ada", **options: Any) -> dict[str, Any]:
    """Return a job."""
    return {"key": key, "image_url": "https://example.com/ada.png", **quick.PROMPTS, **options}


async def test_known_jobs(cluster: Cluster) -> None:
    """A job is queued once. The same key with another input is refused, and nothing of its chunk is queued."""
    assert await cluster.enqueue(make_job()) == Enqueued(added=1, known=0)
    assert await cluster.enqueue([Job(**make_job()), make_job("bob"), make_job("bob")]) == Enqueued(added=1, known=2)
    with pytest.raises(InvalidRequestError, match=r"already queued: 'ada' \(prompt\)"):
        await cluster.enqueue([make_job("eve"), make_job(prompt="he frowns")])
    with pytest.raises(InvalidRequestError, match=r"the input has it twice: 'eve' \(video_time\)"):
        await cluster.enqueue([make_job("eve"), make_job("eve", video_time=10)])
    assert [job.key async for job in cluster.jobs()] == ["ada", "bob"]
    assert [job.key async for job in cluster.jobs("running")] == []
    # the signature of a link is no difference
    assert (await cluster.enqueue(make_job(image_url="https://example.com/ada.png?X-Amz-Signature=1"))).known == 1


async def test_checks_write_nothing(cluster: Cluster) -> None:
    """A check finds the same errors, also between chunks, and queues nothing."""
    await cluster.enqueue(make_job())
    assert await cluster.check([make_job(), make_job("bob")]) == 2
    for jobs, message in (
        ([make_job(prompt="he frowns")], "already queued"),
        ([make_job("bob", video_time=7)], "Job 'bob': video_time"),
        (
            [make_job("bob"), *(make_job(str(number)) for number in range(1000)), make_job("bob", video_time=10)],
            "twice",
        ),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            await cluster.check(jobs)
    assert [job.key async for job in cluster.jobs()] == ["ada"]


async def test_two_at_the_same_moment(ready_database: str) -> None:
    """Of two processes that queue the same jobs at the same moment, each job is added by one."""

    async def enqueue() -> Enqueued:
        async with Cluster(ready_database) as cluster:
            return await cluster.enqueue(make_job(str(number)) for number in range(300))

    results = await asyncio.gather(enqueue(), enqueue(), enqueue())
    assert sum(result.added for result in results) == 300
    assert sum(result.known for result in results) == 600


async def test_images(cluster: Cluster, tmp_path: pathlib.Path, sandbox: Sandbox) -> None:
    """The path of an image is stored, or its link after an upload. A moved file is the same image, and a changed one not."""
    path = tmp_path / "ada.png"
    path.write_bytes(quick.PNG)
    job = {"key": "ada", "image": path, **quick.PROMPTS}
    assert (await cluster.enqueue(job)).added == 1
    stored = await cluster.job("ada")
    assert stored is not None
    assert stored.request["image"]["path"] == str(path)
    assert (await cluster.enqueue(job | {"image": path.rename(tmp_path / "other.png")})).known == 1
    (tmp_path / "other.png").write_bytes(quick.PNG + b"x")
    with pytest.raises(InvalidRequestError, match=r"'ada' \(image\)"):
        await cluster.enqueue(job | {"image": tmp_path / "other.png"})
    with pytest.raises(InvalidRequestError, match="pass client="):
        await cluster.enqueue(job | {"key": "bytes", "image": quick.PNG})
    async with make_client(sandbox) as client:
        jobs = [job | {"key": key, "image": quick.PNG} for key in ("b1", "b2")]
        assert (await cluster.enqueue(jobs, client=client)).added == 2
        assert (await cluster.enqueue(jobs, client=client)).known == 2
    assert len(sandbox.ledger) == 1  # one upload for equal images


async def test_names_of_files(cluster: Cluster) -> None:
    """Each job has a file name of its own, also where upper and lower case are the same, and over several calls."""
    await cluster.enqueue([make_job("Ada"), make_job("a/b")])
    await cluster.enqueue([make_job("ada"), make_job("a:b")])
    names = {job.key: job.name async for job in cluster.jobs()}
    assert names["Ada"] == "Ada.mp4"
    assert len({name.casefold() for name in names.values()}) == 4
    assert all("/" not in name for name in names.values())


async def test_in_a_transaction_of_the_caller(cluster: Cluster, ready_database: str) -> None:
    """Jobs that are queued on a connection of the caller exist if and when its transaction is committed."""
    connection = await psycopg.AsyncConnection.connect(ready_database, row_factory=dict_row)
    async with connection:
        await connection.execute("CREATE TABLE orders (id integer)")
        await cluster.enqueue(make_job(), connection=connection)
        assert await cluster.job("ada") is None
        await connection.rollback()
        await cluster.enqueue([make_job("bob"), make_job("eve")], connection=connection)
        assert await cluster.enqueue(make_job("bob"), connection=connection) == Enqueued(added=0, known=1)
        await connection.commit()
        with pytest.raises(InvalidRequestError):
            await cluster.enqueue(make_job("bob", video_time=10), connection=connection)
    assert [job.key async for job in cluster.jobs()] == ["bob", "eve"]
    rows = await cluster._open.database.execute("SELECT args ->> 'key' FROM procrastinate_jobs ORDER BY id")
    assert [key for (key,) in rows] == ["bob", "eve"]


async def test_any_number_of_jobs(cluster: Cluster) -> None:
    """The input is read in chunks, and queued as it is read, in its order."""

    async def read() -> AsyncIterator[dict[str, Any]]:
        for number in range(25):
            if number == 20:
                assert (await cluster.status()).total == 20
            yield make_job(f"{number:02}")

    assert await cluster.enqueue(read(), chunk=10) == Enqueued(added=25, known=0)
    jobs = [job async for job in cluster.jobs("queued")]
    assert [job.key for job in jobs] == sorted(job.key for job in jobs)
    status = await cluster.status()
    assert (status.counts["queued"], status.open, status.done) == (25, 25, 0)
    assert status.oldest_queued_at == jobs[0].created_at


async def test_waits(cluster: Cluster) -> None:
    """A wait for a job ends at its time-out; one for an unknown key, or with a closed cluster, at once."""
    await cluster.enqueue(make_job())
    with pytest.raises(WaitTimeoutError, match=r"'ada' has not ended in 0\.05 s"):
        await cluster.result("ada", timeout=0.05)
    with pytest.raises(InvalidRequestError, match="no job with the key 'bob'"):
        await cluster.result("bob")
    with pytest.raises(ConfigurationError, match="async with"):
        await Cluster("postgresql://localhost/a2e").job("ada")


@pytest.mark.parametrize("jobs", ["ada", b"ada", 5])
async def test_no_jobs(cluster: Cluster, jobs: Any) -> None:
    """Something else than jobs is refused."""
    with pytest.raises(InvalidRequestError, match="jobs must be"):
        await cluster.enqueue(jobs)


@pytest.mark.parametrize(
    "limits", [{"max_running": 0}, {"max_running": True}, {"max_coins": -1}, {"per_second": 0}, {"per_second": "5"}]
)
async def test_wrong_limits(cluster: Cluster, limits: dict[str, Any]) -> None:
    """A limit that cannot be meant is refused."""
    with pytest.raises(InvalidRequestError, match=next(iter(limits))):
        await cluster.set_limits(**limits)

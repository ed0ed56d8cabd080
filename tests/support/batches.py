"""Batches against a sandbox: jobs, results by key, entries of the journal, and what A2E charged."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import attrs
import quick
from conditions import wait_until
from paid_starts import IMAGE_URL

from a2e_async._submission import markers
from a2e_async.batch import Job, JournalReader
from a2e_async.batch.journal import SqliteJournal
from a2e_async.batch.rules import JournalEntry, job_key

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator

    import pytest
    from aiohttp import web

    from a2e_async import A2EClient
    from a2e_async.batch import Batch, JobResult
    from a2e_async.sandbox import Sandbox
    from a2e_async.sandbox.state import Task

PRICE = 30
"""Coins that five seconds of video cost in the sandbox."""

STORAGE_PATH = "/storage/"
CDN_PATH = "/cdn/"
QUOTE_PATH = "/api/v1/generation/quote"


def make_job(key: str, tags: str = "#fast", **options: Any) -> Job:
    """Make a job. Its prompt ends with its key, so that a task of the sandbox can be matched to its job."""
    settings = {"prompt": f"{tags} of {key}", "negative_prompt": "blurry"} | options
    if "image" not in settings:
        settings.setdefault("image_url", IMAGE_URL)
    return Job(key=key, **settings)


def make_jobs(count: int, tags: str = "#fast", **options: Any) -> list[Job]:
    """Make jobs with the keys k0, k1, k2..."""
    return [make_job(f"k{number}", tags, **options) for number in range(count)]


def write_image(folder: pathlib.Path, name: str = "ada.png", content: bytes = b"") -> pathlib.Path:
    """Write an image with some content."""
    path = folder / name
    path.write_bytes(quick.PNG + content)
    return path


def make_jobs_with_images(folder: pathlib.Path, count: int) -> list[Job]:
    """Make jobs, each with an image of its own."""
    return [
        make_job(f"k{number}", image=write_image(folder, f"{number}.png", bytes([number]))) for number in range(count)
    ]


async def collect_results(batch: Batch[Any]) -> dict[str, JobResult[Any]]:
    """Run a batch to its end, and return the results by key."""
    results: dict[str, JobResult[Any]] = {}
    async with batch:
        async for result in batch:
            assert result.key not in results
            results[result.key] = result
    return results


async def run_batch(a2e: A2EClient, items: Iterable[Any], **options: Any) -> dict[str, JobResult[Any]]:
    """Make a batch, run it to its end, and return the results by key."""
    return await collect_results(a2e.image_to_video.batch(items, **options))


async def cancel_and_wait(task: asyncio.Future[Any]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])


async def run_job(a2e: A2EClient, item: Any, journal: pathlib.Path | None = None, **options: Any) -> JobResult[Any]:
    """Run a batch of one job to its end."""
    (result,) = (await run_batch(a2e, [item], journal=journal, **options)).values()
    return result


def states_by_key(results: dict[str, JobResult[Any]]) -> dict[str, str]:
    """Return the state of each key."""
    return {key: result.state for key, result in results.items()}


async def finish_task(sandbox: Sandbox, key: str, *, succeeded: bool = True) -> None:
    """Wait for the running task of a ``#stuck`` job, then let it succeed or fail."""
    tasks: list[Task] = []

    def is_running() -> bool:
        tasks[:] = [task for task in sandbox.tasks.values() if key_of_task(task) == key and not task.done]
        return bool(tasks)

    await wait_until(is_running)
    if succeeded:
        sandbox.finish(tasks[-1].id)
    else:
        sandbox.fail(tasks[-1].id)


def key_of_task(task: Task) -> str:
    """Return the key of the job of a task."""
    return task.prompt.rpartition(" of ")[2]


def count_charges(sandbox: Sandbox) -> collections.Counter[str]:
    """Count for each key the tasks that were charged and not refunded."""
    return collections.Counter(key_of_task(task) for task in sandbox.tasks.values() if task.charged)


def spent_coins(sandbox: Sandbox) -> int:
    """Return the coins that the tasks have cost."""
    return sum(task.charged for task in sandbox.tasks.values())


def count_uploads(sandbox: Sandbox) -> int:
    """Count the uploads to the storage."""
    return sum(seen.method == "PUT" and seen.path.startswith(STORAGE_PATH) for seen in sandbox.requests)


def count_downloads(sandbox: Sandbox) -> int:
    """Count the downloads of results."""
    return sum(seen.method == "GET" and "/image2video/" in seen.path for seen in sandbox.requests)


async def read_journal(journal: pathlib.Path) -> dict[str, JournalEntry]:
    """Return the entries of a journal by key."""
    async with JournalReader.open(journal) as reader:
        return {entry.key: entry async for entry in reader.entries()}


def journaled_request(item: Job) -> dict[str, Any]:
    """Return what a journal stores of a job whose image is a URL."""
    return {
        "prompt": item.prompt,
        "negative_prompt": item.negative_prompt,
        "model_version": item.model_version,
        "image": {"url": item.image_url},
    }


@attrs.define(eq=False)
class EarlierRun:
    """Journal and tasks of an earlier run that was killed."""

    path: pathlib.Path
    sandbox: Sandbox

    async def add_row(self, item: Job, **columns: Any) -> JournalEntry:
        """Write the row of a start that was being sent; return it with its marker."""
        now = time.time()
        facts: dict[str, Any] = {
            "request": journaled_request(item),
            "state": "sending",
            "quoted": PRICE,
            "created_at": now,
            "sent_at": now,
        }
        row = JournalEntry(key=item.key, **(facts | columns))
        async with SqliteJournal(self.path, self.sandbox.url) as journal:
            row.marker = markers.marker_for_key(job_key(journal.id, row))
            await journal.save(row)
        return row

    async def start_task(self, a2e: A2EClient, item: Job, marker: str) -> str:
        """Start a task whose response the earlier run has not recorded; return its id."""
        fields = journaled_request(item)
        fields |= {"image_url": fields.pop("image")["url"], "name": markers.mark_name("ada", marker)}
        data = await a2e.request("POST", "userImage2Video/start", json=fields)
        return str(data["_id"])

    async def add_row_with_task(self, a2e: A2EClient, item: Job, **columns: Any) -> str:
        """Write the row of a start that A2E has accepted, and start its task; return the id of the task."""
        row = await self.add_row(item, **columns)
        return await self.start_task(a2e, item, row.marker)


@attrs.define(eq=False)
class ConcurrencyMeter:
    """Count of the requests that the sandbox handles at the same time; pass `hold` to `Sandbox.override`.

    Attributes:
        seconds: How long each request is held.
        released: Once it is set, no request is held.
        current: Requests that are held now.
        peak: Most requests that were held at the same time.
        total: Requests that were held so far.
    """

    seconds: float = 0.03
    released: asyncio.Event = attrs.field(factory=asyncio.Event)
    current: int = 0
    peak: int = 0
    total: int = 0

    async def hold(self, request: web.Request) -> None:
        """Hold a request for a while, then leave it to the sandbox."""
        del request
        self.current, self.total = self.current + 1, self.total + 1
        self.peak = max(self.peak, self.current)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                await self.released.wait()
        self.current -= 1


@contextlib.contextmanager
def open_sqlite(path: pathlib.Path) -> Iterator[sqlite3.Connection]:
    """Open a database with the sqlite3 module, as another program does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def shorten_pauses(monkeypatch: pytest.MonkeyPatch, first: float = 0.05, max_delay: float = 0.1) -> None:
    """Shorten the pauses between the probes of a paused batch."""
    for module in ("circuit_breaker", "storage"):
        monkeypatch.setattr(f"a2e_async.batch.{module}.FIRST_DELAY", first)
        monkeypatch.setattr(f"a2e_async.batch.{module}.MAX_DELAY", max_delay)

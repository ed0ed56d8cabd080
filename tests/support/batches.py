"""Batches against a sandbox: their jobs, what comes of them, and what the journal and A2E's books say afterwards."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import attrs
import quick
from buying import LINK, until

from a2e_async._protocol import submission
from a2e_async._protocol.batch import Row, job_key
from a2e_async.batch import Job, JournalReader
from a2e_async.batch.journal import SqliteJournal

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator

    import pytest
    from aiohttp import web

    from a2e_async import A2EClient
    from a2e_async.batch import Batch, Outcome
    from a2e_async.sandbox import Sandbox
    from a2e_async.sandbox.state import Task

PRICE = 30
"""Coins that the sandbox asks for five seconds of video."""

PUT = "/storage/"
CDN = "/cdn/"
QUOTE = "/api/v1/generation/quote"


def job(key: str, tags: str = "#fast", **words: Any) -> Job:
    """Make a job. Its prompt ends with its key, so that A2E's books tell whose purchase it was."""
    options = {"prompt": f"{tags} of {key}", "negative_prompt": "blurry"} | words
    if "image" not in options:
        options.setdefault("image_url", LINK)
    return Job(key=key, **options)


def jobs(count: int, tags: str = "#fast", **words: Any) -> list[Job]:
    """Make jobs with the keys k0, k1, k2..."""
    return [job(f"k{number}", tags, **words) for number in range(count)]


def picture(folder: pathlib.Path, name: str = "ada.png", content: bytes = b"") -> pathlib.Path:
    """Make a picture of some content."""
    path = folder / name
    path.write_bytes(quick.PNG + content)
    return path


def pictured(folder: pathlib.Path, count: int) -> list[Job]:
    """Make jobs, each with a picture of its own."""
    return [job(f"k{number}", image=picture(folder, f"{number}.png", bytes([number]))) for number in range(count)]


async def gather(batch: Batch) -> dict[str, Outcome]:
    """Go through a batch to its end."""
    outcomes: dict[str, Outcome] = {}
    async with batch:
        async for outcome in batch:
            assert outcome.key not in outcomes
            outcomes[outcome.key] = outcome
    return outcomes


async def run(a2e: A2EClient, items: Iterable[Any], **options: Any) -> dict[str, Outcome]:
    """Run a batch to its end, and return the outcomes by key."""
    return await gather(a2e.image_to_video.batch(items, **options))


async def cancel(task: asyncio.Future[Any]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])


async def only(a2e: A2EClient, item: Any, journal: pathlib.Path | None = None, **options: Any) -> Outcome:
    """Run a batch of one job to its end."""
    (outcome,) = (await run(a2e, [item], journal=journal, **options)).values()
    return outcome


def states(outcomes: dict[str, Outcome]) -> dict[str, str]:
    """Return the state of each key."""
    return {key: outcome.state for key, outcome in outcomes.items()}


async def end(sandbox: Sandbox, key: str, *, well: bool = True) -> None:
    """Let the last task of a job end that is ``#stuck``, once it is there."""
    tasks: list[Task] = []

    def is_running() -> bool:
        tasks[:] = [task for task in sandbox.tasks.values() if key_of(task) == key and not task.done]
        return bool(tasks)

    await until(is_running)
    if well:
        sandbox.finish(tasks[-1].id)
    else:
        sandbox.fail(tasks[-1].id)


def key_of(task: Task) -> str:
    """Return the key of the job that a task was made for."""
    return task.prompt.rpartition(" of ")[2]


def bills(sandbox: Sandbox) -> collections.Counter[str]:
    """Count for each key the tasks that were paid for and not given back."""
    return collections.Counter(key_of(task) for task in sandbox.tasks.values() if task.charged)


def spent(sandbox: Sandbox) -> int:
    """Return the coins that went into tasks."""
    return sum(task.charged for task in sandbox.tasks.values())


def puts(sandbox: Sandbox) -> int:
    """Count the pictures that were sent to the storage."""
    return sum(request.method == "PUT" and request.path.startswith(PUT) for request in sandbox.requests)


def downloads(sandbox: Sandbox) -> int:
    """Count the results that were asked for."""
    return sum(request.method == "GET" and "/image2video/" in request.path for request in sandbox.requests)


async def rows(journal: pathlib.Path) -> dict[str, Row]:
    """Read a journal."""
    async with JournalReader.open(journal) as reader:
        return {row.key: row async for row in reader.rows()}


def request_of(item: Job) -> dict[str, Any]:
    """Return what a journal remembers of a job whose picture is a link."""
    return {
        "prompt": item.prompt,
        "negative_prompt": item.negative_prompt,
        "model_version": item.model_version,
        "image": {"url": item.image_url},
    }


@attrs.define(eq=False)
class Past:
    """A journal as an earlier run has left it, which did not come to its end."""

    path: pathlib.Path
    sandbox: Sandbox

    async def leave(self, item: Job, **columns: Any) -> Row:
        """Leave a row behind that was sent just now; return it with its marker."""
        now = time.time()
        facts: dict[str, Any] = {
            "request": request_of(item),
            "state": "sending",
            "quoted": PRICE,
            "created_at": now,
            "sent_at": now,
        }
        row = Row(key=item.key, **(facts | columns))
        async with SqliteJournal(self.path, self.sandbox.url) as journal:
            row.marker = submission.marker_of_key(job_key(journal.id, row))
            await journal.save(row)
        return row

    async def buy(self, a2e: A2EClient, item: Job, marker: str) -> str:
        """Buy a task as the earlier run did, whose answer nobody has written down; return its id."""
        words = request_of(item)
        words |= {"image_url": words.pop("image")["url"], "name": submission.mark("ada", marker)}
        made = await a2e.request("POST", "userImage2Video/start", json=words)
        return str(made["_id"])

    async def leave_task(self, a2e: A2EClient, item: Job, **columns: Any) -> str:
        """Leave a row behind whose task A2E has accepted; return the id of the task."""
        row = await self.leave(item, **columns)
        return await self.buy(a2e, item, row.marker)


@attrs.define(eq=False)
class Meter:
    """Counts how many requests of a kind are at the sandbox at the same time; hand `hold` to `Sandbox.override`.

    Attributes:
        seconds: How long each of them is held.
        over: Set it to hold none any longer.
        now: How many are held at the moment.
        most: How many were held at the same time.
        count: How many were held in all.
    """

    seconds: float = 0.03
    over: asyncio.Event = attrs.field(factory=asyncio.Event)
    now: int = 0
    most: int = 0
    count: int = 0

    async def hold(self, request: web.Request) -> None:
        """Keep a request for a while, then let the sandbox answer."""
        del request
        self.now, self.count = self.now + 1, self.count + 1
        self.most = max(self.most, self.now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                await self.over.wait()
        self.now -= 1


@contextlib.contextmanager
def other_program(path: pathlib.Path) -> Iterator[sqlite3.Connection]:
    """Open a database as any program may."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def hurry(monkeypatch: pytest.MonkeyPatch, first: float = 0.05, longest: float = 0.1) -> None:
    """Let a batch that is paused look soon whether it can go on."""
    monkeypatch.setattr("a2e_async.batch.gate._FIRST", first)
    monkeypatch.setattr("a2e_async.batch.gate._LONGEST", longest)

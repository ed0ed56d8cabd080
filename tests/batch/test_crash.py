"""Crashes of a batch: in a process that is killed again and again, no start is paid twice."""

from __future__ import annotations

import asyncio
import collections
import csv
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
from importlib import resources
from typing import TYPE_CHECKING

import aiohttp
import attrs
import pytest
import quick
from paid_starts import charged_task_ids, marker_in

from a2e_async.batch import JournalReader
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from a2e_async.batch import JournalEntry

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="no other system has SIGKILL"),
    pytest.mark.timeout(240),
    pytest.mark.realtime("processes that are killed while they talk to the sandbox"),
]

CHILD = pathlib.Path(__file__).parents[1] / "support" / "crash_child.py"
VIDEO = resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()

SLOW: Mapping[str, Mapping[Fault, float]] = {
    "start": {Fault("delay", seconds=0.3): 0.5, Fault("delay", seconds=0.3, after=True): 0.5},
    "put": {Fault("delay", seconds=0.15): 1.0},
    "cdn": {Fault("delay", seconds=0.1): 1.0},
}
"""An A2E that takes its time, so that kills find requests under way. Half of the starts are charged before the delay."""

CHARGED_FIRST: Mapping[str, Mapping[Fault, float]] = {**SLOW, "start": {Fault("delay", seconds=1.2, after=True): 1.0}}
"""The same, but each start is charged at once, and answered later than a kill comes."""


def random_faults(seed: int) -> FaultPlan:
    """Return a fault plan in which a tenth of the requests meet a fault, and the others take their time."""
    faults = FaultPlan.random(seed, rate=0.1)
    chances = {
        operation: {**faults.chances[operation], **{fault: 0.9 * chance for fault, chance in delays.items()}}
        for operation, delays in SLOW.items()
    }
    return attrs.evolve(faults, chances={**faults.chances, **chances})


@attrs.define
class Hits:
    """Count of the journal entries that the kills have left in states of interest."""

    sending: int = 0
    running: int = 0
    unnoticed: int = 0  # A2E has charged a start whose answer is not in the journal
    unfetched: int = 0  # the task has succeeded, its file is missing


@attrs.define(eq=False)
class Batch:
    """A batch in a process that is killed again and again. Its first line of output says that it begins."""

    folder: pathlib.Path
    sandbox: Sandbox
    jobs: list[dict[str, str]]
    command: Sequence[str]
    hits: Hits = attrs.field(factory=Hits)

    async def crash(self, starts: int, seconds: float, by: signal.Signals = signal.SIGKILL) -> int:
        """Run it, and end it a number of seconds after A2E has charged a number of further starts; return its exit status."""
        with self._begun() as process:
            try:
                assert process.stdout is not None
                assert await asyncio.to_thread(process.stdout.readline), self.stderr
                await self._charges(len(self.sandbox.tasks) + starts, process)
                await asyncio.sleep(seconds)
                assert process.poll() is None, self.stderr
                process.send_signal(by)
                return await asyncio.to_thread(process.wait, 60)
            finally:
                process.kill()

    async def finish(self) -> None:
        """Run it until all jobs are done. A job that fails through a fault is tried again by the next run."""
        with self._begun() as process:
            try:
                await asyncio.to_thread(process.communicate, timeout=120)
            finally:
                process.kill()

    def _begun(self) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "A2E_BASE_URL": self.sandbox.url, "A2E_API_TOKEN": self.sandbox.token}
        with (self.folder / "said.txt").open("ab") as log:
            return subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, env=environ, cwd=self.folder)

    async def _charges(self, wanted: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until A2E has charged that many starts in all."""
        async with asyncio.timeout(60):
            while len(self.sandbox.tasks) < wanted:
                assert process.poll() is None, self.stderr
                await asyncio.sleep(0.002)

    @property
    def stderr(self) -> str:
        """Return what all processes have written to stderr."""
        return (self.folder / "said.txt").read_text()

    async def entries(self) -> dict[str, JournalEntry]:
        """Read a copy of the journal, so that the next process finds it as the last one has left it."""
        copy = pathlib.Path(shutil.copytree(self.folder / "journal", self.folder / "copy"))
        async with JournalReader.open(copy / "journal.sqlite") as reader:
            entries = {entry.key: entry async for entry in reader.entries()}
        shutil.rmtree(copy)
        return entries

    async def started(self) -> list[JournalEntry]:
        """List the rows that A2E has charged starts for. It fails if the journal does not know of one of them."""
        by_marker = {entry.marker: entry for entry in (await self.entries()).values()}
        return [by_marker[marker_in(task.name)] for task in self.sandbox.tasks.values()]

    async def is_done(self) -> bool:
        """Return whether every key has succeeded and has its file."""
        entries = (await self.entries()).values()
        return len(entries) == len(self.jobs) and all(entry.state == "succeeded" and entry.path for entry in entries)

    async def check_after_kill(self) -> None:
        """Check that the journal has all charged starts, and count the states that it was left in."""
        if not self.sandbox.tasks:  # there may be no journal yet
            return
        states, started = {entry.state for entry in (await self.entries()).values()}, await self.started()
        assert {entry.state for entry in started} <= {"sending", "running", "succeeded", "uncertain"}
        self.hits.sending += "sending" in states
        self.hits.running += "running" in states
        self.hits.unnoticed += any(entry.state == "sending" for entry in started)
        self.hits.unfetched += any(entry.state == "succeeded" and entry.path is None for entry in started)

    async def check(self) -> None:
        """Check that every key has one task, which is its own and was paid once, and a complete file."""
        assert await self.is_done(), self.stderr
        entries, tasks = await self.entries(), self.sandbox.tasks
        keys = [entry.key for entry in await self.started()]
        assert sorted(keys) == sorted(entries) == sorted(job["key"] for job in self.jobs)
        bills = collections.Counter(it.task_id for it in self.sandbox.ledger if it.reason != "presigned-upload")
        assert bills == {entry.task_id: 1 for entry in entries.values()}
        assert charged_task_ids(self.sandbox) == [*tasks]
        prompts = {entry.key: tasks[str(entry.task_id)].prompt for entry in entries.values()}
        assert prompts == {job["key"]: job["prompt"] for job in self.jobs}
        files = {path.name: path.read_bytes() for path in (self.folder / "videos").iterdir()}
        assert files == {f"{key}.mp4": VIDEO for key in keys}
        await self._check_images({task.prompt: task.image_url for task in tasks.values()})

    async def _check_images(self, links: dict[str, str]) -> None:
        """Check that every start got the link of its own image, from whichever process uploaded it."""
        self.sandbox.faults = None
        async with aiohttp.ClientSession() as session:
            for job in self.jobs:
                async with session.get(links[job["prompt"]]) as answer:
                    assert await answer.read() == (self.folder / job["image"]).read_bytes()


@pytest.fixture
async def sandbox(no_leaked_tasks: None) -> AsyncIterator[Sandbox]:
    """Run a local A2E whose tasks take about a second, with enough coins to start everything many times."""
    async with Sandbox(speed=30, render="tiny", seed=1, coins=1_000_000) as local:
        yield local


def make_jobs(folder: pathlib.Path, count: int, images: int) -> list[dict[str, str]]:
    """Make jobs, some of which share their image."""
    names = [f"{number % images}.png" for number in range(count)]
    for name in {*names}:
        (folder / name).write_bytes(quick.PNG + name.encode())
    words = [{"key": f"job-{number}", "image": name, "prompt": f"prompt {number}"} for number, name in enumerate(names)]
    return [{**word, "negative_prompt": "blurry"} for word in words]


def make_batch(folder: pathlib.Path, sandbox: Sandbox, *, count: int, images: int, on_unknown: str = "raise") -> Batch:
    """Return the batch of a program that uses the library."""
    jobs = make_jobs(folder, count, images)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    return Batch(folder, sandbox, jobs, [sys.executable, str(CHILD), on_unknown])


async def kill_repeatedly(batch: Batch, times: int, seed: int) -> None:
    """Kill it at random moments, with so many starts in between that some are left to be sent in the end."""
    dice = random.Random(seed)
    for to_come in range(times, 0, -1):
        left = len(batch.jobs) - len(batch.sandbox.tasks)
        assert await batch.crash(dice.randint(0, left // (to_come + 1)), dice.uniform(0.0, 0.25)) == -signal.SIGKILL
        await batch.check_after_kill()
    assert not await batch.is_done()


async def finish(batch: Batch) -> None:
    """Run it until all jobs are done. A job that fails through a fault is tried again by the next run."""
    for _ in range(10):
        if await batch.is_done():
            break
        await batch.finish()


async def test_a_batch_that_is_killed_pays_nothing_twice(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Killed three times and run again each time, a batch ends with one charge and one complete file per key."""
    sandbox.faults = FaultPlan(chances=CHARGED_FIRST)
    batch = make_batch(tmp_path, sandbox, count=16, images=8)
    for starts, seconds in ((0, 0.1), (3, 0.05), (2, 0.2)):  # the first kill happens during the uploads
        assert await batch.crash(starts, seconds) == -signal.SIGKILL
        await batch.check_after_kill()
    assert batch.hits.unnoticed >= 2
    sandbox.faults = None
    await batch.finish()
    await batch.check()


async def test_a_batch_that_is_killed_amid_faults_pays_nothing_twice(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The same is true if answers get lost, starts are sent again, and requests of all kinds fail meanwhile."""
    sandbox.faults = random_faults(2)
    batch = make_batch(tmp_path, sandbox, count=12, images=4, on_unknown="resend")
    for _ in range(2):
        assert await batch.crash(3, 0.1) == -signal.SIGKILL
        await batch.check_after_kill()
    assert not await batch.is_done()
    await finish(batch)
    await batch.check()


@pytest.mark.soak
async def test_a_batch_that_is_killed_25_times_pays_nothing_twice(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Killed at any moment and run again each time, a batch ends with one charge and one complete file per key."""
    sandbox.faults = FaultPlan(chances=SLOW, seed=1)
    batch = make_batch(tmp_path, sandbox, count=200, images=100)
    await kill_repeatedly(batch, 25, seed=1)
    assert min(batch.hits.sending, batch.hits.running, batch.hits.unnoticed) >= 15
    assert batch.hits.unfetched
    cut_off = {request.path.split("/")[1] for request in sandbox.requests if not request.status}
    assert cut_off >= {"api", "storage", "cdn"}  # starts, uploads and downloads were interrupted as well
    await batch.finish()
    await batch.check()


@pytest.mark.soak
async def test_a_batch_that_is_killed_25_times_amid_faults_pays_nothing_twice(
    sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """The same is true if answers get lost, starts are sent again, and requests of all kinds fail meanwhile."""
    sandbox.faults = random_faults(2)
    # a lost upload costs a pause of 5 s
    batch = make_batch(tmp_path, sandbox, count=200, images=25, on_unknown="resend")
    await kill_repeatedly(batch, 25, seed=2)
    assert min(batch.hits.sending, batch.hits.running, batch.hits.unnoticed) >= 10
    await finish(batch)
    await batch.check()


async def test_an_interrupted_batch_records_the_starts_being_sent(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """After Ctrl-C the journal has the task of every start that was answered, and the next run finishes the batch."""
    sandbox.faults = FaultPlan(chances=CHARGED_FIRST)
    batch = make_batch(tmp_path, sandbox, count=12, images=6)
    assert await batch.crash(2, 0.1, by=signal.SIGINT) == -signal.SIGINT
    assert "The start was cancelled after A2E had accepted it" in batch.stderr
    assert {entry.state for entry in await batch.started()} <= {"running", "succeeded"}
    assert len(sandbox.tasks) < len(batch.jobs)
    sandbox.faults = None
    await batch.finish()
    await batch.check()


@pytest.mark.parametrize(
    ("count", "kills"), [(8, [1]), pytest.param(30, [1, 5, 1], marks=pytest.mark.soak)], ids=["once", "again and again"]
)
async def test_the_command_line_survives_kills(
    sandbox: Sandbox, tmp_path: pathlib.Path, count: int, kills: list[int]
) -> None:
    """The same is true for `a2e batch run`, which is run again with the same arguments each time."""
    sandbox.faults = FaultPlan(chances=CHARGED_FIRST)
    jobs = make_jobs(tmp_path, count, images=20)
    with (tmp_path / "jobs.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, jobs[0])
        table.writeheader()
        table.writerows(jobs)
    options = ["--journal", "journal/journal.sqlite", "--out", "videos", "--max-running", "30"]
    batch = Batch(tmp_path, sandbox, jobs, [sys.executable, "-m", "a2e_async", "batch", "run", "jobs.csv", *options])
    for starts in kills:  # during answers: a start that never arrived is searched for 20 s
        assert await batch.crash(starts, 0.35) == -signal.SIGKILL
        await batch.check_after_kill()
    assert batch.hits.unnoticed == len(kills)
    sandbox.faults = None
    await batch.finish()
    await batch.check()

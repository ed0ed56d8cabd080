"""Many workers that are killed and stopped at random, while PostgreSQL restarts and A2E has faults: all is paid once."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
from importlib import resources
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import quick

from a2e_async.cluster import Cluster
from a2e_async.sandbox import Fault, FaultPlan
from a2e_async.sandbox.faults.plan_json import plan_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from local_postgres import LocalPostgres

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="no other system has SIGKILL and SIGSTOP"),
    pytest.mark.timeout(300),
    pytest.mark.process("the workers are processes, which are killed"),
]

SUPPORT = pathlib.Path(__file__).parents[1] / "support"
TOKEN = "sk_sandbox"
VIDEO = resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()


def slow_faults(seed: int) -> FaultPlan:
    """Return a plan in which a tenth of the requests meet a fault, and starts and downloads take their time."""
    faults = FaultPlan.random(seed, rate=0.1)
    delays = {
        "start": {Fault("delay", seconds=0.2): 0.4, Fault("delay", seconds=0.3, after=True): 0.4},
        "cdn": {Fault("delay", seconds=0.1): 0.8},
    }
    chances = {operation: {**faults.chances[operation], **chance} for operation, chance in delays.items()}
    return attrs.evolve(faults, chances={**faults.chances, **chances})


@attrs.define(eq=False)
class LocalA2E:
    """Sandbox in a process of its own, so that neither a slow test nor a slow worker slows it down."""

    url: str
    session: aiohttp.ClientSession

    async def state(self, limit: int = 0) -> dict[str, Any]:
        """Return what its control API tells."""
        while True:
            try:
                async with self.session.get(f"{self.url}/_sandbox/state", params={"limit": str(limit)}) as response:
                    return dict(await response.json())
            except aiohttp.ClientConnectionError:  # a fault of the plan: the port refuses all connections for a while
                await asyncio.sleep(0.05)

    async def wait_for_charges(self, wanted: int) -> None:
        """Wait until it has charged that many starts."""
        async with asyncio.timeout(90):
            while (await self.state())["counts"]["tasks"] < wanted:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def local_a2e(seed: int) -> AsyncIterator[LocalA2E]:
    """Run a sandbox."""
    options = {"speed": 60, "render": "tiny", "seed": seed, "coins": 1_000_000, "token": TOKEN}
    command = [sys.executable, str(SUPPORT / "sandbox_child.py")]
    command.append(json.dumps(options | {"faults": plan_json(slow_faults(seed))}))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = (await asyncio.to_thread(process.stdout.readline)).decode().strip()
        async with aiohttp.ClientSession() as session:
            try:
                yield LocalA2E(url, session)
            finally:
                process.kill()


@attrs.define(eq=False)
class Fleet:
    """Worker processes, of which there are always as many as at the beginning."""

    folder: pathlib.Path
    database: str
    url: str = ""
    rng: random.Random = attrs.field(factory=lambda: random.Random(0))
    workers: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    async def start(self) -> None:
        """Start one more worker, and wait until it begins."""
        path = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
        environ = {**os.environ, "PYTHONPATH": path, "A2E_BASE_URL": self.url, "A2E_API_TOKEN": TOKEN}
        command = [sys.executable, str(SUPPORT / "cluster_child.py"), self.database, str(self.folder / "videos")]
        with (self.folder / "said.txt").open("ab") as log:
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environ)
        self.workers.append(worker)
        assert worker.stdout is not None
        with worker.stdout:
            assert await asyncio.to_thread(worker.stdout.readline), self.stderr

    @property
    def stderr(self) -> str:
        """What all workers have written to stderr."""
        return (self.folder / "said.txt").read_text()[-6000:]

    async def kill(self) -> None:
        """Kill a random worker, and start another one."""
        victim = self.rng.choice(self.workers)
        victim.kill()
        await asyncio.to_thread(victim.wait)
        self.workers.remove(victim)
        await self.start()

    async def freeze(self, seconds: float) -> None:
        """Stop a random worker until its jobs were given away, and let it go on."""
        victim = self.rng.choice(self.workers)
        victim.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        victim.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.kill()
            worker.wait()


@pytest.fixture
def fleet(tmp_path: pathlib.Path, ready_database: str) -> Iterator[Fleet]:
    """Return a fleet without workers."""
    made = Fleet(tmp_path, ready_database)
    yield made
    made.close()


async def run_fleet(fleet: Fleet, postgres: LocalPostgres, seed: int, jobs: int, *, kills: int, freezes: int) -> None:
    """Run jobs on three workers, with trouble on the way, and check what was paid and stored."""
    fleet.rng = random.Random(seed)
    keys = [f"k{number}" for number in range(jobs)]
    options = {"image_url": "https://example.com/ada.png", **quick.PROMPTS}
    async with local_a2e(seed) as a2e, Cluster(fleet.database) as cluster:
        fleet.url = a2e.url
        await cluster.enqueue({"key": key, "name": key, **options} for key in keys)
        await asyncio.gather(*(fleet.start() for _ in range(3)))
        troubles = [fleet.kill] * kills + [lambda: fleet.freeze(2.5)] * freezes
        fleet.rng.shuffle(troubles)
        troubles.insert(len(troubles) // 2, lambda: asyncio.to_thread(postgres.restart))
        for number, trouble in enumerate(troubles, 1):
            await a2e.wait_for_charges(jobs * number // (len(troubles) + 1))
            await trouble()
        for worker in fleet.workers:
            assert await asyncio.to_thread(worker.wait, 120) == 0, fleet.stderr
        found = [job async for job in cluster.jobs()]
        state = await a2e.state(limit=100_000)
    assert {job.key: (job.state, job.error) for job in found} == dict.fromkeys(keys, ("succeeded", None)), fleet.stderr
    names = {task["id"]: task["name"].partition(" ")[0] for task in state["tasks"]}
    charged = collections.Counter(names[entry["task_id"]] for entry in state["ledger"] if entry["task_id"])
    assert {key: charged[key] for key in charged if charged[key] > 1} == {}, fleet.stderr
    assert charged == collections.Counter(keys)
    assert sum(job.coins or 0 for job in found) == sum(task["coins"] for task in state["tasks"])
    videos = {path.name: path.read_bytes() for path in (fleet.folder / "videos").glob("*.mp4")}
    assert videos == {f"{key}.mp4": VIDEO for key in keys}


async def test_a_few_jobs(fleet: Fleet, postgres: LocalPostgres) -> None:
    """All troubles at least once, in a few seconds."""
    await run_fleet(fleet, postgres, 1, 45, kills=1, freezes=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
async def test_many_jobs_with_kills(fleet: Fleet, postgres: LocalPostgres, seed: int) -> None:
    """A worker is killed every few seconds."""
    await run_fleet(fleet, postgres, seed, 300, kills=8, freezes=0)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
async def test_many_jobs_with_stops(fleet: Fleet, postgres: LocalPostgres, seed: int) -> None:
    """A worker is only slow every few seconds: it comes back after its jobs were given away."""
    await run_fleet(fleet, postgres, seed, 300, kills=0, freezes=8)

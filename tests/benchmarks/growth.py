"""How waits and batches grow: memory, CPU, and blocks of the event loop, from 100 to 100,000 waits and jobs.

A2E is a function in the same process, so that only the work of a2e-async is measured. Each number has a process of its
own. Python's garbage collector is on. One row calls `gc.freeze` when all waits have begun, as the page "Waiting" says.
A batch has a journal, and jobs that start from a link and download nothing. Run it with ``nox -s bench -- growth``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from unittest import mock

from a2e_async import A2EClient, Config, PollPolicy
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from tests.benchmarks._report import Row, Table, report
    from tests.benchmarks.fairness import LoopMonitor, Service
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import Row, Table, report
    from fairness import LoopMonitor, Service

COUNTS = (100, 1_000, 10_000, 100_000)
POLLS = 3  # of each task, whose CPU is measured

MAX_MEMORY = 4.0  # KiB a wait, with the record
MAX_RATIO = 1.1  # of the CPU of a poll at 100,000 tasks to that at 1,000
MAX_BLOCK = 20.0  # milliseconds
MAX_GROWTH = 40.0  # MiB that 100,000 jobs take more than 1,000

STARTS, RUNNING = 200, 2000  # of a batch at the same time
QUICK = Config(poll=PollPolicy(initial=0.5, steps=((0.0, 0.5),)))


class CountingService(Service):
    """A2E that counts the tasks that are polled."""

    polled = 0

    async def send(self, request: Request) -> Response:
        """Return the response to a poll."""
        self.polled += len(request.json["ids"]) if request.json else 1
        return await super().send(request)


class BatchService:
    """A2E that accepts every start, and whose tasks end at once."""

    def __init__(self) -> None:
        self._ids = itertools.count()

    async def send(self, request: Request) -> Response:
        """Return the response to a start, a poll, or a page of the list, which is empty."""
        await asyncio.sleep(0.001)
        body: Mapping[str, Any] = request.json or {}
        if request.path.endswith("/start"):
            data: Any = _record(f"{next(self._ids):024x}", "sent", str(body["name"]))
        elif "ids" in body:
            data = [_record(task_id, "completed") for task_id in body["ids"]]
        elif request.path.endswith("/allRecords"):
            data = {"rows": [], "count": 0}
        else:
            data = _record(request.path.rpartition("/")[2], "completed")
        answer = json.dumps({"code": 0, "data": data, "trace_id": "a1ae4185"}).encode()
        return Response(status=200, headers={"content-type": "application/json"}, body=answer)


def _record(task_id: str, word: str, name: str = "") -> dict[str, object]:
    link = "https://example.com/a.mp4" if word == "completed" else ""
    texts = {"name": name, "prompt": "she smiles at the camera", "negative_prompt": "blurry"}
    return {"_id": task_id, "current_status": word, "coins": 30, "result_url": link, **texts}


def memory() -> int:
    """Return the bytes of this process in memory."""
    return int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


async def measure(count: int, *, freeze: bool) -> dict[str, float]:
    """Return the KiB of a wait, the CPU microseconds of a poll of one task, and the longest block in ms."""
    service = CountingService()
    with mock.patch("a2e_async.client.HttpTransport", return_value=service):
        a2e = A2EClient("sk_bench", base_url="http://127.0.0.1:1")
        ids = [f"{number:024x}" for number in range(count)]
        service.prepare(ids)  # the answers of the server are not memory of a wait
        handles = [a2e.image_to_video.task(task_id) for task_id in ids]
        gc.collect()
        before = memory()

        async def wait() -> int:
            return len([result async for result in a2e.image_to_video.wait_all(handles)])

        waiting = asyncio.create_task(wait())
        service.polled = 0
        while service.polled < count * 2:
            await asyncio.sleep(0.05)
        grown = memory() - before
        if freeze:
            gc.collect()
            gc.freeze()
        monitor = LoopMonitor()
        await asyncio.sleep(0.1)
        monitor.take()
        service.polled, target = 0, count * POLLS
        while service.polled < target:
            await asyncio.sleep(0.05)
        block = monitor.take()
        monitor.stop()
        service.polled, began = 0, time.process_time()  # without the CPU of the monitor
        while service.polled < target:
            await asyncio.sleep(0.5)
        cpu = time.process_time() - began
        await a2e.aclose()
        assert await waiting == count
    return {"count": count, "memory": grown / count / 1024, "cpu": cpu / service.polled * 1e6, "block": block}


async def measure_jobs(count: int, folder: str) -> dict[str, float]:
    """Return the CPU microseconds of a job, the MiB that a batch takes, and the longest block in ms."""
    with mock.patch("a2e_async.client.HttpTransport", return_value=BatchService()):
        async with A2EClient("sk_bench", base_url="http://127.0.0.1:1", config=QUICK) as a2e:

            async def make(number: int, name: str) -> None:
                jobs = (
                    {
                        "key": f"job-{each}",
                        "image_url": "https://example.com/a.png",
                        "prompt": f"she smiles {each}",
                        "negative_prompt": "blurry",
                    }
                    for each in range(number)
                )
                batch = a2e.image_to_video.batch(
                    jobs, journal=pathlib.Path(folder, name), max_starts=STARTS, max_running=RUNNING, total=number
                )
                assert sum([result.ok async for result in batch]) == number

            await make(10, "first.sqlite")  # imports, and opens SQLite
            gc.collect()
            before, monitor = memory(), LoopMonitor()
            peak, began = before, time.process_time()
            running = asyncio.create_task(make(count, "jobs.sqlite"))
            while not running.done():
                await asyncio.wait([running], timeout=0.25)
                peak = max(peak, memory())
            cpu = time.process_time() - began
            running.result()
            block = monitor.take()
            monitor.stop()
    return {"count": count, "cpu": cpu / count * 1e6, "memory": (peak - before) / 2**20, "block": block}


def run(count: int, *options: str) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--count", str(count), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def main() -> int:
    """Measure, print the rows, and return 1 if one is over its bound."""
    parser = argparse.ArgumentParser(description="Measure how waits and batches grow.")
    parser.add_argument("--count", type=int, help="one measurement, as JSON")
    parser.add_argument("--freeze", action="store_true", help="with gc.freeze()")
    parser.add_argument("--jobs", action="store_true", help="of jobs of a batch, not of waits")
    given = parser.parse_args()
    if given.count and given.jobs:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(measure_jobs(given.count, folder))))
        return 0
    if given.count:
        print(json.dumps(asyncio.run(measure(given.count, freeze=given.freeze))))
        return 0
    measured = [run(count) for count in COUNTS]
    frozen = run(COUNTS[-1], "--freeze")
    jobs = [run(count, "--jobs") for count in COUNTS]
    for row in [*measured, frozen, *jobs]:
        print({name: round(value, 2) for name, value in row.items()}, flush=True)
    last, thousand = measured[-1], measured[1]
    name = f"{COUNTS[-1]:,} waits"
    rows = [
        Row(name=f"{name}, memory of a wait", value=last["memory"], bound=MAX_MEMORY, unit="KiB"),
        Row(name=f"{name}, CPU of a poll to that at 1,000", value=last["cpu"] / thousand["cpu"], bound=MAX_RATIO),
        Row(name=f"{name}, longest block, gc.freeze()", value=frozen["block"], bound=MAX_BLOCK, unit="ms"),
        Row(name=f"{name}, longest block", value=last["block"], bound=MAX_BLOCK, unit="ms"),
        Row(
            name=f"{COUNTS[-1]:,} jobs, CPU of a job to that at 1,000",
            value=jobs[-1]["cpu"] / jobs[1]["cpu"],
            bound=MAX_RATIO,
        ),
        Row(
            name=f"{COUNTS[-1]:,} jobs, memory more than 1,000",
            value=jobs[-1]["memory"] - jobs[1]["memory"],
            bound=MAX_GROWTH,
            unit="MiB",
        ),
    ]
    tables = [
        Table(
            name=f"growth-{what}",
            head=[what, *titles],
            cells=[
                [f"{row['count']:,.0f}", *(f"{row[name]:,.4g}" for name in ("memory", "cpu", "block"))] for row in found
            ],
        )
        for what, titles, found in (
            ("waits", ("KiB a wait", "µs CPU a poll of a task", "ms longest block"), measured),
            ("jobs", ("MiB a batch", "µs CPU a job", "ms longest block"), jobs),
        )
    ]
    return report(rows, tables)


if __name__ == "__main__":
    sys.exit(main())

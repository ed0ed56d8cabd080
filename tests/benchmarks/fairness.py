"""How long 50,000 waiting tasks block the event loop, measured by a task that wakes up every millisecond.

A2E is a function in the same process, so that only the work of a2e-async delays that task. Python's garbage collector is
off during the measurement: it goes through all objects of the program in one pass. The second column includes it. A machine
that is shared stops each program now and then, and that looks like a block. So a block of a phase is the median of seven
rounds. Run it with ``nox -s bench -- fairness``. Fails if the loop is blocked for more than 20 ms at a time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import pathlib
import statistics
import sys
import time
from typing import TYPE_CHECKING
from unittest import mock

from a2e_async import A2EClient, NetworkError
from a2e_async._protocol.converter import preload
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.benchmarks._report import ROUNDS, Row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import ROUNDS, Row, report

TASKS = 50_000
BOUND = 20.0  # milliseconds

# The phases and their lengths in seconds; closing comes last.
PHASES = {"start": 8.0, "wait": 12.0, "poll_now": 4.0, "outage": 8.0, "wait again": 4.0}


class Service:
    """Transport that answers each poll after 20 ms; no task ever ends."""

    def __init__(self) -> None:
        self.is_outage = False
        self._records: dict[str, bytes] = {}

    async def send(self, request: Request) -> Response:
        """Return the response to a poll, as a transport does."""
        await asyncio.sleep(0.02)
        if self.is_outage:
            msg = "unreachable"
            raise NetworkError(msg)
        ids = request.json["ids"] if request.json else [request.path.rpartition("/")[2]]
        data = b",".join([self._record(task_id) for task_id in ids])
        body = b'{"code": 0, "data": %b, "trace_id": "a1ae4185"}' % (b"[%b]" % data if request.json else data)
        return Response(status=200, headers={"content-type": "application/json"}, body=body)

    def prepare(self, ids: Iterable[str]) -> None:
        """Encode the records of tasks, so that the server takes no time and no memory later."""
        for task_id in ids:
            self._record(task_id)

    def _record(self, task_id: str) -> bytes:
        if task_id not in self._records:
            self._records[task_id] = json.dumps(_record(task_id)).encode()
        return self._records[task_id]


def _record(task_id: str) -> dict[str, object]:
    texts = {"name": "Ada [a2e:7f3k2m9q4d]", "prompt": "she smiles at the camera", "negative_prompt": "blurry"}
    state = {"current_status": "processing", "failed_message": "", "failed_code": "", "result_url": ""}
    return {"_id": task_id, "image_url": "https://example.com/a.png", "coins": 30, **texts, **state}


class LoopMonitor:
    """Wakes up every millisecond, and keeps the longest delay."""

    def __init__(self) -> None:
        self._task = asyncio.create_task(self._run())
        self.max_delay = 0.0

    async def _run(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.max_delay, last = max(self.max_delay, now - last - 0.001), now

    def take(self) -> float:
        """Return the longest delay in milliseconds, and reset it."""
        max_delay, self.max_delay = self.max_delay * 1000, 0.0
        return max_delay

    def stop(self) -> None:
        """Stop the monitor."""
        self._task.cancel()


async def measure() -> dict[str, float]:
    """Return the longest block of the event loop in each phase, in milliseconds."""
    service = Service()
    with mock.patch("a2e_async.client.HttpTransport", return_value=service):
        a2e = A2EClient("sk_bench", base_url="http://127.0.0.1:1")
        ids = [f"{number:024x}" for number in range(TASKS)]
        service.prepare(ids)
        preload()  # as the transport does, whose place the function takes
        handles = [a2e.image_to_video.task(task_id) for task_id in ids]

        async def wait() -> int:
            return len([result async for result in a2e.image_to_video.wait_all(handles)])

        monitor = LoopMonitor()
        await asyncio.sleep(0.1)
        monitor.take()
        waiting = asyncio.create_task(wait())
        blocked_for = {}
        for phase, seconds in PHASES.items():
            service.is_outage = phase == "outage"
            if phase == "poll_now":
                a2e.poll_now()
            await asyncio.sleep(seconds)
            blocked_for[phase] = monitor.take()
        await a2e.aclose()
        assert await waiting == TASKS
        blocked_for["closing"] = monitor.take()
        monitor.stop()
        return blocked_for


def main() -> int:
    """Measure, print a table, and return 1 if the event loop was blocked for too long."""
    collected, rounds = asyncio.run(measure()), list[dict[str, float]]()
    gc.disable()
    for _ in range(ROUNDS):
        gc.collect()
        rounds.append(asyncio.run(measure()))
    blocked_for = {phase: statistics.median(each[phase] for each in rounds) for phase in collected}
    print(f"longest block of the event loop with {TASKS:,} waiting tasks, in ms:\n")
    print("| phase | without the garbage collector | with the garbage collector |")
    print("| --- | ---: | ---: |")
    for phase, blocked in blocked_for.items():
        print(f"| {phase} | {blocked:.1f} | {collected[phase]:.1f} |")
    name = f"longest block of the loop by {TASKS:,} waiting tasks, without garbage collection"
    return report([Row(name=name, value=max(blocked_for.values()), bound=BOUND, unit="ms")])


if __name__ == "__main__":
    sys.exit(main())

"""How long 50,000 waiting tasks hold up the event loop, beside a heart that beats in it every millisecond.

A2E is a function in the same process, so that the heart is late for nothing but our own work. Python's garbage collector is
switched off while it is measured: it looks at all objects of the program at once, whoever made them, and the second column
says what it adds. Run it with ``nox -s bench -- fairness``. Fails if the loop is held for more than 20 ms at a time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from unittest import mock

from a2e_async import A2EClient, NetworkError
from a2e_async._protocol.messages import Request, Response

TASKS = 50_000
BOUND = 20.0
"""Milliseconds."""

PHASES = {"begin to wait": 8.0, "wait": 12.0, "be nudged": 4.0, "bear an outage": 8.0, "wait again": 4.0}
"""What happens, and for how many seconds; closing comes last."""


class Service:
    """Answers every question after 20 ms; no task ever ends."""

    def __init__(self) -> None:
        self.is_out = False
        self._answers: dict[tuple[str, ...], bytes] = {}

    async def send(self, request: Request) -> Response:
        """Answer as a transport does."""
        await asyncio.sleep(0.02)
        if self.is_out:
            msg = "out of reach"
            raise NetworkError(msg)
        ids = tuple(request.json["ids"]) if request.json else (request.path.rpartition("/")[2],)
        body = self._answers.get(ids)
        if body is None:
            records = [_record(task_id) for task_id in ids]
            data = records if request.json else records[0]
            body = self._answers[ids] = json.dumps({"code": 0, "data": data, "trace_id": "a1ae4185"}).encode()
        return Response(status=200, headers={"content-type": "application/json"}, body=body)


def _record(task_id: str) -> dict[str, object]:
    words = {"name": "Ada [a2e:7f3k2m9q4d]", "prompt": "she smiles at the camera", "negative_prompt": "blurry"}
    fate = {"current_status": "processing", "failed_message": "", "failed_code": "", "result_url": ""}
    return {"_id": task_id, "image_url": "https://example.com/a.png", "coins": 30, **words, **fate}


class Heart:
    """Beats every millisecond, and remembers the longest time between two beats."""

    def __init__(self) -> None:
        self._task = asyncio.create_task(self._beat())
        self.longest = 0.0

    async def _beat(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last - 0.001), now

    def take(self) -> float:
        """Return the longest hold in milliseconds, and begin anew."""
        longest, self.longest = self.longest * 1000, 0.0
        return longest

    def stop(self) -> None:
        """Beat no longer."""
        self._task.cancel()


async def measure() -> dict[str, float]:
    """Return the longest hold of each phase, in milliseconds."""
    service = Service()
    with mock.patch("a2e_async.client.HttpTransport", return_value=service):
        a2e = A2EClient("sk_bench", base_url="http://127.0.0.1:1")
        handles = [a2e.image_to_video.task(f"{number:024x}") for number in range(TASKS)]

        async def wait() -> int:
            return len([outcome async for outcome in a2e.image_to_video.wait_all(handles)])

        heart = Heart()
        await asyncio.sleep(0.1)
        heart.take()
        waiting = asyncio.create_task(wait())
        held = {}
        for phase, seconds in PHASES.items():
            service.is_out = phase == "bear an outage"
            if phase == "be nudged":
                a2e.nudge()
            await asyncio.sleep(seconds)
            held[phase] = heart.take()
        await a2e.aclose()
        assert await waiting == TASKS
        held["be sent away"] = heart.take()
        heart.stop()
        return held


def main() -> int:
    """Measure, print a table, and return 1 if the event loop was held too long."""
    collected = asyncio.run(measure())
    gc.collect()
    gc.disable()
    held = asyncio.run(measure())
    print(f"longest hold of the event loop with {TASKS:,} waiting tasks, in ms:\n")
    print("| phase | ours | with the garbage collector |")
    print("| --- | ---: | ---: |")
    for phase, longest in held.items():
        print(f"| {phase} | {longest:.1f} | {collected[phase]:.1f} |")
    worst = max(held.values())
    print(f"\n{'ok' if worst <= BOUND else 'TOO LONG'}: {worst:.1f} ms, wanted at most {BOUND:g}")
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())

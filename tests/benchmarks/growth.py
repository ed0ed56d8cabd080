"""How waiting grows: memory and CPU a task, and the longest block of the event loop, from 100 to 100,000 waits.

A2E is a function in the same process, so that only the work of a2e-async is measured. Each number of waits has a process
of its own. Python's garbage collector is on. The last row calls `gc.freeze` when all waits have begun, as the page
"Waiting" says. With ``--plot FILE`` the rows are drawn as an SVG. Run it with ``nox -s bench -- growth``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import pathlib
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from unittest import mock

from a2e_async import A2EClient
from a2e_async._protocol.messages import Request, Response

if TYPE_CHECKING:
    from tests.benchmarks._report import Row, report
    from tests.benchmarks.fairness import LoopMonitor, Service
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import Row, report
    from fairness import LoopMonitor, Service

COUNTS = (100, 1_000, 10_000, 100_000)
POLLS = 3  # of each task, whose CPU is measured

MAX_MEMORY = 4.0  # KiB a wait, with the record
MAX_RATIO = 1.1  # of the CPU of a poll at 100,000 tasks to that at 1,000
MAX_BLOCK = 20.0  # milliseconds


class CountingService(Service):
    """A2E that counts the tasks that are polled."""

    polled = 0

    async def send(self, request: Request) -> Response:
        """Return the response to a poll."""
        self.polled += len(request.json["ids"]) if request.json else 1
        return await super().send(request)


def memory() -> int:
    """Return the bytes of this process in memory."""
    return int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


async def measure(count: int, *, freeze: bool) -> dict[str, float]:
    """Return the KiB of a wait, the CPU microseconds of a poll of one task, and the longest block in ms."""
    service = CountingService()
    with mock.patch("a2e_async.client.HttpTransport", return_value=service):
        a2e = A2EClient("sk_bench", base_url="http://127.0.0.1:1")
        ids = [f"{number:024x}" for number in range(count)]
        for start in range(0, count, 100):  # the answers of the server are not memory of a wait
            part = ids[start : start + 100]
            await service.send(Request(method="POST", path="/", json={"ids": part}))
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


def run(count: int, *, freeze: bool) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--count", str(count), *(["--freeze"] if freeze else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def draw(measured: list[dict[str, float]], path: pathlib.Path) -> None:
    """Draw memory, CPU and blocks over the number of waits, each as a share of the highest value."""
    width, height, margin = 640, 300, 56
    low, high = (math.log10(measured[number]["count"]) for number in (0, -1))
    styles = {
        "memory": ("#1f6feb", "KiB a wait"),
        "cpu": ("#d1242f", "µs CPU a poll of a task"),
        "block": ("#1a7f37", "ms longest block"),
    }
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 70}" font-family="sans-serif" '
            'font-size="12">'
        ),
        f"<title>Waiting from {measured[0]['count']:,.0f} to {measured[-1]['count']:,.0f} tasks</title>",
        f'<rect width="{width}" height="{height + 70}" fill="white"/>',
    ]

    def x(count: float) -> float:
        return margin + (math.log10(count) - low) / (high - low) * (width - 2 * margin)

    for row in measured:
        parts.append(
            f'<line x1="{x(row["count"]):.0f}" x2="{x(row["count"]):.0f}" y1="20" y2="{height}" stroke="#ddd"/>'
        )
        parts.append(
            f'<text x="{x(row["count"]):.0f}" y="{height + 18}" text-anchor="middle">{row["count"]:,.0f}</text>'
        )
    for number, (name, (color, title)) in enumerate(styles.items()):
        most = max(row[name] for row in measured)
        points = [(x(row["count"]), height - row[name] / most * (height - 40), row[name]) for row in measured]
        line = " ".join(f"{left:.0f},{top:.0f}" for left, top, _ in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        for left, top, value in points:
            parts.append(f'<circle cx="{left:.0f}" cy="{top:.0f}" r="3" fill="{color}"/>')
            parts.append(
                f'<text x="{left:.0f}" y="{top - 7:.0f}" fill="{color}" text-anchor="middle">{value:,.3g}</text>'
            )
        parts.append(f'<text x="{margin + number * 190}" y="{height + 48}" fill="{color}">{title}</text>')
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def main() -> int:
    """Measure, print the rows, and return 1 if one is over its bound."""
    parser = argparse.ArgumentParser(description="Measure how waiting grows.")
    parser.add_argument("--count", type=int, help="one measurement, as JSON")
    parser.add_argument("--freeze", action="store_true", help="with gc.freeze()")
    parser.add_argument("--plot", type=pathlib.Path, help="write an SVG")
    given = parser.parse_args()
    if given.count:
        print(json.dumps(asyncio.run(measure(given.count, freeze=given.freeze))))
        return 0
    measured = [run(count, freeze=False) for count in COUNTS]
    frozen = run(COUNTS[-1], freeze=True)
    for row in [*measured, frozen]:
        print({name: round(value, 2) for name, value in row.items()}, flush=True)
    if given.plot:
        draw(measured, given.plot)
    last, thousand = measured[-1], measured[1]
    name = f"{COUNTS[-1]:,} waits"
    rows = [
        Row(name=f"{name}, memory of a wait", value=last["memory"], bound=MAX_MEMORY, unit="KiB"),
        Row(name=f"{name}, CPU of a poll to that at 1,000", value=last["cpu"] / thousand["cpu"], bound=MAX_RATIO),
        Row(name=f"{name}, longest block, gc.freeze()", value=frozen["block"], bound=MAX_BLOCK, unit="ms"),
    ]
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())

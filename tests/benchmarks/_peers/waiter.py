"""Wait for many tasks at once with one SDK, and print the measurements as one line of JSON, see `main`.

    python waiter.py MODULE URL SETTLED DEADLINE

Like `worker.py`, it is run by the Python of that SDK's environment: it may import only the standard library and MODULE.
The server has all tasks already, and starts their time when this process is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import importlib
import json
import os
import pathlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

_PICK_UPS = 20  # tasks that are picked up at the same time


class Sdk(Protocol):
    """Interface of a MODULE. Only the URL and the key are set; all else is the SDK's default."""

    def connect(self, url: str, key: str) -> AbstractAsyncContextManager[Any]:
        """Make the SDK's asynchronous client."""

    async def pick_up(self, client: Any, id: str) -> Any:
        """Return an object that `wait` takes."""

    async def wait(self, client: Any, started: Any) -> str:
        """Wait for it, and return its link, or its id if the vendor has no links."""


class Progress:
    """Measurements in seconds and bytes, and the end of each wait."""

    def __init__(self) -> None:
        """Start with the memory before any task is known."""
        self.ended: dict[str, tuple[float, str]] = {}
        self.before, _ = measure_memory()
        self.waiting, self.cost = 0, 0.0

    async def begin(self, begins: float) -> None:
        """Start the measurement at this Unix time."""
        await asyncio.sleep(begins - time.time())
        self.begins, self.cpu = begins, time.process_time()

    async def settle(self, delay: float) -> None:
        """Measure the memory when all waits have started."""
        await asyncio.sleep(delay)
        self.waiting, self.cost = measure_memory()

    def print(self) -> None:
        """Print the measurements."""
        spent = {"cpu": time.process_time() - self.cpu - self.cost, "took": time.time() - self.begins}
        sizes = {"before": self.before, "waiting": self.waiting, "peak": peak_memory()}
        print(json.dumps({**spent, **sizes, "ended": dict(self.ended)}), flush=True)

    def stop(self) -> None:
        """Stop the process: to cancel thousands of waits can take longer than all the rest."""
        self.print()
        os._exit(0)


def measure_memory() -> tuple[int, float]:
    """Return the memory of this process in bytes, and the CPU seconds of the measurement."""
    began = time.process_time()
    gc.collect()
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        weight = pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        weight = peak_memory()
    return weight, time.process_time() - began


def peak_memory() -> int:
    """Return the largest memory of this process so far in bytes; 0 if the system has no number."""
    with contextlib.suppress(OSError):  # on Linux a child process inherits ru_maxrss, but not VmHWM
        for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return 0


def request(url: str, method: str, path: str) -> Any:
    """Send the server a request that no SDK has."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request(method, path)
    body = json.load(connection.getresponse())
    connection.close()
    return body


async def pick_up_all(sdk: Sdk, client: Any, ids: list[str]) -> list[Any]:
    """Pick all tasks up, a few at a time."""
    found: list[Any] = [None] * len(ids)

    async def pick_up(numbers: Iterator[int]) -> None:
        for number in numbers:
            found[number] = await sdk.pick_up(client, ids[number])

    left = iter(range(len(ids)))
    await asyncio.gather(*(pick_up(left) for _ in range(_PICK_UPS)))
    return found


async def wait_one(sdk: Sdk, client: Any, started: Any, id: str, progress: Progress) -> None:
    """Wait for one task and record the time; an exception is a result too."""
    raised = ""
    try:
        if id not in await sdk.wait(client, started):
            raised = "result of another task"
    except Exception as error:  # noqa: BLE001  an SDK may raise anything
        raised = type(error).__name__
    progress.ended[id] = (time.time(), raised)


async def main(module: str, url: str, settled: str, deadline: str) -> None:
    """Wait for all tasks, for DEADLINE seconds at most, and print a dict.

    It holds ``cpu`` and ``took`` in seconds; ``before``, ``waiting`` (SETTLED seconds after the begin) and ``peak_memory`` in
    bytes; and for each id in ``ended`` the Unix time at which its wait ended, and the exception, if any.
    """
    sdk = cast("Sdk", importlib.import_module(module))
    ids = request(url, "GET", "/bench/tasks")
    async with sdk.connect(url, "sk_bench") as client:
        progress = Progress()
        started = await pick_up_all(sdk, client, ids)
        await progress.begin(request(url, "POST", "/bench/begin"))
        alarm = threading.Timer(
            float(deadline), progress.stop
        )  # a thread, since an event loop can be held up for minutes
        alarm.start()
        settling = asyncio.create_task(progress.settle(float(settled)))
        await asyncio.gather(*(wait_one(sdk, client, *pair, progress) for pair in zip(started, ids, strict=True)))
        alarm.cancel()
        progress.print()
        settling.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""Wait for many tasks at once with one SDK, and print what it took as one line of JSON, see `main`.

    python waiter.py MODULE URL SETTLED DEADLINE

As `worker.py` it is run by the Python of that SDK's environment: only the standard library and MODULE may be imported here.
The server has all tasks already, and begins their time when it is told that everything is ready here.
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

_PICKING = 20
"""Tasks that are picked up at the same time."""


class Sdk(Protocol):
    """What a MODULE offers. Only the URL and the key are set; all else is the SDK's default."""

    def connect(self, url: str, key: str) -> AbstractAsyncContextManager[Any]:
        """Make the SDK's asynchronous client."""

    async def pick_up(self, client: Any, id: str) -> Any:
        """Return what can be waited for."""

    async def wait(self, client: Any, started: Any) -> str:
        """Wait for it, and return its link, or its id where a vendor has no links."""


class Stand:
    """How the waiting stands, in seconds and bytes, and how each wait has ended that is over."""

    def __init__(self) -> None:
        """Begin with the memory that there is before any task is known."""
        self.told: dict[str, tuple[float, str]] = {}
        self.before, _ = weigh()
        self.waiting, self.cost = 0, 0.0

    async def begin(self, begins: float) -> None:
        """Begin to count at this Unix time."""
        await asyncio.sleep(begins - time.time())
        self.begins, self.cpu = begins, time.process_time()

    async def settle(self, delay: float) -> None:
        """Look at the memory when all waits are in place."""
        await asyncio.sleep(delay)
        self.waiting, self.cost = weigh()

    def tell(self) -> None:
        """Print how it stands."""
        spent = {"cpu": time.process_time() - self.cpu - self.cost, "took": time.time() - self.begins}
        sizes = {"before": self.before, "waiting": self.waiting, "peak": peak()}
        print(json.dumps({**spent, **sizes, "told": dict(self.told)}), flush=True)

    def give_up(self) -> None:
        """End it all: to cancel thousands of waits can take longer than all that went before."""
        self.tell()
        os._exit(0)


def weigh() -> tuple[int, float]:
    """Return the memory of this process in bytes, and the seconds of CPU that it cost to find out."""
    began = time.process_time()
    gc.collect()
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        weight = pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        weight = peak()
    return weight, time.process_time() - began


def peak() -> int:
    """Return the most memory that this process ever had, in bytes; 0 where nobody tells."""
    with contextlib.suppress(OSError):  # Linux passes ru_maxrss on to whom one starts, and VmHWM not
        for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return 0


def ask(url: str, method: str, path: str) -> Any:
    """Ask the server something that no SDK would."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request(method, path)
    said = json.load(connection.getresponse())
    connection.close()
    return said


async def pick_up_all(sdk: Sdk, client: Any, ids: list[str]) -> list[Any]:
    """Pick all tasks up, a few at a time."""
    found: list[Any] = [None] * len(ids)

    async def pick_up(numbers: Iterator[int]) -> None:
        for number in numbers:
            found[number] = await sdk.pick_up(client, ids[number])

    left = iter(range(len(ids)))
    await asyncio.gather(*(pick_up(left) for _ in range(_PICKING)))
    return found


async def wait_one(sdk: Sdk, client: Any, started: Any, id: str, stand: Stand) -> None:
    """Wait for one task and note the time; an exception is a result like any other here."""
    raised = ""
    try:
        if id not in await sdk.wait(client, started):
            raised = "another's result"
    except Exception as error:  # noqa: BLE001  whatever an SDK raises
        raised = type(error).__name__
    stand.told[id] = (time.time(), raised)


async def main(module: str, url: str, settled: str, deadline: str) -> None:
    """Wait for all tasks, for DEADLINE seconds at most, and print a dict.

    It holds ``cpu`` and ``took`` in seconds; ``before``, ``waiting`` (SETTLED seconds after the beginning) and ``peak`` in
    bytes; and for each id in ``told`` the Unix time at which its wait ended, and what it raised, if anything.
    """
    sdk = cast("Sdk", importlib.import_module(module))
    ids = ask(url, "GET", "/bench/tasks")
    async with sdk.connect(url, "sk_bench") as client:
        stand = Stand()
        started = await pick_up_all(sdk, client, ids)
        await stand.begin(ask(url, "POST", "/bench/begin"))
        alarm = threading.Timer(
            float(deadline), stand.give_up
        )  # a thread, since an event loop can be held up for minutes
        alarm.start()
        settling = asyncio.create_task(stand.settle(float(settled)))
        await asyncio.gather(*(wait_one(sdk, client, *pair, stand) for pair in zip(started, ids, strict=True)))
        alarm.cancel()
        stand.tell()
        settling.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

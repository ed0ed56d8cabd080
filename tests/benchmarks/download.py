"""A download of 500 MiB: `A2EClient.download` next to a hand-written loop of aiohttp that writes to the disk.

The file is served by a process of its own. Each download has a process of its own too, so that what it says about its
memory is true; before it is measured, it fetches something small. Both sides take turns, and the ratio is the median of
the ratios of the rounds, so that a machine that is busy for a while disturbs only a few. The loop by hand reads pieces of
1 MiB, which is where it is fastest. Run it with ``nox -s bench -- download``; it needs 1 GiB of disk. Fails if the ratio
is below the bound, or if memory is not flat.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import aiohttp
import attrs
from aiohttp import web

from a2e_async import A2EClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from multiprocessing.connection import Connection
    from typing import TypeAlias

    Side: TypeAlias = Callable[[str, pathlib.Path, Connection], Coroutine[None, None, None]]

SIZE = 500
"""MiB."""
ROUNDS = 15
RATIO = 0.85
GROWTH = 16.0
"""MiB over the size before."""

MIB = 1024 * 1024
CONTEXT = multiprocessing.get_context("spawn")
STATUS = pathlib.Path("/proc/self/status")


@attrs.frozen
class Sample:
    """One download: MiB a second, and by how many MiB the process has grown at its largest."""

    speed: float
    growth: float


def serve(folder: str, pipe: Connection) -> None:
    """Serve the files of a folder until the process is ended."""

    async def main() -> None:
        application = web.Application()
        application.add_routes([web.static("/", folder)])
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


async def by_hand(url: str, target: pathlib.Path, pipe: Connection) -> None:
    """Download as the documentation of aiohttp does it."""

    async def fetch(name: str) -> None:
        async with session.get(f"{url}/{name}") as answer:
            with target.open("wb") as file:
                async for chunk in answer.content.iter_chunked(MIB):
                    file.write(chunk)

    async with aiohttp.ClientSession() as session:
        await measure(fetch, pipe)


async def by_sdk(url: str, target: pathlib.Path, pipe: Connection) -> None:
    """Download with the package."""

    async def fetch(name: str) -> None:
        await a2e.download(f"{url}/{name}", target, overwrite=True)

    async with A2EClient("sk_bench", base_url=url) as a2e:
        await measure(fetch, pipe)


async def measure(fetch: Callable[[str], Awaitable[None]], pipe: Connection) -> None:
    """Fetch something small, then the video, and send the sample of that."""
    await fetch("small.mp4")
    before = memory("VmRSS")
    began = time.perf_counter()
    await fetch("film.mp4")
    speed = SIZE / (time.perf_counter() - began)
    pipe.send(Sample(speed, memory("VmHWM") - before))


def memory(word: str) -> float:
    """Return MiB of this process: ``VmRSS`` is what it takes now, ``VmHWM`` the most that it ever took."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(word))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB  # the most so far, in both cases


def download(side: Side, url: str, target: str, pipe: Connection) -> None:
    """Download in a process of its own."""
    asyncio.run(side(url, pathlib.Path(target), pipe))


def sample(side: Side, url: str, folder: pathlib.Path) -> Sample:
    """Return the sample of one download."""
    here, there = CONTEXT.Pipe()
    target = folder / "arrived.mp4"
    child = CONTEXT.Process(target=download, args=(side, url, str(target), there))
    child.start()
    there.close()
    taken: Sample = here.recv()
    child.join()
    assert target.stat().st_size == SIZE * MIB
    target.unlink()
    return taken


def rounds(folder: pathlib.Path) -> list[tuple[Sample, Sample]]:
    """Return the samples of all rounds: by hand, and with the package."""
    served = folder / "served"
    served.mkdir()
    piece = os.urandom(MIB)
    for name, size in (("small.mp4", 4), ("film.mp4", SIZE)):
        with (served / name).open("wb") as file:
            file.writelines(piece for _ in range(size))
    here, there = CONTEXT.Pipe()
    server = CONTEXT.Process(target=serve, args=(str(served), there), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{here.recv()}"
        return [(sample(by_hand, url, folder), sample(by_sdk, url, folder)) for _ in range(ROUNDS)]
    finally:
        server.terminate()
        server.join()


def main() -> int:
    """Measure, print a table, and return 1 if a bound is missed."""
    with tempfile.TemporaryDirectory() as folder:
        samples = rounds(pathlib.Path(folder))
    speeds = [(hand.speed, sdk.speed) for hand, sdk in samples]
    ratio = statistics.median(sdk / hand for hand, sdk in speeds)
    growth = max(sdk.growth for _, sdk in samples)
    print(f"a download of {SIZE} MiB, medians of {ROUNDS} rounds:\n")
    print("| | aiohttp by hand | a2e_async | |")
    print("| --- | ---: | ---: | --- |")
    hand, sdk = (statistics.median(column) for column in zip(*speeds, strict=True))
    print(f"| MiB a second | {hand:.0f} | {sdk:.0f} | ratio {ratio:.2f}, wanted at least {RATIO} |")
    largest = max(hand.growth for hand, _ in samples)
    print(f"| growth of memory in MiB, the largest | {largest:.1f} | {growth:.1f} | wanted below {GROWTH:g} |")
    good = ratio >= RATIO and growth < GROWTH
    print(f"\n{'ok' if good else 'MISSED'}")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())

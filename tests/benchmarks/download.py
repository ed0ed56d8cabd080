"""A download of 500 MiB: `A2EClient.download` next to a hand-written loop of aiohttp that writes to the disk.

A separate process serves the file. Each download runs in its own process too, so that the memory is its own. Before the
measurement it downloads a small file. Both sides take turns, and the ratio is the median of
the ratios of the rounds, so that a busy moment of the machine affects only a few. The loop by hand reads chunks of
1 MiB, at which it is fastest. Run it with ``nox -s bench -- download``; it needs 1 GiB of disk. Fails if the ratio
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
    """One download: MiB a second, and the growth of the process in MiB at its peak."""

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

    async def download_file(name: str) -> None:
        async with session.get(f"{url}/{name}") as answer:
            with target.open("wb") as file:
                async for chunk in answer.content.iter_chunked(MIB):
                    file.write(chunk)

    async with aiohttp.ClientSession() as session:
        await measure(download_file, pipe)


async def by_sdk(url: str, target: pathlib.Path, pipe: Connection) -> None:
    """Download with the package."""

    async def download_file(name: str) -> None:
        await a2e.download(f"{url}/{name}", target, if_exists="overwrite")

    async with A2EClient("sk_bench", base_url=url) as a2e:
        await measure(download_file, pipe)


async def measure(download_file: Callable[[str], Awaitable[None]], pipe: Connection) -> None:
    """Download a small file, then the video, and send the sample of the video."""
    await download_file("small.mp4")
    before = memory("VmRSS")
    began = time.perf_counter()
    await download_file("video.mp4")
    speed = SIZE / (time.perf_counter() - began)
    pipe.send(Sample(speed, memory("VmHWM") - before))


def memory(field: str) -> float:
    """Return MiB of this process: ``VmRSS`` is its memory now, ``VmHWM`` its peak."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB  # the peak, in both cases


def download(side: Side, url: str, target: str, pipe: Connection) -> None:
    """Download in a separate process."""
    asyncio.run(side(url, pathlib.Path(target), pipe))


def sample(side: Side, url: str, folder: pathlib.Path) -> Sample:
    """Return the sample of one download."""
    here, there = CONTEXT.Pipe()
    target = folder / "downloaded.mp4"
    child = CONTEXT.Process(target=download, args=(side, url, str(target), there))
    child.start()
    there.close()
    measured: Sample = here.recv()
    child.join()
    assert target.stat().st_size == SIZE * MIB
    target.unlink()
    return measured


def rounds(folder: pathlib.Path) -> list[tuple[Sample, Sample]]:
    """Return the samples of all rounds: by hand, and with the package."""
    served = folder / "served"
    served.mkdir()
    chunk = os.urandom(MIB)
    for name, size in (("small.mp4", 4), ("video.mp4", SIZE)):
        with (served / name).open("wb") as file:
            file.writelines(chunk for _ in range(size))
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
    print(f"| MiB a second | {hand:.0f} | {sdk:.0f} | ratio {ratio:.2f}, required at least {RATIO} |")
    largest = max(hand.growth for hand, _ in samples)
    print(f"| growth of memory in MiB, the largest | {largest:.1f} | {growth:.1f} | required below {GROWTH:g} |")
    good = ratio >= RATIO and growth < GROWTH
    print(f"\n{'ok' if good else 'MISSED'}")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())

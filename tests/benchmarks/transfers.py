"""Downloads and uploads of 500 MiB, and of 1,000 files of 500 KB, next to hand-written loops of aiohttp.

A separate process serves and takes the files. Each transfer runs in its own process too, so that the memory is its own.
Before the measurement it transfers a small file. Both sides take turns, and a ratio is the median of the ratios of the
rounds, so that a busy moment of the machine affects only a few. The loop by hand reads chunks of 1 MiB, at which it is
fastest, writes them in the event loop, and leaves them to the kernel; a2e-async checks the content, and a file is on the
disk when its download returns. What that alone costs shows a second program by hand, which syncs each file and its
folder. Both sides ask A2E for a link before each upload, and the CDN for the file after it. Run it with
``nox -s bench -- transfers``; it needs 3 GiB of disk.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import pathlib
import resource
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import aiohttp
import attrs
from aiohttp import web

from a2e_async import A2EClient, Config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from multiprocessing.connection import Connection
    from typing import TypeAlias

    from tests.benchmarks._report import ROUNDS, Row, ratio_row, report

    Side: TypeAlias = Callable[[str, pathlib.Path, "Load", Connection], Coroutine[None, None, None]]
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import ROUNDS, Row, ratio_row, report

RATIO = 0.95
GROWTH = 16.0
"""MiB of memory over the size before."""

MIB = 1024 * 1024
CONTEXT = multiprocessing.get_context("spawn")
STATUS = pathlib.Path("/proc/self/status")
TOGETHER = Config().max_downloads
"""Transfers at the same time, of both sides."""

# a whole GIF of one pixel; what follows its end belongs to the file, and is not checked
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


@attrs.frozen
class Load:
    """One kind of transfer: files of the same size."""

    name: str
    size: int
    count: int
    is_upload: bool

    @property
    def mib(self) -> float:
        """MiB of all files."""
        return self.size * self.count / MIB


LOADS = tuple(
    Load(f"{kind} of {what}", size, count, is_upload=kind == "upload")
    for kind in ("download", "upload")
    for what, size, count in (("500 MiB", 500 * MIB, 1), ("1,000 files of 500 KB", 500_000, 1000))
)


@attrs.frozen
class Sample:
    """One transfer: MiB a second, and the growth of the process in MiB at its peak."""

    speed: float
    growth: float


def serve(folder: str, pipe: Connection) -> None:
    """Serve the files of a folder, and take uploads, until the process is ended."""

    async def presign(request: web.Request) -> web.Response:
        key, host = (await request.json())["key"], f"http://{request.host}"
        data = {"uploadUrl": f"{host}/put/{key}", "cdnUrl": f"{host}/put/{key}"}
        return web.json_response({"code": 0, "data": data})

    async def take(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        return web.Response()

    async def show(_: web.Request) -> web.Response:
        return web.Response()

    async def main() -> None:
        application = web.Application()
        application.add_routes(
            [
                web.post("/api/v1/r2/upload-presigned-url", presign),
                web.put("/put/{key}", take),
                web.head("/put/{key}", show),
                web.static("/files", folder),
            ]
        )
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


async def by_hand(url: str, folder: pathlib.Path, load: Load, pipe: Connection) -> None:
    """Transfer as the documentation of aiohttp does it."""

    async def download(number: int, size: int) -> None:
        async with session.get(f"{url}/files/{size}.gif") as answer:
            with (folder / f"{number}.gif").open("wb") as file:
                async for chunk in answer.content.iter_chunked(MIB):
                    file.write(chunk)

    async def upload(number: int, size: int) -> None:
        path = folder.parent / "served" / f"{size}.gif"
        body = {"key": f"{number}.gif", "contentType": "image/gif", "contentLength": size}
        async with session.post(f"{url}/api/v1/r2/upload-presigned-url", json=body) as answer:
            link = (await answer.json())["data"]["uploadUrl"]
        with path.open("rb") as file:
            async with session.put(link, data=file, headers={"Content-Length": str(size)}) as answer:
                answer.raise_for_status()
        async with session.head(link) as answer:
            answer.raise_for_status()

    async with aiohttp.ClientSession() as session:
        await measure(upload if load.is_upload else download, load, pipe)


async def by_hand_and_synced(url: str, folder: pathlib.Path, load: Load, pipe: Connection) -> None:
    """Download as a careful program does: a file gets its name when it is whole, and is on the disk afterwards."""

    def write(path: pathlib.Path, content: bytes) -> None:
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        parent = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    async def download(number: int, size: int) -> None:
        async with session.get(f"{url}/files/{size}.gif") as answer:
            content = await answer.read()
        await asyncio.to_thread(write, folder / f"{number}.gif", content)

    async with aiohttp.ClientSession() as session:
        await measure(download, load, pipe)


async def by_sdk(url: str, folder: pathlib.Path, load: Load, pipe: Connection) -> None:
    """Transfer with the package."""

    async def download(number: int, size: int) -> None:
        await a2e.download(f"{url}/files/{size}.gif", folder / f"{number}.gif", if_exists="overwrite")

    async def upload(_: int, size: int) -> None:
        await a2e.upload(folder.parent / "served" / f"{size}.gif")

    config = Config(max_upload_bytes=1024 * MIB, max_downloads=TOGETHER, max_uploads=TOGETHER)
    async with A2EClient("sk_bench", base_url=url, config=config) as a2e:
        await measure(upload if load.is_upload else download, load, pipe)


async def measure(transfer: Callable[[int, int], Awaitable[None]], load: Load, pipe: Connection) -> None:
    """Transfer a small file, then the files of a load, and send the sample of those."""
    slots = asyncio.Semaphore(TOGETHER)

    async def transfer_one(number: int) -> None:
        async with slots:
            await transfer(number, load.size)

    await transfer(-1, MIB)
    before = memory("VmRSS")
    began = time.perf_counter()
    await asyncio.gather(*map(transfer_one, range(load.count)))
    speed = load.mib / (time.perf_counter() - began)
    pipe.send(Sample(speed, memory("VmHWM") - before))


def memory(field: str) -> float:
    """Return MiB of this process: ``VmRSS`` is its memory now, ``VmHWM`` its peak."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB  # the peak, in both cases


def run_side(side: Side, url: str, folder: str, load: Load, pipe: Connection) -> None:
    """Transfer in a separate process."""
    asyncio.run(side(url, pathlib.Path(folder), load, pipe))


def sample(side: Side, url: str, folder: pathlib.Path, load: Load) -> Sample:
    """Return the sample of one transfer."""
    here, there = CONTEXT.Pipe()
    child = CONTEXT.Process(target=run_side, args=(side, url, str(folder), load, there))
    child.start()
    there.close()
    measured: Sample = here.recv()
    child.join()
    if not load.is_upload:
        assert all((folder / f"{number}.gif").stat().st_size == load.size for number in range(load.count))
    for path in folder.iterdir():
        path.unlink()
    return measured


def measure_loads(folder: pathlib.Path, rounds: int) -> list[Row]:
    """Return the rows of all loads."""
    served, target = folder / "served", folder / "downloaded"
    served.mkdir()
    target.mkdir()
    for size in {MIB, *(load.size for load in LOADS)}:
        with (served / f"{size}.gif").open("wb") as file:
            file.write(GIF)
            for begin in range(len(GIF), size, MIB):
                file.write(os.urandom(min(MIB, size - begin)))
    here, there = CONTEXT.Pipe()
    server = CONTEXT.Process(target=serve, args=(str(served), there), daemon=True)
    server.start()
    rows: list[Row] = []
    try:
        url = f"http://127.0.0.1:{here.recv()}"
        for load in LOADS:
            sides: list[Side] = [by_hand, by_sdk]
            if load.count > 1 and not load.is_upload and os.name == "posix":  # elsewhere a folder cannot be synced
                sides.append(by_hand_and_synced)
            samples = [[sample(side, url, target, load) for side in sides] for _ in range(rounds)]
            speeds = [[each.speed for each in row] for row in samples]
            rows.append(ratio_row(load.name, [(hand, sdk) for hand, sdk, *_ in speeds], RATIO, "MiB/s", speed=True))
            if len(sides) > 2:
                synced = [(hand, sdk) for _, sdk, hand in speeds]
                rows.append(ratio_row(f"{load.name}, by hand and synced", synced, RATIO, "MiB/s", speed=True))
            if load.count == 1:
                growth = max(sdk.growth for _, sdk, *_ in samples)
                rows.append(Row(name=f"{load.name}, growth of memory", value=growth, bound=GROWTH, unit="MiB"))
    finally:
        server.terminate()
        server.join()
    return rows


def main() -> int:
    """Measure, print a table, and return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description="Measure downloads and uploads.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="transfers of each side")
    with tempfile.TemporaryDirectory() as folder:
        return report(measure_loads(pathlib.Path(folder), parser.parse_args().rounds))


if __name__ == "__main__":
    sys.exit(main())

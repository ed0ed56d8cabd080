"""The example `fastapi_app` under load, and stopped with open streams.

500 visitors start videos, listen to their events, and read their state for a minute. uvicorn, a local A2E and the
visitors are three processes. Half of the reads are those of a route that does nothing: it waits for the same busy event
loop, so that the ratio shows what a read of a video costs. After that 50 visitors listen, and the server gets SIGTERM; the
next server goes on with all videos. Run it with ``nox -s bench -- web``; it fails over a bound.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import pathlib
import random
import resource
import signal
import socket
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PARTS = pathlib.Path(__file__).parent / "_web"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)  # one pixel
PROMPT = "she smiles"
READ_INTERVAL = 4.0  # seconds between two reads of a visitor
STREAMS = 50  # open at SIGTERM

MAX_RATIO = 5.0  # of the 99th percentiles of a read of a video and of the bare route
MAX_STOP = 1.0  # seconds from SIGTERM to the end of the process
MAX_GROWTH = 1.1  # of the memory, from a third of the time to its end


@attrs.define
class Load:
    """What the visitors have seen."""

    reads: list[float] = attrs.field(factory=list)
    bare: list[float] = attrs.field(factory=list)
    starts: list[float] = attrs.field(factory=list)
    ids: set[str] = attrs.field(factory=set)
    ended: int = 0
    errors: list[str] = attrs.field(factory=list)


class Server:
    """uvicorn with the application, in a process of its own."""

    def __init__(self, folder: pathlib.Path, env: dict[str, str]) -> None:
        """Choose a port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.log = folder / "log.txt"
        self._folder, self._env = folder, {**os.environ, **env}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the server, and wait until it listens."""
        options = ["--port", str(self._port), "--log-level", "warning", "--timeout-graceful-shutdown", "5"]
        command = [sys.executable, "-m", "uvicorn", "server:app", "--app-dir", str(PARTS), *options]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=self._folder, env=self._env, stdout=log, stderr=log
            )
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with http.get(f"{self.url}/bare"):
                        return
                await asyncio.sleep(0.05)

    async def stop(self) -> float:
        """Send SIGTERM, and return the seconds until the process has ended."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(30):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        return time.monotonic() - began


@contextlib.asynccontextmanager
async def local_a2e(speed: float, charged: dict[str, int]) -> AsyncIterator[dict[str, str]]:
    """Run a local A2E, yield the environment of its clients, and store how often each task was charged."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, str(PARTS / "local_a2e.py"), str(speed)]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**24)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
        process.stdin.close()
        charged |= json.loads(await process.stdout.readline())
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def start(http: aiohttp.ClientSession, load: Load) -> str:
    """Start a video, and return its id."""
    form = aiohttp.FormData({"prompt": PROMPT})
    form.add_field("image", io.BytesIO(PNG), filename="ada.png", content_type="image/png")
    began = time.monotonic()
    async with http.post("/videos", data=form, headers={"Idempotency-Key": random.randbytes(16).hex()}) as response:
        body = await response.json()
        if response.status != 202:
            msg = f"POST /videos: {response.status} {body}"
            raise RuntimeError(msg)
    load.starts.append(time.monotonic() - began)
    load.ids.add(body["id"])
    return str(body["id"])


async def read(http: aiohttp.ClientSession, path: str, seconds: list[float]) -> None:
    """Read a route, and note how long that took."""
    began = time.monotonic()
    async with http.get(path) as response:
        await response.read()
        if response.status != 200:
            msg = f"GET {path}: {response.status}"
            raise RuntimeError(msg)
    seconds.append(time.monotonic() - began)


async def listen(http: aiohttp.ClientSession, id: str, *, opened: asyncio.Event | None = None) -> str:
    """Listen to the events of a video to their end, and return its last status."""
    status: dict[str, Any] = {"status": "no event"}
    async with http.get(f"/videos/{id}/events") as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                status = json.loads(line[6:])
                if opened is not None:
                    opened.set()
    return str(status.get("status", status))


async def visit(http: aiohttp.ClientSession, load: Load, until: float, delay: float) -> None:
    """Be one visitor: start a video, listen to it, and read its state and the bare route meanwhile."""
    await asyncio.sleep(delay)
    try:
        while time.monotonic() < until:
            id = await start(http, load)
            listening = asyncio.create_task(listen(http, id))
            while not listening.done():
                await asyncio.wait([listening], timeout=random.uniform(0.5, 1.5) * READ_INTERVAL)
                for path, seconds in random.sample([(f"/videos/{id}", load.reads), ("/bare", load.bare)], 2):
                    await read(http, path, seconds)
            if (status := await listening) != "succeeded":
                load.errors.append(f"the last event of {id}: {status}")
            load.ended += 1
    except (aiohttp.ClientError, RuntimeError, TimeoutError) as error:
        load.errors.append(f"{type(error).__name__}: {error}")


async def usage(http: aiohttp.ClientSession) -> dict[str, float]:
    """Return what the server uses."""
    async with http.get("/usage", headers={"Connection": "close"}) as response:
        found: dict[str, float] = await response.json()
        return found


def session(server: Server) -> aiohttp.ClientSession:
    """Return a session without a limit of connections."""
    # uvicorn closes connections that are idle for 5 s: a request must not meet that
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    return aiohttp.ClientSession(server.url, connector=connector, timeout=aiohttp.ClientTimeout(total=300))


async def run_load(server: Server, clients: int, seconds: float) -> tuple[Load, list[dict[str, float]]]:
    """Let all visitors come; return what they have seen, and what the server used: before, at a third, at the end, after."""
    load = Load()
    async with session(server) as alone:
        used = [await usage(alone)]
        async with session(server) as http:
            until = time.monotonic() + seconds
            visits = [
                asyncio.create_task(visit(http, load, until, random.uniform(0, seconds / 6))) for _ in range(clients)
            ]
            await asyncio.sleep(seconds / 3)
            used.append(await usage(alone))
            await asyncio.sleep(max(0, until - time.monotonic()))
            used.append(await usage(alone))
            await asyncio.gather(*visits)
        for _ in range(60):  # connections to A2E that are idle are closed after a while
            used[3:] = [await usage(alone)]
            if used[3]["tasks"] <= used[0]["tasks"] and used[3]["sockets"] <= used[0]["sockets"]:
                break
            await asyncio.sleep(1)
    return load, used


async def run_stop(server: Server) -> tuple[float, list[str], set[str]]:
    """Stop the server with open streams, start it again; return the seconds, what went wrong, and the ids."""
    load, wrong = Load(), []
    async with session(server) as http:
        ids = await asyncio.gather(*(start(http, load) for _ in range(STREAMS)))
        opened = [asyncio.Event() for _ in ids]
        listening = [asyncio.create_task(listen(http, id, opened=event)) for id, event in zip(ids, opened, strict=True)]
        await asyncio.gather(*(event.wait() for event in opened))
        took = await server.stop()
        ended = await asyncio.gather(*listening, return_exceptions=True)
    wrong += [f"a stream ended with {end!r}" for end in ended if end not in {"queued", "running"}]
    await server.start()
    async with session(server) as http:
        async with http.get("/videos") as response:
            shown = {video["id"] for video in await response.json()}
        wrong += [f"{id} is not shown after the restart" for id in ids if id not in shown]
        ends = await asyncio.gather(*(listen(http, id) for id in ids))
        wrong += [f"the last event of {id}: {end}" for id, end in zip(ids, ends, strict=True) if end != "succeeded"]
        async with asyncio.timeout(20):
            while True:
                async with http.get("/videos") as response:
                    if all(video["final"] for video in await response.json()):
                        break
                await asyncio.sleep(0.1)
    return took, wrong, set(ids)


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else float("nan")


async def measure(clients: int, seconds: float) -> bool:
    """Print the table, and return whether all bounds were kept."""
    charged: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with local_a2e(speed=1.0, charged=charged) as env:
            server = Server(pathlib.Path(folder), env)
            await server.start()
            try:
                load, used = await run_load(server, clients, seconds)
                took, wrong, ids = await run_stop(server)
            finally:
                await server.stop()
        log = server.log.read_text()
    ids |= load.ids
    twice = sum(count != 1 for count in charged.values())
    growth = used[2]["memory"] / used[1]["memory"]
    ratio = p99(load.reads) / p99(load.bare)
    rows = [
        ("videos started and watched to their end", f"{load.ended:,} of {len(load.ids):,}", "all", load.ended == len(load.ids)),
        ("errors of visitors", str(len(load.errors)), "0", not load.errors),
        ("lines in the server's log", str(len(log.splitlines())), "0", not log),
        ("tasks of asyncio before, and after", f"{used[0]['tasks']:.0f}, {used[3]['tasks']:.0f}", "no more", used[3]["tasks"] <= used[0]["tasks"]),
        ("sockets before, and after", f"{used[0]['sockets']:.0f}, {used[3]['sockets']:.0f}", "no more", used[3]["sockets"] <= used[0]["sockets"]),
        ("memory at a third, and at the end, MB", f"{used[1]['memory']:.0f}, {used[2]['memory']:.0f}", f"{MAX_GROWTH} times", growth <= MAX_GROWTH),
        (f"p99 of {len(load.bare):,} bare reads, ms", f"{1000 * p99(load.bare):.1f}", "", True),
        (f"p99 of {len(load.reads):,} reads of a video, ms", f"{1000 * p99(load.reads):.1f}", f"{MAX_RATIO:g} times: {ratio:.2f}", ratio <= MAX_RATIO),
        (f"p99 of {len(load.starts):,} starts, s", f"{p99(load.starts):.1f}", "", True),
        ("CPU of the server in the load, s", f"{used[2]['cpu'] - used[0]['cpu']:.0f} of {seconds:.0f}", "", True),
        (f"SIGTERM with {STREAMS} open streams, s", f"{took:.2f}", f"{MAX_STOP:g}", took < MAX_STOP),
        ("waits not resumed", str(len(wrong)), "0", not wrong),
        ("tasks charged, and not once", f"{len(charged):,}, {twice}", f"{len(ids):,}, 0", set(charged) == ids and not twice),
    ]  # fmt: skip
    print(f"{clients} visitors, {seconds:.0f} s\n\n{'':42} {'measured':>16}   at most")
    for title, value, bound, is_kept in rows:
        print(f"{title:42} {value:>16}   {bound}{'' if is_kept else '  MISSED'}")
    for problem in [*load.errors[:5], *wrong[:5], *log.splitlines()[-20:]]:
        print(f"  {problem}")
    return all(is_kept for *_, is_kept in rows)


def main() -> int:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(description="Measure the example fastapi_app under load.")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))
    return int(not asyncio.run(measure(arguments.clients, arguments.seconds)))


if __name__ == "__main__":
    sys.exit(main())

"""Overhead of the SDK, compared to hand-written aiohttp: CPU per start and per get, the import, the first start.

The first start of a process must not hold the event loop much longer than the second.

Both clients run in this process, in turns, against one loopback server in a separate process. A ratio is the median
of the ratios of many short rounds, so that a busy moment of the machine affects both sides of a few of them. Run it
with ``nox -s bench -- overhead``; it fails over a bound.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import pathlib
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import aiohttp

from a2e_async import A2EClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection

    from tests.benchmarks._report import Row, ratio_row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import Row, ratio_row, report

START_BOUND, GET_BOUND, IMPORT_BOUND = 1.15, 1.12, 1.25
ROUNDS = 120
CALLS = 80
IMPORTS = 15
MAX_FIRST = 5.0  # milliseconds of CPU in the event loop by which the first start may cost more than the second

TASK_ID = "67d29023dd27a536fdf6e809"
LINK = "https://example.com/a.png"
RECORD = {
    "_id": TASK_ID,
    "name": "Test name",
    "image_url": LINK,
    "prompt": "she smiles at the camera",
    "negative_prompt": "blurry, extra fingers",
    "current_status": "sent",
    "coins": 30,
    "createdAt": "2025-03-13T07:58:27.863Z",
    "failed_message": "",
    "failed_code": "",
    "result_url": "",
}
TRACE_ID = "a1ae4185-7929-4fe1-8903-13a41cc072fd"
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Date: Thu, 13 Mar 2025 07:58:27 GMT\r\nServer: bench\r\n\r\n"
)


NEW_IDS = itertools.count()


class Canned(asyncio.Protocol):
    """Server that answers every request with the same record; for a start, with a new id and the name that was sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport for the answers."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            _, found, rest = head.partition(b"content-length:")
            length = int(rest.split(b"\r\n", 1)[0]) if found else 0
            if len(self.buffer) < end + 4 + length:
                return
            sent, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            name = {"_id": f"{next(NEW_IDS):024x}", "name": json.loads(sent)["name"]} if sent else {}
            body = json.dumps({"code": 0, "data": {**RECORD, **name}, "trace_id": TRACE_ID}).encode()
            self.transport.write(HEAD % len(body) + body)


def serve(pipe: Connection) -> None:
    """Serve until the process is ended."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def cpu(call: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU microseconds of one call, as the mean of many in a row."""
    began = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - began) / CALLS * 1e6


async def measure(base_url: str) -> list[Row]:
    """Return rows of operation, CPU by hand and CPU of the SDK in microseconds a call, and their ratio."""
    headers = {"Authorization": "Bearer sk_bench"}
    prefix = f"{base_url}/api/v1/userImage2Video"
    fields = {key: RECORD[key] for key in ("name", "image_url", "prompt", "negative_prompt")}
    # A kept connection that the server closes in this moment leaves the outcome of a start unknown. A program by hand can
    # only open a new one for each start to be safe; a2e-async looks whether the kept one is surely alive.
    new = aiohttp.TCPConnector(force_close=True)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        aiohttp.ClientSession(headers=headers, connector=new) as paid_session,
        A2EClient("sk_bench", base_url=base_url) as a2e,
    ):

        async def start_by_hand_on_new_connection() -> object:
            async with paid_session.post(f"{prefix}/start", json={**fields, "model_version": "a2e"}) as answer:
                return (await answer.json())["data"]["_id"]

        async def start_by_hand() -> object:
            async with session.post(f"{prefix}/start", json={**fields, "model_version": "a2e"}) as answer:
                return (await answer.json())["data"]["_id"]

        async def get_by_hand() -> object:
            async with session.get(f"{prefix}/{TASK_ID}") as answer:
                return (await answer.json())["data"]["current_status"]

        async def start_by_sdk() -> object:
            task = await a2e.image_to_video.start(
                name="Test name",
                image_url=LINK,
                prompt="she smiles at the camera",
                negative_prompt="blurry, extra fingers",
            )
            return task.id

        async def get_by_sdk() -> object:
            return (await a2e.image_to_video.get(TASK_ID)).current_status

        rows = []
        for name, by_hand, by_sdk, bound in (
            ("start, CPU", start_by_hand, start_by_sdk, START_BOUND),
            ("start, CPU, by hand on new connections", start_by_hand_on_new_connection, start_by_sdk, START_BOUND),
            ("get, CPU", get_by_hand, get_by_sdk, GET_BOUND),
        ):
            assert type(await by_hand()) is type(await by_sdk())
            samples = [(await cpu(by_hand), await cpu(by_sdk)) for _ in range(ROUNDS)]
            rows.append(ratio_row(name, samples, bound, "µs"))
        return rows


def measure_import() -> Row:
    """Return the row of the CPU to import aiohttp and the client, each in separate processes, in turns."""

    def run(statement: str) -> float:
        code = f"import time; began = time.process_time(); {statement}; print(time.process_time() - began)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(done.stdout) * 1000

    samples = [(run("import aiohttp"), run("from a2e_async import A2EClient")) for _ in range(IMPORTS)]
    return ratio_row("import, CPU", samples, IMPORT_BOUND, "ms")


FIRST_START = f"""
import asyncio, sys, time
from a2e_async import A2EClient

async def main():
    async with A2EClient("sk_bench", base_url=sys.argv[1]) as a2e:
        for _ in range(2):
            began = time.thread_time()  # another thread imports meanwhile what the answer becomes
            task = await a2e.image_to_video.start(
                name="Test name", image_url={LINK!r}, prompt="she smiles", negative_prompt="blurry"
            )
            assert task.record.coins
            print((time.thread_time() - began) * 1000)

asyncio.run(main())
"""


def measure_first_start(base_url: str) -> tuple[float, float]:
    """Return the CPU milliseconds of the event loop in the first and the second start, as medians of many processes."""
    samples = []
    for _ in range(IMPORTS):
        done = subprocess.run([sys.executable, "-c", FIRST_START, base_url], capture_output=True, text=True, check=True)
        samples.append([float(line) for line in done.stdout.split()])
    first, second = (statistics.median(column) for column in zip(*samples, strict=True))
    return first, second


def main() -> int:
    """Measure, print a table, and return 1 if a row is over its bound."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        base_url = f"http://127.0.0.1:{here.recv()}"
        first, second = measure_first_start(base_url)
        rows = asyncio.run(measure(base_url))
    finally:
        server.terminate()
        server.join()
    rows.append(measure_import())
    rows.append(
        Row(name="first start, CPU of the loop more than the second", value=first - second, bound=MAX_FIRST, unit="ms")
    )
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())

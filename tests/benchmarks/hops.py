"""Steps of the SDK: how many of its functions, in how many files, a start, a poll and a read pass through.

Counted with `sys.setprofile` in a client that has done the same once before, against an in-process server, so that nothing
is made, imported or connected for the first time. Run it with ``nox -s bench -- hops``; it fails over a bound.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys
from collections.abc import Awaitable, Callable
from types import CodeType, FrameType

from aiohttp import web

import a2e_async
from a2e_async import A2EClient, Config, PollPolicy

PACKAGE = str(pathlib.Path(a2e_async.__file__).parent)
TASK_ID = "67d29023dd27a536fdf6e809"
LINK = "https://example.com/a.png"

BOUNDS = {"start": (24, 10), "poll": (26, 10), "read": (16, 9)}
"""Operation -> the most functions, and the most files that they may stand in."""


async def answer(request: web.Request) -> web.Response:
    """Answer a start with a new task, and every other request with a finished one."""
    body = await request.json() if request.method == "POST" else {}
    record = {
        "_id": TASK_ID,
        "name": body.get("name", "Ada"),
        "current_status": "sent" if request.path.endswith("/start") else "completed",
        "coins": 30,
        "createdAt": "2025-03-13T07:58:27.863Z",
        "result_url": "https://example.com/a.mp4",
        "failed_code": "",
        "failed_message": "",
    }
    data = [record] if request.path.endswith("/batchDetail") else record
    return web.Response(text=json.dumps({"code": 0, "data": data, "trace_id": "t"}), content_type="application/json")


async def steps(call: Callable[[], Awaitable[object]]) -> dict[CodeType, int]:
    """Return how often each function of the package is called; a generator or coroutine that goes on is no new call."""
    begun: set[int] = set()
    frames: list[FrameType] = []  # kept, so that no id comes twice
    calls: dict[CodeType, int] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE) or id(frame) in begun:
            return
        begun.add(id(frame))
        frames.append(frame)
        calls[code] = calls.get(code, 0) + 1

    sys.setprofile(note)
    try:
        await call()
    finally:
        sys.setprofile(None)
    return calls


def is_function(code: CodeType) -> bool:
    """Tell whether a code object is a function with a name; comprehensions, lambdas and class bodies are parts of one."""
    return not code.co_name.startswith("<") and "<attrs generated" not in code.co_filename


async def measure() -> dict[str, dict[CodeType, int]]:
    """Return the calls of each operation."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    found: dict[str, dict[CodeType, int]] = {}
    config = Config(poll=PollPolicy(initial=0.05))
    async with A2EClient("sk_bench", base_url=f"http://127.0.0.1:{port}", config=config) as a2e:

        async def start() -> object:
            return await a2e.image_to_video.start(image_url=LINK, prompt="she smiles", negative_prompt="blurry")

        async def poll() -> object:
            return await task.wait_until_done()

        async def read() -> object:
            return await a2e.image_to_video.get(TASK_ID)

        for _ in range(2):
            task = await a2e.image_to_video.start(image_url=LINK, prompt="she smiles", negative_prompt="blurry")
            found = {"start": await steps(start), "poll": await steps(poll), "read": await steps(read)}
    await runner.cleanup()
    return found


def main(arguments: list[str]) -> int:
    """Print a table, with ``-v`` each function, and return 1 if an operation is over its bound."""
    over = False
    print(f"{'':8} {'functions':>10} {'calls':>6} {'files':>6}   at most")
    for name, calls in asyncio.run(measure()).items():
        functions = {code: count for code, count in calls.items() if is_function(code)}
        files = {code.co_filename for code in functions}
        most_functions, most_files = BOUNDS[name]
        over = over or len(functions) > most_functions or len(files) > most_files
        print(
            f"{name:8} {len(functions):10} {sum(functions.values()):6} {len(files):6}"
            f"   {most_functions} functions in {most_files} files"
        )
        for code, count in functions.items() if "-v" in arguments else ():
            print(f"    {count} x {code.co_filename.removeprefix(PACKAGE)[1:]}: {code.co_qualname}")
    return int(over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

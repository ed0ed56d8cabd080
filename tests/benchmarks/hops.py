"""Steps of the SDK: how many of its functions, in how many files, a start, a poll and a read pass through.

Counted with `sys.setprofile` in a client that has done the same once before, against an in-process server, so that nothing
is made, imported or connected for the first time. Run it with ``nox -s bench -- hops``; it fails over a bound.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys
from collections.abc import Awaitable
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from aiohttp import web

import a2e_async
from a2e_async import A2EClient, Config, PollPolicy

if TYPE_CHECKING:
    from tests.benchmarks._report import Row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import Row, report

PACKAGE = str(pathlib.Path(a2e_async.__file__).parent)
TASK_ID = "67d29023dd27a536fdf6e809"
LINK = "https://example.com/a.png"
WORDS = web.AppKey("words", list[str])

BOUNDS = {"start": (41, 17), "poll": (38, 12), "last poll": (41, 11), "read": (26, 11)}
"""Operation -> the most functions, and the most files that they may stand in.

A poll is counted from the timer that makes its task due. It ends when the record is delivered and the next poll is
scheduled. The last poll returns a final record and ends with the wait, whose four functions count as well. The steps of
the wait before the timer are not counted.
"""


async def answer(request: web.Request) -> web.Response:
    """Answer a start with a new task, its first poll with a running task, and every other request with a finished one."""
    is_start = request.path.endswith("/start")
    body = await request.json() if request.method == "POST" else {}
    words: list[str] = request.app[WORDS]
    if is_start:
        words[:] = ["sent", "processing"]
    word = words.pop(0) if words else "completed"
    record = {
        "_id": TASK_ID,
        "name": body.get("name", "Ada"),
        "current_status": word,
        "coins": 30,
        "createdAt": "2025-03-13T07:58:27.863Z",
        "result_url": "https://example.com/a.mp4" if word == "completed" else "",
        "failed_code": "",
        "failed_message": "",
    }
    data = [record] if request.path.endswith("/batchDetail") else record
    return web.Response(text=json.dumps({"code": 0, "data": data, "trace_id": "t"}), content_type="application/json")


async def steps(operation: Awaitable[object]) -> dict[CodeType, int]:
    """Return how often each function of the package is called; a generator or coroutine that goes on is no new call."""
    calls: dict[CodeType, int] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        # The argument of the instruction RESUME is 0 at the start of a function, and else tells after what it goes on.
        if event == "call" and code.co_filename.startswith(PACKAGE) and code.co_code[frame.f_lasti + 1] & 3 == 0:
            calls[code] = calls.get(code, 0) + 1

    sys.setprofile(note)
    try:
        await operation
    finally:
        sys.setprofile(None)
    return calls


def is_function(code: CodeType) -> bool:
    """Tell whether a code object is a function with a name; comprehensions, lambdas and class bodies are parts of one."""
    return not code.co_name.startswith("<") and "<attrs generated" not in code.co_filename


async def measure() -> dict[str, dict[CodeType, int]]:
    """Return the calls of each operation."""
    app = web.Application()
    app[WORDS] = []
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    found: dict[str, dict[CodeType, int]] = {}
    config = Config(poll=PollPolicy(initial=0.5, steps=((0.0, 1.0),)))
    async with A2EClient("sk_bench", base_url=f"http://127.0.0.1:{port}", config=config) as a2e:
        for _ in range(2):
            task = await a2e.image_to_video.start(image_url=LINK, prompt="she smiles", negative_prompt="blurry")
            again = a2e.image_to_video.start(image_url=LINK, prompt="she smiles", negative_prompt="blurry")
            found = {"start": await steps(again)}
            waiting = asyncio.create_task(task.wait_until_done())
            await asyncio.sleep(0.1)  # the wait has subscribed, and its first poll is not due yet
            found["poll"] = await steps(asyncio.sleep(0.9))
            found["last poll"] = await steps(waiting)
            found["read"] = await steps(a2e.image_to_video.get(TASK_ID))
    await runner.cleanup()
    return found


def main(arguments: list[str]) -> int:
    """Print a table, with ``-v`` each function, and return 1 if an operation is over its bound."""
    rows: list[Row] = []
    for name, calls in asyncio.run(measure()).items():
        functions = {code: count for code, count in calls.items() if is_function(code)}
        files = {code.co_filename for code in functions}
        most_functions, most_files = BOUNDS[name]
        rows.append(Row(name=f"{name}, functions", value=len(functions), bound=most_functions))
        rows.append(Row(name=f"{name}, files", value=len(files), bound=most_files))
        for code, count in functions.items() if "-v" in arguments else ():
            print(f"{name}: {count} x {code.co_filename.removeprefix(PACKAGE)[1:]}: {code.co_qualname}")
    return report(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Sandbox in a process of its own: a child process of `tests/cluster/test_many_workers.py`.

    python sandbox_child.py OPTIONS

The options are those of `Sandbox`, as JSON; the fault plan in the form of the control API. The first line of the output
is the URL. It ends when its standard input does, so that it never outlives the test.
"""

from __future__ import annotations

import asyncio
import json
import sys

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.faults.plan_json import read_plan


async def main() -> None:
    """Run the sandbox."""
    options = json.loads(sys.argv[1])
    async with Sandbox(**options | {"faults": read_plan(options["faults"])}) as sandbox:
        print(sandbox.url, flush=True)  # noqa: T201  the test waits for it
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())

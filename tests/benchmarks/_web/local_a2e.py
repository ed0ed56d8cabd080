"""A local A2E in a process of its own. It writes where it is, and, when its input ends, what it has charged."""

from __future__ import annotations

import asyncio
import collections
import json
import sys

from a2e_async.sandbox import Sandbox


async def main(speed: float) -> None:
    """Serve until the end of the input."""
    async with Sandbox(render="tiny", speed=speed, coins=10_000_000) as sandbox:
        print(json.dumps({"A2E_BASE_URL": sandbox.url, "A2E_API_TOKEN": sandbox.token}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps(collections.Counter(entry.task_id for entry in sandbox.ledger if entry.task_id)))


asyncio.run(main(float(sys.argv[1])))

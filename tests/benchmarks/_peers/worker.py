"""Run every scenario with one SDK and print the results of its user, a line of JSON for each job.

    python worker.py SDK URL DEADLINE JOBS SCENARIO...

It is run by the Python of that SDK's environment, without this package: it may import only the standard library
and the ``run_*.py`` of the SDK.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class Sdk(Protocol):
    """Interface of a ``run_*.py``. Only the URL and the key are set; all else is the SDK's default."""

    def connect(self, url: str, key: str) -> AbstractAsyncContextManager[Any]:
        """Make the SDK's asynchronous client."""

    async def start(self, client: Any, prompt: str) -> Any:
        """Start a video, and return the object of the SDK for it."""

    async def wait(self, client: Any, started: Any) -> str:
        """Wait for the video, and return its link, or its id if the vendor has no links."""

    # start_with_key: as `start`, and recognizes a job that an earlier process has started, if the SDK can do that


async def run_job(sdk: Sdk, client: Any, scenario: str, number: int, deadline: float) -> None:
    """Start a job and wait for it; an exception is a result too."""
    outcome = {"scenario": scenario, "started": False, "result": False, "raised": ""}
    limit = asyncio.timeout(deadline)
    try:
        async with limit:
            start = getattr(sdk, "start_with_key", sdk.start) if scenario == "killed" else sdk.start
            started = await start(client, f"job {number}: she smiles at the camera")
            outcome["started"] = True
            print(json.dumps({"is_started": number}), flush=True)
            outcome["result"] = f"-job{number}-" in await sdk.wait(client, started)
    except Exception as error:  # noqa: BLE001  an SDK may raise anything
        outcome["raised"] = "deadline" if limit.expired() else type(error).__name__
        print(f"{scenario}, job {number}: {error!r}", file=sys.stderr)
    print(json.dumps(outcome), flush=True)


async def run_scenario(sdk: Sdk, url: str, deadline: float, jobs: int, scenario: str) -> None:
    """Run the jobs of a scenario at the same time, with one client."""
    async with sdk.connect(url, f"sk_{scenario}") as client:
        await asyncio.gather(*(run_job(sdk, client, scenario, number, deadline) for number in range(1, jobs + 1)))


async def main(name: str, url: str, deadline: str, jobs: str, *scenarios: str) -> None:
    """Run all scenarios at the same time."""
    sdk = cast("Sdk", importlib.import_module(f"run_{name.replace('-', '_')}"))
    await asyncio.gather(*(run_scenario(sdk, url, float(deadline), int(jobs), scenario) for scenario in scenarios))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

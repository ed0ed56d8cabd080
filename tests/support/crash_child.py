"""Process that runs a batch until it is done or killed: the child process of `tests/batch/test_crash.py`.

    python crash_child.py ON_UNKNOWN

The environment names A2E. The current folder has the jobs in ``jobs.json``, and gets the journal and the videos.
The first line of the output means: all imports are done and the batch begins.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pathlib
import sys
from typing import TYPE_CHECKING, cast

from a2e_async import A2EClient, Config, Pacing, PollPolicy, RetryPolicy, StartPolicy

if TYPE_CHECKING:
    from a2e_async.config import OnUnknown

_LOGGER = logging.getLogger("crash_child")

CONFIG = Config(
    retry=RetryPolicy(max_attempts=8, max_time=10.0, base=0.01, max_delay=0.1),
    poll=PollPolicy(initial=0.05, steps=((0.0, 0.1),), invisible_for=1.0),
    pacing=Pacing(pause=0.02, max_pause=0.1),
    start=StartPolicy(scan_delays=(0.0, 0.1, 0.5), accept_time=0.6, list_delay=1.0),
    visible_timeout=2.0,
)


async def main(on_unknown: OnUnknown) -> None:
    """Run or resume the batch."""
    jobs = json.loads(pathlib.Path("jobs.json").read_text())
    print("ready", flush=True)  # noqa: T201  the test waits for it
    async with A2EClient(config=CONFIG) as a2e:
        batch = a2e.image_to_video.batch(
            jobs, journal="journal/journal.sqlite", out="videos", max_running=40, on_unknown=on_unknown
        )
        async with batch:
            async for result in batch:
                if result.error is not None:
                    _LOGGER.warning("%s %s: %r", result.key, result.state, result.error)


if __name__ == "__main__":
    asyncio.run(main(cast("OnUnknown", sys.argv[1])))

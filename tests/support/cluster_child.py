"""Worker of a cluster in a process of its own: the child process of `tests/cluster/test_many_workers.py`.

    python cluster_child.py DATABASE_URL FOLDER

The environment names A2E. It ends when no job is open any more, or at SIGTERM. The first line of the output means: all
imports are done and the worker begins.
"""

from __future__ import annotations

import asyncio
import pathlib
import signal
import sys
import warnings

from crash_child import CONFIG

from a2e_async import A2EClient
from a2e_async._submission.finder import Finder
from a2e_async.batch import circuit_breaker
from a2e_async.cluster import Cluster, FolderSink, Worker, worker_run


async def main(database: str, folder: pathlib.Path) -> None:
    """Run the worker."""
    async with Cluster(database) as cluster, A2EClient(config=CONFIG) as a2e:
        worker = Worker(
            cluster,
            a2e,
            FolderSink(folder, min_free=0),
            concurrency=40,
            heartbeat=0.3,
            stall_timeout=1.5,
            poll_interval=0.2,
            until_idle=True,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        print("ready", flush=True)  # noqa: T201  the test waits for it
        await worker.run()


if __name__ == "__main__":
    warnings.simplefilter("error")
    circuit_breaker.FIRST_DELAY, circuit_breaker.MAX_DELAY = 0.2, 1.0  # pauses after faults
    # properties of A2E's minutes; a worker that is stopped here is stopped for longer
    Finder.max_send_time, Finder.max_lateness = 1.0, 1.2  # type: ignore[assignment, method-assign]
    worker_run._FIRST_SETBACK = 0.2
    asyncio.run(main(sys.argv[1], pathlib.Path(sys.argv[2])))

"""`a2e cluster worker`: one client and one poller for all jobs that this process takes from the queue."""

# How it works:
#
# - The first Ctrl-C, SIGTERM or SIGHUP: no new jobs, and the running ones are handed back with the ids of their tasks.
# - A start whose answer is late does not hold the process: its intent is in PostgreSQL, and another worker settles it.
# - The second Ctrl-C: the process exits at once. That is a crash, and costs nothing either: other workers take over.

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import Parameter

from a2e_async.cli.batch.run import run_interruptible
from a2e_async.cli.cluster.database import DEFAULT_DATABASE, Database, set_limits
from a2e_async.cli.cluster.display import ClusterDisplay
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import INTERRUPTED, error_text, ignored_interrupts, print_error
from a2e_async.cli.options import DEFAULT_CONNECTION, FLAG, Connection, Duration
from a2e_async.config import OnUnknown
from a2e_async.errors import ClusterError, InvalidRequestError

if TYPE_CHECKING:
    from a2e_async.cluster import Cluster, ResultSink

_VIDEO_SIZE = 10_000_000  # bytes that a video may need on a disk, as in a batch
_PATIENCE = 0.5  # seconds for a start in flight at the end
_INTERVAL = 2.0  # seconds between two refreshes of the live display
_LINE_INTERVAL = 30.0  # seconds between two lines, without a terminal


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class WorkerOptions:
    """Options of a worker.

    Attributes:
        out: Where the videos go: a folder, which is best one that all workers see, or a URL such as s3://bucket/folder,
            gs://bucket/folder, az://container/folder or sftp://host/folder.
        concurrency: Jobs that this worker has at the same time.
        max_running: Tasks of the whole cluster at A2E at the same time. Default: as before, at first no limit.
        max_coins: Coins that the whole cluster may spend on starts, with those so far. Default: as before, at first no
            limit.
        retry_failed: Maximum number of new starts for a job whose task fails. Each costs coins again.
        on_unknown: For a start with an unknown outcome: raise reports it as uncertain, resend sends it again.
        stall_timeout: Time, such as 30 (seconds) or 2m, after which the jobs of a worker without a sign of life are
            taken over.
        overwrite: Replace existing files of a folder.
        adopt: After a restored backup of the database: look in A2E's list for tasks that it does not know, and adopt
            them instead of starting their jobs again.
        until_idle: End when no job is left.
        name: Its name in the status, different for each worker. Default: made of the machine and the process.
    """

    out: Annotated[str, Parameter(name=["--out", "-o"])] = "videos"
    concurrency: int = 200
    max_running: int | None = None
    max_coins: float | None = None
    retry_failed: int = 0
    on_unknown: OnUnknown | None = None
    stall_timeout: Duration = 30.0
    overwrite: Annotated[bool, FLAG] = False
    adopt: Annotated[bool, FLAG] = False
    until_idle: Annotated[bool, FLAG] = False
    name: str | None = None


_DEFAULTS = WorkerOptions()


def worker(
    *,
    options: WorkerOptions = _DEFAULTS,
    database: Database = DEFAULT_DATABASE,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Take jobs from the queue, start them, wait for all of them with one poller, and store the videos.

    Try:

        a2e cluster worker --out s3://bucket/videos

    Start it on as many machines as you like. Ctrl-C and SIGTERM hand the jobs back within five seconds: another worker
    waits for their tasks, and pays nothing.

    Args:
        options: The options of the worker.
        database: The database.
        connection: The shared options.
    """
    from a2e_async.cluster import make_sink  # noqa: PLC0415  an extra

    cluster = database.cluster()
    if options.concurrency < 1:
        msg = "--concurrency must be at least 1"
        raise InvalidRequestError(msg)
    free = min(options.concurrency, options.max_running or options.concurrency) * _VIDEO_SIZE
    sink = make_sink(options.out, overwrite=options.overwrite, min_free=free)
    work = _Work(cluster, sink, options, connection, database.name)
    return run_interruptible(work.run(), work.explain)


@attrs.define(eq=False)
class _Work:
    """One `a2e cluster worker`."""

    cluster: Cluster
    sink: ResultSink
    options: WorkerOptions
    connection: Connection
    database_name: str

    async def run(self) -> int:
        """Work until the end of the queue, or until it is cancelled; return the exit code."""
        from a2e_async.cluster import Worker  # noqa: PLC0415  an extra

        options = self.options
        async with self.cluster:
            await set_limits(self.cluster, options.max_running, options.max_coins)
            client = self.connection.client()
            worker = Worker(
                self.cluster,
                client,
                self.sink,
                concurrency=options.concurrency,
                name=options.name,
                retry_failed=options.retry_failed,
                on_unknown=options.on_unknown,
                heartbeat=options.stall_timeout / 3,
                stall_timeout=options.stall_timeout,
                until_idle=options.until_idle,
                adopt=options.adopt,
            )
            foot = "Ctrl-C hands the jobs of this worker back; their tasks go on at A2E."
            display = ClusterDisplay(make_console(stderr=True), self.database_name, foot)
            out = re.sub(r"//[^/@]*@|\?.*", lambda found: "//" * found[0].startswith("/"), options.out)  # no password
            print(f"Worker {worker.name} takes jobs from {self.database_name}. Videos go to {out}.", file=sys.stderr)
            try:
                async with display:
                    showing = asyncio.create_task(self._show(display))
                    try:
                        await worker.run()
                    finally:
                        showing.cancel()
                        await asyncio.wait([showing])
            except asyncio.CancelledError:
                with ignored_interrupts():
                    await _close(client)
                raise
            finally:
                await client.aclose()
        return 0

    async def _show(self, display: ClusterDisplay) -> None:
        """Show the whole cluster, as `a2e cluster status --watch`; without a terminal, with a line now and then."""
        while True:
            try:
                display.set(await self.cluster.status())
            except ClusterError as error:
                display.note = error_text(error)
            await asyncio.sleep(_INTERVAL if display.is_live else _LINE_INTERVAL)

    def explain(self) -> None:
        """Print what Ctrl-C has done."""
        print_error("interrupted; the jobs of this worker are handed back, and other workers continue them")


async def _close(client: Any) -> None:  # noqa: ANN401  the client
    """Close the client; if a start is in flight, end the process instead of waiting for its answer."""
    closing = asyncio.ensure_future(client.aclose())
    done, _ = await asyncio.wait([closing], timeout=_PATIENCE)
    if not done:
        print_error("interrupted; the jobs are handed back, and another worker settles the start that is under way")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)

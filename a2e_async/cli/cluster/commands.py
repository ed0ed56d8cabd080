"""Commands about a cluster: ``a2e cluster init``, ``status``, ``export``, ``retry``, ``pause`` and ``resume``."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter
from rich.text import Text

from a2e_async.batch.results import error_to_json
from a2e_async.cli.batch.summary import MARKS, STYLES, without_ids
from a2e_async.cli.cluster.database import DEFAULT_DATABASE, Database, set_limits
from a2e_async.cli.cluster.display import ClusterDisplay, ClusterView, status_json
from a2e_async.cli.display import make_console
from a2e_async.cli.export import ExportTarget, Format
from a2e_async.cli.messages import confirm, error_text, plural, printable
from a2e_async.cli.options import FLAG, Out
from a2e_async.cli.output import print_json
from a2e_async.errors import ClusterError, InvalidRequestError

if TYPE_CHECKING:
    from a2e_async.cluster import Cluster, ClusterJob

State: TypeAlias = Literal["queued", "starting", "running", "storing", "succeeded", "failed", "uncertain"]

_PROBLEMS_LISTED = 20


async def init(*, database: Database = DEFAULT_DATABASE, json: Annotated[bool, FLAG] = False) -> None:
    """Create the tables of the queue in a PostgreSQL database, or bring older ones up to date. Twice is harmless.

    Try:

        a2e cluster init --database postgresql://a2e@db.example/videos

    Args:
        database: The database.
        json: Print one JSON object, for programs.
    """
    await database.cluster().init()
    if json:
        print_json({"database": database.name, "ready": True})
    else:
        print(f"{database.name} is ready. Next: a2e cluster enqueue INPUT, and a2e cluster worker on each machine.")


async def status(
    *,
    database: Database = DEFAULT_DATABASE,
    watch: Annotated[bool, FLAG] = False,
    interval: float = 1.0,
    json: Annotated[bool, FLAG] = False,
) -> int:
    """Show counts, rate, coins, problems, the workers and what each of them waits for.

    Try:

        a2e cluster status --watch

    Args:
        database: The database.
        watch: Show it live until Ctrl-C.
        interval: Seconds between two readings.
        json: Print JSON, for programs: one object, or with --watch one for each reading.
    """
    if not 0.1 <= interval <= 3600:
        msg = "--interval must be 0.1 to 3600 seconds"
        raise InvalidRequestError(msg)
    async with database.cluster() as cluster:
        if watch:
            await _watch(cluster, database.name, interval, as_json=json)
        elif json:
            print_json(status_json(await cluster.status()))
        else:
            await _print_status(cluster, database.name)
    return 0


async def _print_status(cluster: Cluster, name: str) -> None:
    console, now = make_console(), await cluster.status()
    console.print(ClusterView(name=name, status=now, per_second=now.ended_last_minute / 60))
    problems = now.counts.get("failed", 0) + now.counts.get("uncertain", 0)
    listed = 0
    async for job in cluster.jobs("failed", "uncertain"):
        if listed == _PROBLEMS_LISTED:
            break
        listed += 1
        console.print(Text(_problem_text(job), STYLES[job.state]))
    if problems > listed:
        console.print(f"  and {problems - listed} more; list all of them with: a2e cluster export --state failed")
    if problems:
        console.print("To try them again: a2e cluster retry. A failed task that is started again costs coins.")


def _problem_text(job: ClusterJob) -> str:
    reason = "no reason recorded" if job.error is None else without_ids(error_text(job.error))
    task = f" [task {job.task_id}]" if job.task_id else ""
    return printable(f"{MARKS[job.state]} {job.key}: {job.state}: {reason}{task}")


async def _watch(cluster: Cluster, name: str, interval: float, *, as_json: bool) -> None:
    """Show the status until Ctrl-C. While the database is out of reach, say so and go on."""
    display = ClusterDisplay(make_console(stderr=as_json), name, foot="Ctrl-C ends this display, and no worker.")
    async with contextlib.nullcontext() if as_json else display:
        while True:
            try:
                display.set(now := await cluster.status())
                if as_json:
                    print_json(status_json(now))
            except ClusterError as error:
                display.note = error_text(error)
            await asyncio.sleep(interval)


# The columns that every table has. Those of the request, the record and the error follow, as far as they occur.
_COLUMNS = (
    *("key", "position", "state", "task_id", "marker", "coins", "starts", "tries", "output", "name"),
    *("worker", "created_at", "sent_at", "accepted_at", "finished_at"),
)


async def export(
    *,
    database: Database = DEFAULT_DATABASE,
    state: list[State] | None = None,
    format: Format | None = None,  # noqa: A002  the usual name of this option
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
) -> None:
    """Write all jobs as CSV or JSON Lines, in the order of the queue. Also while workers run.

    Try:

        a2e cluster export --out report.csv
        a2e cluster export --state succeeded --format jsonl

    The output has prompts, and links that need no token: keep it confidential.

    Args:
        database: The database.
        state: Only jobs in this state; can be given more than once.
        format: The format. Default: by the suffix of --out (.csv, .jsonl); csv for standard output.
        out: The file to write. Default: standard output, as with - and /dev/stdout.
        overwrite: Replace an existing file. A pipe or a device is written to without it.
    """
    target = ExportTarget.of(out, format)
    async with database.cluster() as cluster:
        with target.open(overwrite=overwrite) as file:
            await target.write(file, lambda: (_to_row(job) async for job in cluster.jobs(*(state or ()))), _COLUMNS)


def _to_row(job: ClusterJob) -> dict[str, Any]:
    row = {name: getattr(job, name) for name in _COLUMNS}
    for name in _COLUMNS:
        if name.endswith("_at") and row[name] is not None:
            row[name] = row[name].isoformat(timespec="milliseconds")
    error = None if job.error is None else error_to_json(job.error)
    return row | {"request": job.request, "record": job.record or {}, "error": error or {}}


async def retry(
    *keys: Annotated[str, Parameter(name="KEY")],
    database: Database = DEFAULT_DATABASE,
    yes: Annotated[bool, FLAG] = False,
    json: Annotated[bool, FLAG] = False,
) -> int:
    """Queue jobs again that have ended with an error.

    Try:

        a2e cluster retry order-17

    A task that has failed is started again, which costs coins. A start with an unknown outcome is looked up at A2E,
    and a video that could not be stored is stored: both cost nothing.

    Args:
        keys: The keys of the jobs. Default: all that have ended with an error, after a confirmation.
        database: The database.
        yes: Skip the confirmation. Required without a terminal.
        json: Print one JSON object, for programs.
    """
    async with database.cluster() as cluster:
        if not keys and not yes:
            counts = (await cluster.status()).counts
            failed = plural(counts.get("failed", 0), "failed job")
            if not confirm(f"Queue all jobs again that have ended with an error? {failed} can cost coins again."):
                print("Nothing was queued.")
                return 1
        number = await cluster.retry(keys or None)
    if json:
        print_json({"queued": number})
    else:
        print(f"{plural(number, 'job')} queued again.")
    return 0


async def pause(*, database: Database = DEFAULT_DATABASE, reason: str = "paused by hand") -> None:
    """Start nothing more in the whole cluster, until `a2e cluster resume`. Running tasks go on and are stored.

    Try:

        a2e cluster pause --reason "the prompt is wrong"

    Args:
        database: The database.
        reason: What the status shows.
    """
    async with database.cluster() as cluster:
        await cluster.pause(reason)
    print("Paused. To start again: a2e cluster resume")


async def resume(
    *, database: Database = DEFAULT_DATABASE, max_running: int | None = None, max_coins: float | None = None
) -> None:
    """End a pause of the whole cluster, also one for want of credits or by the plan, or change its limits.

    Try:

        a2e cluster resume --max-coins 5000

    Args:
        database: The database.
        max_running: Tasks of the whole cluster at A2E at the same time. Default: as before.
        max_coins: Coins that the whole cluster may spend on starts, with those so far. Default: as before.
    """
    async with database.cluster() as cluster:
        await set_limits(cluster, max_running, max_coins)
        await cluster.resume()
    print("Resumed.")

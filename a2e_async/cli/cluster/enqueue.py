"""`a2e cluster enqueue`: check all rows of an input, and queue them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
from cyclopts import Parameter

from a2e_async.batch.automatic_keys import EarlierJobs
from a2e_async.cli.batch.job_file import InputRow, JobSource, open_source, read_jobs
from a2e_async.cli.batch.run import INPUT, INVALID_ROWS_LISTED
from a2e_async.cli.cluster.database import DEFAULT_DATABASE, Database
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import error_text, one_line, plural, print_error, printable
from a2e_async.cli.options import DEFAULT_CONNECTION, DEFAULT_JOB, FLAG, Connection, JobDefaults
from a2e_async.cli.output import print_json
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from a2e_async.batch import Job
    from a2e_async.cluster import Cluster

_CHUNK = 1000  # rows that are checked with one query


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class EnqueueOptions:
    """Options of the queue.

    Attributes:
        upload_at: Where local images are uploaded: by the worker, which must see the files under the same absolute
            path, or by this command (enqueue), which then needs the token. A2E keeps uploads for about three days.
        skip_invalid: Skip invalid rows and queue the others.
        recursive: Take the images in the subfolders of INPUT too, if it is a folder.
        dry_run: Check all rows, and queue nothing.
    """

    upload_at: Literal["worker", "enqueue"] = "worker"
    skip_invalid: Annotated[bool, FLAG] = False
    recursive: Annotated[bool, FLAG] = False
    dry_run: Annotated[bool, FLAG] = False


_DEFAULTS = EnqueueOptions()


async def enqueue(
    source: Annotated[str, Parameter(name="INPUT", help=INPUT, allow_leading_hyphen=True)],
    /,
    *,
    options: EnqueueOptions = _DEFAULTS,
    jobs: JobDefaults = DEFAULT_JOB,
    database: Database = DEFAULT_DATABASE,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Queue a job for each row of a table, or each image of a folder. Each costs coins when a worker starts it.

    Try:

        a2e cluster enqueue jobs.csv
        a2e cluster enqueue images --prompt "she smiles"

    All rows are checked before the first one is queued. A key that is known is not queued again, so that the same
    command can be repeated, also after Ctrl-C. A known key with another input is an error.

    Args:
        source: See `INPUT`.
        options: The options of the queue.
        jobs: The options of jobs without their own.
        database: The database.
        connection: The shared options.
    """
    cluster = database.cluster()
    with open_source(source, recursive=options.recursive) as opened:
        async with cluster:
            return await _Enqueue(cluster, opened, options, attrs.asdict(jobs), connection).run()


@attrs.define(eq=False)
class _Enqueue:
    """One `a2e cluster enqueue`. No row is kept in memory but the keys: the input is read twice."""

    cluster: Cluster
    source: JobSource
    options: EnqueueOptions
    defaults: dict[str, Any]  # fields of a job that its row does not set
    connection: Connection
    _console: Any = attrs.field(factory=lambda: make_console(stderr=True), init=False)
    _valid: int = attrs.field(default=0, init=False)
    _invalid: set[int] = attrs.field(factory=set, init=False)  # the numbers of the rows

    async def run(self) -> int:
        """Check all rows, and queue them; return the exit code."""
        if self.source.left_out:
            self._console.print(f"left out of {printable(self.source.name)}: {one_line(self.source.left_out)}")
        with self._console.status(f"Checking {self.source.name} …"):
            rows = self._rows()
            while chunk := [*itertools.islice(rows, _CHUNK)]:
                await self._check(chunk)
        if not self._may_begin():
            return 2
        if self.options.dry_run:
            return self._report(f"{plural(self._valid, 'job')} can be queued.", valid=self._valid)
        with self._console.status(f"Queueing {plural(self._valid, 'job')} …"):
            if self.options.upload_at == "enqueue":
                async with self.connection.client() as a2e:
                    queued = await self.cluster.enqueue(self._jobs(), client=a2e)
            else:
                queued = await self.cluster.enqueue(self._jobs())
        known = f", {queued.known} were known" if queued.known else ""
        return self._report(f"{plural(queued.added, 'job')} queued{known}.", added=queued.added, known=queued.known)

    def _report(self, text: str, **numbers: int) -> int:
        if self.connection.json:
            print_json({**numbers, "invalid": len(self._invalid)})
        else:
            print(text)
        return 0

    def _rows(self) -> Iterator[InputRow]:
        return read_jobs(self.source, self.defaults, EarlierJobs())

    def _jobs(self) -> Iterator[Job]:
        return (row.job for row in self._rows() if row.job is not None and row.number not in self._invalid)

    async def _check(self, rows: Iterable[InputRow]) -> None:
        """Check some rows with one query; if that finds an error, each of them, to name all that are invalid."""
        jobs = [row.job for row in rows if row.job is not None]
        is_good = not await self._find_error(jobs)
        for row in rows:
            error = row.error or ("" if is_good or row.job is None else await self._find_error([row.job]))
            if not error:
                self._valid += 1
                continue
            self._invalid.add(row.number)
            if len(self._invalid) <= INVALID_ROWS_LISTED:
                self._console.print(f"{printable(row.place)}: {one_line(error)}")

    async def _find_error(self, jobs: list[Job]) -> str:
        try:
            await self.cluster.check(jobs)
        except InvalidRequestError as error:
            return error_text(error)
        return ""

    def _may_begin(self) -> bool:
        """Return whether rows may be queued; print the reason if not."""
        invalid = len(self._invalid)
        if invalid > INVALID_ROWS_LISTED:
            self._console.print(f"and {invalid - INVALID_ROWS_LISTED} more invalid rows")
        if invalid and not self.options.skip_invalid:
            rows = f"{invalid} of {self._valid + invalid} rows are invalid"
            print_error(f"{rows}, and nothing was queued: fix them, or skip them with --skip-invalid")
            return False
        if not self._valid:
            print_error(f"no jobs in {self.source.name}")
        return bool(self._valid)

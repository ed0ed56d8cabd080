"""Validation of all rows before the first start, and the plan that `--dry-run` prints.

Nothing is uploaded or started, and no row is kept in memory. The rows are read again for the batch.
"""

import asyncio
import collections
import itertools
import pathlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Any, TypeAlias

import attrs
from rich.table import Table
from rich.text import Text

from a2e_async import A2EClient
from a2e_async.batch import Job, JournalReader
from a2e_async.batch.automatic_keys import EarlierJobs
from a2e_async.batch.file_names import FileNames
from a2e_async.batch.jobs import JOB_FIELDS, FamilyJob
from a2e_async.batch.rules import Action, next_action
from a2e_async.cli.batch.families import without_files
from a2e_async.cli.batch.job_file import InputRow
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import coins_text, error_text, one_line, plural
from a2e_async.cli.output import print_json
from a2e_async.errors import A2EError, InvalidRequestError, JournalError


def _is_new(journal: pathlib.Path) -> bool:
    # An empty file, as `mktemp` makes it, becomes a journal when the batch opens it.
    return not journal.exists() or (journal.is_file() and not journal.stat().st_size)


@attrs.frozen(kw_only=True)
class KnownJobs:
    """What the journal knows about the jobs before the batch begins."""

    started: set[str] = attrs.field(factory=set)  # keys of jobs that need no start
    earlier: EarlierJobs = attrs.field(factory=EarlierJobs)
    names: FileNames = attrs.field(factory=FileNames)


async def read_known(journal: pathlib.Path, retry_failed: int) -> KnownJobs:
    """Read the jobs of a journal, if it exists."""
    known = KnownJobs()
    if _is_new(journal):
        return known
    async with JournalReader.open(journal) as reader:
        if holder := reader.info.holder:
            msg = f"The journal {str(journal)!r} is in use by {holder}: wait until that has ended, or end it"
            raise JournalError(msg)
        async for entry in reader.entries():
            known.earlier.add(entry)
            if entry.target is not None:
                known.names.add(pathlib.PurePath(entry.target).name, entry.key)
            if next_action(entry, download=True, retry_failed=retry_failed) is not Action.START:
                known.started.add(entry.key)
    return known


_GROUP = 64  # rows that are checked at the same time: the threads that read their images then seldom wait


@attrs.define(eq=False)
class JobValidator:
    """Validator of the rows of an input."""

    check: Callable[[Job], Awaitable[None]]  # raises an `InvalidRequestError` for a job that A2E would reject
    known: KnownJobs
    out: pathlib.Path
    overwrite: bool
    on_invalid: Callable[[InputRow, str, int], None]  # gets the row, its error, and the number of invalid rows so far
    extension: str = ".mp4"  # of the results
    valid: int = attrs.field(default=0, init=False)
    invalid: set[int] = attrs.field(factory=set, init=False)  # the numbers of the rows

    async def run(self, rows: Iterable[InputRow]) -> None:
        """Validate all rows; raise an `InvalidRequestError` if they cannot be read to the end."""
        remaining = iter(rows)
        while group := list(itertools.islice(remaining, _GROUP)):
            await asyncio.sleep(0)  # lets Ctrl-C end the loop: the check of a link never waits
            errors = await asyncio.gather(*(self._find_error(row.job) for row in group))
            for row, error in zip(group, errors, strict=True):
                if error := row.error or error:
                    self.invalid.add(row.number)
                    self.on_invalid(row, error, len(self.invalid))
                else:
                    self.valid += 1

    def jobs(self, rows: Iterable[InputRow]) -> Iterator[Job]:
        """Return the valid jobs of a second reading of the input."""
        return (row.job for row in rows if row.job is not None and row.number not in self.invalid)

    async def _find_error(self, job: Job | None) -> str:
        """Return what is wrong with a job, or an empty text."""
        if job is None:
            return ""
        target = self.out / self.known.names.choose(job.key, self.extension)  # in the order of the rows
        error = await self._check(job)
        if not error and not self.overwrite and target.exists():
            error = f"{target} already exists: --overwrite replaces it"
        # The image of a job that has its task may be deleted, and its video may exist. Its options must still be valid.
        return await self._check(_without_files(job)) if error and job.key in self.known.started else error

    async def _check(self, job: Job) -> str:
        try:
            await self.check(job)
        except InvalidRequestError as error:
            return error_text(error)
        return ""


def _without_files(job: Job) -> Job:
    """Return a job with links instead of its local images, so that its check reads no file."""
    if isinstance(job, FamilyJob):
        return without_files(job)
    link = "https://example.com/image.png"
    changes: dict[str, Any] = {
        "image": None,
        "image_url": job.image_url or link,
        "end_image": None,
        "end_image_url": job.end_image_url or (link if job.end_image is not None else None),
    }
    return Job(**{name: getattr(job, name) for name in JOB_FIELDS} | changes)


_JOBS_LISTED = 20

# The fields that decide the price of a job: model, seconds, and whether it has a last image.
_PriceKey: TypeAlias = tuple[str, str, str]


async def print_plan(a2e: A2EClient, jobs: Iterable[Job], started: Collection[str], *, as_json: bool) -> None:
    """Print the jobs that would be started, and their cost by A2E's estimate.

    With `as_json`, every job goes to stdout as JSON, and the costs to stderr.
    """
    console, no_start = make_console(stderr=as_json), 0
    counts, prices = collections.Counter[_PriceKey](), dict[_PriceKey, float | None]()
    table = Table("key", "image", "model", "seconds", "prompt", box=None, pad_edge=False, header_style="bold")
    for job in jobs:
        if job.key in started:
            no_start += 1
            continue
        options = {name: value for name, value in attrs.asdict(job, recurse=False).items() if value is not None}
        key = options.pop("key")
        has_end_image = not options.keys().isdisjoint({"end_image", "end_image_url"})
        price_key = (str(job.model_version), str(job.video_time), "yes" if has_end_image else "no")
        if price_key not in prices:  # one request per price, not per job
            prices[price_key] = await _quote(a2e, options)
        counts[price_key] += 1
        if as_json:
            print_json({"key": key, **options, "coins": prices[price_key]})
        elif table.row_count < _JOBS_LISTED:
            image = job.image if job.image is not None else job.image_url
            texts = (key, image, job.model_version, job.video_time, job.prompt or "")
            table.add_row(*(Text(one_line(str(text)), no_wrap=True, overflow="ellipsis") for text in texts))
    if table.row_count:
        console.print(table)
    if not as_json and counts.total() > table.row_count:
        console.print(f"… and {counts.total() - table.row_count} more (--json lists all)\n")
    if counts:
        console.print(_costs_table(counts, prices))
    if no_start:
        console.print(f"{no_start} more in the journal: no start needed.")
    costs = [count * price for key, count in counts.items() if (price := prices[key]) is not None]
    text = (
        "A2E gave no price" if len(costs) < len(counts) else f"about {coins_text(sum(costs))} coins by A2E's estimate"
    )
    console.print(f"{plural(counts.total(), 'video')} would be started: {text}, uploads not counted.")


async def _quote(a2e: A2EClient, options: dict[str, Any]) -> float | None:
    try:
        return await a2e.image_to_video.quote(**options)
    except A2EError:
        return None  # the price is an estimate only: without it, the plan is still useful


def _costs_table(counts: dict[_PriceKey, int], prices: dict[_PriceKey, float | None]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("videos", "model", "seconds", "last image", "coins each", "coins"):
        table.add_column(name, justify="left" if name in {"model", "last image"} else "right")
    for key, count in counts.items():
        price = prices[key]
        table.add_row(str(count), *key, coins_text(price) or "?", "?" if price is None else coins_text(count * price))
    return table

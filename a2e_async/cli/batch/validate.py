"""Validation of all rows before the first start, and the plan that `--dry-run` prints.

Nothing is uploaded or started, and no row is kept in memory. The rows are read again for the batch.
"""

import asyncio
import collections
import itertools
import operator
import os
import pathlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs
from rich.table import Table
from rich.text import Text

from a2e_async import A2EClient
from a2e_async._protocol.image_to_video import START
from a2e_async.batch import Job, JournalReader
from a2e_async.batch.automatic_keys import EarlierJobs
from a2e_async.batch.family_jobs import FamilyJob
from a2e_async.batch.file_names import FileNames
from a2e_async.batch.jobs import JOB_FIELDS, to_job
from a2e_async.batch.rules import Action, next_action
from a2e_async.cli.batch.families import without_files
from a2e_async.cli.batch.job_file import InputRow
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import coins_text, error_text, one_line, plural
from a2e_async.cli.output import print_json
from a2e_async.errors import A2EError, InvalidRequestError, JournalError
from a2e_async.files.local_files import Inspection, inspect_paths, use_inspections


def _is_new(journal: pathlib.Path) -> bool:
    # An empty file, as `mktemp` makes it, becomes a journal when the batch opens it.
    return not journal.exists() or (journal.is_file() and not journal.stat().st_size)


@attrs.frozen(kw_only=True)
class KnownJobs:
    """What the journal knows about the jobs before the batch begins."""

    started: set[str] = attrs.field(factory=set)  # keys of jobs that need no start
    earlier: EarlierJobs = attrs.field(factory=EarlierJobs)
    names: FileNames = attrs.field(factory=FileNames)


async def read_known(journal: pathlib.Path, retry_failed: int, extension: str) -> KnownJobs:
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
                known.names.reserve(pathlib.PurePath(entry.target).name, entry.key, extension)
            if next_action(entry, download=True, retry_failed=retry_failed) is not Action.START:
                known.started.add(entry.key)
    return known


_GROUP = 128  # rows whose images are inspected together, before the rows are checked

# What nearly all rows of a table have in common. A key, an image and a prompt are right or wrong by themselves.
_common_options = operator.attrgetter(*(name for name in JOB_FIELDS if name not in {"key", "image", "prompt"}))
_MAX_KINDS = 100  # of common options that are kept


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
    _inspections: Mapping[str, Inspection] = attrs.field(factory=dict, init=False)  # of the images of this group
    _accepted: dict[str, int] = attrs.field(factory=dict, init=False)  # common options -> bytes of the largest image
    _existing: set[int] | None = attrs.field(default=None, init=False)  # hashes of the names in `out`; None if unknown

    async def run(self, rows: Iterable[InputRow]) -> None:
        """Validate all rows; raise an `InvalidRequestError` if they cannot be read to the end."""
        remaining = iter(rows)
        if not self.overwrite:
            self._existing = await asyncio.to_thread(_list_names, self.out)
        while group := list(itertools.islice(remaining, _GROUP)):
            await asyncio.sleep(0)  # lets Ctrl-C end the loop: the check of a link never waits
            self._inspections = await inspect_paths({path for row in group if row.job for path in _paths(row.job)})
            with use_inspections(self._inspections):
                for row in group:
                    if error := row.error or await self._find_error(row.job):
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
        self.known.names.add(job.key, self.extension)  # in the order of the rows
        name = self.known.names.choose(job.key, self.extension)
        error = await self._check(job)
        if not error and not self.overwrite and self._exists(name):
            error = f"{self.out / name} already exists: --overwrite replaces it"
        # The image of a job that has its task may be deleted, and its video may exist. Its options must still be valid.
        return await self._check(_without_files(job)) if error and job.key in self.known.started else error

    def _exists(self, name: str) -> bool:
        may_exist = self._existing is None or hash(name.casefold()) in self._existing
        return may_exist and os.access(self.out / name, os.F_OK)  # unlike `exists`, it raises no error

    async def _check(self, job: Job) -> str:
        kind, size = self._kind_of(job)
        if size and size <= self._accepted.get(kind, 0):
            return ""
        try:
            await self.check(job)
        except InvalidRequestError as error:
            return error_text(error)
        if size and (kind in self._accepted or len(self._accepted) < _MAX_KINDS):
            self._accepted[kind] = size
        return ""

    def _kind_of(self, job: Job) -> tuple[str, int]:
        """Return the common options of a job, and the bytes of its image; no bytes if it has to be checked in full.

        Otherwise its key, image and prompt are good, and it is valid if a job with the same options and an image that
        was no smaller is valid.
        """
        is_local = not isinstance(job, FamilyJob) and isinstance(job.image, str)
        found = self._inspections.get(job.image) if is_local else None
        if found is None or isinstance(found, str):
            return "", 0
        _, size, media_type, problem = found
        if media_type is None or media_type.medium != "image" or problem:
            return "", 0
        try:
            to_job(job)
            START.fields["prompt"].check("prompt", job.prompt)
        except InvalidRequestError:
            return "", 0
        return repr(_common_options(job)), size


def _list_names(folder: pathlib.Path) -> set[int] | None:
    """Return the hashes of the names in a folder, as one in upper and lower case; None if it cannot be listed."""
    try:
        return {hash(path.name.casefold()) for path in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except OSError:
        return None


def _paths(job: Job) -> Iterator[str]:
    """Return the paths of the local files of a job."""
    inputs = job.named_inputs().values() if isinstance(job, FamilyJob) else (job.image, job.end_image)
    return (each for each in inputs if isinstance(each, str) and "://" not in each)


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

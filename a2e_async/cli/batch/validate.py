"""Validation of all rows before the first start, and the plan that `--dry-run` prints.

Nothing is uploaded or started, and no row is kept in memory. The rows are read again for the batch.
"""

import asyncio
import json
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeAlias

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from a2e_async import A2EClient
from a2e_async.batch import Job, JournalReader
from a2e_async.batch.rules import Action, file_name, next_action
from a2e_async.cli.batch.job_file import ParsedJob
from a2e_async.cli.batch.text import coins_text, make_console, plural
from a2e_async.cli.messages import one_line
from a2e_async.errors import A2EError, InvalidRequestError, JournalError

_EXTENSION = ".mp4"


@attrs.define(eq=False)
class JournalLookup:
    """Lookup of jobs in the journal of the batch, if it exists.

    Attributes:
        path: The journal.
        retry_failed: The option of the batch.
    """

    path: pathlib.Path
    retry_failed: int
    _keys: frozenset[str] | None = attrs.field(default=None, init=False)

    async def check(self) -> None:
        """Check that the journal can be used, before the rows are validated.

        Raises:
            JournalError: It is not a journal, or another process uses it.
        """
        if self._exists():
            async with JournalReader.open(self.path) as journal:
                if journal.info.holder:
                    holder = journal.info.holder
                    msg = f"The journal {str(self.path)!r} is in use by {holder}: wait until that has ended, or end it"
                    raise JournalError(msg)

    def _exists(self) -> bool:
        # An empty file, as `mktemp` makes it, becomes a journal when the batch opens it.
        return self.path.exists() and not (self.path.is_file() and not self.path.stat().st_size)

    async def is_started(self, key: str) -> bool:
        """Return whether the job needs no start: its image may be missing, and its video may exist."""
        if self._keys is None:  # read once, and only if a row needs it
            self._keys = frozenset([key async for key in self._started_keys()])
        return key in self._keys

    async def _started_keys(self) -> AsyncIterator[str]:
        if self._exists():
            async with JournalReader.open(self.path) as journal:
                async for entry in journal.entries():
                    if next_action(entry, download=True, retry_failed=self.retry_failed) is not Action.START:
                        yield entry.key


@attrs.define(eq=False)
class ValidationResult:
    """Result of the validation of all rows.

    Attributes:
        valid: The number of valid jobs.
        invalid: The numbers of the invalid rows.
    """

    valid: int = 0
    invalid: set[int] = attrs.field(factory=set)

    def jobs(self, rows: Iterable[ParsedJob]) -> Iterator[Job]:
        """Return the valid jobs of a second reading of the input."""
        for row in rows:
            if row.job is not None and row.number not in self.invalid:
                yield row.job


@attrs.define(eq=False)
class JobValidator:
    """Validator of the rows of an input.

    Attributes:
        check: Raises an `InvalidRequestError` for a job that A2E would reject.
        journal: The lookup in the journal.
        out: The folder for the videos.
        overwrite: Whether existing videos are replaced.
        on_invalid: Called with the place and the error of each invalid row.
    """

    check: Callable[[Job], Awaitable[None]]
    journal: JournalLookup
    out: pathlib.Path
    overwrite: bool
    on_invalid: Callable[[str, str], None]
    result: ValidationResult = attrs.field(factory=ValidationResult, init=False)

    async def run(self, rows: Iterable[ParsedJob]) -> ValidationResult:
        """Validate all rows.

        Raises:
            InvalidRequestError: The input cannot be read to its end.
        """
        for row in rows:
            await asyncio.sleep(0)  # lets Ctrl-C end the loop: the check of a link never waits
            error = row.error or await self._find_error(row.job)
            if error:
                self.result.invalid.add(row.number)
                self.on_invalid(row.place, error)
            else:
                self.result.valid += 1
        return self.result

    async def _find_error(self, job: Job | None) -> str:
        """Return what is wrong with a job, or an empty text."""
        if job is None:
            return ""
        error = await self._check(job) or self._check_target(job)
        # The image of a job that has its task may be deleted, and its video may exist. Its options must still be valid.
        if error and await self.journal.is_started(job.key):
            return await self._check(_without_files(job))
        return error

    async def _check(self, job: Job) -> str:
        try:
            await self.check(job)
        except InvalidRequestError as error:
            return str(error)
        return ""

    def _check_target(self, job: Job) -> str:
        target = self.out / file_name(job.key, _EXTENSION)
        return f"{target} already exists: --overwrite replaces it" if not self.overwrite and target.exists() else ""


def _without_files(job: Job) -> Job:
    """Return a job with links instead of its local images, so that its check reads no file."""
    link = "https://example.com/image.png"
    return attrs.evolve(
        job,
        image=None,
        image_url=job.image_url or link,
        end_image=None,
        end_image_url=job.end_image_url or (link if job.end_image is not None else None),
    )


_JOBS_LISTED = 20

# The fields that decide the price of a job: model, seconds, and whether it has a last image.
_PriceKey: TypeAlias = "tuple[object, object, bool]"


def _price_key(job: Job) -> _PriceKey:
    return job.model_version, job.video_time, job.end_image is not None or job.end_image_url is not None


@attrs.define(eq=False)
class _Plan:
    """Counts and prices of the jobs of a dry run, per price key."""

    started: int = 0
    counts: dict[_PriceKey, int] = attrs.field(factory=dict)
    prices: dict[_PriceKey, float | None] = attrs.field(factory=dict)

    @property
    def coins(self) -> float | None:
        """The price of all jobs, None if one of the prices is unknown."""
        total = 0.0
        for key, count in self.counts.items():
            price = self.prices[key]
            if price is None:
                return None
            total += count * price
        return total


async def print_plan(a2e: A2EClient, jobs: Iterable[Job], journal: JournalLookup, *, as_json: bool) -> None:
    """Print the jobs that would be started, and their cost by A2E's estimate.

    Args:
        a2e: An open client.
        jobs: Valid jobs.
        journal: The lookup in the journal; jobs that need no start are counted only.
        as_json: Print every job to stdout as JSON, and the costs to stderr.
    """
    console = make_console(stderr=as_json)
    plan = _Plan()
    table = Table("key", "image", "model", "seconds", "prompt", box=None, pad_edge=False, header_style="bold")
    for job in jobs:
        if await journal.is_started(job.key):
            plan.started += 1
            continue
        key = _price_key(job)
        if key not in plan.prices:  # one request per price, not per job
            plan.prices[key] = await _quote(a2e, job)
        plan.counts[key] = plan.counts.get(key, 0) + 1
        if as_json:
            print(json.dumps({**_set_fields(job), "coins": plan.prices[key]}, ensure_ascii=False), flush=True)
        elif table.row_count < _JOBS_LISTED:
            table.add_row(*_cells(job))
    if table.row_count:
        console.print(table)
    _print_costs(plan, console, not_listed=0 if as_json else sum(plan.counts.values()) - table.row_count)


async def _quote(a2e: A2EClient, job: Job) -> float | None:
    options = {name: value for name, value in attrs.asdict(job, recurse=False).items() if name != "key"}
    try:
        return await a2e.image_to_video.quote(**options)
    except A2EError:
        return None  # the price is an estimate only: without it, the plan is still useful


def _set_fields(job: Job) -> dict[str, Any]:
    return {name: value for name, value in attrs.asdict(job, recurse=False).items() if value is not None}


def _cells(job: Job) -> tuple[Text, ...]:
    image = job.image if job.image is not None else job.image_url
    texts = (job.key, image, job.model_version, job.video_time, job.prompt or "")
    return tuple(Text(one_line(str(text)), no_wrap=True, overflow="ellipsis") for text in texts)


def _print_costs(plan: _Plan, console: Console, not_listed: int) -> None:
    if not_listed:
        console.print(f"… and {not_listed} more (--json lists all)\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("videos", "model", "seconds", "last image", "coins each", "coins"):
        table.add_column(name, justify="left" if name in {"model", "last image"} else "right")
    for key, count in plan.counts.items():
        model, seconds, has_end_image = key
        price = plan.prices[key]
        coins = ("?", "?") if price is None else (coins_text(price), coins_text(count * price))
        table.add_row(str(count), str(model), str(seconds), "yes" if has_end_image else "no", *coins)
    if plan.counts:
        console.print(table)
    if plan.started:
        console.print(f"{plan.started} more in the journal: no start needed.")
    cost = "A2E gave no price" if plan.coins is None else f"about {coins_text(plan.coins)} coins by A2E's estimate"
    console.print(f"{plural(sum(plan.counts.values()), 'video')} would be started: {cost}, uploads not counted.")

"""Looks at every row of an input before the first start; `--dry-run` shows what would be sent and what it would cost.

Of the rows themselves nothing is kept. Nothing is uploaded or started.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from rich.table import Table
from rich.text import Text

from a2e_async.batch import Job, JournalReader
from a2e_async.batch.rules import Next, file_name, next_step
from a2e_async.cli.batch.text import coins_text, make_console, several
from a2e_async.cli.messages import one_line
from a2e_async.errors import A2EError, InvalidRequestError, JournalError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from rich.console import Console

    from a2e_async import A2EClient
    from a2e_async.cli.batch.job_file import Entry

__all__ = ["Checked", "Checker", "Kind", "Known", "kind_of", "show_plan"]

_EXTENSION = ".mp4"

Kind: TypeAlias = "tuple[object, object, bool]"
"""What decides the price: the model, the seconds, and whether there is a last image."""


def kind_of(job: Job) -> Kind:
    """Return what decides the price of a job."""
    return job.model_version, job.video_time, job.end_image is not None or job.end_image_url is not None


@attrs.define(eq=False)
class Known:
    """What the journal knows of the jobs, if there is one.

    Attributes:
        path: The journal.
        retry_failed: As for the batch.
    """

    path: pathlib.Path
    retry_failed: int
    _keys: frozenset[str] | None = attrs.field(default=None, init=False)

    async def look(self) -> None:
        """See whether the journal can be used, before all rows are checked in vain.

        Raises:
            JournalError: It cannot.
        """
        if self._exists():
            async with JournalReader.open(self.path) as journal:
                if journal.info.holder:
                    msg = f"The journal {str(self.path)!r} is in use by {journal.info.holder}: wait for its end"
                    raise JournalError(msg)

    def _exists(self) -> bool:
        return self.path.exists() and not (self.path.is_file() and not self.path.stat().st_size)

    async def has(self, key: str) -> bool:
        """Tell whether nothing is to be started for a job, so that its image may be gone and its video there."""
        if self._keys is None:
            self._keys = frozenset([key async for key in self._done()])
        return key in self._keys

    async def _done(self) -> AsyncIterator[str]:
        if self._exists():
            async with JournalReader.open(self.path) as journal:
                async for row in journal.rows():
                    if next_step(row, fetch=True, retry_failed=self.retry_failed) is not Next.START:
                        yield row.key


@attrs.define(eq=False)
class Checked:
    """What came of looking at all rows.

    Attributes:
        good: How many jobs there are.
        wrong: The numbers of the rows that are wrong.
    """

    good: int = 0
    wrong: set[int] = attrs.field(factory=set)

    def jobs(self, entries: Iterable[Entry]) -> Iterator[Job]:
        """Go through the jobs once more, without the wrong ones."""
        for entry in entries:
            if entry.job is not None and entry.number not in self.wrong:
                yield entry.job


@attrs.define(eq=False)
class Checker:
    """Checks jobs.

    Attributes:
        check: Raises an `InvalidRequestError` for a job that cannot work.
        known: What the journal knows.
        out: The folder for the videos.
        overwrite: Whether existing videos are replaced.
        complain: Is told about every row that is wrong.
    """

    check: Callable[[Job], Awaitable[None]]
    known: Known
    out: pathlib.Path
    overwrite: bool
    complain: Callable[[str, str], None]
    checked: Checked = attrs.field(factory=Checked, init=False)

    async def run(self, entries: Iterable[Entry]) -> Checked:
        """Check all rows.

        Raises:
            InvalidRequestError: The input cannot be read to its end.
        """
        for entry in entries:
            await asyncio.sleep(0)  # Ctrl-C
            error = entry.error or await self._error(entry.job)
            if error:
                self.checked.wrong.add(entry.number)
                self.complain(entry.place, error)
            else:
                self.checked.good += 1
        return self.checked

    async def _error(self, job: Job | None) -> str:
        """Tell what is wrong with a job. The files of one that was started already do not matter any more."""
        if job is None:
            return ""
        error = await self._complaint(job) or self._taken(job)
        if error and await self.known.has(job.key):
            return await self._complaint(_without_files(job))
        return error

    async def _complaint(self, job: Job) -> str:
        try:
            await self.check(job)
        except InvalidRequestError as error:
            return str(error)
        return ""

    def _taken(self, job: Job) -> str:
        target = self.out / file_name(job.key, _EXTENSION)
        return f"{target} exists already: --overwrite replaces it" if not self.overwrite and target.exists() else ""


def _without_files(job: Job) -> Job:
    link = "https://example.com/picture.png"
    return attrs.evolve(
        job,
        image=None,
        image_url=job.image_url or link,
        end_image=None,
        end_image_url=job.end_image_url or (link if job.end_image is not None else None),
    )


_SHOWN = 20
"""Jobs that are listed for a person."""


@attrs.define(eq=False)
class _Plan:
    """What is counted while the jobs are gone through."""

    known: int = 0
    numbers: dict[Kind, int] = attrs.field(factory=dict)
    prices: dict[Kind, float | None] = attrs.field(factory=dict)

    @property
    def coins(self) -> float | None:
        """What all of them cost, None if one of the prices is not known."""
        total = 0.0
        for kind, number in self.numbers.items():
            price = self.prices[kind]
            if price is None:
                return None
            total += number * price
        return total


async def show_plan(a2e: A2EClient, jobs: Iterable[Job], known: Known, *, as_json: bool) -> None:
    """Go through the jobs, ask A2E for the price of each kind, and print both.

    Args:
        a2e: An open client.
        jobs: Jobs that were checked.
        known: What the journal knows; those jobs would not be started.
        as_json: Print every job to the standard output as JSON, and only the costs for a person.
    """
    console = make_console(stderr=as_json)
    plan = _Plan()
    table = Table("key", "picture", "model", "seconds", "prompt", box=None, pad_edge=False, header_style="bold")
    for job in jobs:
        if await known.has(job.key):
            plan.known += 1
            continue
        kind = kind_of(job)
        if kind not in plan.prices:
            plan.prices[kind] = await _price(a2e, job)
        plan.numbers[kind] = plan.numbers.get(kind, 0) + 1
        if as_json:
            print(json.dumps({**_request(job), "coins": plan.prices[kind]}, ensure_ascii=False), flush=True)
        elif table.row_count < _SHOWN:
            table.add_row(*_cells(job))
    if table.row_count:
        console.print(table)
    _show_costs(plan, console, left_out=0 if as_json else sum(plan.numbers.values()) - table.row_count)


async def _price(a2e: A2EClient, job: Job) -> float | None:
    words = {word: value for word, value in attrs.asdict(job, recurse=False).items() if word != "key"}
    try:
        return await a2e.image_to_video.quote(**words)
    except A2EError:
        return None  # an estimate that cannot be had is no reason to fail


def _request(job: Job) -> dict[str, Any]:
    return {word: value for word, value in attrs.asdict(job, recurse=False).items() if value is not None}


def _cells(job: Job) -> tuple[Text, ...]:
    picture = job.image if job.image is not None else job.image_url
    texts = (job.key, picture, job.model_version, job.video_time, job.prompt or "")
    return tuple(Text(one_line(str(text)), no_wrap=True, overflow="ellipsis") for text in texts)


def _show_costs(plan: _Plan, console: Console, left_out: int) -> None:
    if left_out:
        console.print(f"… and {left_out} more (--json lists all)\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("videos", "model", "seconds", "last image", "coins each", "coins"):
        table.add_column(name, justify="left" if name in {"model", "last image"} else "right")
    for kind, number in plan.numbers.items():
        model, seconds, has_end = kind
        price = plan.prices[kind]
        coins = ("?", "?") if price is None else (coins_text(price), coins_text(number * price))
        table.add_row(str(number), str(model), str(seconds), "yes" if has_end else "no", *coins)
    if plan.numbers:
        console.print(table)
    if plan.known:
        console.print(f"{plan.known} more are in the journal: nothing would be bought for them.")
    costs = "A2E told no price" if plan.coins is None else f"about {coins_text(plan.coins)} coins by A2E's estimate"
    console.print(f"{several(sum(plan.numbers.values()), 'video')} would be started: {costs}, uploads not counted.")

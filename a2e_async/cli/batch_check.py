"""Looks at every row of an input before the first start. Of the rows themselves nothing is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import attrs

from a2e_async._protocol.batch import Next, file_name, next_step
from a2e_async.batch import Job, JournalReader
from a2e_async.errors import InvalidRequestError, JournalError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from a2e_async.cli.batch_jobs import Entry

__all__ = ["Checked", "Checker", "Kind", "Known", "kind_of"]

_EXTENSION = ".mp4"

Kind: TypeAlias = "tuple[object, object, bool]"
"""What decides the price: the model, the seconds, and whether there is a last picture."""


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
        """Tell whether nothing is to be bought for a job, so that its picture may be gone and its video there."""
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
        """Tell what is wrong with a job. The files of one that was bought already do not matter any more."""
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

"""Batches: very many tasks of one family in one call. `a2e_async.batch` does the work."""

from __future__ import annotations

import functools
import math
import os
import pathlib
from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sized
from typing import Any, ClassVar, Literal, TypeVar, get_args

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_record
from a2e_async._protocol.messages import Request
from a2e_async._protocol.validation import check_choice, check_seconds, check_text, refuse
from a2e_async._submission.reconciler import Task
from a2e_async._submission.submitter import Order
from a2e_async.batch import Batch, Job
from a2e_async.batch.jobs import Desk, Purchase
from a2e_async.config import OnUnknown
from a2e_async.files.local_files import LocalFile
from a2e_async.models.common import TaskRecord
from a2e_async.resources.task_resource import TaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["Batches"]

R = TypeVar("R", bound=TaskRecord)


class Batches(TaskResource[R]):
    """A family whose tasks can be made in batches."""

    _extension: ClassVar[str]

    @abstractmethod
    async def _purchase(self, job: Job) -> Purchase:
        """Check a job and look at its images."""

    def batch(
        self,
        jobs: Iterable[Job | Mapping[str, Any]] | AsyncIterable[Job | Mapping[str, Any]],
        *,
        journal: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        max_running: int = 10,
        max_uploads: int = 4,
        max_starts: int = 4,
        max_downloads: int = 4,
        max_coins: float | None = None,
        retry_failed: int = 0,
        ordered: bool = False,
        on_shortage: Literal["wait", "stop"] = "wait",
        on_unknown: OnUnknown | None = None,
        timeout: float | None = 1800.0,
        outage_budget: float | None = 600.0,
        total: int | None = None,
    ) -> Batch:
        """Make very many videos, and iterate over what became of each: an `Outcome`, as they end.

        Each job costs what `start` costs. A failure is a value and no exception, so that it never ends or hides the
        others. With a journal a crash costs nothing: the same call goes on where it was, and pays for nothing twice.
        What is done is skipped, what runs is waited for, and a start that was being sent is looked for at A2E.

        Leaving the loop early, or cancelling it, starts nothing new and leaves running tasks alive: use
        ``async with`` as well to be sure that this has happened when the block ends.

        Args:
            jobs: Jobs, or dicts of the same words, in any iterable or async iterable. They are read as they are needed.
            journal: An SQLite file that remembers everything; made if it is not there. One process at a time.
            out: A folder for the videos, which are named after the keys. Without it nothing is downloaded.
            overwrite: Replace existing files. Otherwise a job whose file exists fails before anything is paid.
            max_running: Tasks at A2E at the same time.
            max_uploads: Images that are uploaded at the same time. An image of the same content is uploaded once. As
                for downloads, the client's `Config.max_uploads` and `Config.max_downloads` hold as well.
            max_starts: Starts that are sent at the same time.
            max_downloads: Videos that are downloaded at the same time.
            max_coins: Coins that the batch may spend on starts, earlier runs with its journal included; jobs that do
                not fit are skipped with a `BudgetError`. The price is A2E's quote, or what the last start of the kind
                has cost; if nobody knows it, one job goes ahead. Uploads are not counted, since A2E does not say
                what it charges for them.
            retry_failed: New starts for a job whose task A2E lets fail, at most. Each costs coins again.
            ordered: Yield outcomes in the order of the input, instead of as they end.
            on_shortage: What to do when there are not enough coins, when A2E is busy, or out of reach: ``"wait"``
                pauses the batch and tries again after 5 seconds and growing pauses, up to 5 minutes; ``"stop"`` starts
                nothing more, and the rest is skipped.
            on_unknown: What to do if it stays unknown whether A2E accepted a start, as in `start`. By default as
                `StartPolicy.on_unknown` says. ``"resend"`` also settles what earlier runs have left uncertain.
            timeout: Seconds to wait for each task, as in `TaskHandle.wait_until_done`.
            outage_budget: Seconds, as in `TaskHandle.wait_until_done`.
            total: How many jobs there are, for `Batch.progress`; by default ``len(jobs)``, if it has one.

        Raises:
            InvalidRequestError: An argument cannot be used.
            JournalError: While iterating: the journal cannot be used. Nothing is started without it.
            ConfigurationError: While iterating: a journal needs ``StartPolicy(mark_names=True)``.
        """
        from a2e_async.batch.context import Policy  # noqa: PLC0415  as above
        from a2e_async.batch.runner import (  # noqa: PLC0415  as above
            Batch,
            Limits,
            Runner,
        )

        if isinstance(jobs, str | bytes | Mapping) or not isinstance(jobs, Iterable | AsyncIterable):
            refuse("jobs must be several jobs, in an iterable or an async iterable")
        limits = {"running": max_running, "uploads": max_uploads, "starts": max_starts, "downloads": max_downloads}
        for name, value in limits.items():
            _check_count(f"max_{name}", value, 1)
        _check_count("retry_failed", retry_failed, 0)
        _check_coins(max_coins)
        check_choice("on_shortage", on_shortage, ("wait", "stop"))
        if on_unknown is not None:
            check_choice("on_unknown", on_unknown, get_args(OnUnknown))
        check_seconds("timeout", timeout)
        check_seconds("outage_budget", outage_budget)
        policy = Policy(
            out=None if out is None else _path("out", out),
            overwrite=overwrite,
            retry_failed=retry_failed,
            on_shortage=on_shortage,
            resend=None if on_unknown is None else on_unknown == "resend",
            timeout=timeout,
            outage_budget=outage_budget,
        )
        runner = Runner(
            open_desk=self._desk,
            jobs=jobs,
            policy=policy,
            limits=Limits(**limits),
            journal=None if journal is None else _path("journal", journal),
            max_coins=max_coins,
            total=len(jobs) if total is None and isinstance(jobs, Sized) else total,
        )
        return Batch.of(runner, ordered=ordered)

    async def check(self, job: Job | Mapping[str, Any]) -> None:
        """Check a job of a batch as far as that is possible without sending anything. Free.

        Raises:
            InvalidRequestError: It cannot work: a wrong option, an image that cannot be read or is none.
        """
        from a2e_async.batch.jobs import to_job  # noqa: PLC0415  only who makes batches pays for the import

        await self._purchase(to_job(job))

    async def _quote(self, body: dict[str, Any]) -> float | None:
        """Ask what a start would cost (reference 13, Credits). Free."""
        request = Request(
            method="POST",
            path="/api/v1/generation/quote",
            json={"endpoint": self._family.start, "requestBody": body},
            repeatable=True,
        )
        return responses.quoted(await self._send(request))

    def _desk(self) -> Desk:
        from a2e_async.batch.jobs import Desk  # noqa: PLC0415  only who makes batches pays for the import

        parts = self._parts()
        return Desk(
            base_url=parts.base_url,
            marks_names=parts.submitter.policy.mark_names,
            resends=parts.submitter.policy.on_unknown == "resend",
            extension=self._extension,
            shown_after=max(parts.submitter.policy.looks[-1], parts.poller.policy.invisible_for),
            check=self._purchase,
            upload=self._link,
            quote=lambda purchase: self._quote(purchase.make_body(*map(_any_link, purchase.pictures))),
            buy=self._buy,
            settle=self._settle,
            task=self._known,
        )

    async def _buy(
        self, body: dict[str, Any], *, marker: str, resend: bool, on_late: Callable[[TaskHandle[R]], None]
    ) -> TaskHandle[R]:
        submitter = self._parts().submitter

        def tell(made: list[Task]) -> None:
            on_late(self._handles(made)[0])

        return self._handles(await submitter.start(Order(self._family, 1, resend, tell), body, marker))[0]

    async def _settle(self, marker: str, age: float) -> TaskHandle[R] | None:
        found = await self._parts().submitter.settle(Order(self._family), marker, age)
        return next(iter(self._handles(found)), None)

    def _known(self, task_id: str, raw: dict[str, Any] | None) -> TaskHandle[R]:
        if raw is None:
            return self.task(task_id)
        return self._handle(task_id, functools.partial(to_record, self._record, {**raw, "_id": task_id}, self._family))


def _any_link(picture: LocalFile | str | None) -> str | None:
    """Return a link for a quote, which does not look at it."""
    return picture if picture is None or isinstance(picture, str) else "https://example.com/picture.png"


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        refuse(f"{name} must be a whole number of at least {least}, not {value!r}")


def _check_coins(value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 <= float(str(value)) < math.inf):
        refuse(f"max_coins must be a number of coins, or None, not {value!r}")


def _path(name: str, value: object) -> pathlib.Path:
    if not isinstance(value, str | os.PathLike):
        refuse(f"{name} must be a str or a path, not {value!r}")
    check_text(name, os.fspath(value))
    return pathlib.Path(value)

"""Batches: many tasks of one family in one call. `a2e_async.batch` runs them."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
from abc import abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sized
from typing import Any, Generic, Literal, TypeVar, get_args

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.responses import AcceptedTask
from a2e_async._protocol.schema import check_text, choice
from a2e_async._protocol.validation import check_seconds, raise_invalid
from a2e_async._submission.evidence import Verdict
from a2e_async._submission.start import StartRequest, nothing_started
from a2e_async.batch import Batch, Job
from a2e_async.batch.iteration import BatchRun
from a2e_async.batch.jobs import BatchApi, BatchOptions, Funds, PreparedStart, to_job
from a2e_async.config import OnUnknown
from a2e_async.errors import A2EError
from a2e_async.files.local_files import LocalFile
from a2e_async.models.common import TaskRecord
from a2e_async.resources.task_resource import TaskResource
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)


class BatchResource(TaskResource[R]):
    """Resource of a family whose tasks can be made in batches."""

    _extension: str

    @abstractmethod
    async def _prepare_start(self, job: Job) -> PreparedStart:
        """Check a job and its images. Send nothing."""

    def batch(
        self,
        jobs: Iterable[Job | Mapping[str, Any]] | AsyncIterable[Job | Mapping[str, Any]],
        *,
        journal: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        max_running: int = 10,
        max_uploads: int = 8,
        max_starts: int = 4,
        max_downloads: int = 8,
        max_coins: float | None = None,
        retry_failed: int = 0,
        ordered: bool = False,
        on_shortage: Literal["wait", "stop"] = "wait",
        on_unknown: OnUnknown | None = None,
        timeout: float | None = 1800.0,
        outage_budget: float | None = 600.0,
        total: int | None = None,
    ) -> Batch[R]:
        """Make many videos, and iterate over their results: a `JobResult` for each job, in the order of completion.

        Each job costs what `start` costs. The failure of a job is a value and not an exception, so that it never ends
        or hides the other jobs. With a journal, the same call resumes an interrupted batch, and no start is paid twice:
        finished jobs are skipped, running tasks are waited for, and a start that was being sent is looked up at A2E.

        If the loop is left early or cancelled, nothing more is started, and running tasks stay alive at A2E. Use
        ``async with`` as well, to be sure that this has happened when the block ends.

        Args:
            jobs: Jobs, or dicts with the same fields, in an iterable or async iterable. They are read as needed. A dict
                can be a row of a table, such as one of ``csv.DictReader``: texts are parsed in the fields of numbers
                and flags, and a value that is empty, None or NaN is not set. A dict without a key gets one from the
                path or the link of its image.
            journal: An SQLite file with the state of all jobs; it is created if it does not exist. Only one process at
                a time can use it, under any name of the file. If the file is an older copy, such as a restored backup,
                the tasks that it lacks are adopted from A2E's list instead of being started again.
            out: A folder for the videos, which are named after the keys. Without it nothing is downloaded. It is tested
                before the first start. While nothing can be stored there, such as on a full disk, the batch pauses.
            overwrite: Replace existing files. Otherwise a job whose file exists fails before anything is paid.
            max_running: Tasks at A2E at the same time.
            max_uploads: Uploads at the same time. Images with the same content are uploaded once. As for downloads, the
                client's `Config.max_uploads` and `Config.max_downloads` apply as well.
            max_starts: Starts that are sent at the same time.
            max_downloads: Downloads at the same time.
            max_coins: Coins that the batch may spend on starts, including earlier runs with the same journal. The
                first jobs of the input get them. A job that would exceed them is skipped with a `BudgetError`, and a
                cheaper one after it can be started. The first start of a kind goes alone until its true price is
                known, from A2E's answer, the account, or the finished record; so the limit is passed by that one job
                at most. If its price stays unknown, no other job is started. Uploads are not counted, because A2E does
                not tell what it charges for them.
            retry_failed: Number of new starts for a job whose task has failed. Each costs coins again.
            ordered: Yield the results in the order of the input, instead of the order of completion.
            on_shortage: What to do when credits have run out, when A2E is busy, fails or cannot be reached, or when
                videos cannot be stored:
                ``"wait"`` pauses the batch and tries again after 5 seconds, then after longer pauses, up to 5 minutes;
                ``"stop"`` starts nothing more, and the remaining jobs are skipped. The same holds for a rejection of
                unknown meaning that comes five times in a row. A plan that does not allow the start, or a token that
                is rejected twice, always stops the batch.
            on_unknown: What to do if the outcome of a start stays unknown after some minutes, as in `start`. By default
                the value of `StartPolicy.on_unknown`. ``"resend"`` also applies to starts that earlier runs have left
                uncertain. With either value, the batch sends a start again that A2E has certainly not accepted.
            timeout: Seconds to wait for each task, as in `TaskHandle.wait_until_done`.
            outage_budget: Seconds, as in `TaskHandle.wait_until_done`.
            total: Number of jobs, for `Batch.progress`; by default ``len(jobs)``, if it has one.

        Raises:
            InvalidRequestError: An argument is invalid.
            JournalError: While iterating: the journal cannot be used. Nothing is started without it.
            ConfigurationError: While iterating: a journal needs ``StartPolicy(mark_names=True)``.
        """
        if isinstance(jobs, str | bytes | Mapping) or not isinstance(jobs, Iterable | AsyncIterable):
            raise_invalid("jobs must be several jobs, in an iterable or an async iterable")
        limits = {
            "max_running": max_running,
            "max_uploads": max_uploads,
            "max_starts": max_starts,
            "max_downloads": max_downloads,
        }
        for name, value in limits.items():
            _check_count(name, value, 1)
        _check_count("retry_failed", retry_failed, 0)
        _check_coins(max_coins)
        choice("wait", "stop").check("on_shortage", on_shortage)
        if on_unknown is not None:
            choice(*get_args(OnUnknown)).check("on_unknown", on_unknown)
        check_seconds("timeout", timeout)
        check_seconds("outage_budget", outage_budget)
        options = BatchOptions(
            journal=None if journal is None else _to_path("journal", journal),
            out=None if out is None else _to_path("out", out),
            overwrite=overwrite,
            **limits,
            max_coins=max_coins,
            retry_failed=retry_failed,
            ordered=ordered,
            on_shortage=on_shortage,
            resend=None if on_unknown is None else on_unknown == "resend",
            timeout=timeout,
            outage_budget=outage_budget,
            total=len(jobs) if total is None and isinstance(jobs, Sized) else total,
        )
        return Batch(BatchRun(self._batch_api, jobs, options))

    async def check(self, job: Job | Mapping[str, Any]) -> None:
        """Check a job of a batch, as far as that is possible without sending anything. Free.

        Raises:
            InvalidRequestError: The job cannot work: an option is wrong, or a file cannot be read or is not an image.
        """
        await self._prepare_start(to_job(job))

    async def _quote(self, body: dict[str, Any]) -> float | None:
        """Return what a start would cost in coins, None if A2E does not tell (reference 13, Credits). Free."""
        request = Request(
            method="POST",
            path="/api/v1/generation/quote",
            json={"endpoint": self._family.start, "requestBody": body},
            repeatable=True,
        )
        return responses.quoted_coins(await self._send(request))

    def _batch_api(self) -> BatchApi[R]:
        return _BatchAdapter(self)


class _BatchAdapter(Generic[R]):
    """View of a resource as `BatchApi`. So the resource itself needs no further public methods."""

    def __init__(self, resource: BatchResource[R]) -> None:
        services, policy = resource._services(), resource._services().finder.policy
        self.resource = resource
        self.base_url = services.base_url
        self.marks_names = policy.mark_names
        self.resends = policy.on_unknown == "resend"
        self.extension = resource._extension
        self.settle_time = policy.accept_time + policy.list_delay

    # Each method gets the services again, since a closed client then raises ClientClosedError, which stops the batch.

    async def prepare(self, job: Job) -> PreparedStart:
        return await self.resource._prepare_start(job)

    async def upload(self, image: LocalFile) -> str:
        return await self.resource._services().files.upload(image)

    async def quote(self, start: PreparedStart) -> float | None:
        return await self.resource._quote(start.body)  # a quote does not read the images: the links may be invented

    async def funds(self) -> Funds:
        coins, spendings = None, None
        with contextlib.suppress(A2EError):
            data = (await self._get("user/remainingCoins")).data
            coins = to_item(models.Balance, data).coins if isinstance(data, dict) else None
        with contextlib.suppress(A2EError):
            params = {"pageNum": "1", "pageSize": "100", "is_consumption": "true"}
            spendings = responses.spendings(await self._get("transactionRecord/creditsHistory", params))
        return Funds(coins=coins, spendings=spendings)

    async def _get(self, operation: str, params: dict[str, str] | None = None) -> Envelope:
        path = f"/api/v1/{operation}"
        return await self.resource._send(Request(method="GET", path=path, params=params, repeatable=True))

    async def start(
        self,
        body: dict[str, Any],
        *,
        marker: str,
        resend: bool,
        on_post: Callable[[float], Awaitable[None]],
        on_late: Callable[[TaskHandle[R]], None],
    ) -> TaskHandle[R]:
        resource = self.resource

        def on_late_tasks(tasks: list[AcceptedTask]) -> None:
            on_late(resource._to_handle(tasks[0]))

        start = StartRequest(resource._family, body, resend=resend, on_post=on_post, on_late=on_late_tasks)
        tasks = await resource._services().submitter.start(start, marker)
        return resource._to_handle(tasks[0])

    async def latest_time(self) -> float:
        return await self.resource._services().finder.latest_time(self.resource._family)

    async def reconcile(
        self, marker: str, sent_at: float, *, waited: float, settle_time: float
    ) -> tuple[TaskHandle[R] | None, Verdict, float]:
        tasks, verdict, age = await self.resource._services().finder.reconcile(
            self.resource._family, marker, sent_at, waited=waited, settle_time=settle_time
        )
        return self.resource._to_handle(tasks[0]) if tasks else None, verdict, age

    async def find_listed(self, marker: str, *, fresh: bool) -> TaskHandle[R] | None:
        with nothing_started():
            found = await self.resource._services().finder.find(self.resource._family, marker, fresh=fresh)
        return self.resource._to_handle(found[0]) if found else None

    def known_task(self, task_id: str, raw: dict[str, Any] | None) -> TaskHandle[R]:
        # the record is decoded at its first use: a resumed batch may skip thousands of tasks
        return self.resource._to_handle(AcceptedTask(task_id, raw and {**raw, "_id": task_id}))


def _check_count(name: str, value: object, min: int) -> None:  # noqa: A002  as in the schemas
    if isinstance(value, bool) or not isinstance(value, int) or value < min:
        raise_invalid(f"{name} must be an integer of at least {min}, not {value!r}")


def _check_coins(value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 <= float(str(value)) < math.inf):
        raise_invalid(f"max_coins must be a number of coins, or None, not {value!r}")


def _to_path(name: str, value: object) -> pathlib.Path:
    if not isinstance(value, str | os.PathLike):
        raise_invalid(f"{name} must be a str or a path, not {value!r}")
    check_text(name, os.fspath(value))
    return pathlib.Path(value)

"""One job on its way from the input to its outcome. Whatever happens, its row in the journal tells the truth."""

from __future__ import annotations

import datetime as dt
import pathlib
import time
from typing import Any

import attrs

from a2e_async import errors
from a2e_async._protocol.converter import from_record
from a2e_async.batch import rules
from a2e_async.batch.context import Case, StoppedError
from a2e_async.batch.jobs import WORDS, Job, Purchase
from a2e_async.batch.results import Outcome, State
from a2e_async.batch.rules import Next, Row, Trouble
from a2e_async.batch.submission import Buyer
from a2e_async.batch.uploads import describe, identity, recall, with_files_read
from a2e_async.errors import A2EError, BudgetError, InvalidRequestError, JournalError, TaskFailedError
from a2e_async.files.local_files import check_target
from a2e_async.tasks import TaskHandle

__all__ = ["Errand", "utc"]

_PICTURES = ("image", "end_image")
_OPTIONS = tuple(word for word in WORDS if word.removesuffix("_url") not in {"key", *_PICTURES})


@attrs.define(eq=False)
class Errand:
    """Does for one job what is left to be done."""

    case: Case
    _job: Job = attrs.field(init=False)
    _purchase: Purchase | None = attrs.field(default=None, init=False)
    _is_ours: bool = attrs.field(default=False, init=False)
    _claimed: str | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with the job as it was given."""
        self._job = self.case.job

    async def run(self) -> Outcome:
        """Do it once, and return the outcome.

        Raises:
            JournalError: The journal cannot be used any more.
        """
        try:
            return await self._run()
        except StoppedError as stopped:
            return self._tell("uncertain" if self._is_open else "skipped", stopped.reason)
        except BudgetError as error:
            return self._tell("skipped", error)
        except JournalError:
            raise
        except A2EError as error:
            if rules.trouble(error) is Trouble.STOP:
                self.case.shop.stop(error)
            return await self.give_up(error)

    async def give_up(self, error: A2EError) -> Outcome:
        """Write down why there is no result. What is paid, or may be, stays as it is for the next run."""
        row = self.case.row
        if not self._is_ours:
            return self._tell("failed", error)  # the journal keeps what it knows of the key
        row.error = _written(error)
        if not self._is_open:
            row.state, row.finished_at = "failed", time.time()
        await self.case.shop.journal.save(row)
        return self._tell("uncertain" if self._is_open else "failed", error)

    @property
    def _is_open(self) -> bool:
        return self.case.row.state in {"sending", "running", "uncertain"}

    async def _run(self) -> Outcome:
        shop = self.case.shop
        known = await shop.journal.load(self._job.key)
        self._is_ours = known is None
        self._job = await with_files_read(self._job)
        if known is not None:
            await self._compare(known)
            self.case.row, self._claimed, self._is_ours = known, known.target, True
        match rules.next_step(self.case.row, fetch=shop.policy.out is not None, retry_failed=shop.policy.retry_failed):
            case Next.SKIP:
                return self._tell("skipped")
            case Next.TELL:
                return self._tell("failed", self._old_error())
            case Next.FETCH:
                self.case.handle = self._known_task()
            case step:
                await self._obtain(step)
        return await self._fetch()

    # what is asked for

    async def _compare(self, known: Row) -> None:
        """See that a known key still means the same job.

        Raises:
            InvalidRequestError: It does not.
        """
        if not rules.is_bound(known):
            return
        job, old = self._job, known.request
        pictures = {
            "image": await recall("image", job.image, job.image_url, old.get("image")),
            "end_image": await recall("end_image", job.end_image, job.end_image_url, old.get("end_image")),
        }
        words = rules.difference(_comparable(old), _comparable(self._request(pictures)))
        if words:
            msg = (
                f"The journal has another job under the key {job.key!r} ({', '.join(words)} differ): "
                "give this one a key of its own, or choose another journal"
            )
            raise InvalidRequestError(msg)

    async def _check(self) -> Purchase:
        """Check the job, and note what is asked for."""
        shop = self.case.shop
        purchase = await shop.desk.check(self._job)
        described = [await describe(picture) for picture in purchase.pictures]
        self.case.digests = {
            number: picture["sha256"] for number, picture in enumerate(described) if picture and "sha256" in picture
        }
        self.case.row.request = self._request(dict(zip(_PICTURES, described, strict=True)))
        if shop.policy.out is not None:
            target = self._claim(shop.policy.out)
            await check_target(target, overwrite=self._may_overwrite(target))
        return purchase

    def _request(self, pictures: dict[str, Any]) -> dict[str, Any]:
        words = {word: getattr(self._job, word) for word in _OPTIONS} | pictures
        return {word: value for word, value in words.items() if value is not None}

    # the task

    async def _obtain(self, step: Next) -> None:
        """Get a task that succeeds, and another one if it fails and that was asked for."""
        row, retry_failed = self.case.row, self.case.shop.policy.retry_failed
        failure = self._old_error() if row.purchases else None
        while True:
            try:
                if step is Next.START:
                    await self._buy_and_wait()
                    return
                if await self._resume(step):
                    return
            except TaskFailedError as error:
                failure = error
            except (BudgetError, StoppedError):
                if failure is None:
                    raise
                raise failure from None  # that is what has become of what was paid
            if not rules.may_start(row, retry_failed) and failure is not None:
                raise failure
            step = Next.START

    async def _buy_and_wait(self) -> None:
        shop = self.case.shop
        shop.check_open()
        if self._purchase is None:
            self._purchase = await self._check()
        await Buyer(self.case).buy(self._purchase)
        try:
            await self._wait()
        finally:
            shop.running.release()

    async def _resume(self, step: Next) -> bool:
        """Wait for the task that an earlier run has started; return False if there is none."""
        if step is Next.WAIT:
            self.case.handle = self.case.shop.desk.task(str(self.case.row.task_id), None)
        elif not await Buyer(self.case).settle():
            return False
        async with self.case.shop.running:
            await self._wait()
        return True

    async def _wait(self) -> None:
        """Wait until the task has succeeded.

        Raises:
            TaskFailedError: It has not.
            A2EError: It goes on, as far as anybody knows.
        """
        self.case.enter("running")
        policy, row, handle = self.case.shop.policy, self.case.row, self._paid()
        try:
            await handle.wait_until_done(policy.timeout, outage_budget=policy.outage_budget)
        except TaskFailedError as error:
            row.state, row.error = "failed", _written(error)
            self._note_end(handle)
            raise
        except A2EError:
            row.record = from_record(handle.record)
            raise
        row.state, row.error = "succeeded", None
        self._note_end(handle)

    def _note_end(self, handle: TaskHandle[Any]) -> None:
        row = self.case.row
        row.record, row.finished_at = from_record(handle.record), time.time()
        coins = handle.record.coins
        if self.case.is_estimated and coins is not None:  # A2E tells only now
            more = coins - (self.case.estimate or 0)
            row.coins = more + (row.coins or 0)
            self.case.shop.purse.correct(more)
            self.case.is_estimated = False
        self.case.shop.journal.note(row)

    # the file

    async def _fetch(self) -> Outcome:
        """Download the result, if a file is wanted. A failed download is not a failed job."""
        row, shop, problem = self.case.row, self.case.shop, None
        if shop.policy.out is not None:
            try:
                async with shop.downloads:
                    self.case.enter("downloading")
                    before, target = row.target, self._claim(shop.policy.out)
                    if row.target != before:  # so that a file is known to be ours, if this run ends before it says so
                        await shop.journal.save(row)
                    path = await self._paid().download(target, overwrite=self._may_overwrite(target))
                row.path, row.error = str(path), None
            except JournalError:
                raise
            except A2EError as error:
                problem, row.error = error, _written(error)
                if isinstance(error, InvalidRequestError):  # it is somebody else's
                    row.target = None
            row.record = from_record(self._paid().record)  # its link can be a fresh one
        await shop.journal.save(row)
        return self._tell("succeeded", problem)

    def _claim(self, folder: pathlib.Path) -> pathlib.Path:
        """Return the file that is going to be written, and remember it."""
        target = folder / rules.file_name(self.case.job.key, self.case.shop.desk.extension)
        self.case.row.target = str(target)
        return target

    def _may_overwrite(self, target: pathlib.Path) -> bool:
        """A file that an earlier run was going to write is that run's, which was cut off before it could say so."""
        is_ours = self._claimed == str(target) and self.case.row.purchases > 0
        return self.case.shop.policy.overwrite or is_ours

    def _paid(self) -> TaskHandle[Any]:
        return self._known_task() if self.case.handle is None else self.case.handle

    def _known_task(self) -> TaskHandle[Any]:
        return self.case.shop.desk.task(str(self.case.row.task_id), self.case.row.record)

    # telling

    def _tell(self, state: State, error: A2EError | None = None) -> Outcome:
        row = self.case.row
        return Outcome(
            key=row.key,
            job=self.case.job,
            state=state,
            record=None if row.task_id is None else self._paid().record,
            path=None if row.path is None else pathlib.Path(row.path),
            coins=None if row.state in {"sending", "uncertain"} else row.coins,
            purchases=row.purchases,
            error=error,
            marker=row.marker,
            read_at=utc(self.case.read_at),
            sent_at=None if row.sent_at is None else utc(row.sent_at),
            accepted_at=None if row.accepted_at is None else utc(row.accepted_at),
            finished_at=utc(time.time() if row.finished_at is None else row.finished_at),
        )

    def _old_error(self) -> A2EError:
        """Make the error again that an earlier run has written down."""
        written = self.case.row.error or {}
        kind = getattr(errors, written.get("type", ""), A2EError)
        error: A2EError = kind(written.get("message", "It has failed in an earlier run"))
        error.task_id = self.case.row.task_id
        return error


def utc(seconds: float) -> dt.datetime:
    """Return a moment of the row as a time."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _comparable(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, **{name: identity(request.get(name)) for name in _PICTURES}}


def _written(error: A2EError) -> dict[str, str]:
    return {"type": type(error).__name__, "message": error.message}

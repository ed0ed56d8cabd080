"""Worker for one job: from the input to its `JobResult`. Its journal entry is correct at every moment.

How it works:

* The worker loads the journal entry of the key and asks `rules.next_action` what to do next: start, reconcile, wait,
  download, or nothing. Without an entry it starts.
* A start checks the job, reserves coins, uploads the images, sends the request (`submission.py`), and waits for the
  task.
* If the task fails and `retry_failed` allows it, the worker starts a new one. The download comes last; a failed
  download is not a failed job.
* Every error ends in a `JobResult`, so that one job never ends the others. Only a broken journal ends the batch, since
  without it nothing may be started.

When credits run out, A2E rejects a start. The job does not fail: the rejection trips the circuit breaker of the batch,
and the jobs wait there (`circuit_breaker.py`). Running tasks and downloads continue. One job at a time probes, after
growing delays. When credits are back, all waiting jobs continue by themselves. With ``on_shortage="stop"`` the batch
stops instead: jobs that are not started yet end as ``skipped``, and the next run with the same journal starts them.
"""

from __future__ import annotations

import datetime as dt
import pathlib
import time
from typing import Any, Generic, TypeVar

import attrs

from a2e_async import errors
from a2e_async._protocol.converter import from_record
from a2e_async.batch import rules
from a2e_async.batch.context import JobContext, StoppedError
from a2e_async.batch.jobs import JOB_FIELDS, Job, PreparedStart
from a2e_async.batch.results import JobResult, JobState
from a2e_async.batch.rules import Action, FailureScope, JournalEntry
from a2e_async.batch.submission import JobSubmitter
from a2e_async.batch.uploads import fingerprint, fingerprint_again, image_identity, with_files_read
from a2e_async.errors import A2EError, BudgetError, InvalidRequestError, JournalError, TaskFailedError
from a2e_async.files.local_files import check_target
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)

_IMAGES = ("image", "end_image")
_OPTIONS = tuple(field for field in JOB_FIELDS if field.removesuffix("_url") not in {"key", *_IMAGES})


@attrs.define(eq=False)
class JobWorker(Generic[R]):
    """Worker for one job."""

    context: JobContext[R]
    _job: Job = attrs.field(init=False)
    _prepared: PreparedStart | None = attrs.field(default=None, init=False)
    # False while the entry of the journal may belong to another job with the same key: then it is not changed
    _owns_entry: bool = attrs.field(default=False, init=False)
    # the file that an earlier run was going to write
    _earlier_target: str | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Take the job as it was given."""
        self._job = self.context.job

    async def run(self) -> JobResult[R]:
        """Run the job once, and return its result.

        Raises:
            JournalError: The journal cannot be used any more.
        """
        try:
            return await self._run()
        # Case 1: the batch has stopped. An earlier start of this job may be under way; otherwise nothing was done.
        except StoppedError as stopped:
            return self._result("uncertain" if self._is_open else "skipped", stopped.reason)
        # Case 2: not enough coins left of `max_coins`. The next run may have a higher limit.
        except BudgetError as error:
            return self._result("skipped", error)
        # Case 3: the journal is broken. The runner ends the batch.
        except JournalError:
            raise
        # Case 4: any other error ends this job. An error that stops the batch can come from a wait or a download as
        # well.
        except A2EError as error:
            if rules.failure_scope(error) is FailureScope.STOP:
                self.context.batch.stop(error)
            return await self.fail(error)

    async def fail(self, error: A2EError) -> JobResult[R]:
        """Record an error as the end of the job in this run, and return the result."""
        entry = self.context.entry
        # Case 1: the key belongs to another job. The journal keeps what it knows about that one.
        if not self._owns_entry:
            return self._result("failed", error)
        entry.error = _error_to_json(error)
        # Case 2: a task is running, or may be. The next run waits for it or looks for it.
        # Case 3: there is no task. The job has failed.
        if not self._is_open:
            entry.state, entry.finished_at = "failed", time.time()
        await self.context.batch.journal.save(entry)
        return self._result("uncertain" if self._is_open else "failed", error)

    @property
    def _is_open(self) -> bool:
        """Whether A2E has, or may have, a task of this job that has not ended."""
        return self.context.entry.state in {"sending", "running", "uncertain"}

    async def _run(self) -> JobResult[R]:
        batch = self.context.batch
        known = await batch.journal.load(self._job.key)
        self._owns_entry = known is None
        self._job = await with_files_read(self._job)
        if known is not None:
            await self._check_same_request(known)
            self.context.entry, self._earlier_target, self._owns_entry = known, known.target, True
        policy = batch.policy
        match rules.next_action(self.context.entry, download=policy.out is not None, retry_failed=policy.retry_failed):
            case Action.SKIP:
                return self._result("skipped")
            case Action.REPORT:
                return self._result("failed", self._stored_error())
            case Action.DOWNLOAD:
                self.context.handle = self._task_from_journal()
            case action:
                await self._run_task(action)
        return await self._download()

    # the request

    async def _check_same_request(self, known: JournalEntry) -> None:
        """Check that a key in the journal still means the same request.

        Raises:
            InvalidRequestError: It means another one.
        """
        if not rules.is_bound(known):
            return
        job, old = self._job, known.request
        images = {
            "image": await fingerprint_again("image", job.image, job.image_url, old.get("image")),
            "end_image": await fingerprint_again("end_image", job.end_image, job.end_image_url, old.get("end_image")),
        }
        changed = rules.changed_fields(_comparable(old), _comparable(self._request(images)))
        if changed:
            msg = (
                f"The journal has another job under the key {job.key!r} ({', '.join(changed)} differ): "
                "give this one a key of its own, or choose another journal"
            )
            raise InvalidRequestError(msg)

    async def _prepare(self) -> PreparedStart:
        """Check the job, and put its request into the journal entry."""
        batch = self.context.batch
        prepared = await batch.api.prepare(self._job)
        fingerprints = [await fingerprint(image) for image in prepared.images]
        self.context.digests = {
            number: found["sha256"] for number, found in enumerate(fingerprints) if found and "sha256" in found
        }
        self.context.entry.request = self._request(dict(zip(_IMAGES, fingerprints, strict=True)))
        # a target that cannot be written must be found before anything is paid
        if batch.policy.out is not None:
            target = self._set_target(batch.policy.out)
            await check_target(target, overwrite=self._may_overwrite(target))
        return prepared

    def _request(self, images: dict[str, Any]) -> dict[str, Any]:
        fields = {field: getattr(self._job, field) for field in _OPTIONS} | images
        return {field: value for field, value in fields.items() if value is not None}

    # the task

    async def _run_task(self, action: Action) -> None:
        """Get a task that succeeds, with a new start after a failed one if the caller allows that.

        Raises:
            TaskFailedError: All allowed tasks have failed.
        """
        entry, retry_failed = self.context.entry, self.context.batch.policy.retry_failed
        failure = self._stored_error() if entry.starts else None
        while True:
            try:
                # Case 1: no task. Start one.
                if action is Action.START:
                    await self._start_and_wait()
                    return
                # Case 2: an earlier run has started a task, or may have.
                if await self._resume(action):
                    return
            # Case 3: the task has failed.
            except TaskFailedError as error:
                failure = error
            # Case 4: a retry is not possible. The failure of the paid task is the result, not the reason for that.
            except (BudgetError, StoppedError):
                if failure is None:
                    raise
                raise failure from None
            # Case 5: no retry left. Case 6: start again, also if case 2 has found that nothing was accepted.
            if not rules.may_start(entry, retry_failed) and failure is not None:
                raise failure
            action = Action.START

    async def _start_and_wait(self) -> None:
        batch = self.context.batch
        batch.check_stopped()
        if self._prepared is None:
            self._prepared = await self._prepare()
        await JobSubmitter(self.context).start(self._prepared)
        try:
            await self._wait()
        finally:
            batch.running_slots.release()

    async def _resume(self, action: Action) -> bool:
        """Wait for the task that an earlier run has started; return False if there is none."""
        if action is Action.WAIT:
            self.context.handle = self.context.batch.api.known_task(str(self.context.entry.task_id), None)
        elif not await JobSubmitter(self.context).reconcile():
            return False
        async with self.context.batch.running_slots:
            await self._wait()
        return True

    async def _wait(self) -> None:
        """Wait until the task has succeeded.

        Raises:
            TaskFailedError: It has failed.
            A2EError: The wait has ended, and the task is probably still running.
        """
        self.context.enter("running")
        policy, entry, handle = self.context.batch.policy, self.context.entry, self._task()
        try:
            await handle.wait_until_done(policy.timeout, outage_budget=policy.outage_budget)
        except TaskFailedError as error:
            entry.state, entry.error = "failed", _error_to_json(error)
            self._record_end(handle)
            raise
        except A2EError:
            entry.record = from_record(handle.record)
            raise
        entry.state, entry.error = "succeeded", None
        self._record_end(handle)

    def _record_end(self, handle: TaskHandle[R]) -> None:
        entry = self.context.entry
        entry.record, entry.finished_at = from_record(handle.record), time.time()
        coins = handle.record.coins
        # A2E may tell the price only at the end: replace the estimate that was counted at the start
        if self.context.is_estimate and coins is not None:
            difference = coins - (self.context.estimate or 0)
            entry.coins = difference + (entry.coins or 0)
            self.context.batch.budget_guard.adjust(difference)
            self.context.is_estimate = False
        self.context.batch.journal.write_soon(entry)

    # the file

    async def _download(self) -> JobResult[R]:
        """Download the result if the caller wants files, and return the result of the job."""
        entry, batch, failure = self.context.entry, self.context.batch, None
        if batch.policy.out is not None:
            try:
                async with batch.download_slots:
                    self.context.enter("downloading")
                    before, target = entry.target, self._set_target(batch.policy.out)
                    # if this run is killed during the download, the next one knows that the file is ours
                    if entry.target != before:
                        await batch.journal.save(entry)
                    path = await self._task().download(target, overwrite=self._may_overwrite(target))
                entry.path, entry.error = str(path), None
            except JournalError:
                raise
            except A2EError as error:
                failure, entry.error = error, _error_to_json(error)
                # the target exists and was not written by a batch: never overwrite it in a later run
                if isinstance(error, InvalidRequestError):
                    entry.target = None
            entry.record = from_record(self._task().record)  # a download may have read a fresh link
        await batch.journal.save(entry)
        return self._result("succeeded", failure)

    def _set_target(self, folder: pathlib.Path) -> pathlib.Path:
        """Return the file to write, and put it into the journal entry."""
        target = folder / rules.file_name(self.context.job.key, self.context.batch.api.extension)
        self.context.entry.target = str(target)
        return target

    def _may_overwrite(self, target: pathlib.Path) -> bool:
        """Return whether to replace an existing file: the caller allows it, or an earlier run was writing that file."""
        was_ours = self._earlier_target == str(target) and self.context.entry.starts > 0
        return self.context.batch.policy.overwrite or was_ours

    def _task(self) -> TaskHandle[R]:
        return self._task_from_journal() if self.context.handle is None else self.context.handle

    def _task_from_journal(self) -> TaskHandle[R]:
        return self.context.batch.api.known_task(str(self.context.entry.task_id), self.context.entry.record)

    # the result

    def _result(self, state: JobState, error: A2EError | None = None) -> JobResult[R]:
        entry = self.context.entry
        return JobResult(
            key=entry.key,
            job=self.context.job,
            state=state,
            record=None if entry.task_id is None else self._task().record,
            path=None if entry.path is None else pathlib.Path(entry.path),
            coins=None if entry.state in {"sending", "uncertain"} else entry.coins,
            starts=entry.starts,
            error=error,
            marker=entry.marker,
            read_at=utc(self.context.read_at),
            sent_at=None if entry.sent_at is None else utc(entry.sent_at),
            accepted_at=None if entry.accepted_at is None else utc(entry.accepted_at),
            finished_at=utc(time.time() if entry.finished_at is None else entry.finished_at),
        )

    def _stored_error(self) -> A2EError:
        """Return the error that an earlier run has put into the journal."""
        stored = self.context.entry.error or {}
        error_type = getattr(errors, stored.get("type", ""), A2EError)
        error: A2EError = error_type(stored.get("message", "The job failed in an earlier run"))
        error.task_id = self.context.entry.task_id
        return error


def utc(seconds: float) -> dt.datetime:
    """Return seconds since the epoch as a time in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _comparable(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, **{name: image_identity(request.get(name)) for name in _IMAGES}}


def _error_to_json(error: A2EError) -> dict[str, str]:
    return {"type": type(error).__name__, "message": error.message}

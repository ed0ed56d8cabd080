"""Worker for one job: from the input to its `JobResult`. Its journal entry is correct at every moment."""

# How it works:
#
# * The worker loads the journal entry of the key and asks `rules.next_action` what to do next: start, reconcile,
#   wait, download, or nothing. Without an entry it starts.
# * A start checks the job, reserves coins, uploads the images, waits for a running slot and a start slot, and sends
#   the request. The entry is on the disk with state ``sending`` before the request, and with the task id before the
#   job continues. So a crash at any moment leaves an entry that tells the next run to reconcile.
# * `_reconcile` settles an entry that an earlier run left ``sending`` or ``uncertain``, by the marker in A2E's list.
# * If the task fails and `retry_failed` allows it, the worker starts a new one. The download comes last; a failed
#   download is not a failed job.
# * Every error ends in a `JobResult`, so that one job never ends the others. Only a broken journal ends the batch,
#   since without it nothing may be started.
#
# A job whose start A2E rejects for lack of credits does not fail: it waits at the circuit breaker
# (`circuit_breaker.py`) and keeps its place in the budget. Running tasks and downloads continue.

import asyncio
import pathlib
import time
from typing import Any, Generic, TypeVar

import attrs

from a2e_async._protocol.converter import from_record
from a2e_async._submission.markers import marker_for_key
from a2e_async.batch import rules
from a2e_async.batch.budget import BudgetGuard
from a2e_async.batch.circuit_breaker import CircuitBreaker, StoppedError
from a2e_async.batch.jobs import BatchApi, BatchOptions, Job, PreparedStart
from a2e_async.batch.journal import Journal
from a2e_async.batch.results import JobResult, JobState, Stage, error_from_json, error_to_json, make_result, utc
from a2e_async.batch.rules import Action, JournalEntry, Reservation
from a2e_async.batch.uploads import UploadCache, fingerprint, fingerprint_again, stored_request, with_files_read
from a2e_async.errors import (
    A2EError,
    BudgetError,
    InvalidRequestError,
    JournalError,
    SubmissionUncertainError,
    TaskFailedError,
)
from a2e_async.files.local_files import LocalFile, check_target
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)


@attrs.define(kw_only=True, eq=False, repr=False)
class BatchContext(Generic[R]):
    """What all jobs of a batch share.

    Attributes:
        start_slots: Bounds the starts that are being sent.
        running_slots: Bounds the tasks at A2E.
        download_slots: Bounds the downloads.
        started: Starts that A2E has accepted in this run.
        retried: How many of them were new starts for jobs that had failed.
    """

    api: BatchApi[R]
    options: BatchOptions
    journal: Journal
    budget: BudgetGuard
    breaker: CircuitBreaker
    uploads: UploadCache
    start_slots: asyncio.Semaphore
    running_slots: asyncio.Semaphore
    download_slots: asyncio.Semaphore
    started: int = 0
    retried: int = 0


@attrs.define(eq=False, repr=False)
class JobWorker(Generic[R]):
    """Worker for one job.

    Attributes:
        batch: What the job shares with the other jobs.
        job: The job, as it was given.
        entry: Its journal entry, possibly not written yet.
        handle: Its task, if there is one.
        stage: What the worker does at the moment.
        stage_since: When that began (`time.monotonic`).
    """

    batch: BatchContext[R]
    job: Job
    entry: JournalEntry = attrs.field(init=False)
    handle: TaskHandle[R] | None = attrs.field(default=None, init=False)
    stage: Stage = attrs.field(default="checking", init=False)
    stage_since: float = attrs.field(init=False)
    _read_at: float = attrs.field(init=False)
    # the job with the bytes of its open files
    _job: Job = attrs.field(init=False)
    _prepared: PreparedStart | None = attrs.field(default=None, init=False)
    # SHA-256 of the local images, in the order of `PreparedStart.images`
    _digests: list[str] = attrs.field(factory=list, init=False)
    # False while the entry of the journal may belong to another job with the same key: then it is not changed
    _owns_entry: bool = attrs.field(default=False, init=False)
    # the file that an earlier run was going to write
    _earlier_target: str | None = attrs.field(default=None, init=False)
    # the price that `entry.coins` holds while A2E has not told the real one
    _estimate: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Make a new journal entry."""
        self._job, self._read_at, self.stage_since = self.job, time.time(), time.monotonic()
        self.entry = JournalEntry(key=self.job.key, created_at=self._read_at)

    async def run(self) -> JobResult[R]:
        """Run the job once, and return its result.

        Raises:
            JournalError: The journal cannot be used any more.
        """
        try:
            return await self._run()
        # Case 1: the batch has stopped. An earlier start of this job may be under way; otherwise nothing was done.
        except StoppedError as stopped:
            return self._result("uncertain" if rules.is_open(self.entry) else "skipped", stopped.reason)
        # Case 2: not enough coins left of `max_coins`. The next run may have a higher limit.
        except BudgetError as error:
            return self._result("skipped", error)
        # Case 3: the journal is broken. The runner ends the batch.
        except JournalError:
            raise
        # Case 4: any other error ends this job. An error that stops the batch can come from a wait or a download as
        # well.
        except A2EError as error:
            if rules.stops_batch(error):
                self.batch.breaker.stop(error)
            return await self.fail(error)

    async def fail(self, error: A2EError) -> JobResult[R]:
        """Record an error as the end of the job in this run, and return the result."""
        entry = self.entry
        # Case 1: the key belongs to another job. The journal keeps what it knows about that one.
        if not self._owns_entry:
            return self._result("failed", error)
        entry.error = error_to_json(error)
        # Case 2: a task is running, or may be. The next run waits for it or looks for it.
        # Case 3: there is no task. The job has failed.
        if not rules.is_open(entry):
            entry.state, entry.finished_at = "failed", time.time()
        await self.batch.journal.save(entry)
        return self._result("uncertain" if rules.is_open(entry) else "failed", error)

    async def _run(self) -> JobResult[R]:
        batch, options = self.batch, self.batch.options
        known = await batch.journal.load(self.job.key)
        self._owns_entry = known is None
        self._job = await with_files_read(self.job)
        if known is not None:
            if rules.is_bound(known):
                await self._check_same_request(known)
            self.entry, self._earlier_target, self._owns_entry = known, known.target, True
        match rules.next_action(self.entry, download=options.out is not None, retry_failed=options.retry_failed):
            case Action.SKIP:
                return self._result("skipped")
            case Action.REPORT:
                return self._result("failed", error_from_json(self.entry))
            case Action.DOWNLOAD:
                pass
            case action:
                await self._get_video(action)
        if options.out is None:
            await batch.journal.save(self.entry)
            return self._result("succeeded")
        return await self._download(options.out)

    async def _check_same_request(self, known: JournalEntry) -> None:
        """Check that a key in the journal still means the same request."""
        job, old = self._job, known.request
        image = await fingerprint_again("image", job.image, job.image_url, old.get("image"))
        end_image = await fingerprint_again("end_image", job.end_image, job.end_image_url, old.get("end_image"))
        if changed := rules.changed_fields(old, stored_request(job, image, end_image)):
            msg = (
                f"The journal has another job under the key {job.key!r} ({', '.join(changed)} differ): "
                "give this one a key of its own, or choose another journal"
            )
            raise InvalidRequestError(msg)

    # the task

    async def _get_video(self, action: Action) -> None:
        """Get a task that succeeds, with a new start after a failed one if the caller allows that."""
        batch, failure = self.batch, error_from_json(self.entry) if self.entry.starts else None
        while True:
            try:
                # Case 1: no task. Start one. Case 2: an earlier run has started a task, or may have.
                has_task = await (self._start() if action is Action.START else self._resume(action))
                # It holds a running slot until it has ended.
                if has_task:
                    try:
                        return await self._wait()
                    finally:
                        batch.running_slots.release()
            # Case 3: the task has failed.
            except TaskFailedError as error:
                failure = error
            # Case 4: a retry is not possible. The failure of the paid task is the result, not the reason for that.
            except (BudgetError, StoppedError):
                if failure is None:
                    raise
                raise failure from None
            # Case 5: no retry left. Case 6: start again, also if case 2 has found that nothing was accepted.
            if not rules.may_start(self.entry, batch.options.retry_failed) and failure is not None:
                raise failure
            action = Action.START

    async def _resume(self, action: Action) -> bool:
        """Find the task of an earlier run, and wait for a running slot; return False if there is no task."""
        batch = self.batch
        if action is Action.WAIT:
            self.handle = batch.api.known_task(str(self.entry.task_id), None)
        # Reading costs nothing, so the first attempt does not wait for the breaker.
        elif not await batch.breaker.call(self._reconcile, costs=False):
            return False
        return await batch.running_slots.acquire()

    async def _start(self) -> bool:
        """Start a task, within the budget and through the breaker. Afterwards the job holds a running slot.

        Raises:
            SubmissionUncertainError: Its outcome is unknown.
            A2EError: It was not accepted, or not even sent.
        """
        batch = self.batch
        batch.breaker.check()
        start = self._prepared = self._prepared or await self._prepare()
        reservation = await batch.budget.reserve(start)
        spent: float | None = 0
        try:
            await batch.breaker.call(lambda probe: self._upload_and_send(start, reservation, probe=probe))
            spent = self._cost(reservation.coins)
        except SubmissionUncertainError:
            spent = reservation.coins  # A2E may have accepted it: the limit must hold in either case
            raise
        finally:
            batch.budget.charge(reservation, spent)
        return True

    async def _prepare(self) -> PreparedStart:
        """Check the job, and put its request into the journal entry."""
        prepared = await self.batch.api.prepare(self._job)
        fingerprints = [await fingerprint(image) for image in prepared.images]
        self._digests = [(found or {}).get("sha256", "") for found in fingerprints]
        self.entry.request = stored_request(self._job, *fingerprints)
        # a target that cannot be written must be found before anything is paid
        if self.batch.options.out is not None:
            target = self._set_target(self.batch.options.out)
            await check_target(target, overwrite=self._may_overwrite(target))
        return prepared

    async def _upload_and_send(self, start: PreparedStart, reservation: Reservation, *, probe: bool) -> None:
        """Upload the images and send the start. It returns, unlike after an error, with a running slot."""
        batch = self.batch
        batch.breaker.check()
        links: list[str | None] = []
        for image, digest in zip(start.images, self._digests, strict=True):
            if isinstance(image, LocalFile):
                self._enter("uploading")
                links.append(await batch.uploads.get(image, digest))
            else:
                links.append(image)
        # The running slot comes first: a job that waits for it must not block the start slot of another one.
        await batch.running_slots.acquire()
        try:
            async with batch.start_slots:
                # The waits above can take hours. Check again whether the batch has stopped or paused.
                batch.breaker.check(probe=probe)
                await self._send(start.make_body(*links), reservation)
            await batch.journal.flush()
        except BaseException:
            batch.running_slots.release()
            raise

    async def _send(self, body: dict[str, Any], reservation: Reservation) -> None:
        """Send the start, with a journal entry before and after it."""
        batch, entry = self.batch, self.entry
        await batch.budget.send(reservation)
        self._enter("starting")
        old_error = entry.error
        entry.marker = marker_for_key(rules.job_key(batch.journal.id, entry)) if batch.api.marks_names else ""
        entry.state, entry.sent_at, entry.quoted, entry.error = "sending", time.time(), reservation.coins, None
        await batch.journal.save(entry)
        try:
            handle = await batch.api.start(
                body, marker=entry.marker, resend=bool(batch.options.resend), on_late=self._record_start
            )
        # Case 1: unknown outcome. The next run reconciles.
        except SubmissionUncertainError:
            entry.state = "uncertain"
            batch.journal.write_soon(entry)
            raise
        # Case 2: certainly not accepted. The entry becomes what it was before.
        except A2EError:
            entry.state, entry.quoted, entry.error = "failed" if entry.starts else "new", None, old_error
            batch.budget.reject(reservation)
            batch.journal.write_soon(entry)
            raise
        # Case 3: accepted.
        self._record_start(handle)
        # Case 4: cancelled. The entry stays "sending", until `on_late` records the task or the next run reconciles.

    async def _reconcile(self, _probe: bool) -> bool:  # noqa: FBT001  called by the breaker
        """Find the task of the start that an earlier run has sent, in A2E's list; return whether there is one.

        Raises:
            SubmissionUncertainError: There is none, but A2E may still have accepted the start.
            A2EError: A2E's list could not be read.
        """
        batch, entry = self.batch, self.entry
        self._enter("starting")
        sent_at, quoted = entry.created_at if entry.sent_at is None else entry.sent_at, entry.quoted or 0
        handle = await self._scan(sent_at)
        # A crash right after the start: A2E's list may not show the task yet. Wait until it certainly does.
        rest = sent_at + batch.api.listed_after - time.time()
        if handle is None and entry.state == "sending" and 0 < rest <= batch.api.listed_after:
            await asyncio.sleep(rest)
            handle = await self._scan(sent_at)
        age = max(0.0, time.time() - sent_at)
        # Case 1: found. The earlier run counted the quoted coins as spent; count the real ones instead.
        if handle is not None:
            self._record_task(handle)
            await batch.journal.flush()
            batch.budget.adjust((self._cost(quoted) or 0) - quoted)
            return True
        # Case 2: not found, which proves nothing yet.
        if not rules.may_restart(entry, age=age, resend=bool(batch.options.resend)):
            msg = (
                f"Unknown outcome of an earlier start: A2E's list shows no task with marker {entry.marker}. "
                "Resume later, or start it again with on_unknown='resend'"
            )
            raise SubmissionUncertainError(msg, marker=entry.marker, sent_at=utc(sent_at))
        # Case 3: not accepted. Its coins are free again.
        entry.state, entry.quoted = "failed" if entry.starts else "new", None
        batch.budget.adjust(-quoted)
        return False

    async def _scan(self, sent_at: float) -> TaskHandle[R] | None:
        async with self.batch.start_slots:
            return await self.batch.api.reconcile(self.entry.marker, max(0.0, time.time() - sent_at))

    async def _wait(self) -> None:
        """Wait until the task has ended. After any error but `TaskFailedError` it is probably still running."""
        self._enter("running")
        options, entry, handle = self.batch.options, self.entry, self._task()
        try:
            await handle.wait_until_done(options.timeout, outage_budget=options.outage_budget)
            entry.state, entry.error = "succeeded", None
        except TaskFailedError as error:
            entry.state, entry.error = "failed", error_to_json(error)
            raise
        finally:
            entry.record = from_record(handle.record)
            if not rules.is_open(entry):
                entry.finished_at, coins = time.time(), handle.record.coins
                # A2E may tell the price only at the end: replace the estimate that was counted at the start
                if self._estimate is not None and coins is not None:
                    entry.coins = coins - self._estimate + (entry.coins or 0)
                    self.batch.budget.adjust(coins - self._estimate)
                    self._estimate = None
                self.batch.journal.write_soon(entry)

    def _record_start(self, handle: TaskHandle[R]) -> None:
        """Count a start that A2E has accepted in this run, and record its task."""
        self.batch.started += 1
        self.batch.retried += self.entry.starts > 0
        self._record_task(handle)

    def _record_task(self, handle: TaskHandle[R]) -> None:
        """Put the task of the last start into the journal, with the next commit."""
        self.handle, entry = handle, self.entry
        entry.task_id, entry.state, entry.accepted_at = handle.id, "running", time.time()
        entry.starts += 1
        coins = self._cost(entry.quoted)
        self._estimate = (coins or 0) if handle.record.coins is None else None
        # one unknown cost makes the sum unknown
        entry.coins = None if coins is None or entry.coins is None else entry.coins + coins
        entry.quoted, entry.record = None, from_record(handle.record)
        self.batch.journal.write_soon(entry)

    def _cost(self, expected: float | None) -> float | None:
        """Return what the task has cost, or the expected price if A2E has not told."""
        coins: float | None = None if self.handle is None else self.handle.record.coins
        return expected if coins is None else coins

    def _enter(self, stage: Stage) -> None:
        self.stage, self.stage_since = stage, time.monotonic()

    def _task(self) -> TaskHandle[R]:
        if self.handle is None:
            self.handle = self.batch.api.known_task(str(self.entry.task_id), self.entry.record)
        return self.handle

    # the file

    async def _download(self, folder: pathlib.Path) -> JobResult[R]:
        """Download the video, and return the result of the job."""
        batch, entry, failure = self.batch, self.entry, None
        try:
            async with batch.download_slots:
                self._enter("downloading")
                before, target = entry.target, self._set_target(folder)
                # if this run is killed during the download, the next one knows that the file is ours
                if entry.target != before:
                    await batch.journal.save(entry)
                path = await self._task().download(target, overwrite=self._may_overwrite(target))
            entry.path, entry.error = str(path), None
        except JournalError:
            raise
        except A2EError as error:
            failure, entry.error = error, error_to_json(error)
            # the target exists and was not written by a batch: never overwrite it in a later run
            if isinstance(error, InvalidRequestError):
                entry.target = None
        entry.record = from_record(self._task().record)  # a download may have read a fresh link
        await batch.journal.save(entry)
        return self._result("succeeded", failure)

    def _set_target(self, folder: pathlib.Path) -> pathlib.Path:
        """Return the file to write, and put it into the journal entry."""
        target = folder / rules.file_name(self.job.key, self.batch.api.extension)
        self.entry.target = str(target)
        return target

    def _may_overwrite(self, target: pathlib.Path) -> bool:
        """Return whether to replace an existing file: the caller allows it, or an earlier run was writing that file."""
        was_ours = self._earlier_target == str(target) and self.entry.starts > 0
        return self.batch.options.overwrite or was_ours

    # the result

    def _result(self, state: JobState, error: A2EError | None = None) -> JobResult[R]:
        record = None if self.entry.task_id is None else self._task().record
        return make_result(self.entry, state, job=self.job, record=record, error=error, read_at=self._read_at)

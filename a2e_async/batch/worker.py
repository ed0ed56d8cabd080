"""Worker for one job: from the input to its `JobResult`. Its journal entry is correct at every moment."""

# How it works:
#
# * The worker loads the journal entry of the key and asks `rules.next_action` what to do next: start, reconcile,
#   wait, download, or nothing. Without an entry it starts.
# * If the journal is not new, it may be an older copy. So before the first start, A2E's list is read once, and a task
#   of a job that the journal does not know is adopted instead of started again (`settling.adopt`).
# * A start checks the job, reserves coins, uploads the images, waits for a running slot and a start slot, and sends
#   the request. The entry is on the disk with state ``sending`` before the request, and with the task id before the
#   job continues. So a crash at any moment leaves an entry that tells the next run to reconcile.
# * `settling.reconcile` settles an entry that is ``sending`` or ``uncertain``, of an earlier run or of this one.
# * If the task fails and `retry_failed` allows it, the worker starts a new one. The download comes last
#   (`downloads.py`); a failed download is not a failed job.
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

from a2e_async._submission.markers import marker_for_key
from a2e_async.batch import downloads, rules, settling
from a2e_async.batch.circuit_breaker import StoppedError
from a2e_async.batch.context import JobContext
from a2e_async.batch.jobs import Job, PreparedStart
from a2e_async.batch.journal_rows import DamagedEntryError
from a2e_async.batch.results import JobResult, JobState, error_from_json, error_to_json, make_result
from a2e_async.batch.rules import Action, JournalEntry, Reservation
from a2e_async.batch.uploads import Fingerprint, fingerprint, request_again, stored_request, with_files_read
from a2e_async.errors import (
    A2EError,
    BudgetError,
    InvalidRequestError,
    JournalError,
    SubmissionUncertainError,
    TaskFailedError,
    TransferError,
)
from a2e_async.files.local_files import LocalFile, check_target
from a2e_async.files.partial_file import prepare_target
from a2e_async.models.common import TaskRecord

R = TypeVar("R", bound=TaskRecord)

_MAX_UNKNOWN = 3  # starts of one job in one run that A2E neither accepts nor answers


@attrs.define(eq=False, repr=False)
class JobWorker(Generic[R]):
    """Worker for one job."""

    context: JobContext[R]
    # the job with the bytes of its open files
    _job: Job = attrs.field(init=False)
    _prepared: PreparedStart | None = attrs.field(default=None, init=False)
    # SHA-256 of the local images, in the order of `PreparedStart.images`
    _digests: list[str] = attrs.field(factory=list, init=False)
    # False while the entry of the journal may belong to another job with the same key: then it is not changed
    _owns_entry: bool = attrs.field(default=False, init=False)
    _has_running_slot: bool = attrs.field(default=False, init=False)
    # whether a request of the last start was sent, or may have been
    _was_posted: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Take the job as it was given."""
        self._job = self.context.job

    async def run(self) -> JobResult[R]:
        """Run the job once, and return its result.

        Raises:
            JournalError: The journal cannot be used any more.
        """
        context = self.context
        try:
            return await self._run()
        # Case 1: the batch has stopped. An earlier start of this job may be under way; otherwise nothing was done.
        except StoppedError as stopped:
            return self._result("uncertain" if rules.is_open(context.entry) else "skipped", stopped.reason)
        # Case 2: not enough coins left of `max_coins`. The next run may have a higher limit.
        except BudgetError as error:
            return self._result("skipped", error)
        # Case 3: the journal's entry of this job cannot be read. It may have a task, so nothing is started.
        except DamagedEntryError as error:
            return self._result("failed", error)
        # Case 4: the journal is broken. The runner ends the batch.
        except JournalError:
            raise
        # Case 5: any other error ends this job. An error that stops the batch can come from a wait or a download as
        # well.
        except A2EError as error:
            if rules.stops_batch(error):
                context.batch.breaker.stop(error)
            return await self.fail(error)
        # After any error as well, the slot and the coins that the job holds are free for the other jobs.
        finally:
            self._free_running_slot()
            if context.reservation is not None:
                context.batch.budget.release(context.reservation)

    async def fail(self, error: A2EError) -> JobResult[R]:
        """Record an error as the end of the job in this run, and return the result."""
        entry = self.context.entry
        # Case 1: the key belongs to another job. The journal keeps what it knows about that one.
        if not self._owns_entry:
            return self._result("failed", error)
        entry.error = error_to_json(error)
        # Case 2: a task is running, or may be. The next run waits for it or looks for it.
        # Case 3: there is no task. The job has failed.
        if not rules.is_open(entry):
            entry.state, entry.finished_at = "failed", time.time()
        await self.context.batch.journal.save(entry)
        return self._result("uncertain" if rules.is_open(entry) else "failed", error)

    async def _run(self) -> JobResult[R]:
        context, batch, options = self.context, self.context.batch, self.context.batch.options
        key = context.job.key
        known = None if batch.journal.is_new else await batch.journal.load(key)
        self._owns_entry = known is None
        self._job = await with_files_read(context.job)
        if known is not None:
            changed = await self._changed_fields(known) if rules.is_bound(known) or known.error is not None else []
            if changed and rules.is_bound(known):
                msg = (
                    f"The journal has another job under the key {key!r} (different: {', '.join(changed)}): "
                    "give this one a key of its own, or choose another journal"
                )
                raise InvalidRequestError(msg)
            if changed:
                known.error = None  # A2E rejected the job as it was
            context.resume(known)
            self._owns_entry = True
        match rules.next_action(context.entry, download=options.out is not None, retry_failed=options.retry_failed):
            case Action.SKIP if options.out is not None and await downloads.has_lost_file(context):
                pass
            case Action.SKIP:
                return self._result("skipped")
            case Action.REPORT:
                return self._result("failed", error_from_json(context.entry))
            case Action.DOWNLOAD:
                pass
            case action:
                await self._get_video(action)
        if options.out is None:
            await batch.journal.save(context.entry)
            return self._result("succeeded")
        return self._result(*await downloads.download(context, options.out))

    async def _changed_fields(self, known: JournalEntry) -> list[str]:
        """Return the fields in which the job is not the one that the journal has under its key."""
        return rules.changed_fields(known.request, await request_again(self._job, known.request))

    async def _get_video(self, action: Action) -> None:
        """Get a task that succeeds, with a new start after a failed one if the caller allows that."""
        context, retry_failed = self.context, self.context.batch.options.retry_failed
        failure = error_from_json(context.entry) if context.entry.starts else None
        unknown, lost = 0, None
        while True:
            try:
                # Case 1: no task. Start one. Case 2: an earlier run has started a task, or may have.
                has_task = await (self._start() if action is Action.START else self._resume(action))
                # It holds a running slot until it has ended.
                if has_task:
                    try:
                        await self._wait()
                    finally:
                        self._free_running_slot()
                    await context.learn_price(ended=True)
                    return
            # Case 3: the task has failed.
            except TaskFailedError as error:
                failure = error
                await context.learn_price(ended=True)
            # Case 4: the outcome of a start of this run is unknown. Find it out, but not forever.
            except SubmissionUncertainError as error:
                if action is not Action.START or not context.entry.marker:
                    raise
                unknown, lost, action = unknown + 1, error, Action.RECONCILE
                continue
            # Case 5: a retry is not possible. The failure of the paid task is the result, not the reason for that.
            except (BudgetError, StoppedError):
                if failure is None:
                    raise
                raise failure from None
            # Case 6: no retry left. Case 7: A2E has neither accepted nor answered any of several starts.
            if not rules.may_start(context.entry, retry_failed) and failure is not None:
                raise failure
            if unknown >= _MAX_UNKNOWN and lost is not None:
                raise lost.__cause__ if isinstance(lost.__cause__, A2EError) else lost
            # Case 8: start again, also if nothing was accepted in case 2 or 4.
            action = Action.START

    async def _resume(self, action: Action) -> bool:
        """Find the task of the last start, and wait for a running slot; return False if there is no task."""
        context = self.context
        if action is Action.WAIT:
            context.handle = context.batch.api.known_task(str(context.entry.task_id), None)
        elif not await settling.reconcile(context):
            return False
        await self._take_running_slot()
        return True

    async def _start(self) -> bool:
        """Start a task, within the budget and through the breaker. Afterwards the job holds a running slot.

        Raises:
            SubmissionUncertainError: Its outcome is unknown.
            A2EError: It was not accepted, or not even sent.
        """
        context, batch = self.context, self.context.batch
        batch.breaker.check()
        async with batch.budget.turn():
            await batch.storage.prepare()
            batch.breaker.check()
            start = self._prepared = self._prepared or await self._prepare()
            may_lack = batch.journal.may_lack_starts
            is_adopted = may_lack and await batch.breaker.call(lambda _: settling.adopt(context), costs=False)
            if not is_adopted:
                reservation = context.reservation = await batch.budget.reserve(start)
        if is_adopted:
            await self._take_running_slot()
            return True
        try:
            await batch.breaker.call(lambda probe: self._attempt(start, reservation, probe=probe))
        except SubmissionUncertainError:
            batch.budget.count(reservation, reservation.coins)  # possibly spent: the limit must hold in either case
            raise
        batch.budget.count(reservation, context.cost(reservation.coins))
        await context.learn_price(ended=False)
        return True

    async def _prepare(self) -> PreparedStart:
        """Check the job, and put its request into the journal entry."""
        context, options = self.context, self.context.batch.options
        prepared = await context.batch.api.prepare(self._job)
        target = None if options.out is None else downloads.set_target(context, options.out)
        fingerprints, problem = await asyncio.to_thread(_inspect, prepared.images, target, overwrite=options.overwrite)
        self._digests = [(found or {}).get("sha256", "") for found in fingerprints]
        context.entry.request = stored_request(self._job, *fingerprints)
        if target is not None and isinstance(problem, TransferError):
            # if no file can be stored, the batch pauses, as after a download
            await context.batch.storage.store(lambda: check_target(target, overwrite=options.overwrite))
        elif problem is not None:
            raise problem
        return prepared

    async def _attempt(self, start: PreparedStart, reservation: Reservation, *, probe: bool) -> None:
        """Upload the images and send the start. It returns, unlike after an error, with a running slot."""
        batch = self.context.batch
        await batch.storage.wait()
        # The first starts go ahead, and the uploads of the other jobs wait for them, but not after one was accepted.
        if start.files and not batch.started:
            async with batch.first_slots:
                if not batch.started:
                    await self._upload_and_send(start, reservation, probe=probe)
                    return
        await self._upload_and_send(start, reservation, probe=probe)

    async def _upload_and_send(self, start: PreparedStart, reservation: Reservation, *, probe: bool) -> None:
        """Upload the images and send the start. It returns, unlike after an error, with a running slot."""
        batch = self.context.batch
        batch.breaker.check(probe=probe)
        links: list[str | None] = []
        for image, digest in zip(start.images, self._digests, strict=True):
            if isinstance(image, LocalFile):
                links.append(await batch.uploads.get(image, digest, self.context.enter))
            else:
                links.append(image)
        # The running slot comes first: a job that waits for it must not block the start slot of another one.
        await self._take_running_slot()
        try:
            async with batch.start_slots:
                # The waits above can take hours. Check again whether the batch has stopped or paused.
                batch.breaker.check(probe=probe)
                batch.storage.check()
                await self._send(start.make_body(*links), reservation)
            await batch.journal.flush()
        except BaseException:
            self._free_running_slot()
            raise

    async def _take_running_slot(self) -> None:
        if self.context.batch.running_slots.locked():
            self.context.enter("waiting")
        await self.context.batch.running_slots.acquire()
        self._has_running_slot = True

    def _free_running_slot(self) -> None:
        """Give the running slot back. Doing so twice does no harm."""
        if self._has_running_slot:
            self._has_running_slot = False
            self.context.batch.running_slots.release()

    async def _send(self, body: dict[str, Any], reservation: Reservation) -> None:
        """Send the start, with a journal entry before and after it."""
        context, batch, entry = self.context, self.context.batch, self.context.entry
        # before the budget counts the start: if A2E cannot be reached, nothing was sent
        sent_at = time.time() if batch.options.journal is None else await batch.api.latest_time()
        await batch.budget.send(reservation)
        context.enter("starting")
        old_error = entry.error
        entry.marker = marker_for_key(rules.job_key(batch.journal.id, entry)) if batch.api.marks_names else ""
        entry.state, entry.quoted, entry.error = "sending", reservation.coins, None
        entry.sent_at, entry.accepted_at = sent_at, None
        self._was_posted = False
        try:
            await batch.journal.save(entry)
            handle = await batch.api.start(
                body,
                marker=entry.marker,
                resend=False,  # since that waits for minutes: `reconcile` does so without a slot
                on_post=self._record_post,
                on_late=context.record_start,
            )
        # Case 1: unknown outcome, for `reconcile` in this run or the next one.
        except SubmissionUncertainError:
            entry.state, context.was_sent = "uncertain", True
            batch.journal.write_soon(entry)
            raise
        # Case 2: certainly not accepted, or cancelled before it was sent. The entry becomes what it was before.
        # Case 3: cancelled later. It stays "sending", until `on_late` records the task or the next run reconciles.
        except (A2EError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self._was_posted:
                raise
            entry.state, entry.quoted, entry.error = "failed" if entry.starts else "new", None, old_error
            batch.budget.reject(reservation)
            batch.journal.write_soon(entry)
            raise
        # Case 4: accepted.
        context.record_start(handle)

    async def _record_post(self, sent_at: float) -> None:
        """Correct the time of the start in the journal if it is sent much later, as after a pause or a retry."""
        self._was_posted = True
        entry, journal = self.context.entry, self.context.batch.journal
        if sent_at - (entry.sent_at or 0.0) > journal.max_lateness:
            entry.sent_at = sent_at
            await journal.save(entry)

    async def _wait(self) -> None:
        """Wait until the task has ended. After any error but `TaskFailedError` it is probably still running."""
        context, batch, entry = self.context, self.context.batch, self.context.entry
        context.enter("running")
        handle, options = context.task(), batch.options
        try:
            await handle.wait_until_done(options.timeout, outage_budget=options.outage_budget)
            entry.state, entry.error = "succeeded", None
        except TaskFailedError as error:
            entry.state, entry.error = "failed", error_to_json(error)
            raise
        finally:
            context.keep_record()
            if not rules.is_open(entry):
                entry.finished_at = time.time()
                context.correct_cost(context.named_coins())
                batch.journal.write_soon(entry)

    def _result(self, state: JobState, error: A2EError | None = None) -> JobResult[R]:
        context = self.context
        record = None if context.entry.task_id is None else context.task().record
        return make_result(context.entry, state, job=context.job, record=record, error=error, read_at=context.read_at)


def _inspect(
    images: tuple[LocalFile | str | None, ...], target: pathlib.Path | None, *, overwrite: bool
) -> tuple[list[Fingerprint], A2EError | None]:
    """Read the images, and prepare the target; in one call of a thread, which costs more than either of them.

    Returns:
        The fingerprints, and why the target cannot be written: that must be found before anything is paid.
    """
    fingerprints = [fingerprint(image) for image in images]
    try:
        if target is not None:
            prepare_target(target, overwrite=overwrite)
    except A2EError as error:
        return fingerprints, error
    return fingerprints, None

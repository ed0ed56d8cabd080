"""Starts of one job: within the budget, through the circuit breaker, and never twice.

How it works:

* `start` reserves the price, uploads the images, waits for a running slot and a start slot, and sends the start.
* The journal entry is on the disk with state ``sending`` before the request is sent, and with the task id before the
  job continues. So a crash at any moment leaves an entry that tells the next run to reconcile.
* An attempt that fails for a reason that concerns all jobs trips the circuit breaker (`circuit_breaker.py`). The job
  waits there and tries again. It keeps its place in the budget meanwhile.
* `reconcile` settles an entry that an earlier run left ``sending`` or ``uncertain``, by the marker in A2E's list.
  Reading costs nothing, so its first attempt does not wait for the breaker.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import attrs

from a2e_async._submission.markers import marker_for_key
from a2e_async.batch import rules
from a2e_async.batch.budget import Reservation
from a2e_async.batch.context import JobContext, StoppedError
from a2e_async.batch.jobs import PreparedStart
from a2e_async.batch.rules import FailureScope
from a2e_async.errors import A2EError, SubmissionUncertainError
from a2e_async.files.local_files import LocalFile
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)


@attrs.define(eq=False)
class JobSubmitter(Generic[R]):
    """Starts of one job."""

    context: JobContext[R]

    async def start(self, start: PreparedStart) -> None:
        """Start a task. Afterwards the job holds a running slot, which the caller releases when the task has ended.

        Raises:
            BudgetError: It would exceed `max_coins`.
            StoppedError: The batch starts nothing more.
            SubmissionUncertainError: Its outcome is unknown.
            JournalError: The journal cannot be written; nothing was started.
            A2EError: It was not accepted.
        """
        guard = self.context.batch.budget_guard
        reservation = await guard.reserve(start)
        spent: float | None = 0
        try:
            await self._attempt_until_done(lambda probe: self._upload_and_send(start, reservation, probe=probe))
            spent = self.context.cost(reservation.coins)
        except SubmissionUncertainError:
            spent = reservation.coins  # A2E may have accepted it: the limit must hold in either case
            raise
        finally:
            guard.charge(reservation, spent)

    async def reconcile(self) -> bool:
        """Find the task of the start that an earlier run has sent; return whether there is one.

        Raises:
            SubmissionUncertainError: There is none, but A2E may still have accepted the start.
            A2EError: A2E's list could not be read.
        """
        return await self._attempt_until_done(lambda _: self._find_task(), costs=False)

    async def _attempt_until_done(
        self, attempt: Callable[[bool], Awaitable[bool | None]], *, costs: bool = True
    ) -> bool:
        """Attempt something until it succeeds or fails for good, and let the whole batch pause in between.

        Args:
            attempt: Is told whether it is the probe; returns None if the breaker was tripped before it could send.
            costs: Whether the attempt is useless while the breaker is tripped.
        """
        breaker, failures = self.context.batch.breaker, 0
        successes, must_wait = breaker.successes, costs
        with breaker.attempt():
            while True:
                probe = must_wait and await breaker.probe()
                must_wait = True
                try:
                    done = await attempt(probe)
                    # Case 1: the probe succeeded. All waiting jobs continue.
                    if done is not None and probe:
                        breaker.reset()
                        return done
                    # Case 2: a normal success. It may be older than the reason of a pause, so it does not reset the
                    # breaker.
                    if done is not None:
                        breaker.successes += 1
                        return done
                    # Case 3: the breaker was tripped while this job waited for a slot. Wait there.
                except SubmissionUncertainError as error:
                    # Case 4: the outcome stays unknown. One such start can be bad luck. Two in a row mean an outage, in
                    # which every further start would cost coins and end the same way: pause. This job is not repeated.
                    if costs and breaker.record_uncertain():
                        self._pause(error, probe=probe)
                    raise
                except A2EError as error:
                    # Failures while other jobs succeed, or while there is no other job, may be this job's own fault.
                    failures += breaker.successes != successes or breaker.attempting == 1
                    successes = breaker.successes
                    self._raise_or_pause(error, failures, probe=probe)
                finally:
                    if probe:
                        breaker.end_probe()

    def _raise_or_pause(self, error: A2EError, failures: int, *, probe: bool) -> None:
        """Raise an error that ends the attempts of this job. Return after a pause has begun, to try again."""
        batch, scope = self.context.batch, rules.failure_scope(error)
        # Case 5: the error concerns this job only, such as a rejected image. The others continue.
        if scope is FailureScope.JOB:
            raise error
        # Case 6: no start can succeed any more, such as with a wrong token. The batch stops.
        if scope is FailureScope.STOP:
            batch.stop(error)
            raise StoppedError(error) from error
        # Case 7: the error would concern all jobs, but only this one keeps failing. The others continue.
        if not rules.may_retry(error, failures):
            raise error
        # Case 8: it concerns all jobs: no credits, A2E busy or out of reach. Pause the batch and try again, or stop it
        # if the caller chose on_shortage="stop".
        self._pause(error, probe=probe)
        if batch.stopped is not None:
            raise StoppedError(batch.stopped) from error

    def _pause(self, error: A2EError, *, probe: bool) -> None:
        batch = self.context.batch
        if batch.policy.on_shortage == "stop":
            batch.stop(error)
        else:
            batch.breaker.trip(str(error), probe=probe)

    async def _upload_and_send(self, start: PreparedStart, reservation: Reservation, *, probe: bool) -> bool | None:
        """Upload the images and send the start. Return None if the breaker was tripped before it was sent."""
        batch = self.context.batch
        batch.check_stopped()
        links = [await self._link(number, image) for number, image in enumerate(start.images)]
        # The running slot comes first: a job that waits for it must not block the start slot of another one.
        await batch.running_slots.acquire()
        accepted = False
        try:
            async with batch.start_slots:
                # The waits above can take hours. Check again whether the batch has stopped or paused.
                batch.check_stopped()
                if batch.breaker.reason and not probe:
                    return None
                await self._send(start.make_body(*links), reservation)
                accepted = True
        finally:
            if not accepted:
                batch.running_slots.release()
        await batch.journal.flush()
        return True

    async def _link(self, number: int, image: LocalFile | str | None) -> str | None:
        if not isinstance(image, LocalFile):
            return image
        self.context.enter("uploading")
        return await self.context.batch.uploads.get(image, self.context.digests[number])

    async def _send(self, body: dict[str, Any], reservation: Reservation) -> None:
        """Send the start, with a journal entry before and after it."""
        context, entry, batch = self.context, self.context.entry, self.context.batch
        await batch.budget_guard.send(reservation)
        context.enter("starting")
        old_error = entry.error
        entry.marker = marker_for_key(rules.job_key(batch.journal.id, entry)) if batch.api.marks_names else ""
        entry.state, entry.sent_at, entry.quoted, entry.error = "sending", time.time(), reservation.coins, None
        await batch.journal.save(entry)
        try:
            handle = await batch.api.start(
                body, marker=entry.marker, resend=batch.resends, on_late=context.record_start
            )
        # Case 1: unknown outcome. The next run reconciles.
        except SubmissionUncertainError:
            entry.state = "uncertain"
            batch.journal.write_soon(entry)
            raise
        # Case 2: certainly not accepted. The entry becomes what it was before.
        except A2EError:
            entry.state, entry.quoted, entry.error = "failed" if entry.starts else "new", None, old_error
            batch.budget_guard.reject(reservation)
            batch.journal.write_soon(entry)
            raise
        # Case 3: accepted.
        context.record_start(handle)
        # Case 4: cancelled. The entry stays "sending", until `on_late` records the task or the next run reconciles.

    async def _find_task(self) -> bool:
        """Look for the task of an earlier start in A2E's list; return whether it was found."""
        context, entry, batch = self.context, self.context.entry, self.context.batch
        context.enter("starting")
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
            context.record_task(handle)
            await batch.journal.flush()
            batch.budget_guard.adjust((context.cost(quoted) or 0) - quoted)
            return True
        # Case 2: not found, which proves nothing yet.
        if not rules.may_restart(entry, age=age, resend=batch.resends):
            msg = (
                f"Unknown outcome of an earlier start: A2E's list shows no task with marker {entry.marker}. "
                "Resume later, or start it again with on_unknown='resend'"
            )
            raise SubmissionUncertainError(msg, marker=entry.marker, sent_at=dt.datetime.fromtimestamp(sent_at, dt.UTC))
        # Case 3: not accepted. Its coins are free again.
        entry.state, entry.quoted = "failed" if entry.starts else "new", None
        batch.budget_guard.adjust(-quoted)
        return False

    async def _scan(self, sent_at: float) -> TaskHandle[R] | None:
        batch = self.context.batch
        async with batch.start_slots:
            return await batch.api.reconcile(self.context.entry.marker, max(0.0, time.time() - sent_at))

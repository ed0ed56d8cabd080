"""Search of A2E's list for tasks that the journal does not know, before a start is paid again."""

# How it works:
#
# * `reconcile` settles an entry that is ``sending`` or ``uncertain``, by the marker in A2E's list: one of an earlier
#   run, or a start of this run whose answer was lost. It takes a while, at most `rules.settle_time`: A2E goes on with a
#   start whose sender is gone, and lists an accepted task late.
# * `adopt` is for a journal that is not new, and may be an older copy: A2E then has tasks of later starts, whose
#   markers are those of the next ones. Before its first start, the list is read once for all jobs.

import asyncio
import contextlib
import logging
import time
from typing import TypeVar

from a2e_async._submission.evidence import Verdict
from a2e_async._submission.markers import marker_for_key
from a2e_async.batch import rules
from a2e_async.batch.context import JobContext
from a2e_async.batch.results import utc
from a2e_async.errors import A2EError, SubmissionUncertainError
from a2e_async.models.common import TaskRecord
from a2e_async.tasks import TaskHandle

R = TypeVar("R", bound=TaskRecord)

_LOGGER = logging.getLogger("a2e_async")

_SCAN_INTERVAL = 20.0  # seconds between two scans of A2E's list for a start that may still be accepted
_MIN_INTERVAL = 0.1  # seconds at least: a rest of a nanosecond would lead to one scan after the other


async def reconcile(context: JobContext[R]) -> bool:
    """Find out whether A2E has accepted the last start, of this run or an earlier one; return whether it has.

    Raises:
        SubmissionUncertainError: A2E's list does not show the task, and A2E may still have accepted the start.
        A2EError: A2E's list could not be read.
    """
    batch, entry = context.batch, context.entry
    context.enter("reconciling")
    quoted = entry.quoted or 0
    handle, is_absent, sent_at, age = await _look_for_task(context)
    # Case 1: found. The quoted coins were counted as spent; count the real ones instead.
    if handle is not None:
        if context.was_sent:
            context.record_start(handle)
        else:
            context.record_task(handle)
        await batch.journal.flush()
        batch.budget.adjust((context.cost(quoted) or 0) - quoted)
        await context.learn_price(ended=False)
        return True
    # Case 2: not found, which proves nothing.
    age = max(age, time.time() - sent_at)
    if not rules.may_restart(is_absent=is_absent, age=age, resend=bool(batch.options.resend)):
        msg = (
            f"Unknown outcome of a start: A2E's list shows no task with marker {entry.marker}. "
            "Resume later, or start it again with on_unknown='resend'"
        )
        raise SubmissionUncertainError(msg, marker=entry.marker, sent_at=utc(sent_at))
    # Case 3: not accepted. Its coins are free again.
    entry.state, entry.quoted = "failed" if entry.starts else "new", None
    batch.budget.adjust(-quoted)
    if context.reservation is not None:
        batch.budget.release(context.reservation, accepted=False)
        context.reservation = None
    return False


async def _look_for_task(context: JobContext[R]) -> tuple[TaskHandle[R] | None, bool, float, float]:
    """Read A2E's list until it tells about the last start, or must have told.

    Returns:
        Its task, whether there certainly is none, when it was sent, and its age in seconds by A2E's clock.

    Raises:
        SubmissionUncertainError: The list could not be read in all that time.
        A2EError: The list could not be read, and cannot be read later either.
    """
    batch, entry = context.batch, context.entry
    late = 0.0 if context.was_sent else batch.journal.others_lateness
    sent_at = (entry.created_at if entry.sent_at is None else entry.sent_at) + late
    # without a journal, the time of a start of this run is by this machine's clock
    is_by_server = batch.options.journal is not None or not context.was_sent
    began, settle_time = time.monotonic() + late, rules.settle_time(entry, batch.api.settle_time)
    latest, unreadable = batch.api.settle_time if batch.options.resend else settle_time, batch.breaker.unreadable

    async def scan(_probe: bool) -> tuple[TaskHandle[R] | None, Verdict, float]:  # noqa: FBT001  called by the breaker
        nonlocal sent_at, is_by_server
        waited = time.monotonic() - began
        async with batch.start_slots:
            if not is_by_server:
                sent_at, is_by_server = await batch.api.latest_time(), True
            return await batch.api.reconcile(entry.marker, sent_at, waited=waited, settle_time=settle_time)

    while True:
        try:
            # Reading costs nothing, so the first attempt does not wait for the breaker.
            handle, verdict, age = await batch.breaker.call(scan, costs=False, is_needed=False)
        except A2EError as error:
            handle, verdict, age = None, Verdict.UNKNOWN, time.monotonic() - began
            if not error.retryable:
                raise
            if age >= settle_time or unreadable.is_set():
                msg = f"Unknown outcome of a start: A2E's list could not be read ({error}). Resume later"
                raise SubmissionUncertainError(msg, marker=entry.marker, sent_at=utc(sent_at - late)) from error
        # The age is by A2E's clock: this machine's clock may have been set since then.
        if verdict is not Verdict.UNKNOWN or age >= latest or unreadable.is_set():
            return handle, verdict is Verdict.ABSENT, sent_at - late, age
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(latest - age, _MIN_INTERVAL), _SCAN_INTERVAL)):
                await unreadable.wait()


async def adopt(context: JobContext[R]) -> bool:
    """Adopt the task of a start that the journal does not know; return whether there is one.

    Raises:
        A2EError: A2E's list could not be read.
    """
    batch, entry = context.batch, context.entry
    marker = marker_for_key(rules.job_key(batch.journal.id, entry))
    settled_at = batch.opened_at + batch.api.settle_time
    read_after = batch.opened_at
    while True:
        async with batch.list_lock:  # the list is read once for all jobs
            now, fresh = time.monotonic(), batch.list_read_at < read_after
            handle = await batch.api.find_listed(marker, fresh=fresh)
            if fresh:
                batch.list_read_at = now
        # Case 1: found. Case 2: not found, and nothing shows that the file is an older copy.
        # Case 3: it is an older copy. The last start before this run may be listed late, so look again then.
        if handle is not None or not batch.is_older_copy or read_after == settled_at:
            break
        read_after = settled_at
        await asyncio.sleep(max(0.0, settled_at - time.monotonic()))
    if handle is None:
        return False
    batch.is_older_copy = True
    _LOGGER.warning(
        "A2E has task %s of the job %r, which is not in the journal, possibly an older copy: it is adopted, and "
        "nothing is started",
        handle.id,
        entry.key,
    )
    entry.marker, entry.error = marker, None
    context.record_task(handle)
    await batch.journal.flush()
    batch.budget.adjust(context.counted)
    return True

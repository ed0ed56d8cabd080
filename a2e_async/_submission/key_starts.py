"""Starts with an idempotency key: one key is charged once, also if several processes use it."""

# How it works: the marker is derived from the key, so that every process finds the task of a key in A2E's list. The
# list is scanned *before* anything is uploaded or sent. The cases go on where those of `submitter.py` end:
#
# - Case 5: the list, or the index of what it showed before, has the tasks of this key. Nothing is sent. If an earlier
#   start with this key may still be accepted, the scans go on until it surely was or was not.
# - Case 6: it has not, so the start is sent. The store of keys (`keys.py`) has the claim before that, and until the
#   outcome is known.
# - Case 7: another process was faster. Back to case 5, which waits for its start.

import asyncio
import copy
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from a2e_async._protocol.families import Family
from a2e_async._protocol.responses import AcceptedTask
from a2e_async._submission.evidence import LISTED_UNTIL
from a2e_async._submission.keys import KeyClaim, KeyTakenError
from a2e_async._submission.markers import marker_for_key
from a2e_async._submission.reconciler import PAGE_TIMEOUT
from a2e_async._submission.start import StartRequest, nothing_started
from a2e_async._submission.submitter import Submitter
from a2e_async.errors import InvalidRequestError, KeyStoreError, SubmissionUncertainError

_LOGGER = logging.getLogger("a2e_async")


_MAX_CONFLICTS = 5  # in a row, in which the store does not show the start of the other process
_CONFLICT_DELAY = 1.0  # seconds; a replica of a database can be late


class KeyStarts:
    """Starter of tasks with idempotency keys. Belongs to one event loop.

    Attributes:
        scope: What stands before a key in the store of keys. The same key in another account is another job.
    """

    def __init__(self, submitter: Submitter, scope: str = "") -> None:
        self.submitter, self.scope = submitter, scope
        self._locks: weakref.WeakValueDictionary[tuple[Family, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def view(self, submitter: Submitter) -> "KeyStarts":
        """Return the same with another submitter. It shares everything else."""
        view = copy.copy(self)
        view.submitter = submitter
        return view

    async def start(
        self, start: StartRequest, key: str, prepare: Callable[[], Awaitable[dict[str, Any]]]
    ) -> list[AcceptedTask]:
        """Return the tasks of an idempotency key; start them if A2E's list does not show any.

        Args:
            start: The start.
            key: The caller's name for the job.
            prepare: Makes the body. It is called only if the tasks have to be started, since it may upload files.

        Raises:
            KeyStoreError: The store of keys failed; nothing was started.
            InvalidRequestError: A2E cuts names so short that the task could not be found by its key.
            A2EError: As in `Submitter.start`.
        """
        finder, family = self.submitter.finder, start.family
        if finder.state.cut_names.get(family):
            msg = f"A2E cuts the names of {family.title} so short that no task can be found by its idempotency_key"
            raise InvalidRequestError(msg)
        start.marker = marker_for_key(key)
        start.claim = claim = self._claim(family, start.marker)
        body: dict[str, Any] | None = None
        # two calls with one key start once
        async with self._locks.setdefault((family, start.marker), asyncio.Lock()):
            conflicts = 0
            while True:
                await claim.load()
                if claim.is_open:
                    conflicts = 0  # there is another start, and it is waited for
                async with finder.limited(family):
                    tasks = await self._find(start, claim)
                if tasks:  # case 5
                    ids = ", ".join(task.id for task in tasks)
                    _LOGGER.info("A2E's list shows task %s with marker %s: nothing is started", ids, start.marker)
                else:
                    body = await prepare() if body is None else body
                    start.body = body.copy()
                    try:
                        tasks = await self.submitter.start(start, start.marker)  # case 6
                    except KeyTakenError as error:  # case 7
                        conflicts += 1
                        if conflicts > _MAX_CONFLICTS:
                            msg = f"{error}, which the store has never shown: do load and replace use one database?"
                            raise KeyStoreError(msg) from error
                        await asyncio.sleep(_CONFLICT_DELAY)
                        continue
                await claim.settle(finder.now().latest, tasks)
                return tasks

    async def forget(self, family: Family, task_id: str) -> None:
        """Free the idempotency key of a task that was deleted."""
        reconciler = self.submitter.finder.reconciler(family)
        marker = reconciler.marker_of(task_id)
        reconciler.forget(task_id)
        if marker:
            await self._claim(family, marker).forget(task_id)

    def _claim(self, family: Family, marker: str) -> KeyClaim:
        return KeyClaim(self.submitter.finder.state.keys, f"{self.scope} {family.key} {marker}")

    async def _find(self, start: StartRequest, claim: KeyClaim) -> list[AcceptedTask]:
        """Return the tasks with the marker of a start. Wait for an earlier start with this key that is not settled."""
        finder, policy = self.submitter.finder, self.submitter.finder.policy
        reconciler = finder.reconciler(start.family)
        with nothing_started(), reconciler.search(start.marker) as search:
            if claim.is_open:
                _LOGGER.warning(
                    "The outcome of an earlier start with this idempotency key is unknown (marker %s): nothing is "
                    "started until A2E must have listed its task, in up to %g s",
                    start.marker,
                    finder.settle_time(with_key=True)[1],
                )
                scan_error = await finder.scan(start, search, settle=True)
            else:
                scan_error = await finder.scan(start, search, policy.key_scan_delays, page_timeout=PAGE_TIMEOUT)
                finder.add_known(start, claim)
                # the list shows two of three tasks: the third one is late
                if scan_error is None and 0 < len(search.found) < start.count:
                    scan_error = await finder.scan(start, search)
            if scan_error is not None and not search.found:
                raise scan_error
        if not search.found:
            self._check_absence(start, claim, search.cut)
        return await reconciler.adopt(search, api=finder.api)

    def _check_absence(self, start: StartRequest, claim: KeyClaim, cut: set[str]) -> None:
        """Check that the task of a key is not only out of sight: it may have left the list, or lost its marker."""
        if claim.entry is not None and claim.is_open and not start.resend:
            age = self.submitter.finder.now().earliest - claim.entry.sent_at
            if age > LISTED_UNTIL:
                msg = (
                    f"Nothing was started: a start with this idempotency key was sent {age / 86400:.0f} days ago, its "
                    "outcome is unknown, and its task would have left A2E's list by now. Check the history of coins, "
                    "and start it with on_unknown='resend'"
                )
                raise SubmissionUncertainError(msg, marker=start.marker)
        if cut:
            ids = ", ".join(sorted(cut))
            msg = f"Nothing was started: A2E has cut the name of task {ids}, which may have this idempotency_key"
            raise SubmissionUncertainError(msg, marker=start.marker)

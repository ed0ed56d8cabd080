"""The submitter sends a paid start so that A2E accepts it exactly once.

How it works: A2E charges a start when it accepts it, and it has no idempotency keys. So one law holds: a start is sent
again only if A2E certainly did not accept it. The comments below number the ways in which a start can end.

- Case 1, accepted: the response names the tasks. They are returned.
- Case 2, not accepted: the request was never sent, or A2E rejected it. A transient error (no connection, busy, rate
  limit) is retried, any other one is raised.
- Case 3, unknown: the request was sent, and its response was lost (dropped connection, time-out, 5xx, a web page). It
  is not sent again. Instead the reconciler scans A2E's list for the marker in the task's name, at each of
  `StartPolicy.scan_delays`, since a new task can be missing from the list for a while.
    - 3a: the task's name has no marker, so nothing can be found: `SubmissionUncertainError`.
    - 3b: the list shows the task: it is adopted, as if the response had arrived.
    - 3c: the list was read, does not show the task, and the caller chose ``on_unknown="resend"``: the start is
      sent once more, with the same marker. If the first one is listed late after all, both are charged, and a warning
      is logged.
    - 3d: otherwise `SubmissionUncertainError`, with the marker, so that the caller can search again later.
- Case 4, cancelled: once the request is under way, the submitter first waits for its response. It logs the ids of
  accepted tasks, or how to find them, and adds the same text to the `CancelledError`.

With an idempotency key the marker is derived from the key, and the list is scanned *before* anything is uploaded or
sent (cases 5 and 6 in `start_once`).
"""

import asyncio
import contextlib
import datetime as dt
import logging
import os
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Never

import attrs

from a2e_async._aio import uncancellable
from a2e_async._protocol import failures, responses
from a2e_async._protocol.endpoints import Endpoint, is_unknown_endpoint
from a2e_async._protocol.failures import StartOutcome, is_transient
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._submission import markers
from a2e_async._submission.markers import MarkerIndex, Search
from a2e_async._submission.reconciler import PAGE_TIMEOUT, AcceptedTask, Reconciler
from a2e_async._transport.endpoints import EndpointResolver
from a2e_async.config import StartPolicy
from a2e_async.errors import A2EError, NetworkError, SubmissionUncertainError

_LOGGER = logging.getLogger("a2e_async")

_SHORT_PAGE_TIMEOUT = 20.0  # seconds for one page of the list while a start waits for it; there are several scans


@attrs.define(eq=False)  # not frozen: one is made for each start, and a frozen class is slower to make
class StartRequest:
    """What the submitter has to know of a start, apart from its body.

    Attributes:
        family: The family of the tasks.
        count: Number of tasks that the start makes.
        resend: Whether to send the start once more if its outcome stays unknown.
        on_late: Called with the accepted tasks if the caller was cancelled before the response arrived.
    """

    family: Family
    count: int = 1
    resend: bool = False
    on_late: Callable[[list[AcceptedTask]], None] | None = None


@attrs.define(eq=False, repr=False)
class SubmissionState:
    """State that outlives an event loop: a client may be used with one loop after another.

    Attributes:
        marker_indexes: The index of each family.
        unresolved: (Family, marker) -> when an unknown start with this idempotency key was first sent.
        resolved: Endpoint -> the endpoint to send to, itself or a fallback, see `EndpointResolver`.
        warned: Paths of unpublished operations that were warned of already.
    """

    marker_indexes: dict[Family, MarkerIndex] = attrs.field(factory=dict)
    unresolved: dict[tuple[Family, str], float] = attrs.field(factory=dict)
    resolved: dict[Endpoint, Endpoint] = attrs.field(factory=dict)
    warned: set[str] = attrs.field(factory=set)


@attrs.define(eq=False, repr=False)
class Submitter:
    """Sender of all requests that cost coins. Belongs to one event loop."""

    resolver: EndpointResolver
    policy: StartPolicy
    state: SubmissionState
    _reconcilers: dict[Family, Reconciler] = attrs.field(factory=dict)
    _key_locks: weakref.WeakValueDictionary[tuple[Family, str], asyncio.Lock] = attrs.field(
        factory=weakref.WeakValueDictionary
    )
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)

    def start(
        self, start: StartRequest, body: dict[str, Any], marker: str | None = None
    ) -> Awaitable[list[AcceptedTask]]:
        """Start one task, or several with one request, and return the tasks that were started or adopted.

        Args:
            start: The start.
            body: The JSON body; the marker is added to the task's name in it.
            marker: By default a random one, if names are marked. A given one must be new, or `reconcile` must have
                found no task with it.

        Raises:
            SubmissionUncertainError: The outcome is unknown, and A2E's list does not show the task.
            A2EError: A2E did not accept the start.
        """
        if marker is None:
            is_marked = self.policy.mark_names and start.family.is_searchable
            marker = markers.make_marker(os.urandom(10)) if is_marked else ""
        return self._submit(start, body, marker)

    def reconcile(self, start: StartRequest, marker: str, age: float) -> Awaitable[list[AcceptedTask]]:
        """Return the tasks of a start that an earlier process has sent, as far as A2E's list shows them.

        Args:
            start: The start.
            marker: Its marker.
            age: Seconds since it was sent. A young one is searched for several times, since it may be listed late.

        Raises:
            A2EError: A2E's list could not be read.
        """
        is_young = age < self.policy.scan_delays[-1]
        return self._find_by_key(start, marker, self._loop.time() - age if is_young else None)

    async def start_once(
        self, start: StartRequest, key: str, prepare: Callable[[], Awaitable[dict[str, Any]]]
    ) -> list[AcceptedTask]:
        """Return the tasks of an idempotency key; start them if A2E's list does not show any.

        Args:
            start: The start.
            key: The caller's name for the job.
            prepare: Makes the body. It is called only if the tasks have to be started, since it may upload files.

        Raises:
            A2EError: As in `start`.
        """
        marker = markers.marker_for_key(key)
        family_marker, unresolved = (start.family, marker), self.state.unresolved
        async with self._key_locks.setdefault(family_marker, asyncio.Lock()):  # two calls with one key start once
            # Case 5: the list, or the index of what it showed before, has the tasks of this key. Nothing is sent.
            found = await self._find_by_key(start, marker, unresolved.get(family_marker))
            if found:
                unresolved.pop(family_marker, None)
                return found
            # Case 6: it has not, so the start is sent. Until its outcome is known, the key counts as unresolved, and
            # the next call with it scans several times before it sends anything.
            body = await prepare()
            first_sent_at = unresolved.setdefault(family_marker, now := self._loop.time())
            try:
                accepted = await self._submit(start, body, marker)
            except SubmissionUncertainError:
                raise
            except A2EError:
                # this start was not accepted, which says nothing about an earlier one with the same key
                if first_sent_at == now:
                    del unresolved[family_marker]
                raise
            del unresolved[family_marker]
            self.reconciler(start.family).add_accepted(marker, accepted, start.count)
            return accepted

    async def post_paid(
        self,
        endpoint: Endpoint,
        id: str | None = None,
        *,
        json: dict[str, Any] | None = None,
        advice: str,
        on_late: Callable[[Envelope], None] | None = None,
        retry: bool = True,
    ) -> Envelope:
        """Send a request that can cost coins and makes no new task. It is retried only if A2E did not accept it.

        Args:
            endpoint: The operation.
            id: The id in its path.
            json: The body.
            advice: What the caller can do if the outcome is unknown; the end of the error message.
            on_late: Called with the response if the caller was cancelled before it arrived.
            retry: Whether to retry at all.

        Raises:
            SubmissionUncertainError: The outcome is unknown.
            A2EError: A2E did not accept the request.
        """
        sent_at = self._loop.time()

        async def send() -> Envelope:
            return await self.resolver.send(endpoint, id, json=json, paid=True)

        async def send_once() -> Envelope:
            sending = uncancellable(send())
            try:
                return await sending
            except asyncio.CancelledError:
                # Case 4, with a response that a caller of this method needs, such as the id of a paid stream
                if on_late is not None and not sending.never_started and sending.task.exception() is None:
                    on_late(sending.task.result())
                raise

        try:
            if retry:
                return await self.resolver.api.retry.run(send_once, failures.may_send_again)
            return await send_once()
        except A2EError as error:
            is_unknown = failures.start_outcome(error) is StartOutcome.UNKNOWN
            # A2E's web page for a path that it does not know is a rejection, though any other page means "unknown"
            if not is_unknown or is_unknown_endpoint(error, endpoint, paid=True):
                raise
            _raise_uncertain(f"request {endpoint.path}", "", self._loop.time() - sent_at, error, advice)

    async def find(self, family: Family, marker_or_key: str) -> list[AcceptedTask]:
        """Return the tasks in A2E's list with a marker or an idempotency key, the oldest first.

        Raises:
            A2EError: A2E's list could not be read.
        """
        reconciler = self.reconciler(family)
        with reconciler.search(*markers.markers_for(marker_or_key)) as search:
            await reconciler.scan(search, page_timeout=PAGE_TIMEOUT)
        return await reconciler.adopt(search)

    def reconciler(self, family: Family) -> Reconciler:
        """Return the reconciler of a family."""
        found = self._reconcilers.get(family)
        if found is None:
            index = self.state.marker_indexes.setdefault(family, MarkerIndex(name=family.name_field or ""))
            found = self._reconcilers[family] = Reconciler(self.resolver, family, index)
        return found

    # sending

    async def _submit(self, start: StartRequest, body: dict[str, Any], marker: str) -> list[AcceptedTask]:
        """Send a start, and return its tasks in whichever way it ends; see the cases in the module's docstring."""
        if marker:
            field, max_length = start.family.name_field or "", start.family.max_name_length
            body[field] = markers.mark_name(body[field], marker, start.count, max_length)
        request = Request(method="POST", path=start.family.start, json=body, paid=True)
        sent_at = self._loop.time()
        try:
            # Case 1 returns here, and case 2 is retried
            return await self.resolver.api.retry.run(
                lambda: self._post(start, request, marker), failures.may_send_again
            )
        except A2EError as error:
            # Case 2, with an error that is not transient or came in every try
            if failures.start_outcome(error) is not StartOutcome.UNKNOWN:
                raise
            lost = error
        # outside of the handler: else every later error would have this one as its context
        return await self._reconcile_lost(start, marker, sent_at, lost, request)

    async def _reconcile_lost(
        self, start: StartRequest, marker: str, sent_at: float, lost: A2EError, request: Request
    ) -> list[AcceptedTask]:
        """Find the tasks of a start whose response was lost with the error `lost` (case 3)."""
        # Case 3a: no marker, no search
        if not marker:
            has_list = start.family.list is not None
            _raise_not_found(marker, self._loop.time() - sent_at, lost, None, has_list=has_list)
        reconciler = self.reconciler(start.family)
        with reconciler.search(marker, since=sent_at) as search:
            scan_error = await self._scan_repeatedly(start, search, cancel_hint=marker)
        if not search.found:
            # Case 3c: sent once more, but only after a scan that worked: an unread list may hold the task
            if scan_error is None and start.resend:
                return await self._resend(start, marker, sent_at, lost, request)
            # Case 3d: the caller has to decide
            _raise_not_found(marker, self._loop.time() - sent_at, lost, scan_error)
        # Case 3b: found, so the tasks are adopted
        ids = ", ".join(search.found)
        _LOGGER.warning(
            "The response to a start was lost. A2E's list shows its task %s (marker %s), which is adopted: "
            "the start is not sent again, and nothing is charged twice",
            *(ids, marker),
        )
        if len(search.found) < start.count:
            _LOGGER.warning(
                "A2E's list shows only %s of %d tasks of the start with marker %s", ids, start.count, marker
            )
        return await reconciler.adopt(search)

    async def _resend(
        self, start: StartRequest, marker: str, sent_at: float, lost: A2EError, request: Request
    ) -> list[AcceptedTask]:
        """Send a start once more that A2E's list does not show (case 3c)."""
        _LOGGER.warning(
            "The response to a start was lost, and A2E's list shows no task with marker %s: sending once more", marker
        )
        accepted: list[AcceptedTask] = []
        reconciler = self.reconciler(start.family)
        try:
            accepted = await self.resolver.api.retry.run(
                lambda: self._post(start, request, marker), failures.may_send_again
            )
            reconciler.add_accepted(marker, accepted, start.count)
            # warns of a duplicate, if the first task is listed by now; a failed scan is no failure of the start
            with contextlib.suppress(A2EError), reconciler.search(marker, since=sent_at) as search:
                await reconciler.scan(search, page_timeout=_SHORT_PAGE_TIMEOUT)
        except A2EError as error:
            # even a rejection of the second one leaves the outcome of the first one unknown
            error.__cause__ = lost
            _raise_not_found(marker, self._loop.time() - sent_at, error, None)
        except asyncio.CancelledError as cancelled:
            if accepted and start.on_late is not None:
                start.on_late(accepted)
            _warn_cancelled(_accepted_text(accepted) if accepted else _unknown_text(marker), cancelled)
            raise
        return accepted

    async def _post(self, start: StartRequest, request: Request, marker: str) -> list[AcceptedTask]:
        """Send the request once. If cancelled meanwhile, wait for the response first (case 4)."""
        throttled = self.resolver.api.throttled
        if not throttled.try_acquire():  # a cancellation in the queue of the throttle needs no care: nothing was sent
            await throttled.acquire(paid=True)
        sending = uncancellable(throttled.exchange(request))
        try:
            return _accepted_tasks(await sending)
        except asyncio.CancelledError as cancelled:
            if sending.never_started:
                throttled.release()
            else:
                self._report_cancelled(start, marker, sending.task, cancelled)
            raise

    def _report_cancelled(
        self, start: StartRequest, marker: str, sent: asyncio.Task[Envelope], cancelled: asyncio.CancelledError
    ) -> None:
        """Report the outcome of a cancelled start (case 4), so that no accepted task is lost."""
        try:
            accepted = _accepted_tasks(sent.result())
            self.reconciler(start.family).add_accepted(marker, accepted, start.count)
            if start.on_late is not None:
                start.on_late(accepted)
            text = _accepted_text(accepted)
        except A2EError as error:
            if failures.start_outcome(error) is not StartOutcome.UNKNOWN:
                return  # not accepted: there is nothing to report
            text = _unknown_text(marker)
        except asyncio.CancelledError:  # a program that cancels all tasks of asyncio has cancelled the request as well
            text = _unknown_text(marker)
        _warn_cancelled(text, cancelled)

    # scanning

    async def _find_by_key(self, start: StartRequest, marker: str, unresolved: float | None) -> list[AcceptedTask]:
        """Return the tasks of a key.

        Args:
            start: The start.
            marker: The key's marker.
            unresolved: When an earlier start with this key was sent whose outcome is still unknown; None if there is
                none. Such a start is searched for several times.
        """
        reconciler = self.reconciler(start.family)
        try:
            with reconciler.search(marker) as search:
                if unresolved is None:
                    await reconciler.scan(search, page_timeout=PAGE_TIMEOUT)
                else:
                    search.since = min(search.since, unresolved)
                # also if the list shows two of three tasks: the third one is late
                if unresolved is not None or 0 < len(search.found) < start.count:
                    scan_error = await self._scan_repeatedly(start, search)
                    if scan_error is not None and not search.found:
                        raise scan_error
        except NetworkError as error:
            # `request_sent` is False: the failed request was for the list, and the start itself may be tried again
            msg = f"Nothing was started, since A2E's list could not be searched for the task. Try again later: {error}"
            raise NetworkError(msg, request_sent=False) from error
        return await reconciler.adopt(search)

    async def _scan_repeatedly(self, start: StartRequest, search: Search, *, cancel_hint: str = "") -> A2EError | None:
        """Scan at each of `StartPolicy.scan_delays`, until all tasks of the start are found.

        Args:
            start: The start.
            search: The search for its tasks.
            cancel_hint: The marker to name if the scans are cancelled; empty if no start is pending.

        Returns:
            The error of the last scan, None if it was complete.
        """
        began = self._loop.time()
        scan_error: A2EError | None = None
        try:
            for delay in self.policy.scan_delays:
                await asyncio.sleep(began + delay - self._loop.time())
                try:
                    await self.reconciler(start.family).scan(search, page_timeout=_SHORT_PAGE_TIMEOUT)
                    scan_error = None
                except A2EError as error:
                    scan_error = error
                # an error that is not transient, such as a wrong token, would only come again
                if len(search.found) >= start.count or (scan_error is not None and not is_transient(scan_error)):
                    break
        except asyncio.CancelledError as cancelled:
            if cancel_hint:
                _warn_cancelled(_unknown_text(cancel_hint), cancelled)
            raise
        return scan_error


def _accepted_tasks(envelope: Envelope) -> list[AcceptedTask]:
    records = responses.started_records(envelope)
    return [AcceptedTask(responses.id_of(raw), raw, envelope.trace_id) for raw in records]


def _raise_not_found(
    marker: str, age: float, error: A2EError, scan_error: A2EError | None, *, has_list: bool = True
) -> Never:
    if not has_list:
        advice = "A2E has no list of such tasks to check: starting again may be charged twice"
    elif not marker:
        advice = "The task's name has no marker to search for: check list() before you start it again"
    elif scan_error is None:
        advice = (
            f"A2E's list shows no task with marker {marker}: await find({marker!r}) later, before you start it again"
        )
    else:
        advice = f"A2E's list could not be read ({scan_error}): await find({marker!r}) before you start it again"
    _raise_uncertain("start", marker, age, error, advice)


def _raise_uncertain(what: str, marker: str, age: float, error: A2EError, advice: str) -> Never:
    sent_at = dt.datetime.fromtimestamp(time.time(), dt.UTC) - dt.timedelta(seconds=age)
    msg = (
        f"Unknown outcome: A2E may have accepted the {what} sent at {sent_at:%Y-%m-%d %H:%M:%S} UTC: {error}. {advice}"
    )
    raise SubmissionUncertainError(msg, marker=marker, sent_at=sent_at) from error


def _accepted_text(tasks: list[AcceptedTask]) -> str:
    ids = ", ".join(task.id for task in tasks)
    return f"The start was cancelled after A2E had accepted it: task {ids} goes on and is charged"


def _unknown_text(marker: str) -> str:
    check = f"await find({marker!r}) to check" if marker else "check list(), since the task's name has no marker"
    return f"The start was cancelled with an unknown outcome: A2E may have accepted it; {check}"


def _warn_cancelled(text: str, cancelled: asyncio.CancelledError) -> None:
    # as a note as well: a log line is easily lost when a program is interrupted
    _LOGGER.warning("%s", text)
    cancelled.add_note(text)

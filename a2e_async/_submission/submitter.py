"""The submitter sends a paid start, and finds out whether A2E accepted it, so that nothing is charged twice unasked."""

# How it works: A2E charges a start when it accepts it, and it has no idempotency keys. So one law holds: a start is
# sent again only if A2E certainly did not accept it. There are two exceptions, each after scans that found nothing: the
# caller allows it (case 3c), or calls again with the key of an unknown start (case 6). The comments below number the
# ways in which a start can end.
#
# - Case 1, accepted: the response names the tasks. They are returned.
# - Case 2, not accepted: the request was never sent, or A2E rejected it. A transient error (no connection, busy, rate
#   limit) is retried, any other one is raised.
# - Case 3, unknown: the request was sent, and its response was lost (dropped connection, time-out, 5xx, a web page).
#   It is not sent again. Instead the reconciler scans A2E's list for the marker in the task's name, at each of
#   `StartPolicy.scan_delays`, since a new task can be missing from the list for a while.
#     - 3a: the task's name has no marker, so nothing can be found: `SubmissionUncertainError`.
#     - 3b: the list shows the task: it is adopted, as if the response had arrived.
#     - 3c: the last scan was complete and does not show the task, and the caller chose ``on_unknown="resend"``: the
#       start is sent once more, with the same marker. If A2E accepted the first one after all, both are charged. A
#       warning is logged if one more scan shows both. If the second one fails as well, the outcome stays unknown, as
#       in 3d, and is not searched for again.
#     - 3d: otherwise `SubmissionUncertainError`, with the marker, so that the caller can search again later.
# - Case 4, cancelled: once the request is under way, the submitter first waits for its response. It logs the ids of
#   accepted tasks, or how to find them, and adds the same text to the `CancelledError`. A second cancellation ends
#   the wait, but not the request: the same is logged when the response arrives.
#
# With an idempotency key the marker is derived from the key, and the list is scanned *before* anything is uploaded or
# sent (cases 5 and 6 in `start_once`).

import asyncio
import contextlib
import datetime as dt
import functools
import logging
import os
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Never

import attrs

from a2e_async._aio import finish
from a2e_async._protocol.endpoints import Endpoint, is_unknown_endpoint
from a2e_async._protocol.failures import StartOutcome, failure_of
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.responses import AcceptedTask, accepted_tasks
from a2e_async._submission import markers
from a2e_async._submission.markers import MarkerIndex, Search
from a2e_async._submission.reconciler import PAGE_TIMEOUT, Reconciler
from a2e_async._transport.api import ApiTransport
from a2e_async.config import StartPolicy
from a2e_async.errors import A2EError, Advice, NetworkError, SubmissionUncertainError

_LOGGER = logging.getLogger("a2e_async")

_SHORT_PAGE_TIMEOUT = 20.0  # seconds for one page of the list while a start waits for it; there are several scans


@attrs.define(eq=False, repr=False)
class StartRequest:
    """One paid start.

    Attributes:
        family: The family of the tasks.
        body: The JSON body. `Submitter.start` adds the marker to the task's name in it.
        count: Number of tasks that the start makes.
        resend: Whether to send the start once more if its outcome stays unknown.
        on_late: Called with the accepted tasks if the caller was cancelled before the response arrived.
        marker: The marker; empty for none.
        sent_at: When it was first sent, in seconds on the event loop's clock.
    """

    family: Family
    body: dict[str, Any] = attrs.field(factory=dict, repr=False)
    count: int = 1
    resend: bool = False
    on_late: Callable[[list[AcceptedTask]], None] | None = None
    marker: str = ""
    sent_at: float = 0.0


@attrs.define(eq=False, repr=False)
class SubmissionState:
    """State that outlives an event loop: a client may be used with one loop after another.

    Attributes:
        marker_indexes: The index of each family.
        unresolved: (Family, marker) -> when an unknown start with this idempotency key was first sent.
        resolved: Endpoint -> the endpoint to send to, itself or a fallback, see `ApiTransport`.
        warned: Paths of unpublished operations that were warned of already.
    """

    marker_indexes: dict[Family, MarkerIndex] = attrs.field(factory=dict)
    unresolved: dict[tuple[Family, str], float] = attrs.field(factory=dict)
    resolved: dict[Endpoint, Endpoint] = attrs.field(factory=dict)
    warned: set[str] = attrs.field(factory=set)


@attrs.define(eq=False, repr=False)
class Submitter:
    """Sender of all requests that cost coins. Belongs to one event loop.

    Attributes:
        request_timeout: Seconds after which a request under way has ended in any case.
    """

    api: ApiTransport
    policy: StartPolicy
    state: SubmissionState
    request_timeout: float
    _reconcilers: dict[Family, Reconciler] = attrs.field(factory=dict)
    _key_locks: weakref.WeakValueDictionary[tuple[Family, str], asyncio.Lock] = attrs.field(
        factory=weakref.WeakValueDictionary
    )
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    _post_repeatedly: Callable[..., Awaitable[list[AcceptedTask]]] = attrs.field(init=False)
    _send_repeatedly: Callable[..., Awaitable[Envelope]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Wrap both ways to send in retries."""
        retry = self.api.retry
        self._post_repeatedly = retry.wrap(self._post, paid=True)
        self._send_repeatedly = retry.wrap(self._send, paid=True)

    async def start(self, start: StartRequest, marker: str | None = None) -> list[AcceptedTask]:
        """Start one task, or several with one request, and return the tasks that were started or adopted.

        The comments number the ways in which a start ends, as at the top of the module.

        Args:
            start: The start.
            marker: By default a random one, if names are marked. A given one must be new, or `reconcile` must have
                found no task with it.

        Raises:
            SubmissionUncertainError: The outcome is unknown, and the task was not found in A2E's list.
            A2EError: A2E did not accept the start.
        """
        if marker is None:
            is_marked = self.policy.mark_names and start.family.is_searchable
            marker = markers.make_marker(os.urandom(10)) if is_marked else ""
        if marker:
            field, max_length = start.family.name_field or "", start.family.max_name_length
            start.body[field] = markers.mark_name(start.body[field], marker, start.count, max_length)
        start.marker, start.sent_at = marker, self._loop.time()
        try:
            # Case 1 returns here, and case 2 is retried
            return await self._post_repeatedly(start)
        except A2EError as error:
            # Case 2, with an error that is not transient or came in every try
            if failure_of(error).outcome is not StartOutcome.UNKNOWN:
                raise
            lost = error
        # outside of the handler: else every later error would have this one as its context
        return await self._reconcile_lost(start, lost)

    async def reconcile(self, family: Family, marker: str, age: float) -> list[AcceptedTask]:
        """Return the task of a start that an earlier process has sent, if A2E's list shows it.

        Args:
            family: The family of the task.
            marker: The marker of the start.
            age: Seconds since it was sent. A young one is searched for several times, since it may be listed late.

        Raises:
            A2EError: A2E's list could not be read.
        """
        is_young = age < self.policy.scan_delays[-1]
        start = StartRequest(family, marker=marker)
        return await self._find_by_key(start, self._loop.time() - age if is_young else None)

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
        start.marker = markers.marker_for_key(key)
        family_marker, unresolved = (start.family, start.marker), self.state.unresolved
        async with self._key_locks.setdefault(family_marker, asyncio.Lock()):  # two calls with one key start once
            # Case 5: the list, or the index of what it showed before, has the tasks of this key. Nothing is sent.
            found = await self._find_by_key(start, unresolved.get(family_marker))
            if found:
                unresolved.pop(family_marker, None)
                return found
            # Case 6: it has not, so the start is sent. Until its outcome is known, the key counts as unresolved: the
            # next call with it scans several times. If that finds nothing, it sends, as its caller asks for.
            start.body = await prepare()
            first_sent_at = unresolved.setdefault(family_marker, now := self._loop.time())
            try:
                accepted = await self.start(start, start.marker)
            except SubmissionUncertainError:
                raise  # the key stays unresolved, as after a cancellation, which is no A2EError
            except A2EError:
                # this start was not accepted, which says nothing about an earlier one with the same key
                if first_sent_at == now:  # no earlier one is unresolved
                    del unresolved[family_marker]
                raise
            del unresolved[family_marker]
            self.reconciler(start.family).add_accepted(start.marker, accepted, start.count)
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
        send = self._send_repeatedly if retry else self._send
        try:
            return await send(endpoint, id, json, on_late)
        except A2EError as error:
            is_unknown = failure_of(error).outcome is StartOutcome.UNKNOWN
            # A2E's web page for a path that it does not know is a rejection, though any other page means "unknown"
            if not is_unknown or is_unknown_endpoint(error, endpoint, paid=True):
                raise
            self._raise_uncertain(f"request {endpoint.path}", sent_at, error, advice)

    async def _send(
        self,
        endpoint: Endpoint,
        id: str | None,
        json: dict[str, Any] | None,
        on_late: Callable[[Envelope], None] | None,
    ) -> Envelope:
        def report(late: Envelope | BaseException, _: asyncio.CancelledError) -> None:
            # Case 4, with a response that a caller of `post_paid` needs, such as the id of a paid stream
            if on_late is not None and isinstance(late, Envelope):
                on_late(late)

        await asyncio.sleep(0)  # raises a cancellation that came before: nothing was sent
        sending = self.api.call(endpoint, id, json=json, paid=True)
        return await finish(sending, f"the request {endpoint.path}", seconds=self.request_timeout, on_late=report)

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
            found = self._reconcilers[family] = Reconciler(self.api, family, index)
        return found

    # sending

    async def _reconcile_lost(self, start: StartRequest, lost: A2EError) -> list[AcceptedTask]:
        """Find the tasks of a start whose response was lost with the error `lost` (case 3)."""
        # Case 3a: no marker, no search
        if not start.marker:
            self._raise_not_found(start, lost, None)
        reconciler, marker = self.reconciler(start.family), start.marker
        with reconciler.search(marker, since=start.sent_at) as search:
            scan_error = await self._scan_repeatedly(start, search, is_pending=True)
        if not search.found:
            # Case 3c: sent once more, but only after a scan that worked: an unread list may hold the task
            if scan_error is None and start.resend:
                return await self._resend(start, lost)
            # Case 3d: the caller has to decide
            self._raise_not_found(start, lost, scan_error)
        # Case 3b: found, so the tasks are adopted
        ids = ", ".join(search.found)
        _LOGGER.warning(
            "The response to a start was lost. A2E's list shows its task %s (marker %s), which is adopted: "
            "the start is not sent again, and nothing is charged twice",
            ids,
            marker,
        )
        if len(search.found) < start.count:
            _LOGGER.warning(
                "A2E's list shows only %s of %d tasks of the start with marker %s", ids, start.count, marker
            )
        return await reconciler.adopt(search)

    async def _resend(self, start: StartRequest, lost: A2EError) -> list[AcceptedTask]:
        """Send a start once more that A2E's list does not show (case 3c)."""
        _LOGGER.warning(
            "The response to a start was lost, and A2E's list shows no task with marker %s: sending once more",
            start.marker,
        )
        accepted: list[AcceptedTask] = []
        reconciler = self.reconciler(start.family)
        try:
            accepted = await self._post_repeatedly(start)
            reconciler.add_accepted(start.marker, accepted, start.count)
            # warns of a duplicate, if the first task is listed by now; a failed scan is no failure of the start
            with contextlib.suppress(A2EError), reconciler.search(start.marker, since=start.sent_at) as search:
                await reconciler.scan(search, page_timeout=_SHORT_PAGE_TIMEOUT)
        except A2EError as error:
            # even a rejection of the second one leaves the outcome of the first one unknown
            error.__cause__ = lost
            self._raise_not_found(start, error, None)
        except asyncio.CancelledError as cancelled:
            if accepted and start.on_late is not None:
                start.on_late(accepted)
            _warn_cancelled(start, accepted, cancelled)
            raise
        return accepted

    async def _post(self, start: StartRequest) -> list[AcceptedTask]:
        """Send the request once. If cancelled meanwhile, wait for the response first (case 4)."""
        # A cancellation here or in the queue of the throttle needs no care: nothing was sent.
        await asyncio.sleep(0)
        await self.api.throttled.acquire(paid=True)
        request = Request(method="POST", path=start.family.start, json=start.body, paid=True)
        envelope = await finish(
            self.api.throttled.send(request, acquired=True),
            f"a start with marker {start.marker}" if start.marker else "a start",
            seconds=self.request_timeout,
            on_late=functools.partial(self._report_cancelled, start),
        )
        return accepted_tasks(envelope)

    def _report_cancelled(
        self, start: StartRequest, late: Envelope | BaseException, cancelled: asyncio.CancelledError
    ) -> None:
        """Report the outcome of a cancelled start (case 4), so that no accepted task is lost."""
        accepted: list[AcceptedTask] = []
        try:
            if isinstance(late, BaseException):
                raise late
            accepted = accepted_tasks(late)
            self.reconciler(start.family).add_accepted(start.marker, accepted, start.count)
            if start.on_late is not None:
                start.on_late(accepted)
        except A2EError as error:
            if failure_of(error).outcome is not StartOutcome.UNKNOWN:
                return  # not accepted: there is nothing to report
        except asyncio.CancelledError:  # a callback of the event loop, such as a signal handler, cancelled all tasks
            pass
        _warn_cancelled(start, accepted, cancelled)

    # scanning

    async def _find_by_key(self, start: StartRequest, unresolved: float | None) -> list[AcceptedTask]:
        """Return the tasks with the marker of a start.

        It is searched for several times if an earlier start with the same marker, sent at `unresolved`, is unknown yet.
        """
        reconciler = self.reconciler(start.family)
        try:
            with reconciler.search(start.marker) as search:
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

    async def _scan_repeatedly(
        self, start: StartRequest, search: Search, *, is_pending: bool = False
    ) -> A2EError | None:
        """Scan at each of `StartPolicy.scan_delays`, until all tasks of the start are found.

        Return the error of the last scan, None if it was complete. If the start `is_pending`, it was sent, and a
        cancellation tells how to find its tasks.
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
                if len(search.found) >= start.count or (
                    scan_error is not None and not failure_of(scan_error).transient
                ):
                    break
        except asyncio.CancelledError as cancelled:
            if is_pending:
                _warn_cancelled(start, [], cancelled)
            raise
        return scan_error

    def _raise_not_found(self, start: StartRequest, error: A2EError, scan_error: A2EError | None) -> Never:
        advice: Advice | None = "find" if start.marker else "list"
        if start.family.list is None:
            remark, advice = "A2E has no list of such tasks to check: starting again may be charged twice", None
        elif not start.marker:
            remark = "The task's name has no marker to search for"
        elif scan_error is None:
            remark = f"A2E's list shows no task with marker {start.marker}"
        else:
            remark = f"A2E's list could not be read ({scan_error})"
        self._raise_uncertain("start", start.sent_at, error, remark, marker=start.marker, advice=advice)

    def _raise_uncertain(
        self, what: str, began: float, error: A2EError, remark: str, *, marker: str = "", advice: Advice | None = None
    ) -> Never:
        sent_at = dt.datetime.fromtimestamp(time.time(), dt.UTC) - dt.timedelta(seconds=self._loop.time() - began)
        when = f"{sent_at:%Y-%m-%d %H:%M:%S} UTC"
        msg = f"Unknown outcome: A2E may have accepted the {what} sent at {when}: {error}. {remark}"
        raise SubmissionUncertainError(msg, marker=marker, sent_at=sent_at, advice=advice) from error


def _warn_cancelled(start: StartRequest, accepted: list[AcceptedTask], cancelled: asyncio.CancelledError) -> None:
    """Log the outcome of a cancelled start, and add it to the error: a log line is easily lost at an interrupt."""
    ids = ", ".join(task.id for task in accepted)
    report: str | A2EError = f"The start was cancelled after A2E had accepted it: task {ids} goes on and is charged"
    if not accepted:
        msg = "The start was cancelled with an unknown outcome: A2E may have accepted it"
        report = SubmissionUncertainError(msg, marker=start.marker, advice="find" if start.marker else "list")
    _LOGGER.warning("%s", report)
    cancelled.add_note(str(report))

"""The submitter sends a paid start, and finds out whether A2E accepted it, so that nothing is charged twice unasked."""

# How it works: A2E charges a start when it accepts it, and it has no idempotency keys. So one law holds: a start is
# sent again only if A2E certainly did not accept it. There are two exceptions, each after scans that found nothing: the
# caller allows it (case 3c), or calls again with the key of an unknown start (case 6). The comments below number the
# ways in which a start can end.
#
# - Case 1, accepted: the response names the tasks. They are returned. If it names fewer than were ordered, the others
#   are searched for as in case 3. Tasks of another start, which their markers tell, are never returned: then the
#   outcome is unknown.
# - Case 2, not accepted: the request was never sent, or A2E rejected it. A transient error (no connection, busy, rate
#   limit) is retried, any other one is raised.
# - Case 3, unknown: the request was sent, and its response was lost (dropped connection, time-out, 5xx, a web page).
#   It is not sent again. Instead the finder searches A2E's list for the marker in the task's name.
#     - 3a: the task's name has no marker, so nothing can be found: `SubmissionUncertainError`.
#     - 3b: the list shows the task: it is adopted, as if the response had arrived.
#     - 3c: the caller chose ``on_unknown="resend"``: the scans go on until A2E must have listed the task. Then the
#       start is sent once more, with the same marker. If A2E accepted the first one after all, both are charged. A
#       warning is logged if one more scan shows both. If the second one fails as well, the outcome stays unknown, as
#       in 3d, and is not searched for again.
#     - 3d: otherwise `SubmissionUncertainError`, with the marker, so that the caller can search again later.
# - Case 4, cancelled: once the request is under way, the submitter first waits for its response. It logs the ids of
#   accepted tasks, or how to find them, and adds the same text to the `CancelledError`. A second cancellation ends
#   the wait, but not the request: the same is logged when the response arrives.
#
# A start with an idempotency key begins in `key_starts.py` (cases 5 to 7). `finder.py` decides when A2E's list is
# read, `evidence.py` what it proves, `markers.py` which task belongs to which start.

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator
from logging import DEBUG
from typing import Any, Never

import attrs

from a2e_async._aio import finish, finish_in_background
from a2e_async._observer import Observer
from a2e_async._protocol.endpoints import Endpoint, is_unknown_endpoint
from a2e_async._protocol.failures import StartOutcome, failure_of
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.responses import AcceptedTask, accepted_tasks
from a2e_async._submission import markers
from a2e_async._submission.finder import MAX_WRITE_TIME, SHORT_PAGE_TIMEOUT, Finder
from a2e_async._submission.start import Moment, StartRequest, raise_uncertain
from a2e_async.errors import A2EError, Advice, NetworkError, UnexpectedResponseError, private_texts, redact_error
from a2e_async.events import StartBegan, StartEnded

_LOGGER = logging.getLogger("a2e_async")


class Submitter:
    """Sender of all requests that cost coins. Belongs to one event loop."""

    def __init__(self, finder: Finder) -> None:
        """Wrap both ways to send in retries."""
        self.finder, self.observer = finder, finder.api.throttled.observer
        retry = finder.api.retry
        self._post_repeatedly = retry.wrap(self._post, lambda start: f"POST {start.family.start}", paid=True)
        self._send_repeatedly = retry.wrap(
            self._send, lambda endpoint, _id, _json, _on_late: f"{endpoint.method} {endpoint.path}", paid=True
        )

    async def start(self, start: StartRequest, marker: str | None = None) -> list[AcceptedTask]:
        """Start one task, or several with one request, and return the tasks that were started or adopted.

        The comments number the ways in which a start ends, as at the top of the module.

        Args:
            start: The start.
            marker: By default a random one, if names are marked. A given one must be new, or A2E's list must have shown
                no task with it.

        Raises:
            SubmissionUncertainError: The outcome is unknown, and the task was not found in A2E's list.
            A2EError: A2E did not accept the start.
        """
        family = start.family
        if marker is None:
            is_marked = self.finder.policy.mark_names and family.is_searchable
            marker = markers.make_marker(os.urandom(10)) if is_marked else ""
        if marker:
            field, in_front = family.name_field or "", family in self.finder.state.cut_names
            start.body[field] = markers.mark_name(
                start.body[field], marker, start.count, family.max_name_length, in_front=in_front
            )
        start.marker = marker
        with _reported(start, self.observer) if self.observer.is_enabled(DEBUG) else contextlib.nullcontext():
            try:
                # Case 1 returns here, and case 2 is retried
                if self.finder.api.options is None:
                    accepted = await self._post_repeatedly(start)
                else:
                    async with self.finder.api.limited(f"POST {family.start}", paid=True) as start.limits:
                        accepted = await self._post_repeatedly(start)
            except A2EError as error:
                # Case 2, with an error that is not transient or came in every try
                if failure_of(error).outcome is not StartOutcome.UNKNOWN or start.first_sent is None:
                    raise
                lost = error
            else:
                if marker and len(accepted) < start.count:
                    accepted += await self._find_others(start, accepted)
                return accepted
            # outside of the handler: else every later error would have this one as its context
            return await self._reconcile(start, lost)

    async def _post(self, start: StartRequest) -> list[AcceptedTask]:
        """Send the request once. If cancelled meanwhile, wait for the response first (case 4)."""
        # A cancellation in the queue of the throttle needs no care: nothing was sent.
        throttled, claim = self.finder.api.throttled, start.claim
        request = Request(method="POST", path=start.family.start, json=start.body, paid=True, limits=start.limits)
        await throttled.acquire(request)
        try:
            start.last_sent = self.finder.now()
            if claim is not None or start.on_post is not None:
                moment = await self._write_time(start)
                request = attrs.evolve(request, before_body=functools.partial(self._check_late, moment))
        except BaseException:
            throttled.release()
            raise
        start.first_sent = start.first_sent or start.last_sent
        return await finish(
            self._exchange(start, request),
            f"a start with marker {start.marker}" if start.marker else "a start",
            seconds=self.finder.request_timeout,
            on_late=functools.partial(_report_late, start),
            on_unbegun=functools.partial(self._on_unbegun, start),
        )

    async def _write_time(self, start: StartRequest) -> Moment:
        """Write to the store of keys, and to the journal, when the start is sent; return the time that was written."""
        while True:
            moment = self.finder.now()
            if start.claim is not None:
                await start.claim.take(moment.latest)
            if start.on_post is not None:
                await start.on_post(moment.latest)
            start.last_sent = self.finder.now()
            # else the machine was suspended meanwhile: another process would read a time that is too early
            if start.last_sent.seconds_since(moment) < MAX_WRITE_TIME:
                return moment
            if start.claim is not None:
                await start.claim.release()

    def _check_late(self, decided: Moment) -> None:
        """Check that another process, which may have the job by now, still waits for this start."""
        if self.finder.now().seconds_since(decided) >= self.finder.max_send_time:
            msg = "The start was given up: this process was stopped before it could send it"
            raise NetworkError(msg, request_sent=False)

    def _on_unbegun(self, start: StartRequest) -> None:
        """Give up what a start holds that was cancelled before its request was sent."""
        self.finder.api.throttled.release()
        if start.claim is not None:
            finish_in_background(start.claim.release())

    async def _exchange(self, start: StartRequest, request: Request) -> list[AcceptedTask]:
        """Send the request, and write its outcome to the store of keys."""
        try:
            accepted = self._own_tasks(start, await self.finder.api.throttled.send(request, acquired=True))
        except A2EError as error:
            redact_error(error, private_texts(start.body))
            if start.claim is not None and failure_of(error).outcome is not StartOutcome.UNKNOWN:
                await start.claim.release()
            raise
        for task in accepted:
            self.observer.on_started(start.family.key, start.marker, task.id, task.raw)
        self.finder.reconciler(start.family).add_accepted(start.marker, accepted, start.count)
        if start.claim is not None:
            await start.claim.settle(self.finder.now().latest, accepted)
        return accepted

    def _own_tasks(self, start: StartRequest, envelope: Envelope) -> list[AcceptedTask]:
        """Return the tasks in the response to a start that belong to this start, by their markers.

        A gateway can mix up two responses, a server can send one twice, and A2E can answer with a whole list.

        Raises:
            ContentRejectedError: The response reports flagged content instead of a task.
            UnexpectedResponseError: It names no task, or tasks of other starts.
        """
        accepted = accepted_tasks(envelope)
        if not start.marker:
            return accepted
        family, field = start.family, start.family.name_field or ""
        reconciler, sent = self.finder.reconciler(family), str(start.body[field])
        names = {task.id: "" if task.raw is None else task.raw.get(field) for task in accepted}
        owners = {task.id: markers.marker_in(names[task.id]) or reconciler.marker_of(task.id) for task in accepted}
        own = [task for task in accepted if owners[task.id] == start.marker]
        # Case 1a: the marker is there, as usual
        if own:
            return own
        # Case 1b: tasks that surely, or most likely, belong to others. Names that A2E does not repeat prove nothing.
        shown = [name for name in names.values() if isinstance(name, str) and name.strip()]
        strange = [name for name in shown if not markers.is_same_name(sent, name)]
        if any(owners.values()) or (strange and family.lists_names):
            msg = f"A2E's response to the start with marker {start.marker} names a task of another start"
            raise UnexpectedResponseError(msg, status=envelope.status, task_id=None)
        # Case 1c: the name is cut, or its marker was removed
        if shown:
            self._on_lost_marker(start, accepted[0].id, is_first=sent.startswith(f"[a2e:{start.marker}"))
        return accepted

    def _on_lost_marker(self, start: StartRequest, task_id: str, *, is_first: bool) -> None:
        """Warn that A2E has cut the marker off a name, where it may have come first, and remember it."""
        known, family = self.finder.state.cut_names, start.family
        if family in known and (known[family] or not is_first):
            return
        known[family] = is_first
        effect = "another process would not find the task by its idempotency_key, and would pay again"
        change = "idempotency keys are rejected" if is_first else "this client puts the marker first"
        _LOGGER.warning(
            "A2E has cut the marker %s off the name of the new task %s: %s. From now on %s",
            start.marker,
            task_id,
            effect,
            change,
        )

    # a response that is lost, or names too few tasks

    async def _reconcile(self, start: StartRequest, lost: A2EError) -> list[AcceptedTask]:
        """Find the tasks of a start whose response was lost with the error `lost` (case 3)."""
        # Case 3a: no marker, no search
        if not start.marker:
            _raise_not_found(start, lost, None)
        reconciler, marker = self.finder.reconciler(start.family), start.marker
        with reconciler.search(marker, since=start.since) as search:
            scan_error = await self.finder.scan(start, search, settle=start.resend, pending=[])
        if not search.found:
            # Case 3c: sent once more, but only after scans that worked: an unread list may hold the task
            if scan_error is None and start.resend:
                return await self._resend(start, lost)
            # Case 3d: the caller has to decide
            _raise_not_found(start, lost, scan_error)
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
        return self._report_adopted(start, await reconciler.adopt(search))

    async def _resend(self, start: StartRequest, lost: A2EError) -> list[AcceptedTask]:
        """Send a start once more that A2E's list does not show (case 3c)."""
        _LOGGER.warning(
            "The response to a start was lost, and A2E's list shows no task with marker %s: sending once more",
            start.marker,
        )
        accepted: list[AcceptedTask] = []
        reconciler = self.finder.reconciler(start.family)
        try:
            accepted = await self._post_repeatedly(start)
            # warns of a duplicate, if the first task is listed by now; a failed scan is no failure of the start
            with contextlib.suppress(A2EError), reconciler.search(start.marker, since=start.since) as search:
                await reconciler.scan(search, page_timeout=SHORT_PAGE_TIMEOUT)
        except A2EError as error:
            # even a rejection of the second one leaves the outcome of the first one unknown
            error.__cause__ = lost
            _raise_not_found(start, error, None)
        except asyncio.CancelledError as cancelled:
            start.report_cancelled(accepted, cancelled)
            raise
        return accepted

    async def _find_others(self, start: StartRequest, accepted: list[AcceptedTask]) -> list[AcceptedTask]:
        """Return the tasks of a start that its response does not name, if A2E's list shows them (case 1)."""
        reconciler = self.finder.reconciler(start.family)
        with reconciler.search(start.marker, since=start.since) as search:
            search.found |= {task.id: task.raw for task in accepted}
            await self.finder.scan(start, search, pending=accepted)
        for task in accepted:
            search.found.pop(task.id, None)
        return self._report_adopted(start, await reconciler.adopt(search))

    def _report_adopted(self, start: StartRequest, tasks: list[AcceptedTask]) -> list[AcceptedTask]:
        for task in tasks:
            self.observer.on_started(start.family.key, start.marker, task.id, task.raw, adopted=True)
        return tasks

    # paid requests that make no task

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
        began = self.finder.now()
        send = self._send_repeatedly if retry else self._send
        try:
            return await send(endpoint, id, json, on_late)
        except A2EError as error:
            is_unknown = failure_of(error).outcome is StartOutcome.UNKNOWN
            # A2E's web page for a path that it does not know is a rejection, though any other page means "unknown"
            if not is_unknown or is_unknown_endpoint(error, endpoint, paid=True):
                raise
            raise_uncertain(f"request {endpoint.path}", began, error, advice)

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

        sending = self.finder.api.call(endpoint, id, json=json, paid=True)
        return await finish(
            sending,
            f"the request {endpoint.path}",
            seconds=self.finder.request_timeout,
            on_late=report,
            on_unbegun=lambda: None,  # nothing is held yet
        )


@contextlib.contextmanager
def _reported(start: StartRequest, observer: Observer) -> Iterator[None]:
    """Report the beginning and the end of a start, in the context of its caller."""
    clock, outcome = asyncio.get_running_loop().time, "accepted"
    began = clock()
    fields: dict[str, Any] = {"family": start.family.key, "marker": start.marker, "count": start.count}
    observer.publish(StartBegan(**fields))
    try:
        yield
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        observer.publish(StartEnded(**fields, outcome=outcome, seconds=clock() - began))


def _report_late(
    start: StartRequest, late: list[AcceptedTask] | BaseException, cancelled: asyncio.CancelledError
) -> None:
    """Report the outcome of a start that was cancelled while it was under way (case 4)."""
    if not isinstance(late, BaseException):
        start.report_cancelled(late, cancelled)
    # Not accepted: there is nothing to report. Any error that is not ours: a callback of the event loop, such as a
    # signal handler, has cancelled all tasks.
    elif not isinstance(late, A2EError) or failure_of(late).outcome is StartOutcome.UNKNOWN:
        start.report_cancelled([], cancelled)


def _raise_not_found(start: StartRequest, error: A2EError, scan_error: A2EError | None) -> Never:
    advice: Advice | None = "find" if start.marker else "list"
    if start.family.list is None:
        remark, advice = "A2E has no list of such tasks to check: starting again may be charged twice", None
    elif not start.marker:
        remark = "The task's name has no marker to search for"
    elif scan_error is None:
        remark = f"A2E's list shows no task with marker {start.marker}"
    else:
        remark = f"A2E's list could not be read ({scan_error})"
    raise_uncertain("start", start.first_sent or start.last_sent, error, remark, marker=start.marker, advice=advice)

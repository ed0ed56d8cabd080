"""The finder tells what A2E's list shows about a start: now, or when its outcome is settled."""

# How it works: one scan is the work of the reconciler (`reconciler.py`), and what it proves that of `judge`
# (`evidence.py`). The finder decides when to scan, and when to stop:
#
# - `find` and `reconcile` scan once: for a search by the caller, and for a batch, which keeps its own times.
# - `scan` goes on at fixed delays until all tasks of a start are found. A new task can be missing from the list for a
#   while.
# - With `settle`, it then goes on every 20 seconds until A2E must have listed the task (`judge`). So "not found" is
#   certain, and the start may be sent again.

import asyncio
import contextlib
import copy
import itertools
import math
import time
from collections.abc import AsyncIterator, Iterator

from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.failures import failure_of
from a2e_async._protocol.families import Family
from a2e_async._protocol.responses import AcceptedTask
from a2e_async._submission import markers
from a2e_async._submission.evidence import ListState, Verdict, certain_age, judge
from a2e_async._submission.keys import KeyClaim, KeyStore, MemoryKeyStore
from a2e_async._submission.markers import MarkerIndex, Search
from a2e_async._submission.reconciler import PAGE_TIMEOUT, Reconciler
from a2e_async._submission.start import Moment, StartRequest, nothing_started
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.http import MAX_DELIVERY_TIME
from a2e_async.config import StartPolicy
from a2e_async.errors import A2EError

SHORT_PAGE_TIMEOUT = 20.0  # seconds for one page of the list while a start waits for it; there are several scans

MAX_WRITE_TIME = 40.0
"""Seconds between the time of a start, as a store or a journal has it, and the request. A store may take 30."""

_SCAN_INTERVAL = 20.0  # seconds between two scans after those of `StartPolicy.scan_delays`


class SubmissionState:
    """State that outlives an event loop: a client may be used with one loop after another.

    Attributes:
        marker_indexes: The index of each family.
        keys: What is known about the start of each idempotency key.
        cut_names: The families that cut names: whether the marker is lost although it comes first.
        resolved: Endpoint -> the endpoint to send to, itself or a fallback, see `ApiTransport`.
        warned: Paths of unpublished operations that were warned of already.
    """

    def __init__(self, keys: KeyStore | None = None) -> None:
        self.marker_indexes: dict[Family, MarkerIndex] = {}
        self.keys: KeyStore = MemoryKeyStore() if keys is None else keys
        self.cut_names: dict[Family, bool] = {}
        self.resolved: dict[Endpoint, Endpoint] = {}
        self.warned: set[str] = set()


class Finder:
    """Searcher for the tasks of starts, in the lists of all families. Belongs to one event loop.

    Attributes:
        api: Sends the requests. Scans after a start, which decide about money, are sent by the client of a view.
        request_timeout: Seconds after which a request under way has ended in any case.
        connect_timeout: Seconds after which its body is sent, or never.
    """

    def __init__(
        self,
        api: ApiTransport,
        policy: StartPolicy,
        state: SubmissionState,
        request_timeout: float,
        connect_timeout: float = 10.0,
    ) -> None:
        self.api, self.policy, self.state = api, policy, state
        self.request_timeout, self.connect_timeout = request_timeout, connect_timeout
        self._reconcilers: dict[Family, Reconciler] = {}
        self._asked_for_time: set[Family] = set()
        self._loop = asyncio.get_running_loop()

    def view(self, api: ApiTransport) -> "Finder":
        """Return the same with another sender of requests. It shares everything else."""
        view = copy.copy(self)
        view.api = api
        return view

    @property
    def max_send_time(self) -> float:
        """Seconds between the time of a start, as a store or a journal has it, and the body of its request.

        A process that was stopped for longer, such as by SIGSTOP, sends nothing.
        """
        return MAX_WRITE_TIME + self.connect_timeout

    @property
    def max_lateness(self) -> float:
        """Seconds after that time in which a start of another process can still reach A2E."""
        return self.max_send_time + MAX_DELIVERY_TIME

    def settle_time(self, *, with_key: bool) -> tuple[float, float]:
        """Return the seconds that A2E takes to accept a start at most, and those until it must have listed the task.

        Args:
            with_key: Whether another process may still be about to send it, or may wait for the response.
        """
        accept_time = self.policy.accept_time
        if with_key:
            accept_time = max(accept_time, self.request_timeout)
            if not isinstance(self.state.keys, MemoryKeyStore):
                accept_time += self.max_lateness
        return accept_time, accept_time + self.policy.list_delay

    def now(self) -> Moment:
        """Return the present moment."""
        monotonic, wall = self._loop.time(), time.time()
        server = self.api.throttled.server_clock.time(monotonic=monotonic, wall=wall)
        # if A2E sends no Date, this machine's clock is better than nothing
        return Moment(monotonic, wall, server.earliest, wall if server.latest == math.inf else server.latest)

    async def latest_time(self, family: Family) -> float:
        """Return the latest time that A2E's clock can show now: the time of a start, for a journal.

        As long as the clock is not known, the list of the family is asked for it.

        Raises:
            A2EError: A2E's list could not be read.
        """
        if self.api.throttled.server_clock.date is None and family not in self._asked_for_time:
            with nothing_started():
                await self.reconciler(family).read_clock()
            self._asked_for_time.add(family)
        return self.now().latest

    def reconciler(self, family: Family) -> Reconciler:
        """Return the reconciler of a family."""
        found = self._reconcilers.get(family)
        if found is None:
            index = self.state.marker_indexes.setdefault(family, MarkerIndex(family.name_field or ""))
            found = self._reconcilers[family] = Reconciler(self.api.parent or self.api, family, index)
        return found

    async def find(self, family: Family, marker_or_key: str, *, fresh: bool = True) -> list[AcceptedTask]:
        """Return the tasks with a marker or an idempotency key, the oldest first.

        They are those in A2E's list, or, unless `fresh`, in what the scans so far have shown of it.

        Raises:
            A2EError: A2E's list could not be read.
        """
        reconciler = self.reconciler(family)
        with reconciler.search(*markers.markers_for(marker_or_key)) as search:
            if fresh:
                async with self.limited(family):
                    await reconciler.scan(search, page_timeout=PAGE_TIMEOUT, api=self.api)
        return await reconciler.adopt(search, api=self.api)

    @contextlib.asynccontextmanager
    async def limited(self, family: Family) -> AsyncIterator[None]:
        """Apply the options of a view to a search, which can have to wait for the scan of another one."""
        async with self.api.limited(f"the search in A2E's list of {family.title}", paid=True) as limits:
            if limits is not None and family.list is not None:
                self.api.throttled.check_pause(f"{family.list.method} {family.list.path}", limits)
            yield

    async def reconcile(
        self, family: Family, marker: str, sent_at: float, *, waited: float, settle_time: float
    ) -> tuple[list[AcceptedTask], Verdict, float]:
        """Return what A2E's list tells about a start that an earlier process has sent.

        Args:
            family: The family of the task.
            marker: The marker of the start.
            sent_at: When it was sent, as `latest_time` returned it then.
            waited: Seconds for which the caller has waited for the task already.
            settle_time: Seconds after which an accepted start is certainly listed.

        Returns:
            The tasks found; whether there are any, or surely none; the seconds that have certainly passed since then.

        Raises:
            A2EError: A2E's list could not be read.
        """
        reconciler = self.reconciler(family)
        with nothing_started(), reconciler.search(marker) as search:
            state = await reconciler.scan(search, page_timeout=PAGE_TIMEOUT)
        tasks = await reconciler.adopt(search)
        verdict = judge(
            state,
            found=bool(tasks),
            sent_at=sent_at,
            waited=waited,
            accept_time=self.policy.accept_time,
            settle_time=settle_time,
        )
        return tasks, verdict, waited if state is None else certain_age(state, sent_at, waited)

    async def scan(
        self,
        start: StartRequest,
        search: Search,
        delays: tuple[float, ...] | None = None,
        *,
        settle: bool = False,
        page_timeout: float = SHORT_PAGE_TIMEOUT,
        pending: list[AcceptedTask] | None = None,
    ) -> A2EError | None:
        """Scan at each of the delays, until all tasks of a start are found.

        Args:
            start: The start.
            search: The search for its tasks.
            delays: Seconds, by default `StartPolicy.scan_delays`.
            settle: Go on until A2E surely has not accepted the start.
            page_timeout: Seconds for each page of the list.
            pending: If the start was sent here, the tasks that it has made so far: a cancellation tells how to find the
                others. None before it is sent, so that only an earlier start with its key can be in the list.

        Returns:
            The error of the last scan, None if that worked.
        """
        delays = self.policy.scan_delays if delays is None else delays
        claim = start.claim if settle and pending is None else None
        api = self.api if pending is None else None
        began, failures = self._loop.time(), 0
        error: A2EError | None = None
        later = itertools.count(delays[-1] + _SCAN_INTERVAL, _SCAN_INTERVAL) if settle else ()
        with _reported(start, pending):
            for delay in itertools.chain(delays, later):
                await asyncio.sleep(began + delay - self._loop.time())
                if claim is not None:
                    await claim.load()  # the process that sent the start may know its outcome by now
                scan_began, state = self._loop.time(), None
                try:
                    state = await self.reconciler(start.family).scan(search, page_timeout=page_timeout, api=api)
                    error, failures = None, 0
                except A2EError as caught:
                    error, failures = caught, failures + 1
                # Case 1: found, in this scan or in one that it shared.
                if len(search.found) >= start.count:
                    break
                # Case 2: no more scans. An error that is not transient, such as a wrong token, would only come again.
                if error is not None and (not failure_of(error).transient or failures >= len(delays)):
                    break
                # Case 3: the process that sent the start has written its outcome to the store of keys.
                if claim is not None and error is None:
                    self.add_known(start, claim)
                    if not claim.is_open:
                        break
                # Case 4: A2E must have listed the task, or surely has not accepted the start.
                if settle and self._judge(state, start, claim, scan_began) is Verdict.ABSENT:
                    break
        return error

    def _judge(
        self, state: ListState | None, start: StartRequest, claim: KeyClaim | None, scan_began: float
    ) -> Verdict:
        """Return what a scan tells about the last start of this process, or about the one that a claim waits for."""
        accept_time, settle_time = self.settle_time(with_key=claim is not None)
        sent_at, since = start.last_sent.latest, start.last_sent.monotonic
        if claim is not None:
            sent_at, since = math.inf if claim.entry is None else claim.entry.sent_at, claim.seen_at
        return judge(
            state,
            found=False,
            sent_at=sent_at,
            waited=scan_began - since,
            accept_time=accept_time,
            settle_time=settle_time,
        )

    def add_known(self, start: StartRequest, claim: KeyClaim) -> None:
        """Add the tasks that the store of keys knows to the index."""
        if claim.entry is not None:
            now = self.now()
            age = now.earliest - claim.entry.sent_at
            seen_at = now.monotonic - (max(0.0, age) if math.isfinite(age) else 0.0)
            for task_id in claim.entry.task_ids:
                self.reconciler(start.family).add_known(start.marker, task_id, seen_at)


@contextlib.contextmanager
def _reported(start: StartRequest, pending: list[AcceptedTask] | None) -> Iterator[None]:
    """Context manager that reports a cancelled start which was sent before."""
    try:
        yield
    except asyncio.CancelledError as cancelled:
        if pending is not None:
            start.report_cancelled(pending, cancelled)
        raise

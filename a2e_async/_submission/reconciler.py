"""The reconciler finds the task of a start in A2E's list, by the marker in the task's name."""

# How it works: a `Reconciler` reads ("scans") the list of one family, page by page.
#
# - Each record with a marker goes into the family's `MarkerIndex`, which passes it on to every open `Search`. So one
#   scan serves all searches that are open at the same time, and scans never run in parallel.
# - A scan reads back to the earliest start that is searched for. The first search for a key reads the whole list.
#   Later ones read only the newest records, since the index holds the others.
# - A2E's list can be late (a new task is missing from it for a while), can shift (a deletion moves records to a page
#   that was read already), and can have gaps (it counts more records than it shows, or comes from a cache). So each
#   scan overlaps with the one before, and is repeated if the list was not read whole.
# - How far back a scan reads is a time of A2E's clock, as the records have it: the clocks of this machine may stand
#   still or be set.
# - A task that the index holds and the list no longer shows is adopted, unless three sources agree that it is gone:
#   A2E's detail page, the time since A2E last showed it, and a scan of the whole list (`_is_gone`).
#
# `evidence.py` has the rules for what a scan proves, `markers.py` those for names. `submitter.py` decides when to scan.

import asyncio
import contextlib
import copy
import logging
import math
from collections.abc import Iterator

from a2e_async._protocol import responses
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.pagination import PageReader, page_request
from a2e_async._protocol.responses import AcceptedTask
from a2e_async._submission.evidence import ListReading, ListState
from a2e_async._submission.markers import MarkerIndex, Search
from a2e_async._transport.api import ApiTransport
from a2e_async.errors import A2EError, NetworkError, NotFoundError, UnexpectedResponseError

_LOGGER = logging.getLogger("a2e_async")

_MAX_LISTING_DELAY = 120.0  # seconds by which a new task may be late in the list; each scan overlaps by so much
_TRUST_SEEN_FOR = 600.0  # seconds after A2E last showed a task in which a "not found" is not believed
_MAX_SCANS = 3  # how often a list is read, if records are deleted from it meanwhile or are missing

PAGE_TIMEOUT = 120.0  # seconds for one page of the list, where no start waits for the result


class Reconciler:
    """Reader of the list of one family. Belongs to one event loop; its index may be older than the loop."""

    def __init__(self, api: ApiTransport, family: Family, index: MarkerIndex) -> None:
        self.api, self.family, self._index = api, family, index
        self._lock, self._loop = asyncio.Lock(), asyncio.get_running_loop()
        self._scans_begun = 0  # scans are numbered, from 1
        self._last_complete = 0  # number of the last scan that was read to its end
        self._last_complete_since = math.inf  # how far back that scan went, in A2E's clock
        self._last_state = ListState()
        self._last_failed = 0
        self._failure: A2EError | None = None

    @contextlib.contextmanager
    def search(self, *markers: str, since: float | None = None) -> Iterator[Search]:
        """Search for the tasks with any of these markers, as long as the block lasts.

        Args:
            markers: The markers that a task's name can end with.
            since: When the first of the tasks can have been created, in A2E's clock; None for all tasks that A2E still
                lists.
        """
        indexed = self._index.complete_since - _MAX_LISTING_DELAY
        search = Search(frozenset(markers), indexed if since is None else since)
        self._index.open(search)
        try:
            yield search
        finally:
            self._index.close(search)

    async def scan(self, search: Search, *, page_timeout: float, api: ApiTransport | None = None) -> ListState | None:
        """Read the list as far back as any open search needs, or share a scan that began after this call.

        Args:
            search: The search to serve.
            page_timeout: Seconds for each page, retries included.
            api: Another sender, such as that of a view of the client. Its errors are not shared, as its limits are not.

        Returns:
            How new the list is; None if it was not read whole, but shows a task of this search nevertheless.

        Raises:
            A2EError: The list could not be read whole.
        """
        try:
            return await self._scan(search, page_timeout, api or self.api)
        except UnexpectedResponseError:
            # a list that proves no absence, because it has gaps or comes from a cache, still proves a presence
            if search.found:
                return None
            raise

    async def _scan(self, search: Search, page_timeout: float, api: ApiTransport) -> ListState:
        # a number instead of a time, since two scans can begin within one tick of a coarse clock
        begun_before = self._scans_begun
        async with self._lock:
            # Case 1: another scan began after this call, is complete and went back far enough. Its records are in
            # `search.found` already.
            if self._last_complete > begun_before and self._last_complete_since <= search.since:
                return self._last_state
            # Case 2: another scan began after this call and failed. A2E would fail again, and hundreds of waiting
            # searches would try one after the other: all of them get the same error.
            if self._failure is not None and self._last_failed > begun_before:
                raise copy.copy(self._failure)
            # Case 3: scan now. A scan that began before this call does not count, since it may have read the first
            # page before the task was listed.
            self._scans_begun += 1
            number, searches, since = self._scans_begun, self._index.searches(), self._index.earliest()
            try:
                state = await self._read_list(since, page_timeout, api)
            except A2EError as error:
                if api is self.api:
                    self._last_failed, self._failure = number, copy.copy(error)
                raise
            self._last_complete, self._last_complete_since, self._failure = number, since, None
            self._last_state = state
            # only a scan that overlaps with the one before leaves no gap in the index
            if since <= self._index.complete_since - _MAX_LISTING_DELAY:
                self._index.complete_since = max(self._index.complete_since, state.newest)
            # the next scan for the same searches need not go back further than what this one cannot have shown
            for served in searches:
                served.since = max(served.since, state.newest - _MAX_LISTING_DELAY)
            return state

    async def _read_list(self, since: float, page_timeout: float, api: ApiTransport) -> ListState:
        """Read the list back to `since`, and read it again if a record can have been missed."""
        if self.family.list is None:
            msg = f"A2E has no list of {self.family.title}: a task cannot be found by its marker"
            raise UnexpectedResponseError(msg)
        made_after = self.api.throttled.server_clock.date
        earlier: frozenset[str] = frozenset()
        problem = ""
        for _ in range(_MAX_SCANS):
            pages = PageReader(self.family.list.path, paging=self.family.paging, thorough=True)
            reading = ListReading(pages, since, made_after, earlier)
            while not reading.ended:
                envelope = await self._read_page(reading.next_request(), page_timeout, api)
                now = self._loop.time()  # one number for all tasks of the page, of which there can be very many
                for record in reading.read(envelope):
                    if duplicates := self._index.add_record(record, now):
                        _warn_of_duplicates(duplicates)
            problem = reading.problem
            if not problem:
                return reading.state
            earlier = frozenset(pages.ids) if pages.total is None else frozenset()
        msg = (
            f"A2E's list of {self.family.title} {problem}, in each of {_MAX_SCANS} scans: a task that was not found "
            "may still be there. Try again later"
        )
        raise UnexpectedResponseError(msg, status=200)

    async def read_clock(self) -> None:
        """Read one record of the list, for the time of A2E's clock in the response."""
        async with self._lock:  # several starts that begin at once send one request
            if self.family.list is not None and self.api.throttled.server_clock.date is None:
                first = page_request(self.family.list.path, 1, 1, self.family.paging)
                await self._read_page(first, PAGE_TIMEOUT, self.api)

    async def _read_page(self, request: Request, page_timeout: float, api: ApiTransport) -> Envelope:
        assert self.family.list is not None  # noqa: S101  for mypy: `_read_list` has checked it
        try:
            async with asyncio.timeout(page_timeout):
                envelope = await api.call(self.family.list, params=request.params, repeatable=True)
        except TimeoutError:
            msg = f"A2E did not send its list of {self.family.title} within {page_timeout:g} s"
            raise NetworkError(msg) from None
        # a list without any names would look as if no task had a marker, and the start would be sent again
        responses.check_list(envelope, None if self.family.lists_names else self.family.name_field)
        return envelope

    async def adopt(self, search: Search, *, api: ApiTransport | None = None) -> list[AcceptedTask]:
        """Return the tasks that a search has found.

        A task that is known only from the index is read from A2E first, and forgotten if A2E no longer has it.
        """
        tasks = []
        for task_id, raw in search.found.items():
            task = AcceptedTask(task_id, raw, adopted=True)
            if raw is None and await self._is_gone(task, search, api or self.api):
                self.forget(task_id)
            else:
                tasks.append(task)
        return tasks

    async def _is_gone(self, task: AcceptedTask, search: Search, api: ApiTransport) -> bool:
        """Read the record of a task into `task.raw`, and tell whether A2E has deleted the task.

        A wrong "yes" would free the idempotency key of a task that exists, and the next start would pay again. So any
        response that is not clear means "no".
        """
        try:
            envelope = await api.call(self.family.detail, task.id, repeatable=True)
            task.raw, task.trace_id = responses.detail(envelope, task.id), envelope.trace_id
        except NotFoundError:
            # Case 1: A2E showed the task minutes ago. One of its servers may be behind the others.
            if self._loop.time() - self._index.last_seen_at(task.id) < _TRUST_SEEN_FOR:
                return False
        except A2EError:
            # Case 2: A2E could not answer, which says nothing about the task.
            return False
        else:
            # Case 3: A2E has the task.
            return False
        # Case 4: A2E does not know the id, and has not shown the task for long. A scan of the whole list decides.
        with contextlib.suppress(A2EError), self.search(*search.markers, since=-math.inf) as full:
            state = await self.scan(full, page_timeout=PAGE_TIMEOUT, api=api)
            task.raw = full.found.get(task.id)
            return state is not None and task.raw is None
        return False

    def add_accepted(self, marker: str, tasks: list[AcceptedTask], count: int) -> None:
        """Add the tasks of a start to the index. Their names need not be in A2E's response."""
        for task in tasks if marker else ():
            if task.raw is not None and (
                duplicates := self._index.add(marker, task.raw, self._loop.time(), count=count)
            ):
                _warn_of_duplicates(duplicates)

    def marker_of(self, task_id: str) -> str:
        """Return the marker of a task that A2E has shown, an empty text if it is not known."""
        return self._index.marker_of(task_id)

    def add_known(self, marker: str, task_id: str, seen_at: float) -> None:
        """Add a task that another process has started to the index."""
        self._index.add_known(marker, task_id, seen_at)

    def forget(self, task_id: str) -> None:
        """Remove a task that was deleted from the index."""
        self._index.forget(task_id)


def _warn_of_duplicates(ids: tuple[str, ...]) -> None:
    _LOGGER.warning("More tasks than were started have the same marker, all may be charged: %s", ", ".join(ids))

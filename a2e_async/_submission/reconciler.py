"""Looks for tasks in A2E's list, for all who search at the same time, and remembers which task carries which marker.

What a record means for a search is decided by `_submission/markers.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import attrs

from a2e_async._protocol import responses
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.pagination import Pages
from a2e_async._submission import markers
from a2e_async._submission.markers import Register, Search
from a2e_async._transport.endpoints import Router
from a2e_async.errors import A2EError, NetworkError, NotFoundError, UnexpectedResponseError

__all__ = ["WITHIN", "Lookout", "Task"]

_LOGGER = logging.getLogger("a2e_async")

_LATE = 120.0
"""Seconds by which a task may be late in the list; so much of what was read before is read again."""

_FRESH = 600.0
"""Seconds for which a task that A2E has shown is not believed to be gone, whatever A2E says."""

WITHIN = 120.0
"""Seconds for a page of the list, where nobody is in a hurry."""

_AGAIN = 3
"""How often a list is read that is deleted from meanwhile."""


@attrs.define(eq=False)  # one is made for each start, and frozen costs more to make
class Task:
    """A task that was paid for.

    Attributes:
        id: A2E's id.
        raw: The record as A2E showed it, or None if it could not be had.
        trace_id: A2E's name for the exchange.
        adopted: It was found in A2E's list, and not started just now.
    """

    id: str
    raw: dict[str, Any] | None = attrs.field(default=None, repr=False)
    trace_id: str = ""
    adopted: bool = False


@attrs.define(eq=False, repr=False)
class Lookout:
    """Reads the list of one family, one reader at a time. Belongs to one event loop; its register may be older."""

    router: Router
    family: Family
    _register: Register
    _reading: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    _begun: int = 0
    _last_read: int = 0
    _read_since: float = math.inf
    _last_failed: int = 0
    _failure: A2EError | None = None

    def __attrs_post_init__(self) -> None:
        """Begin with a list that was never read: another event loop can have another clock."""
        self._register.complete_since = -math.inf

    @contextlib.contextmanager
    def search(self, *markers: str, since: float | None = None) -> Iterator[Search]:
        """Search for tasks with any of these markers, as long as the block lasts.

        Args:
            markers: What their names can end with.
            since: When the first of them can have been made; None for whatever A2E still shows.
        """
        known = self._register.complete_since - _LATE
        search = Search(frozenset(markers), known if since is None else since)
        self._register.open(search)
        try:
            yield search
        finally:
            self._register.close(search)

    async def look(self, search: Search, *, within: float) -> None:
        """Read the list as far back as anybody searches, unless somebody else has begun to do so after we came.

        Args:
            search: Who looks.
            within: Seconds for each page, repeats included.

        Raises:
            A2EError: The list could not be read.
        """
        came = self._begun  # a number and no time: two readings can begin in one tick of a coarse clock
        async with self._reading:
            if self._last_read > came and self._read_since <= search.since:
                return
            if self._failure is not None and self._last_failed > came:
                raise copy.copy(self._failure)
            self._begun += 1
            number, began, since = self._begun, self._loop.time(), self._register.earliest()
            try:
                await self._read(since, within)
            except A2EError as error:
                self._last_failed, self._failure = number, copy.copy(error)
                raise
            self._last_read, self._read_since, self._failure = number, since, None
            if since <= self._register.complete_since - _LATE:
                self._register.complete_since = began

    async def _read(self, since: float, within: float) -> None:
        """Read the list back to `since`, again if something can have slipped through."""
        if self.family.list is None:
            msg = f"A2E has no list of {self.family.title}, so that nothing can be found there"
            raise UnexpectedResponseError(msg)
        for _ in range(_AGAIN):
            pages = Pages(self.family.list.path, paging=self.family.paging)
            while not pages.ended:
                envelope = await self._page(pages.next(), within)
                for record in pages.take(envelope):
                    _warn_of_duplicates(self._register.note(record, self._loop.time()))
                horizon = markers.horizon(envelope, age=self._loop.time() - since, wall=time.time())
                if markers.is_past(responses.records(envelope.data), horizon):
                    break
            if not pages.shrank:
                return
        msg = "A2E's list is deleted from while it is read, so that what is not on it may be there"
        raise UnexpectedResponseError(msg)

    async def _page(self, request: Request, within: float) -> Envelope:
        assert self.family.list is not None  # noqa: S101  for mypy: seen by `_read`
        try:
            async with asyncio.timeout(within):
                envelope = await self.router.send(self.family.list, params=request.params, repeatable=True)
        except TimeoutError:
            msg = f"A2E's list did not come within {within:g} s"
            raise NetworkError(msg) from None
        responses.check_list(envelope, None if self.family.shows_names else self.family.name)
        return envelope

    async def adopt(self, search: Search) -> list[Task]:
        """Return what was found. What A2E did not show just now is asked for, and forgotten if it is gone."""
        tasks = []
        for task_id, raw in search.found.items():
            task = Task(task_id, raw, adopted=True)
            if raw is None and await self._is_gone(task, search):
                self.forget(task_id)
            else:
                tasks.append(task)
        return tasks

    async def _is_gone(self, task: Task, search: Search) -> bool:
        """Ask for the record of a task, and tell whether A2E has it no more. One odd answer does not tell."""
        try:
            envelope = await self.router.send(self.family.detail, task.id, repeatable=True)
            task.raw, task.trace_id = responses.detail(envelope, task.id), envelope.trace_id
        except NotFoundError:
            if self._loop.time() - self._register.shown_at(task.id) < _FRESH:
                return False
        except A2EError:
            return False
        else:
            return False
        with contextlib.suppress(A2EError), self.search(*search.markers, since=-math.inf) as again:
            await self.look(again, within=WITHIN)
            task.raw = again.found.get(task.id)
            return task.raw is None
        return False

    def note(self, marker: str, tasks: list[Task], count: int) -> None:
        """Remember what was started with a marker, whatever A2E's answer repeats of the name."""
        for task in tasks if marker else ():
            if task.raw is not None:
                _warn_of_duplicates(self._register.add(marker, task.raw, self._loop.time(), count=count))

    def forget(self, task_id: str) -> None:
        """Take no longer note of a task that is gone."""
        self._register.forget(task_id)


def _warn_of_duplicates(ids: tuple[str, ...]) -> None:
    if ids:
        _LOGGER.warning("More tasks than were ordered carry one marker, and all may be paid: %s", ", ".join(ids))

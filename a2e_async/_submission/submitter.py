"""One paid POST, started exactly once: posts, looks, adopts. `_submission/markers.py` decides what an answer means.

The law: a start is sent again only if it surely was not accepted. If nobody knows, A2E's list is looked through for the
marker in its name, and the task that carries it is adopted.
"""

from __future__ import annotations

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

from a2e_async._aio import SeenThrough
from a2e_async._protocol import failures, responses
from a2e_async._protocol.endpoints import Route, is_wrong_route
from a2e_async._protocol.failures import Outcome, is_passing
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._submission import markers
from a2e_async._submission.markers import Register, Search
from a2e_async._submission.reconciler import WITHIN, Lookout, Task
from a2e_async._transport.endpoints import Router
from a2e_async.config import StartPolicy
from a2e_async.errors import A2EError, NetworkError, SubmissionUncertainError

__all__ = ["Memory", "Order", "Submitter"]

_LOGGER = logging.getLogger("a2e_async")

_UNSURE = "The start was cancelled, and nobody knows whether A2E accepted it"

_WITHIN = 20.0
"""Seconds for a page of A2E's list, while somebody waits for the outcome of a start; there are several looks."""


@attrs.define(eq=False)  # one is made for each start, and frozen costs more to make
class Order:
    """One start.

    Attributes:
        family: Where to send it.
        count: How many tasks it makes.
        resend: Whether to send once more if nobody knows what became of it.
        on_late: Is told what A2E made of a start whose caller was cancelled meanwhile.
    """

    family: Family
    count: int = 1
    resend: bool = False
    on_late: Callable[[list[Task]], None] | None = None


@attrs.define(eq=False, repr=False)
class Memory:
    """What must not be forgotten when an event loop ends and another one begins.

    Attributes:
        registers: What A2E has shown of each family.
        unsettled: Idempotency keys that may have been started, and since when.
        known: How A2E spells its operations, see `Router`.
        warned: Paths that nobody has to be warned of again.
    """

    registers: dict[Family, Register] = attrs.field(factory=dict)
    unsettled: dict[tuple[Family, str], float] = attrs.field(factory=dict)
    known: dict[Route, Route] = attrs.field(factory=dict)
    warned: set[str] = attrs.field(factory=set)


@attrs.define(eq=False, repr=False)
class Submitter:
    """Starts. Belongs to one event loop."""

    router: Router
    policy: StartPolicy
    memory: Memory
    _lookouts: dict[Family, Lookout] = attrs.field(factory=dict)
    _keys: weakref.WeakValueDictionary[tuple[Family, str], asyncio.Lock] = attrs.field(
        factory=weakref.WeakValueDictionary
    )
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)

    def start(self, order: Order, body: dict[str, Any], marker: str | None = None) -> Awaitable[list[Task]]:
        """Start a task, or several with one request, and return what was started or found, when awaited.

        Args:
            order: What is known of the start.
            body: What to send; the marker is put into its ``name``.
            marker: By default a random one, if names are marked. Another one must never have been sent before, or
                `settle` must have found nothing.

        Raises:
            SubmissionUncertainError: Nobody knows whether it was accepted, and it is not in A2E's list.
            A2EError: It was not accepted.
        """
        if marker is None:
            is_marked = self.policy.mark_names and order.family.is_searchable
            marker = markers.marker_of(os.urandom(10)) if is_marked else ""
        return self._buy(order, body, marker)

    def settle(self, order: Order, marker: str, age: float) -> Awaitable[list[Task]]:
        """Look for the tasks of a start that an earlier process has sent, a few times if that was just now.

        Args:
            order: What is known of the start.
            marker: What it was marked with.
            age: Seconds since it was sent.

        Raises:
            A2EError: A2E's list could not be read.
        """
        is_fresh = age < self.policy.looks[-1]
        return self._look_for_key(order, marker, self._loop.time() - age if is_fresh else None)

    async def start_once(self, order: Order, key: str, prepare: Callable[[], Awaitable[dict[str, Any]]]) -> list[Task]:
        """Return the tasks of an idempotency key, or start them if A2E shows none.

        Args:
            order: What is known of the start.
            key: The same key always means the same job.
            prepare: Makes the body if it is needed, which can cost an upload.

        Raises:
            A2EError: As in `start`.
        """
        marker = markers.marker_of_key(key)
        mine, unsettled = (order.family, marker), self.memory.unsettled
        async with self._keys.setdefault(mine, asyncio.Lock()):
            found = await self._look_for_key(order, marker, unsettled.get(mine))
            if found:
                unsettled.pop(mine, None)
                return found
            body = await prepare()
            earlier = unsettled.setdefault(mine, now := self._loop.time())
            try:
                made = await self._buy(order, body, marker)
            except SubmissionUncertainError:
                raise
            except A2EError:  # surely not accepted, which says nothing about an earlier start
                if earlier == now:
                    del unsettled[mine]
                raise
            del unsettled[mine]
            self.lookout(order.family).note(marker, made, order.count)
            return made

    async def pay(
        self,
        route: Route,
        id: str | None = None,
        *,
        json: dict[str, Any] | None = None,
        advice: str,
        on_late: Callable[[Envelope], None] | None = None,
        again: bool = True,
    ) -> Envelope:
        """Send something that can cost coins and makes no task of its own; again only if it surely was not accepted.

        Args:
            route: The operation.
            id: What it is about.
            json: The body.
            advice: What to do if nobody knows whether it was accepted.
            on_late: Is told what A2E answered if the caller was cancelled meanwhile.
            again: Whether it may be sent again at all.

        Raises:
            SubmissionUncertainError: Nobody knows whether it was accepted.
            A2EError: It was not accepted.
        """
        sent_at = self._loop.time()

        async def send() -> Envelope:
            return await self.router.send(route, id, json=json, paid=True)

        async def send_once() -> Envelope:
            sending = SeenThrough(send())
            try:
                return await sending
            except asyncio.CancelledError:
                if on_late is not None and not sending.unbegun and sending.task.exception() is None:
                    on_late(sending.task.result())
                raise

        try:
            if again:
                return await self.router.api.retry.run(send_once, failures.may_send_again)
            return await send_once()
        except A2EError as error:
            if failures.outcome(error) is not Outcome.UNKNOWN or is_wrong_route(error, route, paid=True):
                raise
            _raise_uncertain(f"request {route.path}", "", self._loop.time() - sent_at, error, advice)

    async def find(self, family: Family, marker_or_key: str) -> list[Task]:
        """Look through A2E's list for the tasks with a marker, the oldest first."""
        lookout = self.lookout(family)
        with lookout.search(*markers.markers_asked(marker_or_key)) as search:
            await lookout.look(search, within=WITHIN)
        return await lookout.adopt(search)

    def lookout(self, family: Family) -> Lookout:
        """Return who looks for the tasks of a family."""
        found = self._lookouts.get(family)
        if found is None:
            register = self.memory.registers.setdefault(family, Register(name=family.name or ""))
            found = self._lookouts[family] = Lookout(self.router, family, register)
        return found

    # starting

    async def _buy(self, order: Order, body: dict[str, Any], marker: str) -> list[Task]:
        """Send, and find out what became of it."""
        if marker:
            field, longest = order.family.name or "", order.family.longest_name
            body[field] = markers.mark(body[field], marker, order.count, longest)
        request = Request(method="POST", path=order.family.start, json=body, paid=True)
        sent_at = self._loop.time()
        try:
            return await self._post(order, request, marker)
        except A2EError as error:
            first = error
        try:
            return await self._send_again(first, order, request, marker)
        except A2EError as error:
            if failures.outcome(error) is not Outcome.UNKNOWN:
                raise
            trouble = error
        return await self._settle(order, marker, sent_at, trouble, request)

    async def _settle(
        self, order: Order, marker: str, sent_at: float, trouble: A2EError, request: Request
    ) -> list[Task]:
        """Find the task of a start whose answer got lost."""
        if not marker:
            _give_up(marker, self._loop.time() - sent_at, trouble, None, listed=order.family.list is not None)
        lookout = self.lookout(order.family)
        with lookout.search(marker, since=sent_at) as search:
            looking = await self._look_again(order, marker, search)
        if not search.found and looking is None and order.resend:
            return await self._resend(order, marker, sent_at, trouble, request)
        if not search.found:
            _give_up(marker, self._loop.time() - sent_at, trouble, looking)
        ids = ", ".join(search.found)
        _LOGGER.warning(
            "The answer to a start got lost; marker %s found its task %s: nothing is paid twice", marker, ids
        )
        if len(search.found) < order.count:
            _LOGGER.warning("Of %d videos of the start %s only %s are shown", order.count, marker, ids)
        return await lookout.adopt(search)

    async def _resend(
        self, order: Order, marker: str, sent_at: float, trouble: A2EError, request: Request
    ) -> list[Task]:
        _LOGGER.warning(
            "The answer to a start got lost, and A2E shows no task with marker %s: sending once more", marker
        )
        made: list[Task] = []
        lookout = self.lookout(order.family)
        try:
            made = await self.router.api.retry.run(lambda: self._post(order, request, marker), failures.may_send_again)
            lookout.note(marker, made, order.count)
            with contextlib.suppress(A2EError), lookout.search(marker, since=sent_at) as search:
                await lookout.look(search, within=_WITHIN)  # a duplicate is noticed here, if it is shown by now
        except A2EError as error:  # whatever it says, nobody knows what became of the first one
            error.__cause__ = trouble
            _give_up(marker, self._loop.time() - sent_at, error, None)
        except asyncio.CancelledError as cancelled:
            if made and order.on_late is not None:
                order.on_late(made)
            _tell(_accepted(made) if made else f"{_UNSURE}: {_clue(marker)}", cancelled)
            raise
        return made

    async def _send_again(self, first: A2EError, order: Order, request: Request, marker: str) -> list[Task]:
        """Send a start again, but only if it surely was not accepted; else raise `first`."""
        if not failures.may_send_again(first):
            raise first
        return await self.router.api.retry.go_on(
            first, lambda: self._post(order, request, marker), failures.may_send_again
        )

    async def _post(self, order: Order, request: Request, marker: str) -> list[Task]:
        """Send once. Cancelled meanwhile, see what came of it before giving in."""
        paced = self.router.api.paced
        if not paced.take_place():
            await paced.wait_for_place(paid=True)
        sending = SeenThrough(paced.exchange(request))
        try:
            return _made(await sending)
        except asyncio.CancelledError as cancelled:
            if sending.unbegun:
                paced.give_back()
            else:
                self._report(order, marker, sending.task, cancelled)
            raise

    def _report(
        self, order: Order, marker: str, sent: asyncio.Task[Envelope], cancelled: asyncio.CancelledError
    ) -> None:
        """Log what became of a start that was cancelled, so that what was paid is not lost."""
        try:
            made = _made(sent.result())
            self.lookout(order.family).note(marker, made, order.count)
            if order.on_late is not None:
                order.on_late(made)
            msg = _accepted(made)
        except A2EError as error:
            if failures.outcome(error) is not Outcome.UNKNOWN:
                return
            msg = f"{_UNSURE}: {_clue(marker)}"
        except asyncio.CancelledError:  # somebody has found the request itself, and has cancelled that
            msg = f"{_UNSURE}: {_clue(marker)}"
        _tell(msg, cancelled)

    # looking

    async def _look_for_key(self, order: Order, marker: str, unsettled: float | None) -> list[Task]:
        """Look for a task with this key, a few times if nobody knows what became of an earlier start with it."""
        lookout = self.lookout(order.family)
        try:
            with lookout.search(marker) as search:
                if unsettled is None:
                    await lookout.look(search, within=WITHIN)
                else:
                    search.since = min(search.since, unsettled)
                if unsettled is not None or 0 < len(search.found) < order.count:
                    trouble = await self._look_again(order, "", search)
                    if trouble is not None and not search.found:
                        raise trouble
        except NetworkError as error:
            msg = f"Nothing was started, since A2E's list could not be looked through for the key: {error}"
            raise NetworkError(msg, request_sent=False) from error
        return await lookout.adopt(search)

    async def _look_again(self, order: Order, marker: str, search: Search) -> A2EError | None:
        """Look a few times until everything is found; return why the last look did not work, None if it did."""
        began = self._loop.time()
        trouble: A2EError | None = None
        try:
            for after in self.policy.looks:
                await asyncio.sleep(began + after - self._loop.time())
                try:
                    await self.lookout(order.family).look(search, within=_WITHIN)
                    trouble = None
                except A2EError as error:
                    trouble = error
                if len(search.found) >= order.count or (trouble is not None and not is_passing(trouble)):
                    break
        except asyncio.CancelledError as cancelled:
            if marker:
                _tell(f"{_UNSURE}: {_clue(marker)}", cancelled)
            raise
        return trouble


def _made(envelope: Envelope) -> list[Task]:
    return [Task(responses.id_of(raw), raw, envelope.trace_id) for raw in responses.started(envelope)]


def _give_up(marker: str, age: float, trouble: A2EError, looking: A2EError | None, *, listed: bool = True) -> Never:
    if not listed:
        advice = "A2E has no list in which it could be looked for: starting it again may pay twice"
    elif not marker:
        advice = "It has no marker to look for: look at list() before you start it again"
    elif looking is None:
        advice = f"A2E shows no task with marker {marker}: await find({marker!r}) later, before you start it again"
    else:
        advice = f"A2E's list could not be read ({looking}): await find({marker!r}) before you start it again"
    _raise_uncertain("start", marker, age, trouble, advice)


def _raise_uncertain(what: str, marker: str, age: float, trouble: A2EError, advice: str) -> Never:
    sent_at = dt.datetime.fromtimestamp(time.time(), dt.UTC) - dt.timedelta(seconds=age)
    msg = f"Nobody knows whether A2E accepted the {what} of {sent_at:%Y-%m-%d %H:%M:%S} UTC: {trouble}. {advice}"
    raise SubmissionUncertainError(msg, marker=marker, sent_at=sent_at) from trouble


def _accepted(tasks: list[Task]) -> str:
    ids = ", ".join(task.id for task in tasks)
    return f"The start was cancelled after A2E had accepted it: task {ids} goes on and is paid"


def _tell(msg: str, cancelled: asyncio.CancelledError) -> None:
    _LOGGER.warning("%s", msg)
    cancelled.add_note(msg)


def _clue(marker: str) -> str:
    return f"find({marker!r}) tells" if marker else "only list() can tell, since names are not marked"

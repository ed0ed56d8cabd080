"""What all resources stand on: the parts of the client, how an operation is called, and how tasks are asked about.

What asks about tasks holds on to the API and to nothing else of the client, so that the poller keeps no forgotten
client alive.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable, Mapping, MutableSet
from typing import Any, TypeVar

import attrs

from a2e_async._polling.fetcher import Questions
from a2e_async._polling.poller import Poller
from a2e_async._polling.schedule import BATCH
from a2e_async._protocol import responses
from a2e_async._protocol.converter import languages_in, to_record
from a2e_async._protocol.endpoints import Route, is_wrong_route
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.pagination import page_request
from a2e_async._protocol.validation import check_text, path_of
from a2e_async._submission.submitter import Submitter
from a2e_async._transport.endpoints import Router
from a2e_async._transport.retry import Api
from a2e_async.errors import A2EError, EndpointNotAvailableError, NotFoundError, UnpublishedEndpointWarning
from a2e_async.files.storage import Files
from a2e_async.models.common import TaskRecord
from a2e_async.models.voices import Language

__all__ = ["Group", "Languages", "Parts", "about", "questions_of", "to_records"]


@attrs.frozen(kw_only=True)
class Parts:
    """What a client is made of, for one event loop."""

    base_url: str
    api: Api
    router: Router
    files: Files
    poller: Poller
    submitter: Submitter
    loop: asyncio.AbstractEventLoop
    warned: MutableSet[str]


class about:  # noqa: N801  used like a function; a class is half the cost of contextlib's, once a question
    """Puts the id of the task on whatever is raised."""

    __slots__ = ("task_id",)

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Mark an error of ours."""
        if isinstance(error, A2EError) and isinstance(self.task_id, str):
            error.task_id = self.task_id


class Group:
    """One group of A2E's documentation."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        """Take the function that gives the parts for the running event loop."""
        self._parts = parts

    def _send(self, request: Request) -> Awaitable[Envelope]:
        return self._parts().api.send(request)

    def _ask(
        self,
        route: Route,
        id: str | None = None,
        *,
        json: dict[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Awaitable[Envelope]:
        """Call what costs nothing and changes nothing, so that it may be asked again."""
        return self._parts().router.send(route, id, json=json, params=params, repeatable=True)

    def _tell(self, route: Route, id: str | None = None, *, json: dict[str, Any] | None = None) -> Awaitable[Envelope]:
        """Call what costs nothing and changes something: once."""
        return self._parts().router.send(route, id, json=json)

    def _warn_of(self, route: Route, *, stacklevel: int = 3) -> None:
        """Warn once of an operation that A2E names and does not describe."""
        warned = self._parts().warned
        if route.path not in warned:
            warned.add(route.path)
            msg = f"A2E has not published {route.method} {route.path}: its path and its fields are guesses"
            warnings.warn(msg, UnpublishedEndpointWarning, stacklevel=stacklevel)

    async def _guess(
        self,
        route: Route,
        path: str | None,
        id: str | None = None,
        *,
        json: dict[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        advice: str | None = None,
        stacklevel: int = 3,
    ) -> Envelope:
        """Call an operation that A2E names and does not describe.

        Args:
            route: The reference's guess.
            path: The caller's own path instead of it.
            id: What it is about.
            json: The body.
            params: The query.
            advice: If it can cost coins, what to do if nobody knows whether it was accepted.
            stacklevel: Who is warned: by default, who has called our caller.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
        """
        self._warn_of(route, stacklevel=stacklevel + 1)
        chosen = route if path is None else attrs.evolve(route, path=path_of(path), older=None)
        paid = advice is not None
        try:
            if advice is not None:
                return await self._parts().submitter.pay(chosen, id, json=json, advice=advice)
            return await self._parts().router.send(
                chosen, id, json=json, params=params, repeatable=chosen.method == "GET"
            )
        except A2EError as error:
            if not (is_wrong_route(error, chosen, paid=paid) or (isinstance(error, NotFoundError) and not paid)):
                raise
            msg = (
                f"A2E does not know {chosen.method} {chosen.path}, which it names and never described. If you know "
                f"the right path, give it as path=, or call it by client.request({chosen.method!r}, ...)"
            )
            raise EndpointNotAvailableError(msg, path=chosen.path, task_id=id) from error


R = TypeVar("R", bound=TaskRecord)

_LOGGER = logging.getLogger("a2e_async")


def questions_of(router: Router, family: Family, model: type[R], within: float) -> Questions[R]:
    """Return the questions of a family.

    Args:
        router: Who sends them.
        family: Where its tasks are.
        model: What a task is read as.
        within: Seconds for each answer.
    """
    batch, listing, paging = family.batch, family.list, family.paging

    async def one(task_id: str) -> R:
        envelope = await router.send(family.detail, task_id, within=within)
        return to_record(model, responses.detail(envelope, task_id), family, trace_id=envelope.trace_id)

    async def several(ids: list[str]) -> dict[str, R]:
        assert batch is not None  # noqa: S101  for mypy: else it is not asked
        return await read(await router.send(batch, json={"ids": ids}, within=within))

    async def page(number: int) -> dict[str, R]:
        assert listing is not None  # noqa: S101  as above
        if paging is None and number > 1:
            return {}
        params = page_request("", number, BATCH, paging).params
        return await read(await router.send(listing, params=params, within=within))

    async def read(envelope: Envelope) -> dict[str, R]:
        await turn.acquire()
        # the next one has its turn in another pass of the event loop, so that many answers at once do not hold it up
        asyncio.get_running_loop().call_soon(turn.release)
        return to_records(model, envelope, family)

    turn = asyncio.Lock()

    return Questions(one=one, several=None if batch is None else several, page=None if listing is None else page)


def to_records(model: type[R], envelope: Envelope, family: Family) -> dict[str, R]:
    """Read all records of an answer, by their ids. One that cannot be read is left out, and spoils no other."""
    found: dict[str, R] = {}
    for raw in responses.records(envelope.data):
        task_id = responses.id_of(raw)
        try:
            found[task_id] = to_record(model, raw, family, trace_id=envelope.trace_id)
        except Exception as error:  # noqa: BLE001  whatever it is
            _LOGGER.error("A record of task %s could not be read: %s", task_id, type(error).__name__)  # noqa: TRY400  the text may quote a prompt
    return found


_LANGUAGES = Route.of("POST anchor/language_list", "GET anchor/language_list")


class Languages(Group):
    """A group that can be asked for the languages."""

    async def languages(self, *, voice_map_type: str | None = None) -> list[Language]:
        """List the languages that voices speak (A2E page "List Available Languages"). Free.

        Args:
            voice_map_type: Only those of a locale, such as ``"en-US"``.

        Raises:
            A2EError: As for any request.
        """
        if voice_map_type is not None:
            check_text("voice_map_type", voice_map_type)
        body = {} if voice_map_type is None else {"voice_map_type": voice_map_type}
        return languages_in((await self._ask(_LANGUAGES, json=body)).data)

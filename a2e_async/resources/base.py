"""Base class of all resources, the services that they use, and the status requests of the poller."""

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableSet
from typing import Any, TypeVar

import attrs

from a2e_async._polling.fetcher import StatusApi
from a2e_async._polling.poller import Poller
from a2e_async._polling.schedule import BATCH_SIZE
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_languages, to_record
from a2e_async._protocol.endpoints import Endpoint, is_unknown_endpoint
from a2e_async._protocol.families import Family
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.pagination import page_request
from a2e_async._protocol.schema import check_text
from a2e_async._protocol.validation import api_path
from a2e_async._submission.submitter import Submitter
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.http import OwnedSession
from a2e_async.errors import A2EError, EndpointNotAvailableError, NotFoundError, UnpublishedEndpointWarning
from a2e_async.files.storage import Files
from a2e_async.models.common import TaskRecord
from a2e_async.models.voices import Language


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Services:
    """Objects that all resources of a client share, for one event loop."""

    base_url: str
    api: ApiTransport
    files: Files
    poller: Poller
    submitter: Submitter
    loop: asyncio.AbstractEventLoop
    warned: MutableSet[str]
    sessions: tuple[OwnedSession, ...]

    @property
    def is_open(self) -> bool:
        """Whether there is a session of ours to close."""
        return any(session.is_open for session in self.sessions)

    def poll_now(self, task_id: str | None) -> bool:
        """Poll a task at once, or all tasks, in the event loop of the waits; return whether there is a wait."""
        if not self.poller.has_waiters(task_id) or not self.loop.is_running():
            return False
        with contextlib.suppress(RuntimeError):  # another thread has closed the loop in this moment
            self.loop.call_soon_threadsafe(self.poller.poll_now, task_id)
        return True

    async def aclose(self) -> None:
        """Close everything, in the event loop of these services if that one still runs."""
        if self.loop is asyncio.get_running_loop():
            await self._close()
        elif self.loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), self.loop))
        else:
            self._close_now()

    def close_sync(self) -> None:
        """Close everything where nothing can be awaited, from any thread."""
        if self.loop.is_running():  # the waits belong to the loop's thread
            self.loop.call_soon_threadsafe(self._close_now)
        else:
            self._close_now()

    async def _close(self) -> None:
        self.api.throttled.close()
        try:
            await self.poller.aclose()
        finally:
            for session in self.sessions:
                await session.aclose()

    def _close_now(self) -> None:
        self.api.throttled.close()
        for session in self.sessions:
            session.close_sync()


@contextlib.contextmanager
def attach_task_id(task_id: str) -> Iterator[None]:
    """Put the id of a task on any `A2EError` that is raised inside."""
    try:
        yield
    except A2EError as error:
        if isinstance(task_id, str):  # an id of a wrong type is the error itself
            error.task_id = task_id
        raise


class Resource:
    """Methods of one group of A2E's documentation."""

    def __init__(self, services: Callable[[], Services]) -> None:
        """Remember the function that returns the services of the running event loop."""
        self._services = services

    def _send(self, request: Request) -> Awaitable[Envelope]:
        return self._services().api.send(request)

    def _read(
        self,
        endpoint: Endpoint,
        id: str | None = None,
        *,
        json: dict[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Awaitable[Envelope]:
        """Call an operation that costs nothing and changes nothing. It is retried."""
        return self._services().api.call(endpoint, id, json=json, params=params, repeatable=True)

    def _write(
        self, endpoint: Endpoint, id: str | None = None, *, json: dict[str, Any] | None = None
    ) -> Awaitable[Envelope]:
        """Call an operation that costs nothing and changes something. It is never retried."""
        return self._services().api.call(endpoint, id, json=json)

    def _warn_undocumented(self, endpoint: Endpoint, *, stacklevel: int = 3) -> None:
        """Warn, once for each client, of an operation that A2E names and does not describe."""
        warned = self._services().warned
        if endpoint.path not in warned:
            warned.add(endpoint.path)
            msg = f"A2E has not published {endpoint.method} {endpoint.path}: its path and its fields are guesses"
            warnings.warn(msg, UnpublishedEndpointWarning, stacklevel=stacklevel)

    async def _call_undocumented(
        self,
        endpoint: Endpoint,
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
            endpoint: The guess of this package.
            path: The caller's own path instead of it.
            id: The id in the path.
            json: The body.
            params: The query.
            advice: Only for an operation that can cost coins: what the caller can do if its outcome is unknown.
            stacklevel: The frame that the warning points at; by default the caller of the public method.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
        """
        self._warn_undocumented(endpoint, stacklevel=stacklevel + 1)
        chosen = endpoint if path is None else attrs.evolve(endpoint, path=api_path(path), fallback=None)
        paid = advice is not None
        try:
            if advice is not None:
                return await self._services().submitter.post_paid(chosen, id, json=json, advice=advice)
            return await self._services().api.call(
                chosen, id, json=json, params=params, repeatable=chosen.method == "GET"
            )
        except A2EError as error:
            # Any 404 of a free call means that the path is wrong. A paid call may have been charged, unless the
            # response is A2E's own page for unknown paths.
            if not (is_unknown_endpoint(error, chosen, paid=paid) or (isinstance(error, NotFoundError) and not paid)):
                raise
            msg = (
                f"A2E has no {chosen.method} {chosen.path}. A2E mentions this operation without its path, so this path "
                f"is a guess. If you know the path, pass path=, or call client.request({chosen.method!r}, ...)"
            )
            raise EndpointNotAvailableError(msg, path=chosen.path, task_id=id) from error


R = TypeVar("R", bound=TaskRecord)

_LOGGER = logging.getLogger("a2e_async")


def status_api_of(api: ApiTransport, family: Family, model: type[R], within: float) -> StatusApi[R]:
    """Return the operations by which the poller reads the tasks of a family.

    Args:
        api: Sends the requests.
        family: The family, with the paths of its operations.
        model: The class of its records.
        within: Seconds for each request.
    """
    # These functions hold the sender and nothing else of the client: the poller must not keep a client alive that the
    # program has dropped without closing it.
    batch, listing, paging = family.batch, family.list, family.paging

    async def get(task_id: str) -> R:
        envelope = await api.call(family.detail, task_id, timeout=within)
        return to_record(model, responses.detail(envelope, task_id), family, trace_id=envelope.trace_id)

    async def get_many(ids: list[str]) -> dict[str, R]:
        assert batch is not None  # noqa: S101  for mypy: else the fetcher does not call it
        return await read(await api.call(batch, json={"ids": ids}, timeout=within))

    async def list_page(number: int) -> dict[str, R]:
        assert listing is not None  # noqa: S101  as above
        if paging is None and number > 1:
            return {}
        params = page_request("", number, BATCH_SIZE, paging).params
        return await read(await api.call(listing, params=params, timeout=within))

    async def read(envelope: Envelope) -> dict[str, R]:
        await turn.acquire()
        # One response for each pass of the event loop: many responses of 100 records at once would block it.
        asyncio.get_running_loop().call_soon(turn.release)
        return to_records(model, envelope, family)

    turn = asyncio.Lock()

    return StatusApi(
        get=get, get_many=None if batch is None else get_many, list_page=None if listing is None else list_page
    )


def to_records(model: type[R], envelope: Envelope, family: Family) -> dict[str, R]:
    """Return all records of a response, by their ids. A record that cannot be read is left out and logged."""
    found: dict[str, R] = {}
    for raw in responses.records(envelope.data):
        task_id = responses.id_of(raw)
        try:
            found[task_id] = to_record(model, raw, family, trace_id=envelope.trace_id)
        except Exception as error:  # noqa: BLE001  one bad record must not end the waits of 99 others
            _LOGGER.error("A record of task %s could not be read: %s", task_id, type(error).__name__)  # noqa: TRY400  the text may quote a prompt
    return found


_LANGUAGES = Endpoint.of("POST anchor/language_list", "GET anchor/language_list")


class Languages(Resource):
    """Resource with the operation that lists the languages."""

    async def languages(self, *, voice_map_type: str | None = None) -> list[Language]:
        """List the languages that voices speak (A2E page "List Available Languages"). Free.

        Args:
            voice_map_type: A locale, such as ``"en-US"``: only its languages.

        Raises:
            A2EError: As for any request.
        """
        if voice_map_type is not None:
            check_text("voice_map_type", voice_map_type)
        body = {} if voice_map_type is None else {"voice_map_type": voice_map_type}
        return to_languages((await self._read(_LANGUAGES, json=body)).data)

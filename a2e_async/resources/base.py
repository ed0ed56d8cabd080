"""Base class of all resources, and the services that they use."""

from __future__ import annotations

import asyncio
import contextlib
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableSet
from typing import Any

import attrs

from a2e_async import models
from a2e_async._polling.poller import Poller
from a2e_async._protocol.converter import to_languages
from a2e_async._protocol.endpoints import Endpoint, is_unknown_endpoint
from a2e_async._protocol.links import check_usable
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.schema import check_text
from a2e_async._protocol.validation import api_path
from a2e_async._submission.finder import Finder
from a2e_async._submission.key_starts import KeyStarts
from a2e_async._submission.submitter import Submitter
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.http import OwnedSession
from a2e_async._transport.options import CallOptions
from a2e_async.errors import A2EError, EndpointNotAvailableError, NotFoundError, UnpublishedEndpointWarning
from a2e_async.files.storage import Files

_MAX_VIEWS = 32  # of one client, with different options


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Services:
    """Objects that all resources of a client share, for one event loop."""

    base_url: str
    is_public: bool  # whether A2E is in the public network
    api: ApiTransport
    files: Files
    poller: Poller
    finder: Finder
    submitter: Submitter
    key_starts: KeyStarts
    loop: asyncio.AbstractEventLoop
    warned: MutableSet[str]
    sessions: tuple[OwnedSession, ...]
    views: dict[CallOptions, Services] = attrs.field(factory=dict)  # for a program that makes a view for each call

    @property
    def is_open(self) -> bool:
        """Whether there is a session of ours to close."""
        return any(session.is_open for session in self.sessions)

    def view(self, options: CallOptions) -> Services:
        """Return the same services with options for each call. They share connections, throttle, polls and keys."""
        view = self.views.get(options)
        if view is not None:
            return view
        api = self.api.view(options)
        # the submitter looks for lost starts without the options: see `Finder`
        submitter = Submitter(self.finder.view(api))
        if len(self.views) >= _MAX_VIEWS:
            self.views.clear()
        view = self.views[options] = attrs.evolve(
            self,
            api=api,
            files=self.files.view(api),
            finder=submitter.finder,
            submitter=submitter,
            key_starts=self.key_starts.view(submitter),
            views={},
        )
        return view

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

    def forget(self) -> None:
        """Give everything up after a fork, without touching the connections of the parent process."""
        for session in self.sessions:
            session.forget()

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

    def _check_links(self, values: Mapping[str, object]) -> None:
        """Check that a public A2E can read the links of a request. A local one can also read links to this machine.

        Raises:
            InvalidRequestError: The host of a link is not public, or its signature has expired. Nothing was sent.
        """
        if self._services().is_public:
            check_usable(values, time.time())

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


_LANGUAGES = Endpoint.of("POST anchor/language_list", "GET anchor/language_list")


class Languages(Resource):
    """Resource with the operation that lists the languages."""

    async def languages(self, *, voice_map_type: str | None = None) -> list[models.Language]:
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

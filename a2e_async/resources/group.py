"""What all resources stand on: the parts of the client, and how an operation is called."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import attrs

from a2e_async._protocol.checks import path_of
from a2e_async._protocol.routes import Route, is_wrong_route
from a2e_async.errors import A2EError, EndpointNotAvailableError, NotFoundError, UnpublishedEndpointWarning

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, MutableSet

    from a2e_async._poller import Poller
    from a2e_async._protocol.messages import Envelope, Request
    from a2e_async._submitter import Submitter
    from a2e_async._transport.retry import Api
    from a2e_async._transport.routes import Router
    from a2e_async.files import Files

__all__ = ["Group", "Parts", "about"]


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

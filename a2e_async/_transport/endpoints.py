"""Sends by route: tries the older spelling of an operation once, and remembers which one A2E knows."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator, MutableMapping
from typing import Any

import attrs

from a2e_async._protocol.endpoints import Route, is_wrong_route
from a2e_async._protocol.messages import Envelope
from a2e_async._transport.retry import Api
from a2e_async.errors import A2EError, BadRequestError, NotFoundError

__all__ = ["Router"]

_KNOWING = (BadRequestError, NotFoundError)
"""What only the operation itself answers; a bad token or too many requests are noticed before any operation."""

_LOGGER = logging.getLogger("a2e_async")


@attrs.define(eq=False, repr=False)
class Router:
    """Knows how A2E spells its operations. Belongs to one event loop; what it knows may be older.

    Attributes:
        api: Who sends.
        known: Route -> the spelling that A2E knows.
    """

    api: Api
    known: MutableMapping[Route, Route]

    def send(self, route: Route, id: str | None = None, **parts: Any) -> Awaitable[Envelope]:  # noqa: ANN401  those of Route.request
        """Send, when awaited.

        Raises:
            A2EError: What A2E said to the newest spelling, unless it knows an older one.
        """
        if route.older is None:
            return self.api.send(route.request(id, **parts))
        return self._find(route, id, parts)

    async def _find(self, route: Route, id: str | None, parts: dict[str, Any]) -> Envelope:
        first: A2EError | None = None
        for spelling in self._spellings(route):
            try:
                envelope = await self.api.send(spelling.request(id, **parts))
            except A2EError as error:
                if not is_wrong_route(error, spelling, paid=parts.get("paid", False)):
                    if isinstance(error, _KNOWING):
                        self._remember(route, spelling)  # A2E itself has refused, so it knows the operation
                    raise
                first = first or error
            else:
                self._remember(route, spelling)
                return envelope
        assert first is not None  # noqa: S101  for mypy: a route has at least one spelling
        if is_wrong_route(first, route, paid=True):  # surely; a web page may be gone in a minute
            self._remember(route, route)
        raise first

    def _spellings(self, route: Route) -> Iterator[Route]:
        known = self.known.get(route)
        spelling: Route | None = known or route
        while spelling is not None:
            yield spelling
            spelling = None if known else spelling.older

    def _remember(self, route: Route, spelling: Route) -> None:
        if route in self.known:
            return
        self.known[route] = spelling
        if spelling is not route:
            _LOGGER.info("A2E knows %s %s by its older spelling %s", route.method, route.path, spelling.path)

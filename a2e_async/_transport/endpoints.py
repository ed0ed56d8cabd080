"""Sends to an endpoint or, if A2E does not have it, to its fallback, and remembers which of them A2E has."""

import logging
from collections.abc import Awaitable, Iterator, MutableMapping
from typing import Any

import attrs

from a2e_async._protocol.endpoints import Endpoint, is_unknown_endpoint
from a2e_async._protocol.messages import Envelope
from a2e_async._transport.retry import RetryingTransport
from a2e_async.errors import A2EError, BadRequestError, NotFoundError

# Only the operation itself answers these. A bad token (401) and a rate limit (429) come before the path is looked at.
_PROOFS = (BadRequestError, NotFoundError)

_LOGGER = logging.getLogger("a2e_async")


@attrs.define(eq=False, repr=False)
class EndpointResolver:
    """Sender that resolves an endpoint to the one of its names that A2E has. Belongs to one event loop.

    Attributes:
        api: Sends the requests.
        resolved: Endpoint -> the endpoint to send to, itself or a fallback. It outlives the event loop.
    """

    api: RetryingTransport
    resolved: MutableMapping[Endpoint, Endpoint]

    def send(self, endpoint: Endpoint, id: str | None = None, **parts: Any) -> Awaitable[Envelope]:  # noqa: ANN401  those of Endpoint.request
        """Send, when awaited.

        Raises:
            A2EError: The error of the endpoint itself if no fallback works, else the error of the fallback.
        """
        if endpoint.fallback is None:
            return self.api.send(endpoint.request(id, **parts))
        return self._resolve(endpoint, id, parts)

    async def _resolve(self, endpoint: Endpoint, id: str | None, parts: dict[str, Any]) -> Envelope:
        first: A2EError | None = None
        for candidate in self._candidates(endpoint):
            try:
                envelope = await self.api.send(candidate.request(id, **parts))
            except A2EError as error:
                # Case 1: A2E does not have this name: try the next one.
                if is_unknown_endpoint(error, candidate, paid=parts.get("paid", False)):
                    first = first or error
                    continue
                # Case 2: the operation rejected the request: A2E has this name.
                # Case 3: an outage, a rate limit or a bad token: nothing is learned about the name.
                if isinstance(error, _PROOFS):
                    self._remember(endpoint, candidate)
                raise
            # Case 4: a good answer.
            self._remember(endpoint, candidate)
            return envelope
        # Case 5: A2E has none of the names. Remember the newest, but only if its answer proves it: a web page with
        # another status may be a gateway's, and gone in a minute.
        assert first is not None  # noqa: S101  for mypy: an endpoint has at least one name
        if is_unknown_endpoint(first, endpoint, paid=True):
            self._remember(endpoint, endpoint)
        raise first

    def _candidates(self, endpoint: Endpoint) -> Iterator[Endpoint]:
        resolved = self.resolved.get(endpoint)
        candidate: Endpoint | None = resolved or endpoint
        while candidate is not None:
            yield candidate
            candidate = None if resolved else candidate.fallback

    def _remember(self, endpoint: Endpoint, candidate: Endpoint) -> None:
        if endpoint in self.resolved:  # a request that was sent at the same time has already resolved it
            return
        self.resolved[endpoint] = candidate
        if candidate is not endpoint:
            _LOGGER.info("A2E has no %s %s: using its fallback %s", endpoint.method, endpoint.path, candidate.path)

"""Sends the requests of a client, and calls operations by whichever of their names A2E has."""

import logging
from collections.abc import MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import attrs

from a2e_async._protocol.endpoints import Endpoint, is_unknown_endpoint
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._transport.options import CallLimits, CallOptions
from a2e_async._transport.retry import Retry
from a2e_async._transport.throttle import ThrottledTransport
from a2e_async.errors import A2EError, BadRequestError, NotFoundError

_LOGGER = logging.getLogger("a2e_async")


class ApiTransport:
    """Sender of all requests of a client. Belongs to one event loop.

    Attributes:
        throttled: Sends a request once, as soon as it may.
        retry: The retries.
        resolved: Endpoint -> the endpoint to call, itself or a fallback. It outlives the event loop.
        options: The options of a view of the client, or None.
        parent: The sender of the client itself, for a view.
    """

    def __init__(
        self,
        throttled: ThrottledTransport,
        retry: Retry,
        resolved: MutableMapping[Endpoint, Endpoint],
        options: CallOptions | None = None,
        parent: "ApiTransport | None" = None,
    ) -> None:
        """Wrap the transport in retries."""
        self.throttled, self.retry, self.resolved = throttled, retry, resolved
        self.options, self.parent = options, parent
        self._send_repeatedly = retry.wrap(throttled.send, lambda request, **_: request.operation)

    def view(self, options: CallOptions) -> "ApiTransport":
        """Return a sender with options for each call. It shares everything else, above all the throttle."""
        policy = options.retry
        if options.timeout is not None:  # a later try could not begin in time
            policy = attrs.evolve(policy, max_time=min(policy.max_time, options.timeout))
        retry = attrs.evolve(self.retry, policy=policy, ends_if_held_back=not options.wait_for_capacity)
        return ApiTransport(self.throttled, retry, self.resolved, options, self)

    def limited(self, what: str, *, paid: bool = False) -> AbstractAsyncContextManager[CallLimits | None]:
        """Return a context manager that applies the options to a block, such as one call of several requests."""
        return nullcontext() if self.options is None else CallLimits(self.options, what, is_paid=paid).apply()

    async def send(self, request: Request) -> Envelope:
        """Send a request and decode the answer. It is sent again only if it is repeatable, and never if it is paid.

        Raises:
            APIError: A2E answered with an error.
            NetworkError: There is no complete answer.
            UnexpectedResponseError: The answer is not one of A2E's.
        """
        # The submitter decides about the repetition of a paid request, with more knowledge.
        send = self._send_repeatedly if request.repeatable and not request.paid else self.throttled.send
        if self.options is None:
            return await send(request)
        async with self.limited(request.operation, paid=request.paid) as limits:
            return await send(attrs.evolve(request, limits=limits))

    async def call(self, endpoint: Endpoint, id: str | None = None, **parts: Any) -> Envelope:  # noqa: ANN401  those of Endpoint.request
        """Call an operation of A2E, or its fallback.

        Raises:
            A2EError: The error of the endpoint itself if no fallback works, else the error of the fallback.
        """
        if endpoint.fallback is None:
            return await self.send(endpoint.request(id, **parts))
        first: A2EError | None = None
        resolved = self.resolved.get(endpoint)
        candidate: Endpoint | None = resolved or endpoint
        while candidate is not None:
            try:
                envelope = await self.send(candidate.request(id, **parts))
            except A2EError as error:
                # Case 1: A2E does not have this name: try the next one.
                if is_unknown_endpoint(error, candidate, paid=parts.get("paid", False)):
                    first = first or error
                    candidate = None if resolved else candidate.fallback
                    continue
                # Case 2: the operation itself rejected the request: A2E has this name.
                # Case 3: an outage, or a bad token (401) or a rate limit (429), which come before the path is looked
                # at: nothing is learned about the name.
                if isinstance(error, BadRequestError | NotFoundError):
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

    def _remember(self, endpoint: Endpoint, candidate: Endpoint) -> None:
        if endpoint in self.resolved:  # a request that was sent at the same time has already resolved it
            return
        self.resolved[endpoint] = candidate
        if candidate is not endpoint:
            _LOGGER.info("A2E has no %s %s: using its fallback %s", endpoint.method, endpoint.path, candidate.path)

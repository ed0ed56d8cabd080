"""Middleware that injects faults: closed ports, dropped connections, delays, and other responses.

How it works
------------
The middleware runs before the check of the token, since a gateway or a broken cable knows no tokens:

1. While the port is closed, requests on connections that are still open are dropped.
2. The schedule decides about the fault of the request. Without a fault the request is processed.
3. A fault with `after` processes the request first: a start is charged, and only its response is lost.
4. "refuse" closes the port for a while; "drop" and "delay" wait; "cut", "short" and "type" damage the real response.
   All others send a synthetic response.
5. The limit of requests per second counts only requests that are processed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from attrs import define, field

from a2e_async.sandbox.faults.plan import FAULT_TYPES, Fault, operation_of
from a2e_async.sandbox.faults.responses import damage, synthetic_response, too_many_requests
from a2e_async.sandbox.faults.schedule import FaultInjector, FaultSchedule
from a2e_async.sandbox.listener import Listener
from a2e_async.sandbox.middleware import API, CURRENT_FAULT, ApiMiddleware

# Seconds between two checks of a delayed request's connection. aiohttp 3 sends no event when a client disconnects.
_CHECK_INTERVAL: Final = 0.02

Process: TypeAlias = Callable[[], Awaitable[web.StreamResponse]]


@define(kw_only=True, eq=False)
class FaultMiddleware:
    """Middleware between the port and the `ApiMiddleware`."""

    injector: FaultInjector
    api_middleware: ApiMiddleware
    listener: Listener
    _delayed: list[web.Request] = field(factory=list, init=False)

    def middleware(self) -> Middleware:
        """Return the middleware for aiohttp."""

        @web.middleware
        async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self.listener.is_paused:  # case 1: the connection was busy when the port was closed
                CURRENT_FAULT.set("refuse")
                return self._drop(request)
            if self.injector.is_idle:
                return await handler(request)
            return await self._inject(self.injector.schedule, request, handler)

        return handle

    async def aclose(self) -> None:
        """Close the connections of delayed requests, so that the server can close at once."""
        for request in self._delayed:
            _abort(request)

    async def _inject(
        self, schedule: FaultSchedule | None, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Answer a request with its fault, if it has one."""

        async def process() -> web.StreamResponse:
            now = asyncio.get_running_loop().time()
            if schedule is not None and request.path.startswith(API) and not schedule.accepts(now):
                CURRENT_FAULT.set(CURRENT_FAULT.get() or "429")  # case 5
                return too_many_requests(schedule.plan.retry_after)
            return await handler(request)

        operation = operation_of(request)
        fault = None if operation is None else self.injector.next_fault(operation)
        if fault is None:  # case 2
            return await process()
        CURRENT_FAULT.set(fault.type)
        try:
            response = await _process_fully(request, process) if fault.after else None  # case 3
            return await self._apply(fault, request, response, process)
        except (ConnectionError, web.RequestPayloadError):  # the client disconnected while it sent the body
            return self._drop(request)

    async def _apply(
        self, fault: Fault, request: web.Request, response: web.StreamResponse | None, process: Process
    ) -> web.StreamResponse:
        """Apply a fault (case 4); `response` is the real one, if the request was processed already."""
        seconds = fault.seconds or 0.0
        if fault.type == "refuse":
            await self.listener.pause(seconds)
            return self._drop(request)
        if fault.type in {"drop", "delay"}:
            connected = await self._wait(request, seconds)
            if fault.type == "drop" or not connected:
                return self._drop(request, response)
            return await process() if response is None else response
        if response is not None and (response.prepared or FAULT_TYPES[fault.type].always_after):
            return await damage(fault.type, request, response)
        await _read_body(request)
        return synthetic_response(fault)

    async def _wait(self, request: web.Request, seconds: float) -> bool:
        """Wait; return early, and `False`, if the client disconnects."""
        clock = asyncio.get_running_loop()
        until = clock.time() + seconds
        self._delayed.append(request)
        while (connected := _is_connected(request)) and (left := until - clock.time()) > 0:  # noqa: ASYNC110  (no event)
            await asyncio.sleep(min(left, _CHECK_INTERVAL))
        self._delayed.remove(request)
        return connected

    def _drop(self, request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
        """Close the connection without a response."""
        if response is None or not response.prepared:  # a response that was sent is recorded already
            self.api_middleware.record(request, 0)
        _abort(request)
        return _NoResponse()


class _NoResponse(web.StreamResponse):
    """Response on a closed connection."""

    async def prepare(self, request: web.BaseRequest) -> NoReturn:  # noqa: ARG002  (nothing is sent)
        """Raise what aiohttp takes for a client that has disconnected: it logs nothing then."""
        raise ConnectionResetError


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _is_connected(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


async def _process_fully(request: web.Request, process: Process) -> web.StreamResponse:
    """Process a request even if its client disconnects meanwhile."""
    # aiohttp lets a handler finish then, but it drops the part of the body that was not read yet. So the body is read
    # first, but not that of an upload, which is too large to be held in memory.
    if request.path.startswith(API):
        await request.read()
    return await process()


async def _read_body(request: web.Request) -> None:
    """Read the body before the response, as gateways do. Otherwise aiohttp would wait for it after the response."""
    async for _ in request.content.iter_any():
        pass

"""Does what the forecast says, before and around everything else: drops, delays, closed ports, other answers.

It comes before the token check: a gateway or a broken cable knows no tokens.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from attrs import define, field

from a2e_async.sandbox.faults.plan import KINDS, Fault, operation_of
from a2e_async.sandbox.faults.responses import made_up, spoil, too_many
from a2e_async.sandbox.faults.schedule import Forecast, Sky
from a2e_async.sandbox.listener import Door
from a2e_async.sandbox.middleware import API, MET, Gate

# How often a delayed request looks whether its caller is still there, in seconds; aiohttp 3 tells nobody.
_LOOK: Final = 0.02

Process: TypeAlias = Callable[[], Awaitable[web.StreamResponse]]


@define(kw_only=True, eq=False)
class Storm:
    """Stands between the port and the gate."""

    sky: Sky
    gate: Gate
    door: Door
    _waiting: list[web.Request] = field(factory=list, init=False)

    def middleware(self) -> Middleware:
        """Wrap everything that the application does."""

        @web.middleware
        async def blow(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self.door.shut:  # the request came on a connection that was busy when the door was shut
                MET.set("refuse")
                return self._drop(request)
            if (forecast := self.sky.forecast) is None:
                return await handler(request)
            return await self._weather(forecast, request, handler)

        return blow

    async def aclose(self) -> None:
        """Close the connections of those who wait, so that closing does not wait for them."""
        for request in self._waiting:
            _abort(request)

    async def _weather(self, forecast: Forecast, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let one request meet what the forecast has for it."""

        async def process() -> web.StreamResponse:
            if request.path.startswith(API) and not forecast.accepts(asyncio.get_running_loop().time()):
                MET.set(MET.get() or "429")
                return too_many(forecast.weather.retry_after)
            return await handler(request)

        operation = operation_of(request)
        fault = None if operation is None else forecast.fault(operation)
        if fault is None:
            return await process()
        MET.set(fault.kind)
        try:
            true = await _surely(request, process) if fault.after else None
            return await self._strike(fault, request, true, process)
        except (ConnectionError, web.RequestPayloadError):  # the caller left in the middle of the body
            return self._drop(request)

    async def _strike(
        self, fault: Fault, request: web.Request, true: web.StreamResponse | None, process: Process
    ) -> web.StreamResponse:
        """Do what the fault says; `true` is the answer of a request that was processed already."""
        seconds = fault.seconds or 0.0
        if fault.kind == "refuse":
            await self.door.shut_for(seconds)
            return self._drop(request)
        if fault.kind in {"drop", "delay"}:
            there = await self._wait(request, seconds)
            if fault.kind == "drop" or not there:
                return self._drop(request, true)
            return await process() if true is None else true
        if true is not None and (true.prepared or KINDS[fault.kind].always_after):
            return await spoil(fault.kind, request, true)
        await _take_all(request)
        return made_up(fault)

    async def _wait(self, request: web.Request, seconds: float) -> bool:
        """Let time pass; tell whether the caller is still there."""
        clock = asyncio.get_running_loop()
        until = clock.time() + seconds
        self._waiting.append(request)
        while (there := _is_there(request)) and (left := until - clock.time()) > 0:  # noqa: ASYNC110  (no event tells)
            await asyncio.sleep(min(left, _LOOK))
        self._waiting.remove(request)
        return there

    def _drop(self, request: web.Request, true: web.StreamResponse | None = None) -> web.StreamResponse:
        """Note a request, unless its answer was sent and noted, then close the connection."""
        if true is None or not true.prepared:
            self.gate.note(request, 0)
        _abort(request)
        return _Silence()


class _Silence(web.StreamResponse):
    """The answer to somebody who is gone."""

    async def prepare(self, request: web.BaseRequest) -> NoReturn:  # noqa: ARG002  (says nothing to anybody)
        """Tell aiohttp that there is nobody; it then forgets the connection without a word."""
        raise ConnectionResetError


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _is_there(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


async def _surely(request: web.Request, process: Process) -> web.StreamResponse:
    """Process a request even if its caller leaves meanwhile.

    aiohttp lets the handler run to its end then, but takes away what was not yet read of the body.
    """
    if request.path.startswith(API):  # not an upload, which has to be read piece by piece
        await request.read()
    return await process()


async def _take_all(request: web.Request) -> None:
    """Read the body before answering, as gateways do; aiohttp would otherwise wait for it after the answer."""
    async for _ in request.content.iter_any():
        pass

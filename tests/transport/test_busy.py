"""How "busy" holds back its own operation, and nothing else of the client."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import attrs
import pytest
from aiohttp import web
from virtual_clock import now

from a2e_async import A2EClient, BusyError, ClientClosedError, Pacing
from a2e_async._protocol.messages import Request, Response
from a2e_async._transport.throttle import Throttle, ThrottledTransport
from a2e_async.sandbox import Sandbox

GOOD = Response(status=200, body=b'{"code":0,"data":1}')
BUSY = Response(status=200, body=b'{"code":1001,"msg":"hosts are occupied"}')
WRONG = Response(status=400, body=b'{"code":400,"msg":"no such voice"}')
TOKEN, BALANCE = Request(method="POST", path="/token", paid=True), Request(method="GET", path="/balance")


@attrs.define
class Service:
    """Fake transport: for each path the given answers in order, then good ones."""

    answers: dict[str, list[Response]] = attrs.field(factory=dict)
    takes: float = 0.1
    begun: list[tuple[float, str]] = attrs.field(factory=list)
    made: float = attrs.field(factory=now)

    async def send(self, request: Request) -> Response:
        """Answer."""
        self.begun.append((round(now() - self.made, 3), request.path))
        await asyncio.sleep(self.takes)
        answers = self.answers.get(request.path)
        return answers.pop(0) if answers else GOOD

    def times(self, path: str) -> list[float]:
        """When the requests of an operation began."""
        return [began for began, name in self.begun if name == path]


def throttled(service: Service) -> ThrottledTransport:
    """Return a throttled transport in front of a service."""
    return ThrottledTransport(service, Throttle(Pacing()), max_wait=60.0)


async def send(api: ThrottledTransport, *requests: Request) -> list[Any]:
    """Send requests at once and return the answers, errors included."""
    return list(await asyncio.gather(*(api.send(request) for request in requests), return_exceptions=True))


async def test_other_operations_go_on() -> None:
    """After "busy" the next request of the operation waits for `Pacing.pause`, and a balance for nothing."""
    service = Service({"/token": [BUSY]})
    api = throttled(service)
    (error,) = await send(api, TOKEN)
    assert isinstance(error, BusyError)
    await send(api, TOKEN, BALANCE, TOKEN, BALANCE)
    assert service.times("/balance") == [0.1, 0.1]
    assert all(2.1 <= began <= 2.3 for began in service.times("/token")[1:])
    assert api.throttle.allowed_in_flight == Pacing().max_in_flight


async def test_pauses_of_an_operation_double() -> None:
    """The pauses of an operation double until A2E accepts a request of it; then they begin again."""
    service = Service({"/token": [BUSY, BUSY, BUSY, GOOD, BUSY]}, takes=0.001)
    api = throttled(service)
    for _ in range(6):
        await send(api, TOKEN)
    times = service.times("/token")
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for pause, expected in zip(pauses, [2, 4, 8, 0, 2], strict=True):
        assert expected <= pause <= expected * 1.1 + 0.01
    assert not api.operations


async def test_rejection_shows_that_the_operation_is_free() -> None:
    """A rejection for the content of a request ends the pauses of its operation as well."""
    service = Service({"/token": [BUSY, WRONG]})
    api = throttled(service)
    await send(api, TOKEN)
    await send(api, TOKEN)
    assert not api.operations


async def test_older_answers_do_not_end_a_pause() -> None:
    """A good answer to a request that was sent before the "busy" does not end the pause."""
    service = Service({"/token": [BUSY]})
    api = throttled(service)
    await send(api, TOKEN, TOKEN)
    await send(api, TOKEN)
    assert service.times("/token")[2] >= 2.1


async def test_closing_ends_the_pause() -> None:
    """Closing the client fails a request that waits for the end of such a pause at once; nothing is sent."""
    service = Service({"/token": [BUSY]})
    api = throttled(service)
    await send(api, TOKEN)
    waiting = asyncio.create_task(api.send(TOKEN))
    await asyncio.sleep(0.5)
    began = now()
    api.close()
    with pytest.raises(ClientClosedError):
        await waiting
    assert now() == began
    assert len(service.begun) == 1


async def test_balance_while_a_room_is_busy(sandbox: Sandbox) -> None:
    """In the real client too: "hosts are occupied" for a room does not delay the balance."""

    def busy(_: web.Request) -> web.Response:
        return web.json_response({"code": 1001, "msg": "all hosts are occupied"})

    path = "/api/v1/streaming-avatar/agora-token"
    async with A2EClient(sandbox.token, base_url=sandbox.url) as client:  # with the pauses of every client
        with sandbox.override("POST", path, busy):
            for _ in range(3):
                with pytest.raises(BusyError):
                    await client.request("POST", path, json={})
                began = now()
                await client.account.balance()
                assert now() - began < 0.5

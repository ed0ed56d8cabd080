"""Calls of endpoints: the fallback of a renamed operation is tried once, and the one that A2E has is remembered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import make_client

from a2e_async import A2EClient, A2EError, UnexpectedResponseError
from a2e_async._protocol.endpoints import Endpoint
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW, OLD, OLDER = "/api/v1/thing/new", "/api/v1/thing/old", "/api/v1/thing/older"
PAGE = "<!DOCTYPE html><html><body>Cannot GET</body></html>"
MISSING: dict[str, Any] = {"status": 404, "text": PAGE, "content_type": "text/html"}
FINE: dict[str, Any] = {"text": '{"code":0,"data":"fine"}', "content_type": "application/json"}


def endpoint(method: str = "POST") -> Endpoint:
    """Return an endpoint with two fallbacks."""
    return Endpoint.of(*(f"{method} thing/{word}" for word in ("new", "old", "older")))


class Service:
    """Fake A2E with an answer for each of the three paths; records the requests."""

    def __init__(self, new: dict[str, Any] = MISSING, old: dict[str, Any] = FINE, older: dict[str, Any] = FINE) -> None:
        self.answers = {NEW: new, OLD: old, OLDER: older}
        self.requested: list[str] = []

    def __call__(self, request: web.Request) -> web.Response:
        """Answer a request."""
        self.requested.append(request.path.rpartition("/")[2])
        answer = self.answers[request.path]
        if answer.get("drop"):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(**answer)

    @contextlib.contextmanager
    def within(self, sandbox: Sandbox) -> Iterator[Service]:
        """Answer instead of the sandbox inside of a ``with`` block."""
        with sandbox.override("*", "/api/v1/thing", self):
            yield self


async def send(a2e: A2EClient, operation: Endpoint, **parts: Any) -> Any:
    """Call an operation, and return the data."""
    return (await a2e._state.services().api.call(operation, **parts)).data


async def test_newest_path(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E has the newest path, no fallback is ever tried."""
    operation = endpoint()
    with Service(new=FINE).within(sandbox) as service:
        assert [await send(a2e, operation) for _ in range(3)] == ["fine"] * 3
        service.answers[NEW] = MISSING
        with pytest.raises(A2EError):
            await send(a2e, operation)
    assert service.requested == ["new"] * 4


async def test_fallback_is_remembered(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After a 404 page the fallback is tried, and from then on it is used at once."""
    operation = endpoint()
    with Service().within(sandbox) as service:
        assert [await send(a2e, operation) for _ in range(3)] == ["fine"] * 3
        assert service.requested == ["new", "old", "old", "old"]
        assert await send(a2e, endpoint()) == "fine"  # another endpoint has learned nothing from it
    assert service.requested[4:] == ["new", "old"]


async def test_second_fallback(a2e: A2EClient, sandbox: Sandbox) -> None:
    """All fallbacks are tried, the best first."""
    operation = endpoint()
    with Service(old=MISSING).within(sandbox) as service:
        assert [await send(a2e, operation) for _ in range(2)] == ["fine"] * 2
    assert service.requested == ["new", "old", "older", "older"]


async def test_no_path_works(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E has none of the paths, the error is about the newest, and later only that one is sent."""
    operation = endpoint()
    odd = {"status": 200, "text": PAGE, "content_type": "text/html"}
    with Service(old=odd, older=odd).within(sandbox) as service:
        for _ in range(2):
            with pytest.raises(A2EError, match="404"):
                await send(a2e, operation)
    assert service.requested == ["new", "old", "older", "new"]


async def test_pages_of_a_gateway(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If every answer is a page with another status than 404, such as a firewall's, nothing is remembered."""
    operation = endpoint()
    with Service(*[HTML["200-page"]] * 3).within(sandbox) as service:
        with pytest.raises(UnexpectedResponseError):
            await send(a2e, operation)
        service.answers |= {NEW: MISSING, OLD: FINE}
        assert await send(a2e, operation) == "fine"
    assert service.requested == ["new", "old", "older", "new", "old"]


WRONG: dict[str, dict[str, Any]] = {
    "404-page": MISSING,
    "405-page": {**MISSING, "status": 405},
    "404-json": {"status": 404, "text": '{"code":404,"msg":"no"}', "content_type": "application/json"},
}
HTML: dict[str, dict[str, Any]] = {"200-page": {**MISSING, "status": 200}, "403-page": {**MISSING, "status": 403}}


@pytest.mark.parametrize("new", [*WRONG.values(), *HTML.values()], ids=[*WRONG, *HTML])
async def test_answers_that_lead_to_the_fallback(a2e: A2EClient, sandbox: Sandbox, new: dict[str, Any]) -> None:
    """After a 404 or a web page the fallback is tried."""
    with Service(new=new).within(sandbox) as service:
        assert await send(a2e, endpoint()) == "fine"
    assert service.requested == ["new", "old"]


@pytest.mark.parametrize("new", WRONG.values(), ids=WRONG)
async def test_paid_call_that_was_surely_not_accepted(a2e: A2EClient, sandbox: Sandbox, new: dict[str, Any]) -> None:
    """After a 404 a paid call is sent to the fallback, once."""
    with Service(new=new).within(sandbox) as service:
        assert await send(a2e, endpoint(), paid=True) == "fine"
    assert service.requested == ["new", "old"]


@pytest.mark.parametrize("new", HTML.values(), ids=HTML)
async def test_paid_call_behind_a_page(a2e: A2EClient, sandbox: Sandbox, new: dict[str, Any]) -> None:
    """A page with another status may hide that a paid call was accepted: it is not sent to a fallback."""
    with Service(new=new).within(sandbox) as service, pytest.raises(A2EError):
        await send(a2e, endpoint(), paid=True)
    assert service.requested == ["new"]


ERRORS: dict[str, dict[str, Any]] = {
    "500": {"status": 500, "text": "oops"},
    "502-page": {**MISSING, "status": 502},
    "503-page": {**MISSING, "status": 503},
    "302": {"status": 302, "headers": {"Location": "https://elsewhere.example/"}},
    "cut": {"status": 200, "text": '{"code":0,"da', "content_type": "application/json"},
    "429": {"status": 429},
    "busy": {"text": '{"code":1001,"msg":"busy"}', "content_type": "application/json"},
    "400": {"status": 400, "text": '{"code":400,"msg":"no"}', "content_type": "application/json"},
    "401": {"status": 401, "text": '{"code":401,"msg":"no"}', "content_type": "application/json"},
    "dropped": {"drop": True},
}


@pytest.mark.parametrize("paid", [False, True], ids=["free", "paid"])
@pytest.mark.parametrize("new", ERRORS.values(), ids=ERRORS)
async def test_errors_that_say_nothing_about_the_path(
    a2e: A2EClient,
    sandbox: Sandbox,
    new: dict[str, Any],
    paid: bool,  # noqa: FBT001  a parameter
) -> None:
    """Outages and rejections are raised; the fallback is not tried."""
    with Service(new=new).within(sandbox) as service, pytest.raises(A2EError):
        await send(a2e, endpoint(), paid=paid)
    assert service.requested == ["new"]


async def test_rejection_proves_that_the_path_exists(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After a rejection by the operation itself, a later 404 page does not lead to a fallback."""
    operation = endpoint()
    with Service(new=ERRORS["400"]).within(sandbox) as service:
        for answer in (ERRORS["400"], MISSING):
            service.answers[NEW] = answer
            with pytest.raises(A2EError):
                await send(a2e, operation)
    assert service.requested == ["new", "new"]


@pytest.mark.parametrize("name", ["401", "429", "500", "502-page", "dropped"])
async def test_outage_proves_nothing(a2e: A2EClient, sandbox: Sandbox, name: str) -> None:
    """An error of the token, the rate limit, the server or the network does not prove that a path exists."""
    operation = endpoint()
    with Service(new=ERRORS[name]).within(sandbox) as service:
        with pytest.raises(A2EError):
            await send(a2e, operation)
        service.answers[NEW] = MISSING
        assert await send(a2e, operation) == "fine"
    assert service.requested == ["new", "new", "old"]


async def test_reads_are_retried_with_the_same_path(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A read is retried with the same path after a transient error, also with a fallback."""
    operation = endpoint("GET")
    with Service(new=ERRORS["500"]).within(sandbox) as service:
        with pytest.raises(A2EError):
            await send(a2e, operation, repeatable=True)
        assert service.requested == ["new"] * quick.CONFIG.retry.max_attempts
        service.requested.clear()
        service.answers |= {NEW: MISSING, OLD: ERRORS["500"]}
        with pytest.raises(A2EError):
            await send(a2e, operation, repeatable=True)
    assert service.requested == ["new", *["old"] * quick.CONFIG.retry.max_attempts]


async def test_request_to_the_fallback(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Body and id are sent to the fallback, each where the fallback has it."""
    seen: list[Any] = []

    async def record(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, await request.json() if request.can_read_body else None))
        return web.Response(**(MISSING if request.path == NEW else FINE))

    operation = Endpoint.of("POST thing/new _id", "GET thing/old?_id")
    with sandbox.override("*", "/api/v1/thing", record):
        await send(a2e, operation, id="1")
    assert seen == [("POST", NEW, {"_id": "1"}), ("GET", f"{OLD}?_id=1", None)]


async def test_endpoint_without_a_fallback(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Without a fallback nothing is tried and nothing is remembered."""
    with Service().within(sandbox) as service, pytest.raises(A2EError):
        await send(a2e, Endpoint.of("POST thing/new"))
    assert service.requested == ["new"]
    assert not a2e._state.services().api.resolved


async def test_concurrent_calls(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Concurrent calls resolve to the same path; each tries each path once."""
    operation = endpoint()
    with Service().within(sandbox) as service:
        assert await asyncio.gather(*(send(a2e, operation) for _ in range(5))) == ["fine"] * 5
        assert sorted(service.requested) == ["new"] * 5 + ["old"] * 5
        await send(a2e, operation)
    assert service.requested[-1] == "old"
    assert len(service.requested) == 11


async def test_clients_resolve_separately(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A second client tries the paths itself."""
    operation = endpoint()
    with Service().within(sandbox) as service:
        await send(a2e, operation)
        async with make_client(sandbox) as other:
            await send(other, operation)
    assert service.requested == ["new", "old", "new", "old"]


async def test_fallback_is_logged_once(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the fallback once; nothing is logged where the newest path works."""
    caplog.set_level(logging.INFO, "a2e_async")
    operation, other = endpoint(), endpoint()
    with Service().within(sandbox) as service:
        for _ in range(3):
            await send(a2e, operation)
        service.answers[NEW] = FINE
        await send(a2e, other)
    logged = [record.getMessage() for record in caplog.records if "fallback" in record.getMessage()]
    assert logged == [f"A2E has no POST {NEW}: using its fallback {OLD}"]


def test_remembered_over_two_event_loops() -> None:
    """The path that was resolved in one event loop is used in the next one of the same client."""
    operation, requested = endpoint(), list[str]()

    async def use(client: A2EClient | None, port: int) -> tuple[A2EClient, int]:
        async with Sandbox(speed=100, render="tiny", port=port, token="sk_t") as sandbox:
            made = client or A2EClient("sk_t", base_url=sandbox.url, config=quick.CONFIG)
            with Service().within(sandbox) as service:
                async with made:
                    assert await send(made, operation) == "fine"
            requested.extend(service.requested)
            return made, int(sandbox.url.rpartition(":")[2])

    client, port = asyncio.run(use(None, 0))
    asyncio.run(use(client, port))
    assert requested == ["new", "old", "old"]

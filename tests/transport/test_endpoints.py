"""Operations that A2E has renamed: the older spelling is tried once, and what A2E knows is remembered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import make_client

from a2e_async import A2EClient, A2EError
from a2e_async._protocol.endpoints import Route
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW, OLD, OLDER = "/api/v1/thing/new", "/api/v1/thing/old", "/api/v1/thing/older"
PAGE = "<!DOCTYPE html><html><body>Cannot GET</body></html>"
MISSING: dict[str, Any] = {"status": 404, "text": PAGE, "content_type": "text/html"}
FINE: dict[str, Any] = {"text": '{"code":0,"data":"fine"}', "content_type": "application/json"}


def route(method: str = "POST") -> Route:
    """Return an operation with two older spellings."""
    return Route.of(*(f"{method} thing/{word}" for word in ("new", "old", "older")))


class Service:
    """Answers the three spellings, each with what it was told; notes what was asked."""

    def __init__(self, new: dict[str, Any] = MISSING, old: dict[str, Any] = FINE, older: dict[str, Any] = FINE) -> None:
        self.answers = {NEW: new, OLD: old, OLDER: older}
        self.asked: list[str] = []

    def __call__(self, request: web.Request) -> web.Response:
        """Answer a request."""
        self.asked.append(request.path.rpartition("/")[2])
        answer = self.answers[request.path]
        if answer.get("drop"):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(**answer)

    @contextlib.contextmanager
    def within(self, sandbox: Sandbox) -> Iterator[Service]:
        """Speak for a sandbox for a while."""
        with sandbox.override("*", "/api/v1/thing", self):
            yield self


async def send(a2e: A2EClient, spelling: Route, **parts: Any) -> Any:
    """Send by a client's router, and return the data."""
    return (await a2e._runtime.parts().router.send(spelling, **parts)).data


async def test_newest_spelling_that_is_known(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Where A2E knows the best spelling, no other is ever tried."""
    spelling = route()
    with Service(new=FINE).within(sandbox) as service:
        assert [await send(a2e, spelling) for _ in range(3)] == ["fine"] * 3
        service.answers[NEW] = MISSING
        with pytest.raises(A2EError):
            await send(a2e, spelling)
    assert service.asked == ["new"] * 4


async def test_older_spelling_is_remembered(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After a page of a wrong route the next older spelling is tried, and from then on that one is sent at once."""
    spelling = route()
    with Service().within(sandbox) as service:
        assert [await send(a2e, spelling) for _ in range(3)] == ["fine"] * 3
        assert service.asked == ["new", "old", "old", "old"]
        assert await send(a2e, route()) == "fine"  # another route knows nothing of it
    assert service.asked[4:] == ["new", "old"]


async def test_oldest_spelling(a2e: A2EClient, sandbox: Sandbox) -> None:
    """All spellings are tried, the best first."""
    spelling = route()
    with Service(old=MISSING).within(sandbox) as service:
        assert [await send(a2e, spelling) for _ in range(2)] == ["fine"] * 2
    assert service.asked == ["new", "old", "older", "older"]


async def test_no_spelling_is_known(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If A2E knows none, the error is about the best one, and later only that one is sent."""
    spelling = route()
    odd = {"status": 200, "text": PAGE, "content_type": "text/html"}
    with Service(old=odd, older=odd).within(sandbox) as service:
        for _ in range(2):
            with pytest.raises(A2EError, match="404"):
                await send(a2e, spelling)
    assert service.asked == ["new", "old", "older", "new"]


async def test_pages_that_may_be_gone_in_a_minute(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If everything is answered by a page that is no 404, such as that of a firewall, nothing is remembered."""
    spelling = route()
    with Service(*[HTML["200-page"]] * 3).within(sandbox) as service:
        with pytest.raises(A2EError, match="no JSON"):
            await send(a2e, spelling)
        service.answers |= {NEW: MISSING, OLD: FINE}
        assert await send(a2e, spelling) == "fine"
    assert service.asked == ["new", "old", "older", "new", "old"]


WRONG: dict[str, dict[str, Any]] = {
    "404-page": MISSING,
    "405-page": {**MISSING, "status": 405},
    "404-json": {"status": 404, "text": '{"code":404,"msg":"no"}', "content_type": "application/json"},
}
HTML: dict[str, dict[str, Any]] = {"200-page": {**MISSING, "status": 200}, "403-page": {**MISSING, "status": 403}}


@pytest.mark.parametrize("new", [*WRONG.values(), *HTML.values()], ids=[*WRONG, *HTML])
async def test_answers_that_mean_another_spelling(a2e: A2EClient, sandbox: Sandbox, new: dict[str, Any]) -> None:
    """A 404 or a web page is followed by the older spelling."""
    with Service(new=new).within(sandbox) as service:
        assert await send(a2e, route()) == "fine"
    assert service.asked == ["new", "old"]


@pytest.mark.parametrize("new", WRONG.values(), ids=WRONG)
async def test_paid_call_that_was_surely_not_accepted(a2e: A2EClient, sandbox: Sandbox, new: dict[str, Any]) -> None:
    """A 404 sends a paid call by its older spelling, once."""
    with Service(new=new).within(sandbox) as service:
        assert await send(a2e, route(), paid=True) == "fine"
    assert service.asked == ["new", "old"]


@pytest.mark.parametrize("new", HTML.values(), ids=HTML)
async def test_paid_call_behind_a_page(a2e: A2EClient, sandbox: Sandbox, new: dict[str, Any]) -> None:
    """A page with another status may hide that a paid call was accepted: it is not sent again by any spelling."""
    with Service(new=new).within(sandbox) as service, pytest.raises(A2EError):
        await send(a2e, route(), paid=True)
    assert service.asked == ["new"]


TROUBLE: dict[str, dict[str, Any]] = {
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
@pytest.mark.parametrize("new", TROUBLE.values(), ids=TROUBLE)
async def test_answers_that_say_nothing_about_the_spelling(
    a2e: A2EClient,
    sandbox: Sandbox,
    new: dict[str, Any],
    paid: bool,  # noqa: FBT001  a parameter
) -> None:
    """Trouble and refusals are raised as they are; the older spelling is not tried."""
    with Service(new=new).within(sandbox) as service, pytest.raises(A2EError):
        await send(a2e, route(), paid=paid)
    assert service.asked == ["new"]


async def test_refusal_shows_that_a_spelling_is_known(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Who refuses a request, knows the operation: a page that comes later is no reason to try older spellings."""
    spelling = route()
    with Service(new=TROUBLE["400"]).within(sandbox) as service:
        for answer in (TROUBLE["400"], MISSING):
            service.answers[NEW] = answer
            with pytest.raises(A2EError):
                await send(a2e, spelling)
    assert service.asked == ["new", "new"]


@pytest.mark.parametrize("trouble", ["401", "429", "500", "502-page", "dropped"])
async def test_trouble_shows_nothing(a2e: A2EClient, sandbox: Sandbox, trouble: str) -> None:
    """An error of the token, the rate limit, the server or the network does not show which spelling A2E knows."""
    spelling = route()
    with Service(new=TROUBLE[trouble]).within(sandbox) as service:
        with pytest.raises(A2EError):
            await send(a2e, spelling)
        service.answers[NEW] = MISSING
        assert await send(a2e, spelling) == "fine"
    assert service.asked == ["new", "new", "old"]


async def test_reads_are_repeated_within_a_spelling(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A read that meets trouble is repeated by the same spelling, also by the older one."""
    spelling = route("GET")
    with Service(new=TROUBLE["500"]).within(sandbox) as service:
        with pytest.raises(A2EError):
            await send(a2e, spelling, repeatable=True)
        assert service.asked == ["new"] * quick.CONFIG.retry.max_attempts
        service.asked.clear()
        service.answers |= {NEW: MISSING, OLD: TROUBLE["500"]}
        with pytest.raises(A2EError):
            await send(a2e, spelling, repeatable=True)
    assert service.asked == ["new", *["old"] * quick.CONFIG.retry.max_attempts]


async def test_what_is_sent_by_the_older_spelling(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Body and id go along, each where the spelling has it."""
    seen: list[Any] = []

    async def look(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, await request.json() if request.can_read_body else None))
        return web.Response(**(MISSING if request.path == NEW else FINE))

    spelling = Route.of("POST thing/new _id", "GET thing/old?_id")
    with sandbox.override("*", "/api/v1/thing", look):
        await send(a2e, spelling, id="1")
    assert seen == [("POST", NEW, {"_id": "1"}), ("GET", f"{OLD}?_id=1", None)]


async def test_route_without_older_spellings(a2e: A2EClient, sandbox: Sandbox) -> None:
    """There is nothing to try and nothing to remember."""
    with Service().within(sandbox) as service, pytest.raises(A2EError):
        await send(a2e, Route.of("POST thing/new"))
    assert service.asked == ["new"]
    assert not a2e._runtime.parts().router.known


async def test_many_at_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Calls that find out at the same time agree; each tries each spelling once."""
    spelling = route()
    with Service().within(sandbox) as service:
        assert await asyncio.gather(*(send(a2e, spelling) for _ in range(5))) == ["fine"] * 5
        assert sorted(service.asked) == ["new"] * 5 + ["old"] * 5
        await send(a2e, spelling)
    assert service.asked[-1] == "old"
    assert len(service.asked) == 11


async def test_clients_know_nothing_of_each_other(a2e: A2EClient, sandbox: Sandbox) -> None:
    """What one client has learnt of its host, another one has to learn of its own."""
    spelling = route()
    with Service().within(sandbox) as service:
        await send(a2e, spelling)
        async with make_client(sandbox) as other:
            await send(other, spelling)
    assert service.asked == ["new", "old", "new", "old"]


async def test_log_tells_once(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells which older spelling A2E knows, once; nothing is told where the best one is known."""
    caplog.set_level(logging.INFO, "a2e_async")
    spelling, other = route(), route()
    with Service().within(sandbox) as service:
        for _ in range(3):
            await send(a2e, spelling)
        service.answers[NEW] = FINE
        await send(a2e, other)
    told = [record.getMessage() for record in caplog.records if "spelling" in record.getMessage()]
    assert told == [f"A2E knows POST {NEW} by its older spelling {OLD}"]


def test_remembered_over_two_event_loops() -> None:
    """What was found out in one event loop holds in the next one of the same client."""
    spelling, asked = route(), list[str]()

    async def use(client: A2EClient | None, port: int) -> tuple[A2EClient, int]:
        async with Sandbox(speed=100, render="tiny", port=port, token="sk_t") as sandbox:
            made = client or A2EClient("sk_t", base_url=sandbox.url, config=quick.CONFIG)
            with Service().within(sandbox) as service:
                async with made:
                    assert await send(made, spelling) == "fine"
            asked.extend(service.asked)
            return made, int(sandbox.url.rpartition(":")[2])

    client, port = asyncio.run(use(None, 0))
    asyncio.run(use(client, port))
    assert asked == ["new", "old", "old"]

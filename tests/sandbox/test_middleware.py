"""What happens before a route: the token, wrong routes, overrides, the record of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

COINS = "/api/v1/user/remainingCoins"


@pytest.mark.parametrize("token", ["", "sk_wrong", "Zürich"])
async def test_a_missing_or_wrong_token_is_refused(sandbox: Sandbox, call: Call, token: str) -> None:
    """Without the right token every operation answers 401 with an error body that has a trace id."""
    answer = await call(sandbox, "GET", COINS, token=token)
    assert answer.status == 401
    assert answer.body["code"] == 401
    assert answer.body["trace_id"]


async def test_the_token_begins_as_real_ones_do(sandbox: Sandbox) -> None:
    """A random token has the prefix of A2E's, and a repr does not show it."""
    assert sandbox.token.startswith("sk_")
    assert sandbox.token not in repr(sandbox)
    assert sandbox.url in repr(sandbox)


async def test_an_unknown_route_is_an_html_page(sandbox: Sandbox, call: Call) -> None:
    """A wrong path answers 404 in HTML, as the real service does, even without a token."""
    answer = await call(sandbox, "GET", "/api/v1/userImage2Video/detail/<b>x", token="")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b"<b>" not in answer.content


async def test_a_wrong_method_is_an_html_page(sandbox: Sandbox, call: Call) -> None:
    """A wrong method answers like a wrong path."""
    answer = await call(sandbox, "POST", COINS)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_success_is_wrapped_in_s1(sandbox: Sandbox, call: Call) -> None:
    """A usual answer has code 0, data and a trace id."""
    body = (await call(sandbox, "GET", COINS)).body
    assert body.keys() == {"code", "data", "trace_id"}
    assert body["code"] == 0


async def test_an_override_replaces_an_answer_for_a_while(sandbox: Sandbox, call: Call) -> None:
    """Inside the block the given response comes, several times; outside the sandbox answers as usual."""
    with sandbox.override("GET", "/api/v1/user", web.Response(status=429, headers={"Retry-After": "3"})):
        for _ in range(2):
            answer = await call(sandbox, "GET", COINS)
            assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    assert (await call(sandbox, "GET", COINS)).status == 200


async def test_an_override_keeps_the_body_of_its_response(sandbox: Sandbox, call: Call) -> None:
    """Body and type of a given response arrive as they are."""
    with sandbox.override("*", "/", web.json_response({"code": 7})):
        answer = await call(sandbox, "DELETE", "/api/v1/whatever", token="")
    assert answer.body == {"code": 7}


async def test_an_override_can_decline(sandbox: Sandbox, call: Call) -> None:
    """A function that returns None lets the sandbox answer."""
    with sandbox.override("GET", "/", lambda _: None):
        assert (await call(sandbox, "GET", COINS)).status == 200


async def test_overrides_take_only_what_they_name(sandbox: Sandbox, call: Call) -> None:
    """Another method or another path is not touched."""
    broken = web.Response(status=500)
    with sandbox.override("POST", COINS, broken), sandbox.override("GET", "/api/v1/r2", broken):
        assert (await call(sandbox, "GET", COINS)).status == 200


async def test_the_latest_override_wins(sandbox: Sandbox, call: Call) -> None:
    """Overrides can be nested; the innermost is asked first. Asynchronous functions work as well."""

    async def inner(_: web.Request) -> web.Response:
        return web.Response(status=503)

    with sandbox.override("*", "/", lambda _: web.Response(status=500)), sandbox.override("*", "/", inner):
        assert (await call(sandbox, "GET", COINS)).status == 503


async def test_an_override_can_drop_the_connection(sandbox: Sandbox, call: Call) -> None:
    """A function may close the transport; the caller sees a disconnection, and the request is still noted."""

    def drop(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    with (
        sandbox.override("POST", "/api/v1/userImage2Video/start", drop),
        pytest.raises(aiohttp.ServerDisconnectedError),
    ):
        await call(sandbox, "POST", "/api/v1/userImage2Video/start", {})
    assert sandbox.requests[-1].path == "/api/v1/userImage2Video/start"


async def test_requests_are_noted(sandbox: Sandbox, call: Call) -> None:
    """Every answered request is there when its answer is: method, path without query, token or not, status."""
    await call(sandbox, "GET", f"{COINS}?x=1")
    await call(sandbox, "GET", "/cdn/nothing")
    seen = [(one.method, one.path, one.had_authorization, one.status) for one in sandbox.requests]
    assert seen == [("GET", COINS, True, 200), ("GET", "/cdn/nothing", False, 404)]


async def test_requests_are_bounded(sandbox: Sandbox) -> None:
    """The record of requests cannot grow without end."""
    assert sandbox.requests.maxlen == 100_000

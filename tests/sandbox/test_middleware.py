"""The middleware: the token, unknown routes, overrides, the record of requests."""

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
async def test_missing_or_invalid_token(sandbox: Sandbox, call: Call, token: str) -> None:
    """Every operation answers 401 with an error body that has a trace id."""
    answer = await call(sandbox, "GET", COINS, token=token)
    assert answer.status == 401
    assert answer.body["code"] == 401
    assert answer.body["trace_id"]


async def test_token_has_the_prefix_of_a2e(sandbox: Sandbox) -> None:
    """A random token has the prefix of A2E's, and a repr does not show it."""
    assert sandbox.token.startswith("sk_")
    assert sandbox.token not in repr(sandbox)
    assert sandbox.url in repr(sandbox)


async def test_unknown_path(sandbox: Sandbox, call: Call) -> None:
    """It is a 404 in HTML, as at A2E, even without a token."""
    answer = await call(sandbox, "GET", "/api/v1/userImage2Video/detail/<b>x", token="")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b"<b>" not in answer.content


async def test_unknown_method(sandbox: Sandbox, call: Call) -> None:
    """It is answered like an unknown path."""
    answer = await call(sandbox, "POST", COINS)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_success_is_wrapped_in_s1(sandbox: Sandbox, call: Call) -> None:
    """A usual response has code 0, data and a trace id."""
    body = (await call(sandbox, "GET", COINS)).body
    assert body.keys() == {"code", "data", "trace_id"}
    assert body["code"] == 0


async def test_override(sandbox: Sandbox, call: Call) -> None:
    """Inside of the block the given response is sent, several times; outside the usual one."""
    with sandbox.override("GET", "/api/v1/user", web.Response(status=429, headers={"Retry-After": "3"})):
        for _ in range(2):
            answer = await call(sandbox, "GET", COINS)
            assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    assert (await call(sandbox, "GET", COINS)).status == 200


async def test_an_override_keeps_the_body_of_its_response(sandbox: Sandbox, call: Call) -> None:
    """Body and type of a given response are sent unchanged."""
    with sandbox.override("*", "/", web.json_response({"code": 7})):
        answer = await call(sandbox, "DELETE", "/api/v1/unknown", token="")
    assert answer.body == {"code": 7}


async def test_an_override_can_decline(sandbox: Sandbox, call: Call) -> None:
    """With a function that returns None the usual response is sent."""
    with sandbox.override("GET", "/", lambda _: None):
        assert (await call(sandbox, "GET", COINS)).status == 200


async def test_override_of_other_requests(sandbox: Sandbox, call: Call) -> None:
    """Another method or another path is not changed."""
    broken = web.Response(status=500)
    with sandbox.override("POST", COINS, broken), sandbox.override("GET", "/api/v1/r2", broken):
        assert (await call(sandbox, "GET", COINS)).status == 200


async def test_the_latest_override_wins(sandbox: Sandbox, call: Call) -> None:
    """Overrides can be nested, and the innermost has priority. Asynchronous functions work as well."""

    async def inner(_: web.Request) -> web.Response:
        return web.Response(status=503)

    with sandbox.override("*", "/", lambda _: web.Response(status=500)), sandbox.override("*", "/", inner):
        assert (await call(sandbox, "GET", COINS)).status == 503


async def test_an_override_can_drop_the_connection(sandbox: Sandbox, call: Call) -> None:
    """A function may close the transport; the caller gets a disconnection, and the request is recorded."""

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


async def test_requests_are_recorded(sandbox: Sandbox, call: Call) -> None:
    """A request is recorded before its response arrives: method, path without query, token or not, status."""
    await call(sandbox, "GET", f"{COINS}?x=1")
    await call(sandbox, "GET", "/cdn/nothing")
    seen = [(one.method, one.path, one.had_authorization, one.status) for one in sandbox.requests]
    assert seen == [("GET", COINS, True, 200), ("GET", "/cdn/nothing", False, 404)]


async def test_requests_are_bounded(sandbox: Sandbox) -> None:
    """The record of requests has a maximum length."""
    assert sandbox.requests.maxlen == 100_000

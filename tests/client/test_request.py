"""The escape hatch, and what every call of the API has in common: token, envelopes, limits, repeats."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from aiohttp import web

from a2e_async import (
    A2EClient,
    APIError,
    AuthenticationError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from a2e_async.sandbox import Sandbox

COINS = "/api/v1/user/remainingCoins"


class Script:
    """Answers one thing after the other, then leaves the word to the sandbox; notes when it was asked."""

    def __init__(self, *answers: web.Response | Callable[[web.Request], Awaitable[web.Response]]) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Answer a request."""
        self.asked.append(time.monotonic())
        if not self.answers:
            return None
        answer = self.answers.pop(0)
        if isinstance(answer, web.Response):  # aiohttp sends a response object once only
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return await answer(request)


async def drop(request: web.Request) -> web.Response:
    """Cut the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("path", ["user/remainingCoins", "/user/remainingCoins", COINS])
async def test_request_returns_the_data(a2e: A2EClient, path: str) -> None:
    """The data of a good answer comes back decoded, however the path is written."""
    assert await a2e.request("get", path) == {"coins": 10_000, "diamonds": 3}


async def test_request_sends_body_and_query(a2e: A2EClient, sandbox: Sandbox) -> None:
    """JSON and query arrive as given; None is left out and booleans are lower-case."""
    seen: list[Any] = []

    async def look(request: web.Request) -> web.Response:
        seen.append((request.method, dict(request.query), await request.json(), request.headers["Content-Type"]))
        return web.json_response({"code": 0, "data": "ü"})

    with sandbox.override("POST", "/api/v1/some/thing", look):
        params = {"a": 1, "b": True, "c": None, "d": "x y&z"}
        assert await a2e.request("POST", "some/thing", json={"text": "ü"}, params=params) == "ü"
    assert seen == [("POST", {"a": "1", "b": "true", "d": "x y&z"}, {"text": "ü"}, "application/json")]


@pytest.mark.parametrize(
    ("method", "path"),
    [("FETCH", "user/x"), ("GET", ""), ("GET", "../x"), ("GET", "user/x?y=1"), ("GET", "https://evil.example/x")],
)
async def test_request_refuses_what_cannot_be_sent(a2e: A2EClient, sandbox: Sandbox, method: str, path: str) -> None:
    """A wrong method or path is refused before anything is sent."""
    with pytest.raises(InvalidRequestError):
        await a2e.request(method, path)
    assert not sandbox.requests


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}], ids=["nan", "object"])
async def test_body_that_is_no_json_is_refused(a2e: A2EClient, sandbox: Sandbox, body: object) -> None:
    """A body that JSON cannot hold is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match="JSON"):
        await a2e.request("POST", "user/x", json=body)
    assert not sandbox.requests


@pytest.mark.parametrize("params", [[("a", "1")], "x=1", 5, {1: "a"}, {"a": [1]}, {"a": "\ud800"}], ids=ascii)
async def test_query_must_be_plain(a2e: A2EClient, sandbox: Sandbox, params: Any) -> None:
    """A query that cannot be sent as it is, is refused."""
    with pytest.raises(InvalidRequestError, match="params"):
        await a2e.request("GET", "user/remainingCoins", params=params)
    assert not sandbox.requests


async def test_wrong_token_is_an_authentication_error(sandbox: Sandbox) -> None:
    """A token that A2E does not know ends in AuthenticationError, at once, with A2E's trace id and advice."""
    async with A2EClient("sk_wrong", base_url=sandbox.url, config=quick.CONFIG) as client:
        with pytest.raises(AuthenticationError, match="A2E_API_TOKEN") as caught:
            await client.request("GET", "user/remainingCoins")
    assert caught.value.trace_id
    assert len(sandbox.requests) == 1


async def test_redirect_is_not_followed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A redirect is an error that names the other host, and the token does not travel."""
    away = web.Response(status=302, headers={"Location": "https://elsewhere.example/login?next=1"})
    with sandbox.override("GET", COINS, away), pytest.raises(UnexpectedResponseError, match=r"elsewhere\.example"):
        await a2e.request("GET", "user/remainingCoins")
    assert len(sandbox.requests) == 1


async def test_answer_over_the_limit_is_cut_off(sandbox: Sandbox) -> None:
    """An answer larger than the limit is given up while it is read."""
    config = attrs.evolve(quick.CONFIG, max_response_bytes=1000)

    async def flood(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(100_000):  # 100 MB, if nobody stops it
            await answer.write(bytes(1000))
        return answer

    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with sandbox.override("GET", COINS, flood), pytest.raises(UnexpectedResponseError, match="1000 bytes"):
            await client.request("GET", "user/remainingCoins")


@pytest.mark.parametrize(
    "trouble",
    [
        drop,
        web.Response(status=500, text="oops"),
        web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html"),
        web.json_response({"code": -1, "message": "Request failed"}, status=503),
        web.json_response({"code": 1001, "msg": "hosts are occupied"}),
        web.Response(status=200, text='{"code":0,"da', content_type="application/json"),
        web.Response(status=429),
    ],
    ids=["dropped", "500", "502-html", "503-json", "busy", "cut-json", "429"],
)
async def test_read_is_repeated(a2e: A2EClient, sandbox: Sandbox, trouble: web.Response) -> None:
    """A read that meets trouble that can pass is repeated, and its caller sees only the answer."""
    script = Script(trouble, trouble)
    with sandbox.override("GET", COINS, script):
        assert await a2e.request("GET", "user/remainingCoins")
    assert len(script.asked) == 3


async def test_repeats_are_bounded(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After max_attempts the last error is raised, without the earlier ones hanging on it."""
    script = Script(*[web.Response(status=500, text="oops")] * 100)
    with sandbox.override("GET", COINS, script), pytest.raises(ServerError, match="oops") as caught:
        await a2e.request("GET", "user/remainingCoins")
    assert len(script.asked) == quick.CONFIG.retry.max_attempts
    assert not isinstance(caught.value.__context__, APIError)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_only_reads_are_repeated(a2e: A2EClient, sandbox: Sandbox, method: str) -> None:
    """What may cost something is sent once, whatever happens to it."""
    script = Script(drop, drop)
    with sandbox.override(method, "/api/v1/some", script), pytest.raises(NetworkError) as caught:
        await a2e.request(method, "some/thing")
    assert len(script.asked) == 1
    assert caught.value.request_sent


async def test_final_refusals_are_not_repeated(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An answer that will not change is not asked for again."""
    script = Script(*[web.json_response({"code": 404, "msg": "no such thing"}, status=404)] * 2)
    with sandbox.override("GET", COINS, script), pytest.raises(NotFoundError):
        await a2e.request("GET", "user/remainingCoins")
    assert len(script.asked) == 1


async def test_retry_after_is_obeyed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A Retry-After is waited for in full, although our own pauses are shorter."""
    script = Script(web.Response(status=429, headers={"Retry-After": "0.4"}))
    with sandbox.override("GET", COINS, script):
        await a2e.request("GET", "user/remainingCoins")
    first, second = script.asked
    assert second - first >= 0.4


async def test_retry_after_that_is_too_long_is_raised(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A Retry-After that does not fit is never shortened: the error comes at once and tells the seconds."""
    script = Script(web.Response(status=429, headers={"Retry-After": "3600"}))
    with sandbox.override("GET", COINS, script), pytest.raises(RateLimitError) as caught:
        await a2e.request("GET", "user/remainingCoins")
    assert caught.value.retry_after == 3600
    assert len(script.asked) == 1


async def test_nobody_listens() -> None:
    """A refused connection is a NetworkError that knows that nothing was sent."""
    async with A2EClient("sk_x", base_url="http://127.0.0.1:1", config=quick.CONFIG) as client:
        with pytest.raises(NetworkError, match="Nothing was sent") as caught:
            await client.request("GET", "user/remainingCoins")
    assert not caught.value.request_sent


async def test_slow_answer_ends_in_time(sandbox: Sandbox) -> None:
    """An answer that drips is given up after request_timeout."""
    config = attrs.evolve(quick.CONFIG, request_timeout=1.0)

    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(50):
            await answer.write(b" ")
            await asyncio.sleep(0.1)
        return answer

    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with sandbox.override("POST", "/api/v1/some", drip), pytest.raises(NetworkError, match="too long") as caught:
            await client.request("POST", "some/thing")
    assert caught.value.request_sent


async def test_no_more_requests_at_once_than_set(sandbox: Sandbox) -> None:
    """`Pacing.max_in_flight` bounds the requests under way."""
    now = most = 0

    async def count(_: web.Request) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    config = attrs.evolve(quick.CONFIG, pacing=attrs.evolve(quick.CONFIG.pacing, max_in_flight=3))
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with sandbox.override("GET", COINS, count):
            await asyncio.gather(*(client.request("GET", "user/remainingCoins") for _ in range(20)))
    assert most == 3

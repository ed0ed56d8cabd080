"""`A2EClient.request`, and what all requests have in common: token, envelopes, limits, retries."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from aiohttp import web
from paid_starts import make_client

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
    import pathlib
    from collections.abc import Awaitable, Callable

    from a2e_async.sandbox import Sandbox

COINS = "/api/v1/user/remainingCoins"


class Script:
    """Handler with a list of answers, then the sandbox's own; records the times of the requests."""

    def __init__(self, *answers: web.Response | Callable[[web.Request], Awaitable[web.Response]]) -> None:
        self.answers = list(answers)
        self.times: list[float] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Answer a request."""
        self.times.append(time.monotonic())
        if not self.answers:
            return None
        answer = self.answers.pop(0)
        if isinstance(answer, web.Response):  # aiohttp sends a response object once only
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return await answer(request)


async def drop(request: web.Request) -> web.Response:
    """Close the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("path", ["user/remainingCoins", "/user/remainingCoins", COINS])
async def test_request_returns_the_data(a2e: A2EClient, path: str) -> None:
    """`request` returns the decoded data, for each way to write the path."""
    assert await a2e.request("get", path) == {"coins": 10_000, "diamonds": 3}


async def test_request_sends_body_and_query(a2e: A2EClient, sandbox: Sandbox) -> None:
    """JSON and query arrive unchanged; None is left out and booleans are lower-case."""
    received: list[Any] = []

    async def record(request: web.Request) -> web.Response:
        received.append((request.method, dict(request.query), await request.json(), request.headers["Content-Type"]))
        return web.json_response({"code": 0, "data": "ü"})

    with sandbox.override("POST", "/api/v1/some/thing", record):
        params = {"a": 1, "b": True, "c": None, "d": "x y&z"}
        assert await a2e.request("POST", "some/thing", json={"text": "ü"}, params=params) == "ü"
    assert received == [("POST", {"a": "1", "b": "true", "d": "x y&z"}, {"text": "ü"}, "application/json")]


@pytest.mark.parametrize(
    ("method", "path"),
    [("FETCH", "user/x"), ("GET", ""), ("GET", "../x"), ("GET", "user/x?y=1"), ("GET", "https://evil.example/x")],
)
async def test_invalid_method_or_path(a2e: A2EClient, sandbox: Sandbox, method: str, path: str) -> None:
    """An invalid method or path is rejected before anything is sent."""
    with pytest.raises(InvalidRequestError):
        await a2e.request(method, path)
    assert not sandbox.requests


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}], ids=["nan", "object"])
async def test_body_that_is_not_valid_json(a2e: A2EClient, sandbox: Sandbox, body: object) -> None:
    """A body that is not valid JSON is rejected before anything is sent."""
    with pytest.raises(InvalidRequestError, match="JSON"):
        await a2e.request("POST", "user/x", json=body)
    assert not sandbox.requests


@pytest.mark.parametrize("params", [[("a", "1")], "x=1", 5, {1: "a"}, {"a": [1]}, {"a": "\ud800"}], ids=ascii)
async def test_query_must_be_plain(a2e: A2EClient, sandbox: Sandbox, params: Any) -> None:
    """A query with other values than plain ones is rejected before anything is sent."""
    with pytest.raises(InvalidRequestError, match="params"):
        await a2e.request("GET", "user/remainingCoins", params=params)
    assert not sandbox.requests


async def test_wrong_token_is_an_authentication_error(sandbox: Sandbox) -> None:
    """A wrong token raises AuthenticationError at once, with A2E's trace id and advice."""
    async with A2EClient("sk_wrong", base_url=sandbox.url, config=quick.CONFIG) as client:
        with pytest.raises(AuthenticationError, match="A2E_API_TOKEN") as caught:
            await client.request("GET", "user/remainingCoins")
    assert caught.value.trace_id
    assert len(sandbox.requests) == 1


async def test_redirect_is_not_followed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A redirect is an error that names the other host, and the token is not sent there."""
    away = web.Response(status=302, headers={"Location": "https://elsewhere.example/login?next=1"})
    with sandbox.override("GET", COINS, away), pytest.raises(UnexpectedResponseError, match=r"elsewhere\.example"):
        await a2e.request("GET", "user/remainingCoins")
    assert len(sandbox.requests) == 1


async def test_answer_over_the_limit(sandbox: Sandbox) -> None:
    """An answer larger than the limit raises an error while it is read."""
    config = attrs.evolve(quick.CONFIG, max_response_bytes=1000)

    async def flood(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(100_000):  # 100 MB, unless the client stops it
            await answer.write(bytes(1000))
        return answer

    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with sandbox.override("GET", COINS, flood), pytest.raises(UnexpectedResponseError, match="1,000 bytes"):
            await client.request("GET", "user/remainingCoins")


@pytest.mark.parametrize(
    "failure",
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
async def test_read_is_retried(a2e: A2EClient, sandbox: Sandbox, failure: web.Response) -> None:
    """A read is retried after a transient error, and its caller sees only the answer."""
    script = Script(failure, failure)
    with sandbox.override("GET", COINS, script):
        assert await a2e.request("GET", "user/remainingCoins")
    assert len(script.times) == 3


async def test_retries_are_limited(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After max_attempts the last error is raised, without the earlier ones as its context."""
    script = Script(*[web.Response(status=500, text="oops")] * 100)
    with sandbox.override("GET", COINS, script), pytest.raises(ServerError, match="oops") as caught:
        await a2e.request("GET", "user/remainingCoins")
    assert len(script.times) == quick.CONFIG.retry.max_attempts
    assert not isinstance(caught.value.__context__, APIError)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_only_reads_are_retried(a2e: A2EClient, sandbox: Sandbox, method: str) -> None:
    """A request that may cost coins is sent once, also if its connection breaks."""
    script = Script(drop, drop)
    with sandbox.override(method, "/api/v1/some", script), pytest.raises(NetworkError) as caught:
        await a2e.request(method, "some/thing")
    assert len(script.times) == 1
    assert caught.value.request_sent


async def test_permanent_errors_are_not_retried(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A request with a permanent error is not retried."""
    script = Script(*[web.json_response({"code": 404, "msg": "no such thing"}, status=404)] * 2)
    with sandbox.override("GET", COINS, script), pytest.raises(NotFoundError):
        await a2e.request("GET", "user/remainingCoins")
    assert len(script.times) == 1


async def test_retry_after_is_obeyed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A Retry-After is obeyed in full, although the client's own delays are shorter."""
    script = Script(web.Response(status=429, headers={"Retry-After": "0.4"}))
    with sandbox.override("GET", COINS, script):
        await a2e.request("GET", "user/remainingCoins")
    first, second = script.times
    assert second - first >= 0.4


async def test_retry_after_that_is_too_long_is_raised(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A Retry-After that does not fit is not shortened: the error is raised at once, with the seconds."""
    script = Script(web.Response(status=429, headers={"Retry-After": "3600"}))
    with sandbox.override("GET", COINS, script), pytest.raises(RateLimitError) as caught:
        await a2e.request("GET", "user/remainingCoins")
    assert caught.value.retry_after == 3600
    assert len(script.times) == 1


async def test_connection_refused() -> None:
    """A refused connection is a NetworkError whose `request_sent` is False, and names host and port."""
    async with A2EClient("sk_x", base_url="http://127.0.0.1:1", config=quick.CONFIG) as client:
        with pytest.raises(NetworkError, match=r"connect to http://127\.0\.0\.1:1: connection refused") as caught:
            await client.request("GET", "user/remainingCoins")
    assert not caught.value.request_sent


async def test_slow_answer_times_out(sandbox: Sandbox) -> None:
    """An answer that arrives too slowly fails after request_timeout."""
    config = attrs.evolve(quick.CONFIG, request_timeout=1.0)

    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(50):
            await answer.write(b" ")
            await asyncio.sleep(0.1)
        return answer

    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        with sandbox.override("POST", "/api/v1/some", drip), pytest.raises(NetworkError, match="timed out") as caught:
            await client.request("POST", "some/thing")
    assert caught.value.request_sent


async def test_requests_in_flight_are_limited(sandbox: Sandbox) -> None:
    """`Pacing.max_in_flight` limits the requests in flight."""
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


@pytest.mark.parametrize("language", [None, "en-US", "zh-CN"])
async def test_language(sandbox: Sandbox, language: str | None, tmp_path: pathlib.Path) -> None:
    """Every request of the API says in which language A2E is to answer; uploads and downloads go to other hosts."""
    asked: dict[str, set[str | None]] = {}

    def look(request: web.Request) -> None:
        asked.setdefault(request.path.split("/")[1], set()).add(request.headers.get("x-lang"))

    changes = {} if language == "en-US" else {"language": language}  # the default
    async with make_client(sandbox, **changes) as a2e:
        with sandbox.override("*", "/", look):
            task = await a2e.image_to_video.start(image=quick.PNG, prompt="#fast", negative_prompt="blurry")
            await task.wait_until_done(20)
            await task.download(tmp_path / "video.mp4")
    assert asked == {"api": {language}, "storage": {None}, "cdn": {None}}


async def test_reads_bypass_caches(sandbox: Sandbox, a2e: A2EClient) -> None:
    """Every GET asks caches on the way for a fresh answer; a POST is not cached anyway."""
    asked: dict[str, set[str | None]] = {}

    def look(request: web.Request) -> None:
        asked.setdefault(request.method, set()).add(request.headers.get("Cache-Control"))

    with sandbox.override("*", "/api", look):
        task = await a2e.image_to_video.start(
            image_url="https://example.com/a.png", prompt="#fast", negative_prompt="n"
        )
        await task.wait_until_done(20)
        assert await a2e.image_to_video.find(task.record.name) is not None
    assert asked == {"GET": {"no-cache"}, "POST": {None}}

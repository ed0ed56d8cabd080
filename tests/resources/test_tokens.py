"""A2E's group "Get Tokens", through the real HTTP sandbox."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web

from a2e_async import (
    A2EClient,
    AuthenticationError,
    EndpointNotAvailableError,
    InvalidRequestError,
    UnexpectedResponseError,
    UnpublishedEndpointWarning,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox

SECRET = "a very secret password"
LOGIN = "/api/login/account"


def of(sandbox: Sandbox, token: str) -> A2EClient:
    """Make a client with another token."""
    return A2EClient(token, base_url=sandbox.url, config=quick.CONFIG)


@pytest.mark.entry("2.1")
@pytest.mark.entry("2.2")
@pytest.mark.entry("2.3")
@pytest.mark.entry("2.4")
@pytest.mark.filterwarnings("ignore::a2e_async.errors.UnpublishedEndpointWarning")
async def test_life_of_a_token(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Log in, make a token with the login token, see it in the list, and delete it."""
    login = await a2e.tokens.login("ada", SECRET)
    async with of(sandbox, login) as owner:
        made = await owner.tokens.generate("for tests")
        assert made.token.startswith("sk_")
        assert made.alias == "for tests"
        assert made.token not in repr(made)
    (listed,) = [token async for token in a2e.tokens.list()]
    assert (listed.id, listed.alias, listed.token) == (made.id, "for tests", "")
    await a2e.tokens.delete(made.id)
    assert [token async for token in a2e.tokens.list()] == []


@pytest.mark.entry("2.5")
async def test_api_token_is_given_to_the_client(sandbox: Sandbox) -> None:
    """Getting API Tokens is a guide to A2E's web page: what is copied there is what a client takes."""
    async with of(sandbox, f"  {sandbox.token}\n") as a2e:
        assert (await a2e.account.balance()).coins == sandbox.coins


async def test_api_token_is_no_login_token(a2e: A2EClient) -> None:
    """With an API token, no other one can be made."""
    with pytest.raises(AuthenticationError):
        await a2e.tokens.generate("more")


async def test_warning_comes_once(a2e: A2EClient) -> None:
    """Each unpublished operation warns once for each client, and the warning is about the caller's line."""
    with pytest.warns(UnpublishedEndpointWarning, match="login/account") as caught:
        await a2e.tokens.login("ada", SECRET)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await a2e.tokens.login("ada", SECRET)


def gone() -> web.Response:
    """Answer as A2E does for a route that it does not have."""
    return web.Response(status=404, text="<!DOCTYPE html><pre>Cannot</pre>", content_type="text/html")


def missing() -> web.Response:
    """Answer 404 with JSON."""
    return web.json_response({"code": 404, "msg": "nothing here"}, status=404)


def page() -> web.Response:
    """Answer with a web page."""
    return web.Response(text="<html>A2E</html>", content_type="text/html")


CALLS: dict[str, Callable[[A2EClient, str | None], Any]] = {
    "login": lambda a2e, path: a2e.tokens.login("ada", SECRET, path=path),
    "list": lambda a2e, path: anext(a2e.tokens.list(path=path), None),
    "delete": lambda a2e, path: a2e.tokens.delete("a" * 24, path=path),
}


@pytest.mark.filterwarnings("ignore::a2e_async.errors.UnpublishedEndpointWarning")
@pytest.mark.parametrize("answer", [gone, missing, page])
@pytest.mark.parametrize("call", CALLS)
async def test_endpoint_that_is_not_there(
    a2e: A2EClient, sandbox: Sandbox, call: str, answer: Callable[[], web.Response]
) -> None:
    """If A2E does not know the guess, the error says so, names it, and tells what to do."""
    with sandbox.override("*", "/api", lambda _: answer()), pytest.raises(EndpointNotAvailableError) as caught:
        await CALLS[call](a2e, None)
    assert caught.value.path.startswith("/api/")
    assert "path=" in str(caught.value)
    assert "client.request(" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.filterwarnings("ignore::a2e_async.errors.UnpublishedEndpointWarning")
@pytest.mark.parametrize("call", CALLS)
async def test_own_path(a2e: A2EClient, sandbox: Sandbox, call: str) -> None:
    """Who knows A2E's path better gives it."""
    asked = []

    def note(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"code": 0, "data": {"token": "t"}})

    with sandbox.override("*", "/api/v1/known/better", note):
        await CALLS[call](a2e, "known/better")
    assert asked == ["/api/v1/known/better"]


@pytest.mark.filterwarnings("ignore::a2e_async.errors.UnpublishedEndpointWarning")
@pytest.mark.parametrize("data", [None, {}, {"token": 7}, {"token": ""}, []], ids=str)
async def test_answer_without_a_token(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """An answer without a token is an error that shows nothing of it."""
    with sandbox.override("POST", "/api", lambda _: web.json_response({"code": 0, "data": data})):
        with pytest.raises(UnexpectedResponseError) as caught:
            await a2e.tokens.login("ada", SECRET)
        assert not caught.value.body
        with pytest.raises(UnexpectedResponseError) as caught:
            await a2e.tokens.generate("x")
        assert not caught.value.body


async def test_what_is_empty_is_not_sent(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Empty names, passwords and ids are refused before anything is sent."""
    for call in (
        a2e.tokens.login("", SECRET),
        a2e.tokens.login("ada", ""),
        a2e.tokens.generate(" "),
        a2e.tokens.delete(""),
    ):
        with pytest.raises(InvalidRequestError):
            await call
    assert not sandbox.requests

"""A2E's group "Get Tokens", on the HTTP sandbox."""

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


def client_with_token(sandbox: Sandbox, token: str) -> A2EClient:
    """Make a client with another token."""
    return A2EClient(token, base_url=sandbox.url, config=quick.CONFIG)


@pytest.mark.entry("2.1")
@pytest.mark.entry("2.2")
@pytest.mark.entry("2.3")
@pytest.mark.entry("2.4")
@pytest.mark.filterwarnings("ignore::a2e_async.errors.UnpublishedEndpointWarning")
async def test_login_generate_list_delete(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Log in, make a token with the login token, find it in the list, and delete it."""
    login = await a2e.tokens.login("ada", SECRET)
    async with client_with_token(sandbox, login) as owner:
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
    """Getting API Tokens is a guide to A2E's web page: a token from there is passed to the client."""
    async with client_with_token(sandbox, f"  {sandbox.token}\n") as a2e:
        assert (await a2e.account.balance()).coins == sandbox.coins


async def test_api_token_is_not_a_login_token(a2e: A2EClient) -> None:
    """An API token cannot make another token."""
    with pytest.raises(AuthenticationError):
        await a2e.tokens.generate("more")


async def test_warning_is_raised_once(a2e: A2EClient) -> None:
    """Each unpublished operation warns once for each client, at the caller's line."""
    with pytest.warns(UnpublishedEndpointWarning, match="login/account") as caught:
        await a2e.tokens.login("ada", SECRET)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await a2e.tokens.login("ada", SECRET)


def unknown_path() -> web.Response:
    """Respond as A2E does for a path that it does not know."""
    return web.Response(status=404, text="<!DOCTYPE html><pre>Cannot</pre>", content_type="text/html")


def not_found() -> web.Response:
    """Respond with status 404 and JSON."""
    return web.json_response({"code": 404, "msg": "nothing here"}, status=404)


def web_page() -> web.Response:
    """Respond with a web page."""
    return web.Response(text="<html>A2E</html>", content_type="text/html")


CALLS: dict[str, Callable[[A2EClient, str | None], Any]] = {
    "login": lambda a2e, path: a2e.tokens.login("ada", SECRET, path=path),
    "list": lambda a2e, path: anext(a2e.tokens.list(path=path), None),
    "delete": lambda a2e, path: a2e.tokens.delete("a" * 24, path=path),
}


@pytest.mark.filterwarnings("ignore::a2e_async.errors.UnpublishedEndpointWarning")
@pytest.mark.parametrize("answer", [unknown_path, not_found, web_page])
@pytest.mark.parametrize("call", CALLS)
async def test_missing_endpoint(
    a2e: A2EClient, sandbox: Sandbox, call: str, answer: Callable[[], web.Response]
) -> None:
    """If A2E does not know the guessed path, the error names it and says what to do."""
    with sandbox.override("*", "/api", lambda _: answer()), pytest.raises(EndpointNotAvailableError) as caught:
        await CALLS[call](a2e, None)
    assert caught.value.path.startswith("/api/")
    assert "path=" in str(caught.value)
    assert "client.request(" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.filterwarnings("ignore::a2e_async.errors.UnpublishedEndpointWarning")
@pytest.mark.parametrize("call", CALLS)
async def test_own_path(a2e: A2EClient, sandbox: Sandbox, call: str) -> None:
    """The caller can pass the correct path."""
    asked = []

    def note(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"code": 0, "data": {"token": "t"}})

    with sandbox.override("*", "/api/v1/known/better", note):
        await CALLS[call](a2e, "known/better")
    assert asked == ["/api/v1/known/better"]


@pytest.mark.filterwarnings("ignore::a2e_async.errors.UnpublishedEndpointWarning")
@pytest.mark.parametrize("data", [None, {}, {"token": 7}, {"token": ""}, []], ids=str)
async def test_response_without_a_token(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """A response without a token raises an error that shows nothing of it."""
    with sandbox.override("POST", "/api", lambda _: web.json_response({"code": 0, "data": data})):
        with pytest.raises(UnexpectedResponseError) as caught:
            await a2e.tokens.login("ada", SECRET)
        assert not caught.value.body
        with pytest.raises(UnexpectedResponseError) as caught:
            await a2e.tokens.generate("x")
        assert not caught.value.body


async def test_empty_values_are_rejected(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Empty names, passwords and ids are rejected before a request."""
    for call in (
        a2e.tokens.login("", SECRET),
        a2e.tokens.login("ada", ""),
        a2e.tokens.generate(" "),
        a2e.tokens.delete(""),
    ):
        with pytest.raises(InvalidRequestError):
            await call
    assert not sandbox.requests

"""API tokens, as far as anything is known about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

API: Final = "/api/v1"
LOGIN: Final = "/api/login/account"
WHO: Final = {"account": "ada", "password": "secret"}


async def login(call: Call, sandbox: Sandbox) -> str:
    """Log in; return the login token."""
    token: str = (await call(sandbox, "POST", LOGIN, WHO, token="")).data["token"]
    return token


async def test_a_token_from_login_to_its_end(sandbox: Sandbox, call: Call) -> None:
    """It is shown once, listed without its value, and deleted once."""
    made = (await call(sandbox, "POST", f"{API}/token/generate", {"alias": "a"}, token=await login(call, sandbox))).data
    assert made["token"].startswith("sk_")
    (listed,) = (await call(sandbox, "GET", f"{API}/token/list")).data
    assert (listed["_id"], listed["alias"]) == (made["_id"], "a")
    assert made["token"] not in str(listed)
    assert (await call(sandbox, "POST", f"{API}/token/delete", {"_id": made["_id"]})).status == 200
    assert (await call(sandbox, "GET", f"{API}/token/list")).data == []
    assert (await call(sandbox, "POST", f"{API}/token/delete", {"_id": made["_id"]})).status == 404


@pytest.mark.parametrize("token", [None, "", "login.guessed"])
async def test_only_a_login_makes_tokens(sandbox: Sandbox, call: Call, token: str | None) -> None:
    """Not the API token, not none, not another one."""
    await login(call, sandbox)
    answer = await call(sandbox, "POST", f"{API}/token/generate", {"alias": "a"}, token=token)
    assert (answer.status, answer.body["code"]) == (401, 401)
    assert (await call(sandbox, "GET", f"{API}/token/list")).data == []


async def test_a_login_is_for_nothing_else(sandbox: Sandbox, call: Call) -> None:
    """Everything but making tokens wants the API token."""
    token = await login(call, sandbox)
    for path in ("token/list", "user/remainingCoins"):
        assert (await call(sandbox, "GET", f"{API}/{path}", token=token)).status == 401


@pytest.mark.parametrize(("body", "fields"), [({"account": "ada"}, ["password"]), ({"password": "x"}, ["account"])])
async def test_a_login_needs_both(sandbox: Sandbox, call: Call, body: dict[str, str], fields: list[str]) -> None:
    """Name and password."""
    assert (await call(sandbox, "POST", LOGIN, body, token="")).invalid_fields == fields


async def test_a_token_needs_an_alias(sandbox: Sandbox, call: Call) -> None:
    """And deleting needs an id."""
    answer = await call(sandbox, "POST", f"{API}/token/generate", {}, token=await login(call, sandbox))
    assert answer.invalid_fields == ["alias"]
    assert (await call(sandbox, "POST", f"{API}/token/delete", {})).invalid_fields == ["_id"]

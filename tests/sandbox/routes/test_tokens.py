"""API tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call

    from a2e_async.sandbox import Sandbox

API: Final = "/api/v1"
LOGIN: Final = "/api/login/account"
CREDENTIALS: Final = {"account": "ada", "password": "secret"}


async def login(call: Call, sandbox: Sandbox) -> str:
    """Log in and return the login token."""
    token: str = (await call(sandbox, "POST", LOGIN, CREDENTIALS, token="")).data["token"]
    return token


async def test_lifecycle_of_a_token(sandbox: Sandbox, call: Call) -> None:
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
async def test_only_a_login_token_makes_tokens(sandbox: Sandbox, call: Call, token: str | None) -> None:
    """The API token, no token, and another token are rejected."""
    await login(call, sandbox)
    answer = await call(sandbox, "POST", f"{API}/token/generate", {"alias": "a"}, token=token)
    assert (answer.status, answer.body["code"]) == (401, 401)
    assert (await call(sandbox, "GET", f"{API}/token/list")).data == []


async def test_login_token_has_no_other_use(sandbox: Sandbox, call: Call) -> None:
    """All other operations need the API token."""
    token = await login(call, sandbox)
    for path in ("token/list", "user/remainingCoins"):
        assert (await call(sandbox, "GET", f"{API}/{path}", token=token)).status == 401


@pytest.mark.parametrize(("body", "fields"), [({"account": "ada"}, ["password"]), ({"password": "x"}, ["account"])])
async def test_login_needs_name_and_password(
    sandbox: Sandbox, call: Call, body: dict[str, str], fields: list[str]
) -> None:
    """A login without one of them is rejected."""
    assert (await call(sandbox, "POST", LOGIN, body, token="")).invalid_fields == fields


async def test_a_token_needs_an_alias(sandbox: Sandbox, call: Call) -> None:
    """Deleting needs an id."""
    answer = await call(sandbox, "POST", f"{API}/token/generate", {}, token=await login(call, sandbox))
    assert answer.invalid_fields == ["alias"]
    assert (await call(sandbox, "POST", f"{API}/token/delete", {})).invalid_fields == ["_id"]

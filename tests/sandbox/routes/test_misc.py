"""Users, diamonds, language detection and the public pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox_requests import Call

API: Final = "/api/v1"


async def test_a_user_needs_a_name(sandbox: Sandbox, call: Call) -> None:
    """Other fields are unpublished, and ignored."""
    answer = await call(sandbox, "POST", f"{API}/user/add", {"username": "ada", "more": 1})
    assert answer.data["username"] == "ada"
    assert (await call(sandbox, "POST", f"{API}/user/add", {})).invalid_fields == ["username"]


async def test_diamonds_cost_a_hundred_coins_each(sandbox: Sandbox, call: Call) -> None:
    """Both balances change, in one entry of the ledger."""
    assert (await call(sandbox, "POST", f"{API}/user/exchangeDiamonds", {"diamonds": 2})).status == 200
    balance = (await call(sandbox, "GET", f"{API}/user/remainingCoins")).data
    assert balance == {"coins": 9_800, "diamonds": 5}
    (entry,) = sandbox.ledger
    assert (entry.reason, entry.coins, entry.diamonds) == ("diamonds", -200, 2)


async def test_too_few_coins_for_diamonds(call: Call) -> None:
    """The request is rejected, and no balance changes."""
    async with Sandbox(render="tiny", coins=199, diamonds=0) as poor:
        assert (await call(poor, "POST", f"{API}/user/exchangeDiamonds", {"diamonds": 2})).status == 400
        assert (poor.coins, poor.diamonds, poor.ledger) == (199, 0, [])
        assert (await call(poor, "POST", f"{API}/user/exchangeDiamonds", {"diamonds": 1})).status == 200
        assert (poor.coins, poor.diamonds) == (99, 1)


@pytest.mark.parametrize("diamonds", [None, 0, -1, 1.5, "1", True])
async def test_number_of_diamonds_is_a_positive_integer(sandbox: Sandbox, call: Call, diamonds: object) -> None:
    """Other values are rejected, and no balance changes."""
    answer = await call(sandbox, "POST", f"{API}/user/exchangeDiamonds", {"diamonds": diamonds})
    assert answer.invalid_fields == ["diamonds"]
    assert (sandbox.diamonds, sandbox.ledger) == (3, [])


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Good morning, everybody", "en"), ("早上好", "zh"), ("おはよう、日本", "ja"), ("안녕하세요", "ko"),
        ("Доброе утро", "ru"), ("Das ist ein Haus", "de"), ("No es una casa", "es"), ("Le chat est noir", "fr"),
    ],
)  # fmt: skip
async def test_the_language_of_a_text(sandbox: Sandbox, call: Call, text: str, language: str) -> None:
    """It is a bare string."""
    assert (await call(sandbox, "POST", f"{API}/video/lang_classify", {"msg": text})).data == language


async def test_language_of_no_text(sandbox: Sandbox, call: Call) -> None:
    """The request is rejected."""
    assert (await call(sandbox, "POST", f"{API}/video/lang_classify", {})).invalid_fields == ["msg"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_public_pool(sandbox: Sandbox, call: Call, wanted: bool) -> None:  # noqa: FBT001  (a parameter of the test)
    """The response repeats the setting."""
    answer = await call(sandbox, "POST", f"{API}/video/auto-public-pool", {"isAutoToPublicPool": wanted})
    assert answer.data == {"isAutoToPublicPool": wanted}


@pytest.mark.parametrize("body", [{}, {"isAutoToPublicPool": "yes"}])
async def test_public_pool_needs_a_boolean(sandbox: Sandbox, call: Call, body: dict[str, object]) -> None:
    """Other values are rejected."""
    answer = await call(sandbox, "POST", f"{API}/video/auto-public-pool", body)
    assert answer.invalid_fields == ["isAutoToPublicPool"]

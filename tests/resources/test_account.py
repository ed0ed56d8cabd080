"""A2E's groups "Miscellaneous" and "Credits", on the HTTP sandbox."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from aiohttp import web
from paid_starts import count_requests, recorded_bodies

from a2e_async import (
    A2EClient,
    BadRequestError,
    InvalidRequestError,
    NetworkError,
    RateLimitError,
    SubmissionUncertainError,
)
from a2e_async.models import Balance
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

EXCHANGE = "/api/v1/user/exchangeDiamonds"
HISTORY = "/api/v1/transactionRecord/creditsHistory"
FACE = "https://example.com/face.png"
VIDEO = "https://example.com/ada.mp4"


@pytest.mark.entry("12.2")
async def test_balance(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Get User Remaining Credits: both currencies."""
    assert await a2e.account.balance() == Balance(coins=sandbox.coins, diamonds=sandbox.diamonds)


@pytest.mark.parametrize("data", [None, [], "much", {"coins": None}, {"coins": {}}], ids=str)
async def test_unreadable_balance(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """A balance that cannot be read is None, and does not raise."""
    with sandbox.override("GET", "/api/v1/user/remainingCoins", lambda _: web.json_response({"code": 0, "data": data})):
        assert await a2e.account.balance() == Balance()


@pytest.mark.entry("12.3")
async def test_exchange_diamonds(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Exchange Diamonds: 100 coins are exchanged for each diamond."""
    before = await a2e.account.balance()
    await a2e.account.exchange_diamonds(2)
    after = await a2e.account.balance()
    assert (before.coins, before.diamonds) == (sandbox.coins + 200, sandbox.diamonds - 2)
    assert (after.coins, after.diamonds) == (sandbox.coins, sandbox.diamonds)


@pytest.mark.parametrize("diamonds", [0, -1, 1.5, "2", True, None], ids=str)
async def test_invalid_number_of_diamonds(a2e: A2EClient, sandbox: Sandbox, diamonds: Any) -> None:
    """An invalid number of diamonds is rejected before a request."""
    with pytest.raises(InvalidRequestError, match="diamonds"):
        await a2e.account.exchange_diamonds(diamonds)
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("429"), RateLimitError),
        (Fault("drop"), SubmissionUncertainError),
        (Fault("drop", after=True), SubmissionUncertainError),
        (Fault("status"), SubmissionUncertainError),
        (Fault("html"), SubmissionUncertainError),
    ],
    ids=str,
)
async def test_diamonds_are_exchanged_once(
    a2e: A2EClient, sandbox: Sandbox, fault: Fault, error: type[Exception]
) -> None:
    """An exchange is sent exactly once, after any error."""
    sandbox.faults = FaultPlan(script={"*": [fault]})
    with pytest.raises(error):
        await a2e.account.exchange_diamonds(1)
    assert count_requests(sandbox, EXCHANGE) == 1


async def test_diamonds_without_a_connection() -> None:
    """If A2E cannot be reached, the exchange raises at once, and the error says that nothing was sent."""
    async with A2EClient("sk_x", base_url="http://127.0.0.1:1") as a2e:
        with pytest.raises(NetworkError) as caught:
            await a2e.account.exchange_diamonds(1)
    assert not caught.value.request_sent


@pytest.mark.entry("12.4")
async def test_languages(a2e: A2EClient) -> None:
    """List Available Languages: each with its regions, and the same as those of the voices."""
    languages = await a2e.account.languages()
    english = next(language for language in languages if language.value == "en")
    assert english.label
    assert "US" in {region.value for region in english.regions}
    assert [language.value for language in await a2e.voices.languages()] == [language.value for language in languages]


@pytest.mark.entry("12.1")
async def test_add_user(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Add a User: the name is sent with all other fields of the caller."""
    with recorded_bodies(sandbox, "/api/v1/user/add") as bodies:
        await a2e.account.add_user("ada", email="ada@example.com")
    assert bodies == [{"username": "ada", "email": "ada@example.com"}]
    with pytest.raises(InvalidRequestError, match="username"):
        await a2e.account.add_user("")


async def test_history(a2e: A2EClient, sandbox: Sandbox) -> None:
    """All transactions are listed, the newest first, over all pages."""
    for number in range(5):
        await a2e.face_swap.start(face_url=FACE, video_url=VIDEO, name=f"swap {number}")
    movements = [movement async for movement in a2e.account.history(page_size=2)]
    assert [movement.coins for movement in movements] == [entry.coins for entry in reversed(sandbox.ledger)]
    assert all(movement.created_at is not None and movement.type for movement in movements)


async def test_history_is_filtered(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The history is filtered by direction and by time."""
    await a2e.face_swap.start(face_url=FACE, video_url=VIDEO)
    now = sandbox.ledger[0].time
    account = a2e.account
    assert [m async for m in account.history(is_consumption=False)] == []
    assert len([m async for m in account.history(is_consumption=True)]) == 1
    assert [m async for m in account.history(start_date=now + dt.timedelta(hours=1))] == []
    hour_ago = (now - dt.timedelta(hours=1)).replace(tzinfo=None)  # without a time zone: UTC
    assert len([m async for m in account.history(start_date=hour_ago, end_date=now + dt.timedelta(hours=1))]) == 1


@pytest.mark.parametrize("name", ["_id", "no_id"])
async def test_history_that_repeats_its_last_page(a2e: A2EClient, sandbox: Sandbox, name: str) -> None:
    """A server that repeats its last full page forever ends the list, with or without ids, and nothing comes twice."""
    rows = [{name: "a", "coins": -1}, {name: "b", "coins": -1}]
    with sandbox.override("GET", HISTORY, lambda _: web.json_response({"code": 0, "data": {"list": rows}})):
        found = [transaction.coins async for transaction in a2e.account.history(page_size=2)]
    assert found == [-1, -1]
    assert count_requests(sandbox, HISTORY) == 4


async def test_history_keeps_equal_transactions(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Two transactions without an id that look the same are two."""
    with sandbox.override("GET", HISTORY, lambda _: web.json_response({"code": 0, "data": [{"coins": -1}] * 2})):
        assert [transaction.coins async for transaction in a2e.account.history()] == [-1, -1]


@pytest.mark.parametrize(
    "filters", [{"page_size": 0}, {"page_size": 101}, {"is_consumption": "no"}, {"start_date": "2026-01-01"}], ids=str
)
async def test_invalid_filter(a2e: A2EClient, sandbox: Sandbox, filters: Any) -> None:
    """An invalid filter is rejected before a request."""
    with pytest.raises(InvalidRequestError):
        await anext(a2e.account.history(**filters))
    assert not sandbox.requests


async def test_quote(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A quote returns the price of a start, and starts nothing."""
    body = {"image_url": FACE, "prompt": "p", "negative_prompt": "n", "video_time": 10, "model_version": "a2e"}
    quote = await a2e.account.quote("userImage2Video/start", body)
    assert (quote.coins, quote.validated) == (60, True)
    assert not sandbox.ledger


async def test_quote_without_a_price(a2e: A2EClient) -> None:
    """A path without a price raises A2E's error."""
    with pytest.raises(BadRequestError):
        await a2e.account.quote("user/remainingCoins", {})


@pytest.mark.parametrize("data", [None, [], {"price": "?"}], ids=str)
async def test_unreadable_quote(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """A price that cannot be read is None."""
    with sandbox.override("POST", "/api/v1/generation/quote", lambda _: web.json_response({"code": 0, "data": data})):
        quote = await a2e.account.quote("talkingPhoto/start", {})
    assert (quote.coins, quote.validated) == (None, None)

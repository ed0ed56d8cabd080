"""Coins: balance, quotes and history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox_requests import Call, Start

    from a2e_async.sandbox import Sandbox

QUOTE = "/api/v1/generation/quote"
HISTORY = "/api/v1/transactionRecord/creditsHistory"
START = "/api/v1/userImage2Video/start"


async def test_balance(sandbox: Sandbox, start: Start, call: Call) -> None:
    """The response has the current coins and diamonds."""
    await start(sandbox)
    answer = await call(sandbox, "GET", "/api/v1/user/remainingCoins")
    assert answer.data == {"coins": 9_970, "diamonds": 3} == {"coins": sandbox.coins, "diamonds": sandbox.diamonds}


@pytest.mark.parametrize("endpoint", [START, f"POST {START}"])
async def test_quote_is_free(sandbox: Sandbox, call: Call, endpoint: str) -> None:
    """A quote is the price of all videos, with or without the method before the path, and charges nothing."""
    wanted = {"prompt": "p", "negative_prompt": "n", "image_url": "https://e.com/a", "number_of_images": 2}
    answer = await call(sandbox, "POST", QUOTE, {"endpoint": endpoint, "requestBody": wanted})
    assert answer.data == {"coins": 60, "generationRequestValidated": True}
    assert sandbox.ledger == []


async def test_quote_of_a_partial_body(sandbox: Sandbox, call: Call) -> None:
    """If only the fields for the price were valid, the flag is false."""
    answer = await call(sandbox, "POST", QUOTE, {"endpoint": START, "requestBody": {"video_time": 10}})
    assert answer.data == {"coins": 60, "generationRequestValidated": False}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"endpoint": START},
        {"endpoint": "/api/v1/user/remainingCoins", "requestBody": {}},
        {"endpoint": START, "requestBody": {"video_time": 7}},
    ],
)
async def test_invalid_quote(sandbox: Sandbox, call: Call, body: dict[str, object]) -> None:
    """Unsupported endpoints and invalid fields for the price are a 400."""
    assert (await call(sandbox, "POST", QUOTE, body)).status == 400


@pytest.mark.parametrize(
    ("query", "coins"),
    [
        ("", [30, -30, -60]),
        ("?pageSize=1&pageNum=2", [-30]),
        ("?is_consumption=true", [-30, -60]),
        ("?is_consumption=false", [30]),
        ("?startDate=2020-01-01T00:00:00Z&endDate=2999-01-01", [30, -30, -60]),
        ("?startDate=2999-01-01", []),
        ("?endDate=2020-01-01", []),
    ],
)
async def test_history(frozen_sandbox: Sandbox, start: Start, call: Call, query: str, coins: list[int]) -> None:
    """Transactions come newest first, negative if spent; paging, direction and bounds of time are applied."""
    await start(frozen_sandbox, video_time=10)
    task_id = (await start(frozen_sandbox)).data["_id"]
    await call(frozen_sandbox, "DELETE", f"/api/v1/userImage2Video/{task_id}")
    answer = await call(frozen_sandbox, "GET", f"{HISTORY}{query}")
    assert [row["coins"] for row in answer.data["rows"]] == coins


async def test_history_with_an_invalid_date(sandbox: Sandbox, call: Call) -> None:
    """A bound that is not a date is a 400, even if the history is empty."""
    assert (await call(sandbox, "GET", f"{HISTORY}?startDate=soon")).status == 400


async def test_quote_of_other_families(sandbox: Sandbox, call: Call) -> None:
    """Each start has a price, by its path, and nothing is charged."""
    body = {"endpoint": "POST /api/v1/userGptImage/start", "requestBody": {"prompt": "p", "quality": "high"}}
    quote = await call(sandbox, "POST", "/api/v1/generation/quote", body)
    assert quote.data == {"coins": 35, "generationRequestValidated": False}  # without a name
    body["requestBody"] = {"prompt": "p", "name": "n", "quality": "high"}
    assert (await call(sandbox, "POST", "/api/v1/generation/quote", body)).data["generationRequestValidated"] is True
    body["requestBody"] = {"prompt": "p", "name": "n", "quality": "best"}
    assert (await call(sandbox, "POST", "/api/v1/generation/quote", body)).invalid_fields == ["quality"]
    assert not sandbox.ledger

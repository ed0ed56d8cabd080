"""Streaming avatars: rooms that are charged at once, and refunded in part if left early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from sandbox_requests import Call, Response

ROOMS: Final = "/api/v1/streaming-avatar"
MISSING: Final = "0" * 24


async def avatar(call: Call, sandbox: Sandbox) -> str:
    """Return the id of an avatar."""
    avatar_id: str = (await call(sandbox, "GET", f"{ROOMS}/all_avatars")).data[0]["_id"]
    return avatar_id


async def request_room(call: Call, sandbox: Sandbox, seconds: int = 600) -> Response:
    """Request a room."""
    body = {"avatar_id": await avatar(call, sandbox), "expire_seconds": seconds}
    return await call(sandbox, "POST", f"{ROOMS}/agora-token", body)


async def room(call: Call, sandbox: Sandbox) -> str:
    """Open a room, and return its channel."""
    channel: str = (await request_room(call, sandbox)).data["channel"]
    return channel


async def test_avatars(sandbox: Sandbox, call: Call) -> None:
    """They have images."""
    found = (await call(sandbox, "GET", f"{ROOMS}/all_avatars")).data
    assert [(await call(sandbox, "GET", one["people_img"])).status for one in found] == [200] * 3


async def test_room_is_charged_at_once(sandbox: Sandbox, call: Call) -> None:
    """All of its time is charged; the response has the data for RTC."""
    data = (await request_room(call, sandbox, 600)).data
    assert {"appId", "channel", "token", "uid"} <= set(data)
    assert isinstance(data["uid"], int)
    (entry,) = sandbox.ledger
    assert (entry.reason, entry.task_id, entry.coins) == ("streaming avatar", data["channel"], -100)
    assert sandbox.coins == 9_900


@pytest.mark.parametrize(("seconds", "coins"), [(1, 1), (6, 1), (7, 2), (60, 10)])
async def test_price_is_rounded_up(sandbox: Sandbox, call: Call, seconds: int, coins: int) -> None:
    """Part of a coin is charged as one coin."""
    await request_room(call, sandbox, seconds)
    assert sandbox.coins == 10_000 - coins


async def test_leaving_early_refunds_the_unused_time(sandbox: Sandbox, call: Call) -> None:
    """Nearly all of it is refunded, in full coins, once, with an entry in the ledger.

    The room costs 10 coins a minute.
    """
    channel = await room(call, sandbox)
    await asyncio.sleep(7)
    for _ in range(2):
        assert (await call(sandbox, "POST", f"{ROOMS}/leave", {"channel": channel})).status == 200
    paid, back = sandbox.ledger
    assert (back.reason, back.task_id) == ("refund", channel)
    assert (paid.coins, back.coins, sandbox.coins) == (-100, 98, 9_998)


async def test_limit_of_rooms(sandbox: Sandbox, call: Call) -> None:
    """The third is rejected with 1001 on HTTP 200, without a charge, until another is left."""
    channel, _ = await room(call, sandbox), await room(call, sandbox)
    busy = await request_room(call, sandbox)
    assert (busy.status, busy.body["code"]) == (200, 1001)
    assert "hosts are occupied" in busy.body["msg"]
    assert len(sandbox.ledger) == 2
    await call(sandbox, "POST", f"{ROOMS}/leave", {"channel": channel})
    assert (await request_room(call, sandbox)).body["code"] == 0


async def test_too_few_coins_for_a_room(call: Call) -> None:
    """Nothing is charged."""
    async with Sandbox(render="tiny", coins=99) as poor:
        assert (await request_room(call, poor, 600)).status == 400
        assert (poor.coins, poor.ledger) == (99, [])
        assert (await request_room(call, poor, 594)).status == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"avatar_id": ""}, "avatar_id"),
        ({"expire_seconds": 0}, "expire_seconds"),
        ({"expire_seconds": -1}, "expire_seconds"),
        ({"expire_seconds": "60"}, "expire_seconds"),
        ({"expire_seconds": 10**9}, "expire_seconds"),
    ],
)
async def test_invalid_fields_of_a_room(sandbox: Sandbox, call: Call, change: dict[str, Any], field: str) -> None:
    """The response names them, and nothing is charged."""
    body = {"avatar_id": await avatar(call, sandbox), "expire_seconds": 60} | change
    assert (await call(sandbox, "POST", f"{ROOMS}/agora-token", body)).invalid_fields == [field]
    assert sandbox.ledger == []


async def test_room_needs_an_avatar_and_a_time(sandbox: Sandbox, call: Call) -> None:
    """The avatar must exist, and the time is required."""
    answer = await call(sandbox, "POST", f"{ROOMS}/agora-token", {"avatar_id": MISSING, "expire_seconds": 60})
    assert answer.status == 404
    answer = await call(sandbox, "POST", f"{ROOMS}/agora-token", {"avatar_id": await avatar(call, sandbox)})
    assert answer.invalid_fields == ["expire_seconds"]


async def test_questions_need_a_context(sandbox: Sandbox, call: Call) -> None:
    """Without one they are rejected. The context can be read; speaking needs none."""
    channel = await room(call, sandbox)
    question = {"channel": channel, "text": "Why?"}
    assert (await call(sandbox, "POST", f"{ROOMS}/speak", question)).status == 200
    assert (await call(sandbox, "POST", f"{ROOMS}/ask", question)).status == 400
    context = {"channel": channel, "text": "x" * 5000}
    assert (await call(sandbox, "POST", f"{ROOMS}/set-qa-context", context)).status == 200
    assert (await call(sandbox, "POST", f"{ROOMS}/ask", question)).status == 200
    read = await call(sandbox, "GET", f"{ROOMS}/get-qa-context?channel={channel}")
    assert read.data == {"text": "x" * 5000}


async def test_limit_of_the_context(sandbox: Sandbox, call: Call) -> None:
    """It is 5,000 characters; a longer one does not replace the context."""
    channel = await room(call, sandbox)
    body = {"channel": channel, "text": "x" * 5001}
    assert (await call(sandbox, "POST", f"{ROOMS}/set-qa-context", body)).invalid_fields == ["text"]
    assert (await call(sandbox, "GET", f"{ROOMS}/get-qa-context?channel={channel}")).data == {"text": ""}


@pytest.mark.parametrize("operation", ["set-qa-context", "ask", "speak"])
async def test_closed_or_unknown_room(sandbox: Sandbox, call: Call, operation: str) -> None:
    """An unknown room, a room that was left and a missing id are rejected."""
    channel = await room(call, sandbox)
    await call(sandbox, "POST", f"{ROOMS}/leave", {"channel": channel})
    for closed in (MISSING, channel):
        body = {"channel": closed, "text": "Hello"}
        assert (await call(sandbox, "POST", f"{ROOMS}/{operation}", body)).status == 404
    assert (await call(sandbox, "POST", f"{ROOMS}/{operation}", {})).invalid_fields == ["channel", "text"]

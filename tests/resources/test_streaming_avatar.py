"""A2E's group "Streaming Avatar", on the HTTP sandbox."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from conditions import wait_until
from paid_starts import count_requests, make_client

from a2e_async import (
    A2EClient,
    APIError,
    BadRequestError,
    BusyError,
    EndpointNotAvailableError,
    InvalidRequestError,
    NotFoundError,
    SubmissionUncertainError,
    UnexpectedResponseError,
    UnpublishedEndpointWarning,
)
from a2e_async.resources import streaming_avatar
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from a2e_async.resources.streaming_avatar import StreamingSession

ADA = "64a0000000000000000000a1"
TOKEN = "/api/v1/streaming-avatar/agora-token"
LEAVE = "/api/v1/streaming-avatar/leave"


def coins_spent(sandbox: Sandbox) -> int:
    """Return the coins that rooms have cost, after refunds."""
    return -sum(entry.coins for entry in sandbox.ledger)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without long pauses."""
    monkeypatch.setattr(streaming_avatar, "_LEAVE_DELAYS", (0.0, 0.01, 0.02))


@pytest.mark.entry("11.1")
async def test_avatars(a2e: A2EClient) -> None:
    """Get All avatars: only those that can stream."""
    avatars = await a2e.streaming_avatar.avatars()
    assert ADA in {avatar.id for avatar in avatars}
    assert all(avatar.name for avatar in avatars)


@pytest.mark.entry("11.2")
@pytest.mark.entry("11.7")
async def test_session(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Get a Streaming Avatar Token, and Leave the Room: charged in advance, unused time is refunded."""
    async with a2e.streaming_avatar.session(ADA, expire_seconds=600) as session:
        assert coins_spent(sandbox) == 100
        token = session.token
        assert token.app_id
        assert token.channel == session.channel
        assert token.uid
        assert token.token not in repr(session)
    assert 0 <= coins_spent(sandbox) <= 1
    assert count_requests(sandbox, LEAVE) == 1


@pytest.mark.entry("11.3")
@pytest.mark.entry("11.5")
@pytest.mark.entry("11.6")
async def test_talk(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Set QA Context, Ask a Question, Let the Avatar Speak: the texts arrive in the room in their order."""
    sent: list[tuple[str, str]] = []

    async def note(request: web.Request) -> None:
        body = await request.json()
        assert body["channel"] == session.channel
        sent.append((request.path.rpartition("/")[2], body["text"]))

    async with a2e.streaming_avatar.session(ADA, expire_seconds=60) as session:
        with pytest.raises(APIError, match="context"):
            await session.ask("Are you Ada?")
        with sandbox.override("POST", "/api/v1/streaming-avatar/", note):
            await session.set_qa_context("You are Ada.")
            await session.ask("Are you Ada?")
            await session.speak("Goodbye.")
    assert sent == [("set-qa-context", "You are Ada."), ("ask", "Are you Ada?"), ("speak", "Goodbye.")]


@pytest.mark.entry("11.4")
async def test_get_qa_context(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Get QA Context: a guessed path, with a warning, which can be replaced."""
    async with a2e.streaming_avatar.session(ADA, expire_seconds=60) as session:
        await session.set_qa_context("You are Ada.")
        with pytest.warns(UnpublishedEndpointWarning, match="get-qa-context"):
            assert await session.get_qa_context() == {"text": "You are Ada."}
        with sandbox.override("GET", "/api/v1/x/y", web.json_response({"code": 0, "data": "so"})):
            assert await session.get_qa_context(path="x/y") == "so"
        with pytest.raises(EndpointNotAvailableError):
            await session.get_qa_context(path="no/such")
        refused = web.json_response({"code": 400, "msg": "no"}, status=400)
        with sandbox.override("GET", "/api/v1/x/y", refused), pytest.raises(BadRequestError):
            await session.get_qa_context(path="x/y")


async def test_by_hand(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A room can be opened and left without a block, and left twice."""
    token = await a2e.streaming_avatar.token(ADA, expire_seconds=600)
    await a2e.streaming_avatar.speak(token.channel, "Hello.")
    for _ in range(2):
        await a2e.streaming_avatar.leave(token.channel)
    assert coins_spent(sandbox) <= 1


async def test_left_early(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Leaving within the block refunds at once, and only once."""
    async with a2e.streaming_avatar.session(ADA, expire_seconds=600) as session:
        await session.leave()
        assert coins_spent(sandbox) <= 1
    assert [entry.reason for entry in sandbox.ledger] == ["streaming avatar", "refund"]


async def test_exception_in_the_block(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An exception in the block is raised unchanged, and the room is left."""
    with pytest.raises(ZeroDivisionError):
        async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
            raise ZeroDivisionError
    assert coins_spent(sandbox) <= 1


async def test_cancelled_in_the_block(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A cancelled block leaves the room first, also after a second cancellation."""
    inside = asyncio.Event()

    async def stay() -> None:
        async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
            inside.set()
            await asyncio.Event().wait()

    sandbox.faults = FaultPlan(script={"*": [None, Fault("delay", seconds=0.2)]})
    staying = asyncio.create_task(stay())
    await inside.wait()
    staying.cancel()
    await asyncio.sleep(0.05)
    staying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staying
    assert coins_spent(sandbox) <= 1


async def test_cancelled_while_the_room_is_opened(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A room that A2E opens during the cancellation of its caller is left."""
    sandbox.faults = FaultPlan(script={"*": [Fault("delay", after=True, seconds=1.0)]})

    async def stay() -> None:
        async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
            pytest.fail("it was cancelled before")

    staying = asyncio.create_task(stay())
    await wait_until(lambda: sandbox.ledger)
    staying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staying
    await wait_until(lambda: len(sandbox.ledger) > 1)  # it is left in the background
    assert coins_spent(sandbox) <= 1
    assert count_requests(sandbox, LEAVE) == 1


async def test_cancelled_before_a_response_without_a_room(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the late response has no room, there is nothing to leave, and the cancellation is raised."""
    asked = asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(0.5)
        return web.json_response({"code": 0, "data": {}})

    with sandbox.override("POST", TOKEN, late):
        opening = asyncio.create_task(a2e.streaming_avatar.token(ADA, expire_seconds=60))
        await asked.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert not count_requests(sandbox, LEAVE)


async def test_leaving_in_2025() -> None:
    """The older spelling needs the avatar as well, and refunds too."""
    async with (
        Sandbox(speed=100, render="tiny", api_version="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        for _ in range(2):
            async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
                pass
        token = await a2e.streaming_avatar.token(ADA, expire_seconds=600)
        await a2e.streaming_avatar.leave(token.channel, avatar_id=ADA)
        assert coins_spent(sandbox) <= 3
        assert [count_requests(sandbox, LEAVE), count_requests(sandbox, f"{LEAVE}_room")] == [1, 3]


@pytest.mark.parametrize("spelling", ["leave", "leave-room", "leave_room"])
@pytest.mark.parametrize("number", [17, "17", "u-17"])
async def test_every_spelling_of_leaving(a2e: A2EClient, sandbox: Sandbox, spelling: str, number: object) -> None:
    """Whichever spelling A2E has, it gets the fields of all three."""
    bodies: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.rpartition("/")[2] != spelling:
            return web.Response(status=404, text="<html></html>", content_type="text/html")
        bodies.append(await request.json())
        return web.json_response({"code": 0, "data": {}})

    room = web.json_response({"code": 0, "data": {"channel": "c", "uid": number, "token": "t"}})
    with sandbox.override("POST", TOKEN, room), sandbox.override("POST", LEAVE, answer):
        async with a2e.streaming_avatar.session(ADA, expire_seconds=60) as session:
            await session.leave()
    uid = "u-17" if number == "u-17" else 17
    assert bodies == [{"channel": "c", "uid": uid, "avatar_id": ADA}] * 2


@pytest.mark.parametrize("spelling", ["speak", "direct-speak", "talk"])
async def test_every_spelling_of_speaking(a2e: A2EClient, sandbox: Sandbox, spelling: str) -> None:
    """Whichever spelling A2E has, the avatar speaks once."""
    bodies: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path.rpartition("/")[2] != spelling:
            return web.Response(status=404, text="<html></html>", content_type="text/html")
        bodies.append(await request.json())
        return web.json_response({"code": 0, "data": {}})

    with sandbox.override("POST", "/api/v1/streaming-avatar/", answer):
        await a2e.streaming_avatar.speak("c", "Hello.")
    assert bodies == [{"channel": "c", "text": "Hello."}]


async def test_speaking_in_a_closed_room(a2e: A2EClient) -> None:
    """A2E's own error is raised, not that of the last spelling."""
    with pytest.raises(NotFoundError, match="room"):
        await a2e.streaming_avatar.speak("c", "Hello.")


@pytest.mark.parametrize("number", [7, "7"])
async def test_room_in_a_list(a2e: A2EClient, sandbox: Sandbox, number: object) -> None:
    """A room in a list is read too, and its name may be a number."""
    answer = web.json_response({"code": 0, "data": [{"channel": number, "token": "secret"}]})
    with sandbox.override("POST", TOKEN, answer):
        assert (await a2e.streaming_avatar.token(ADA, expire_seconds=60)).channel == "7"


async def test_leaving_without_a_response(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to leave that hangs does not block the caller forever; the log says so."""
    monkeypatch.setattr(streaming_avatar, "_LEAVE_TIMEOUT", 0.2)
    async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
        sandbox.faults = FaultPlan(script={"*": [Fault("delay", seconds=5.0)] * 9})
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "within 0.2 seconds" in record.getMessage()


async def test_leaving_is_retried(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Leaving is retried after an error, and the result of the block is kept."""
    broken = [Fault("status", status=500)] * 5
    async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
        sandbox.faults = FaultPlan(script={"*": broken})
    assert coins_spent(sandbox) <= 1


async def test_leaving_that_fails(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """If a room cannot be left, its name is logged, and the exception of the block is not hidden."""
    refused = web.json_response({"code": 400, "msg": "no"}, status=400)
    with (
        sandbox.override("POST", LEAVE, refused),
        caplog.at_level(logging.ERROR, "a2e_async"),
        pytest.raises(ZeroDivisionError),
    ):
        async with a2e.streaming_avatar.session(ADA, expire_seconds=600) as session:
            raise ZeroDivisionError
    assert count_requests(sandbox, LEAVE) == 3
    (record,) = caplog.records
    assert session.channel in record.getMessage()
    assert session.token.token not in record.getMessage()


async def test_occupied_hosts(a2e: A2EClient) -> None:
    """When all machines are in use, A2E is busy, which is transient."""

    async def talk(session: StreamingSession) -> None:
        await session.speak("Hello.")

    stream = a2e.streaming_avatar
    async with stream.session(ADA, expire_seconds=60) as one, stream.session(ADA, expire_seconds=60) as other:
        await asyncio.gather(talk(one), talk(other))
        with pytest.raises(BusyError):
            await stream.token(ADA, expire_seconds=60)


async def test_lost_token_is_not_started_twice(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the response is lost, no second room is opened."""
    sandbox.faults = FaultPlan(script={"*": [Fault("drop", after=True)]})
    with pytest.raises(SubmissionUncertainError):
        await a2e.streaming_avatar.token(ADA, expire_seconds=60)
    assert count_requests(sandbox, TOKEN) == 1


@pytest.mark.parametrize("data", [None, [], {}, {"channel": ""}, [{"channel": [7], "token": "secret"}]], ids=str)
async def test_response_without_a_room(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """A response without a room raises an error that shows no token."""
    with (
        sandbox.override("POST", TOKEN, web.json_response({"code": 0, "data": data})),
        pytest.raises(UnexpectedResponseError) as caught,
    ):
        await a2e.streaming_avatar.token(ADA, expire_seconds=60)
    assert "secret" not in str(caught.value)


async def test_invalid_session_is_rejected(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Invalid options are rejected before a request."""
    stream, wrong = a2e.streaming_avatar, list[Any]([0, -1, 1.5, "60", None])
    calls = [stream.token(ADA, expire_seconds=seconds) for seconds in wrong]
    calls += [stream.token("", expire_seconds=60)]
    texts = [stream.set_qa_context("c", "x" * 5001), stream.speak("c", ""), stream.ask("", "x"), stream.leave("")]
    for call in [*calls, *texts, stream.get_qa_context("")]:
        with pytest.raises(InvalidRequestError):
            await call
    assert not sandbox.requests

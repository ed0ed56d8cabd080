"""A2E's group "Streaming Avatar", through the real HTTP sandbox."""

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
    SubmissionUncertainError,
    UnexpectedResponseError,
    UnpublishedEndpointWarning,
)
from a2e_async.resources import streaming_avatar
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    from a2e_async.resources.streaming_avatar import StreamingSession

ADA = "64a0000000000000000000a1"
TOKEN = "/api/v1/streaming-avatar/agora-token"
LEAVE = "/api/v1/streaming-avatar/leave"


def spent(sandbox: Sandbox) -> int:
    """Return the coins that rooms have cost in the end."""
    return -sum(entry.coins for entry in sandbox.ledger)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without long pauses."""
    monkeypatch.setattr(streaming_avatar, "_LEAVING", (0.0, 0.01, 0.02))


@pytest.mark.entry("11.1")
async def test_avatars(a2e: A2EClient) -> None:
    """Get All avatars: those that can stream."""
    avatars = await a2e.streaming_avatar.avatars()
    assert ADA in {avatar.id for avatar in avatars}
    assert all(avatar.name for avatar in avatars)


@pytest.mark.entry("11.2")
@pytest.mark.entry("11.7")
async def test_session(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Get a Streaming Avatar Token, and Leave the Room: paid at once, and refunded but for what was used."""
    async with a2e.streaming_avatar.session(ADA, expire_seconds=600) as session:
        assert spent(sandbox) == 100
        token = session.token
        assert token.app_id
        assert token.channel == session.channel
        assert token.uid
        assert token.token not in repr(session)
    assert 0 <= spent(sandbox) <= 1
    assert count_requests(sandbox, LEAVE) == 1


@pytest.mark.entry("11.3")
@pytest.mark.entry("11.5")
@pytest.mark.entry("11.6")
async def test_talk(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Set QA Context, Ask a Question, Let the Avatar Speak: what is said arrives in the room, in its order."""
    said: list[tuple[str, str]] = []

    async def note(request: web.Request) -> None:
        body = await request.json()
        assert body["channel"] == session.channel
        said.append((request.path.rpartition("/")[2], body["text"]))

    async with a2e.streaming_avatar.session(ADA, expire_seconds=60) as session:
        with pytest.raises(APIError, match="context"):
            await session.ask("Who are you?")
        with sandbox.override("POST", "/api/v1/streaming-avatar/", note):
            await session.set_qa_context("You are Ada.")
            await session.ask("Who are you?")
            await session.speak("Goodbye.")
    assert said == [("set-qa-context", "You are Ada."), ("ask", "Who are you?"), ("speak", "Goodbye.")]


@pytest.mark.entry("11.4")
async def test_get_qa_context(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Get QA Context: a guess, which says so, and which can be corrected."""
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
    """A room can be opened and left by hand, and left twice."""
    token = await a2e.streaming_avatar.token(ADA, expire_seconds=600)
    await a2e.streaming_avatar.speak(token.channel, "Hello.")
    for _ in range(2):
        await a2e.streaming_avatar.leave(token.channel)
    assert spent(sandbox) <= 1


async def test_left_early(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Who leaves within the block is refunded then, and once."""
    async with a2e.streaming_avatar.session(ADA, expire_seconds=600) as session:
        await session.leave()
        assert spent(sandbox) <= 1
    assert [entry.what for entry in sandbox.ledger] == ["streaming avatar", "refund"]


async def test_exception_in_the_block(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An exception of the block comes out as it is, and the room is left."""
    with pytest.raises(ZeroDivisionError):
        async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
            raise ZeroDivisionError
    assert spent(sandbox) <= 1


async def test_cancelled_in_the_block(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Who is cancelled leaves the room first, also if he is cancelled again meanwhile."""
    inside = asyncio.Event()

    async def stay() -> None:
        async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
            inside.set()
            await asyncio.Event().wait()

    sandbox.weather = Weather(script={"*": [None, Fault("delay", seconds=0.2)]})
    staying = asyncio.create_task(stay())
    await inside.wait()
    staying.cancel()
    await asyncio.sleep(0.05)
    staying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staying
    assert spent(sandbox) <= 1


async def test_cancelled_while_the_room_is_opened(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A room that A2E opens while its caller is being cancelled is left."""
    sandbox.weather = Weather(script={"*": [Fault("delay", after=True, seconds=1.0)]})

    async def stay() -> None:
        async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
            pytest.fail("it was cancelled before")

    staying = asyncio.create_task(stay())
    await wait_until(lambda: sandbox.ledger)
    staying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staying
    assert spent(sandbox) <= 1
    assert count_requests(sandbox, LEAVE) == 1


async def test_cancelled_while_an_odd_answer_comes(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the answer that comes late holds no room, there is nothing to leave, and the cancellation stands."""
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
    """The older spelling wants the avatar as well, and the refund comes."""
    async with (
        Sandbox(speed=100, render="tiny", era="2025") as sandbox,
        make_client(sandbox) as a2e,
    ):
        for _ in range(2):
            async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
                pass
        token = await a2e.streaming_avatar.token(ADA, expire_seconds=600)
        await a2e.streaming_avatar.leave(token.channel, avatar_id=ADA)
        assert spent(sandbox) <= 3
        assert [count_requests(sandbox, LEAVE), count_requests(sandbox, f"{LEAVE}_room")] == [1, 3]


@pytest.mark.parametrize("number", [7, "7"])
async def test_room_in_a_list(a2e: A2EClient, sandbox: Sandbox, number: object) -> None:
    """A room is found in a list too, and its name may be a number."""
    answer = web.json_response({"code": 0, "data": [{"channel": number, "token": "secret"}]})
    with sandbox.override("POST", TOKEN, answer):
        assert (await a2e.streaming_avatar.token(ADA, expire_seconds=60)).channel == "7"


async def test_leaving_without_an_answer(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving does not hold up the caller for ever; the log says so."""
    monkeypatch.setattr(streaming_avatar, "_WITHIN", 0.2)
    async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
        sandbox.weather = Weather(script={"*": [Fault("delay", seconds=5.0)] * 9})
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "not answered within 0.2 seconds" in record.getMessage()


async def test_leaving_is_tried_again(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Trouble while leaving is tried away, and the block's result stands."""
    broken = [Fault("status", status=500)] * 5
    async with a2e.streaming_avatar.session(ADA, expire_seconds=600):
        sandbox.weather = Weather(script={"*": broken})
    assert spent(sandbox) <= 1


async def test_leaving_that_does_not_work(a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """If a room cannot be left, that is logged with its name, and the block's own exception is not hidden."""
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
    """When all machines are taken, A2E is busy, which can pass."""

    async def talk(session: StreamingSession) -> None:
        await session.speak("Hello.")

    stream = a2e.streaming_avatar
    async with stream.session(ADA, expire_seconds=60) as one, stream.session(ADA, expire_seconds=60) as other:
        await asyncio.gather(talk(one), talk(other))
        with pytest.raises(BusyError):
            await stream.token(ADA, expire_seconds=60)


async def test_lost_token_is_not_bought_twice(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the answer got lost, no second room is started."""
    sandbox.weather = Weather(script={"*": [Fault("drop", after=True)]})
    with pytest.raises(SubmissionUncertainError, match="ends by itself"):
        await a2e.streaming_avatar.token(ADA, expire_seconds=60)
    assert count_requests(sandbox, TOKEN) == 1


@pytest.mark.parametrize("data", [None, [], {}, {"channel": ""}, [{"channel": [7], "token": "secret"}]], ids=str)
async def test_answer_without_a_room(a2e: A2EClient, sandbox: Sandbox, data: object) -> None:
    """An answer without a room is an error that shows no token."""
    with (
        sandbox.override("POST", TOKEN, web.json_response({"code": 0, "data": data})),
        pytest.raises(UnexpectedResponseError) as caught,
    ):
        await a2e.streaming_avatar.token(ADA, expire_seconds=60)
    assert "secret" not in str(caught.value)


async def test_what_cannot_work_is_refused(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Whatever a local check finds, nothing is sent."""
    stream, wrong = a2e.streaming_avatar, list[Any]([0, -1, 1.5, "60", None])
    calls = [stream.token(ADA, expire_seconds=seconds) for seconds in wrong]
    calls += [stream.token("", expire_seconds=60)]
    texts = [stream.set_qa_context("c", "x" * 5001), stream.speak("c", ""), stream.ask("", "x"), stream.leave("")]
    for call in [*calls, *texts, stream.get_qa_context("")]:
        with pytest.raises(InvalidRequestError):
            await call
    assert not sandbox.requests

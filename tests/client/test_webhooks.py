"""Receiving webhooks: the same behaviour in an aiohttp application, in FastAPI, and as an ASGI app of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
import traceback
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import fastapi
import pytest
import quick
import uvicorn
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from a2e_async import A2EClient, InvalidRequestError, PollPolicy, TaskStatus
from a2e_async import webhooks as module
from a2e_async._protocol.webhook import LONGEST_BODY
from a2e_async.webhooks import WebhookReceiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from a2e_async.sandbox import Sandbox

ADDRESS = "https://my.site/hooks/a2e"
TOKEN = "a-fixed-token"
GENUINE = {"X-A2e-Webhook-Token": TOKEN}
HOOK = {"event": "task.completed", "data": {"_id": "t1", "name": "Ada"}}


@attrs.define
class Waits:
    """Stands for a client: knows what is waited for, and notes the nudges."""

    ids: tuple[str, ...] = ("t1", "t2")
    nudges: list[str | None] = attrs.field(factory=list)

    def nudge(self, id: str | None = None) -> bool:
        """Note a nudge, and tell whether anybody waits."""
        self.nudges.append(id)
        return id in self.ids if id is not None else bool(self.ids)


@pytest.fixture
def waits() -> Waits:
    """What is waited for."""
    return Waits()


@pytest.fixture
def receiver(waits: Waits) -> WebhookReceiver:
    """A receiver with a fixed token."""
    return made(waits)


def made(waits: Any, **options: Any) -> WebhookReceiver:
    """Make a receiver of a stand-in."""
    return WebhookReceiver(waits, **{"url": ADDRESS, "token": TOKEN} | options)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which anybody logs an error."""
    caplog.set_level(logging.DEBUG)
    yield
    logged = [*caplog.get_records("call"), *caplog.records]
    assert [record.getMessage() for record in logged if record.levelno >= logging.ERROR] == []


# real servers


@contextlib.asynccontextmanager
async def in_aiohttp(receiver: WebhookReceiver) -> AsyncIterator[str]:
    """Serve it in an aiohttp application."""
    app = web.Application(client_max_size=10)  # the application's own limit is for other handlers
    app.add_routes(receiver.routes("/hooks/a2e"))
    async with TestServer(app) as server:
        yield str(server.make_url("/hooks/a2e"))


@contextlib.asynccontextmanager
async def under_uvicorn(app: Any, path: str) -> AsyncIterator[str]:
    """Serve an ASGI app with uvicorn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="on", ws="none", log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            while not server.started:
                assert not serving.done()
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
        finally:
            server.should_exit = True
            await serving


def in_fastapi(receiver: WebhookReceiver) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve it as a route of a FastAPI application."""
    app = fastapi.FastAPI()
    app.add_route("/hooks/a2e", receiver.asgi, methods=["POST"])
    return under_uvicorn(app, "/hooks/a2e")


def mounted(receiver: WebhookReceiver) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve it mounted in a FastAPI application, where its path ends with a slash."""
    app = fastapi.FastAPI()
    app.mount("/hooks/a2e", receiver.asgi)
    return under_uvicorn(app, "/hooks/a2e/")


def alone(receiver: WebhookReceiver) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve nothing else."""
    return under_uvicorn(receiver.asgi, "/")


@pytest.fixture(params=[in_aiohttp, in_fastapi, mounted, alone], ids=lambda serve: serve.__name__)
async def address(
    request: pytest.FixtureRequest, receiver: WebhookReceiver, no_leaked_tasks: None
) -> AsyncIterator[str]:
    """Where the receiver is served, in one of several ways."""
    async with request.param(receiver) as url:
        yield url


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """What webhooks are sent with; it follows no redirect, as A2E may not."""
    async with aiohttp.ClientSession() as session:
        yield session


async def deliver(session: aiohttp.ClientSession, url: str, body: Any = HOOK, headers: Any = GENUINE) -> int:
    """Send a webhook, check that the answer is empty, and return its status."""
    data = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else json.dumps(body)
    async with session.post(url, data=data, headers=headers, allow_redirects=False) as answer:
        assert await answer.read() == b""
        assert answer.headers.get("Content-Length", "0") == "0"
        return answer.status


async def test_a_webhook_hastens_a_wait(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """A genuine webhook about a task is answered with 204, and its wait is hastened."""
    assert await deliver(session, address) == 204
    assert "t1" in waits.nudges
    assert None not in waits.nudges


async def test_a_forged_webhook_does_nothing(address: str, waits: Waits) -> None:
    """Without the token, whatever stands in its place, the answer is 401 and nobody is hastened."""
    body = json.dumps(HOOK).encode()
    for header in (b"X-Other: 1", b"X-A2e-Webhook-Token:", b"X-A2e-Webhook-Token: \xff\xfe"):
        request = post(address, header, b"Content-Length: %d" % len(body)) + body
        assert (await answer_to(address, request)).startswith(b"HTTP/1.1 401 ")
    assert waits.nudges == []


@pytest.mark.usefixtures("errors")
async def test_the_token_is_checked_first(address: str) -> None:
    """Without the token the body is neither waited for nor judged."""
    assert (await answer_to(address, post(address, b"Content-Length: 10"))).startswith(b"HTTP/1.1 401 ")
    assert (await answer_to(address, post(address, b"Content-Length: 99999999"))).startswith(b"HTTP/1.1 401 ")


async def test_only_post(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """Other methods are answered with 405, and told the right one."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        async with session.request(method, address, headers=GENUINE, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert waits.nudges == []


async def chunks(number: int, size: int) -> AsyncIterator[bytes]:
    """Give a body piece by piece."""
    for _ in range(number):
        yield b" " * size


async def test_a_long_body_is_refused(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """A body of more than 64 KiB is answered with 413, be its length said before or not."""
    assert await deliver(session, address, b" " * (LONGEST_BODY + 1)) == 413
    assert await deliver(session, address, chunks(65, 1024)) == 413
    assert waits.nudges == []


async def test_a_body_may_come_in_pieces(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """A body of up to 64 KiB is taken whole, in however many pieces it comes."""
    assert await deliver(session, address, json.dumps(HOOK).encode().ljust(LONGEST_BODY)) == 204

    async def pieces() -> AsyncIterator[bytes]:
        for byte in json.dumps({"_id": "t2"}).encode():
            yield bytes([byte])
            await asyncio.sleep(0.001)

    assert await deliver(session, address, pieces()) == 204
    assert [nudge for nudge in waits.nudges if nudge in waits.ids] == ["t1", "t2"]


@pytest.mark.usefixtures("errors")
async def test_a_body_must_come(address: str, waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come in time is answered with 408."""
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    request = post(address, b"X-A2e-Webhook-Token: a-fixed-token", b"Content-Length: 10") + b"{"
    assert (await answer_to(address, request)).startswith(b"HTTP/1.1 408 ")
    assert waits.nudges == []


@pytest.mark.parametrize("header", [b"X-A2e-Webhook-Token: a-fixed-token", b"X-Other: 1"])
@pytest.mark.parametrize("goodbye", ["reset", "close"])
@pytest.mark.usefixtures("errors")
async def test_a_sender_may_go_away(
    address: str, session: aiohttp.ClientSession, waits: Waits, header: bytes, goodbye: str
) -> None:
    """A sender that goes away in the middle of its body hastens nobody, is no error, and leaves nothing behind."""
    _, writer = await asyncio.open_connection("127.0.0.1", URL(address).port)
    writer.write(post(address, header, b"Content-Length: 100") + b'{"_id": "t1"')
    await writer.drain()
    await asyncio.sleep(0.05)
    if goodbye == "reset":
        no_linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await asyncio.sleep(0.05)
    assert waits.nudges == []
    assert await deliver(session, address) == 204


def post(address: str, *headers: bytes) -> bytes:
    """Write the head of a request."""
    path = URL(address).path.encode()
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", b"Host: localhost", *headers, b"", b""])


async def answer_to(address: str, request: bytes) -> bytes:
    """Send bytes, and return the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(address).port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_broken_body_is_refused(receiver: WebhookReceiver, waits: Waits) -> None:
    """A body that is not packed as its header says is answered with 400 by aiohttp's front."""
    packed = GENUINE | {"Content-Encoding": "gzip"}
    async with in_aiohttp(receiver) as url, aiohttp.ClientSession(skip_auto_headers=["Content-Encoding"]) as session:
        assert await deliver(session, url, PackedWrongly(), packed) == 400
    assert waits.nudges == []


class PackedWrongly:
    """A body that is no gzip; aiohttp's client packs nothing that comes in pieces."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give it in one piece."""
        yield b"abcde"


async def test_other_routes_keep_the_path(receiver: WebhookReceiver, session: aiohttp.ClientSession) -> None:
    """An aiohttp application may answer other methods of the same path by itself."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="here come webhooks")

    app = web.Application()
    app.add_routes([web.get("/hooks/a2e", page), *receiver.routes("/hooks/a2e")])
    async with TestServer(app) as server, session.get(server.make_url("/hooks/a2e")) as answer:
        assert await answer.text() == "here come webhooks"


async def test_a_mounted_app_needs_its_slash(receiver: WebhookReceiver, session: aiohttp.ClientSession) -> None:
    """Where it is mounted, a path without its slash is redirected, which is why the pages advise a route."""
    async with mounted(receiver) as url:
        assert await deliver(session, url.rstrip("/")) == 307


# what a body does


async def test_a_task_of_another_process(receiver: WebhookReceiver, waits: Waits) -> None:
    """A webhook that names a task which nobody here waits for hastens nobody."""
    assert await asked(receiver, {"_id": "elsewhere"}) == 204
    assert waits.nudges == ["elsewhere"]


@pytest.mark.parametrize("body", [b"", b"_id=t1", b"<html>", b'{"event": "task.completed"}', b"[]", b'{"_id": ""}'])
async def test_a_webhook_without_an_id_hastens_all(receiver: WebhookReceiver, waits: Waits, body: bytes) -> None:
    """A genuine webhook that names no task hastens every wait, once each time it comes."""
    assert [await asked(receiver, body) for _ in range(2)] == [204, 204]
    assert waits.nudges.count(None) == 2


async def test_any_text_may_be_an_id(receiver: WebhookReceiver, waits: Waits) -> None:
    """An id that stands where nobody expects it hastens its wait, and no other."""
    assert await asked(receiver, {"event": "task.completed", "tasks": [["t2"]]}) == 204
    assert waits.nudges == ["task.completed", "t2"]


async def test_several_tasks(receiver: WebhookReceiver, waits: Waits) -> None:
    """A webhook about several tasks hastens each of them."""
    assert await asked(receiver, [{"_id": "t1"}, {"_id": "t2"}]) == 204
    assert waits.nudges == ["t1", "t2"]


@pytest.mark.parametrize("body", [HOOK, {"task": "t1"}])
async def test_a_repeated_webhook_is_ignored(receiver: WebhookReceiver, waits: Waits, body: Any) -> None:
    """A body that has hastened a wait does so once, however often it is sent."""
    assert [await asked(receiver, body) for _ in range(3)] == [204, 204, 204]
    assert waits.nudges.count("t1") == 1
    assert None not in waits.nudges


async def test_a_webhook_that_came_too_early_may_come_again(receiver: WebhookReceiver, waits: Waits) -> None:
    """A body about a task that nobody waited for is listened to when it comes again."""
    waits.ids = ()
    assert await asked(receiver, {"_id": "t1"}) == 204
    waits.ids = ("t1",)
    assert [await asked(receiver, {"_id": "t1"}) for _ in range(2)] == [204, 204]
    assert waits.nudges == ["t1", "t1"]


async def test_a_changed_webhook_is_listened_to(receiver: WebhookReceiver, waits: Waits) -> None:
    """Another body about the same task hastens its wait again."""
    assert [await asked(receiver, {"_id": "t1", "n": n}) for n in range(2)] == [204, 204]
    assert waits.nudges.count("t1") == 2


# ASGI by hand


async def asked(receiver: WebhookReceiver, body: Any = HOOK) -> int:
    """Call the ASGI app with one genuine webhook, and return the status."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = await called(receiver, [{"type": "http.request", "body": data}])
    status: int = sent[0]["status"]
    return status


async def called(
    receiver: WebhookReceiver, messages: Iterable[dict[str, Any]], send: Any = None, **scope: Any
) -> list[dict[str, Any]]:
    """Call the ASGI app, and return what it sent."""
    sent: list[dict[str, Any]] = []
    incoming = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def note(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"x-a2e-webhook-token", TOKEN.encode())]
    await receiver.asgi({"type": "http", "method": "POST", "headers": headers} | scope, receive, send or note)
    return sent


async def test_asgi_answers(receiver: WebhookReceiver) -> None:
    """The ASGI app answers an accepted webhook with 204 and nothing else."""
    assert await called(receiver, [{"type": "http.request", "body": b"{}"}]) == [
        {"type": "http.response.start", "status": 204, "headers": []},
        {"type": "http.response.body", "body": b""},
    ]


async def test_asgi_refuses(receiver: WebhookReceiver) -> None:
    """The ASGI app refuses without asking for the body, with an answer that is empty and says so."""
    refused = await called(receiver, [], method="GET")
    assert refused[0] == {
        "type": "http.response.start",
        "status": 405,
        "headers": [(b"content-length", b"0"), (b"allow", b"POST")],
    }
    for headers, status in [([], 401), ([(b"X-A2E-Webhook-Token", b"\xff")], 401)]:
        assert (await called(receiver, [], headers=headers))[0]["status"] == status
    headers = [(b"x-a2e-webhook-token", TOKEN.encode()), (b"content-length", str(LONGEST_BODY + 1).encode())]
    assert (await called(receiver, [], headers=headers))[0]["status"] == 413


async def test_asgi_names_of_headers(receiver: WebhookReceiver) -> None:
    """A server that does not write the names of headers small, as ASGI wants it, is served too."""
    headers = [(b"X-A2e-Webhook-Token", TOKEN.encode())]
    assert (await called(receiver, [{"type": "http.request"}], headers=headers))[0]["status"] == 204


async def test_asgi_body_in_pieces(receiver: WebhookReceiver, waits: Waits) -> None:
    """Pieces may be empty or left out, as ASGI allows, and the last one ends the body."""
    pieces: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"_id"', "more_body": True},
        {"type": "http.request", "body": b"", "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": b': "t1"}', "more_body": True},
        {"type": "http.request"},
    ]
    assert (await called(receiver, pieces))[0]["status"] == 204
    assert waits.nudges == ["t1"]


async def test_asgi_body_is_bounded(receiver: WebhookReceiver, waits: Waits) -> None:
    """A body of 64 KiB is taken, one byte more is refused, and an endless one is not read beyond that."""
    assert await asked(receiver, b"1".ljust(LONGEST_BODY)) == 204
    assert await asked(receiver, b"1".ljust(LONGEST_BODY + 1)) == 413
    waits.nudges.clear()
    piece = {"type": "http.request", "body": b" " * 1024, "more_body": True}
    pieces = [piece] * 65
    assert (await called(receiver, pieces))[0]["status"] == 413
    with pytest.raises(RuntimeError):  # the fake server has nothing more to give
        await called(receiver, pieces[:64])
    assert waits.nudges == []


async def test_asgi_disconnect(receiver: WebhookReceiver, waits: Waits) -> None:
    """A sender that goes away gets no answer and hastens nobody."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"_id": "t1"}', "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert await called(receiver, messages) == []
    assert waits.nudges == []


async def test_asgi_disconnect_before_the_answer(receiver: WebhookReceiver, waits: Waits) -> None:
    """A sender that does not wait for its answer is no error, and was heard."""

    async def gone(_: object) -> None:
        raise OSError

    await called(receiver, [{"type": "http.request", "body": b'{"_id": "t1"}'}], gone)
    assert waits.nudges == ["t1"]


async def test_asgi_lifespan(receiver: WebhookReceiver) -> None:
    """As an app of its own it starts and stops when its server does."""
    steps = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = await called(receiver, steps, type="lifespan")
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


async def test_asgi_websocket_is_refused(receiver: WebhookReceiver) -> None:
    """A websocket is closed before it is accepted."""
    assert await called(receiver, [], type="websocket") == [{"type": "websocket.close", "code": 1008}]


async def test_asgi_unknown_is_refused(receiver: WebhookReceiver) -> None:
    """What ASGI may bring one day is refused as it prescribes, with an exception."""
    with pytest.raises(NotImplementedError, match="'smoke'"):
        await called(receiver, [], type="smoke")


# the receiver itself


def test_a_random_token(waits: Waits) -> None:
    """Without a token of yours, each receiver has a random one that A2E accepts."""
    tokens = {made(waits, token=None).token for _ in range(5)}
    assert len(tokens) == 5
    assert all(len(token) >= 40 and token.isascii() for token in tokens)


def test_the_address_is_read_only(receiver: WebhookReceiver, waits: Waits) -> None:
    """The URL and the token can be read and not changed, and a receiver may have no URL."""
    assert (receiver.url, receiver.token) == (ADDRESS, TOKEN)
    assert made(waits, url=None).url is None
    for name in ("url", "token", "asgi"):
        with pytest.raises(AttributeError):
            setattr(receiver, name, "other")


def test_nothing_secret_is_shown(receiver: WebhookReceiver) -> None:
    """Neither a receiver nor its ASGI app shows the token or the URL."""
    shown = repr([receiver, receiver.asgi, vars(receiver)["_token"]])
    assert TOKEN not in shown
    assert ADDRESS not in shown


@pytest.mark.parametrize(
    "options", [{"url": "http://my.site/"}, {"url": ""}, {"token": ""}, {"token": f"{TOKEN}\n"}, {"token": f"{TOKEN}é"}]
)
def test_an_address_that_cannot_work_is_refused(waits: Waits, options: dict[str, str]) -> None:
    """A URL or token that A2E would not take is refused at once, and the traceback does not show the token."""
    with pytest.raises(InvalidRequestError) as caught:
        made(waits, **options)
    frames = traceback.walk_tb(caught.value.__traceback__)
    ours = [repr(frame.f_locals) for frame, _ in frames if "a2e_async" in frame.f_globals["__name__"]]
    assert ours
    assert TOKEN not in "".join(ours) + str(caught.value)


async def test_nothing_secret_is_logged(
    address: str, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """No log of ours holds the token or what a body said, except the id of a task that is waited for."""
    caplog.set_level(logging.DEBUG)
    for body in ({"_id": "t1", "prompt": "private"}, {"_id": "a private id"}, b"private"):
        assert await deliver(session, address, body) == 204
    assert await deliver(session, address, headers={"X-A2e-Webhook-Token": "private"}) == 401
    ours = [record.getMessage() for record in caplog.records if record.name == "a2e_async"]
    assert ours
    assert [line for line in ours if TOKEN in line or "private" in line] == []


async def test_many_webhooks_at_once(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """A hundred webhooks at the same moment are all heard."""
    waits.ids = tuple(f"t{n}" for n in range(100))
    statuses = await asyncio.gather(*(deliver(session, address, {"_id": id}) for id in waits.ids))
    assert set(statuses) == {204}
    assert set(waits.nudges) == set(waits.ids)


# with the client


async def test_a_client_that_is_not_open(session: aiohttp.ClientSession) -> None:
    """A webhook for a client that was never opened, or is closed, is answered with 204."""
    client = A2EClient("sk_test", base_url="http://127.0.0.1:1")
    async with in_aiohttp(made(client)) as url:
        assert await deliver(session, url) == 204
        assert await deliver(session, url, b"") == 204
        await client.aclose()
        assert await deliver(session, url) == 204


SLOW = attrs.evolve(quick.CONFIG, poll=PollPolicy(initial=600.0, steps=((0.0, 600.0),)))


@pytest.mark.parametrize("body", [lambda id: {"event": "task.completed", "data": {"_id": id}}, lambda _: {}])
async def test_a_wait_ends_with_its_webhook(
    sandbox: Sandbox, session: aiohttp.ClientSession, body: Callable[[str], Any]
) -> None:
    """A wait that would not ask for ten minutes ends soon after the webhook."""
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=SLOW) as a2e, in_aiohttp(made(a2e)) as url:
        task = await a2e.image_to_video.start(image_url="https://example.com/ada.png", **quick.PROMPTS)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(task.wait_until_done(10))
            while sandbox.tasks[task.id].status != "completed":
                await asyncio.sleep(0.01)
            assert await deliver(session, url, body(task.id)) == 204
        assert waiting.result().status is TaskStatus.SUCCEEDED


async def test_a_false_webhook_costs_one_question(sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
    """A webhook that lies about a task, though it has the token, has A2E asked once, and the wait goes on."""
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=SLOW) as a2e, in_aiohttp(made(a2e)) as url:
        prompts = quick.PROMPTS | {"prompt": "#stuck"}
        task = await a2e.image_to_video.start(image_url="https://example.com/ada.png", **prompts)
        lie = {"_id": task.id, "current_status": "completed", "result_url": "https://evil.example/x.mp4"}
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(task.wait_until_done(10))
            await asyncio.sleep(0.05)
            asked_before = len(sandbox.requests)
            assert [await deliver(session, url, lie) for _ in range(5)] == [204] * 5
            await asyncio.sleep(0.5)
            assert len(sandbox.requests) == asked_before + 1
            assert not waiting.done()
            assert not task.record.result_url
            waiting.cancel()

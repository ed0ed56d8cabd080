"""Webhook receiver: the same behaviour in an aiohttp application, in FastAPI, and as a separate ASGI app."""

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
from a2e_async._protocol.webhook import MAX_BODY_SIZE
from a2e_async.webhooks import WebhookReceiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from a2e_async.sandbox import Sandbox

ADDRESS = "https://my.site/hooks/a2e"
TOKEN = "a-fixed-token"
AUTHORIZED = {"X-A2e-Webhook-Token": TOKEN}
HOOK = {"event": "task.completed", "data": {"_id": "t1", "name": "Ada"}}


@attrs.define
class Waits:
    """Fake client: has waits for some tasks, and records the calls of `poll_now`."""

    ids: tuple[str, ...] = ("t1", "t2")
    polled: list[str | None] = attrs.field(factory=list)

    def poll_now(self, id: str | None = None) -> bool:
        """Record the call, and return whether there is a wait."""
        self.polled.append(id)
        return id in self.ids if id is not None else bool(self.ids)


@pytest.fixture
def waits() -> Waits:
    """Waits for t1 and t2."""
    return Waits()


@pytest.fixture
def receiver(waits: Waits) -> WebhookReceiver:
    """Receiver with a fixed token."""
    return make_receiver(waits)


def make_receiver(waits: Any, **options: Any) -> WebhookReceiver:
    """Return a receiver of a fake client."""
    return WebhookReceiver(waits, **{"url": ADDRESS, "token": TOKEN} | options)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which an error is logged."""
    caplog.set_level(logging.DEBUG)
    yield
    logged = [*caplog.get_records("call"), *caplog.records]
    assert [record.getMessage() for record in logged if record.levelno >= logging.ERROR] == []


# real servers


@contextlib.asynccontextmanager
async def in_aiohttp(receiver: WebhookReceiver) -> AsyncIterator[str]:
    """Serve the receiver in an aiohttp application."""
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
    """Serve the receiver as a route of a FastAPI application."""
    app = fastapi.FastAPI()
    app.add_route("/hooks/a2e", receiver.asgi, methods=["POST"])
    return under_uvicorn(app, "/hooks/a2e")


def mounted(receiver: WebhookReceiver) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve the receiver mounted in a FastAPI application, where its path ends with a slash."""
    app = fastapi.FastAPI()
    app.mount("/hooks/a2e", receiver.asgi)
    return under_uvicorn(app, "/hooks/a2e/")


def alone(receiver: WebhookReceiver) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve the receiver as the whole app."""
    return under_uvicorn(receiver.asgi, "/")


@pytest.fixture(params=[in_aiohttp, in_fastapi, mounted, alone], ids=lambda serve: serve.__name__)
async def address(
    request: pytest.FixtureRequest, receiver: WebhookReceiver, no_leaked_tasks: None
) -> AsyncIterator[str]:
    """URL of the receiver, served in one of several ways."""
    async with request.param(receiver) as url:
        yield url


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Session that sends webhooks."""
    async with aiohttp.ClientSession() as session:
        yield session


async def deliver(session: aiohttp.ClientSession, url: str, body: Any = HOOK, headers: Any = AUTHORIZED) -> int:
    """Send a webhook, check that the answer is empty, and return its status."""
    data = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else json.dumps(body)
    async with session.post(url, data=data, headers=headers, allow_redirects=False) as answer:
        assert await answer.read() == b""
        assert answer.headers.get("Content-Length", "0") == "0"
        return answer.status


async def test_webhook_polls_its_task(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """A webhook with the token is answered with 204, and its task is polled at once."""
    assert await deliver(session, address) == 204
    assert "t1" in waits.polled
    assert None not in waits.polled


async def test_forged_webhook_does_nothing(address: str, waits: Waits) -> None:
    """Without the right token the answer is 401, and nothing is polled."""
    body = json.dumps(HOOK).encode()
    for header in (b"X-Other: 1", b"X-A2e-Webhook-Token:", b"X-A2e-Webhook-Token: \xff\xfe"):
        request = post(address, header, b"Content-Length: %d" % len(body)) + body
        assert (await answer_to(address, request)).startswith(b"HTTP/1.1 401 ")
    assert waits.polled == []


@pytest.mark.usefixtures("errors")
async def test_token_is_checked_first(address: str) -> None:
    """Without the token the body is neither awaited nor checked."""
    assert (await answer_to(address, post(address, b"Content-Length: 10"))).startswith(b"HTTP/1.1 401 ")
    assert (await answer_to(address, post(address, b"Content-Length: 99999999"))).startswith(b"HTTP/1.1 401 ")


async def test_only_post(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """Other methods are answered with 405 and an Allow header."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        async with session.request(method, address, headers=AUTHORIZED, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert waits.polled == []


async def chunks(number: int, size: int) -> AsyncIterator[bytes]:
    """Send a body in chunks."""
    for _ in range(number):
        yield b" " * size


async def test_long_body_is_rejected(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """A body of more than 64 KiB is answered with 413, with or without a Content-Length."""
    assert await deliver(session, address, b" " * (MAX_BODY_SIZE + 1)) == 413
    assert await deliver(session, address, chunks(65, 1024)) == 413
    assert waits.polled == []


async def test_body_in_chunks(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """A body of up to 64 KiB is accepted in any number of chunks."""
    assert await deliver(session, address, json.dumps(HOOK).encode().ljust(MAX_BODY_SIZE)) == 204

    async def sent() -> AsyncIterator[bytes]:
        for byte in json.dumps({"_id": "t2"}).encode():
            yield bytes([byte])
            await asyncio.sleep(0.001)

    assert await deliver(session, address, sent()) == 204
    assert [id for id in waits.polled if id in waits.ids] == ["t1", "t2"]


@pytest.mark.usefixtures("errors")
async def test_body_that_does_not_arrive(address: str, waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive in time is answered with 408."""
    monkeypatch.setattr(module, "_BODY_TIMEOUT", 0.05)
    request = post(address, b"X-A2e-Webhook-Token: a-fixed-token", b"Content-Length: 10") + b"{"
    assert (await answer_to(address, request)).startswith(b"HTTP/1.1 408 ")
    assert waits.polled == []


@pytest.mark.parametrize("header", [b"X-A2e-Webhook-Token: a-fixed-token", b"X-Other: 1"])
@pytest.mark.parametrize("goodbye", ["reset", "close"])
@pytest.mark.usefixtures("errors")
async def test_sender_that_disconnects(
    address: str, session: aiohttp.ClientSession, waits: Waits, header: bytes, goodbye: str
) -> None:
    """A sender that disconnects during its body causes no poll, no logged error and no leak."""
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
    assert waits.polled == []
    assert await deliver(session, address) == 204


def post(address: str, *headers: bytes) -> bytes:
    """Return the head of a request."""
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


async def test_invalid_encoding_is_rejected(receiver: WebhookReceiver, waits: Waits) -> None:
    """A body that is not encoded as its header says is answered with 400 in aiohttp."""
    packed = AUTHORIZED | {"Content-Encoding": "gzip"}
    async with in_aiohttp(receiver) as url, aiohttp.ClientSession(skip_auto_headers=["Content-Encoding"]) as session:
        assert await deliver(session, url, NotGzip(), packed) == 400
    assert waits.polled == []


class NotGzip:
    """Body that is not gzip, in a form that aiohttp's client does not compress."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Send it in one chunk."""
        yield b"abcde"


async def test_other_routes_keep_the_path(receiver: WebhookReceiver, session: aiohttp.ClientSession) -> None:
    """An aiohttp application can answer other methods of the same path itself."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="another route")

    app = web.Application()
    app.add_routes([web.get("/hooks/a2e", page), *receiver.routes("/hooks/a2e")])
    async with TestServer(app) as server, session.get(server.make_url("/hooks/a2e")) as answer:
        assert await answer.text() == "another route"


async def test_mounted_app_needs_its_slash(receiver: WebhookReceiver, session: aiohttp.ClientSession) -> None:
    """A mounted receiver redirects a path without the slash, so the pages recommend a route."""
    async with mounted(receiver) as url:
        assert await deliver(session, url.rstrip("/")) == 307


# effect of a body


async def test_task_of_another_process(receiver: WebhookReceiver, waits: Waits) -> None:
    """A webhook about a task without a wait here polls no other task."""
    assert await call_webhook(receiver, {"_id": "elsewhere"}) == 204
    assert waits.polled == ["elsewhere"]


@pytest.mark.parametrize("body", [b"", b"_id=t1", b"<html>", b'{"event": "task.completed"}', b"[]", b'{"_id": ""}'])
async def test_webhook_without_an_id_polls_all(receiver: WebhookReceiver, waits: Waits, body: bytes) -> None:
    """A webhook with the token and without an id polls all tasks, each time it arrives."""
    assert [await call_webhook(receiver, body) for _ in range(2)] == [204, 204]
    assert waits.polled.count(None) == 2


async def test_id_in_an_unexpected_place(receiver: WebhookReceiver, waits: Waits) -> None:
    """An id in an unexpected field polls its task, and no other."""
    assert await call_webhook(receiver, {"event": "task.completed", "tasks": [["t2"]]}) == 204
    assert waits.polled == ["task.completed", "t2"]


async def test_several_tasks(receiver: WebhookReceiver, waits: Waits) -> None:
    """A webhook about several tasks polls each of them."""
    assert await call_webhook(receiver, [{"_id": "t1"}, {"_id": "t2"}]) == 204
    assert waits.polled == ["t1", "t2"]


@pytest.mark.parametrize("body", [HOOK, {"task": "t1"}])
async def test_repeated_webhook_is_ignored(receiver: WebhookReceiver, waits: Waits, body: Any) -> None:
    """A body that polled a task does so once, also if it is sent several times."""
    assert [await call_webhook(receiver, body) for _ in range(3)] == [204, 204, 204]
    assert waits.polled.count("t1") == 1
    assert None not in waits.polled


async def test_webhook_before_the_wait_can_be_repeated(receiver: WebhookReceiver, waits: Waits) -> None:
    """A body that arrived before the wait began polls its task when it is sent again."""
    waits.ids = ()
    assert await call_webhook(receiver, {"_id": "t1"}) == 204
    waits.ids = ("t1",)
    assert [await call_webhook(receiver, {"_id": "t1"}) for _ in range(2)] == [204, 204]
    assert waits.polled == ["t1", "t1"]


async def test_changed_webhook_polls_again(receiver: WebhookReceiver, waits: Waits) -> None:
    """Another body about the same task polls it again."""
    assert [await call_webhook(receiver, {"_id": "t1", "n": n}) for n in range(2)] == [204, 204]
    assert waits.polled.count("t1") == 2


# ASGI, call_asgi directly


async def call_webhook(receiver: WebhookReceiver, body: Any = HOOK) -> int:
    """Call the ASGI app with one webhook and the token, and return the status."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = await call_asgi(receiver, [{"type": "http.request", "body": data}])
    status: int = sent[0]["status"]
    return status


async def call_asgi(
    receiver: WebhookReceiver, messages: Iterable[dict[str, Any]], send: Any = None, **scope: Any
) -> list[dict[str, Any]]:
    """Call the ASGI app, and return the messages that it sent."""
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
    """The ASGI app answers an accepted webhook with 204 and an empty body."""
    assert await call_asgi(receiver, [{"type": "http.request", "body": b"{}"}]) == [
        {"type": "http.response.start", "status": 204, "headers": []},
        {"type": "http.response.body", "body": b""},
    ]


async def test_asgi_rejects(receiver: WebhookReceiver) -> None:
    """The ASGI app rejects without reading the body, with an empty answer of length 0."""
    rejected = await call_asgi(receiver, [], method="GET")
    assert rejected[0] == {
        "type": "http.response.start",
        "status": 405,
        "headers": [(b"content-length", b"0"), (b"allow", b"POST")],
    }
    for headers, status in [([], 401), ([(b"X-A2E-Webhook-Token", b"\xff")], 401)]:
        assert (await call_asgi(receiver, [], headers=headers))[0]["status"] == status
    headers = [(b"x-a2e-webhook-token", TOKEN.encode()), (b"content-length", str(MAX_BODY_SIZE + 1).encode())]
    assert (await call_asgi(receiver, [], headers=headers))[0]["status"] == 413


async def test_asgi_names_of_headers(receiver: WebhookReceiver) -> None:
    """Header names that are not in lower case, as ASGI requires, are accepted too."""
    headers = [(b"X-A2e-Webhook-Token", TOKEN.encode())]
    assert (await call_asgi(receiver, [{"type": "http.request"}], headers=headers))[0]["status"] == 204


async def test_asgi_body_in_chunks(receiver: WebhookReceiver, waits: Waits) -> None:
    """Chunks may be empty or missing, as ASGI allows, and the last one ends the body."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"_id"', "more_body": True},
        {"type": "http.request", "body": b"", "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": b': "t1"}', "more_body": True},
        {"type": "http.request"},
    ]
    assert (await call_asgi(receiver, messages))[0]["status"] == 204
    assert waits.polled == ["t1"]


async def test_asgi_body_is_limited(receiver: WebhookReceiver, waits: Waits) -> None:
    """A body of 64 KiB is accepted, one byte more is rejected, and an endless one is not read further."""
    assert await call_webhook(receiver, b"1".ljust(MAX_BODY_SIZE)) == 204
    assert await call_webhook(receiver, b"1".ljust(MAX_BODY_SIZE + 1)) == 413
    waits.polled.clear()
    chunk = {"type": "http.request", "body": b" " * 1024, "more_body": True}
    messages = [chunk] * 65
    assert (await call_asgi(receiver, messages))[0]["status"] == 413
    with pytest.raises(RuntimeError):  # the fake server has no more messages
        await call_asgi(receiver, messages[:64])
    assert waits.polled == []


async def test_asgi_disconnect(receiver: WebhookReceiver, waits: Waits) -> None:
    """A sender that disconnects gets no answer and causes no poll."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"_id": "t1"}', "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert await call_asgi(receiver, messages) == []
    assert waits.polled == []


async def test_asgi_disconnect_before_the_answer(receiver: WebhookReceiver, waits: Waits) -> None:
    """A sender that does not wait for its answer causes no error, and its task is polled."""

    async def gone(_: object) -> None:
        raise OSError

    await call_asgi(receiver, [{"type": "http.request", "body": b'{"_id": "t1"}'}], gone)
    assert waits.polled == ["t1"]


async def test_asgi_lifespan(receiver: WebhookReceiver) -> None:
    """As a separate app it starts and stops with its server."""
    steps = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = await call_asgi(receiver, steps, type="lifespan")
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


async def test_asgi_websocket_is_rejected(receiver: WebhookReceiver) -> None:
    """A websocket is closed before it is accepted."""
    assert await call_asgi(receiver, [], type="websocket") == [{"type": "websocket.close", "code": 1008}]


async def test_asgi_unknown_type_is_rejected(receiver: WebhookReceiver) -> None:
    """An unknown type of ASGI connection raises NotImplementedError, as ASGI requires."""
    with pytest.raises(NotImplementedError, match="'smoke'"):
        await call_asgi(receiver, [], type="smoke")


# the receiver itself


def test_random_token(waits: Waits) -> None:
    """Without a token argument each receiver has a random one that A2E accepts."""
    tokens = {make_receiver(waits, token=None).token for _ in range(5)}
    assert len(tokens) == 5
    assert all(len(token) >= 40 and token.isascii() for token in tokens)


def test_address_is_read_only(receiver: WebhookReceiver, waits: Waits) -> None:
    """The URL and the token can be read but not changed, and a receiver may have no URL."""
    assert (receiver.url, receiver.token) == (ADDRESS, TOKEN)
    assert make_receiver(waits, url=None).url is None
    for name in ("url", "token", "asgi"):
        with pytest.raises(AttributeError):
            setattr(receiver, name, "other")


def test_repr_has_no_secret(receiver: WebhookReceiver) -> None:
    """The repr of a receiver and of its ASGI app contains neither the token nor the URL."""
    text = repr([receiver, receiver.asgi, vars(receiver)["_token"]])
    assert TOKEN not in text
    assert ADDRESS not in text


@pytest.mark.parametrize(
    "options", [{"url": "http://my.site/"}, {"url": ""}, {"token": ""}, {"token": f"{TOKEN}\n"}, {"token": f"{TOKEN}é"}]
)
def test_invalid_address_is_rejected(waits: Waits, options: dict[str, str]) -> None:
    """A URL or token that A2E would not accept is rejected, and the traceback does not show the token."""
    with pytest.raises(InvalidRequestError) as caught:
        make_receiver(waits, **options)
    frames = traceback.walk_tb(caught.value.__traceback__)
    frames_shown = [repr(frame.f_locals) for frame, _ in frames if "a2e_async" in frame.f_globals["__name__"]]
    assert frames_shown
    assert TOKEN not in "".join(frames_shown) + str(caught.value)


async def test_log_has_no_secret(
    address: str, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """The log contains neither the token nor a body, only the id of a task that the client waits for."""
    caplog.set_level(logging.DEBUG)
    for body in ({"_id": "t1", "prompt": "private"}, {"_id": "a private id"}, b"private"):
        assert await deliver(session, address, body) == 204
    assert await deliver(session, address, headers={"X-A2e-Webhook-Token": "private"}) == 401
    own_logs = [record.getMessage() for record in caplog.records if record.name == "a2e_async"]
    assert own_logs
    assert [line for line in own_logs if TOKEN in line or "private" in line] == []


async def test_concurrent_webhooks(address: str, session: aiohttp.ClientSession, waits: Waits) -> None:
    """A hundred concurrent webhooks poll all their tasks."""
    waits.ids = tuple(f"t{n}" for n in range(100))
    statuses = await asyncio.gather(*(deliver(session, address, {"_id": id}) for id in waits.ids))
    assert set(statuses) == {204}
    assert set(waits.polled) == set(waits.ids)


# with the client


async def test_client_that_is_not_open(session: aiohttp.ClientSession) -> None:
    """A webhook for a client that was never opened, or is closed, is answered with 204."""
    client = A2EClient("sk_test", base_url="http://127.0.0.1:1")
    async with in_aiohttp(make_receiver(client)) as url:
        assert await deliver(session, url) == 204
        assert await deliver(session, url, b"") == 204
        await client.aclose()
        assert await deliver(session, url) == 204


SLOW = attrs.evolve(quick.CONFIG, poll=PollPolicy(initial=600.0, steps=((0.0, 600.0),)))


@pytest.mark.parametrize("body", [lambda id: {"event": "task.completed", "data": {"_id": id}}, lambda _: {}])
async def test_wait_ends_with_its_webhook(
    sandbox: Sandbox, session: aiohttp.ClientSession, body: Callable[[str], Any]
) -> None:
    """A wait whose next poll is ten minutes away ends soon after the webhook."""
    async with (
        A2EClient(sandbox.token, base_url=sandbox.url, config=SLOW) as a2e,
        in_aiohttp(make_receiver(a2e)) as url,
    ):
        task = await a2e.image_to_video.start(image_url="https://example.com/ada.png", **quick.PROMPTS)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(task.wait_until_done(10))
            while sandbox.tasks[task.id].status != "completed":
                await asyncio.sleep(0.01)
            assert await deliver(session, url, body(task.id)) == 204
        assert waiting.result().status is TaskStatus.SUCCEEDED


async def test_false_webhook_costs_one_poll(sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
    """A webhook with the token and a false status causes one poll, and the wait continues."""
    async with (
        A2EClient(sandbox.token, base_url=sandbox.url, config=SLOW) as a2e,
        in_aiohttp(make_receiver(a2e)) as url,
    ):
        prompts = quick.PROMPTS | {"prompt": "#stuck"}
        task = await a2e.image_to_video.start(image_url="https://example.com/ada.png", **prompts)
        false_body = {"_id": task.id, "current_status": "completed", "result_url": "https://evil.example/x.mp4"}
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(task.wait_until_done(10))
            await asyncio.sleep(0.05)
            before = len(sandbox.requests)
            assert [await deliver(session, url, false_body) for _ in range(5)] == [204] * 5
            await asyncio.sleep(0.5)
            assert len(sandbox.requests) == before + 1
            assert not waiting.done()
            assert not task.record.result_url
            waiting.cancel()


@pytest.mark.parametrize("body", ["{}", None])
async def test_body_that_is_not_bytes(receiver: WebhookReceiver, body: Any) -> None:
    """A view that passes something else than the bytes of a request gets an error that says so."""
    with pytest.raises(InvalidRequestError, match="body must be the bytes"):
        await receiver.receive("POST", AUTHORIZED, body)

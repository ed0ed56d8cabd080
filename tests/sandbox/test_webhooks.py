"""Webhooks: who is told what, how often, and that no receiver can harm anybody."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from sandbox_requests import sandbox_with

from a2e_async.sandbox import Weather, lifecycle
from a2e_async.sandbox.faults.schedule import Forecast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from aiohttp.typedefs import Handler
    from sandbox_requests import Call, FinishedTask, Start

    from a2e_async.sandbox import Sandbox
    from a2e_async.sandbox.state import SentWebhook

PREFIX = "/api/v1/userImage2Video"
TOKEN = "X-A2e-Webhook-Token"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, no_leaked_tasks: None) -> Iterator[None]:
    """Fail a test in which anybody complained, or that left a task behind."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@attrs.frozen
class Hook:
    """What arrived."""

    headers: Mapping[str, str]
    body: Any


@attrs.define
class Receiver:
    """A server that takes webhooks; it answers 200 unless told otherwise."""

    url: str = ""
    hooks: list[Hook] = attrs.field(factory=list)
    answer: Handler | None = None

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take one webhook."""
        self.hooks.append(Hook(request.headers, await request.json()))
        return web.Response() if self.answer is None else await self.answer(request)

    async def receives(self, count: int) -> list[Hook]:
        """Wait for so many webhooks, and a moment longer for one too many."""
        async with asyncio.timeout(20):
            while len(self.hooks) < count:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.03)
        return self.hooks

    async def ids(self, count: int) -> list[str]:
        """Wait for so many webhooks; list of which tasks they speak."""
        return [hook.body["data"]["_id"] for hook in await self.receives(count)]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver at a port of its own."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.take)
    async with TestServer(application) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


@pytest.fixture
async def held(receiver: Receiver) -> AsyncIterator[asyncio.Event]:
    """Let the receiver answer nothing before this is set."""
    release = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answer = wait
    yield release
    release.set()


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every webhook wait for the one before it."""
    monkeypatch.setattr(lifecycle, "_AT_ONCE", 1)


async def noted(sandbox: Sandbox, count: int = 1) -> list[SentWebhook]:
    """Wait until the sandbox has noted so many webhooks."""
    async with asyncio.timeout(20):
        while len(sandbox.webhooks) < count:
            await asyncio.sleep(0.005)
    return list(sandbox.webhooks)


# Who is told what


async def test_a_completed_task_is_told(
    receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask, call: Call
) -> None:
    """One POST of JSON arrives, with the event and the record as the detail shows it."""
    task = await finished_task(sandbox, webhook_url=receiver.url)
    (hook,) = await receiver.receives(1)
    assert hook.headers["Content-Type"] == "application/json"
    record = (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data
    assert hook.body == {"event": "task.completed", "data": record}
    assert record["result_url"]


async def test_a_failed_task_is_told(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """The event has another name, and the record says why."""
    await finished_task(sandbox, "#fast #fail", webhook_url=receiver.url)
    (hook,) = await receiver.receives(1)
    assert hook.body["event"] == "task.failed"
    assert hook.body["data"]["failed_code"] == "generation_error"


async def test_the_token_comes_back_in_clear(receiver: Receiver, sandbox: Sandbox, start: Start) -> None:
    """The token of the start is in its header."""
    await start(sandbox, "#fast", webhook_url=receiver.url, webhook_token="s3cret é")
    (hook,) = await receiver.receives(1)
    assert hook.headers[TOKEN] == "s3cret é"


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_there_is_no_header(
    receiver: Receiver, sandbox: Sandbox, start: Start, token: str | None
) -> None:
    """A start that gave no token gets a webhook without the header."""
    await start(sandbox, "#fast", webhook_url=receiver.url, webhook_token=token)
    (hook,) = await receiver.receives(1)
    assert TOKEN not in hook.headers


async def test_who_gave_no_url_is_not_told(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """Only tasks whose start carried a URL have webhooks."""
    await finished_task(sandbox, "#fast", webhook_token="t")
    task = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
    assert await receiver.ids(1) == [task.id]
    assert [sent.task_id for sent in sandbox.webhooks] == [task.id]


async def test_each_of_several_videos_is_told(receiver: Receiver, sandbox: Sandbox, start: Start) -> None:
    """A start of three videos causes three webhooks, one for each."""
    records = (await start(sandbox, "#fast", number_of_images=3, webhook_url=receiver.url)).data
    assert sorted(await receiver.ids(3)) == sorted(record["_id"] for record in records)


async def test_the_task_has_ended_before_it_is_told(
    receiver: Receiver, sandbox: Sandbox, start: Start, call: Call
) -> None:
    """When the webhook arrives, detail and batchDetail show the new status already."""
    seen = []

    async def look(_: web.Request) -> web.Response:
        task_id = receiver.hooks[-1].body["data"]["_id"]
        seen.append((await call(sandbox, "GET", f"{PREFIX}/{task_id}")).data["current_status"])
        batch = (await call(sandbox, "POST", f"{PREFIX}/batchDetail", {"ids": [task_id]})).data
        seen.append(batch[0]["current_status"])
        return web.Response()

    receiver.answer = look
    await start(sandbox, "#fast", webhook_url=receiver.url)
    await noted(sandbox)
    assert seen == ["completed", "completed"]


async def test_a_task_deleted_before_its_end_is_not_told(receiver: Receiver, start: Start, call: Call) -> None:
    """Whoever deletes a task while it is initialized hears no more of it."""
    async with sandbox_with(None) as sandbox:
        deleted = (await start(sandbox, webhook_url=receiver.url)).data["_id"]
        await call(sandbox, "DELETE", f"{PREFIX}/{deleted}")
        other = (await start(sandbox, "#fast", webhook_url=receiver.url)).data["_id"]
        assert await receiver.ids(1) == [other]


@pytest.mark.usefixtures("one_at_a_time")
async def test_a_task_deleted_after_its_end_is_not_told(
    receiver: Receiver, held: asyncio.Event, sandbox: Sandbox, finished_task: FinishedTask, call: Call
) -> None:
    """A webhook that still waits in line when its task is deleted is not sent."""
    tasks = [await finished_task(sandbox, "#fast", webhook_url=receiver.url) for _ in range(3)]
    await call(sandbox, "DELETE", f"{PREFIX}/{tasks[1].id}")
    held.set()
    assert await receiver.ids(2) == [tasks[0].id, tasks[2].id]


# One attempt


async def test_there_is_one_attempt(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """A receiver that answers 500 is not asked again."""

    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=500)

    receiver.answer = fail
    task = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
    assert [(sent.task_id, sent.status) for sent in await noted(sandbox)] == [(task.id, 500)]
    assert len(await receiver.receives(1)) == 1


async def test_no_redirect_is_followed(receiver: Receiver, sandbox: Sandbox, start: Start) -> None:
    """A receiver that answers 307 to itself gets one webhook, and the redirect is the answer."""

    async def turn(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": receiver.url})

    receiver.answer = turn
    await start(sandbox, "#fast", webhook_url=receiver.url)
    assert [sent.status for sent in await noted(sandbox)] == [307]
    assert len(await receiver.receives(1)) == 1


async def test_nothing_of_one_webhook_is_in_the_next(
    receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask
) -> None:
    """No cookie and no connection is kept, and the token of the account is never sent."""
    callers = set()

    async def bake(request: web.Request) -> web.Response:
        assert request.transport is not None
        callers.add(request.transport.get_extra_info("peername"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    receiver.answer = bake
    url = receiver.url.replace("127.0.0.1", "localhost")  # aiohttp's own jar takes no cookies of addresses
    for count in (1, 2):
        await finished_task(sandbox, "#fast", webhook_url=url)
        await noted(sandbox, count)
    assert [{"Cookie", "Authorization"} & set(hook.headers) for hook in receiver.hooks] == [set(), set()]
    assert len(callers) == 2


# Receivers that are no good


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"webhook_url": "http://127.0.0.1:{port}/"}, id="refused"),
        pytest.param({"webhook_url": "https://127.0.0.1:{port}/"}, id="refused with TLS"),
        pytest.param({"webhook_url": "http://127.0.0.1:99999/"}, id="no port"),
        pytest.param({"webhook_url": "https://"}, id="no host"),
        pytest.param({"webhook_url": "{hook}", "webhook_token": "a\nb"}, id="no header"),
        pytest.param({"webhook_url": "{tls}"}, id="no TLS"),
    ],
)
async def test_who_cannot_be_told_harms_nobody(
    receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask, fields: dict[str, str]
) -> None:
    """What cannot be delivered is noted without a status; the task has ended well and the next one is told."""
    places = {"port": unused_port(), "hook": receiver.url, "tls": receiver.url.replace("http", "https")}
    task = await finished_task(sandbox, "#fast", **{name: text.format(**places) for name, text in fields.items()})
    assert task.status == "completed"
    assert [(sent.task_id, sent.event, sent.status) for sent in await noted(sandbox)] == [
        (task.id, "task.completed", 0)
    ]
    other = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
    assert await receiver.ids(1) == [other.id]


async def test_a_receiver_that_hangs_up_harms_nobody(receiver: Receiver, sandbox: Sandbox, start: Start) -> None:
    """A connection that ends without an answer is noted without a status, and nothing is sent again."""

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    receiver.answer = hang_up
    await start(sandbox, "#fast", webhook_url=receiver.url)
    assert [sent.status for sent in await noted(sandbox)] == [0]
    assert len(await receiver.receives(1)) == 1


async def test_a_silent_receiver_delays_no_task(
    receiver: Receiver, held: asyncio.Event, sandbox: Sandbox, finished_task: FinishedTask, call: Call
) -> None:
    """While a webhook is without an answer its task is completed, others complete, and the API answers."""
    async with asyncio.timeout(5):
        for _ in range(2):
            task = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
            assert (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data["current_status"] == "completed"
        await receiver.receives(2)
    assert not sandbox.webhooks


@pytest.mark.usefixtures("one_at_a_time")
async def test_a_silent_receiver_does_not_delay_closing(receiver: Receiver, held: asyncio.Event, start: Start) -> None:
    """Closing breaks off what is under way, which was sent without an answer, and never sends what waits in line."""
    async with sandbox_with(None) as sandbox:
        await start(sandbox, "#fast", number_of_images=3, webhook_url=receiver.url)
        (hook,) = await receiver.receives(1)
        async with asyncio.timeout(5):
            await sandbox.aclose()
    assert [(sent.task_id, sent.status) for sent in sandbox.webhooks] == [(hook.body["data"]["_id"], 0)]
    held.set()
    assert len(await receiver.receives(1)) == 1


@pytest.mark.usefixtures("one_at_a_time")
async def test_a_silent_receiver_is_given_up(
    receiver: Receiver, held: asyncio.Event, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bounded time an attempt is over, and the next in line has its turn."""
    monkeypatch.setattr(lifecycle, "_TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    async with sandbox_with(None) as sandbox:
        await start(sandbox, "#fast", number_of_images=2, webhook_url=receiver.url)
        assert [sent.status for sent in await noted(sandbox, 2)] == [0, 0]
    assert len(await receiver.receives(2)) == 2


async def test_fifty_are_under_way_at_once(
    receiver: Receiver, held: asyncio.Event, sandbox: Sandbox, start: Start
) -> None:
    """When many tasks end together, the 51st webhook waits for an answer to another; in the end all are told."""
    for _ in range(7):
        await start(sandbox, "#fast", number_of_images=8, webhook_url=receiver.url)
    assert len(await receiver.receives(50)) == 50
    assert all(task.done for task in sandbox.tasks.values())
    held.set()
    assert sorted(await receiver.ids(56)) == sorted(sandbox.tasks)


# What can be asked for


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "http://10.0.0.1/hook",
        "http://[::2]/hook",
        "http://127.0.0.1.example.com/hook",
        "http://127.0.0.1@example.com/hook",
        "http://[127.0.0.1/hook",
        "http:///hook",
        "ftp://127.0.0.1/hook",
        "hook",
    ],
)
async def test_other_http_is_refused(sandbox: Sandbox, start: Start, url: str) -> None:
    """A2E wants https: anything else that does not lead to this machine is a 400, and nothing is charged."""
    answer = await start(sandbox, webhook_url=url)
    assert (answer.status, answer.invalid_fields, sandbox.ledger) == (400, ["webhook_url"], [])


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://127.0.0.1/hook",
        "http://127.8.9.10:1/",
        "http://[::1]:1/",
        "http://localhost",
    ],
)
async def test_https_and_this_machine_are_accepted(frozen_sandbox: Sandbox, start: Start, url: str) -> None:
    """Plain http is for loopback addresses."""
    assert (await start(frozen_sandbox, webhook_url=url)).status == 200


# Weather


async def test_lost_webhooks_are_never_sent(receiver: Receiver, finished_task: FinishedTask) -> None:
    """With a chance of 1 nothing is sent and nothing noted, though the task ends; in fair weather the next one is."""
    async with sandbox_with(Weather(lost_webhooks=1.0)) as sandbox:
        await finished_task(sandbox, "#fast", webhook_url=receiver.url)
        sandbox.weather = None
        task = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
        assert await receiver.ids(1) == [task.id]
        assert [sent.task_id for sent in await noted(sandbox)] == [task.id]


def test_the_same_seed_loses_the_same() -> None:
    """One seed draws one sequence, and nothing else that is drawn disturbs it; another seed draws another."""

    def lost(seed: int, *disturbing: str) -> list[bool]:
        forecast = Forecast(Weather.changeable(seed, rate=0.5))
        drawn = []
        for _ in range(50):
            drawn.append(forecast.loses_webhook())
            for operation in disturbing:
                forecast.fault(operation)
                forecast.leaves_out()
        return drawn

    assert lost(1) == lost(1, "start", "batch") != lost(2)
    assert 10 < sum(lost(1)) < 40


@pytest.mark.parametrize("chance", [-0.1, 1.1, float("nan"), True, "1"])
def test_a_chance_is_from_0_to_1(chance: Any) -> None:
    """Anything else is a ValueError that says so."""
    with pytest.raises(ValueError, match="lost_webhooks must be a number from 0 to 1"):
        Weather(lost_webhooks=chance)


def test_changeable_weather_loses_webhooks() -> None:
    """They are lost as often as other things go wrong."""
    assert [Weather.changeable(1, rate).lost_webhooks for rate in (0.0, 0.3)] == [0.0, 0.3]


# What is remembered


@pytest.mark.usefixtures("one_at_a_time")
async def test_what_was_sent_is_noted(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """The oldest is first: which task, which event, and what the receiver answered."""
    tasks = []
    for prompt in ("#fast", "#fast #fail"):
        tasks.append(await finished_task(sandbox, prompt, webhook_url=receiver.url))
        await noted(sandbox, len(tasks))
    assert [(sent.task_id, sent.event, sent.status) for sent in sandbox.webhooks] == [
        (tasks[0].id, "task.completed", 200),
        (tasks[1].id, "task.failed", 200),
    ]


@pytest.mark.parametrize("place", ["http://127.0.0.1:{port}/secret", "https:///secret"])
async def test_no_note_holds_a_secret(
    sandbox: Sandbox, finished_task: FinishedTask, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """Neither URL nor token are in a log line, in the note, or in what is remembered of the task."""
    caplog.set_level(logging.DEBUG)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can begin to
        url = place.format(port=silent.getsockname()[1]) + "?key=secret"
        task = await finished_task(sandbox, "#fast", webhook_url=url, webhook_token="secret")
        (sent,) = await noted(sandbox)
    assert task.id in caplog.text
    assert "secret" not in caplog.text + repr(sent) + repr(task) + repr(task.order)

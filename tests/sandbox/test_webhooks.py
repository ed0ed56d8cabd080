"""Webhooks: which tasks send them, how often, and that no receiver can disturb the sandbox."""

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

from a2e_async.sandbox import FaultPlan, lifecycle
from a2e_async.sandbox.faults.schedule import FaultSchedule

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
    """Fail a test in which an error was logged, or that left a task behind."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@attrs.frozen
class Hook:
    """One webhook that arrived."""

    headers: Mapping[str, str]
    body: Any


@attrs.define
class Receiver:
    """Server for webhooks; it answers 200 by default."""

    url: str = ""
    hooks: list[Hook] = attrs.field(factory=list)
    answer: Handler | None = None

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Receive one webhook."""
        self.hooks.append(Hook(request.headers, await request.json()))
        return web.Response() if self.answer is None else await self.answer(request)

    async def wait_for_hooks(self, count: int) -> list[Hook]:
        """Wait for this number of webhooks, and a moment longer for one too many."""
        async with asyncio.timeout(20):
            while len(self.hooks) < count:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.03)
        return self.hooks

    async def ids(self, count: int) -> list[str]:
        """Wait for this number of webhooks, and return the ids of their tasks."""
        return [hook.body["data"]["_id"] for hook in await self.wait_for_hooks(count)]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver at its own port."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.receive)
    async with TestServer(application) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


@pytest.fixture
async def held(receiver: Receiver) -> AsyncIterator[asyncio.Event]:
    """An event; before it is set the receiver does not answer."""
    release = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answer = wait
    yield release
    release.set()


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send one webhook at a time."""
    monkeypatch.setattr(lifecycle, "_MAX_CONCURRENT", 1)


async def wait_for_records(sandbox: Sandbox, count: int = 1) -> list[SentWebhook]:
    """Wait until the sandbox has recorded this number of webhooks."""
    async with asyncio.timeout(20):
        while len(sandbox.webhooks) < count:
            await asyncio.sleep(0.005)
    return list(sandbox.webhooks)


# Content


async def test_completed_task(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """One POST of JSON arrives, with the event and the same record as the detail."""
    task = await finished_task(sandbox, webhook_url=receiver.url)
    (hook,) = await receiver.wait_for_hooks(1)
    assert hook.headers["Content-Type"] == "application/json"
    record = (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data
    assert hook.body == {"event": "task.completed", "data": record}
    assert record["result_url"]


async def test_failed_task(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """The event has another name, and the record has the reason."""
    await finished_task(sandbox, "#fast #fail", webhook_url=receiver.url)
    (hook,) = await receiver.wait_for_hooks(1)
    assert hook.body["event"] == "task.failed"
    assert hook.body["data"]["failed_code"] == "generation_error"


async def test_token(receiver: Receiver, sandbox: Sandbox, start: Start) -> None:
    """The header has the token of the start."""
    await start(sandbox, "#fast", webhook_url=receiver.url, webhook_token="s3cret é")
    (hook,) = await receiver.wait_for_hooks(1)
    assert hook.headers[TOKEN] == "s3cret é"


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_there_is_no_header(
    receiver: Receiver, sandbox: Sandbox, start: Start, token: str | None
) -> None:
    """A start without a token gets a webhook without the header."""
    await start(sandbox, "#fast", webhook_url=receiver.url, webhook_token=token)
    (hook,) = await receiver.wait_for_hooks(1)
    assert TOKEN not in hook.headers


async def test_start_without_a_url(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """Only tasks whose start has a URL send webhooks."""
    await finished_task(sandbox, "#fast", webhook_token="t")
    task = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
    assert await receiver.ids(1) == [task.id]
    assert [sent.task_id for sent in sandbox.webhooks] == [task.id]


async def test_several_videos(receiver: Receiver, sandbox: Sandbox, start: Start) -> None:
    """A start of three videos sends three webhooks, one for each."""
    records = (await start(sandbox, "#fast", number_of_images=3, webhook_url=receiver.url)).data
    assert sorted(await receiver.ids(3)) == sorted(record["_id"] for record in records)


async def test_task_has_ended_before_its_webhook(
    receiver: Receiver, sandbox: Sandbox, start: Start, call: Call
) -> None:
    """When the webhook arrives, detail and batchDetail have the new status."""
    seen = []

    async def look(_: web.Request) -> web.Response:
        task_id = receiver.hooks[-1].body["data"]["_id"]
        seen.append((await call(sandbox, "GET", f"{PREFIX}/{task_id}")).data["current_status"])
        batch = (await call(sandbox, "POST", f"{PREFIX}/batchDetail", {"ids": [task_id]})).data
        seen.append(batch[0]["current_status"])
        return web.Response()

    receiver.answer = look
    await start(sandbox, "#fast", webhook_url=receiver.url)
    await wait_for_records(sandbox)
    assert seen == ["completed", "completed"]


async def test_task_deleted_before_its_end(receiver: Receiver, start: Start, call: Call) -> None:
    """It sends no webhook."""
    async with sandbox_with(None) as sandbox:
        deleted = (await start(sandbox, webhook_url=receiver.url)).data["_id"]
        await call(sandbox, "DELETE", f"{PREFIX}/{deleted}")
        other = (await start(sandbox, "#fast", webhook_url=receiver.url)).data["_id"]
        assert await receiver.ids(1) == [other]


@pytest.mark.usefixtures("one_at_a_time")
async def test_task_deleted_after_its_end(
    receiver: Receiver, held: asyncio.Event, sandbox: Sandbox, finished_task: FinishedTask, call: Call
) -> None:
    """A webhook that is still queued when its task is deleted is not sent."""
    tasks = [await finished_task(sandbox, "#fast", webhook_url=receiver.url) for _ in range(3)]
    await call(sandbox, "DELETE", f"{PREFIX}/{tasks[1].id}")
    held.set()
    assert await receiver.ids(2) == [tasks[0].id, tasks[2].id]


# One attempt


async def test_there_is_one_attempt(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """A receiver that answers 500 gets no second request."""

    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=500)

    receiver.answer = fail
    task = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
    assert [(sent.task_id, sent.status) for sent in await wait_for_records(sandbox)] == [(task.id, 500)]
    assert len(await receiver.wait_for_hooks(1)) == 1


async def test_no_redirect_is_followed(receiver: Receiver, sandbox: Sandbox, start: Start) -> None:
    """A receiver that answers 307 to itself gets one webhook, and the redirect is recorded."""

    async def turn(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": receiver.url})

    receiver.answer = turn
    await start(sandbox, "#fast", webhook_url=receiver.url)
    assert [sent.status for sent in await wait_for_records(sandbox)] == [307]
    assert len(await receiver.wait_for_hooks(1)) == 1


async def test_no_state_between_webhooks(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """No cookie and no connection is kept, and the token of the account is never sent."""
    callers = set()

    async def bake(request: web.Request) -> web.Response:
        assert request.transport is not None
        callers.add(request.transport.get_extra_info("peername"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    receiver.answer = bake
    url = receiver.url.replace("127.0.0.1", "localhost")  # aiohttp's own jar accepts no cookies from IP addresses
    for count in (1, 2):
        await finished_task(sandbox, "#fast", webhook_url=url)
        await wait_for_records(sandbox, count)
    assert [{"Cookie", "Authorization"} & set(hook.headers) for hook in receiver.hooks] == [set(), set()]
    assert len(callers) == 2


# Broken receivers


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
async def test_unreachable_receiver(
    receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask, fields: dict[str, str]
) -> None:
    """A webhook that cannot be delivered has no status; its task is completed and the next webhook is sent."""
    places = {"port": unused_port(), "hook": receiver.url, "tls": receiver.url.replace("http", "https")}
    task = await finished_task(sandbox, "#fast", **{name: text.format(**places) for name, text in fields.items()})
    assert task.status == "completed"
    assert [(sent.task_id, sent.event, sent.status) for sent in await wait_for_records(sandbox)] == [
        (task.id, "task.completed", 0)
    ]
    other = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
    assert await receiver.ids(1) == [other.id]


async def test_receiver_that_disconnects(receiver: Receiver, sandbox: Sandbox, start: Start) -> None:
    """A connection that ends without a response is recorded without a status, and nothing is sent again."""

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    receiver.answer = hang_up
    await start(sandbox, "#fast", webhook_url=receiver.url)
    assert [sent.status for sent in await wait_for_records(sandbox)] == [0]
    assert len(await receiver.wait_for_hooks(1)) == 1


async def test_a_silent_receiver_delays_no_task(
    receiver: Receiver, held: asyncio.Event, sandbox: Sandbox, finished_task: FinishedTask, call: Call
) -> None:
    """While a webhook has no response its task is completed, others complete, and the API answers."""
    async with asyncio.timeout(5):
        for _ in range(2):
            task = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
            assert (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data["current_status"] == "completed"
        await receiver.wait_for_hooks(2)
    assert not sandbox.webhooks


@pytest.mark.usefixtures("one_at_a_time")
async def test_a_silent_receiver_does_not_delay_closing(receiver: Receiver, held: asyncio.Event, start: Start) -> None:
    """Closing cancels webhooks under way, which are recorded without a response, and drops the queued ones."""
    async with sandbox_with(None) as sandbox:
        await start(sandbox, "#fast", number_of_images=3, webhook_url=receiver.url)
        (hook,) = await receiver.wait_for_hooks(1)
        async with asyncio.timeout(5):
            await sandbox.aclose()
    assert [(sent.task_id, sent.status) for sent in sandbox.webhooks] == [(hook.body["data"]["_id"], 0)]
    held.set()
    assert len(await receiver.wait_for_hooks(1)) == 1


@pytest.mark.usefixtures("one_at_a_time")
async def test_timeout(receiver: Receiver, held: asyncio.Event, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded time an attempt ends, and the next webhook is sent."""
    monkeypatch.setattr(lifecycle, "_TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    async with sandbox_with(None) as sandbox:
        await start(sandbox, "#fast", number_of_images=2, webhook_url=receiver.url)
        assert [sent.status for sent in await wait_for_records(sandbox, 2)] == [0, 0]
    assert len(await receiver.wait_for_hooks(2)) == 2


async def test_limit_of_concurrent_webhooks(
    receiver: Receiver, held: asyncio.Event, sandbox: Sandbox, start: Start
) -> None:
    """If many tasks end together, the 51st webhook waits for a response to another; in the end all are sent."""
    for _ in range(7):
        await start(sandbox, "#fast", number_of_images=8, webhook_url=receiver.url)
    assert len(await receiver.wait_for_hooks(50)) == 50
    assert all(task.done for task in sandbox.tasks.values())
    held.set()
    assert sorted(await receiver.ids(56)) == sorted(sandbox.tasks)


# URLs


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
async def test_http_to_other_hosts(sandbox: Sandbox, start: Start, url: str) -> None:
    """A2E requires https: http to another machine is a 400, and nothing is charged."""
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


# Lost webhooks


async def test_lost_webhooks_are_never_sent(receiver: Receiver, finished_task: FinishedTask) -> None:
    """At probability 1 nothing is sent or recorded, though the task ends. Without faults the next one is sent."""
    async with sandbox_with(FaultPlan(lost_webhooks=1.0)) as sandbox:
        await finished_task(sandbox, "#fast", webhook_url=receiver.url)
        sandbox.faults = None
        task = await finished_task(sandbox, "#fast", webhook_url=receiver.url)
        assert await receiver.ids(1) == [task.id]
        assert [sent.task_id for sent in await wait_for_records(sandbox)] == [task.id]


def test_the_same_seed_loses_the_same() -> None:
    """One seed gives one sequence, independent of other random numbers; another seed gives another."""

    def lost(seed: int, *disturbing: str) -> list[bool]:
        schedule = FaultSchedule(FaultPlan.random(seed, rate=0.5))
        drawn = []
        for _ in range(50):
            drawn.append(schedule.loses_webhook())
            for operation in disturbing:
                schedule.next_fault(operation)
                schedule.omits_from_batch()
        return drawn

    assert lost(1) == lost(1, "start", "batch") != lost(2)
    assert 10 < sum(lost(1)) < 40


@pytest.mark.parametrize("chance", [-0.1, 1.1, float("nan"), True, "1"])
def test_probability_is_from_0_to_1(chance: Any) -> None:
    """Other values are a ValueError."""
    with pytest.raises(ValueError, match="lost_webhooks must be a number from 0 to 1"):
        FaultPlan(lost_webhooks=chance)


def test_random_plan_loses_webhooks() -> None:
    """They are lost with the rate of the plan."""
    assert [FaultPlan.random(1, rate).lost_webhooks for rate in (0.0, 0.3)] == [0.0, 0.3]


# Records


@pytest.mark.usefixtures("one_at_a_time")
async def test_webhooks_are_recorded(receiver: Receiver, sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """The oldest is first, with its task, its event, and the status of the response."""
    tasks = []
    for prompt in ("#fast", "#fast #fail"):
        tasks.append(await finished_task(sandbox, prompt, webhook_url=receiver.url))
        await wait_for_records(sandbox, len(tasks))
    assert [(sent.task_id, sent.event, sent.status) for sent in sandbox.webhooks] == [
        (tasks[0].id, "task.completed", 200),
        (tasks[1].id, "task.failed", 200),
    ]


@pytest.mark.parametrize("place", ["http://127.0.0.1:{port}/secret", "https:///secret"])
async def test_no_record_has_a_secret(
    sandbox: Sandbox, finished_task: FinishedTask, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """URL and token are neither in a log line, nor in the record, nor in the repr of the task."""
    caplog.set_level(logging.DEBUG)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, but not listening, so that no other program can listen there
        url = place.format(port=silent.getsockname()[1]) + "?key=secret"
        task = await finished_task(sandbox, "#fast", webhook_url=url, webhook_token="secret")
        (sent,) = await wait_for_records(sandbox)
    assert task.id in caplog.text
    assert "secret" not in caplog.text + repr(sent) + repr(task) + repr(task.start)

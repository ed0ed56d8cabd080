"""Waits that a webhook ends: a real receiver on another port, and the local A2E that calls it, or does not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import quick
from aiohttp import web
from conditions import wait_until
from paid_starts import PROMPT, make_client, start_video
from virtual_clock import utc_now

from a2e_async import A2EClient, InvalidRequestError, PollPolicy, TaskStatus, WebhookReceiver
from a2e_async.sandbox import Sandbox, Weather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LAZY = PollPolicy(initial=0.05, steps=((0.0, 3600.0),), backstop=3600.0)
"""So rare that only a webhook can end a wait."""


@pytest.fixture
async def lazy(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client that polls once an hour."""
    async with make_client(sandbox, poll=LAZY) as a2e:
        yield a2e


@pytest.fixture
async def receiver(lazy: A2EClient) -> AsyncIterator[WebhookReceiver]:
    """Run a server of its own that receives webhooks."""
    async with served(lazy) as made:
        yield made


@contextlib.asynccontextmanager
async def served(a2e: A2EClient) -> AsyncIterator[WebhookReceiver]:
    """Run a receiver behind a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        receiver = WebhookReceiver(a2e, url=f"http://127.0.0.1:{listening.getsockname()[1]}/hooks/a2e")
        app = web.Application()
        app.add_routes(receiver.routes("/hooks/a2e"))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield receiver
        finally:
            await runner.cleanup()


def late(sandbox: Sandbox, task_id: str) -> float:
    """Return the seconds since a task was completed."""
    return (utc_now() - sandbox.tasks[task_id].updated).total_seconds()


async def test_webhook_ends_the_wait(lazy: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """A wait that would ask once an hour ends right after the task."""
    delays = []
    for _ in range(5):
        task = await start_video(lazy, webhook=receiver)
        await task.wait_until_done(60)
        delays.append(late(sandbox, task.id))
    assert max(delays) < 0.01
    await wait_until(lambda: len(sandbox.webhooks) == 5)  # each is noted when its answer has come
    assert [sent.status for sent in sandbox.webhooks] == [204] * 5


async def test_webhook_of_a_failure_ends_the_wait(lazy: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """A failed job is heard of in the same way, and is a failure because A2E says so, not the webhook."""
    task = await start_video(lazy, prompt=f"{PROMPT} #fail", webhook=receiver)
    record = await task.wait_until_done(60, raise_on_failure=False)
    assert record.status is TaskStatus.FAILED


async def test_wait_that_no_webhook_ends(sandbox: Sandbox) -> None:
    """If the only attempt is lost, the wait ends all the same, by polling as slowly as `backstop` says."""
    sandbox.weather = Weather(lost_webhooks=1.0)
    policy = PollPolicy(initial=0.05, steps=((0.0, 0.02),), backstop=0.5)
    async with make_client(sandbox, poll=policy) as a2e, served(a2e) as receiver:
        task = await start_video(a2e, webhook=receiver)
        await task.wait_until_done(60)
    asked = sum(seen.path.startswith(quick.FAMILY_PATH) and seen.method == "GET" for seen in sandbox.requests)
    assert 1 <= asked <= 4
    assert not sandbox.webhooks


async def test_receiver_that_cannot_be_reached(sandbox: Sandbox, unused: str) -> None:
    """If A2E cannot reach the receiver, the wait ends by polling."""
    async with make_client(sandbox, poll=PollPolicy(initial=0.05, steps=((0.0, 0.02),), backstop=0.2)) as a2e:
        task = await start_video(a2e, webhook=WebhookReceiver(a2e, url=unused))
        await task.wait_until_done(60)
    await wait_until(lambda: sandbox.webhooks)
    assert [sent.status for sent in sandbox.webhooks] == [0]


@pytest.fixture
def unused() -> str:
    """Return a URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/hook"


async def test_forged_webhook_costs_one_read(lazy: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """Who knows the token, and says that a running task is completed, causes a question and no result."""
    task = await start_video(lazy, prompt=f"{PROMPT} #stuck", webhook=receiver)
    wait = asyncio.create_task(task.wait_until_done(60))
    await asyncio.sleep(0.3)
    before = len(sandbox.requests)
    forged = {"data": {"_id": task.id, "current_status": "completed", "result_url": "https://evil.example.com/x.mp4"}}
    async with aiohttp.ClientSession(headers={"X-A2e-Webhook-Token": receiver.token}) as session:
        for _ in range(3):
            async with session.post(str(receiver.url), json=forged) as answer:
                assert answer.status == 204
    await asyncio.sleep(0.5)
    assert len(sandbox.requests) - before == 1
    assert not wait.done()
    assert not task.record.result_url
    wait.cancel()
    await asyncio.wait([wait])


async def test_webhook_without_an_id_hastens_everybody(
    lazy: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver
) -> None:
    """If the payload names no task, all that are waited for are asked about once, with one question."""
    tasks = [await start_video(lazy, webhook=receiver) for _ in range(5)]
    sandbox.weather = Weather(lost_webhooks=1.0)
    waits = [asyncio.create_task(task.wait_until_done(60)) for task in tasks]
    await wait_until(lambda: all(task.done for task in sandbox.tasks.values()))
    await asyncio.sleep(0.1)
    before = len(sandbox.requests)
    async with (
        aiohttp.ClientSession(headers={"X-A2e-Webhook-Token": receiver.token}) as session,
        session.post(str(receiver.url), json={"event": "task.completed"}) as answer,
    ):
        assert answer.status == 204
    await asyncio.gather(*waits)
    assert len(sandbox.requests) - before <= 2


async def test_variations_are_hooked(lazy: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """Several videos of one start send a webhook each, and each wait ends by its own."""
    tasks = await lazy.image_to_video.start_variations(
        3, image_url="https://example.com/a.png", webhook=receiver, **quick.PROMPTS
    )
    await asyncio.gather(*(task.wait_until_done(60) for task in tasks))
    await wait_until(lambda: len(sandbox.webhooks) == 3)


async def test_start_fills_in_both_fields(lazy: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """A2E gets the receiver's address and token."""
    task = await start_video(lazy, webhook=receiver)
    order = sandbox.tasks[task.id].order
    assert (order.webhook_url, order.webhook_token) == (receiver.url, receiver.token)


@pytest.mark.parametrize("options", [{"webhook_url": "https://example.com/a"}, {"webhook_token": "x"}])
async def test_receiver_and_fields_are_not_mixed(
    lazy: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver, options: dict[str, Any]
) -> None:
    """A receiver and a field of one's own are refused before anything is sent, in both kinds of starts."""
    with pytest.raises(InvalidRequestError, match="not both"):
        await start_video(lazy, webhook=receiver, **options)
    with pytest.raises(InvalidRequestError, match="not both"):
        await lazy.image_to_video.start_variations(
            2, image_url="https://example.com/a.png", webhook=receiver, **quick.PROMPTS, **options
        )
    assert not sandbox.requests


async def test_receiver_without_an_address(lazy: A2EClient, sandbox: Sandbox) -> None:
    """A receiver that does not know where it is cannot be passed to a start."""
    with pytest.raises(InvalidRequestError, match="WebhookReceiver"):
        await start_video(lazy, webhook=WebhookReceiver(lazy))
    assert not sandbox.requests


@pytest.mark.parametrize("webhook", ["https://example.com/a", 5, object()])
async def test_webhook_must_be_a_receiver(lazy: A2EClient, sandbox: Sandbox, webhook: Any) -> None:
    """Something else is refused before anything is sent, and the error names the field for addresses."""
    with pytest.raises(InvalidRequestError, match="webhook_url"):
        await start_video(lazy, webhook=webhook)
    assert not sandbox.requests


async def test_many_hooked_waits(lazy: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """Two hundred webhooks end two hundred waits, and cost no more than a question each and the first looks."""
    tasks = await asyncio.gather(*(start_video(lazy, webhook=receiver) for _ in range(200)))
    before = len(sandbox.requests)
    records = await asyncio.gather(*(task.wait_until_done(60) for task in tasks))
    assert all(record.result_url for record in records)
    assert len(sandbox.requests) - before <= 220
    await wait_until(lambda: len(sandbox.webhooks) == 200)
    assert {sent.task_id for sent in sandbox.webhooks} == {task.id for task in tasks}

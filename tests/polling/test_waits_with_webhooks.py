"""Waits that a webhook ends, with a receiver on a port of its own and the HTTP sandbox."""

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
from a2e_async.sandbox import FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# So rare that only a webhook can end a wait.
SLOW_POLLS = PollPolicy(initial=0.05, steps=((0.0, 3600.0),), backstop=3600.0)


@pytest.fixture
async def slow_poller(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client that polls once an hour."""
    async with make_client(sandbox, poll=SLOW_POLLS) as a2e:
        yield a2e


@pytest.fixture
async def receiver(slow_poller: A2EClient) -> AsyncIterator[WebhookReceiver]:
    """Run a receiver of webhooks for that client."""
    async with served(slow_poller) as receiver:
        yield receiver


@contextlib.asynccontextmanager
async def served(a2e: A2EClient) -> AsyncIterator[WebhookReceiver]:
    """Run a receiver on a port of its own."""
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


def delay_of(sandbox: Sandbox, task_id: str) -> float:
    """Return the seconds since a task was completed."""
    return (utc_now() - sandbox.tasks[task_id].updated).total_seconds()


async def test_webhook_ends_the_wait(slow_poller: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """A wait that polls once an hour ends right after its task."""
    delays = []
    for _ in range(5):
        task = await start_video(slow_poller, webhook=receiver)
        await task.wait_until_done(60)
        delays.append(delay_of(sandbox, task.id))
    assert max(delays) < 0.01
    await wait_until(lambda: len(sandbox.webhooks) == 5)  # a webhook is recorded when its response has come
    assert [sent.status for sent in sandbox.webhooks] == [204] * 5


async def test_webhook_of_a_failure_ends_the_wait(
    slow_poller: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver
) -> None:
    """A failed task ends the wait too, and the failure comes from A2E's record, not from the webhook."""
    task = await start_video(slow_poller, prompt=f"{PROMPT} #fail", webhook=receiver)
    record = await task.wait_until_done(60, raise_on_failure=False)
    assert record.status is TaskStatus.FAILED


async def test_lost_webhook_does_not_matter(sandbox: Sandbox) -> None:
    """If the only webhook is lost, the polls at the interval of `backstop` end the wait."""
    sandbox.faults = FaultPlan(lost_webhooks=1.0)
    policy = PollPolicy(initial=0.05, steps=((0.0, 0.02),), backstop=0.5)
    async with make_client(sandbox, poll=policy) as a2e, served(a2e) as receiver:
        task = await start_video(a2e, webhook=receiver)
        await task.wait_until_done(60)
    polls = sum(seen.path.startswith(quick.FAMILY_PATH) and seen.method == "GET" for seen in sandbox.requests)
    assert 1 <= polls <= 4
    assert not sandbox.webhooks


async def test_unreachable_receiver_does_not_matter(sandbox: Sandbox, unused_url: str) -> None:
    """If A2E cannot reach the receiver, the polls end the wait."""
    async with make_client(sandbox, poll=PollPolicy(initial=0.05, steps=((0.0, 0.02),), backstop=0.2)) as a2e:
        task = await start_video(a2e, webhook=WebhookReceiver(a2e, url=unused_url))
        await task.wait_until_done(60)
    await wait_until(lambda: sandbox.webhooks)
    assert [sent.status for sent in sandbox.webhooks] == [0]


@pytest.fixture
def unused_url() -> str:
    """Return a URL without a server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/hook"


async def test_forged_webhook_costs_one_read(
    slow_poller: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver
) -> None:
    """A forged webhook with the right token about a running task causes one poll and no result."""
    task = await start_video(slow_poller, prompt=f"{PROMPT} #stuck", webhook=receiver)
    wait = asyncio.create_task(task.wait_until_done(60))
    await asyncio.sleep(0.3)
    before = len(sandbox.requests)
    forged = {"data": {"_id": task.id, "current_status": "completed", "result_url": "https://evil.example.com/x.mp4"}}
    async with aiohttp.ClientSession(headers={"X-A2e-Webhook-Token": receiver.token}) as session:
        for _ in range(3):
            async with session.post(str(receiver.url), json=forged) as response:
                assert response.status == 204
    await asyncio.sleep(0.5)
    assert len(sandbox.requests) - before == 1
    assert not wait.done()
    assert not task.record.result_url
    wait.cancel()
    await asyncio.wait([wait])


async def test_webhook_without_an_id_polls_all_tasks(
    slow_poller: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver
) -> None:
    """If the payload has no id, all tasks that are waited for are polled once, with one request."""
    tasks = [await start_video(slow_poller, webhook=receiver) for _ in range(5)]
    sandbox.faults = FaultPlan(lost_webhooks=1.0)
    waits = [asyncio.create_task(task.wait_until_done(60)) for task in tasks]
    await wait_until(lambda: all(task.done for task in sandbox.tasks.values()))
    await asyncio.sleep(0.1)
    before = len(sandbox.requests)
    async with (
        aiohttp.ClientSession(headers={"X-A2e-Webhook-Token": receiver.token}) as session,
        session.post(str(receiver.url), json={"event": "task.completed"}) as response,
    ):
        assert response.status == 204
    await asyncio.gather(*waits)
    assert len(sandbox.requests) - before <= 2


async def test_variations_have_webhooks(slow_poller: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """Several videos of one start have a webhook each, which ends its wait."""
    tasks = await slow_poller.image_to_video.start_variations(
        3, image_url="https://example.com/a.png", webhook=receiver, **quick.PROMPTS
    )
    await asyncio.gather(*(task.wait_until_done(60) for task in tasks))
    await wait_until(lambda: len(sandbox.webhooks) == 3)


async def test_start_fills_in_both_fields(slow_poller: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """A2E gets the URL and the token of the receiver."""
    task = await start_video(slow_poller, webhook=receiver)
    start = sandbox.tasks[task.id].start
    assert (start.webhook_url, start.webhook_token) == (receiver.url, receiver.token)


@pytest.mark.parametrize("options", [{"webhook_url": "https://example.com/a"}, {"webhook_token": "x"}])
async def test_receiver_and_fields_are_not_mixed(
    slow_poller: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver, options: dict[str, Any]
) -> None:
    """Both kinds of starts reject a receiver together with a webhook field, before any request."""
    with pytest.raises(InvalidRequestError, match="not both"):
        await start_video(slow_poller, webhook=receiver, **options)
    with pytest.raises(InvalidRequestError, match="not both"):
        await slow_poller.image_to_video.start_variations(
            2, image_url="https://example.com/a.png", webhook=receiver, **quick.PROMPTS, **options
        )
    assert not sandbox.requests


async def test_receiver_without_a_url_is_rejected(slow_poller: A2EClient, sandbox: Sandbox) -> None:
    """A start rejects a receiver without a URL."""
    with pytest.raises(InvalidRequestError, match="WebhookReceiver"):
        await start_video(slow_poller, webhook=WebhookReceiver(slow_poller))
    assert not sandbox.requests


@pytest.mark.parametrize("webhook", ["https://example.com/a", 5, object()])
async def test_webhook_must_be_a_receiver(slow_poller: A2EClient, sandbox: Sandbox, webhook: Any) -> None:
    """Any other object is rejected before any request, and the error names the field for URLs."""
    with pytest.raises(InvalidRequestError, match="webhook_url"):
        await start_video(slow_poller, webhook=webhook)
    assert not sandbox.requests


async def test_many_waits_with_webhooks(slow_poller: A2EClient, sandbox: Sandbox, receiver: WebhookReceiver) -> None:
    """Two hundred webhooks end two hundred waits, with one poll each after the first one."""
    tasks = await asyncio.gather(*(start_video(slow_poller, webhook=receiver) for _ in range(200)))
    before = len(sandbox.requests)
    records = await asyncio.gather(*(task.wait_until_done(60) for task in tasks))
    assert all(record.result_url for record in records)
    assert len(sandbox.requests) - before <= 220
    await wait_until(lambda: len(sandbox.webhooks) == 200)
    assert {sent.task_id for sent in sandbox.webhooks} == {task.id for task in tasks}

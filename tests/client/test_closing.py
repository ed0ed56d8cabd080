"""Closing a client: in a cancelled scope, during a start, while work in the background still needs the client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from conditions import wait_until
from paid_starts import (
    charged_task_ids,
    count_starts,
    faults_on_start,
    logged_warnings,
    make_client,
    start_in_background,
    start_video,
)

from a2e_async import ClientClosedError, NetworkError, SubmissionUncertainError
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

SLOW = faults_on_start(Fault("delay", after=True, seconds=3.0))


def is_open(services: Any) -> bool:
    """Return whether a session of the client is open."""
    return bool(services.is_open)


@pytest.mark.parametrize("times", [1, 2])
async def test_close_that_is_cancelled_while_it_waits(sandbox: Sandbox, times: int) -> None:
    """A cancelled close leaves no session open, also if it was waiting for a start whose caller was cancelled."""
    sandbox.faults = SLOW
    a2e = make_client(sandbox)
    start = await start_in_background(sandbox, a2e)
    services = a2e._state.services()
    for _ in range(2):  # the second one leaves the start in the background
        start.cancel()
        await asyncio.sleep(0.01)
    closing = asyncio.create_task(a2e.aclose())
    await asyncio.sleep(0.1)
    for _ in range(times):
        closing.cancel()
        await asyncio.sleep(0.01)
    assert closing.done() is (times == 2)  # the first cancellation waits, the second one does not
    assert is_open(services)
    await wait_until(lambda: not is_open(services))
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(ClientClosedError):
        await a2e.account.balance()


async def test_client_in_a_cancelled_scope_leaves_no_socket(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A client that is used inside of a cancelled scope of anyio closes in the background, after a start in flight."""
    sandbox.faults = SLOW
    a2e, loop = make_client(sandbox), asyncio.get_running_loop()
    began = loop.time()
    with anyio.move_on_after(0.5) as scope:
        async with a2e:
            services = a2e._state.services()
            await start_video(a2e)
    assert scope.cancelled_caught
    # the scope has ended at once: while it lasts, anyio cancels in each pass of the event loop, which is busy then
    assert loop.time() - began < 1.0
    await wait_until(lambda: not is_open(services))
    (task_id,) = charged_task_ids(sandbox)
    assert task_id in logged_warnings(caplog)[-1]


async def test_scope_that_is_cancelled_before_the_client_is_opened(sandbox: Sandbox) -> None:
    """A client that is opened in a scope that is cancelled already leaves nothing open."""
    a2e = make_client(sandbox)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with a2e:
            services = a2e._state.services()
            await a2e.account.balance()
    await wait_until(lambda: not is_open(services))
    await wait_until(lambda: "closed" in repr(a2e))


async def test_stream_of_a_web_application(sandbox: Sandbox) -> None:
    """Starlette cancels a stream as anyio does when the browser leaves: a batch in it ends without a busy loop."""
    sandbox.faults = FaultPlan(chances={"start": {Fault("delay", after=True, seconds=3.0): 1}})
    jobs = [
        {"key": f"{number}", "image_url": "https://example.com/a.png", "prompt": "p", "negative_prompt": "n"}
        for number in range(3)
    ]
    left, loop = asyncio.Event(), asyncio.get_running_loop()

    async with make_client(sandbox) as a2e:

        async def stream() -> None:
            async for _ in a2e.image_to_video.batch(jobs):
                pass

        async def listen_for_disconnect() -> None:
            await left.wait()
            tasks.cancel_scope.cancel()

        began = loop.time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream)
            tasks.start_soon(listen_for_disconnect)
            await wait_until(lambda: sandbox.ledger)
            left.set()
        assert loop.time() - began < 1.0
    assert count_starts(sandbox) == len(charged_task_ids(sandbox))


async def test_client_that_is_opened_again_while_it_closes(sandbox: Sandbox) -> None:
    """A close that goes on in the background does not close the client under its next user."""
    sandbox.faults = SLOW
    a2e = make_client(sandbox)
    with anyio.move_on_after(0.5):
        async with a2e:
            await start_video(a2e)
    async with a2e:
        await asyncio.sleep(5)
        coins = (await a2e.account.balance()).coins
        assert coins is not None
        assert coins < 10_000
    with pytest.raises(ClientClosedError):
        await a2e.account.balance()


async def test_two_clients_that_close_in_the_background(sandbox: Sandbox) -> None:
    """Closings do not wait for each other."""
    sandbox.faults = SLOW
    first, second = make_client(sandbox), make_client(sandbox)
    with anyio.move_on_after(0.5):
        async with first, second:
            await second.account.balance()
            await start_video(first)
    await wait_until(lambda: "closed" in repr(first) and "closed" in repr(second))


async def test_closing_during_a_start(sandbox: Sandbox, a2e: A2EClient) -> None:
    """A start under way while the client is closed has an unknown outcome; the error names the client, not the host."""
    sandbox.faults = SLOW
    start = await start_in_background(sandbox, a2e)
    await a2e.aclose()
    with pytest.raises(SubmissionUncertainError, match="the client or its session was closed") as caught:
        await start
    assert "host" not in str(caught.value)
    assert caught.value.marker in sandbox.tasks[charged_task_ids(sandbox)[0]].name


async def test_closing_during_another_request(sandbox: Sandbox, a2e: A2EClient) -> None:
    """A free request under way while the client is closed ends with an error that names the client."""
    sandbox.faults = FaultPlan(chances={"detail": {Fault("delay", seconds=3.0): 1}})
    request = asyncio.create_task(a2e.image_to_video.get("67d29023dd27a536fdf6e809"))
    await asyncio.sleep(1)
    await a2e.aclose()
    with pytest.raises((ClientClosedError, NetworkError), match="client") as caught:
        await request
    assert "host" not in str(caught.value)

"""The counters of a client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import quick

from a2e_async import A2EClient, Config, NetworkError, RetryPolicy, TaskFailedError
from a2e_async.events import Stats
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib

pytestmark = pytest.mark.virtual_time


async def test_counters(a2e_sandbox: Sandbox, a2e_client: A2EClient, tmp_path: pathlib.Path) -> None:
    """Each counter counts what its name says, and a closed client still tells them."""
    a2e_sandbox.faults = FaultPlan(script={"start": [Fault("429")]})
    assert a2e_client.stats() == Stats()
    task = await a2e_client.image_to_video.start(image=quick.PNG, prompt="she smiles", negative_prompt="blurry")
    wait = asyncio.create_task(task.wait_until_done())
    await asyncio.sleep(1)
    assert a2e_client.stats().waits == 1
    await wait
    await task.download(tmp_path / "ada.mp4")
    refused = await a2e_client.image_to_video.start(
        image_url="https://example.com/ada.png", prompt="#fail", negative_prompt="blurry"
    )
    with pytest.raises(TaskFailedError):
        await refused.wait_until_done()
    await a2e_client.aclose()
    stats = a2e_client.stats()
    assert stats == Stats(
        requests=len([seen for seen in a2e_sandbox.requests if seen.path.startswith("/api/")]),
        retries=1,
        throttled=1,
        starts=2,
        coins=60,
        waits=0,
        waits_begun=2,
        polls=stats.polls,
        succeeded=1,
        failed=1,
        outages=0,
        uploads=1,
        uploaded_bytes=len(quick.PNG),
        downloads=1,
        downloaded_bytes=(tmp_path / "ada.mp4").stat().st_size,
    )
    details = {f"{quick.FAMILY_PATH}/{each.id}" for each in (task, refused)}
    assert stats.polls == len([seen for seen in a2e_sandbox.requests if seen.path in details])


async def test_a_wait_that_ends_early_is_no_wait(a2e_client: A2EClient) -> None:
    """A cancelled wait and a loop that was left do not count as waits that go on."""
    task = await a2e_client.image_to_video.start(
        image_url="https://example.com/ada.png", prompt="she smiles", negative_prompt="blurry"
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await task.wait_until_done()
    updates = task.updates()
    await anext(updates)
    await updates.aclose()
    assert (a2e_client.stats().waits, a2e_client.stats().waits_begun) == (0, 2)


def test_counters_go_on_over_event_loops() -> None:
    """A client that is used in two calls of ``asyncio.run`` has one set of counters, also for its views."""

    async def read() -> None:
        async with a2e:
            with pytest.raises(NetworkError):
                await a2e.account.balance()

    a2e = A2EClient("sk_any", base_url="http://127.0.0.1:1", config=Config(retry=RetryPolicy(max_attempts=1)))
    asyncio.run(read())
    asyncio.run(read())
    assert a2e.stats().requests == 2
    assert a2e.with_options(timeout=1).stats() == a2e.stats()

"""`get(id, max_age=...)`: the record of the last poll, without a request, as long as it is young enough."""

from __future__ import annotations

import asyncio
import gc
import math
from typing import TYPE_CHECKING, Any

import pytest
from conditions import wait_until
from paid_starts import make_client, start_video
from virtual_clock import now

from a2e_async import InvalidRequestError, NotFoundError, PollPolicy
from a2e_async._polling import poller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox


@pytest.fixture
async def a2e(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client that polls every ten seconds."""
    async with make_client(sandbox, poll=PollPolicy(initial=10.0, steps=((0.0, 10.0),))) as client:
        yield client


async def test_record_of_the_last_poll(sandbox: Sandbox, a2e: A2EClient) -> None:
    """A record that a wait has polled is returned without a request until it is too old, also through a view."""
    task = await start_video(a2e, prompt="#stuck")
    waiting = asyncio.create_task(task.wait_until_done())
    await asyncio.sleep(0)
    began, before = now(), len(sandbox.requests)
    await a2e.image_to_video.get(task.id, max_age=5)  # not polled yet: asks
    assert len(sandbox.requests) == before + 1
    await wait_until(lambda: len(sandbox.requests) == before + 2, seconds=30)
    await asyncio.sleep(1.0)
    record = await a2e.image_to_video.get(task.id, max_age=5)
    assert await a2e.with_options(timeout=1).image_to_video.get(task.id, max_age=5) is record
    assert record is task.record  # no second copy is kept
    assert len(sandbox.requests) == before + 2
    await asyncio.sleep(5.0)
    assert now() - began < 20
    await a2e.image_to_video.get(task.id, max_age=5)
    await a2e.image_to_video.get(task.id)
    assert len(sandbox.requests) == before + 4
    waiting.cancel()


async def test_task_that_has_ended(sandbox: Sandbox, a2e: A2EClient) -> None:
    """The final record is still known after the wait; a task that is deleted is asked for, and is not there."""
    task = await start_video(a2e, prompt="#fast")
    video = await task.wait_until_done()
    before = len(sandbox.requests)
    assert await a2e.image_to_video.get(task.id, max_age=60) is video
    assert len(sandbox.requests) == before
    await task.delete()
    with pytest.raises(NotFoundError):
        await a2e.image_to_video.get(task.id, max_age=60)


async def test_memory_is_bounded(sandbox: Sandbox, a2e: A2EClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the records of the last tasks that have ended are kept, and those of an ended wait are not."""
    monkeypatch.setattr(poller, "_MAX_ENDED", 2)
    tasks = [await start_video(a2e, prompt="#fast") for _ in range(3)]
    for task in tasks:
        await task.wait_until_done()
    known = a2e._state.services().poller.record_of
    family = tasks[0]._resource._family.key  # type: ignore[attr-defined]
    assert [known(family, task.id, math.inf) for task in tasks] == [None, tasks[1].record, tasks[2].record]
    stuck = await start_video(a2e, prompt="#stuck")
    with pytest.raises(TimeoutError):
        await stuck.wait_until_done(15)
    assert known(family, stuck.id, math.inf) is None
    gc.collect()


@pytest.mark.parametrize("max_age", ["2", math.nan, True])
async def test_invalid_age(sandbox: Sandbox, a2e: A2EClient, max_age: Any) -> None:
    """An age that is no number is an error, and nothing is sent."""
    with pytest.raises(InvalidRequestError, match="max_age"):
        await a2e.image_to_video.get("6927f1e7a1c5e4e0b5f0a3d2", max_age=max_age)
    assert not sandbox.requests

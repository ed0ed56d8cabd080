"""Tests of the shop against a local A2E, on virtual time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from shop import deliver

from a2e_async import A2EError, WaitTimeoutError
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    import pathlib

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]

IMAGE = "https://example.com/ada.png"


async def test_delivery(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An order takes some time, and ends with a video."""
    began = time.monotonic()
    assert await deliver(a2e_client, "17", IMAGE, tmp_path) == "Your video is order-17.mp4."
    assert 20 < time.monotonic() - began < 60
    assert (tmp_path / "order-17.mp4").stat().st_size > 0
    assert a2e_sandbox.coins == 10_000 - 30


async def test_lost_response(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """If the response to a start is lost after A2E charged it, the shop still pays once."""
    a2e_sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)]})
    assert await deliver(a2e_client, "17", IMAGE, tmp_path) == "Your video is order-17.mp4."
    assert [entry.coins for entry in a2e_sandbox.ledger] == [-30]


@pytest.mark.a2e_sandbox(coins=0)
async def test_out_of_coins(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Without coins, the customer gets a friendly message, and no task is started."""
    assert await deliver(a2e_client, "17", IMAGE, tmp_path) == "We make no videos today."
    assert not a2e_sandbox.tasks


async def test_coins_are_added(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """After coins are added, the shop delivers again."""
    a2e_sandbox.coins = 29
    assert await deliver(a2e_client, "17", IMAGE, tmp_path) == "We make no videos today."
    a2e_sandbox.coins = 30
    assert await deliver(a2e_client, "17", IMAGE, tmp_path) == "Your video is order-17.mp4."
    assert a2e_sandbox.coins == 0


async def test_outage(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """If A2E cannot be reached for five minutes while a task runs, the order is only late."""
    began = time.monotonic()
    a2e_sandbox.faults = FaultPlan(script={"detail": [Fault("refuse", seconds=300)]})
    assert await deliver(a2e_client, "17", IMAGE, tmp_path) == "Your video is order-17.mp4."
    assert time.monotonic() - began > 300


async def test_rejected_image(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """If A2E rejects the image after the task has begun, the customer is informed."""
    delivery = asyncio.create_task(deliver(a2e_client, "17", IMAGE, tmp_path))
    await asyncio.sleep(10)
    (task_id,) = a2e_sandbox.tasks
    a2e_sandbox.fail(task_id, code="nsfw")
    assert await delivery == "We cannot make a video of this image."


async def test_long_queue(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """If A2E takes longer than the timeout of the shop, a second delivery waits for the same task."""
    with a2e_sandbox.hold(), pytest.raises(WaitTimeoutError):
        await deliver(a2e_client, "17", IMAGE, tmp_path)
    assert await deliver(a2e_client, "17", IMAGE, tmp_path) == "Your video is order-17.mp4."
    assert len(a2e_sandbox.tasks) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_bad_network(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path, seed: int) -> None:
    """With random faults, retries deliver the order in the end, and it is paid once."""
    a2e_sandbox.faults = FaultPlan.random(seed)
    for _ in range(20):
        try:
            await deliver(a2e_client, "17", IMAGE, tmp_path)
        except A2EError:
            continue
        break
    assert (tmp_path / "order-17.mp4").stat().st_size > 0
    assert [entry.coins for entry in a2e_sandbox.ledger] == [-30]

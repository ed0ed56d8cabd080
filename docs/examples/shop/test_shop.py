"""Tests of the shop against a local A2E, on virtual time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from shop import deliver

from a2e_async import A2EError, WaitTimeoutError
from a2e_async.sandbox import Fault, Weather

if TYPE_CHECKING:
    import pathlib

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]

PICTURE = "https://example.com/ada.png"


async def test_delivery(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An order takes a while, and ends with a video."""
    began = time.monotonic()
    assert await deliver(a2e_client, "17", PICTURE, tmp_path) == "Your video is order-17.mp4."
    assert 20 < time.monotonic() - began < 60
    assert (tmp_path / "order-17.mp4").stat().st_size > 0
    assert a2e_sandbox.coins == 10_000 - 30


async def test_lost_answer(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The answer to a start is lost after A2E has charged it: the shop pays once all the same."""
    a2e_sandbox.weather = Weather(script={"start": [Fault("drop", after=True)]})
    assert await deliver(a2e_client, "17", PICTURE, tmp_path) == "Your video is order-17.mp4."
    assert [entry.coins for entry in a2e_sandbox.ledger] == [-30]


@pytest.mark.a2e_sandbox(coins=0)
async def test_out_of_coins(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Without coins the customer reads a friendly sentence, and no task is made."""
    assert await deliver(a2e_client, "17", PICTURE, tmp_path) == "We make no videos today."
    assert not a2e_sandbox.tasks


async def test_coins_are_bought(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """As soon as there are coins, the shop delivers again."""
    a2e_sandbox.coins = 29
    assert await deliver(a2e_client, "17", PICTURE, tmp_path) == "We make no videos today."
    a2e_sandbox.coins = 30
    assert await deliver(a2e_client, "17", PICTURE, tmp_path) == "Your video is order-17.mp4."
    assert a2e_sandbox.coins == 0


async def test_outage(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A2E cannot be reached for five minutes while a task runs: the order is late, and nothing else."""
    began = time.monotonic()
    a2e_sandbox.weather = Weather(script={"detail": [Fault("refuse", seconds=300)]})
    assert await deliver(a2e_client, "17", PICTURE, tmp_path) == "Your video is order-17.mp4."
    assert time.monotonic() - began > 300


async def test_rejected_picture(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A2E begins a video and rejects its image some seconds later."""
    delivery = asyncio.create_task(deliver(a2e_client, "17", PICTURE, tmp_path))
    await asyncio.sleep(10)
    (task_id,) = a2e_sandbox.tasks
    a2e_sandbox.fail(task_id, code="nsfw")
    assert await delivery == "We cannot make a video of this image."


async def test_long_queue(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A2E takes longer than the shop waits. When the order is tried again, the same task is waited for."""
    with a2e_sandbox.hold(), pytest.raises(WaitTimeoutError):
        await deliver(a2e_client, "17", PICTURE, tmp_path)
    assert await deliver(a2e_client, "17", PICTURE, tmp_path) == "Your video is order-17.mp4."
    assert len(a2e_sandbox.tasks) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_bad_network(a2e_client: A2EClient, a2e_sandbox: Sandbox, tmp_path: pathlib.Path, seed: int) -> None:
    """Whatever goes wrong, trying again delivers the order in the end, and it is paid once."""
    a2e_sandbox.weather = Weather.changeable(seed)
    for _ in range(20):
        try:
            await deliver(a2e_client, "17", PICTURE, tmp_path)
        except A2EError:
            continue
        break
    assert (tmp_path / "order-17.mp4").stat().st_size > 0
    assert [entry.coins for entry in a2e_sandbox.ledger] == [-30]

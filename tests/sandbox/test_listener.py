"""Refused connections: that they are, that the port comes back, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from sandbox_requests import sandbox_with_faults, statuses_and_faults

from a2e_async.sandbox import Fault, Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox_requests import Start

LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, no_leaked_tasks: None) -> Iterator[None]:
    """Fail a test in which the server, or asyncio, complained, or that left a task or a socket behind."""
    yield
    gc.collect()  # an open socket complains when it goes
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def address(sandbox: Sandbox) -> tuple[str, int]:
    """Tell where a sandbox listens."""
    host, _, port = sandbox.url.removeprefix("http://").rpartition(":")
    return host.strip("[]"), int(port)


async def is_open(where: tuple[str, int]) -> bool:
    """Tell whether a connection is accepted; anything but a true refusal is an error."""
    try:
        _, writer = await asyncio.open_connection(*where)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def reopened(where: tuple[str, int]) -> None:
    """Wait until somebody listens."""
    async with asyncio.timeout(10):
        while not await is_open(where):
            await asyncio.sleep(0.01)


async def test_nobody_listens_for_a_while(start: Start) -> None:
    """The request is dropped unprocessed, connections are refused, and later the same port answers again."""
    async with sandbox_with_faults(Fault("refuse", seconds=0.3)) as sandbox:
        began = time.monotonic()
        with pytest.raises(LOST):
            await start(sandbox)
        assert not await is_open(address(sandbox))
        with pytest.raises(aiohttp.ClientConnectorError):
            await start(sandbox)
        await reopened(address(sandbox))
        assert 0.3 <= time.monotonic() - began < 0.4
        assert (await start(sandbox)).status == 200
        assert (statuses_and_faults(sandbox), len(sandbox.ledger)) == ([(0, "refuse"), (200, "")], 1)


async def test_idle_connections_are_closed(start: Start) -> None:
    """A connection that waits for a next request ends when the port closes."""
    async with sandbox_with_faults(Fault("refuse", seconds=2.0)) as sandbox:
        reader, writer = await asyncio.open_connection(*address(sandbox))
        with pytest.raises(LOST):
            await start(sandbox)
        async with asyncio.timeout(0.1):
            assert await reader.read() == b""
        writer.close()
        await reopened(address(sandbox))


async def test_busy_connections_get_their_answer(start: Start) -> None:
    """What was being answered is; the next request on that connection is dropped, and noted."""
    async with sandbox_with_faults(Fault("delay", seconds=1.0), Fault("refuse", seconds=2.5)) as sandbox:
        slow = asyncio.create_task(start(sandbox))
        await asyncio.sleep(0.3)
        async with aiohttp.ClientSession() as other:
            with pytest.raises(LOST):
                await other.post(f"{sandbox.url}/api/v1/userImage2Video/start", json={})
        assert (await slow).status == 200
        with pytest.raises(LOST):
            await start(sandbox)
        assert statuses_and_faults(sandbox) == [(0, "refuse"), (200, "delay"), (0, "refuse")]
        await reopened(address(sandbox))


async def test_refusals_do_not_overlap(start: Start) -> None:
    """While nobody listens, requests that slip in are dropped and use up no line of the script."""
    async with sandbox_with_faults(*[Fault("refuse", seconds=0.5)] * 2) as sandbox:
        done = await asyncio.gather(*[start(sandbox) for _ in range(5)], return_exceptions=True)
        assert all(isinstance(one, aiohttp.ClientConnectionError) for one in done)
        await reopened(address(sandbox))
        with pytest.raises(LOST):
            await start(sandbox)
        assert not await is_open(address(sandbox))
        await reopened(address(sandbox))
        assert (await start(sandbox)).status == 200


async def test_it_can_be_refused_again_and_again(start: Start) -> None:
    """Each refusal begins and ends like the first."""
    async with sandbox_with_faults(*[Fault("refuse", seconds=0.2)] * 10) as sandbox:
        for _ in range(10):
            with pytest.raises(LOST):
                await start(sandbox)
            assert not await is_open(address(sandbox))
            await reopened(address(sandbox))
        assert (await start(sandbox)).status == 200


async def test_a_crowd_at_a_closing_door(start: Start) -> None:
    """Connections that are made while the port closes end somehow, and none is left open."""
    async with sandbox_with_faults(None, None, *[Fault("refuse", seconds=0.01)] * 20) as sandbox:
        done = await asyncio.gather(*[start(sandbox) for _ in range(60)], return_exceptions=True)
        assert all(not isinstance(one, BaseException) or isinstance(one, aiohttp.ClientConnectionError) for one in done)
        await reopened(address(sandbox))


@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_other_addresses(start: Start, host: str) -> None:
    """A name with several addresses, and IPv6, are refused and come back as well."""
    try:
        async with sandbox_with_faults(*[Fault("refuse", seconds=0.3)] * 2, host=host) as sandbox:
            for _ in range(2):
                with pytest.raises(LOST):
                    await start(sandbox)
                assert not await is_open(address(sandbox)) or host == "localhost"
                await asyncio.sleep(1.0)
            assert (await start(sandbox)).status == 200
    except SandboxError as error:
        pytest.skip(f"no such address here: {error}")


@pytest.mark.parametrize("fault", [Fault("refuse", seconds=60), Fault("refuse", seconds=0)])
async def test_closing_while_nobody_listens(start: Start, fault: Fault) -> None:
    """Closing does not wait for the port, and leaves it closed."""
    async with sandbox_with_faults(fault) as sandbox:
        with pytest.raises(LOST):
            await start(sandbox)
        began = time.monotonic()
    assert time.monotonic() - began < 0.2  # and not a minute
    assert not await is_open(address(sandbox))


@pytest.mark.parametrize("turns", range(6))
async def test_closing_while_the_port_closes(start: Start, turns: int) -> None:
    """Whenever the two meet, nothing stays behind."""
    async with sandbox_with_faults(*[Fault("refuse", seconds=0.001)] * 5) as sandbox:
        callers = [asyncio.create_task(start(sandbox)) for _ in range(5)]
        while not sandbox.requests:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
    done = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(one, aiohttp.ClientConnectionError) for one in done)
    assert not await is_open(address(sandbox))


@pytest.mark.parametrize(
    "fault", [Fault("delay", seconds=60), Fault("delay", after=True, seconds=60), Fault("drop", seconds=60)]
)
async def test_closing_while_somebody_waits(start: Start, fault: Fault) -> None:
    """Who waits for a delayed answer is dropped and noted; closing does not wait."""
    async with sandbox_with_faults(fault) as sandbox:
        waiting = asyncio.create_task(start(sandbox))
        await asyncio.sleep(0.3)
        began = time.monotonic()
    assert time.monotonic() - began < 0.2  # and not a minute
    with pytest.raises(LOST):
        await waiting
    assert statuses_and_faults(sandbox) == [(0, fault.kind)]
    assert len(sandbox.ledger) == int(fault.after)

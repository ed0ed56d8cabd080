"""Refused connections: the port is closed, opens again, and leaves nothing behind."""

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
    """Fail a test in which the server or asyncio logged an error, or that left a task or a socket behind."""
    yield
    gc.collect()  # an open socket warns when it is collected
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def address(sandbox: Sandbox) -> tuple[str, int]:
    """Return host and port of a sandbox."""
    host, _, port = sandbox.url.removeprefix("http://").rpartition(":")
    return host.strip("[]"), int(port)


async def is_open(where: tuple[str, int]) -> bool:
    """Tell whether a connection is accepted; all results except a refusal are errors."""
    try:
        _, writer = await asyncio.open_connection(*where)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def wait_until_open(where: tuple[str, int]) -> None:
    """Wait until the port is open."""
    async with asyncio.timeout(10):
        while not await is_open(where):
            await asyncio.sleep(0.01)


async def test_port_is_closed_for_a_while(start: Start) -> None:
    """The request is dropped unprocessed, connections are refused, and later the same port answers again."""
    async with sandbox_with_faults(Fault("refuse", seconds=0.3)) as sandbox:
        began = time.monotonic()
        with pytest.raises(LOST):
            await start(sandbox)
        assert not await is_open(address(sandbox))
        with pytest.raises(aiohttp.ClientConnectorError):
            await start(sandbox)
        await wait_until_open(address(sandbox))
        assert 0.3 <= time.monotonic() - began < 0.4
        assert (await start(sandbox)).status == 200
        assert (statuses_and_faults(sandbox), len(sandbox.ledger)) == ([(0, "refuse"), (200, "")], 1)


async def test_idle_connections_are_closed(start: Start) -> None:
    """A connection without a request ends when the port closes."""
    async with sandbox_with_faults(Fault("refuse", seconds=2.0)) as sandbox:
        reader, writer = await asyncio.open_connection(*address(sandbox))
        with pytest.raises(LOST):
            await start(sandbox)
        async with asyncio.timeout(0.1):
            assert await reader.read() == b""
        writer.close()
        await wait_until_open(address(sandbox))


async def test_busy_connections_get_their_response(start: Start) -> None:
    """Requests under way are answered; the next request on that connection is dropped, and recorded."""
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
        await wait_until_open(address(sandbox))


async def test_refusals_do_not_overlap(start: Start) -> None:
    """While the port is closed, other requests are dropped and use no fault of the script."""
    async with sandbox_with_faults(*[Fault("refuse", seconds=0.5)] * 2) as sandbox:
        done = await asyncio.gather(*[start(sandbox) for _ in range(5)], return_exceptions=True)
        assert all(isinstance(one, aiohttp.ClientConnectionError) for one in done)
        await wait_until_open(address(sandbox))
        with pytest.raises(LOST):
            await start(sandbox)
        assert not await is_open(address(sandbox))
        await wait_until_open(address(sandbox))
        assert (await start(sandbox)).status == 200


async def test_repeated_refusals(start: Start) -> None:
    """Each refusal begins and ends like the first."""
    async with sandbox_with_faults(*[Fault("refuse", seconds=0.2)] * 10) as sandbox:
        for _ in range(10):
            with pytest.raises(LOST):
                await start(sandbox)
            assert not await is_open(address(sandbox))
            await wait_until_open(address(sandbox))
        assert (await start(sandbox)).status == 200


async def test_connections_during_closing(start: Start) -> None:
    """Connections that are made while the port closes end, and none stays open."""
    async with sandbox_with_faults(None, None, *[Fault("refuse", seconds=0.01)] * 20) as sandbox:
        done = await asyncio.gather(*[start(sandbox) for _ in range(60)], return_exceptions=True)
        assert all(not isinstance(one, BaseException) or isinstance(one, aiohttp.ClientConnectionError) for one in done)
        await wait_until_open(address(sandbox))


@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_other_addresses(start: Start, host: str) -> None:
    """A name with several addresses, and IPv6, are closed and opened as well."""
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
async def test_closing_while_the_port_is_closed(start: Start, fault: Fault) -> None:
    """Closing does not wait for the port, and leaves it closed."""
    async with sandbox_with_faults(fault) as sandbox:
        with pytest.raises(LOST):
            await start(sandbox)
        began = time.monotonic()
    assert time.monotonic() - began < 0.2  # and not a minute
    assert not await is_open(address(sandbox))


@pytest.mark.parametrize("turns", range(6))
async def test_closing_while_the_port_closes(start: Start, turns: int) -> None:
    """Whenever both coincide, nothing stays behind."""
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
async def test_closing_during_a_delay(start: Start, fault: Fault) -> None:
    """A delayed request is dropped and recorded; closing does not wait."""
    async with sandbox_with_faults(fault) as sandbox:
        waiting = asyncio.create_task(start(sandbox))
        await asyncio.sleep(0.3)
        began = time.monotonic()
    assert time.monotonic() - began < 0.2  # and not a minute
    with pytest.raises(LOST):
        await waiting
    assert statuses_and_faults(sandbox) == [(0, fault.type)]
    assert len(sandbox.ledger) == int(fault.after)

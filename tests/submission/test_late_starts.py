"""A process that was stopped after it decided to send a start, such as by SIGSTOP, sends nothing when it goes on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import quick
from batches import make_job
from paid_starts import count_starts, make_client

from a2e_async._submission import finder
from a2e_async._submission.start import Moment

if TYPE_CHECKING:
    import pathlib

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox


@pytest.mark.parametrize("with_journal", [True, False])
async def test_a_start_that_comes_too_late(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, with_journal: bool
) -> None:
    """A start whose body would be sent too late is not sent; it is decided again, and sent once."""
    limits = iter([-99.0, -99.0])
    real = aiohttp.ClientSession._request

    async def connect_late(session: aiohttp.ClientSession, method: str, *args: object, **options: object) -> object:
        # as if the process were stopped between the decision and the connection
        monkeypatch.setattr(finder, "MAX_WRITE_TIME", next(limits, 99.0) if method == "POST" else 99.0)
        return await real(session, method, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(aiohttp.ClientSession, "_request", connect_late)
    if with_journal:
        batch = a2e.image_to_video.batch([make_job("ada")], journal=tmp_path / "journal.sqlite")
        async with batch:
            results = [result async for result in batch]
        assert [result.ok for result in results] == [True]
    else:
        await a2e.image_to_video.start(
            image_url="https://example.com/ada.png", **quick.PROMPTS, idempotency_key="order-17"
        )
    assert next(limits, None) is None
    assert len(sandbox.tasks) == 1
    assert count_starts(sandbox) <= 3


async def test_a_process_that_was_stopped_does_not_trust_an_old_date(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers from before a stop, which are read after it, set A2E's clock back; the clocks of the process count."""
    real_now, real_request, stops = finder.Finder.now, aiohttp.ClientSession._request, [300.0, 0.0]
    stopped = 0.0

    def now(self: finder.Finder) -> Moment:
        moment = real_now(self)
        return moment._replace(monotonic=moment.monotonic + stopped)

    async def stop(session: aiohttp.ClientSession, method: str, *args: object, **options: object) -> object:
        nonlocal stopped
        stopped += stops.pop(0) if method == "POST" else 0.0
        return await real_request(session, method, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(finder.Finder, "now", now)
    monkeypatch.setattr(aiohttp.ClientSession, "_request", stop)
    await a2e.image_to_video.start(image_url="https://example.com/ada.png", **quick.PROMPTS, idempotency_key="order-17")
    assert stops == []
    assert len(sandbox.tasks) == 1


async def test_a_slow_connection_is_not_late(sandbox: Sandbox) -> None:
    """The longer a connection may take, the later a start may be sent: no value makes each start late."""
    async with make_client(sandbox, connect_timeout=90.0) as a2e:
        services = a2e.image_to_video._services()
        assert services.finder.max_send_time == finder.MAX_WRITE_TIME + 90.0


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="of Linux")
async def test_what_was_sent_is_not_delivered_much_later(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system gives up a start that it cannot deliver, long before its own fifteen minutes."""
    options: list[int] = []
    real = aiohttp.BytesPayload.write_with_length

    async def write(body: Any, writer: Any, length: int | None) -> None:
        options.append(
            writer.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        )
        await real(body, writer, length)

    monkeypatch.setattr(aiohttp.BytesPayload, "write_with_length", write)
    await a2e.image_to_video.start(image_url="https://example.com/ada.png", **quick.PROMPTS, idempotency_key="order-17")
    assert options == [30_000]
    assert len(sandbox.tasks) == 1

"""The response of each type of fault, whether the request was processed, and its record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING

import aiohttp
import pytest
from sandbox_requests import sandbox_with, sandbox_with_faults, statuses_and_faults

from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox_requests import Call, Start

PREFIX = "/api/v1/userImage2Video"
PRESIGN = "/api/v1/r2/upload-presigned-url"
LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, no_leaked_tasks: None) -> Iterator[None]:
    """Fail a test in which the server or asyncio logged an error, or that left a task behind."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def upload(sandbox: Sandbox, call: Call, content: bytes = b"0123456789" * 10) -> str:
    """Upload an object and return its URL."""
    link = (await call(sandbox, "POST", PRESIGN, {"key": "a.bin", "contentType": "image/png"})).data
    await call(sandbox, "PUT", link["uploadUrl"], data=content, headers={"Content-Type": "image/png"})
    return str(link["cdnUrl"])


MADE_UP = [
    (Fault("status"), 502, b"502 Bad Gateway"),
    (Fault("status", status=503), 503, b"503 Service Unavailable"),
    (Fault("status", status=504), 504, b"<html>"),
    (Fault("status", status=500), 500, b'{"code": -1, "message": "Request failed"}'),
    (Fault("status", status=418), 418, b'"code": 418'),
    (Fault("html"), 200, b"<!DOCTYPE html>"),
    (Fault("html", status=520), 520, b"<!DOCTYPE html>"),
    (Fault("redirect"), 302, b""),
    (Fault("429"), 429, b'"code": 429'),
    (Fault("busy"), 200, b'{"code": 1001, "msg": "All hosts are occupied"'),
    (Fault("empty"), 200, b'"data": {}'),
]


@pytest.mark.parametrize(("fault", "status", "content"), MADE_UP)
async def test_response_without_processing(start: Start, fault: Fault, status: int, content: bytes) -> None:
    """The caller gets the response of the fault once, nothing is charged, and the fault is recorded."""
    async with sandbox_with_faults(fault) as sandbox:
        answer = await start(sandbox)
        assert answer.status == status
        assert content in answer.content
        assert (sandbox.ledger, dict(sandbox.tasks)) == ([], {})
        assert statuses_and_faults(sandbox) == [(status, fault.type)]
        assert (await start(sandbox)).data["_id"] in sandbox.tasks
        assert statuses_and_faults(sandbox)[1:] == [(200, "")]


@pytest.mark.parametrize("kind", ["status", "html", "redirect", "empty"])
async def test_response_after_processing(start: Start, kind: str) -> None:
    """With ``after=True`` the caller gets the same response, but the start is charged and its task runs."""
    async with sandbox_with_faults(Fault(kind, after=True)) as sandbox:
        answer = await start(sandbox)
        assert b'"_id"' not in answer.content
        assert [entry.coins for entry in sandbox.ledger] == [-30]
        assert len(sandbox.tasks) == 1
        assert statuses_and_faults(sandbox) == [(answer.status, kind)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("429"), None),
        (Fault("429", retry_after=3), "3"),
        (Fault("429", retry_after=0.25), "0.25"),
        (Fault("status"), None),
        (Fault("status", status=503, retry_after=1), "1"),
        (Fault("status", status=500, retry_after=2), "2"),
    ],
)
async def test_retry_after(start: Start, fault: Fault, expected: str | None) -> None:
    """The header is sent if the fault has it."""
    async with sandbox_with_faults(fault) as sandbox:
        assert (await start(sandbox)).headers.get("Retry-After") == expected


async def test_redirect(start: Start) -> None:
    """The response names another host, to which a client must not send its token."""
    async with sandbox_with_faults(Fault("redirect")) as sandbox:
        answer = await start(sandbox)
        assert answer.headers["Location"] == "https://elsewhere.example/login"


@pytest.mark.parametrize("after", [False, True])
async def test_a_dropped_connection(start: Start, *, after: bool) -> None:
    """The connection ends without a response. Only a processed request is charged, and the status is recorded as 0."""
    async with sandbox_with_faults(Fault("drop", after=after)) as sandbox:
        with pytest.raises(LOST):
            await start(sandbox)
        assert statuses_and_faults(sandbox) == [(0, "drop")]
        assert [entry.coins for entry in sandbox.ledger] == ([-30] if after else [])


async def test_late_drop(start: Start) -> None:
    """With `seconds` the connection is closed later. Requests in the meantime are answered and recorded first."""
    async with sandbox_with_faults(Fault("drop", seconds=1.5)) as sandbox:
        dropped = asyncio.create_task(start(sandbox))
        await asyncio.sleep(1.4)
        await start(sandbox)
        assert not dropped.done()
        with pytest.raises(LOST):
            async with asyncio.timeout(0.2):
                await dropped
        assert statuses_and_faults(sandbox) == [(200, ""), (0, "drop")]


async def test_cut(start: Start) -> None:
    """Half of the JSON arrives with a length that fits, so only the decoder finds the error; the start is charged."""
    async with sandbox_with_faults(Fault("cut")) as sandbox:
        answer = await start(sandbox)
        assert answer.content.startswith(b'{"code": 0')
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        with pytest.raises(json.JSONDecodeError):
            _ = answer.body
        assert len(sandbox.ledger) == 1
        assert statuses_and_faults(sandbox) == [(200, "cut")]


async def test_short(start: Start) -> None:
    """Half of the response arrives, then the connection is closed; the start is charged."""
    async with sandbox_with_faults(Fault("short")) as sandbox:
        with pytest.raises(aiohttp.ClientPayloadError):
            await start(sandbox)
        assert len(sandbox.ledger) == 1
        assert statuses_and_faults(sandbox) == [(200, "short")]


async def test_type(start: Start) -> None:
    """The real response has the content type of plain text."""
    async with sandbox_with_faults(Fault("type")) as sandbox:
        answer = await start(sandbox)
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.data["_id"] in sandbox.tasks
        assert statuses_and_faults(sandbox) == [(200, "type")]


@pytest.mark.parametrize("after", [False, True])
async def test_delay(start: Start, *, after: bool) -> None:
    """The real response arrives late. The request is processed before or after the delay."""
    async with sandbox_with_faults(Fault("delay", after=after, seconds=1.5)) as sandbox:
        started = asyncio.create_task(start(sandbox))
        await asyncio.sleep(1.4)
        assert (len(sandbox.ledger), started.done()) == (int(after), False)
        async with asyncio.timeout(0.2):
            assert (await started).data["_id"] in sandbox.tasks
        assert len(sandbox.ledger) == 1
        assert statuses_and_faults(sandbox) == [(200, "delay")]


@pytest.mark.parametrize("after", [False, True])
async def test_disconnect_during_a_delay(start: Start, *, after: bool) -> None:
    """The start is charged only if it was processed first; it is recorded without a response."""
    async with sandbox_with_faults(Fault("delay", after=after, seconds=60)) as sandbox:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await start(sandbox)
        await wait_for_requests(sandbox)
        assert statuses_and_faults(sandbox) == [(0, "delay")]
        assert len(sandbox.ledger) == int(after)


async def wait_for_requests(sandbox: Sandbox, count: int = 1) -> None:
    """Wait until this number of requests was recorded."""
    async with asyncio.timeout(10):
        while len(sandbox.requests) < count:
            await asyncio.sleep(0.005)


async def test_disconnect_does_not_undo_a_start(start: Start) -> None:
    """A start that is being processed when its caller disconnects is charged all the same."""
    async with sandbox_with_faults(Fault("drop", after=True)) as sandbox:
        with sandbox.override("POST", PREFIX, lambda _: asyncio.sleep(1.5)), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await start(sandbox)
        await wait_for_requests(sandbox)
        assert (statuses_and_faults(sandbox), len(sandbox.ledger)) == ([(0, "drop")], 1)


@pytest.mark.parametrize("after", [False, True])
async def test_disconnect_during_an_upload(call: Call, *, after: bool) -> None:
    """A caller that disconnects before the end of its body is dropped, and no error is logged."""
    faults = [Fault("delay", seconds=1.0), Fault("drop", after=True), Fault("status")]
    async with sandbox_with_faults(*faults, operation="put") as sandbox:
        host, port = sandbox.url.removeprefix("http://").split(":")
        for count in range(2, 2 + len(faults)):
            url = (await call(sandbox, "POST", PRESIGN, {"key": "a.bin"})).data["uploadUrl"]
            _, writer = await asyncio.open_connection(host, int(port))
            head = f"PUT {url.removeprefix(sandbox.url)} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
            writer.write(head.encode() + b"x" * (500_000 if after else 5))
            await asyncio.sleep(0.3)
            writer.transport.abort()
            await wait_for_requests(sandbox, 2 * (count - 1))
        assert statuses_and_faults(sandbox)[1::2] == [(0, "delay"), (0, "drop"), (0, "status")]


async def test_fault_of_an_upload(call: Call) -> None:
    """The fault is sent when the body has arrived, and the connection stays usable."""
    async with sandbox_with_faults(Fault("status"), operation="put") as sandbox:
        url = (await call(sandbox, "POST", PRESIGN, {"key": "a.bin"})).data["uploadUrl"]
        assert (await call(sandbox, "PUT", url, data=b"x" * 900_000)).status == 502
        assert (await call(sandbox, "PUT", url, data=b"x" * 900_000)).status == 200


async def test_upload_with_lost_response(call: Call) -> None:
    """A dropped PUT that was processed has stored its object."""
    drop = Fault("drop", after=True)
    async with sandbox_with_faults(
        drop, drop, operation="put"
    ) as sandbox:  # twice: aiohttp itself sends a PUT again once
        link = (await call(sandbox, "POST", PRESIGN, {"key": "a.bin"})).data
        with pytest.raises(LOST):
            await call(sandbox, "PUT", link["uploadUrl"], data=b"bytes")
        assert (await call(sandbox, "GET", link["cdnUrl"])).content == b"bytes"


@pytest.mark.parametrize(
    ("wanted", "status", "got"), [(None, 200, 50), ("bytes=20-", 206, 40), ("bytes=-10", 206, 5), ("bytes=0-9", 206, 5)]
)
async def test_cut_download(call: Call, wanted: str | None, status: int, got: int) -> None:
    """Objects, and ranges of them, are cut in the middle."""
    async with sandbox_with(None) as sandbox:
        url = await upload(sandbox, call)
        sandbox.faults = FaultPlan(script={"cdn": [Fault("cut")]})
        answer = await call(sandbox, "GET", url, headers={"Range": wanted} if wanted else None)
        assert (answer.status, len(answer.content)) == (status, got)
        assert answer.headers["Content-Type"] == "image/png"


async def test_short_download_can_be_resumed(call: Call) -> None:
    """After a download was interrupted, the request for the rest gets a 206 with its range."""
    async with sandbox_with(None) as sandbox:
        url = await upload(sandbox, call)
        sandbox.faults = FaultPlan(script={"cdn": [Fault("short"), Fault("type")]})
        with pytest.raises(aiohttp.ClientPayloadError):
            await call(sandbox, "GET", url)
        rest = await call(sandbox, "GET", url, headers={"Range": "bytes=50-"})
        assert (rest.headers["Content-Range"], len(rest.content)) == ("bytes 50-99/100", 50)


@pytest.mark.parametrize("wanted", ["bytes=x-", "bytes=500-"])
async def test_invalid_range_is_not_damaged(call: Call, wanted: str) -> None:
    """An invalid range gets the usual error, which has no body to damage."""
    async with sandbox_with(None) as sandbox:
        url = await upload(sandbox, call)
        sandbox.faults = FaultPlan(script={"cdn": [Fault("short")]})
        assert (await call(sandbox, "GET", url, headers={"Range": wanted})).status == 416


async def test_head_is_not_damaged(call: Call) -> None:
    """HEAD of an object gets the usual response, and is recorded."""
    async with sandbox_with(None) as sandbox:
        url = await upload(sandbox, call)
        sandbox.faults = FaultPlan(script={"cdn": [Fault("short")]})
        assert (await call(sandbox, "HEAD", url)).headers["Content-Length"] == "100"
        assert statuses_and_faults(sandbox)[-1] == (200, "short")


@pytest.mark.parametrize("fault", [Fault("cut"), Fault("status", after=True)])
async def test_streamed_response_is_not_replaced(call: Call, fault: Fault) -> None:
    """A response that was streamed by its handler cannot be replaced."""
    body = {"reference_id": "x", "image_url": "https://x.example/a.png", "prompt": "a", "negative_prompt": "b"}
    async with sandbox_with_faults(fault, operation="*") as sandbox:
        answer = await call(sandbox, "POST", f"{PREFIX}/prompt_extension", body | {"stream": True})
        assert b"event: done" in answer.content
        assert statuses_and_faults(sandbox) == [(200, fault.type)]


async def test_dropped_stream_is_recorded_once(call: Call) -> None:
    """A streamed response is recorded when it begins, and not again when it is dropped."""
    body = {"reference_id": "x", "image_url": "https://x.example/a.png", "prompt": "a", "negative_prompt": "b"}
    async with sandbox_with_faults(Fault("drop", after=True), operation="*") as sandbox:
        with contextlib.suppress(*LOST, aiohttp.ClientPayloadError):
            await call(sandbox, "POST", f"{PREFIX}/prompt_extension", body | {"stream": True})
        assert statuses_and_faults(sandbox) == [(200, "drop")]

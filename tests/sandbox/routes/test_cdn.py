"""The CDN: ranges, HEAD, ETag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from sandbox_requests import Call, FinishedTask

    from a2e_async.sandbox import Sandbox


@pytest.fixture
async def result(sandbox: Sandbox, finished_task: FinishedTask) -> str:
    """The URL of a finished video."""
    return (await finished_task(sandbox)).result_url


async def test_head_tells_length_and_type(sandbox: Sandbox, result: str, call: Call) -> None:
    """HEAD has the headers of GET and no body."""
    head, body = await call(sandbox, "HEAD", result), await call(sandbox, "GET", result)
    assert (head.status, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(body.content)
    assert head.headers["Content-Type"] == "video/mp4"
    assert head.headers["ETag"] == body.headers["ETag"]
    assert head.headers["Accept-Ranges"] == "bytes"


async def test_range(sandbox: Sandbox, result: str, call: Call) -> None:
    """A range gets a 206 with exactly these bytes."""
    integer = await call(sandbox, "GET", result)
    part = await call(sandbox, "GET", result, headers={"Range": "bytes=10-19"})
    assert (part.status, part.content) == (206, integer.content[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(integer.content)}"


async def test_range_with_the_current_etag(sandbox: Sandbox, result: str, call: Call) -> None:
    """The range is served."""
    integer = await call(sandbox, "GET", result)
    headers = {"Range": "bytes=10-", "If-Range": integer.headers["ETag"]}
    part = await call(sandbox, "GET", result, headers=headers)
    assert (part.status, part.content) == (206, integer.content[10:])


async def test_range_with_another_etag(sandbox: Sandbox, result: str, call: Call) -> None:
    """The full current object is served."""
    integer = await call(sandbox, "GET", result)
    headers = {"Range": "bytes=10-", "If-Range": '"another"'}
    answer = await call(sandbox, "GET", result, headers=headers)
    assert (answer.status, answer.content) == (200, integer.content)


async def test_damaged_response_has_the_etag(sandbox: Sandbox, result: str, call: Call) -> None:
    """Half of a response has the ETag of the full object, by which the rest can be requested."""
    integer = await call(sandbox, "GET", result)
    sandbox.faults = FaultPlan(script={"cdn": [Fault("cut")] * 3})
    half = await call(sandbox, "GET", result)
    assert half.headers["ETag"] == integer.headers["ETag"]
    assert len(half.content) < len(integer.content)
    same = await call(sandbox, "GET", result, headers={"Range": "bytes=0-", "If-Range": integer.headers["ETag"]})
    other = await call(sandbox, "GET", result, headers={"Range": "bytes=0-", "If-Range": '"another"'})
    assert (same.status, other.status) == (206, 200)


async def test_range_beyond_the_end(sandbox: Sandbox, result: str, call: Call) -> None:
    """It is a 416."""
    assert (await call(sandbox, "GET", result, headers={"Range": "bytes=999999-"})).status == 416


async def test_unknown_object(sandbox: Sandbox, call: Call) -> None:
    """It is a 404."""
    assert (await call(sandbox, "GET", "/cdn/3days-apac/../../etc/passwd")).status == 404
    assert (await call(sandbox, "GET", "/cdn/3days-apac/nothing.mp4")).status == 404

"""The CDN: ranges, HEAD, ETag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox_calls import Call, Finished

    from a2e_async.sandbox import Sandbox


@pytest.fixture
async def result(sandbox: Sandbox, finished: Finished) -> str:
    """The link of a finished video."""
    return (await finished(sandbox)).result_url


async def test_head_tells_length_and_type(sandbox: Sandbox, result: str, call: Call) -> None:
    """HEAD has the headers of GET and no body."""
    head, body = await call(sandbox, "HEAD", result), await call(sandbox, "GET", result)
    assert (head.status, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(body.content)
    assert head.headers["Content-Type"] == "video/mp4"
    assert head.headers["ETag"] == body.headers["ETag"]
    assert head.headers["Accept-Ranges"] == "bytes"


async def test_a_range_is_partial(sandbox: Sandbox, result: str, call: Call) -> None:
    """A range answers 206 with just these bytes."""
    whole = await call(sandbox, "GET", result)
    part = await call(sandbox, "GET", result, headers={"Range": "bytes=10-19"})
    assert (part.status, part.content) == (206, whole.content[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(whole.content)}"


async def test_a_range_beyond_the_end_is_416(sandbox: Sandbox, result: str, call: Call) -> None:
    """What begins behind the last byte cannot be served."""
    assert (await call(sandbox, "GET", result, headers={"Range": "bytes=999999-"})).status == 416


async def test_an_unknown_object_is_404(sandbox: Sandbox, call: Call) -> None:
    """There is nothing at an address that nobody filled."""
    assert (await call(sandbox, "GET", "/cdn/3days-apac/../../etc/passwd")).status == 404
    assert (await call(sandbox, "GET", "/cdn/3days-apac/nothing.mp4")).status == 404

"""The CDN: ranges, HEAD, ETag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from a2e_async.sandbox import Fault, Weather

if TYPE_CHECKING:
    from sandbox_requests import Call, FinishedTask

    from a2e_async.sandbox import Sandbox


@pytest.fixture
async def result(sandbox: Sandbox, finished_task: FinishedTask) -> str:
    """The link of a finished video."""
    return (await finished_task(sandbox)).result_url


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


async def test_a_range_of_the_same_version_is_partial(sandbox: Sandbox, result: str, call: Call) -> None:
    """A range is served to who names the ETag that the object still has."""
    whole = await call(sandbox, "GET", result)
    headers = {"Range": "bytes=10-", "If-Range": whole.headers["ETag"]}
    part = await call(sandbox, "GET", result, headers=headers)
    assert (part.status, part.content) == (206, whole.content[10:])


async def test_a_range_of_another_version_is_whole(sandbox: Sandbox, result: str, call: Call) -> None:
    """Who names another ETag gets all of the object that is there now."""
    whole = await call(sandbox, "GET", result)
    headers = {"Range": "bytes=10-", "If-Range": '"another"'}
    answer = await call(sandbox, "GET", result, headers=headers)
    assert (answer.status, answer.content) == (200, whole.content)


async def test_a_spoilt_answer_names_the_version(sandbox: Sandbox, result: str, call: Call) -> None:
    """Half an answer has the ETag of the whole one, by which the rest can be asked for."""
    whole = await call(sandbox, "GET", result)
    sandbox.weather = Weather(script={"cdn": [Fault("cut")] * 3})
    half = await call(sandbox, "GET", result)
    assert half.headers["ETag"] == whole.headers["ETag"]
    assert len(half.content) < len(whole.content)
    same = await call(sandbox, "GET", result, headers={"Range": "bytes=0-", "If-Range": whole.headers["ETag"]})
    other = await call(sandbox, "GET", result, headers={"Range": "bytes=0-", "If-Range": '"another"'})
    assert (same.status, other.status) == (206, 200)


async def test_a_range_beyond_the_end_is_416(sandbox: Sandbox, result: str, call: Call) -> None:
    """What begins behind the last byte cannot be served."""
    assert (await call(sandbox, "GET", result, headers={"Range": "bytes=999999-"})).status == 416


async def test_an_unknown_object_is_404(sandbox: Sandbox, call: Call) -> None:
    """There is nothing at an address that nobody filled."""
    assert (await call(sandbox, "GET", "/cdn/3days-apac/../../etc/passwd")).status == 404
    assert (await call(sandbox, "GET", "/cdn/3days-apac/nothing.mp4")).status == 404

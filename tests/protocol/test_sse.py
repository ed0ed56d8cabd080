"""Server-sent events (S7): the result of a stream."""

from __future__ import annotations

import pytest

from a2e_async._protocol.messages import Response
from a2e_async._protocol.responses import decode
from a2e_async.errors import APIError, ContentRejectedError, UnexpectedResponseError

DELTAS = b'event: delta\ndata: {"text": "a "}\n\n: a comment\n\nevent: delta\ndata: {"text": "cat"}\n\n'


def stream(body: bytes) -> Response:
    """Return a response that is a stream."""
    return Response(status=200, headers={"content-type": "Text/Event-Stream; charset=utf-8"}, body=body)


@pytest.mark.parametrize(
    ("body", "data"),
    [
        pytest.param(
            DELTAS + b'event: result\ndata: {"prompt": "a cat"}\n\nevent: done\ndata: {}\n\n',
            {"prompt": "a cat"},
            id="json",
        ),
        pytest.param(b"event:result\r\ndata:a\r\ndata: cat\r\n\r\n", "a\ncat", id="text in two lines"),
        pytest.param(b"event: result\ndata: 1\n\nevent: result\ndata: 2\n\n", 2, id="the last one counts"),
        pytest.param(b"event: result\ndata: " + b"[" * 100_000 + b"\n\n", "[" * 100_000, id="too deep for json"),
    ],
)
def test_result(body: bytes, data: object) -> None:
    """The data of a stream are the data of its last result."""
    assert decode(stream(body)).data == data


def test_error() -> None:
    """An error event raises its error, and later events are ignored."""
    body = DELTAS + b'event: error\ndata: {"code": 1003, "msg": "no"}\n\nevent: result\ndata: 1\n\n'
    with pytest.raises(ContentRejectedError, match="no"):
        decode(stream(body))


def test_error_that_is_not_json() -> None:
    """An error event whose data is not valid JSON keeps its text."""
    with pytest.raises(APIError, match="out of words"):
        decode(stream(b"event: error\ndata: out of words\n\n"))


@pytest.mark.parametrize("body", [DELTAS, b"event: done\ndata: {}\n\n", b"\xff\xfe"], ids=["cut", "nothing", "bytes"])
def test_stream_without_a_result(body: bytes) -> None:
    """A stream without a result and an error raises an error with the body."""
    with pytest.raises(UnexpectedResponseError) as caught:
        decode(stream(body))
    assert caught.value.body == body

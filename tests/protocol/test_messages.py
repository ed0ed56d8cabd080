"""The plain values of one request."""

from __future__ import annotations

import pytest

from a2e_async._protocol.messages import Envelope, Request, Response

_SECRET = "a-secret-prompt"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Request(method="POST", path="/api/v1/x", json={"prompt": _SECRET}), id="body of a request"),
        pytest.param(Request(method="GET", path="/api/v1/x", params={"q": _SECRET}), id="query of a request"),
        pytest.param(Response(status=200, body=_SECRET.encode()), id="body of a response"),
        pytest.param(Response(status=302, headers={"location": _SECRET}), id="headers of a response"),
        pytest.param(Envelope(data={"prompt": _SECRET}), id="data"),
        pytest.param(Envelope(data=None, body=_SECRET.encode()), id="body of an envelope"),
    ],
)
def test_repr_is_fit_for_a_log(value: object) -> None:
    """The `repr` of a message contains no prompt, link or body."""
    assert _SECRET not in repr(value)


def test_request_is_neither_paid_nor_repeatable_by_default() -> None:
    """By default a request is not repeatable, so that no paid request is sent twice by mistake."""
    assert not Request(method="POST", path="/x").repeatable


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_request_has_no_timeout_by_default(method: str) -> None:
    """By default `Config.request_timeout` counts."""
    assert Request(method=method, path="/x").timeout is None


def test_request_with_a_timeout() -> None:
    """A request can have a timeout of its own."""
    assert Request(method="GET", path="/x", timeout=20.0).timeout == 20.0

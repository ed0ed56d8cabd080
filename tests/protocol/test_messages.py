"""The values that cross the seam: what they show of themselves."""

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
    """No prompt, link or body is in the `repr` of a message."""
    assert _SECRET not in repr(value)


def test_request_is_neither_paid_nor_repeatable_by_default() -> None:
    """Whoever forgets to say whether a request may be repeated gets the answer that cannot cost money."""
    assert not Request(method="POST", path="/x").repeatable


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_request_has_the_usual_time_by_default(method: str) -> None:
    """Unless somebody says otherwise, `Config.request_timeout` counts."""
    assert Request(method=method, path="/x").within is None


def test_request_with_a_time_of_its_own() -> None:
    """A request that must not take long says so."""
    assert Request(method="GET", path="/x", within=20.0).within == 20.0

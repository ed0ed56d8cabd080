"""The plain values that cross the seam between deciding and doing.

Treated as frozen, and not frozen by attrs: three of them are made for each request, and checking every assignment
would cost more than reading the answer's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Envelope", "Request", "Response"]


@attrs.define(kw_only=True)
class Request:
    """One call of A2E's API, before it is sent.

    Attributes:
        method: ``GET``, ``POST``, ``PUT`` or ``DELETE``.
        path: From the root of the host, already quoted: ``/api/v1/userImage2Video/start``.
        json: The JSON body, or None for none.
        params: The query.
        paid: Accepting it costs coins.
        repeatable: Sending it twice does no harm, so that it may be repeated after a failure.
        within: Seconds for the answer, if not as `Config.request_timeout` says. Waiting for a place does not count.
    """

    method: str
    path: str
    json: Any = attrs.field(default=None, repr=False)
    params: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    paid: bool = False
    repeatable: bool = False
    within: float | None = None


@attrs.define(kw_only=True)
class Response:
    """One answer, as it came.

    Attributes:
        status: The HTTP status.
        headers: The headers, by lower-case name or in a mapping that does not mind the case.
        body: The bytes after decompression.
        received_at: Seconds since the epoch by this machine's clock.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    received_at: float = 0.0


@attrs.define(kw_only=True)
class Envelope:
    """A good answer, unwrapped.

    Attributes:
        data: The content of the envelope's ``data``: any JSON.
        status: The HTTP status.
        trace_id: A2E's name for this exchange; empty if it gave none.
        body: The raw bytes, for the error to be raised if `data` turns out to be of no use.
        headers: The headers, for their ``Date``.
    """

    data: Any = attrs.field(repr=False)
    status: int = 200
    trace_id: str = ""
    body: bytes = attrs.field(default=b"", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

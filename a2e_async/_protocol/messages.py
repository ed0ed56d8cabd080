"""Plain values of one request: the request, the response, and the envelope decoded from the response."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from a2e_async._values import Value


class Limits(Protocol):
    """Limits of one call, such as those of `A2EClient.with_options`, as the throttle sees them."""

    def check_wait(self, seconds: float, error_type: type[Any]) -> None:
        """Raise an error of this type unless the call may wait for so long."""
        ...

    def on_turn(self) -> None:
        """Record that the request goes out now."""
        ...

    def on_error(self, error: Any, pause: float) -> None:  # noqa: ANN401  `errors` imports this package
        """Record the error of a try, after which the throttle pauses for some seconds."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Request(Value):
    """One call of A2E's API, before it is sent.

    Attributes:
        method: ``GET``, ``POST``, ``PUT`` or ``DELETE``.
        path: The path from the root of the host, already quoted: ``/api/v1/userImage2Video/start``.
        json: The JSON body, or None for none.
        params: The query.
        paid: Whether the request costs coins if A2E accepts it.
        repeatable: Whether sending the request twice does no harm, so that it may be retried.
        timeout: Seconds for the response, if shorter than `Config.request_timeout`. Time in the throttle's queue does
            not count.
        operation: Method and path, with ``{id}`` for an id. A2E's "busy" holds back this operation and no other.
        limits: The limits of its call, or None.
        before_body: Called when the connection is made, right before the body is sent; it raises an error to give up.
    """

    method: str
    path: str
    json: Any = attrs.field(default=None, repr=False)
    params: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    paid: bool = False
    repeatable: bool = False
    timeout: float | None = None
    operation: str = attrs.field(
        default=attrs.Factory(lambda self: f"{self.method} {self.path}", takes_self=True), eq=False, repr=False
    )
    limits: Limits | None = attrs.field(default=None, eq=False, repr=False)
    before_body: Callable[[], None] | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Response(Value):
    """One response, before it is decoded.

    Attributes:
        status: The HTTP status.
        headers: The headers, by lower-case name or in a case-insensitive mapping.
        body: The bytes after decompression.
        received_at: Seconds since the epoch by this machine's clock.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    received_at: float = 0.0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Envelope(Value):
    """Content of a successful response.

    Attributes:
        data: The content of the envelope's ``data``: any JSON.
        status: The HTTP status.
        trace_id: A2E's id of this request; empty if the response has none.
        body: The raw bytes, for the error that is raised if `data` cannot be used.
        headers: The headers; `Date` tells A2E's clock.
        operation: `Request.operation`.
    """

    data: Any = attrs.field(repr=False)
    status: int = 200
    trace_id: str = ""
    body: bytes = attrs.field(default=b"", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    operation: str = attrs.field(default="", repr=False)

"""Envelopes of A2E's responses (reference 1.3 and 1.4), the clocks of the sandbox, and the reader of JSON bodies.

S1, S2, E1 and so on are the names that the reference gives to A2E's envelopes. "Unpublished" marks a guess of ours.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from json import JSONDecodeError
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

from aiohttp import web
from attrs import define, field

# The clocks look `time` up at each call, so that tests can put virtual time in its place.


def now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)


def monotonic() -> float:
    """Return the seconds of the monotonic clock."""
    return time.monotonic()


Json: TypeAlias = Mapping[str, object]

_NOT_FOUND_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Error</title></head>
<body><pre>Cannot {method} {path}</pre></body>
</html>
"""


def iso(time_of_day: datetime) -> str:
    """Format a time as A2E does: UTC, milliseconds, ``Z`` (reference 1.6)."""
    return time_of_day.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def success(data: object, *, traced: bool = True) -> web.Response:
    """Wrap `data` in S1, the envelope of most operations. A few operations send no trace_id."""
    trace = {"trace_id": str(uuid4())} if traced else {}
    return web.json_response({"code": 0, "data": data, **trace})


def success_s2(data: object) -> web.Response:
    """Wrap `data` in S2, the envelope of some newer operations."""
    return web.json_response({"success": True, "data": data, "timestamp": iso(now())})


@define(eq=False)
class ErrorResponse(Exception):  # noqa: N818  (an answer of A2E, no error of the sandbox)
    """Error that a route raises to answer with E1, or with E4 if `errors` names invalid fields."""

    status: int
    message: str
    errors: Sequence[Json] = ()
    code: int | None = None  # the inner code, if it is not the HTTP status

    def response(self) -> web.Response:
        """Build the response."""
        # That the inner code repeats the HTTP status is published for a few cases only.
        body: dict[str, object] = {"code": self.code or self.status, "msg": self.message, "trace_id": str(uuid4())}
        if self.errors:
            body["errors"] = list(self.errors)
        return web.json_response(body, status=self.status)


def not_found_page(request: web.Request) -> web.Response:
    """Return the HTML page for an unknown route (E6); an unknown method gets the same page (unpublished)."""
    page = _NOT_FOUND_PAGE.format(method=escape(request.method), path=escape(request.path))
    return web.Response(status=404, text=page, content_type="text/html")


@define
class Fields:
    """Fields of one JSON body, which collects all errors until `raise_errors`.

    Unknown fields are ignored, as A2E does (reference 1.6). ``null`` counts as missing (unpublished).
    """

    body: Json
    errors: list[Json] = field(factory=list)

    @classmethod
    async def read(cls, request: web.Request) -> "Fields":
        """Read the body of `request`, which must be a JSON object."""
        # A body of another content type counts as empty (unpublished; usual for services of this kind).
        if request.content_type != "application/json":
            return cls({})
        try:
            body = await request.json()
        except (JSONDecodeError, UnicodeDecodeError, LookupError, RecursionError) as error:
            raise ErrorResponse(400, "Bad Request", [{"field": "", "message": "the body is not JSON"}]) from error
        if not isinstance(body, dict):
            raise ErrorResponse(400, "Bad Request", [{"field": "", "message": "the body is not an object"}])
        return cls(body)

    def add_error(self, name: str, message: str) -> None:
        """Add an error about the field `name`."""
        self.errors.append({"field": name, "message": f"{name} {message}"})

    def raise_errors(self) -> None:
        """Reject the request if any field was invalid."""
        if self.errors:  # A2E's `msg` says no more than this either
            raise ErrorResponse(400, "Bad Request", self.errors)

    def text(self, name: str, *, required: bool = False, max_length: int | None = None) -> str:
        """Read a string; a missing one is ``""``."""
        value = self.body.get(name)
        if value is None:
            value = ""
        if not isinstance(value, str):
            self.add_error(name, "must be a string")
            return ""
        if required and not value.strip():
            self.add_error(name, "is required")
        if max_length is not None and len(value) > max_length:
            self.add_error(name, f"must be at most {max_length} characters long")
        return value

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """Read one of the `allowed` words; a missing one is the first of them."""
        value = self.text(name) or allowed[0]
        if value not in allowed:
            self.add_error(name, f"must be one of {', '.join(allowed)}")
            return allowed[0]
        return value

    def integer(
        self, name: str, default: int | None = None, *, minimum: int = 1, maximum: int | None = None
    ) -> int | None:
        """Read an integer: a JSON number, not a string."""
        value = self.body.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():  # JSON does not distinguish 5 from 5.0
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.add_error(name, "must be an integer")
            return default
        if value < minimum or (maximum is not None and value > maximum):
            allowed = f"must be {minimum} or more" if maximum is None else f"must be from {minimum} to {maximum}"
            self.add_error(name, allowed)
            return default
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """Read a boolean."""
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.add_error(name, "must be a boolean")
            return default
        return value

    def url(self, name: str, *, required: bool = True) -> str:
        """Read the URL of an input: http or https, without spaces, no data URL (reference 1.10)."""
        before = len(self.errors)
        value = self.text(name, required=required)
        if len(self.errors) == before and value and not is_fetchable_url(value):
            self.add_error(name, "must be a direct http or https URL without spaces")
        return value


def is_fetchable_url(value: str) -> bool:
    """Tell whether `value` is a URL that A2E can fetch."""
    if any(c.isspace() for c in value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)

"""The shapes of A2E's answers (reference 1.3 and 1.4), the clocks of the sandbox, and the reading of JSON bodies.

The clocks look `time` up at each call, so that tests can put virtual time in its place.

Unknown fields are ignored without a word, as A2E does (reference 1.6). ``null`` counts as missing (unpublished).
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


def now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)


def monotonic() -> float:
    """Return seconds that never go back."""
    return time.monotonic()


Json: TypeAlias = Mapping[str, object]

_NOT_FOUND_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Error</title></head>
<body><pre>Cannot {method} {path}</pre></body>
</html>
"""


def iso(moment: datetime) -> str:
    """Write a moment as A2E does: UTC, milliseconds, ``Z`` (reference 1.6)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def success(data: object, *, traced: bool = True) -> web.Response:
    """Wrap `data` in S1, the envelope of most operations; a few answers lack the trace_id."""
    trace = {"trace_id": str(uuid4())} if traced else {}
    return web.json_response({"code": 0, "data": data, **trace})


def acknowledged(data: object) -> web.Response:
    """Wrap `data` in S2, which some newer operations declare instead of S1."""
    return web.json_response({"success": True, "data": data, "timestamp": iso(now())})


@define(eq=False)
class Refusal(Exception):  # noqa: N818  (A2E refuses; nothing of ours went wrong)
    """Raised by a route to answer with an error: E1, or E4 when `errors` say which fields are wrong."""

    status: int
    message: str
    errors: Sequence[Json] = ()
    code: int | None = None  # the inner code, if it is not the HTTP status

    def response(self) -> web.Response:
        """Build the answer. The inner code repeats the HTTP status (unpublished for most cases)."""
        body: dict[str, object] = {"code": self.code or self.status, "msg": self.message, "trace_id": str(uuid4())}
        if self.errors:
            body["errors"] = list(self.errors)
        return web.json_response(body, status=self.status)


def not_found_page(request: web.Request) -> web.Response:
    """Answer a wrong route with HTML (E6); a wrong method gets the same page (unpublished)."""
    page = _NOT_FOUND_PAGE.format(method=escape(request.method), path=escape(request.path))
    return web.Response(status=404, text=page, content_type="text/html")


@define
class Fields:
    """The fields of one body; read them all, then call `check`."""

    body: Json
    errors: list[Json] = field(factory=list)

    @classmethod
    async def of(cls, request: web.Request) -> "Fields":
        """Read the body of `request`, which has to be a JSON object.

        A body that does not call itself JSON counts as empty (unpublished; common among such services).
        """
        if request.content_type != "application/json":
            return cls({})
        try:
            body = await request.json()
        except (JSONDecodeError, UnicodeDecodeError, LookupError) as error:
            raise Refusal(400, "Bad Request", [{"field": "", "message": "the body is not JSON"}]) from error
        if not isinstance(body, dict):
            raise Refusal(400, "Bad Request", [{"field": "", "message": "the body is not an object"}])
        return cls(body)

    def wrong(self, name: str, message: str) -> None:
        """Note that the field `name` cannot be accepted."""
        self.errors.append({"field": name, "message": f"{name} {message}"})

    def check(self) -> None:
        """Refuse the request if any field was wrong. The `msg` is as useless as the real one."""
        if self.errors:
            raise Refusal(400, "Bad Request", self.errors)

    def text(self, name: str, *, required: bool = False, longest: int | None = None) -> str:
        """Read a string; missing means ``""``."""
        value = self.body.get(name)
        if value is None:
            value = ""
        if not isinstance(value, str):
            self.wrong(name, "must be a string")
            return ""
        if required and not value.strip():
            self.wrong(name, "is required")
        if longest is not None and len(value) > longest:
            self.wrong(name, f"must be at most {longest} characters long")
        return value

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """Read one of the `allowed` words; missing means the first one."""
        value = self.text(name) or allowed[0]
        if value not in allowed:
            self.wrong(name, f"must be one of {', '.join(allowed)}")
            return allowed[0]
        return value

    def whole(self, name: str, default: int | None = None, *, low: int = 1, high: int | None = None) -> int | None:
        """Read an integer: a JSON number, not a string."""
        value = self.body.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():  # JSON knows no difference between 5 and 5.0
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(name, "must be an integer")
            return default
        if value < low or (high is not None and value > high):
            self.wrong(name, f"must be {low} or more" if high is None else f"must be from {low} to {high}")
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Read a boolean."""
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(name, "must be a boolean")
            return default
        return value

    def link(self, name: str, *, required: bool = True) -> str:
        """Read an input URL: http(s), no spaces, no data URL (reference 1.10)."""
        before = len(self.errors)
        value = self.text(name, required=required)
        if len(self.errors) == before and value and not is_link(value):
            self.wrong(name, "must be a direct http or https URL without spaces")
        return value


def is_link(value: str) -> bool:
    """Tell whether A2E could fetch this at all."""
    if any(c.isspace() for c in value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)

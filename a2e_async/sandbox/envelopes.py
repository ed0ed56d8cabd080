"""The shapes of A2E's answers (reference 1.3 and 1.4), and the exception that becomes an error answer."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TypeAlias
from uuid import uuid4

from aiohttp import web
from attrs import define

from a2e_async.sandbox.clock import now

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

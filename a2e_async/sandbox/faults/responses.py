"""Answers that are not what a caller hopes for: made up, or true ones that were spoilt."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Final
from uuid import uuid4

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from a2e_async.sandbox.envelopes import Refusal, success
from a2e_async.sandbox.faults.plan import Fault
from a2e_async.sandbox.media.storage import StoredObject

WAITING_PAGE: Final = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Please wait</body></html>"
_GATEWAY_PAGE: Final = """<html>
<head><title>{0}</title></head>
<body><center><h1>{0}</h1></center><hr><center>gateway</center></body>
</html>
"""


class StoredFile(web.FileResponse):
    """An object as the CDN delivers it."""

    def __init__(self, stored: StoredObject) -> None:
        """Remember the object, so that its answer can be spoilt."""
        super().__init__(stored.path, headers={hdrs.CONTENT_TYPE: stored.content_type})
        self.stored = stored

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it. aiohttp looks only at dates in If-Range: where it holds the ETag of another version, all is sent."""
        if _is_outdated(request, self.stored.path):
            kept = request.headers.copy()
            kept.popall(hdrs.RANGE, None)
            request = request.clone(headers=kept)
        return await super().prepare(request)


def too_many(retry_after: float | None) -> web.Response:
    """Answer that A2E was asked too often (reference 1.5)."""
    response = Refusal(429, "Too many requests, please try again later").response()
    return _with_retry_after(response, retry_after)


def made_up(fault: Fault) -> web.Response:
    """Make the answer of a fault that needs no true one."""
    return _MADE_UP[fault.kind](fault)


async def spoil(kind: str, request: web.Request, true: web.StreamResponse) -> web.StreamResponse:
    """Spoil a true answer: "cut", "short" or "type". One that was sent already, or has no body, stays as it is."""
    whole = _whole(request, true)
    return true if whole is None else await _SPOILT[kind](request, whole)


def _status(fault: Fault) -> web.Response:
    status = fault.status or 502
    if status in {502, 503, 504}:
        page = _GATEWAY_PAGE.format(f"{status} {HTTPStatus(status).phrase}")
        response = web.Response(status=status, text=page, content_type="text/html")
    elif status == 500:
        response = web.json_response({"code": -1, "message": "Request failed"}, status=500)  # E2
    else:
        response = Refusal(status, "Request failed").response()
    return _with_retry_after(response, fault.retry_after)


def _html(fault: Fault) -> web.Response:
    return web.Response(status=fault.status or 200, text=WAITING_PAGE, content_type="text/html")


def _redirect(_fault: Fault) -> web.Response:
    return web.Response(status=302, headers={hdrs.LOCATION: "https://elsewhere.example/login"})


def _busy(_fault: Fault) -> web.Response:
    return web.json_response({"code": 1001, "msg": "All hosts are occupied", "trace_id": str(uuid4())})


def _with_retry_after(response: web.Response, seconds: float | None) -> web.Response:
    if seconds is not None:
        response.headers[hdrs.RETRY_AFTER] = f"{seconds:g}"
    return response


_MADE_UP: Final[Mapping[str, Callable[[Fault], web.Response]]] = MappingProxyType(
    {
        "status": _status,
        "html": _html,
        "redirect": _redirect,
        "429": lambda fault: too_many(fault.retry_after),
        "busy": _busy,
        "empty": lambda _fault: success({}),
    }
)


def _whole(request: web.Request, true: web.StreamResponse) -> web.Response | None:
    """Take hold of all of an answer, if it was not sent yet and has a body."""
    if true.prepared or request.method == hdrs.METH_HEAD:
        return None
    if isinstance(true, StoredFile):
        return _delivered(request, true.stored)
    return true if isinstance(true, web.Response) and isinstance(true.body, bytes) else None


def _delivered(request: web.Request, stored: StoredObject) -> web.Response | None:
    """Read what the CDN would deliver: all of an object, or the range that was asked for."""
    content = stored.path.read_bytes()
    headers = {hdrs.CONTENT_TYPE: stored.content_type, hdrs.ACCEPT_RANGES: "bytes", hdrs.ETAG: _etag(stored.path)}
    if hdrs.RANGE not in request.headers or _is_outdated(request, stored.path):
        return web.Response(body=content, headers=headers)
    try:
        wanted = range(len(content))[request.http_range]
    except ValueError:
        return None  # malformed: the true answer is an error
    if not wanted:
        return None  # the same
    headers[hdrs.CONTENT_RANGE] = f"bytes {wanted[0]}-{wanted[-1]}/{len(content)}"
    return web.Response(status=206, body=content[wanted.start : wanted.stop], headers=headers)


def _etag(path: Path) -> str:
    """Return the ETag that aiohttp makes for a file."""
    facts = path.stat()
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'


def _is_outdated(request: web.BaseRequest, path: Path) -> bool:
    """Tell whether a range is asked for of a version that is no more."""
    version = request.headers.get(hdrs.IF_RANGE, "")
    return version.endswith('"') and version != _etag(path)


async def _cut(_request: web.Request, whole: web.Response) -> web.StreamResponse:
    whole.body = _half(whole)
    return whole


async def _short(request: web.Request, whole: web.Response) -> web.StreamResponse:
    """Promise the whole body and hang up in its middle."""
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(_body(whole))
    await response.prepare(request)
    await response.write(_half(whole))
    response.force_close()
    return response


async def _type(_request: web.Request, whole: web.Response) -> web.StreamResponse:
    whole.content_type = "text/plain"
    return whole


def _body(whole: web.Response) -> bytes:
    return whole.body if isinstance(whole.body, bytes) else b""


def _half(whole: web.Response) -> bytes:
    body = _body(whole)
    return body[: len(body) // 2]


_SPOILT: Final[Mapping[str, Callable[[web.Request, web.Response], Awaitable[web.StreamResponse]]]] = MappingProxyType(
    {"cut": _cut, "short": _short, "type": _type}
)

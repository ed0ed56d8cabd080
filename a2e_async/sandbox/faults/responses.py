"""Responses with faults: synthetic ones, and real ones that are damaged."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Final
from uuid import uuid4

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from a2e_async.sandbox.envelopes import ErrorResponse, success
from a2e_async.sandbox.faults.plan import Fault
from a2e_async.sandbox.media.storage import StoredObject

CHALLENGE_PAGE: Final = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Please wait</body></html>"
)
_GATEWAY_PAGE: Final = """<html>
<head><title>{0}</title></head>
<body><center><h1>{0}</h1></center><hr><center>gateway</center></body>
</html>
"""


class StoredFile(web.FileResponse):
    """Response of the CDN with a stored object."""

    def __init__(self, stored: StoredObject) -> None:
        """Keep the object, so that the response can be damaged."""
        super().__init__(stored.path, headers={hdrs.CONTENT_TYPE: stored.content_type})
        self.stored = stored

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the object."""
        # aiohttp reads only dates in If-Range. With the ETag of another version the whole object must be sent.
        if _is_outdated(request, self.stored.path):
            headers = request.headers.copy()
            headers.popall(hdrs.RANGE, None)
            request = request.clone(headers=headers)
        return await super().prepare(request)


def too_many_requests(retry_after: float | None) -> web.Response:
    """Return the 429 of A2E's rate limit (reference 1.5)."""
    response = ErrorResponse(429, "Too many requests, please try again later").response()
    return _with_retry_after(response, retry_after)


def synthetic_response(fault: Fault) -> web.Response:
    """Return the response of a fault that needs no real one."""
    return _SYNTHETIC[fault.type](fault)


async def damage(fault_type: str, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Damage a response: "cut", "short" or "type". One that was sent, or has no body, stays as it is."""
    full = _full_response(request, response)
    return response if full is None else await _DAMAGES[fault_type](request, full)


def _status(fault: Fault) -> web.Response:
    status = fault.status or 502
    if status in {502, 503, 504}:
        page = _GATEWAY_PAGE.format(f"{status} {HTTPStatus(status).phrase}")
        response = web.Response(status=status, text=page, content_type="text/html")
    elif status == 500:
        response = web.json_response({"code": -1, "message": "Request failed"}, status=500)  # E2
    else:
        response = ErrorResponse(status, "Request failed").response()
    return _with_retry_after(response, fault.retry_after)


def _html(fault: Fault) -> web.Response:
    return web.Response(status=fault.status or 200, text=CHALLENGE_PAGE, content_type="text/html")


def _redirect(_fault: Fault) -> web.Response:
    return web.Response(status=302, headers={hdrs.LOCATION: "https://elsewhere.example/login"})


def _busy(_fault: Fault) -> web.Response:
    return web.json_response({"code": 1001, "msg": "All hosts are occupied", "trace_id": str(uuid4())})


def _with_retry_after(response: web.Response, seconds: float | None) -> web.Response:
    if seconds is not None:
        response.headers[hdrs.RETRY_AFTER] = f"{seconds:g}"
    return response


_SYNTHETIC: Final[Mapping[str, Callable[[Fault], web.Response]]] = MappingProxyType(
    {
        "status": _status,
        "html": _html,
        "redirect": _redirect,
        "429": lambda fault: too_many_requests(fault.retry_after),
        "busy": _busy,
        "empty": lambda _fault: success({}),
    }
)


def _full_response(request: web.Request, response: web.StreamResponse) -> web.Response | None:
    """Return a response with all of its body in memory, if it was not sent and has a body."""
    if response.prepared or request.method == hdrs.METH_HEAD:
        return None
    if isinstance(response, StoredFile):
        return _file_response(request, response.stored)
    return response if isinstance(response, web.Response) and isinstance(response.body, bytes) else None


def _file_response(request: web.Request, stored: StoredObject) -> web.Response | None:
    """Return the response of the CDN: all of an object, or the requested range."""
    content = stored.path.read_bytes()
    headers = {hdrs.CONTENT_TYPE: stored.content_type, hdrs.ACCEPT_RANGES: "bytes", hdrs.ETAG: _etag(stored.path)}
    if hdrs.RANGE not in request.headers or _is_outdated(request, stored.path):
        return web.Response(body=content, headers=headers)
    try:
        part = range(len(content))[request.http_range]
    except ValueError:
        return None  # malformed: the real response is an error
    if not part:
        return None  # beyond the end: the same
    headers[hdrs.CONTENT_RANGE] = f"bytes {part[0]}-{part[-1]}/{len(content)}"
    return web.Response(status=206, body=content[part.start : part.stop], headers=headers)


def _etag(path: Path) -> str:
    """Return the ETag of a file, as aiohttp makes it."""
    stat = path.stat()
    return f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'


def _is_outdated(request: web.BaseRequest, path: Path) -> bool:
    """Tell whether the request has the ETag of another version of the object."""
    version = request.headers.get(hdrs.IF_RANGE, "")
    return version.endswith('"') and version != _etag(path)


async def _cut(_request: web.Request, full: web.Response) -> web.StreamResponse:
    full.body = _half(full)
    return full


async def _short(request: web.Request, full: web.Response) -> web.StreamResponse:
    """Send the length of the full body, but only half of it, and close the connection."""
    response = web.StreamResponse(status=full.status, headers=full.headers)
    response.content_length = len(_body(full))
    await response.prepare(request)
    await response.write(_half(full))
    response.force_close()
    return response


async def _type(_request: web.Request, full: web.Response) -> web.StreamResponse:
    full.content_type = "text/plain"
    return full


def _body(full: web.Response) -> bytes:
    return full.body if isinstance(full.body, bytes) else b""


def _half(full: web.Response) -> bytes:
    body = _body(full)
    return body[: len(body) // 2]


_DAMAGES: Final[Mapping[str, Callable[[web.Request, web.Response], Awaitable[web.StreamResponse]]]] = MappingProxyType(
    {"cut": _cut, "short": _short, "type": _type}
)

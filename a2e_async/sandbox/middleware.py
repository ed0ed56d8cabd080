"""Middleware around all routes: overrides, unknown routes, the token, the record of requests; and renamed paths."""

import hmac
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Final, TypeAlias

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from attrs import define, field

from a2e_async.sandbox.envelopes import ErrorResponse, not_found_page
from a2e_async.sandbox.network import is_own_name
from a2e_async.sandbox.state import RecordedRequest, State

API = "/api/v1"

# The paths of the sandbox's own page, and of its control API; the page itself is at "/".
CONTROL = "/_sandbox"

# Operations without an API token: the first is public (reference 1.2), the second checks a login token itself.
_OPEN: Final = frozenset({f"{API}/custom_back/randomBackground", f"{API}/token/generate"})

# The type of the fault that the current request met; aiohttp runs each request in a context of its own.
CURRENT_FAULT: Final = ContextVar("a2e-sandbox-fault", default="")


def is_control(path: str) -> bool:
    """Tell whether a path belongs to the sandbox's page or control API, and not to A2E."""
    return path in {"/", "/favicon.ico"} or path.startswith(f"{CONTROL}/")


def is_media(content_type: str) -> bool:
    """Tell whether a browser shows a file as an image, a video or audio, and runs no script in it."""
    kind, _, subtype = content_type.lower().partition("/")
    return kind in {"image", "video", "audio"} and not subtype.startswith("svg")


Answer: TypeAlias = web.StreamResponse | None
OverrideHandler: TypeAlias = Callable[[web.Request], Awaitable[Answer] | Answer]


@define(eq=False)
class Override:
    """Response to some requests that replaces the one of their route."""

    method: str
    path_prefix: str
    answer: OverrideHandler | web.Response

    async def respond(self, request: web.Request) -> Answer:
        """Return the response, or `None` if the override does not apply."""
        if self.method not in {"*", request.method} or not request.path.startswith(self.path_prefix):
            return None
        if isinstance(self.answer, web.Response):
            # aiohttp sends a response object once only.
            return web.Response(status=self.answer.status, body=self.answer.body, headers=self.answer.headers)
        answer = self.answer(request)
        return answer if answer is None or isinstance(answer, web.StreamResponse) else await answer


@define(kw_only=True)
class ApiMiddleware:
    """Middleware that checks requests and records their responses."""

    token: str = field(repr=False)
    state: State
    own_names_only: bool = False  # whether requests for names are rejected that a stranger can lead to this machine
    overrides: list[Override] = field(factory=list)

    def middleware(self) -> Middleware:
        """Return the middleware for aiohttp."""

        @web.middleware
        async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self.own_names_only and not is_own_name(request.url.host or ""):
                return web.Response(status=421, text="The sandbox has no such host.")
            if is_control(request.path) and request.match_info.http_exception is None:
                return await handler(request)  # not a part of A2E: no token, no override, no record
            for override in reversed(self.overrides):
                if (answer := await override.respond(request)) is not None:
                    return answer
            if request.match_info.http_exception is not None:
                return not_found_page(request)
            try:
                self._check_token(request)
                return await handler(request)
            except ErrorResponse as error:
                return error.response()

        return handle

    async def on_response_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Record a request just before its response is sent, so that a test that has the response finds the record."""
        if request.path.startswith(("/cdn/", "/storage/")) and not is_media(response.content_type):
            # An uploaded web page must not run its scripts with the rights of the sandbox's own page.
            response.headers.setdefault("Content-Security-Policy", "sandbox")
        self.record(request, response.status)

    def record(self, request: web.Request, status: int) -> None:
        """Record a request and the status of its response; 0 is no response."""
        if is_control(request.path):
            return
        self.state.record_request(
            RecordedRequest(
                method=request.method,
                path=request.path,
                had_authorization=hdrs.AUTHORIZATION in request.headers,
                status=status,
                fault=CURRENT_FAULT.get(),
            )
        )

    def _check_token(self, request: web.Request) -> None:
        """Check the bearer token, which all API operations need, but not storage and CDN (reference 1.2)."""
        if not request.path.startswith(API) or request.path in _OPEN:
            return
        header = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(header, f"Bearer {self.token}".encode()):
            raise ErrorResponse(401, "Unauthorized: invalid token")


_ID: Final = re.compile(r"\{\w+\}")
_GET, _POST = hdrs.METH_GET, hdrs.METH_POST

# The current method and path of each operation that A2E has renamed: those of 2025 (reference 14, traps 17 and 22).
RENAMED_PATHS: Final = {
    (_POST, f"{API}/userVideoTwin/continueTraining"): (_POST, f"{API}/userVideoTwin/continueTranining"),
    (_GET, f"{API}/userVideoTwin/trainingRecords"): (_GET, f"{API}/userVideoTwin/processingRecord"),
    (_GET, f"{API}/userVoice/trainingRecord"): (_GET, f"{API}/userVoice/processingRecord"),
    (_GET, f"{API}/userDubbing/allProcessing"): (_GET, f"{API}/userDubbing/processingRecord"),
    (_GET, f"{API}/userCaptionRemoval/allProcessing"): (_GET, f"{API}/userCaptionRemoval/processingRecord"),
    (_GET, f"{API}/anchor/voice_list"): (_POST, f"{API}/anchor/voice_list"),
    (_GET, f"{API}/anchor/character_list"): (_POST, f"{API}/anchor/character_list"),
    (_POST, f"{API}/streaming-avatar/leave"): (_POST, f"{API}/streaming-avatar/leave_room"),
    (_GET, f"{API}/video/awsList"): (_POST, f"{API}/video/awsList"),
}


def routes_of_2025(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """Return the routes with the paths that they had in 2025."""
    # The current paths must answer "not found" then, and must not match as the id of a task.
    missing = [web.RouteDef(method, path, _not_found, {}) for method, path in RENAMED_PATHS]
    return [*missing, *map(_renamed, routes)]


# A2E's specification lists this one beside the GET, and the older of both spellings (reference 3.1).
_BOTH: Final = {(_GET, f"{API}/anchor/voice_list"): _POST}


# Another page of A2E's counts this one among the current operations (reference 14b).
_ALSO_LISTED: Final = frozenset({f"{_POST} {API}/video/list"})


# The operations of A2E's current specification, such as "GET /api/v1/userVoice/{id}". Read with the import, because a
# file must not be read in an event loop.
OPERATIONS: Final = frozenset(
    line
    for line in (pkgutil.get_data("a2e_async.sandbox", "operations.txt") or b"").decode().splitlines()
    if not line.startswith("#")
)


def routes_of_spec(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """Return the routes of the current specification, and those outside of the API: storage and CDN."""
    routes, listed = [*routes], OPERATIONS | _ALSO_LISTED
    both = [
        web.RouteDef(_BOTH[route.method, route.path], route.path, route.handler, {})
        for route in routes
        if (route.method, route.path) in _BOTH
    ]
    return [
        route
        for route in (*routes, *both)
        if not route.path.startswith("/api/") or _ID.sub("{id}", f"{route.method} {route.path}") in listed
    ]


async def _not_found(request: web.Request) -> web.Response:
    return not_found_page(request)


def _renamed(route: web.RouteDef) -> web.RouteDef:
    if (route.method, route.path) not in RENAMED_PATHS:
        return route
    method, path = RENAMED_PATHS[route.method, route.path]
    return web.RouteDef(method, path, route.handler, {})

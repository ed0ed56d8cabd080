"""What happens to every request before its route: overrides, wrong routes, the token; and the record of it after.

In the era "2025" the paths that A2E has renamed answer as they did then (reference 14, traps 17 and 22).
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Final, TypeAlias

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from attrs import define, field

from a2e_async.sandbox.envelopes import Refusal, not_found_page
from a2e_async.sandbox.state import SeenRequest, State

API = "/api/v1"

# What needs no API token: the first is open to all (reference 1.2), the second wants a login token and checks it.
_OPEN: Final = frozenset({f"{API}/custom_back/randomBackground", f"{API}/token/generate"})

# The kind of the fault that the current request met; aiohttp runs each request in a context of its own.
MET: Final = ContextVar("a2e-sandbox-met", default="")

Answer: TypeAlias = web.StreamResponse | None
OverrideHandler: TypeAlias = Callable[[web.Request], Awaitable[Answer] | Answer]


@define(eq=False)
class Override:
    """Another answer for some requests, asked before any route."""

    method: str
    path_prefix: str
    answer: OverrideHandler | web.Response

    async def respond(self, request: web.Request) -> Answer:
        """Answer, or return `None` to let the next one speak."""
        if self.method not in {"*", request.method} or not request.path.startswith(self.path_prefix):
            return None
        if isinstance(self.answer, web.Response):
            # aiohttp sends a response object once only.
            return web.Response(status=self.answer.status, body=self.answer.body, headers=self.answer.headers)
        answer = self.answer(request)
        return answer if answer is None or isinstance(answer, web.StreamResponse) else await answer


@define(kw_only=True)
class Gate:
    """Guards the routes."""

    token: str = field(repr=False)
    state: State
    overrides: list[Override] = field(factory=list)

    def middleware(self) -> Middleware:
        """Wrap every handler of the application."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            for override in reversed(self.overrides):
                if (answer := await override.respond(request)) is not None:
                    return answer
            if request.match_info.http_exception is not None:
                return not_found_page(request)
            try:
                self._check_token(request)
                return await handler(request)
            except Refusal as refusal:
                return refusal.response()

        return guard

    async def remember(self, request: web.Request, response: web.StreamResponse) -> None:
        """Note a request just before its answer leaves, so that whoever has the answer finds the note."""
        self.note(request, response.status)

    def note(self, request: web.Request, status: int) -> None:
        """Note a request and how it was answered; 0 is no answer."""
        self.state.requests.append(
            SeenRequest(
                method=request.method,
                path=request.path,
                had_authorization=hdrs.AUTHORIZATION in request.headers,
                status=status,
                fault=MET.get(),
            )
        )

    def _check_token(self, request: web.Request) -> None:
        """All API operations need the bearer token; storage and CDN must never see it (reference 1.2)."""
        if not request.path.startswith(API) or request.path in _OPEN:
            return
        given = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise Refusal(401, "Unauthorized: invalid token")


_GET, _POST = hdrs.METH_GET, hdrs.METH_POST

# method and path now: method and path then
RENAMED: Final = {
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


def of_2025(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """Give every route the path that it had in 2025. The newer path is none then, and no id of a task either."""
    gone = [web.RouteDef(method, path, _unknown, {}) for method, path in RENAMED]
    return [*gone, *map(_older, routes)]


async def _unknown(request: web.Request) -> web.Response:
    return not_found_page(request)


def _older(route: web.RouteDef) -> web.RouteDef:
    if (route.method, route.path) not in RENAMED:
        return route
    method, path = RENAMED[route.method, route.path]
    return web.RouteDef(method, path, route.handler, {})

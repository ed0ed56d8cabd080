"""The paths that A2E has renamed (reference 14, traps 17 and 22): in the era "2025" the older ones answer instead."""

from collections.abc import Iterable
from typing import Final

from aiohttp import hdrs, web

from a2e_async.sandbox.envelopes import not_found_page
from a2e_async.sandbox.gate import API

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
